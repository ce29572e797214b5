//! The headers of sessions, on the routes that run the model, where state is kept.

use nimify_runtime::error::Error;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Required};

use super::errors::{self, Form};
use crate::plan::ServicePlan;

/// Adds them, and the answer to a session that isn't kept.
pub(super) fn headers(operation: OperationBuilder, plan: &ServicePlan, form: Form) -> OperationBuilder {
    if plan.settings.state.is_off() {
        return operation;
    }
    let header = |name: &str, kind, description: &str| {
        let schema: RefOr<_> = ObjectBuilder::new().schema_type(kind).into();
        Parameter::builder()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .build()
    };
    let operation = operation
        .parameter(header("Nimify-Session", Type::String, "The session whose state the request continues."))
        .parameter(header("Nimify-Session-Start", Type::Boolean, "It is the session's first request."))
        .parameter(header("Nimify-Session-End", Type::Boolean, "It is the session's last request."));
    errors::one(operation, form, Error::NotFound(String::new()))
}
