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
    check_target(app, target)?;
    ready(app)
}

pub(super) fn metadata(app: &App, target: &Target) -> Result<Response, Error> {
    check_target(app, target)?;
    Ok(respond::json(app.documents.model.clone()))
}

fn check_target(app: &App, target: &Target) -> Result<(), Error> {
    check_name(app, target.model.as_deref(), target.version.as_deref())
}

/// 404 unless it is the model and the version that are served that a request asks for.
pub(crate) fn check_name(app: &App, model: Option<&str>, version: Option<&str>) -> Result<(), Error> {
    let (name, served) = (&app.settings.name, &app.settings.version);
    if model.is_some_and(|asked| asked != name) {
        return Err(Error::NotFound(format!("the model is unknown: this service has `{name}`")));
    }
    if version.is_some_and(|asked| asked != served) {
        return Err(Error::NotFound(format!("the version is unknown: `{name}` is at `{served}`")));
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
    check_target(app, target)?;
    body::check_media_type(&head.headers, &["application/json", "application/octet-stream"])?;
    let json_length = body::json_length(&head.headers)?;
    let (body, mut held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let mut request = work.decode(body.len(), || v2::decode(&body, json_length, &app.signature))?;
    held.become_of(|| inference::bytes(&request.inputs));
    drop(body);
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = work.run(inputs).await?;
    let model = v2::ModelName { name: &app.settings.name, version: &app.settings.version };
    let (answer, json_length) = work.encode(&outputs, || v2::encode(model, &request, &outputs, &app.signature));
    let Some(json_length) = json_length else { return Ok(respond::json(answer)) };
    let response = respond::ok(HeaderValue::from_static("application/octet-stream"), answer);
    Ok(respond::header(response, body::JSON_LENGTH, HeaderValue::from(json_length)))
}

/// What of the protocol's extensions is served.
pub(crate) const EXTENSIONS: [&str; 1] = ["binary_tensor_data"];

/// What runs the model, in Triton's words.
pub(crate) const PLATFORM: &str = "onnxruntime_onnx";

pub(super) fn server_metadata() -> Bytes {
    json!({"name": "nimify", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}).to_string().into()
}

pub(super) fn model_metadata(settings: &ServiceSettings, signature: &ModelSignature) -> Bytes {
    let tensors = |specs: &[ValueSpec]| specs.iter().map(tensor_metadata).collect::<Vec<_>>();
    json!({
        "name": settings.name,
        "versions": [settings.version],
        "platform": PLATFORM,
        "inputs": tensors(&signature.inputs),
        "outputs": tensors(&signature.outputs),
    })
    .to_string()
    .into()
}

/// -1 stands for a free dim, and a rank that nobody knows is written as one. What is no tensor travels as JSON texts:
/// one an element of a sequence, one for anything else.
pub(crate) fn wire_shape(spec: &ValueSpec) -> Vec<i64> {
    match spec.present() {
        ValueType::Tensor { shape, .. } => shape.dims().map_or(vec![-1], |dims| dims.iter().map(size).collect()),
        ValueType::Sequence { .. } => vec![-1],
        _ => vec![1],
    }
}

fn tensor_metadata(spec: &ValueSpec) -> Value {
    json!({"name": spec.name, "datatype": spec.wire_type().datatype(), "shape": wire_shape(spec)})
}

fn size(dim: &Dim) -> i64 {
    match dim {
        Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
        Dim::Symbolic(_) | Dim::Unknown => -1,
    }
}
