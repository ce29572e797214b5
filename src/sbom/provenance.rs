//! SLSA provenance, version 1: from which inputs the image was made, and how.

use serde_json::{Value, json};

use super::Inventory;
use crate::digest::Digest;

/// What [`provenance`] needs besides the [`Inventory`].
#[derive(Debug, Clone)]
pub struct BuildFacts {
    /// What was asked for: the config, without what names keys, clusters and folders of a machine.
    pub config: Value,
    /// The executable that built.
    pub nimify: Digest,
    /// All templates together.
    pub templates: Digest,
    /// The service's lock file.
    pub lock: Digest,
    /// The user's own files that enter the image, by what they are for: hooks, other sources, a licence's text, a sample.
    pub sources: Vec<(String, Digest)>,
    /// `generated` or `generic`.
    pub service: String,
    /// What compiled it, as `rustc -vV` says; empty where nothing was compiled.
    pub toolchain: String,
}

/// The predicate of the statement, without times: the same inputs give the same bytes.
pub fn provenance(inventory: &Inventory, facts: &BuildFacts) -> Value {
    json!({
        "buildDefinition": {
            "buildType": "urn:nimify:build:v1",
            "externalParameters": { "config": facts.config },
            "internalParameters": {
                "architecture": inventory.architecture,
                "service": facts.service,
                "toolchain": facts.toolchain,
            },
            "resolvedDependencies": dependencies(inventory, facts),
        },
        "runDetails": {
            "builder": { "id": "urn:nimify:cli", "version": { "nimify": inventory.nimify } },
        },
    })
}

fn dependencies(inventory: &Inventory, facts: &BuildFacts) -> Vec<Value> {
    let named = |name: &str, digest: &Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    let mut all: Vec<Value> = inventory.model.files.iter().map(|(name, digest)| named(name, digest)).collect();
    all.extend(inventory.model.side_files.iter().map(|(name, digest)| named(&format!("sideFiles/{name}"), digest)));
    if let Some((source, digest)) = &inventory.model.source {
        all.push(json!({ "uri": source, "digest": { "sha256": digest.hex() } }));
    }
    let mut runtime = named("onnxruntime", &inventory.onnxruntime.digest);
    runtime["uri"] = inventory.onnxruntime_purl().into();
    all.push(runtime);
    all.extend(inventory.operators.iter().map(|(name, digest)| named(&format!("customOps/{name}"), digest)));
    let mut nimify = named("nimify", &facts.nimify);
    nimify["uri"] = format!("pkg:generic/nimify@{}", super::escape(&inventory.nimify)).into();
    all.push(nimify);
    all.push(named("templates", &facts.templates));
    all.push(named("Cargo.lock", &facts.lock));
    all.extend(facts.sources.iter().map(|(name, digest)| named(name, digest)));
    for found in &inventory.crates {
        if let Some(checksum) = &found.checksum {
            all.push(json!({ "uri": found.purl(), "digest": { "sha256": checksum.hex() } }));
        }
    }
    for (name, version, digest) in &inventory.wheels {
        let mut wheel = named(name, digest);
        wheel["uri"] = Inventory::wheel_purl(name, version).into();
        all.push(wheel);
    }
    for package in &inventory.packages {
        if let Some(digest) = &package.digest {
            let mut file = named(&package.name, digest);
            file["uri"] = inventory.package_purl(package).into();
            all.push(file);
        }
    }
    if let Some(base) = &inventory.base_image {
        let mut image = named(&base.name, &base.digest);
        image["uri"] = base.purl().into();
        all.push(image);
    }
    for (place, digest) in &inventory.base {
        let owner = inventory.packages.iter().find(|package| package.owns(place));
        let mut file = named(place, digest);
        if let Some(owner) = owner {
            file["uri"] = inventory.package_purl(owner).into();
        }
        all.push(file);
    }
    all
}
