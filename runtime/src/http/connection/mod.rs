//! A connection → requests, until its end, the service's, or that of everybody's patience with it.
//!
//! [`front`] accepts it, `stream` is its bytes with TLS or without, `pulse` sees that it gets on.

pub(crate) mod front;
mod pulse;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use self::front::Open;
use self::pulse::{InFlight, Pulse, Watched, quiet, stalled};
use self::stream::Stream;
use super::respond;
use super::route::{Route, Target};
use crate::app::App;
use crate::error::Error;
use crate::grpc;
use crate::tls::{HANDSHAKE, Tls};

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
        let (route, server) = (target.route, &app.settings.server);
        let served = match self {
            Door::Service => !route.is_metrics() || server.metrics_port.is_none(),
            Door::Metrics => route.is_metrics() || route.is_health(),
            Door::Grpc => false,
        };
        if served && (server.debug_page || !route.is_debug()) { target } else { Target::plain(Route::Unknown) }
    }
}

/// What a connection's requests may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything at its door.
    Everything,
    /// Health: there are more connections than may be.
    Crowded,
    /// Health: the client showed no certificate.
    Uncertified,
}

impl Access {
    /// Refuses all but health where it has to.
    pub(crate) fn check(self, app: &App, is_health: bool) -> Result<(), Error> {
        match self {
            _ if is_health => Ok(()),
            Access::Everything => Ok(()),
            Access::Crowded => {
                app.metrics.connections_refused.inc();
                Err(Error::QueueFull("too many connections are open (`maxConnections`): try again later".into()))
            }
            Access::Uncertified => {
                Err(Error::Forbidden("this service asks for a client's certificate: none was shown".into()))
            }
        }
    }
}

/// A connection that has been accepted.
struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    door: Door,
    open: Open,
}

/// How a connection is served.
#[derive(Clone)]
enum Manner {
    /// Where it is, until it ends.
    Kept,
    /// One request: health where it is, since that is quick; anything else by the workers.
    Probe(Handle),
    /// One request, and soon: it stands in the way of others.
    Crowded,
}

/// Serves a connection that may go on for long.
async fn serve(arrival: Arrival, app: Arc<App>, tls: Option<Arc<Tls>>) {
    serve_as(Manner::Kept, arrival, app, tls).await;
}

async fn serve_as(manner: Manner, arrival: Arrival, app: Arc<App>, tls: Option<Arc<Tls>>) {
    let Arrival { stream, peer, door, mut open } = arrival;
    // A failure costs latency and nothing else.
    drop(stream.set_nodelay(true));
    let pulse = Arc::new(Pulse::default());
    let watched = Watched { stream, pulse: pulse.clone() };
    let stream = match &tls {
        None => Stream::Plain(watched),
        // In a box, so that a connection without TLS needs no room for it.
        Some(tls) => match Box::pin(shake_hands(tls, watched, &app, &mut open)).await {
            Some(stream) => stream,
            None => return,
        },
    };
    let access = match manner {
        Manner::Crowded => Access::Crowded,
        _ if tls.is_some_and(|tls| tls.asks_clients()) && !stream.is_certified() => Access::Uncertified,
        _ => Access::Everything,
    };
    let builder = protocols(&manner);
    let read_timeout = app.settings.server.read_timeout;
    let service = {
        let pulse = pulse.clone();
        service_fn(move |request: Request<Incoming>| {
            let (app, pulse, manner) = (app.clone(), pulse.clone(), manner.clone());
            async move {
                let in_flight = InFlight::new(pulse, request.version());
                let response = if door == Door::Grpc {
                    grpc::answer(&app, access, request).await.map(Either::Right)
                } else {
                    answered(manner, app, door, access, request).await.map(Either::Left)
                };
                Ok::<_, Infallible>(response.map(|body| in_flight.answered(body)))
            }
        })
    };
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = open.closing() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = quiet(&pulse) => Ok(()),
                why = stalled(&pulse, read_timeout) => Err(why.into()),
            }
        }
        why = stalled(&pulse, read_timeout) => Err(why.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "connection broke");
    }
}

async fn answered(
    manner: Manner,
    app: Arc<App>,
    door: Door,
    access: Access,
    request: Request<Incoming>,
) -> respond::Response {
    match manner {
        Manner::Probe(workers) if !Route::find(request.uri().path()).route.is_health() => {
            // A panic is caught within, so that it is the runtime's end that takes the answer away.
            let answer = workers.spawn(async move { super::answer(&app, door, access, request).await }).await;
            answer.unwrap_or_else(|_| {
                let stopping = Error::NotReady("the service is stopping".into());
                respond::error(&stopping, super::route::Style::Nim)
            })
        }
        _ => super::answer(&app, door, access, request).await,
    }
}

/// TLS, within its time and before the service's end.
async fn shake_hands(tls: &Tls, watched: Watched, app: &App, open: &mut Open) -> Option<Stream> {
    let limit = HANDSHAKE.min(app.settings.server.read_timeout);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limit, tls.accept(watched)) => shaken,
        () = open.closing() => return None,
    };
    let why = match shaken {
        Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".into(),
    };
    app.metrics.handshake_failures.inc();
    tracing::debug!(why, "TLS handshake failed");
    None
}

/// HTTP/1.1 and HTTP/2, by what the client begins with.
fn protocols(manner: &Manner) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        // A gateway puts many clients on one connection.
        .max_concurrent_streams(STREAMS)
        // A body of some megabytes needs no waiting for leave to go on; what a connection may hold unread is bounded by
        // the second.
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEADERS)
        // Streams that are reset before they were looked at: more than a few dozen are an attack.
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        // A client whose machine is gone says nothing, and its requests are in work.
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    if !matches!(manner, Manner::Kept) {
        builder.http1().keep_alive(false);
    }
    builder
}

const STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const FRAME: u32 = 64 << 10;
const HEADERS: u32 = 32 << 10;
const RESETS: usize = 64;
const PING: Duration = Duration::from_secs(60);
const PONG: Duration = Duration::from_secs(20);
