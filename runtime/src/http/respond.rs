//! Answers: JSON, documents, and an [`Error`] in the words of either family of routes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::encoding;
use super::files::Blocks;
use super::route::Style;
use crate::error::Error;
use crate::inference::Budget;

/// An answer of this service.
pub(crate) type Response = hyper::Response<Content>;

/// An answer's body.
pub(crate) enum Content {
    /// In memory.
    Whole {
        /// What is left of it.
        bytes: Bytes,
        /// It is handed over in parts of so many bytes.
        part: usize,
    },
    /// Coming.
    Events(mpsc::Receiver<Bytes>),
    /// In a file.
    File(Blocks),
}

impl Content {
    /// All of it, where it is in memory.
    pub(crate) fn whole(&self) -> Option<&Bytes> {
        match self {
            Content::Whole { bytes, .. } => Some(bytes),
            Content::Events(_) | Content::File(_) => None,
        }
    }

    /// Counts what is in memory of it until the client has taken it.
    pub(crate) fn count(&mut self, budget: &Budget) {
        if let Content::Whole { bytes, .. } = self {
            *bytes = budget.unsent(std::mem::take(bytes));
        }
    }

    /// Hands it over in parts, so that it can be seen how far the client takes it.
    pub(crate) fn in_parts(&mut self, size: usize) {
        if let Content::Whole { part, .. } = self {
            *part = size;
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content::Whole { bytes, part: usize::MAX }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Content {
        Bytes::from(text).into()
    }
}

impl From<&'static [u8]> for Content {
    fn from(bytes: &'static [u8]) -> Content {
        Bytes::from_static(bytes).into()
    }
}

impl From<mpsc::Receiver<Bytes>> for Content {
    fn from(coming: mpsc::Receiver<Bytes>) -> Content {
        Content::Events(coming)
    }
}

impl From<Blocks> for Content {
    fn from(file: Blocks) -> Content {
        Content::File(file)
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Content::Whole { bytes, .. } if bytes.is_empty() => Poll::Ready(None),
            Content::Whole { bytes, part } => {
                let length = bytes.len().min(*part);
                Poll::Ready(Some(Ok(Frame::data(bytes.split_to(length)))))
            }
            Content::Events(coming) => coming.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
            Content::File(file) => file.poll_next(cx).map(|block| block.map(|block| Ok(Frame::data(block)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Whole { bytes, .. } => bytes.is_empty(),
            Content::Events(_) => false,
            Content::File(file) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Content::Events(_) => SizeHint::default(),
            Content::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with a body.
pub(crate) fn ok(content_type: HeaderValue, body: impl Into<Content>) -> Response {
    with_status(StatusCode::OK, content_type, body)
}

/// 200 with JSON.
pub(crate) fn json(body: impl Into<Content>) -> Response {
    ok(JSON, body)
}

/// A value as JSON.
pub(crate) fn written(value: &impl Serialize) -> Result<Bytes, Error> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from).map_err(|error| Error::Internal(format!("can't write the answer: {error}")))
}

/// 200 without a body: the status is the answer.
pub(crate) fn empty() -> Response {
    Response::new(Bytes::new().into())
}

fn with_status(status: StatusCode, content_type: HeaderValue, body: impl Into<Content>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Sets a header.
pub(crate) fn header(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// Keeps the body's length and leaves the body out, as HEAD has it: hyper does so for HTTP/1 alone.
pub(crate) fn leave_body_out(response: &mut Response) {
    if let Some(whole) = response.body().whole() {
        let length = HeaderValue::from(whole.len());
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    *response.body_mut() = Bytes::new().into();
}

/// NIM's error object.
pub(crate) fn nim_error(error: &Error) -> String {
    json!({"error": {"message": error.to_string(), "type": error.kind(), "code": error.status()}}).to_string()
}

/// An error in the style of its route.
pub(crate) fn error(error: &Error, style: Style) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match style {
        Style::Nim => nim_error(error),
        Style::OpenInference => json!({"error": error.to_string()}).to_string(),
    };
    let mut response = with_status(status, JSON, body);
    match error {
        Error::QueueFull(_) => _ = response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1")),
        Error::UnsupportedMediaType(_) => _ = response.headers_mut().insert(ACCEPT_ENCODING, encoding::ACCEPTED),
        // The rest of the body is of no use to anybody: the connection can't be used again.
        Error::TooLarge { .. } | Error::RequestTimeout(_) => {
            _ = response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// An error in NIM's style, with `more` properties in its object.
pub(crate) fn error_with(error: &Error, more: Value) -> Response {
    let mut body = json!({"message": error.to_string(), "type": error.kind(), "code": error.status()});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_status(status, JSON, json!({"error": body}).to_string())
}

/// 405, with the method that the route does take.
pub(crate) fn method_not_allowed(got: &Method, takes: &Method, path: &str, style: Style) -> Response {
    let wrong = Error::MethodNotAllowed(format!("`{path}` takes {takes}, not {got}"));
    let allow = if *takes == Method::GET { "GET, HEAD" } else { "POST" };
    header(error(&wrong, style), ALLOW, HeaderValue::from_static(allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: Response) -> serde_json::Value {
        serde_json::from_slice(response.body().whole().unwrap()).unwrap()
    }

    #[test]
    fn each_family_gets_its_own_words() {
        let wrong = Error::BadRequest("`x` is \"odd\"".into());
        let nim = error(&wrong, Style::Nim);
        assert_eq!(nim.status(), 400);
        let expected = json!({"error":{"message":"`x` is \"odd\"","type":"invalid_request_error","code":400}});
        assert_eq!(body(nim), expected);
        assert_eq!(body(error(&wrong, Style::OpenInference)), json!({"error":"`x` is \"odd\""}));
    }

    #[test]
    fn a_full_queue_says_when_to_come_again() {
        assert_eq!(error(&Error::QueueFull("full".into()), Style::Nim).headers()[RETRY_AFTER], "1");
        let response = method_not_allowed(&Method::PUT, &Method::POST, "/v1/predict", Style::Nim);
        assert_eq!((response.status().as_u16(), &response.headers()[ALLOW]), (405, &HeaderValue::from_static("POST")));
    }
}
