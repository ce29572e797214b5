//! What syft finds in an image, to be held against what nimify says is in it.

use std::collections::BTreeSet;
use std::path::Path;

use nimify::image::{Image, Manager};
use serde_json::Value;

use crate::{judge, passes};

/// The packages that syft finds in the image of a layout: each as its kind, name and version.
pub(crate) fn by_syft(layout: &Path) -> BTreeSet<[String; 3]> {
    let mut syft = judge("syft");
    syft.env("SYFT_CHECK_FOR_APP_UPDATE", "false").args(["scan", "--quiet", "--output", "json"]);
    let found: Value = serde_json::from_str(&passes(syft.arg(format!("oci-dir:{}", layout.display())))).unwrap();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_string();
    let all = found["artifacts"].as_array().unwrap().iter();
    all.map(|one| ["type", "name", "version"].map(|field| text(one, field))).collect()
}

/// The packages that nimify knows to be in an image that it made, in the same way.
pub(crate) fn told(image: &Image) -> BTreeSet<[String; 3]> {
    let kind = |manager| if manager == Manager::Apk { "apk" } else { "deb" };
    let installed = image.base.installed.packages.iter();
    let installed = installed.map(|one| [kind(one.manager).into(), one.name.clone(), one.version.clone()]);
    let owners = image.base.packages.iter().map(|one| ["deb".into(), one.name.clone(), one.version.clone()]);
    installed.chain(owners).collect()
}

/// The packages of distributions that an SPDX document lists, in the same way.
pub(crate) fn by_spdx(document: &Value) -> BTreeSet<[String; 3]> {
    let packages = document["packages"].as_array().unwrap().iter();
    let package = |one: &Value| {
        let locator = one["externalRefs"][0]["referenceLocator"].as_str()?;
        let kind = locator.strip_prefix("pkg:")?.split('/').next().filter(|kind| ["deb", "apk"].contains(kind))?;
        let text = |field: &str| one[field].as_str().unwrap().to_string();
        Some([kind.to_string(), text("name"), text("versionInfo")])
    };
    packages.filter_map(package).collect()
}
