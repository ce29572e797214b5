//! What many tests begin with, made once: a key store, and a folder that `create` wrote.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::command::{Place, copy_tree};

/// A key store with one key.
pub(crate) fn key_store() -> PathBuf {
    static MADE: OnceLock<Place> = OnceLock::new();
    let place = MADE.get_or_init(|| {
        let place = Place::lasting("keys");
        place.run(["keys", "generate"]).with(0);
        place
    });
    place.config.join("nimify/keys")
}

/// A place in which `create` made `digits/` from a copy of the digits model: a copy of one that is made once.
pub(crate) fn digits() -> Place {
    static MADE: OnceLock<Place> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let place = Place::lasting("digits");
        place.take("digits/digits.onnx").with_key().run(["create", "digits.onnx", "--yes", "--quiet"]).with(0);
        place
    });
    let place = Place::new();
    copy_tree(&made.work, &place.work);
    place
}

/// ONNX Runtime's library, as a user would name it in `NIMIFY_ONNXRUNTIME`: for tests whose cache is empty.
pub(crate) fn onnxruntime() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let given = std::env::var_os("NIMIFY_ONNXRUNTIME").filter(|path| !path.is_empty());
        given.map(PathBuf::from).unwrap_or_else(|| {
            use nimify::image::{Architecture, onnxruntime};
            let cache = nimify::cache::Cache::from_environment().expect("the cache opens");
            let architecture = Architecture::host().expect("a processor that images are made for");
            let request = onnxruntime::Request::from_environment(architecture, &cache, false);
            onnxruntime::locate(&request).expect("ONNX Runtime is to be had: run `tools/setup`").path
        })
    })
}

/// A cache in `folder` that holds the compiled services of the user's own, and nothing else.
pub(crate) fn cache_with_binaries(folder: &Path) {
    // Makes sure that there is one for the model of these tests.
    drop(digits());
    let own = nimify::cache::root(|name| std::env::var_os(name)).expect("the cache has a place");
    copy_tree(&own.join("binaries"), &folder.join("binaries"));
}
