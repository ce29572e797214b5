//! A listener → connections → requests, and the end of connections that keep the service waiting.
//!
//! hyper's own timer for slow heads costs each request an allocation and a lock, and closes idle connections that load
//! balancers mean to use again. Here a connection notes what it does in a few counters, and a clock of its own looks at
//! them now and then.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Either;
use hyper::Version;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::route::{Route, Target};
use crate::app::App;
use crate::grpc;

/// How often a client of gRPC is asked whether it is there.
const PING: Duration = Duration::from_secs(60);

/// Calls that a connection of gRPC may carry at once, at least.
const MIN_STREAMS: usize = 256;

/// Longer than the idle time of any load balancer that is known, so that it is they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(630);

/// Which port a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The service's.
    Service,
    /// The metrics'.
    Metrics,
    /// gRPC's.
    Grpc,
}

impl Door {
    /// What is served at the other port is not served at this one.
    pub(super) fn admit(self, app: &App, target: Target) -> Target {
        let is_metrics = matches!(target.route, Route::Metrics | Route::NimMetrics);
        let served = match self {
            Door::Service => !is_metrics || app.settings.server.metrics_port.is_none(),
            Door::Metrics => is_metrics || target.route.is_health(),
            Door::Grpc => false,
        };
        if served { target } else { Target { route: Route::Unknown, model: None, version: None } }
    }
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(
    listener: &TcpListener,
    door: Door,
    app: &Arc<App>,
    graceful: &GracefulShutdown,
) -> Infallible {
    let mut refused = 0u64;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if refused > 0 {
                    tracing::warn!(attempts = refused, "connections are accepted again");
                    refused = 0;
                }
                // A failure costs latency and nothing else.
                drop(stream.set_nodelay(true));
                tokio::spawn(serve(stream, peer, door, app.clone(), graceful.watcher()));
            }
            Err(error) => {
                // Out of file descriptors, mostly: some are given back soon. Said once, since each attempt fails alike.
                if refused == 0 {
                    tracing::warn!(%error, "can't accept a connection: trying again");
                }
                refused += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, door: Door, app: Arc<App>, watcher: Watcher) {
    let read_timeout = app.settings.server.read_timeout;
    // One connection may carry all of a client's calls, and those that are refused need room too.
    let streams = app.settings.server.max_concurrency.saturating_mul(2).max(MIN_STREAMS);
    let streams = u32::try_from(streams).unwrap_or(u32::MAX);
    let pulse = Arc::new(Pulse::default());
    let io = TokioIo::new(Watched { stream, pulse: pulse.clone() });
    let service = {
        let pulse = pulse.clone();
        service_fn(move |request| {
            let (app, pulse) = (app.clone(), pulse.clone());
            async move {
                let in_flight = InFlight::new(pulse, request.version());
                Ok::<_, Infallible>(match door {
                    Door::Grpc => grpc::answer(&app, request).await.map(|body| Either::Right(body.keep(in_flight))),
                    _ => super::answer(&app, door, request).await.map(Either::Left),
                })
            }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if door == Door::Grpc {
        // A stream may be silent for long: its client is asked whether it is there.
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).max_concurrent_streams(streams);
    }
    let connection = watcher.watch(builder.serve_connection(io, service));
    tokio::select! {
        biased;
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%peer, error, "connection broke");
        },
        why = stalled(&pulse, read_timeout) => tracing::debug!(%peer, why, "connection closed"),
    }
}

/// What a connection does.
struct Pulse {
    /// Requests begun.
    requests: AtomicU32,
    /// Requests that the service has not answered.
    in_flight: AtomicU32,
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
            transfers: AtomicU32::new(0),
            head_open: AtomicBool::new(true),
            blocked: AtomicBool::new(false),
            http2: AtomicBool::new(false),
        }
    }
}

struct InFlight(Arc<Pulse>);

impl InFlight {
    fn new(pulse: Arc<Pulse>, version: Version) -> Self {
        pulse.requests.fetch_add(1, Relaxed);
        pulse.in_flight.fetch_add(1, Relaxed);
        pulse.head_open.store(false, Relaxed);
        if version == Version::HTTP_2 {
            pulse.http2.store(true, Relaxed);
        }
        InFlight(pulse)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Ends when the connection should: a head that doesn't end, an answer that isn't taken, or nothing for long.
async fn stalled(pulse: &Pulse, read_timeout: Duration) -> &'static str {
    // A quarter, so that nobody waits much longer than the limit says.
    let tick = (read_timeout / 4).max(Duration::from_millis(10));
    let (mut seen, mut head, mut blocked, mut idle) = ((0, 0), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    loop {
        tokio::time::sleep(tick).await;
        let now = (pulse.requests.load(Relaxed), pulse.transfers.load(Relaxed));
        let busy = pulse.in_flight.load(Relaxed) > 0;
        let since = |condition: bool, before: Duration| if condition { before + tick } else { Duration::ZERO };
        let same_head = now.0 == seen.0 && !busy && pulse.head_open.load(Relaxed) && !pulse.http2.load(Relaxed);
        head = since(same_head, head);
        blocked = since(now == seen && pulse.blocked.load(Relaxed), blocked);
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

/// A stream that notes its reads and writes.
struct Watched {
    stream: TcpStream,
    pulse: Arc<Pulse>,
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
