//! What a connection does, and the end of one that keeps the service waiting.
//!
//! hyper's own timer for slow heads costs each request an allocation and a lock, and closes idle connections that load
//! balancers mean to use again. Here a connection notes what it does in a few counters, and a clock of its own looks at
//! them now and then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Version;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Longer than the idle time of any load balancer that is known, so that it is they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(630);

/// While the service stops, a connection on which nothing is in work and nothing has moved for so long is closed: what
/// it might hold is a head that isn't whole. Over HTTP/2 answers may still wait for the client to make room.
const QUIET: Duration = Duration::from_millis(250);
const QUIET_HTTP2: Duration = Duration::from_secs(2);

/// What a connection does.
pub(super) struct Pulse {
    /// Requests begun.
    requests: AtomicU32,
    /// Requests whose answers have not been handed over as a whole.
    in_flight: AtomicU32,
    /// Answers of which the client has a part and has to take the next.
    handed: AtomicU32,
    /// Parts of answers.
    parts: AtomicU32,
    /// Reads and writes.
    transfers: AtomicU32,
    /// Bytes came that aren't a whole head yet; from the start, since a connection is made to send one.
    head_open: AtomicBool,
    /// The client takes no more bytes.
    blocked: AtomicBool,
    /// Frames that are no requests come too.
    http2: AtomicBool,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse {
            requests: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            handed: AtomicU32::new(0),
            parts: AtomicU32::new(0),
            transfers: AtomicU32::new(0),
            head_open: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            http2: AtomicBool::new(false),
        }
    }
}

/// A request from its head to the last byte of its answer.
pub(super) struct InFlight(Arc<Pulse>);

impl InFlight {
    pub(super) fn new(pulse: Arc<Pulse>, version: Version) -> Self {
        pulse.requests.fetch_add(1, Relaxed);
        pulse.in_flight.fetch_add(1, Relaxed);
        pulse.head_open.store(false, Relaxed);
        if version == Version::HTTP_2 {
            pulse.http2.store(true, Relaxed);
        }
        InFlight(pulse)
    }

    /// The request's answer.
    pub(super) fn answered<B>(self, body: B) -> Answered<B> {
        Answered { body, handed: false, in_flight: self }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// An answer's body, which is in flight until it is handed over.
pub(super) struct Answered<B> {
    body: B,
    /// A part was handed over and the next has not been asked for.
    handed: bool,
    in_flight: InFlight,
}

impl<B> Answered<B> {
    fn hand(&mut self, handed: bool) {
        if self.handed != handed {
            self.handed = handed;
            let count = &self.in_flight.0.handed;
            if handed {
                count.fetch_add(1, Relaxed)
            } else {
                count.fetch_sub(1, Relaxed)
            };
        }
    }
}

impl<B> Drop for Answered<B> {
    fn drop(&mut self) {
        self.hand(false);
    }
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.hand(false);
        let poll = Pin::new(&mut self.body).poll_frame(cx);
        // A body of one part is at its end now.
        if matches!(poll, Poll::Ready(Some(_))) && !self.body.is_end_stream() {
            self.hand(true);
            self.in_flight.0.parts.fetch_add(1, Relaxed);
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Ends when the connection should: a head that doesn't end, an answer that isn't taken, or nothing for long.
pub(super) async fn stalled(pulse: &Pulse, read_timeout: Duration) -> &'static str {
    // A quarter, so that nobody waits much longer than the limit says.
    let tick = (read_timeout / 4).max(Duration::from_millis(10));
    let (mut seen, mut head, mut blocked, mut idle) = ((0, 0, 0), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    loop {
        tokio::time::sleep(tick).await;
        let now = (pulse.requests.load(Relaxed), pulse.transfers.load(Relaxed), pulse.parts.load(Relaxed));
        let (in_flight, handed) = (pulse.in_flight.load(Relaxed), pulse.handed.load(Relaxed));
        let busy = in_flight > 0;
        let since = |condition: bool, before: Duration| if condition { before + tick } else { Duration::ZERO };
        let same_head = now.0 == seen.0 && !busy && pulse.head_open.load(Relaxed) && !pulse.http2.load(Relaxed);
        head = since(same_head, head);
        // Over HTTP/2 a client can keep the connection moving and yet make no room for what it asked for.
        let untaken = handed > 0 && handed == in_flight && now.2 == seen.2;
        blocked = since((now == seen && pulse.blocked.load(Relaxed)) || untaken, blocked);
        idle = since(now == seen && !busy, idle);
        seen = now;
        if head >= read_timeout {
            return "no whole request head within `readTimeout`";
        }
        if blocked >= read_timeout {
            return "no byte of the answer was taken within `readTimeout`";
        }
        if idle >= KEEP_ALIVE {
            return "idle";
        }
    }
}

/// Ends when nothing is in work and nothing moves: for a service that stops.
pub(super) async fn quiet(pulse: &Pulse) {
    let mut seen = None;
    loop {
        let now = (pulse.requests.load(Relaxed), pulse.transfers.load(Relaxed));
        let resting = pulse.in_flight.load(Relaxed) == 0 && !pulse.blocked.load(Relaxed);
        if resting && seen == Some(now) {
            return;
        }
        seen = resting.then_some(now);
        tokio::time::sleep(if pulse.http2.load(Relaxed) { QUIET_HTTP2 } else { QUIET }).await;
    }
}

/// A stream that notes its reads and writes; beneath TLS, so that what is noted is what the client sent and took.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) pulse: Arc<Pulse>,
}

impl Watched {
    fn wrote(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.pulse.blocked.store(poll.is_pending(), Relaxed);
        if poll.is_ready() {
            self.pulse.transfers.fetch_add(1, Relaxed);
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_ready() {
            self.pulse.transfers.fetch_add(1, Relaxed);
            if self.pulse.in_flight.load(Relaxed) == 0 {
                self.pulse.head_open.store(true, Relaxed);
            }
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
