//! The thread that accepts connections and answers probes, whatever the others do.
//!
//! Requests are read, decoded and sometimes run by the threads of the workers, and the hooks of a service may take as
//! long as they like there. So that health is answered all the same, a thread of its own accepts each connection and
//! looks at how it begins: `GET /v1/health/live` and its like are answered here, one a connection; anything else goes
//! to the workers. A connection under TLS shows nothing before the handshake, and goes to the workers at once.
//!
//! Descriptors end before connections do. Past `maxConnections` a connection is let in all the same, on one of a few
//! descriptors set aside: it gets one answer, health or 429, and a moment for it. Where even those are taken, the
//! oldest goes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Arrival, Door, Manner, serve, serve_as};
use crate::app::App;
use crate::http::route::Route;
use crate::logging::Seldom;
use crate::metrics::Metrics;
use crate::tls::Tls;

/// Descriptors for the model, the log, the runtimes and whatever libraries open.
const OWN: u64 = 32;

/// Connections past `maxConnections` that are let in for a moment.
const SPARE: usize = 16;

/// That moment.
const MOMENT: Duration = Duration::from_secs(2);

/// Connections at once where nobody says how many: fewer where descriptors are fewer, and no more than this, since
/// each takes memory too.
const MOST: u64 = 16_384;
const FEWEST: u64 = 16;

/// Bytes of a head that hold any route of health.
const BEGINNING: usize = 512;

/// How long to wait for the rest of a line that came in part, milliseconds, before it is the workers' to wait for.
const PIECES: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// Tells connections that the service stops, and knows when all of them have ended.
pub(crate) struct Closing(watch::Sender<bool>);

impl Closing {
    pub(crate) fn new() -> Closing {
        Closing(watch::Sender::new(false))
    }

    /// No more connections; those that are there end with the answers to what they have asked.
    pub(crate) async fn close(&self) {
        self.0.send_replace(true);
        self.0.closed().await;
    }
}

/// A connection that is open, or the front itself: counted until it is dropped.
pub(super) struct Open {
    closing: watch::Receiver<bool>,
    counted: Option<Arc<Metrics>>,
}

impl Open {
    /// Ends when the service stops.
    pub(super) async fn closing(&mut self) {
        // The sender outlives the runtime's tasks; without it there is nothing to wait for either.
        drop(self.closing.wait_for(|closing| *closing).await);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(metrics) = &self.counted {
            metrics.connections.dec();
        }
    }
}

/// What the front hands to each connection.
pub(crate) struct Entrance {
    pub(crate) app: Arc<App>,
    pub(crate) tls: Option<Arc<Tls>>,
    /// Where connections are served.
    pub(crate) workers: Handle,
    pub(crate) closing: Arc<Closing>,
    /// Connections at once.
    pub(crate) limit: usize,
}

/// As many descriptors as this process may ever have, and how many connections that makes; all that is set aside, and
/// those of the `files` that stay open, come off first.
pub(crate) fn connections(asked: Option<usize>, files: usize) -> usize {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.or(limits.current).unwrap_or(u64::MAX);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limits.maximum }).is_ok();
    let descriptors = if raised { most } else { limits.current.unwrap_or(u64::MAX) };
    let room = descriptors.saturating_sub(OWN + SPARE as u64 + files as u64).max(FEWEST);
    let limit = match asked {
        Some(asked) => room.min(asked as u64),
        None => room.min(MOST),
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl Entrance {
    /// Starts the thread; it ends when the service stops.
    pub(crate) fn open(self, doors: Vec<(std::net::TcpListener, Door)>) -> io::Result<thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut doors = {
            let _reactor = runtime.enter();
            let listen = |(listener, door)| Ok((TcpListener::from_std(listener)?, door));
            doors.into_iter().map(listen).collect::<io::Result<Vec<_>>>()?
        };
        let mut open = self.arrives(false);
        thread::Builder::new().name("front".into()).spawn(move || {
            let entrance = Arc::new(self);
            runtime.block_on(async {
                let mut accepting = tokio::task::JoinSet::new();
                for (listener, door) in doors.drain(..) {
                    accepting.spawn(accept(listener, door, entrance.clone()));
                }
                open.closing().await;
                // The listeners go with their tasks.
                accepting.shutdown().await;
                drop(open);
                // Probes that are being answered still need this thread.
                entrance.closing.0.closed().await;
            });
        })
    }

    fn arrives(&self, counted: bool) -> Open {
        let metrics = counted.then(|| self.app.metrics.clone());
        if let Some(metrics) = &metrics {
            metrics.connections.inc();
        }
        Open { closing: self.closing.0.subscribe(), counted: metrics }
    }
}

/// Accepts connections until it is dropped.
async fn accept(listener: TcpListener, door: Door, entrance: Arc<Entrance>) {
    let mut refused = 0u64;
    let mut spare = Spare::new();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if refused > 0 {
                    tracing::warn!(attempts = refused, "connections are accepted again");
                    refused = 0;
                }
                let open = entrance.arrives(true);
                let full = usize::try_from(entrance.app.metrics.connections.get()).unwrap_or(0) > entrance.limit;
                spare.see(full, entrance.limit);
                let arrival = Arrival { stream, peer, door, open };
                if full { spare.admit(arrival, &entrance).await } else { admit(arrival, &entrance) }
            }
            Err(error) => {
                // Out of file descriptors that nobody counted, mostly: some are given back soon. Said once, since each
                // attempt fails alike.
                if refused == 0 {
                    tracing::warn!(%error, "can't accept a connection: trying again");
                }
                refused += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Lets a connection in for as long as it likes.
fn admit(arrival: Arrival, entrance: &Arc<Entrance>) {
    if entrance.tls.is_some() {
        hand_over(arrival, entrance);
    } else {
        tokio::spawn(look(arrival, entrance.clone()));
    }
}

/// Gives a connection to the workers. It leaves this thread's reactor for theirs.
fn hand_over(arrival: Arrival, entrance: &Arc<Entrance>) {
    let Arrival { stream, peer, door, open } = arrival;
    let (app, tls) = (entrance.app.clone(), entrance.tls.clone());
    let Ok(stream) = stream.into_std() else { return };
    entrance.workers.spawn(async move {
        // Fails where the system has no room to watch one more: the client sees the connection end.
        match TcpStream::from_std(stream) {
            Ok(stream) => serve(Arrival { stream, peer, door, open }, app, tls).await,
            Err(error) => tracing::warn!(%error, "can't serve a connection"),
        }
    });
}

/// Waits for a connection's first bytes and decides by them.
async fn look(mut arrival: Arrival, entrance: Arc<Entrance>) {
    let mut beginning = [0; BEGINNING];
    let limit = entrance.app.settings.server.read_timeout;
    for pause in PIECES.map(Some).into_iter().chain([None]) {
        let came = tokio::select! {
            came = tokio::time::timeout(limit, arrival.stream.peek(&mut beginning)) => came,
            () = arrival.open.closing() => return,
        };
        let Ok(Ok(length @ 1..)) = came else {
            // Gone, or silent for too long.
            return;
        };
        match (is_probe(&beginning[..length]), pause) {
            (Some(true), _) => {
                let probe = Manner::Probe(entrance.workers.clone());
                return serve_as(probe, arrival, entrance.app.clone(), None).await;
            }
            // The bytes that are there make no further peek wait.
            (None, Some(pause)) => tokio::time::sleep(Duration::from_millis(pause)).await,
            _ => return hand_over(arrival, &entrance),
        }
    }
}

/// Whether a head begins by asking for health; `None` while it has come in part.
fn is_probe(beginning: &[u8]) -> Option<bool> {
    let asks = [&b"GET "[..], b"HEAD "].into_iter();
    let Some(path) = asks.clone().find_map(|ask| beginning.strip_prefix(ask)) else {
        return if asks.into_iter().any(|ask| ask.starts_with(beginning)) { None } else { Some(false) };
    };
    let end = path.iter().position(|byte| matches!(byte, b' ' | b'?' | b'\r'));
    let Some(end) = end else { return if beginning.len() < BEGINNING { None } else { Some(false) } };
    Some(std::str::from_utf8(&path[..end]).is_ok_and(|path| Route::find(path).route.is_health()))
}

/// The connections past the limit.
struct Spare {
    full: bool,
    said: Seldom,
    connections: VecDeque<JoinHandle<()>>,
}

impl Spare {
    fn new() -> Spare {
        Spare { full: false, said: Seldom::new(), connections: VecDeque::new() }
    }

    /// Says that the limit is reached, and that it isn't any more.
    fn see(&mut self, full: bool, limit: usize) {
        if full == self.full || self.said.happened().is_none() {
            return;
        }
        self.full = full;
        match full {
            true => tracing::warn!(limit, "too many connections (`maxConnections`): further ones get one answer"),
            false => tracing::warn!(limit, "connections are within `maxConnections` again"),
        }
    }

    async fn admit(&mut self, arrival: Arrival, entrance: &Arc<Entrance>) {
        self.connections.retain(|connection| !connection.is_finished());
        if self.connections.len() >= SPARE
            && let Some(oldest) = self.connections.pop_front()
        {
            oldest.abort();
            // Its descriptor is given back when it has ended.
            drop(oldest.await);
        }
        let (app, tls) = (entrance.app.clone(), entrance.tls.clone());
        let served = tokio::spawn(async move {
            drop(tokio::time::timeout(MOMENT, serve_as(Manner::Crowded, arrival, app, tls)).await);
        });
        self.connections.push_back(served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_known_by_how_they_begin() {
        for probe in [
            "GET /v1/health/live HTTP/1.1\r\n",
            "GET /v1/health/ready?x=1 HTTP/1.1\r\n",
            "HEAD /v2/health/ready HTTP/1.0\r\n",
            "GET /v2/models/a%2Fb/ready HTTP/1.1\r\nhost: x",
        ] {
            assert_eq!(is_probe(probe.as_bytes()), Some(true), "{probe}");
        }
        for part in ["", "G", "GET", "GET ", "HEA", "GET /v1/health/l", "GET /v2/health/live"] {
            assert_eq!(is_probe(part.as_bytes()), None, "{part}");
        }
        for other in [
            "GOT",
            "POST /v1/health/live HTTP/1.1\r\n",
            "GET /v1/health/l HTTP/1.1",
            "GET /v1/predict HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n",
            "GET /v2/models/\u{e9}\0 HTTP/1.1\r\n",
        ] {
            assert_eq!(is_probe(other.as_bytes()), Some(false), "{other}");
        }
        assert_eq!(is_probe(b"GET /v1/health/live\xff HTTP/1.1"), Some(false));
        assert_eq!(is_probe(&[b"GET /", &[b'x'; BEGINNING][..]].concat()), Some(false));
    }

    #[test]
    fn what_is_asked_for_is_bounded_by_the_descriptors() {
        assert_eq!(connections(Some(20), 0), 20);
        assert!(connections(None, 26) as u64 >= FEWEST && connections(None, 26) as u64 <= MOST);
        // Whatever the limit is by now: files take of it, until what is left is the fewest.
        let most = connections(Some(usize::MAX), 0);
        assert_eq!(connections(Some(usize::MAX), 26) as u64, (most as u64 - 26).max(FEWEST));
        assert_eq!(connections(None, 1 << 40) as u64, FEWEST);
    }
}
