//! An image for the other processor than this machine's: cross compiled, on Debian's packages, run by an emulator.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nimify::image::{self, Architecture};
use serde_json::Value;

use crate::made::fixture;
use crate::running::Running;
use crate::whole::{nimify, unpack};

/// A project with the digits model, built for the other processor.
struct Project(tempfile::TempDir);

impl Project {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Builds on a base, and gives the layout, which is whole and for that processor.
    fn build_on(&self, base: &str) -> PathBuf {
        let config = format!(
            "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\n\
             image: {{ platform: linux/arm64, base: {base}, compression: none }}\n"
        );
        fs::write(self.path("nimify.yaml"), config).unwrap();
        let built = nimify().args(["build", "--unsigned", "--quiet"]).current_dir(&self.0).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let layout = self.path("dist/image");
        assert_eq!(image::validate(&layout), []);
        let opened = image::open_layout(&layout).unwrap();
        assert_eq!(opened.descriptor.platform().as_ref().unwrap().architecture().to_string(), "arm64");
        layout
    }

    /// Runs the image's service by the emulator: it answers as the model did on this processor.
    fn answers(&self, layout: &Path, root: &str) {
        let root = self.path(root);
        unpack(layout, &root);
        fs::copy("/usr/bin/qemu-aarch64-static", root.join("emulator")).unwrap();
        let mut service = Command::new("chroot");
        service.arg(&root).args(["/emulator", "/nimify/service", "--config", "/nimify/service.json"]).env_clear();
        service.env("PATH", "/usr/sbin:/usr/bin").env("NIMIFY_HOST", "127.0.0.1");
        let service = Running::ready(service.env("NIMIFY_PORT", "0").env("NIMIFY_GRPC_PORT", "0"));
        let sample = |name: &str| -> Value {
            serde_json::from_slice(&fs::read(self.path("samples").join(name)).unwrap()).unwrap()
        };
        let answer = service.post("/v1/predict", &sample("request.json"));
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert!(alike(&answer.json(), &sample("response.json")), "{:?}", answer.json());
    }
}

/// Its packages, compiler and emulator come by `tools/setup`.
#[test]
#[ignore = "compiles the runtime for another processor, and runs as root; the whole test run includes it"]
fn an_image_for_the_other_processor_answers_as_this_one_does() {
    let project = Project(tempfile::tempdir().unwrap());
    fs::copy(fixture("digits/digits.onnx"), project.path("digits.onnx")).unwrap();
    let layout = project.build_on("debian-packages");
    let lock = fs::read_to_string(project.path("nimify.lock")).unwrap();
    assert!(lock.contains("target: aarch64-unknown-linux-gnu"), "{lock}");
    assert!(lock.contains(&image::onnxruntime::pinned(Architecture::Arm64).to_string()), "{lock}");
    project.answers(&layout, "root");

    // That image is one for that processor with a C library, and so a base as others are.
    fs::rename(&layout, project.path("base")).unwrap();
    let below = image::open_layout(&project.path("base")).unwrap().layers;
    let layout = project.build_on("oci:base");
    let layers = image::open_layout(&layout).unwrap().layers;
    assert!(layers.len() > below.len() && layers.starts_with(&below), "{layers:?}");
    project.answers(&layout, "root-on-base");
}

/// Equal but for what another processor rounds otherwise.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| alike(value, other)))
        }
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-4 * other.abs().max(1.0)
        }
        _ => one == other,
    }
}
