//! Health, metrics and metadata: the routes that NIM's tools ask for, all by GET.

use std::collections::BTreeSet;

use nimify_runtime::error::Error;
use nimify_runtime::http::media_type;
use nimify_runtime::settings::{SideFile, SideKind};
use serde_json::{Value, json};
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{HttpMethod, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, Required, Response};

use super::errors::{self, Form};
use super::{Document, JSON, MANAGEMENT, json_answer, operation};
use crate::plan::ServicePlan;

/// Adds the routes and the schemas of their answers.
pub(super) fn add(document: &mut Document, plan: &ServicePlan) {
    for (name, schema) in schemas() {
        document.components.schemas.insert(name.into(), schema.into());
    }
    for (path, id, summary, schema) in [
        ("/v1/health/live", "live", "Whether the process lives", "Health"),
        ("/v1/health/ready", "ready", "Whether requests are answered", "Health"),
        ("/v1/models", "models", "The models served", "Models"),
        ("/v1/metadata", "metadata", "The model's and the service's metadata", "Metadata"),
        ("/v1/manifest", "manifest", "The files of the model", "Manifest"),
        ("/v1/license", "license", "The model's licence", "License"),
        ("/v1/version", "version", "The versions of the service and its API", "Version"),
    ] {
        let mut operation = operation(MANAGEMENT, id, summary).response("200", json_answer(summary, schema));
        if id == "ready" {
            operation = errors::one(operation, Form::Nim, Error::NotReady(String::new()));
        }
        if id == "license" && plan.settings.license.is_none() {
            operation = errors::one(operation, Form::Nim, Error::NotFound(String::new()));
        }
        document.route(path, HttpMethod::Get, operation);
    }
    if !plan.settings.model.side_files.is_empty() {
        side_files(document, &plan.settings.model.side_files);
    }
    for (path, id, summary, media_type) in [
        ("/metrics", "metrics", "Prometheus metrics", "text/plain"),
        ("/v1/metrics", "metricsOfV1", "Prometheus metrics: the same as `/metrics`", "text/plain"),
        ("/openapi.json", "openapi", "This document", JSON),
        ("/docs", "docs", "This document as a page", "text/html"),
        ("/debug", "debug", "Latency, batches and queue as they are now, as a page", "text/html"),
    ] {
        let schema = if media_type == JSON { SchemaType::from(Type::Object) } else { Type::String.into() };
        let content = ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(schema))).build();
        let answer = Response::builder().description(summary).content(media_type, content);
        document.route(path, HttpMethod::Get, operation(MANAGEMENT, id, summary).response("200", answer));
    }
}

/// The files that came with the model: their list in the metadata, and each by its name.
fn side_files(document: &mut Document, sides: &[SideFile]) {
    let kinds = SideKind::ALL.map(SideKind::word);
    let side = ObjectBuilder::new()
        .property("name", name_of(sides))
        .property("kind", text().enum_values(Some(kinds)))
        .property("size", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))
        .property("digest", text().pattern(Some("^sha256:[0-9a-f]{64}$")));
    let side = ["name", "kind", "size", "digest"].into_iter().fold(side, ObjectBuilder::required);
    let metadata = ObjectBuilder::new()
        .property("version", text())
        .property("sideFiles", ArrayBuilder::new().items(Ref::from_schema_name("SideFile")))
        .required("version");
    document.components.schemas.insert("SideFile".into(), Schema::from(side).into());
    document.components.schemas.insert("Metadata".into(), Schema::from(metadata).into());
    let name = Parameter::builder()
        .name("file")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(name_of(sides)));
    let etag = Header::builder().schema(Some(text())).description(Some("The digest, quoted: for `If-None-Match`."));
    let types: BTreeSet<&str> = sides.iter().map(|side| media_type(&side.name)).collect();
    let answer = Response::builder().description("The file as it came.").header("ETag", etag.build());
    let answer = types.into_iter().fold(answer, |answer, media_type| {
        let media_type = media_type.split(';').next().unwrap_or_default();
        let schema = (media_type != JSON).then(|| ObjectBuilder::new().schema_type(Type::String));
        answer.content(media_type, ContentBuilder::new().schema(schema).build())
    });
    let operation = operation(MANAGEMENT, "sideFile", "A file that came with the model")
        .parameter(name)
        .response("200", answer)
        .response("304", Response::new("The client has it: `If-None-Match` names its `ETag`."));
    let operation = errors::one(operation, Form::Nim, Error::NotFound(String::new()));
    document.route("/v1/metadata/files/{file}", HttpMethod::Get, operation);
}

fn name_of(sides: &[SideFile]) -> ObjectBuilder {
    text().enum_values(Some(sides.iter().map(|side| side.name.as_str())))
}

/// The schemas of the answers: an object each, with the properties that are always there.
fn schemas() -> [(&'static str, Schema); 7] {
    let list = |name: &str| -> Schema {
        ObjectBuilder::new()
            .property("object", text())
            .property("data", ArrayBuilder::new().items(Ref::from_schema_name(name)))
            .required("object")
            .required("data")
            .into()
    };
    [
        ("Health", object(&["object", "message", "status"], json!({"object": "health.response"}))),
        ("Model", object(&["id", "object", "owned_by"], json!({}))),
        ("Models", list("Model")),
        ("Metadata", object(&["version"], json!({}))),
        ("Manifest", object(&["manifest_file"], json!({}))),
        ("License", object(&["name", "path", "sha", "type", "content"], json!({}))),
        ("Version", object(&["release", "api"], json!({}))),
    ]
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// An object of texts; `constants` are the values that never change. More properties may come.
fn object(properties: &[&str], constants: Value) -> Schema {
    properties
        .iter()
        .fold(ObjectBuilder::new(), |object, &property| {
            let constant = constants.get(property).cloned();
            object.property(property, text().enum_values(constant.map(|value| [value]))).required(property)
        })
        .into()
}
