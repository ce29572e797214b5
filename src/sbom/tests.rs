//! A small inventory, and what the documents say of it. The whole documents are judged by others' validators.

use super::*;
use crate::image::{Installed, InstalledPackage, Manager, Package};

fn inventory() -> Inventory {
    let library = "/usr/lib/x86_64-linux-gnu/libc.so.6";
    Inventory {
        name: "digits".into(),
        version: "1.2.0+a".into(),
        description: "classifies digits".into(),
        architecture: "amd64".into(),
        image: Digest::of("image"),
        created: 0,
        nimify: "0.1.0".into(),
        model: ModelPart {
            name: "digits".into(),
            files: vec![("digits.onnx".into(), Digest::of("model")), ("weights.bin".into(), Digest::of("weights"))],
            source: Some(("oci://r.example.com/digits:1".into(), Digest::of("manifest"))),
            side_files: vec![("tokenizer.json".into(), Digest::of("tokenizer"))],
            derived: Some(("optimized".into(), vec![("digits.optimized.onnx".into(), Digest::of("derived"))])),
            license: Some("Apache-2.0".into()),
            producer: "skl2onnx 1.20.0".into(),
            inputs: vec![("x".into(), "float32[batch, 64]".into())],
            outputs: vec![("label".into(), "int64[batch]".into())],
            facts: vec![("parameters".into(), "650".into())],
        },
        onnxruntime: RuntimePart { version: "1.31.1".into(), digest: Digest::of("library"), pinned: true },
        operators: vec![("libfancy.so".into(), Digest::of("operators"))],
        service: Digest::of("service"),
        crates: vec![linked("anyhow", "1.0.104"), Crate { linked: false, ..linked("syn", "3.0.9") }],
        distribution: Some("debian".into()),
        packages: vec![Package::made_up("libc6", "2.41-12+deb13u1", &[library])],
        base_image: Some(BaseImagePart {
            name: "registry.example.com:5000/os/debian:12".into(),
            digest: Digest::of("index"),
            manifest: Digest::of("manifest"),
            installed: Installed {
                packages: vec![InstalledPackage {
                    manager: Manager::Apk,
                    name: "libstdc++".into(),
                    version: "14.2.0-r6".into(),
                    architecture: "x86_64".into(),
                    source: "gcc".into(),
                }],
                distribution: Some("alpine".into()),
                version: Some("3.23.2".into()),
                has_rpm: false,
            },
        }),
        wheels: vec![("nvidia-cublas".into(), "13.10.0.20".into(), Digest::of("wheel"))],
        base: vec![("/etc/os-release".into(), Digest::of("release")), (library.into(), Digest::of("libc"))],
    }
}

fn linked(name: &str, version: &str) -> Crate {
    Crate {
        name: name.into(),
        version: version.into(),
        checksum: Some(Digest::of(name)),
        license: "MIT OR Apache-2.0".into(),
        linked: true,
    }
}

fn facts() -> BuildFacts {
    BuildFacts {
        config: serde_json::json!({ "name": "digits" }),
        nimify: Digest::of("nimify"),
        templates: Digest::of("templates"),
        lock: Digest::of("lock"),
        sources: vec![("service/src/hooks.rs".into(), Digest::of("hooks"))],
        service: "generated".into(),
        toolchain: "rustc 1.95.0".into(),
    }
}

fn text(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("{path} of {value}")).into()
}

#[test]
fn spdx_relates_every_package_to_the_image() {
    let document = spdx(&inventory());
    let related = document["relationships"].as_array().unwrap();
    for package in document["packages"].as_array().unwrap() {
        let id = &package["SPDXID"];
        assert!(related.iter().any(|r| r["relatedSpdxElement"] == *id || r["spdxElementId"] == *id), "{id}");
    }
    let owned = serde_json::json!({
        "spdxElementId": "SPDXRef-Package-0", "relationshipType": "CONTAINS", "relatedSpdxElement": "SPDXRef-BaseFile-1",
    });
    assert!(related.contains(&owned), "{document}");
    assert_eq!(text(&document, "/creationInfo/created"), "1970-01-01T00:00:00Z");
}

#[test]
fn crates_that_only_build_are_no_part_of_the_service() {
    let document = cyclonedx(&inventory());
    let components = document["components"].as_array().unwrap();
    let scope = |name: &str| components.iter().find(|one| one["name"] == name).map(|one| one["scope"].clone());
    assert_eq!([scope("anyhow"), scope("syn")], [Some("required".into()), Some("excluded".into())]);
    let service = document["dependencies"].as_array().unwrap().iter().find(|one| one["ref"] == "service").unwrap();
    assert_eq!(service["dependsOn"], serde_json::json!(["pkg:cargo/anyhow@1.0.104"]));
    let document = spdx(&inventory());
    let related = document["relationships"].as_array().unwrap();
    let how = |id: &str| related.iter().find(|one| one["spdxElementId"] == id || one["relatedSpdxElement"] == id);
    assert_eq!(how("SPDXRef-Crate-0").unwrap()["relationshipType"], "DEPENDS_ON");
    assert_eq!(how("SPDXRef-Crate-1").unwrap()["relationshipType"], "BUILD_DEPENDENCY_OF");
    let package = document["packages"].as_array().unwrap().iter().find(|one| one["name"] == "syn").unwrap();
    assert_eq!(package["licenseDeclared"], "MIT OR Apache-2.0");
}

#[test]
fn cyclonedx_describes_the_model_as_one_of_machine_learning() {
    let document = cyclonedx(&inventory());
    assert_eq!(text(&document, "/components/0/type"), "machine-learning-model");
    assert_eq!(text(&document, "/components/0/hashes/0/content"), Digest::of("model").hex());
    assert_eq!(text(&document, "/components/0/modelCard/modelParameters/inputs/0/format"), "x: float32[batch, 64]");
    assert_eq!(
        document["components"][0]["components"].as_array().unwrap().len(),
        3,
        "weights, tokenizer, derived graph"
    );
    let serial = text(&document, "/serialNumber");
    assert_eq!((serial.len(), &serial[23..24]), (45, "8"), "{serial}");
    let refs: Vec<&Value> = document["components"].as_array().unwrap().iter().map(|c| &c["bom-ref"]).collect();
    for dependency in document["dependencies"].as_array().unwrap() {
        for on in dependency["dependsOn"].as_array().unwrap() {
            assert!(refs.contains(&on), "{on}");
        }
    }
}

#[test]
fn package_urls_are_escaped() {
    let inventory = inventory();
    assert_eq!(inventory.package_purl(&inventory.packages[0]), "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64");
    let base = inventory.base_image.as_ref().unwrap();
    let installed = &base.installed.packages[0];
    let purl = "pkg:apk/alpine/libstdc%2B%2B@14.2.0-r6?arch=x86_64&distro=alpine-3.23.2";
    assert_eq!(base.package_purl(installed), purl);
    let bare = BaseImagePart { installed: Installed::default(), ..base.clone() };
    let installed = InstalledPackage { manager: Manager::Deb, architecture: String::new(), ..installed.clone() };
    assert_eq!(bare.package_purl(&installed), "pkg:deb/debian/libstdc%2B%2B@14.2.0-r6");
    let own = Inventory { onnxruntime: RuntimePart { pinned: false, ..inventory.onnxruntime.clone() }, ..inventory };
    assert_eq!(own.onnxruntime_purl(), "pkg:generic/onnxruntime@1.31.1");
    let base = own.base_image.as_ref().unwrap().purl();
    let (digest, repository) = (Digest::of("index").hex(), "registry.example.com%3A5000%2Fos%2Fdebian");
    assert_eq!(base, format!("pkg:oci/debian@sha256%3A{digest}?repository_url={repository}&tag=12"));
    assert!(own.image_purl().ends_with("?tag=1.2.0%2Ba"));
}

#[test]
fn provenance_names_every_input_with_its_digest() {
    let document = provenance(&inventory(), &facts());
    let dependencies = document["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let digests: Vec<String> = dependencies.iter().map(|one| text(one, "/digest/sha256")).collect();
    let parts = [
        "model",
        "weights",
        "tokenizer",
        "library",
        "nimify",
        "templates",
        "lock",
        "hooks",
        "anyhow",
        "syn",
        "release",
    ];
    for part in parts.into_iter().chain(["libc", "index", "wheel", "manifest", "operators"]) {
        assert!(digests.contains(&Digest::of(part).hex()), "{part}");
    }
    assert_eq!(digests.len(), 16);
}

#[test]
fn the_same_inventory_gives_the_same_bytes() {
    let made =
        || [spdx(&inventory()), cyclonedx(&inventory()), provenance(&inventory(), &facts())].map(|d| to_text(&d));
    assert_eq!(made(), made());
}
