//! The REST routes of the Open Inference Protocol, version 2.

use std::collections::BTreeSet;

use nimify_runtime::error::Error;
use nimify_runtime::repository::version_number;
use nimify_runtime::signature::{ValueSpec, ValueType};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response};

use super::errors::{self, Form};
use super::{Document, INFERENCE, JSON, example, extensions, json_answer, operation, session};
use crate::plan::ServicePlan;

const BINARY: &str = "application/octet-stream";

/// Adds the routes and their schemas.
pub(super) fn add(document: &mut Document, plan: &ServicePlan) {
    for (name, schema) in schemas(plan) {
        document.components.schemas.insert(name.into(), schema);
    }
    let server = operation(INFERENCE, "serverMetadata", "The server's name, version and extensions");
    let answer = json_answer("The server's metadata.", "ServerMetadata");
    document.route("/v2", HttpMethod::Get, server.response("200", answer));
    for (path, id, summary) in [
        ("/v2/health/live", "serverLive", "Whether the process lives"),
        ("/v2/health/ready", "serverReady", "Whether requests are answered"),
    ] {
        let operation = operation(INFERENCE, id, summary).response("200", Response::new("Yes; the status says it."));
        document.route(path, HttpMethod::Get, ready(operation));
    }
    for (base, suffix) in [("/v2/models/{model}", ""), ("/v2/models/{model}/versions/{version}", "OfVersion")] {
        let named = |id: &str, summary: &str| {
            let operation = operation(INFERENCE, &format!("{id}{suffix}"), summary).parameter(name_parameter(plan));
            if suffix.is_empty() { operation } else { operation.parameter(version_parameter(plan)) }
        };
        let metadata = named("modelMetadata", "Names, types and shapes of inputs and outputs")
            .response("200", json_answer("The model's metadata.", "ModelMetadata"));
        document.route(base, HttpMethod::Get, not_found(metadata));
        let readiness = named("modelReady", "Whether the model is loaded")
            .response("200", Response::new("Yes; the status says it."));
        document.route(format!("{base}/ready"), HttpMethod::Get, not_found(ready(readiness)));
        let infer = infer(named("modelInfer", "Run the model"), plan);
        document.route(format!("{base}/infer"), HttpMethod::Post, infer);
        extensions::of_the_model(document, base, named);
    }
    extensions::add(document, plan);
}

fn ready(operation: OperationBuilder) -> OperationBuilder {
    errors::one(operation, Form::Inference, Error::NotReady(String::new()))
}

pub(super) fn not_found(operation: OperationBuilder) -> OperationBuilder {
    errors::one(operation, Form::Inference, Error::NotFound(String::new()))
}

fn infer(operation: OperationBuilder, plan: &ServicePlan) -> OperationBuilder {
    let binary = || {
        let body = ObjectBuilder::new().schema_type(Type::String).content_media_type(BINARY);
        ContentBuilder::new().schema(Some(body)).build()
    };
    let request = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("InferRequest")))
        .example(example::infer(&plan.signature))
        .build();
    let body = RequestBodyBuilder::new()
        .description(Some(
            "JSON, or JSON followed by the tensors' bytes: then the header gives the length of the JSON.",
        ))
        .content(JSON, request)
        .content(BINARY, binary())
        .required(Some(Required::True))
        .build();
    let answer = ContentBuilder::new().schema(Some(Ref::from_schema_name("InferResponse"))).build();
    let answer =
        Response::builder().description("The model's outputs.").content(JSON, answer).content(BINARY, binary());
    let length = Parameter::builder()
        .name("Inference-Header-Content-Length")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0))));
    let operation = operation.parameter(length).request_body(Some(body)).response("200", answer);
    let operation = session::headers(operation, plan, Form::Inference);
    errors::of_the_model(operation, Form::Inference)
}

pub(super) fn name_parameter(plan: &ServicePlan) -> Parameter {
    path_parameter("model", [plan.settings.name.as_str()])
}

fn version_parameter(plan: &ServicePlan) -> Parameter {
    let version = &plan.settings.version;
    path_parameter("version", BTreeSet::from([version.as_str(), &version_number(version)]))
}

/// A part of the path that has these values alone: the service serves one version of one model.
fn path_parameter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Parameter {
    Parameter::builder()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(text().enum_values(Some(values))))
        .build()
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

pub(super) fn reference(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

/// An object that may have more properties than these; those with `true` are required.
pub(super) fn object<const N: usize>(properties: [(&str, RefOr<Schema>, bool); N]) -> RefOr<Schema> {
    properties
        .into_iter()
        .fold(ObjectBuilder::new(), |object, (name, schema, required)| {
            let object = object.property(name, schema);
            if required { object.required(name) } else { object }
        })
        .into()
}

pub(super) fn list(items: RefOr<Schema>) -> ArrayBuilder {
    ArrayBuilder::new().items(items)
}

fn schemas(plan: &ServicePlan) -> Vec<(&'static str, RefOr<Schema>)> {
    let (inputs, outputs) = (&plan.signature.inputs, &plan.signature.outputs);
    let free = || -> RefOr<Schema> { ObjectBuilder::new().schema_type(Type::Object).into() };
    let element = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Number, Type::String, Type::Boolean]));
    let data = OneOfBuilder::new()
        .item(element)
        .item(list(reference("TensorData")))
        .description(Some("Elements, row-major, nested or flat; one alone without brackets where it is a scalar."));
    // The protocol asks for the list; a model that needs nothing is content without.
    let needs_inputs = inputs.iter().any(|spec| !matches!(spec.value_type, ValueType::Optional { .. }));
    let sizes = |minimum: i64| list(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum)).into());
    let tensor = |specs: &[ValueSpec]| {
        object([
            ("name", names(specs), true),
            ("shape", sizes(0).into(), true),
            ("datatype", datatypes(specs), true),
            ("parameters", free(), false),
            ("data", reference("TensorData"), false),
        ])
    };
    let metadata = object([
        ("name", text().into(), true),
        ("datatype", text().into(), true),
        ("shape", sizes(-1).description(Some("-1 where the size is free")).into(), true),
    ]);
    let texts = || list(text().into()).into();
    vec![
        ("TensorData", data.into()),
        ("InferInput", tensor(inputs)),
        ("InferOutput", tensor(outputs)),
        ("InferRequestedOutput", object([("name", names(outputs), true), ("parameters", free(), false)])),
        (
            "InferRequest",
            object([
                ("id", text().into(), false),
                ("parameters", free(), false),
                ("inputs", list(reference("InferInput")).into(), needs_inputs),
                ("outputs", list(reference("InferRequestedOutput")).into(), false),
            ]),
        ),
        (
            "InferResponse",
            object([
                ("model_name", text().into(), true),
                ("model_version", text().into(), false),
                ("id", text().into(), false),
                ("parameters", free(), false),
                ("outputs", list(reference("InferOutput")).into(), true),
            ]),
        ),
        ("TensorMetadata", metadata),
        (
            "ModelMetadata",
            object([
                ("name", text().into(), true),
                ("versions", texts(), false),
                ("platform", text().into(), true),
                ("inputs", list(reference("TensorMetadata")).into(), true),
                ("outputs", list(reference("TensorMetadata")).into(), true),
            ]),
        ),
        (
            "ServerMetadata",
            object([("name", text().into(), true), ("version", text().into(), true), ("extensions", texts(), true)]),
        ),
    ]
}

fn names(specs: &[ValueSpec]) -> RefOr<Schema> {
    one_of_these(specs.iter().map(|spec| spec.name.as_str()))
}

fn datatypes(specs: &[ValueSpec]) -> RefOr<Schema> {
    one_of_these(specs.iter().filter_map(|spec| spec.wire_type().datatype()))
}

/// A text that is one of these; any text where there are none, since an enumeration may not be empty.
fn one_of_these<'a>(texts: impl Iterator<Item = &'a str>) -> RefOr<Schema> {
    let texts: BTreeSet<&str> = texts.collect();
    if texts.is_empty() { text().into() } else { text().enum_values(Some(texts)).into() }
}
