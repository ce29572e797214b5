//! A request's body on its way in, whose rest is taken in whether anybody wants it or not.
//!
//! An answer may come before the client has sent all: it is asked for at a path that nobody serves, or is too large.
//! There are clients of HTTP/2 that take the end of the stream behind such an answer for a broken one, and clients of
//! HTTP/1.1 that listen only when they have sent all. So what is left of a body is read and thrown away, within limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use tokio::runtime::Handle;

/// What is taken in of a body behind its answer, at the most.
const REST_BYTES: u64 = 1 << 30;
const REST_TIME: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, the rest is taken in aside of the answer.
pub(super) struct Upload {
    /// `None` when nothing more comes.
    body: Option<Incoming>,
    /// The client sends nothing before it is told to go on, which the first reading does.
    waits: bool,
    /// How long the rest is taken in.
    time: Duration,
}

impl Upload {
    /// The body behind these headers, which has so much time.
    pub(super) fn new(headers: &HeaderMap, body: Incoming, time: Duration) -> Upload {
        let body = Some(body).filter(|body| !body.is_end_stream());
        let waits = body.is_some() && headers.contains_key(EXPECT);
        Upload { body, waits, time: time.min(REST_TIME) }
    }

    /// The bytes that are known to come: none where the client doesn't say how many.
    pub(super) fn announced(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.size_hint().lower())
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        loop {
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { return Poll::Pending };
            let next = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    // Trailers, which say nothing here.
                    Err(_) => continue,
                },
                Some(Err(error)) => Some(Err(error)),
                None => None,
            };
            if body.is_end_stream() || !matches!(next, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(next);
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A runtime that has ended has no use for the rest.
        if let Some(rest) = self.body.take().filter(|_| !self.waits)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(self.time, thrown_away(rest, REST_BYTES)));
        }
    }
}

/// Reads a body to its end, or to so many bytes.
async fn thrown_away(mut body: impl Body + Unpin, most: u64) {
    let mut left = most;
    poll_fn(|cx| {
        while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            left = left.saturating_sub(length);
            if left == 0 {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn a_body_without_an_end_is_read_up_to_the_limit() {
        let parts = AtomicU64::new(0);
        let endless = tokio_stream::iter(std::iter::from_fn(|| {
            parts.fetch_add(1, Ordering::Relaxed);
            Some(Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1000]))))
        }));
        thrown_away(StreamBody::new(endless), 9_500).await;
        assert_eq!(parts.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_its_error() {
        let part = || Ok::<_, &str>(Frame::data(Bytes::from_static(b"abc")));
        thrown_away(StreamBody::new(tokio_stream::iter([part(), part()])), 1000).await;
        let broken = tokio_stream::iter([part(), Err("broken")]).chain(tokio_stream::pending());
        thrown_away(StreamBody::new(broken), 1000).await;
    }
}
