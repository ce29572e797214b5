//! Health, metrics and metadata: the routes that NIM's tools ask for, all by GET.

use nimify_runtime::error::Error;
use serde_json::{Value, json};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, Response};

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
