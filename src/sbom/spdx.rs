//! SPDX 2.3, as JSON.

use serde_json::{Value, json};

use super::Inventory;
use crate::digest::Digest;
use crate::image::rfc3339;

/// The document: the image, what it contains, and what the service is linked from.
pub fn spdx(inventory: &Inventory) -> Value {
    let mut document = Document { packages: Vec::new(), relationships: Vec::new() };
    let image = document.image(inventory);
    document.model(inventory, &image);
    let runtime =
        document.package("SPDXRef-ONNXRuntime", "onnxruntime", "LIBRARY", Some(&inventory.onnxruntime.digest));
    runtime.set("versionInfo", inventory.onnxruntime.version.clone());
    runtime.set("licenseDeclared", "MIT");
    runtime.purl(&inventory.onnxruntime_purl());
    document.relate(&image, "CONTAINS", "SPDXRef-ONNXRuntime");
    for (at, (name, digest)) in inventory.operators.iter().enumerate() {
        let id = format!("SPDXRef-Operators-{at}");
        document.package(&id, name, "LIBRARY", Some(digest)).set("comment", "custom operators, named in the config");
        document.relate(&image, "CONTAINS", &id);
    }
    document.service(inventory, &image);
    document.base(inventory, &image);
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", inventory.name, inventory.version),
        "documentNamespace": format!("urn:nimify:spdx:{}", inventory.image.hex()),
        "creationInfo": {
            "created": rfc3339(inventory.created),
            "creators": [format!("Tool: nimify-{}", inventory.nimify)],
        },
        "packages": document.packages.into_iter().map(|package| package.0).collect::<Vec<_>>(),
        "relationships": document.relationships,
    })
}

struct Document {
    packages: Vec<Package>,
    relationships: Vec<Value>,
}

struct Package(Value);

impl Package {
    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.0[field] = value.into();
    }

    fn purl(&mut self, purl: &str) {
        let reference =
            json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl });
        self.set("externalRefs", json!([reference]));
    }
}

impl Document {
    fn package(&mut self, id: &str, name: &str, purpose: &str, digest: Option<&Digest>) -> &mut Package {
        let mut package = json!({
            "SPDXID": id,
            "name": name,
            "primaryPackagePurpose": purpose,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
        });
        if let Some(digest) = digest {
            package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }]);
        }
        self.packages.push(Package(package));
        self.packages.last_mut().expect("one was just put there")
    }

    fn relate(&mut self, from: &str, how: &str, to: &str) {
        self.relationships.push(json!({
            "spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to,
        }));
    }

    fn image(&mut self, inventory: &Inventory) -> String {
        let id = "SPDXRef-Image";
        let package = self.package(id, &inventory.name, "CONTAINER", Some(&inventory.image));
        package.set("versionInfo", inventory.version.clone());
        package.set("description", inventory.description.clone());
        package.purl(&inventory.image_purl());
        self.relate("SPDXRef-DOCUMENT", "DESCRIBES", id);
        id.into()
    }

    fn model(&mut self, inventory: &Inventory, image: &str) {
        let model = &inventory.model;
        let facts: Vec<String> = model.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        for (at, (name, digest)) in model.files.iter().enumerate() {
            let id = format!("SPDXRef-Model-{at}");
            let package = self.package(&id, name, "FILE", Some(digest));
            package.set("comment", format!("the model `{}`. {}", model.name, facts.join("; ")));
            if let Some((source, digest)) = &model.source {
                package.set("sourceInfo", format!("fetched from {source}@{digest}"));
            }
            if let Some(license) = &model.license {
                // Any text may be a licence's name, and only a known identifier may stand in that field.
                package.set("licenseComments", format!("the config names the licence `{license}`"));
            }
            if model.derived.is_none() {
                self.relate(image, "CONTAINS", &id);
            }
        }
        for (at, (name, digest)) in model.side_files.iter().enumerate() {
            let id = format!("SPDXRef-SideFile-{at}");
            self.package(&id, name, "FILE", Some(digest))
                .set("comment", format!("goes with the model `{}`", model.name));
            self.relate(image, "CONTAINS", &id);
        }
        let Some((how, files)) = &model.derived else { return };
        for (at, (name, digest)) in files.iter().enumerate() {
            let id = format!("SPDXRef-DerivedModel-{at}");
            self.package(&id, name, "FILE", Some(digest)).set("comment", how.clone());
            self.relate(image, "CONTAINS", &id);
            for source in 0..model.files.len() {
                self.relate(&id, "GENERATED_FROM", &format!("SPDXRef-Model-{source}"));
            }
        }
    }

    fn service(&mut self, inventory: &Inventory, image: &str) {
        let id = "SPDXRef-Service";
        let package = self.package(id, &format!("{}-service", inventory.name), "APPLICATION", Some(&inventory.service));
        package.set("versionInfo", inventory.version.clone());
        self.relate(image, "CONTAINS", id);
        for (at, found) in inventory.crates.iter().enumerate() {
            let crate_id = format!("SPDXRef-Crate-{at}");
            let package = self.package(&crate_id, &found.name, "LIBRARY", found.checksum.as_ref());
            package.set("versionInfo", found.version.clone());
            package.set("licenseDeclared", found.license.clone());
            package.purl(&found.purl());
            match found.linked {
                true => self.relate(id, "DEPENDS_ON", &crate_id),
                false => self.relate(&crate_id, "BUILD_DEPENDENCY_OF", id),
            }
        }
    }

    fn base(&mut self, inventory: &Inventory, image: &str) {
        if let Some(base) = &inventory.base_image {
            let package = self.package("SPDXRef-BaseImage", &base.name, "CONTAINER", Some(&base.manifest));
            package.purl(&base.purl());
            self.relate(image, "DESCENDANT_OF", "SPDXRef-BaseImage");
            for (at, installed) in base.installed.packages.iter().enumerate() {
                let id = format!("SPDXRef-BaseImagePackage-{at}");
                let package = self.package(&id, &installed.name, "INSTALL", None);
                package.set("versionInfo", installed.version.clone());
                package.set("sourceInfo", format!("built from the source package {}", installed.source));
                package.purl(&base.package_purl(installed));
                self.relate("SPDXRef-BaseImage", "CONTAINS", &id);
            }
        }
        for (at, (name, version, digest)) in inventory.wheels.iter().enumerate() {
            let id = format!("SPDXRef-Wheel-{at}");
            let package = self.package(&id, name, "LIBRARY", Some(digest));
            package.set("versionInfo", version.clone());
            package.set("comment", "the libraries of it that are needed are in the image");
            package.purl(&Inventory::wheel_purl(name, version));
            self.relate(image, "CONTAINS", &id);
        }
        for (at, (place, digest)) in inventory.base.iter().enumerate() {
            let id = format!("SPDXRef-BaseFile-{at}");
            let purpose = if place.contains(".so") { "LIBRARY" } else { "FILE" };
            self.package(&id, place, purpose, Some(digest));
            self.relate(image, "CONTAINS", &id);
        }
        for (at, owner) in inventory.packages.iter().enumerate() {
            let id = format!("SPDXRef-Package-{at}");
            let package = self.package(&id, &owner.name, "INSTALL", owner.digest.as_ref());
            package.set("versionInfo", owner.version.clone());
            package.set("sourceInfo", format!("built from the source package {}", owner.source));
            package.purl(&inventory.package_purl(owner));
            self.relate(image, "CONTAINS", &id);
            for (file, (place, _)) in inventory.base.iter().enumerate() {
                if owner.owns(place) {
                    self.relate(&id, "CONTAINS", &format!("SPDXRef-BaseFile-{file}"));
                }
            }
        }
    }
}
