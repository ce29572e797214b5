//! Answers: JSON, documents, and an [`Error`] in the words of either family of routes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::route::Style;
use crate::error::Error;

/// An answer of this service.
pub(crate) type Response = hyper::Response<Content>;

/// An answer's body, in memory as a whole.
pub(crate) struct Content {
    whole: Bytes,
    /// It is handed over in parts of so many bytes.
    part: usize,
}

impl Content {
    /// What there is of it.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.whole
    }

    /// Hands it over in parts, so that it can be seen how far the client takes it.
    pub(crate) fn in_parts(&mut self, part: usize) {
        self.part = part;
    }
}

impl<B: Into<Bytes>> From<B> for Content {
    fn from(whole: B) -> Content {
        Content { whole: whole.into(), part: usize::MAX }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.whole.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.whole.len().min(self.part);
        Poll::Ready(Some(Ok(Frame::data(self.whole.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.whole.len() as u64)
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 200 with a body.
pub(crate) fn ok(content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    with_status(StatusCode::OK, content_type, body)
}

/// 200 with JSON.
pub(crate) fn json(body: impl Into<Bytes>) -> Response {
    ok(JSON, body)
}

/// 200 without a body: the status is the answer.
pub(crate) fn empty() -> Response {
    Response::new(Bytes::new().into())
}

fn with_status(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Sets a header.
pub(crate) fn header(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}

/// An error in the style of its route.
pub(crate) fn error(error: &Error, style: Style) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = error.to_string();
    let body = match style {
        Style::Nim => json!({"error": {"message": message, "type": error.kind(), "code": error.status()}}),
        Style::OpenInference => json!({"error": message}),
    };
    let mut response = with_status(status, JSON, body.to_string());
    match error {
        Error::QueueFull(_) => _ = response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1")),
        // The rest of the body is of no use to anybody: the connection can't be used again.
        Error::TooLarge { .. } | Error::RequestTimeout(_) => {
            _ = response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
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
        serde_json::from_slice(response.body().bytes()).unwrap()
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
