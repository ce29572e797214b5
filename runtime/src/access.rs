//! What the log has of a request that is over, whatever its protocol: one line.

use std::time::{Duration, Instant};

use hyper::header::HeaderValue;

use crate::http::id_text;
use crate::inference::Stages;
use crate::logging::{ACCESS, Seldom};
use crate::trace::Place;
use crate::trace::context::{SpanId, TraceId};

/// Overload is said once a second, whatever the protocol.
pub(crate) static OVERLOADED: Seldom = Seldom::new();

/// Whether anybody wants the lines.
pub(crate) fn is_wanted() -> bool {
    tracing::enabled!(target: ACCESS, tracing::Level::INFO)
}

/// The line of one request.
#[derive(Clone)]
pub(crate) struct Line {
    /// As the metrics label it.
    pub(crate) route: &'static str,
    /// The request's own.
    pub(crate) id: HeaderValue,
    /// When it began.
    pub(crate) begun: Instant,
    /// Its place in the trace that it is recorded in.
    pub(crate) place: Option<Place>,
    /// The trace that its caller is in, where anybody wants to know.
    pub(crate) caller: Option<TraceId>,
    /// Where its time went, if it ran the model.
    pub(crate) stages: Option<Stages>,
    /// What was answered, in HTTP's numbers; `None` where the client has gone.
    pub(crate) status: Option<u16>,
    /// What ended an answer that had begun well.
    pub(crate) error: Option<&'static str>,
}

impl Line {
    /// Of a request that begins at `begun`.
    pub(crate) fn new(route: &'static str, id: HeaderValue, begun: Instant) -> Line {
        Line { route, id, begun, place: None, caller: None, stages: None, status: None, error: None }
    }

    /// The trace that it is recorded in.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        self.place.map(|place| place.trace)
    }

    /// Trace and span as the logs have them.
    pub(crate) fn ids(&self) -> (Option<TraceId>, Option<SpanId>) {
        match self.place {
            Some(place) => (Some(place.trace), Some(place.span)),
            None => (self.caller, None),
        }
    }

    /// Writes it, where that is wanted; its fields are there if they mean anything.
    pub(crate) fn write(&self) {
        if !is_wanted() {
            return;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (trace_id, span_id) = self.ids();
        let stages = self.stages.as_ref();
        tracing::info!(
            target: ACCESS,
            request_id = id_text(&self.id),
            trace_id = trace_id.map(display),
            span_id = span_id.map(display),
            route = self.route,
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
