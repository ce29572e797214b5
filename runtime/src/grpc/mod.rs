//! gRPC: a call's head → its method → an answer and how it ended, with a request id on it and a count in the metrics.
//!
//! gRPC is HTTP/2 with five bytes in front of each message and a status behind the last, so that the connections, the
//! limits and the lifecycle are those of HTTP: [`message`] reads and writes messages, [`status`] the rest of the
//! protocol. One file a family of methods: `infer`, `health`, `reflection`, and `documents` for what needs no model.

mod body;
mod compression;
mod documents;
mod health;
mod infer;
mod mapping;
mod message;
pub mod method;
mod reflection;
mod seen;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};

pub(crate) use self::body::Body;
use self::message::{Messages, compressed};
#[doc(hidden)]
pub use self::message::{framed, messages};
use self::method::Method;
use self::seen::Seen;
use crate::app::App;
use crate::error::Error;
use crate::http::encoding::Coding;
use crate::http::{Access, Limits, REQUEST_ID, guarded};
use crate::inference::Work;
use crate::trace::context::TRACERESPONSE;
use crate::trace::{Detached, Place, Span};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What a call's head says.
struct Call {
    begun: Instant,
    /// The request's id, which each message of a stream is logged with.
    id: HeaderValue,
    /// How long the client waits.
    timeout: Option<Duration>,
    /// How its messages are compressed, and how its answers may be; `None` for as they are.
    encoding: Option<Coding>,
    answers: Option<Coding>,
    /// Its metadata, where each message of a stream is recorded.
    metadata: Option<HeaderMap>,
    /// Where it is recorded, if it is one inference.
    recorded: Option<Detached>,
    /// Its place in the trace that it is recorded in.
    place: Option<Place>,
}

impl Call {
    fn new(app: &App, begun: Instant, method: Method, id: &HeaderValue, head: &Parts) -> Result<Call, Error> {
        let encoding = compression::of(&head.headers)?;
        let answers = encoding.filter(|coding| compression::is_taken(*coding, &head.headers));
        let timeout = status::timeout(&head.headers)?;
        let (mut metadata, mut span) = (None, None);
        if let (Some(traces), Some((service, name))) = (&app.traces, method.parts()) {
            match method {
                Method::ModelInfer => span = traces.call(&head.headers, service, name),
                Method::ModelStreamInfer => metadata = Some(head.headers.clone()),
                _ => {}
            }
        }
        let place = span.as_ref().map(Span::place);
        let recorded = span.and_then(Span::detach);
        Ok(Call { begun, id: id.clone(), timeout, encoding, answers, metadata, recorded, place })
    }

    /// The one inference of the call.
    fn only<'a>(&mut self, app: &'a App) -> Work<'a> {
        let mut work = Work::begin(app);
        work.resume_trace(self.recorded.take());
        work
    }

    /// One inference of a stream.
    fn next<'a>(&self, app: &'a App) -> Work<'a> {
        let mut work = Work::begin(app);
        if let (Some(metadata), Some((service, name))) = (&self.metadata, Method::ModelStreamInfer.parts()) {
            work.continue_trace(metadata, service, name);
        }
        work
    }

    /// How long the client still waits.
    fn left(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout.saturating_sub(self.begun.elapsed()))
    }
}

/// Answers one call. Never fails: what goes wrong is in the answer.
pub(crate) async fn answer(app: &Arc<App>, access: Access, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let id = app.ids.of(&head.headers);
    if !is_grpc(&head) {
        return no_grpc(id);
    }
    let method = Method::find(head.uri.path());
    let mut seen = Seen::begin(app, method, id.clone());
    seen.called_by(&head.headers);
    let begun = seen.begun();
    let call = access.check(app, method.is_health()).and_then(|()| Call::new(app, begun, method, &id, &head));
    let place = call.as_ref().ok().and_then(|call| call.place);
    seen.recorded(place);
    let called = match call {
        Ok(call) => guarded(app, dispatch(app, method, call, &head, body, &mut seen)).await,
        Err(error) => Err(error),
    };
    // A stream of inferences counts each of them.
    seen.answered(called.as_ref().err(), method == Method::ModelStreamInfer);
    let mut response = called.unwrap_or_else(|error| {
        let mut response = Response::new(Body::empty());
        status::insert(response.headers_mut(), Some(&error));
        if let Error::UnsupportedMediaType(_) = error {
            response.headers_mut().insert(compression::ACCEPTED, compression::TAKES);
        }
        response
    });
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(place) = place {
        response.headers_mut().insert(TRACERESPONSE, place.header());
    }
    response
}

/// `application/grpc` in one of its forms, over HTTP/2.
fn is_grpc(head: &Parts) -> bool {
    let of = |value: &HeaderValue| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest, [] | [b';', ..] | b"+proto"))
    };
    head.version == Version::HTTP_2
        && head.method == hyper::Method::POST
        && head.headers.get(CONTENT_TYPE).is_some_and(of)
}

/// What isn't gRPC hears so in plain HTTP, as the protocol has it.
fn no_grpc(id: HeaderValue) -> Response<Body> {
    let text = "this port speaks gRPC over HTTP/2; HTTP has a port of its own\n";
    let mut response = Response::new(Body::text(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn dispatch(
    app: &Arc<App>,
    method: Method,
    mut call: Call,
    head: &Parts,
    body: Incoming,
    seen: &mut Seen<'_>,
) -> Result<Response<Body>, Error> {
    match method {
        Method::Unknown => {
            return Err(Error::Unsupported(format!("there is no method at `{}`", head.uri.path())));
        }
        Method::ModelStreamInfer => {
            let (app, answers) = (app.clone(), call.answers);
            let mut response = Response::new(Body::stream(|answers| infer::stream(app, call, body, answers)));
            encoding(&mut response, answers);
            return Ok(response);
        }
        Method::Reflection | Method::ReflectionAlpha => {
            let app = app.clone();
            return Ok(Response::new(Body::stream(|answers| reflection::stream(app, call, body, answers))));
        }
        _ => {}
    }
    let mut messages = Messages::new(body, call.encoding, Limits::of(app));
    if method == Method::ModelInfer {
        let answer = infer::unary(app, &mut call, &mut messages, seen).await?;
        return Ok(whole(app, answer, call.answers));
    }
    let message = messages.only().await?;
    if method == Method::HealthWatch {
        let (app, service) = (app.clone(), health::watched(&message)?);
        return Ok(Response::new(Body::stream(|answers| health::watch(app, service, answers))));
    }
    let answer = match method {
        Method::HealthCheck => health::check(app, &message)?,
        other => documents::answer(app, other, &message)?,
    };
    Ok(whole(app, compressed(answer, call.answers), call.answers))
}

/// 200 with one message.
fn whole(app: &App, message: Vec<u8>, answers: Option<Coding>) -> Response<Body> {
    let is_compressed = message.first() == Some(&1);
    let mut response = Response::new(Body::message(app.budget.unsent(message.into())));
    if is_compressed {
        encoding(&mut response, answers);
    }
    response
}

/// Says how compressed messages are compressed.
fn encoding(response: &mut Response<Body>, answers: Option<Coding>) {
    if let Some(coding) = answers {
        response.headers_mut().insert(compression::ENCODING, HeaderValue::from_static(coding.name()));
    }
}
