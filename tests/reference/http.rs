//! The routes, and the errors that they answer.

use nimify_runtime::error::Error;
use nimify_runtime::http::route::Route;

use super::{code, table};

pub(super) fn routes() -> String {
    let served = Route::ALL.iter().filter(|route| **route != Route::Unknown);
    let rows = served.map(|route| vec![route.method().to_string(), code(route.label()), route.doc().into()]);
    table(&["method", "path", "what it answers"], rows)
}

/// Each kind of error once. The match makes a new kind fail to compile here until it stands in the list too.
pub(super) fn all_errors() -> [Error; 13] {
    let text = String::new;
    [
        Error::BadRequest(text()),
        Error::Forbidden(text()),
        Error::NotFound(text()),
        Error::MethodNotAllowed(text()),
        Error::RequestTimeout(text()),
        Error::TooLarge { limit: 0, setting: "" },
        Error::UnsupportedMediaType(text()),
        Error::Refused(text()),
        Error::QueueFull(text()),
        Error::Internal(text()),
        Error::Unsupported(text()),
        Error::NotReady(text()),
        Error::DeadlineExceeded(text()),
    ]
}

pub(super) fn when(error: &Error) -> &'static str {
    match error {
        Error::BadRequest(_) => {
            "the body can't be read or doesn't fit the signature: the message names the tensor, what it should be and \
             what came"
        }
        Error::Forbidden(_) => "`server.tls.clientCa` is set and the client showed no certificate",
        Error::NotFound(_) => "no such route, model, version or session, or no licence or sample came with the model",
        Error::MethodNotAllowed(_) => "the route exists, the method doesn't; `Allow` says which does",
        Error::RequestTimeout(_) => "the body took longer than `readTimeout`",
        Error::TooLarge { .. } => "the body is larger than `maxBodyBytes`, or than `maxBufferedBytes` lets any be",
        Error::UnsupportedMediaType(_) => "a content type or content encoding that the route doesn't take",
        Error::Refused(_) => "well-formed, but the model refused the values",
        Error::QueueFull(_) => {
            "`maxQueue` requests wait, `maxConcurrency` are in work, `maxConnections` are open, requests and \
             unread answers hold `maxBufferedBytes`, or sessions are at their bounds; `Retry-After` is set"
        }
        Error::Internal(_) => "a fault of the service itself, never of the request",
        Error::Unsupported(_) => "a part of the Open Inference Protocol that is not built in",
        Error::NotReady(_) => "the model is still loading, or the service is stopping",
        Error::DeadlineExceeded(_) => "no answer within `requestTimeout`, or the request's own `timeout`",
    }
}

pub(super) fn errors() -> String {
    let rows = all_errors();
    let rows = rows.iter().map(|error| vec![error.status().to_string(), code(error.kind()), when(error).into()]);
    table(&["status", "`type`", "when"], rows)
}
