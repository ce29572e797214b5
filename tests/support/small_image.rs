//! An image with the real base and ONNX Runtime around a small program.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nimify::cache::Cache;
use nimify::image::{Architecture, BaseSource, Budget, Compression, ImageRequest, LARGEST_MODEL_LAYER, onnxruntime};

/// The locale that the image's program asks for.
pub(crate) static LOCALES: LazyLock<BTreeSet<String>> = LazyLock::new(|| BTreeSet::from(["en_US.UTF-8".into()]));

/// The cache that tests share, so that ONNX Runtime is fetched and packed once.
pub(crate) fn shared_cache() -> Cache {
    Cache::open(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache")).expect("the tests' cache opens")
}

/// A request for an image of the program `binary`, with a model of a few bytes written below `folder`.
pub(crate) fn request(binary: &Path, folder: &Path, cache: &Cache) -> ImageRequest {
    let architecture = Architecture::host().expect("tests run on a processor that images are made for");
    let library = onnxruntime::locate(&onnxruntime::Request::from_environment(architecture, cache, false));
    let model = folder.join("model.onnx");
    std::fs::write(&model, "weights").expect("the model is written");
    ImageRequest {
        name: "small".into(),
        version: "1.2.3".into(),
        architecture,
        base: BaseSource::Closure,
        binary: binary.into(),
        onnxruntime: library.expect("ONNX Runtime is to be had: run `tools/setup`").path,
        cuda: None,
        operators: Vec::new(),
        locales: LOCALES.clone(),
        service_files: [("service.json".parse().expect("relative"), b"{}".to_vec())].into(),
        models: [("model.onnx".parse().expect("relative"), model)].into(),
        compression: Compression::Gzip,
        side_files: Default::default(),
        model_compression: Compression::None,
        largest_model_layer: LARGEST_MODEL_LAYER,
        budget: Budget::default(),
        created: 0,
        port: 8000,
        grpc_port: Some(8001),
        startup_seconds: 60,
        annotations: [("org.opencontainers.image.description".into(), "A test".into())].into(),
    }
}
