//! A request as the metrics, the logs and the traces see it: from its head to its answer, or to the client's leaving.

use std::time::Instant;

use hyper::http::request::Parts;
use tracing::field::display;

use super::request_id::{self, REQUEST_ID};
use super::respond::Response;
use super::route::Route;
use crate::access::{self, Line, OVERLOADED};
use crate::app::App;
use crate::error::Error;
use crate::inference::{Stages, Work};
use crate::trace::context::{self, Parent, TraceId};
use crate::trace::{Call, Detached, Root, Span};

/// One request.
pub(super) struct Seen<'a> {
    app: &'a App,
    route: Route,
    /// Where it is recorded, unless that goes on elsewhere.
    span: Option<Span<'a>>,
    line: Line,
    /// Another task writes the line.
    goes_on: bool,
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
        let wanted = app.traces.is_some() || access::is_wanted();
        let parent = if wanted { Parent::of(&head.headers) } else { None };
        let root = if route.is_inference() { Root::Sampled } else { Root::Never };
        let traces = app.traces.as_ref();
        let span = traces.and_then(|traces| traces.begin(&head.headers, parent.as_ref(), root, || call(head, route)));
        let (place, caller) = (span.as_ref().map(Span::place), parent.map(|parent| parent.trace));
        let line = Line { place, caller, ..Line::new(route.label(), id, begun) };
        Seen { app, route, span, line, goes_on: false }
    }

    /// The trace that it is recorded in.
    pub(super) fn trace(&self) -> Option<TraceId> {
        self.line.trace()
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
        let (request_id, route) = (request_id::text(&line.id), line.route);
        let (trace_id, span_id) = line.ids();
        let (trace_id, span_id) = (trace_id.map(display), span_id.map(display));
        match status {
            404 | 405 | 503 if !self.route.is_inference() => {
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
        self.app.metrics.answered(self.route as usize, status, line.begun.elapsed(), line.trace());
        if let Some(place) = line.place {
            response.headers_mut().insert(context::TRACERESPONSE, place.header());
        }
        response.headers_mut().insert(REQUEST_ID, line.id.clone());
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
