//! NIM's management routes: health, metrics, and what is served.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderValue, VARY};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::files::SideFiles;
use super::respond::{self, Response};
use crate::app::App;
use crate::error::Error;
use crate::metrics::Format;
use crate::settings::{License, ServiceSettings, SideFile};
use crate::signature::ModelSignature;

pub(super) fn live() -> Response {
    respond::json(&br#"{"object":"health.response","message":"Service is live.","status":"live"}"#[..])
}

/// While it isn't ready, the error says why, and where the model is loading how far that is.
pub(super) fn ready(app: &App) -> Result<Response, Error> {
    let Err(why) = app.ready() else {
        return Ok(respond::json(
            &br#"{"object":"health.response","message":"Service is ready.","status":"ready"}"#[..],
        ));
    };
    let Some(stand) = app.loading.stand() else { return Err(why) };
    let more =
        json!({"phase": stand.phase, "elapsed_ms": stand.elapsed.as_millis() as u64, "model_bytes": stand.model_bytes});
    Ok(respond::error_with(&why, more))
}

/// In the format that `Accept` asks for.
pub(super) fn metrics(app: &App, headers: &HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let format = Format::of(&accept);
    let response = respond::ok(HeaderValue::from_static(format.content_type()), app.metrics.page(app.live(), format));
    respond::header(response, VARY, HeaderValue::from_static("accept"))
}

/// Where there is no licence, 404: a document of empty fields would read as a licence that allows nothing. What
/// operators parse strictly is `licenseInfo` in the metadata, which has every field all the same.
pub(super) fn license(app: &App) -> Result<Response, Error> {
    let document = app.documents.license.clone();
    document.map(respond::json).ok_or_else(|| Error::NotFound("no licence came with this model".into()))
}

/// A licence with its text, as NIM describes it.
pub(super) struct LicenseText(Value);

impl LicenseText {
    pub(super) fn new(license: &License, text: Vec<u8>) -> LicenseText {
        let sha: String = Sha1::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = license.path.file_name().unwrap_or_default().to_string_lossy();
        LicenseText(json!({
            "name": license.name, "path": path, "sha": sha, "size": text.len(), "url": "", "type": "file",
            "content": String::from_utf8_lossy(&text),
        }))
    }

    pub(super) fn document(&self) -> Bytes {
        self.0.to_string().into()
    }
}

/// OpenAI's list, with the fields that NIM adds.
pub(super) fn models(settings: &ServiceSettings) -> Bytes {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let id = &settings.name;
    json!({"object": "list", "data": [{
        "id": id, "object": "model", "created": created, "owned_by": "nimify",
        "root": id, "parent": null, "max_model_len": null,
        "permission": [{
            "id": format!("modelperm-{id}"), "object": "model_permission", "created": created,
            "allow_create_engine": false, "allow_sampling": true, "allow_logprobs": false,
            "allow_search_indices": false, "allow_view": true, "allow_fine_tuning": false,
            "organization": "*", "group": null, "is_blocking": false,
        }],
    }]})
    .to_string()
    .into()
}

/// `modelInfo` is never empty: NVIDIA's operator splits its first `shortName` at the colon.
pub(super) fn metadata(settings: &ServiceSettings, license: Option<&LicenseText>, sides: &SideFiles) -> Bytes {
    // An operator's typed client wants every field there, with a licence or without.
    let none = || json!({"name": "", "path": "", "sha": "", "size": 0, "url": "", "type": "file", "content": ""});
    let mut metadata = json!({
        "version": settings.version,
        "assetInfo": [format!("sha256:{}", settings.model.sha256)],
        "licenseInfo": license.map_or_else(none, |license| license.0.clone()),
        "modelInfo": [{
            "shortName": format!("{}:{}", settings.name, settings.version),
            "modelUrl": settings.model.source,
        }],
        "repository_override": "",
        "selectedModelProfileId": settings.model.sha256,
    });
    let sides: Vec<Value> = sides.list().map(side_file).collect();
    if !sides.is_empty() {
        metadata["sideFiles"] = sides.into();
    }
    if !settings.model.labels.is_empty() {
        metadata["labels"] = json!(settings.model.labels);
    }
    metadata.to_string().into()
}

/// What NIM has no words for: a file that came with the model.
fn side_file(side: &SideFile) -> Value {
    json!({"name": side.name, "kind": side.kind, "size": side.size, "digest": format!("sha256:{}", side.sha256)})
}

pub(super) fn manifest(settings: &ServiceSettings, signature: &ModelSignature) -> Bytes {
    let manifest = json!({
        "name": settings.name, "version": settings.version, "signature": signature,
        "model": {
            "file": settings.model.path.file_name().unwrap_or_default().to_string_lossy(),
            "sha256": settings.model.sha256,
            "source": settings.model.source,
            // Where it stands, `file` is not the file of that digest, but one made of it.
            "derived": settings.model.derived,
        },
    });
    // NIM has a text in YAML here, of which JSON is a part.
    json!({"manifest_file": manifest.to_string(), "repository_override": ""}).to_string().into()
}

pub(super) fn version(settings: &ServiceSettings) -> Bytes {
    json!({"release": settings.version, "api": env!("CARGO_PKG_VERSION")}).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_license_is_described_with_its_sha_1_and_no_host_path() {
        let license = License { name: "MIT".into(), path: "/a/b/LICENSE".into() };
        let described = LicenseText::new(&license, b"abc".to_vec()).0;
        assert_eq!(described["sha"], "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!((&described["path"], &described["size"]), (&json!("LICENSE"), &json!(3)));
    }
}
