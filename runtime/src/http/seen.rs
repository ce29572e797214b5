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
use crate::trace::{Call, Root, Span};

/// Overload is said once a second, whatever the protocol.
pub(crate) static OVERLOADED: Seldom = Seldom::new();

/// One request.
pub(super) struct Seen<'a> {
    app: &'a App,
    route: Route,
    id: HeaderValue,
    begun: Instant,
    /// Where it is recorded.
    span: Option<Span<'a>>,
    /// The trace that its caller is in, where anybody wants to know.
    caller: Option<TraceId>,
    /// Where its time went, if it ran the model.
    stages: Option<Stages>,
    status: Option<u16>,
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
        let caller = parent.map(|parent| parent.trace);
        Seen { app, route, id, begun, span, caller, stages: None, status: None }
    }

    /// The trace that it is recorded in.
    pub(super) fn trace(&self) -> Option<TraceId> {
        self.span.as_ref().map(Span::trace)
    }

    /// Notes where the time of an inference went.
    pub(super) fn ran(&mut self, work: &Work<'_>) {
        self.stages = Some(work.stages());
    }

    /// Logs an error. The text of a client's error may quote what the client sent, so that only `debug` shows it.
    pub(super) fn failed(&self, error: &Error) {
        let request_id = request_id::text(&self.id);
        let (route, status, kind) = (self.route.label(), error.status(), error.kind());
        let (trace_id, span_id) = self.ids();
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
        self.status = Some(status);
        self.app.metrics.answered(self.route as usize, status, self.begun.elapsed());
        if let Some(span) = &self.span {
            let place = span.place();
            response.headers_mut().insert(context::TRACERESPONSE, context::header(place.trace, place.span));
        }
        response.headers_mut().insert(REQUEST_ID, self.id.clone());
    }

    /// As the logs have them.
    fn ids(&self) -> (Option<TraceId>, Option<SpanId>) {
        match &self.span {
            Some(span) => (Some(span.place().trace), Some(span.place().span)),
            None => (self.caller, None),
        }
    }

    /// One line, whose fields are there if they mean anything.
    fn line(&self) {
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
        if tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            self.line();
        }
        if let Some(mut span) = self.span.take() {
            if let Some(stages) = self.stages {
                span.stages(stages);
            }
            if let Some(status) = self.status {
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
