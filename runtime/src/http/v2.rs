//! Open Inference Protocol v2: health, metadata, inference in JSON and binary.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::body::{self, Limits};
use super::respond::{self, Response};
use super::route::Target;
use crate::app::App;
use crate::codec::v2;
use crate::error::Error;
use crate::inference::{self, Work};
use crate::settings::ServiceSettings;
use crate::signature::{Dim, ModelSignature, ValueSpec, ValueType};

pub(super) fn ready(app: &App) -> Result<Response, Error> {
    app.ready().map(|()| respond::empty())
}

pub(super) fn model_ready(app: &App, target: &Target) -> Result<Response, Error> {
    check_name(app, target)?;
    ready(app)
}

pub(super) fn metadata(app: &App, target: &Target) -> Result<Response, Error> {
    check_name(app, target)?;
    Ok(respond::json(app.documents.model.clone()))
}

/// 404 unless the path names the model and version that are served.
fn check_name(app: &App, target: &Target) -> Result<(), Error> {
    let (name, version) = (&app.settings.name, &app.settings.version);
    if target.model.as_ref().is_some_and(|asked| asked != name) {
        return Err(Error::NotFound(format!("the model in the path is unknown: this service has `{name}`")));
    }
    if target.version.as_ref().is_some_and(|asked| asked != version) {
        return Err(Error::NotFound(format!("the version in the path is unknown: `{name}` is at `{version}`")));
    }
    Ok(())
}

pub(super) async fn infer(
    work: &mut Work<'_>,
    target: &Target,
    head: Parts,
    body: Incoming,
) -> Result<Response, Error> {
    let app = work.app;
    check_name(app, target)?;
    body::check_media_type(&head.headers, &["application/json", "application/octet-stream"])?;
    let json_length = body::json_length(&head.headers)?;
    let (body, mut held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let mut request = work.decode(body.len(), || v2::decode(&body, json_length, &app.signature))?;
    held.become_of(|| inference::bytes(&request.inputs));
    drop(body);
    work.urgency = request.urgency;
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = work.run(inputs).await?;
    let model = v2::ModelName { name: &app.settings.name, version: &app.settings.version };
    let (answer, json_length) = work.encode(&outputs, || v2::encode(model, &request, &outputs, &app.signature));
    let Some(json_length) = json_length else { return Ok(respond::json(answer)) };
    let response = respond::ok(HeaderValue::from_static("application/octet-stream"), answer);
    Ok(respond::header(response, body::JSON_LENGTH, HeaderValue::from(json_length)))
}

pub(super) fn server_metadata() -> Bytes {
    json!({"name": "nimify", "version": env!("CARGO_PKG_VERSION"), "extensions": ["binary_tensor_data", "schedule_policy"]})
        .to_string()
        .into()
}

pub(super) fn model_metadata(settings: &ServiceSettings, signature: &ModelSignature) -> Bytes {
    let tensors = |specs: &[ValueSpec]| specs.iter().map(tensor_metadata).collect::<Vec<_>>();
    json!({
        "name": settings.name,
        "versions": [settings.version],
        "platform": "onnxruntime_onnx",
        "inputs": tensors(&signature.inputs),
        "outputs": tensors(&signature.outputs),
    })
    .to_string()
    .into()
}

/// -1 stands for a free dim, and a rank that nobody knows is written as one. What is no tensor travels as JSON texts:
/// one an element of a sequence, one for anything else.
fn tensor_metadata(spec: &ValueSpec) -> Value {
    let shape = match spec.present() {
        ValueType::Tensor { shape, .. } => shape.dims().map_or(vec![-1], |dims| dims.iter().map(size).collect()),
        ValueType::Sequence { .. } => vec![-1],
        _ => vec![1],
    };
    json!({"name": spec.name, "datatype": spec.wire_type().datatype(), "shape": shape})
}

fn size(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic(_) | Dim::Unknown => -1,
    }
}
