//! A call, or one inference of a stream, as the metrics and the logs see it: from its head to its answer, or to the
//! client's leaving.

use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tracing::field::display;

use super::method::Method;
use crate::app::App;
use crate::error::{Code, Error};
use crate::http::route::Route;
use crate::http::{self, OVERLOADED};
use crate::inference::{Stages, Work};
use crate::logging::ACCESS;
use crate::trace::Place;
use crate::trace::context::{Parent, SpanId, TraceId};

/// One call, or one inference of a stream.
pub(super) struct Seen<'a> {
    app: &'a App,
    method: Method,
    id: HeaderValue,
    begun: Instant,
    /// Its place in the trace that it is recorded in.
    place: Option<Place>,
    /// The trace that its caller is in, where anybody wants to know.
    caller: Option<TraceId>,
    /// Where its time went, if it ran the model.
    stages: Option<Stages>,
    status: Option<u16>,
    /// Whether it is no news: what it is made of is told in its place.
    silent: bool,
}

impl<'a> Seen<'a> {
    /// From here on.
    pub(super) fn begin(app: &'a App, method: Method, id: HeaderValue) -> Seen<'a> {
        let (begun, silent) = (Instant::now(), false);
        Seen { app, method, id, begun, place: None, caller: None, stages: None, status: None, silent }
    }

    /// Notes whom the call comes from, where its lines say so.
    pub(super) fn called_by(&mut self, metadata: &HeaderMap) {
        if tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            self.caller = Parent::of(metadata).map(|parent| parent.trace);
        }
    }

    /// Notes the trace that it is recorded in.
    pub(super) fn recorded(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// Notes where the time of an inference went.
    pub(super) fn ran(&mut self, work: &Work<'_>) {
        self.stages = Some(work.stages());
    }

    /// When it began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Counts the answer, and logs what is wrong with it. A stream of inferences that begins well counts each of them in
    /// its place.
    pub(super) fn answered(mut self, error: Option<&Error>, opens: bool) {
        let status = error.map_or(200, Error::status);
        self.status = Some(status);
        self.silent = opens && error.is_none();
        if let Some(error) = error {
            self.failed(error);
        }
        if !self.silent {
            // A method's number follows those of the routes.
            let number = Route::ALL.len() + self.method as usize;
            self.app.metrics.answered(number, status, self.begun.elapsed(), self.place.map(|place| place.trace));
        }
    }

    /// The text of a client's error may quote what the client sent, so that only `debug` shows it.
    fn failed(&self, error: &Error) {
        let request_id = http::id_text(&self.id);
        let (route, code, name) = (self.method.label(), error.code(), error.code().name());
        let (trace_id, span_id) = self.ids();
        let (trace_id, span_id) = (trace_id.map(display), span_id.map(display));
        match (code, error) {
            _ if !self.method.is_inference() && code != Code::Internal => {
                tracing::debug!(request_id, trace_id, span_id, route, code = name, %error, "not answered");
            }
            // One line a second, and how many it stands for.
            (_, Error::QueueFull(_)) => match OVERLOADED.happened() {
                Some(times) => {
                    tracing::warn!(request_id, trace_id, span_id, route, code = name, %error, times, "request failed");
                }
                None => tracing::debug!(request_id, trace_id, span_id, route, code = name, %error, "request failed"),
            },
            (Code::Internal | Code::Unavailable | Code::DeadlineExceeded, _) => {
                tracing::warn!(request_id, trace_id, span_id, route, code = name, %error, "request failed");
            }
            _ => {
                tracing::warn!(request_id, trace_id, span_id, route, code = name, "request refused");
                tracing::debug!(request_id, %error, "request refused because");
            }
        }
    }

    /// As the logs have them.
    fn ids(&self) -> (Option<TraceId>, Option<SpanId>) {
        match self.place {
            Some(place) => (Some(place.trace), Some(place.span)),
            None => (self.caller, None),
        }
    }

    /// One line, whose fields are there if they mean anything.
    fn line(&self) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = self.ids();
        let stages = self.stages.as_ref();
        tracing::info!(
            target: ACCESS,
            request_id = http::id_text(&self.id),
            trace_id = trace_id.map(display),
            span_id = span_id.map(display),
            route = self.method.label(),
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
        if !self.silent && tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            self.line();
        }
    }
}
