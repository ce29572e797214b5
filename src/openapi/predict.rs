//! `POST /v1/predict` and its alias: one property a tensor, nested arrays.

use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, Ref, Required};

use super::schema::Direction;
use super::{Document, JSON, PREDICT, errors, example, json_answer, operation, schema};
use crate::plan::ServicePlan;

/// Adds both routes and the schemas of request and response.
pub(super) fn add(document: &mut Document, plan: &ServicePlan) {
    let components = &mut document.components;
    let (inputs, outputs) = (&plan.signature.inputs, &plan.signature.outputs);
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
            .description(Some(format!("Batching: {}", plan.signature.batching.reason())))
            .request_body(Some(body))
            .response("200", json_answer("The model's outputs.", "PredictResponse"));
        document.route(path, HttpMethod::Post, errors::of_the_model(operation, errors::Form::Nim));
    }
}
