//! A request as the metrics, the logs and the traces see it: from its head to its answer, or to the client's leaving.

use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use tracing::field::display;

use super::request_id::{self, REQUEST_ID};
use super::respond::Response;
use super::route::Route;
use crate::app::App;
use crate::error::Error;
use crate::inference::{Stages, Work};
use crate::logging::{ACCESS, Seldom};
use crate::trace::context::{self, Parent, SpanId, TraceId};
use crate::trace::{Call, Detached, Place, Root, Span};

/// Overload is said once a second, whatever the protocol.
pub(crate) static OVERLOADED: Seldom = Seldom::new();

/// One request.
pub(super) struct Seen<'a> {
    app: &'a App,
    /// Where it is recorded, unless that goes on elsewhere.
    span: Option<Span<'a>>,
    line: Line,
    /// Another task writes the line.
    goes_on: bool,
}

/// What the log has of one request that is over.
#[derive(Clone)]
struct Line {
    route: Route,
    id: HeaderValue,
    begun: Instant,
    /// Its place in the trace that it is recorded in.
    place: Option<Place>,
    /// The trace that its caller is in, where anybody wants to know.
    caller: Option<TraceId>,
    /// Where its time went, if it ran the model.
    stages: Option<Stages>,
    status: Option<u16>,
    /// What ended an answer that had begun well.
    error: Option<&'static str>,
}

/// A request whose answer goes on after its head; the log has it when this is dropped.
pub(super) struct GoingOn {
    recorded: Option<Detached>,
    line: Line,
}

impl GoingOn {
    /// Where it is recorded.
    pub(super) fn recorded(&mut self) -> Option<Detached> {
        self.recorded.take()
    }

    /// Notes where its time went.
    pub(super) fn ran(&mut self, stages: Stages) {
        self.line.stages = Some(stages);
    }

    /// Notes what was answered: a status, and the error that came behind it.
    pub(super) fn answered(&mut self, status: u16, error: Option<&Error>) {
        self.line.status = Some(status);
        self.line.error = error.map(Error::kind);
    }
}

impl Drop for GoingOn {
    fn drop(&mut self) {
        self.line.write();
    }
}

impl<'a> Seen<'a> {
    /// From the head of a request.
    pub(super) fn begin(app: &'a App, head: &Parts, route: Route) -> Seen<'a> {
        let begun = Instant::now();
        let id = app.ids.of(&head.headers);
        let wanted = app.traces.is_some() || tracing::enabled!(target: ACCESS, tracing::Level::INFO);
        let parent = if wanted { Parent::of(&head.headers) } else { None };
        let root = if route.is_inference() { Root::Sampled } else { Root::Never };
        let traces = app.traces.as_ref();
        let span = traces.and_then(|traces| traces.begin(&head.headers, parent.as_ref(), root, || call(head, route)));
        let (place, caller) = (span.as_ref().map(Span::place), parent.map(|parent| parent.trace));
        let line = Line { route, id, begun, place, caller, stages: None, status: None, error: None };
        Seen { app, span, line, goes_on: false }
    }

    /// The trace that it is recorded in.
    pub(super) fn trace(&self) -> Option<TraceId> {
        self.line.place.map(|place| place.trace)
    }

    /// Lets another task record it and log it, one that goes on after the answer's head.
    pub(super) fn go_on(&mut self) -> GoingOn {
        self.goes_on = true;
        GoingOn { recorded: self.span.take().and_then(Span::detach), line: self.line.clone() }
    }

    /// Notes where the time of an inference went.
    pub(super) fn ran(&mut self, work: &Work<'_>) {
        self.line.stages = Some(work.stages());
    }

    /// Logs an error. The text of a client's error may quote what the client sent, so that only `debug` shows it.
    pub(super) fn failed(&self, error: &Error) {
        let (line, status, kind) = (&self.line, error.status(), error.kind());
        let (request_id, route) = (request_id::text(&line.id), line.route.label());
        let (trace_id, span_id) = line.ids();
        let (trace_id, span_id) = (trace_id.map(display), span_id.map(display));
        match status {
            404 | 405 | 503 if !line.route.is_inference() => {
                tracing::debug!(request_id, trace_id, span_id, route, status, kind, %error, "not answered");
            }
            // One line a second, and how many it stands for.
            429 => match OVERLOADED.happened() {
                Some(times) => {
                    tracing::warn!(request_id, trace_id, span_id, route, status, kind, %error, times, "request failed");
                }
                None => tracing::debug!(request_id, trace_id, span_id, route, status, kind, %error, "request failed"),
            },
            500.. => tracing::warn!(request_id, trace_id, span_id, route, status, kind, %error, "request failed"),
            _ => {
                tracing::warn!(request_id, trace_id, span_id, route, status, kind, "request refused");
                tracing::debug!(request_id, %error, "request refused because");
            }
        }
    }

    /// Counts the answer and marks it with the request's ids.
    pub(super) fn answered(mut self, response: &mut Response) {
        let status = response.status().as_u16();
        let line = &mut self.line;
        line.status = Some(status);
        let (route, took, trace) = (line.route as usize, line.begun.elapsed(), line.place.map(|place| place.trace));
        self.app.metrics.answered(route, status, took, trace);
        if let Some(place) = line.place {
            response.headers_mut().insert(context::TRACERESPONSE, place.header());
        }
        response.headers_mut().insert(REQUEST_ID, line.id.clone());
    }
}

impl Line {
    /// As the logs have them.
    fn ids(&self) -> (Option<TraceId>, Option<SpanId>) {
        match self.place {
            Some(place) => (Some(place.trace), Some(place.span)),
            None => (self.caller, None),
        }
    }

    /// Writes it, where that is wanted; its fields are there if they mean anything.
    fn write(&self) {
        if !tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            return;
        }
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = self.ids();
        let stages = self.stages.as_ref();
        tracing::info!(
            target: ACCESS,
            request_id = request_id::text(&self.id),
            trace_id = trace_id.map(display),
            span_id = span_id.map(display),
            route = self.route.label(),
            status = self.status,
            error = self.error,
            canceled = self.status.is_none().then_some(true),
            took_us = micros(self.begun.elapsed()),
            decode_us = stages.map(|stages| micros(stages.decode)),
            queue_us = stages.map(|stages| micros(stages.queue)),
            compute_us = stages.map(|stages| micros(stages.compute)),
            encode_us = stages.map(|stages| micros(stages.encode)),
            batch_rows = stages.map(|stages| stages.rows),
            "answered"
        );
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        if !self.goes_on {
            self.line.write();
        }
        if let Some(mut span) = self.span.take() {
            if let Some(stages) = self.line.stages {
                span.stages(stages);
            }
            if let Some(status) = self.line.status {
                span.answer(status);
            }
        }
    }
}

fn call(head: &Parts, route: Route) -> Call {
    Call::Http {
        method: head.method.clone(),
        uri: head.uri.clone(),
        version: head.version,
        host: head.headers.get(hyper::header::HOST).cloned(),
        route: (route != Route::Unknown).then(|| route.label()),
    }
}
