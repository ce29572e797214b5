//! CycloneDX 1.6, as JSON.

use serde_json::{Value, json};

use super::Inventory;
use crate::digest::Digest;
use crate::image::rfc3339;

const IMAGE: &str = "image";
const SERVICE: &str = "service";

/// The document: the image, and as components the model, ONNX Runtime, the service with its crates, packages, files.
pub fn cyclonedx(inventory: &Inventory) -> Value {
    let mut components = vec![model(inventory), runtime(inventory), service(inventory)];
    let mut contains: Vec<String> = vec!["model".into(), "onnxruntime".into(), SERVICE.into()];
    let mut linked = Vec::new();
    let mut dependencies = Vec::new();
    for found in &inventory.crates {
        let mut component = component("library", &found.purl(), &found.name, found.checksum.as_ref());
        component["version"] = found.version.clone().into();
        component["purl"] = found.purl().into();
        component["licenses"] = json!([{ "expression": found.license }]);
        // Known to whoever looks for what a build ran, not to be taken for a part of the image.
        component["scope"] = if found.linked { "required" } else { "excluded" }.into();
        components.push(component);
        if found.linked {
            linked.push(found.purl());
        }
    }
    for (name, digest) in &inventory.operators {
        let reference = format!("operators/{name}");
        let mut operators = component("library", &reference, name, Some(digest));
        operators["description"] = "custom operators, named in the config".into();
        components.push(operators);
        contains.push(reference);
    }
    if let Some(base) = &inventory.base_image {
        let mut component = component("container", &base.purl(), &base.name, Some(&base.manifest));
        component["purl"] = base.purl().into();
        components.push(component);
        contains.push(base.purl());
        let mut installed = Vec::new();
        for package in &base.installed.packages {
            let purl = base.package_purl(package);
            // One of the same name and version may have been put above the base too.
            let reference = format!("base:{purl}");
            let mut component = self::component("library", &reference, &package.name, None);
            component["version"] = package.version.clone().into();
            component["purl"] = purl.into();
            component["properties"] = json!([property("nimify:sourcePackage", &package.source)]);
            components.push(component);
            installed.push(reference);
        }
        dependencies.push(json!({ "ref": base.purl(), "dependsOn": installed }));
    }
    for (name, version, digest) in &inventory.wheels {
        let purl = Inventory::wheel_purl(name, version);
        let mut component = component("library", &purl, name, Some(digest));
        component["version"] = version.clone().into();
        component["purl"] = purl.clone().into();
        components.push(component);
        contains.push(purl);
    }
    for (place, digest) in &inventory.base {
        let kind = if place.contains(".so") { "library" } else { "file" };
        components.push(component(kind, place, place, Some(digest)));
        contains.push(place.clone());
    }
    for owner in &inventory.packages {
        let purl = inventory.package_purl(owner);
        let mut component = component("library", &purl, &owner.name, owner.digest.as_ref());
        component["version"] = owner.version.clone().into();
        component["purl"] = purl.clone().into();
        component["properties"] = json!([property("nimify:sourcePackage", &owner.source)]);
        components.push(component);
        let files: Vec<&String> =
            inventory.base.iter().map(|(place, _)| place).filter(|place| owner.owns(place)).collect();
        dependencies.push(json!({ "ref": purl, "dependsOn": files }));
        contains.push(purl);
    }
    dependencies.push(json!({ "ref": IMAGE, "dependsOn": contains }));
    dependencies.push(json!({ "ref": SERVICE, "dependsOn": linked }));
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&inventory.image)),
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(inventory.created),
            "tools": { "components": [{ "type": "application", "name": "nimify", "version": inventory.nimify }] },
            "component": image(inventory),
        },
        "components": components,
        "dependencies": dependencies,
    })
}

fn component(kind: &str, reference: &str, name: &str, digest: Option<&Digest>) -> Value {
    let mut component = json!({ "type": kind, "bom-ref": reference, "name": name });
    if let Some(digest) = digest {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
    }
    component
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

fn image(inventory: &Inventory) -> Value {
    let mut component = component("container", IMAGE, &inventory.name, Some(&inventory.image));
    component["version"] = inventory.version.clone().into();
    component["description"] = inventory.description.clone().into();
    component["purl"] = inventory.image_purl().into();
    component["properties"] = json!([property("nimify:architecture", &inventory.architecture)]);
    component
}

fn runtime(inventory: &Inventory) -> Value {
    let runtime = &inventory.onnxruntime;
    let mut component = component("library", "onnxruntime", "onnxruntime", Some(&runtime.digest));
    component["version"] = runtime.version.clone().into();
    component["purl"] = inventory.onnxruntime_purl().into();
    component["licenses"] = json!([{ "license": { "id": "MIT" } }]);
    component
}

fn service(inventory: &Inventory) -> Value {
    let name = format!("{}-service", inventory.name);
    let mut component = component("application", SERVICE, &name, Some(&inventory.service));
    component["version"] = inventory.version.clone().into();
    component
}

fn model(inventory: &Inventory) -> Value {
    let model = &inventory.model;
    let (_, digest) = model.files.first().map_or((String::new(), None), |(name, digest)| (name.clone(), Some(digest)));
    let mut component = component("machine-learning-model", "model", &model.name, digest);
    component["version"] = inventory.version.clone().into();
    component["description"] = inventory.description.clone().into();
    if let Some(license) = &model.license {
        component["licenses"] = json!([{ "license": { "name": license } }]);
    }
    if let Some((source, digest)) = &model.source {
        component["externalReferences"] = json!([{ "type": "distribution", "url": format!("{source}@{digest}") }]);
    }
    let tensors = |tensors: &[(String, String)]| -> Value {
        tensors.iter().map(|(name, form)| json!({ "format": format!("{name}: {form}") })).collect()
    };
    component["modelCard"] = json!({
        "modelParameters": { "inputs": tensors(&model.inputs), "outputs": tensors(&model.outputs) },
    });
    let mut properties: Vec<Value> =
        model.facts.iter().map(|(name, value)| property(&format!("nimify:{name}"), value)).collect();
    if !model.producer.is_empty() {
        properties.push(property("nimify:producer", &model.producer));
    }
    if let Some((how, _)) = &model.derived {
        properties.push(property("nimify:served", how));
    }
    component["properties"] = properties.into();
    let mut files = model.files[1.min(model.files.len())..].to_vec();
    files.extend(model.side_files.iter().cloned());
    files.extend(model.derived.iter().flat_map(|(_, files)| files.clone()));
    let parts =
        files.iter().map(|(name, digest)| self::component("file", &format!("model/{name}"), name, Some(digest)));
    let parts: Vec<Value> = parts.collect();
    if !parts.is_empty() {
        component["components"] = parts.into();
    }
    component
}

/// A UUID of the eighth version, whose bits are those of a digest: not random, so that the document comes out the same.
fn uuid(digest: &Digest) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
