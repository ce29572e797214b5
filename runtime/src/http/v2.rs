//! Open Inference Protocol v2: health, metadata, inference in JSON and binary.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::body::{self, Limits};
use super::respond::{self, Response};
use super::route::Target;
use super::session;
use super::upload::Upload;
use crate::app::App;
use crate::codec::v2;
use crate::error::Error;
use crate::inference::{self, Work};
use crate::model_config::{PLATFORM, wire_shape};
use crate::repository;
use crate::settings::ServiceSettings;
use crate::signature::{ModelSignature, ValueSpec};

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
pub(super) fn check_name(app: &App, target: &Target) -> Result<(), Error> {
    repository::check(app, target.model.as_deref(), target.version.as_deref())
}

pub(super) async fn infer(work: &mut Work<'_>, target: &Target, head: Parts, body: Upload) -> Result<Response, Error> {
    let app = work.app;
    check_name(app, target)?;
    body::check_media_type(&head.headers, &["application/json", "application/octet-stream"])?;
    let json_length = body::json_length(&head.headers)?;
    let (body, mut held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let mut request = work.decode(body.len(), || v2::decode(&body, json_length, &app.requests))?;
    held.become_of(|| inference::bytes(&request.inputs));
    drop(body);
    work.urgency = request.urgency;
    work.sequence = match request.sequence.id {
        Some(_) => std::mem::take(&mut request.sequence),
        None => session::of(&head.headers)?,
    };
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = work.run(inputs).await?;
    let model = v2::ModelName { name: &app.settings.name, version: &app.settings.version };
    let (answer, json_length) = work.encode(&outputs, || v2::encode(model, &request, &outputs, &app.signature));
    work.sends(answer.len());
    let Some(json_length) = json_length else { return Ok(respond::json(answer)) };
    let response = respond::ok(HeaderValue::from_static("application/octet-stream"), answer);
    Ok(respond::header(response, body::JSON_LENGTH, HeaderValue::from(json_length)))
}

/// What is served of Triton's extensions, by their names there; sessions are its sequences.
pub(crate) fn extensions(settings: &ServiceSettings) -> Vec<&'static str> {
    let always = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "schedule_policy"];
    let sequence = (!settings.state.pairs.is_empty()).then_some("sequence");
    always.into_iter().chain(sequence).chain(["statistics"]).collect()
}

pub(super) fn server_metadata(settings: &ServiceSettings) -> Bytes {
    let extensions = extensions(settings);
    json!({"name": "nimify", "version": env!("CARGO_PKG_VERSION"), "extensions": extensions}).to_string().into()
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

fn tensor_metadata(spec: &ValueSpec) -> Value {
    json!({"name": spec.name, "datatype": spec.wire_type().datatype(), "shape": wire_shape(spec)})
}
