//! The answers that are errors: one row a status, taken from the runtime's own error type.

use nimify_runtime::error::Error;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response};

use super::{Document, JSON};

/// The two forms of an error's body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"error":{"message","type","code"}}`
    Nim,
    /// `{"error":"…"}`
    Inference,
}

impl Form {
    fn schema(self) -> &'static str {
        match self {
            Form::Nim => "Error",
            Form::Inference => "InferError",
        }
    }
}

/// One of each kind of error that a request to the model can end in, with what it means.
pub(super) fn kinds() -> [(Error, &'static str); 13] {
    let none = String::new;
    [
        (Error::BadRequest(none()), "The request can't be read or doesn't fit the model; the text names the tensor."),
        (Error::Forbidden(none()), "The service asks for a client's certificate, and none was shown."),
        (Error::NotFound(none()), "No such model or version."),
        (Error::MethodNotAllowed(none()), "The route exists, this method doesn't."),
        (Error::RequestTimeout(none()), "The body took too long to arrive."),
        (
            Error::TooLarge { limit: 0, setting: "" },
            "The body is larger than `maxBodyBytes` or `maxBufferedBytes` allows.",
        ),
        (Error::UnsupportedMediaType(none()), "The content type or encoding is not one that the route takes."),
        (Error::Refused(none()), "Well-formed, but the model refused the values."),
        (Error::QueueFull(none()), "Too many requests wait already."),
        (Error::Internal(none()), "A fault of the service itself."),
        (Error::Unsupported(none()), "What was asked for is not built in."),
        (Error::NotReady(none()), "The model is not loaded yet, or the service is stopping."),
        (Error::DeadlineExceeded(none()), "No answer within `requestTimeout`."),
    ]
}

/// Adds the error answers that a request to the model can get.
pub(super) fn of_the_model(mut operation: OperationBuilder, form: Form) -> OperationBuilder {
    for (error, _) in kinds() {
        // A method that the document doesn't name needs no answer in it; predict has no names to miss.
        let elsewhere = matches!(error, Error::MethodNotAllowed(_))
            || (form == Form::Nim && matches!(error, Error::NotFound(_) | Error::Unsupported(_)));
        if !elsewhere {
            operation = one(operation, form, error);
        }
    }
    operation
}

/// Adds one error answer.
pub(super) fn one(operation: OperationBuilder, form: Form, error: Error) -> OperationBuilder {
    operation.response(error.status().to_string(), Ref::from_response_name(response_name(form, &error)))
}

/// Puts the schemas and responses of all errors among the components.
pub(super) fn add(document: &mut Document) {
    let schemas = &mut document.components.schemas;
    schemas.insert(Form::Nim.schema().into(), nim_schema().into());
    schemas.insert(Form::Inference.schema().into(), inference_schema().into());
    for form in [Form::Nim, Form::Inference] {
        for (error, meaning) in kinds() {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(form.schema()))).build();
            let mut response =
                Response::builder().description(format!("{meaning} Type `{}`.", error.kind())).content(JSON, content);
            if form == Form::Inference {
                response = response.description(meaning);
            }
            if matches!(error, Error::QueueFull(_)) {
                let seconds = ObjectBuilder::new().schema_type(Type::Integer);
                let header = Header::builder().schema(Some(seconds)).description(Some("Seconds to wait.")).build();
                response = response.header("Retry-After", header);
            }
            document.components.responses.insert(response_name(form, &error), response.build().into());
        }
    }
    // Components that no route refers to are noise.
    let used: std::collections::BTreeSet<String> = document
        .paths
        .paths
        .values()
        .flat_map(|item| [&item.get, &item.post])
        .flatten()
        .flat_map(|operation| operation.responses.responses.values())
        .filter_map(|response| match response {
            RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_string),
            RefOr::T(_) => None,
        })
        .collect();
    document.components.responses.retain(|name, _| used.contains(name));
}

fn response_name(form: Form, error: &Error) -> String {
    format!("{}{}", form.schema(), error.status())
}

fn nim_schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let kinds = kinds().map(|(error, _)| error.kind());
    let error = ObjectBuilder::new()
        .property("message", text().description(Some("What is wrong, where, and what it should be.")))
        .property("type", text().enum_values(Some(kinds)))
        .property("code", ObjectBuilder::new().schema_type(Type::Integer).description(Some("The HTTP status.")))
        .required("message")
        .required("type")
        .required("code");
    ObjectBuilder::new().property("error", error).required("error").into()
}

fn inference_schema() -> Schema {
    ObjectBuilder::new().property("error", ObjectBuilder::new().schema_type(Type::String)).required("error").into()
}
