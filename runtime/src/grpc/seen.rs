//! A call, or one inference of a stream, as the metrics and the logs see it: from its head to its answer, or to the
//! client's leaving.

use std::time::Instant;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tracing::field::display;

use super::method::Method;
use crate::access::{self, Line, OVERLOADED};
use crate::app::App;
use crate::error::{Code, Error};
use crate::http;
use crate::http::route::Route;
use crate::inference::Work;
use crate::trace::Place;
use crate::trace::context::Parent;

/// One call, or one inference of a stream.
pub(super) struct Seen<'a> {
    app: &'a App,
    method: Method,
    line: Line,
    /// Whether it is no news: what it is made of is told in its place.
    silent: bool,
}

impl<'a> Seen<'a> {
    /// From here on.
    pub(super) fn begin(app: &'a App, method: Method, id: HeaderValue) -> Seen<'a> {
        Seen { app, method, line: Line::new(method.label(), id, Instant::now()), silent: false }
    }

    /// Notes whom the call comes from, where its lines say so.
    pub(super) fn called_by(&mut self, metadata: &HeaderMap) {
        if access::is_wanted() {
            self.line.caller = Parent::of(metadata).map(|parent| parent.trace);
        }
    }

    /// Notes the trace that it is recorded in.
    pub(super) fn recorded(&mut self, place: Option<Place>) {
        self.line.place = place;
    }

    /// Notes where the time of an inference went.
    pub(super) fn ran(&mut self, work: &Work<'_>) {
        self.line.stages = Some(work.stages());
    }

    /// When it began.
    pub(super) fn begun(&self) -> Instant {
        self.line.begun
    }

    /// Counts the answer, and logs what is wrong with it. A stream of inferences that begins well counts each of them in
    /// its place.
    pub(super) fn answered(mut self, error: Option<&Error>, opens: bool) {
        let status = error.map_or(200, Error::status);
        self.line.status = Some(status);
        self.silent = opens && error.is_none();
        if let Some(error) = error {
            self.failed(error);
        }
        if !self.silent {
            // A method's number follows those of the routes.
            let number = Route::ALL.len() + self.method as usize;
            self.app.metrics.answered(number, status, self.line.begun.elapsed(), self.line.trace());
        }
    }

    /// The text of a client's error may quote what the client sent, so that only `debug` shows it.
    fn failed(&self, error: &Error) {
        let request_id = http::id_text(&self.line.id);
        let (route, code, name) = (self.line.route, error.code(), error.code().name());
        let (trace_id, span_id) = self.line.ids();
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
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        if !self.silent {
            self.line.write();
        }
    }
}
