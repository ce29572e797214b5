//! The methods of gRPC, and the codes that calls end with.

use nimify_runtime::error::Error;
use nimify_runtime::grpc::method::Method;

use super::{code, http, table};

pub(super) fn methods() -> String {
    let served = Method::ALL.iter().filter(|method| **method != Method::Unknown);
    table(&["method", "what it answers"], served.map(|method| vec![code(method.label()), method.doc().into()]))
}

/// As HTTP's errors; a wrong method is a path that nobody serves.
pub(super) fn codes() -> String {
    let errors = http::all_errors();
    let told = errors.iter().filter(|error| !matches!(error, Error::MethodNotAllowed(_)));
    let rows = told.map(|error| {
        let name = format!("{} ({})", code(error.code().name()), error.code() as u16);
        vec![name, error.status().to_string(), http::when(error).replace("`Retry-After`", "`grpc-retry-pushback-ms`")]
    });
    table(&["code", "HTTP's status", "when"], rows)
}
