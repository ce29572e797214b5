//! Triton's extensions of the Open Inference Protocol: statistics, configuration, repository.

use nimify_runtime::error::Error;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response};

use super::errors::{self, Form};
use super::inference::{list, name_parameter, not_found, object, reference, text};
use super::{Document, INFERENCE, JSON, json_answer, operation};
use crate::plan::ServicePlan;

/// Adds the routes below a model; `named` begins an operation with the parameters of their path.
pub(super) fn of_the_model(document: &mut Document, base: &str, named: impl Fn(&str, &str) -> OperationBuilder) {
    let statistics = named("modelStatistics", "What the model has done so far")
        .response("200", json_answer("The statistics of the model.", "Statistics"));
    document.route(format!("{base}/stats"), HttpMethod::Get, not_found(statistics));
    let config = named("modelConfig", "How the model is served, in Triton's words")
        .response("200", json_answer("The model's configuration.", "ModelConfig"));
    document.route(format!("{base}/config"), HttpMethod::Get, not_found(config));
}

/// Adds the other routes, and the schemas of all.
pub(super) fn add(document: &mut Document, plan: &ServicePlan) {
    for (name, schema) in schemas() {
        document.components.schemas.insert(name.into(), schema);
    }
    let statistics = operation(INFERENCE, "statistics", "What the models have done so far")
        .response("200", json_answer("The statistics of the one model.", "Statistics"));
    document.route("/v2/models/stats", HttpMethod::Get, statistics);
    document.route("/v2/repository/index", HttpMethod::Post, index());
    for (path, id, summary) in [
        ("/v2/repository/models/{model}/load", "repositoryLoad", "Nothing: the model is loaded at the start"),
        ("/v2/repository/models/{model}/unload", "repositoryUnload", "Nothing: the model stays"),
    ] {
        let control = operation(INFERENCE, id, summary).parameter(name_parameter(plan));
        let control = errors::one(not_found(control), Form::Inference, Error::Unsupported(String::new()));
        document.route(path, HttpMethod::Post, control);
    }
}

fn index() -> OperationBuilder {
    let content = ContentBuilder::new().schema(Some(reference("RepositoryIndexRequest"))).build();
    let body = RequestBodyBuilder::new().description(Some("May be empty.")).content(JSON, content).build();
    let entries = ContentBuilder::new().schema(Some(reference("RepositoryIndex"))).build();
    let answer = Response::builder().description("Every model and its state.").content(JSON, entries);
    let text = String::new;
    let refused = [
        Error::BadRequest(text()),
        Error::RequestTimeout(text()),
        Error::TooLarge { limit: 0, setting: "" },
        Error::UnsupportedMediaType(text()),
        Error::QueueFull(text()),
    ];
    let operation = operation(INFERENCE, "repositoryIndex", "The list of models, one long, and their states")
        .request_body(Some(body))
        .response("200", answer);
    refused.into_iter().fold(operation, |operation, error| errors::one(operation, Form::Inference, error))
}

fn count() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
}

fn schemas() -> Vec<(&'static str, RefOr<Schema>)> {
    let durations = |names: &[&str]| -> RefOr<Schema> {
        let durations = names.iter().fold(ObjectBuilder::new(), |object, name| {
            object.property(*name, Ref::from_schema_name("StatisticDuration")).required(*name)
        });
        durations.into()
    };
    let stages =
        ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"];
    let batch = object([
        ("batch_size", count(), true),
        ("compute_input", reference("StatisticDuration"), true),
        ("compute_infer", reference("StatisticDuration"), true),
        ("compute_output", reference("StatisticDuration"), true),
    ]);
    let model = object([
        ("name", text().into(), true),
        ("version", text().into(), true),
        ("last_inference", count(), true),
        ("inference_count", count(), true),
        ("execution_count", count(), true),
        ("inference_stats", durations(&stages), true),
        ("batch_stats", list(batch).into(), true),
    ]);
    let whole = || ObjectBuilder::new().schema_type(Type::Integer);
    let port = || {
        object([
            ("name", text().into(), true),
            ("data_type", text().into(), true),
            ("dims", list(whole().minimum(Some(-1)).into()).into(), true),
        ])
    };
    let config = object([
        ("name", text().into(), true),
        ("platform", text().into(), true),
        ("backend", text().into(), true),
        ("max_batch_size", count(), true),
        ("input", list(port()).into(), true),
        ("output", list(port()).into(), true),
    ]);
    let state = text().enum_values(Some(["READY", "LOADING", "UNLOADING"]));
    let entry = object([
        ("name", text().into(), true),
        ("version", text().into(), true),
        ("state", state.into(), true),
        ("reason", text().into(), true),
    ]);
    let ready = ObjectBuilder::new().schema_type(Type::Boolean);
    vec![
        ("StatisticDuration", object([("count", count(), true), ("ns", count(), true)])),
        ("Statistics", object([("model_stats", list(model).into(), true)])),
        ("ModelConfig", config),
        ("RepositoryIndexRequest", object([("ready", ready.into(), false)])),
        ("RepositoryIndex", list(entry).into()),
    ]
}
