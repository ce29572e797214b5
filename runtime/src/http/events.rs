//! `/v1/predict` as server-sent events: the rows of one request run in parts, and each part's answer is sent as soon
//! as it is there.
//!
//! `event: rows` with the rows' range as its id (`0-32`, the end not included) and the very object that
//! `/v1/predict` answers for them; at the end `event: done`, or `event: error` with NIM's error object. What goes wrong
//! before the first part is there is an answer like any other, with its status. One part is made ahead of what the
//! client has taken, and none for a client that has gone. A session's request is one part.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{ACCEPT, CACHE_CONTROL, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::body::{self, Limits};
use super::predict::encoded;
use super::respond::{self, Response};
use super::seen::GoingOn;
use super::session;
use super::upload::Upload;
use crate::app::App;
use crate::batching;
use crate::codec::predict;
use crate::error::Error;
use crate::inference::Work;

/// Tells nginx to pass events on as they come.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether the client would have events: it names them, and nothing that means JSON before.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    let names = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut names =
        names.flat_map(|text| text.split(',')).map(|item| item.split(';').next().unwrap_or_default().trim());
    let known = ["text/event-stream", "application/json", "application/*", "*/*"];
    names
        .find(|name| known.iter().any(|known| name.eq_ignore_ascii_case(known)))
        .is_some_and(|name| name.eq_ignore_ascii_case(known[0]))
}

/// Answers with events, once the first of them is there.
pub(super) async fn predict(app: &Arc<App>, head: Parts, body: Upload, mut seen: GoingOn) -> Result<Response, Error> {
    // One that is ready while the client takes the one before it.
    let (events, coming) = mpsc::channel(1);
    let (first, begun) = oneshot::channel();
    let app = app.clone();
    tokio::spawn(async move {
        // Dropping both channels says that it has ended.
        let mut work = Work::begin(&app);
        work.resume_trace(seen.recorded());
        let streams = Streams { first: Some(first), events };
        if super::caught(run(work, head, body, streams, &mut seen)).await.is_err() {
            app.metrics.panics.inc();
            seen.answered(500, None);
        }
    });
    let fault = |_| Error::Internal("the service failed on this request; its logs say more".into());
    begun.await.map_err(fault)??;
    let response = respond::ok(HeaderValue::from_static("text/event-stream"), coming);
    let response = respond::header(response, CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(respond::header(response, BUFFERING, HeaderValue::from_static("no")))
}

/// Where the answer goes.
struct Streams {
    /// How it begins: what was wrong before it did. Taken when it has begun.
    first: Option<oneshot::Sender<Result<(), Error>>>,
    events: mpsc::Sender<Bytes>,
}

async fn run(mut work: Work<'_>, head: Parts, body: Upload, mut streams: Streams, seen: &mut GoingOn) {
    let gone = streams.events.clone();
    let ended = tokio::select! {
        // The client has gone: what is left of its request is dropped, and counted as that.
        () = gone.closed() => return seen.ran(work.stages()),
        ended = parts(&mut work, head, body, &mut streams) => ended,
    };
    seen.ran(work.stages());
    let ended = work.end(ended);
    let Streams { first, events } = streams;
    match (ended, first) {
        (Ok(rows), _) => {
            seen.answered(200, None);
            _ = events.send(event("done", None, json!({ "rows": rows }).to_string().as_bytes())).await;
        }
        (Err(error), Some(first)) => {
            seen.answered(error.status(), Some(&error));
            _ = first.send(Err(error));
        }
        (Err(error), None) => {
            seen.answered(200, Some(&error));
            tracing::warn!(status = error.status(), kind = error.kind(), "events ended in an error");
            _ = events.send(event("error", None, respond::nim_error(&error).as_bytes())).await;
        }
    }
}

/// Runs part after part; the number of rows in all, or of parts where rows can't be told.
async fn parts(work: &mut Work<'_>, head: Parts, body: Upload, streams: &mut Streams) -> Result<usize, Error> {
    let app = work.app;
    work.admit()?;
    body::check_media_type(&head.headers, &["application/json"])?;
    let (body, held) = body::read(&head.headers, body, Limits::of(app)).await?;
    work.sequence = session::of(&head.headers)?;
    let inputs = work.decode(body.len(), || predict::decode(&body, &app.requests))?;
    drop(body);
    // A session's state is that of all rows: they run as one part.
    let most = if work.sequence.id.is_some() { usize::MAX } else { app.settings.batching.max_batch_size };
    let (parts, mut row) = (batching::parts(inputs, &app.signature, most), 0);
    for (inputs, rows) in parts {
        let mut outputs = work.run(inputs).await?;
        work.leave_out_kept(&mut outputs);
        let text = encoded(work, &outputs);
        let id = format!("{row}-{}", row + rows);
        row += rows;
        let event = app.budget.unsent(event("rows", Some(&id), &text));
        drop(text);
        if streams.events.send(event).await.is_err() {
            // Nobody listens: this is about to be dropped, and hasn't come to an end.
            std::future::pending::<()>().await;
        }
        if let Some(first) = streams.first.take() {
            _ = first.send(Ok(()));
        }
    }
    drop(held);
    Ok(row)
}

/// One event. JSON has no line break outside of its texts, and none within them that isn't escaped.
fn event(name: &str, id: Option<&str>, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(data.len() + 64);
    text.extend_from_slice(format!("event: {name}\n").as_bytes());
    if let Some(id) = id {
        text.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    text.extend_from_slice(b"data: ");
    text.extend_from_slice(data);
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_for_those_who_name_them_first() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; q=0.9", true),
            ("text/html, text/event-stream, */*", true),
            ("application/json, text/event-stream", false),
            ("*/*", false),
            ("text/plain", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
            assert_eq!(are_wanted(&headers), expected, "{accept}");
        }
        assert!(!are_wanted(&HeaderMap::new()));
    }

    #[test]
    fn an_event_is_its_lines_and_an_empty_one() {
        assert_eq!(event("rows", Some("0-2"), b"{}"), "event: rows\nid: 0-2\ndata: {}\n\n");
        assert_eq!(event("done", None, b"{}"), "event: done\ndata: {}\n\n");
    }
}
