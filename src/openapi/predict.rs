//! `POST /v1/predict` and its alias: one property a tensor, nested arrays.

use nimify_runtime::state;
use serde_json::Value;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, Required, Response};

use super::schema::Direction;
use super::{Document, JSON, PREDICT, errors, example, json_answer, operation, schema, session};
use crate::plan::ServicePlan;

/// Adds both routes and the schemas of request and response.
pub(super) fn add(document: &mut Document, plan: &ServicePlan) {
    let components = &mut document.components;
    let described = state::described(&plan.settings.state, &plan.signature);
    let (inputs, outputs) = (&described.inputs, &described.outputs);
    let request = schema::object(inputs, Direction::Request, "One property an input of the model.", components);
    let response = schema::object(outputs, Direction::Answer, "One property an output of the model.", components);
    components.schemas.insert("PredictRequest".into(), request.into());
    components.schemas.insert("PredictResponse".into(), response.into());

    for (path, id, summary) in [
        ("/v1/predict", "predict", "Run the model"),
        ("/v1/infer", "predictByInfer", "Run the model: the same as `/v1/predict`"),
    ] {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("PredictRequest")))
            .example(example::predict(plan))
            .build();
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(Required::True)).build();
        let operation = operation(PREDICT, id, summary)
            .description(Some(description(plan)))
            .request_body(Some(body))
            .response("200", with_events(json_answer("The model's outputs.", "PredictResponse")));
        let operation = session::headers(operation, plan, errors::Form::Nim);
        document.route(path, HttpMethod::Post, errors::of_the_model(operation, errors::Form::Nim));
    }
}

/// Labels that are told one by one.
const MOST_LABELS: usize = 100;

/// How requests are joined, and what the classes are called.
fn description(plan: &ServicePlan) -> String {
    let mut text = format!("Batching: {}", plan.signature.batching.reason());
    for (output, labels) in &plan.settings.model.labels {
        // Quoted: a label may have a comma.
        let told: Vec<_> =
            labels.iter().take(MOST_LABELS).map(|label| Value::from(label.as_str()).to_string()).collect();
        let more = if labels.len() > MOST_LABELS { ", … (all of them in `/v1/metadata`)" } else { "" };
        text += &format!("\n\nThe {} classes of `{output}`, in order: {}{more}", labels.len(), told.join(", "));
    }
    text
}

/// The same answer, part by part, for clients that accept `text/event-stream`.
fn with_events(mut answer: Response) -> Response {
    let text = ObjectBuilder::new().schema_type(Type::String).description(Some(EVENTS)).build();
    answer.content.insert("text/event-stream".into(), ContentBuilder::new().schema(Some(text)).build().into());
    answer
}

const EVENTS: &str = "The rows in parts of at most `maxBatchSize`: `event: rows`, with the rows' range as its id \
(`0-32`) and a `PredictResponse` as its data; at the end `event: done`, or `event: error` with an `Error`.";
