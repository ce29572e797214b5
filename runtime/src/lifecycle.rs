//! From `service.json` to exit: bind first, load after, warm up, serve, drain.

mod digests;
mod loading;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::App;
use crate::cgroup;
use crate::engine::EngineError;
use crate::environment::{self, Overridden};
use crate::http::{Closing, Door, Entrance, connections, read_file};
use crate::logging::{self, LogSettings};
use crate::memory;
use crate::service::Service;
use crate::settings::ServiceSettings;
use crate::signature::ModelSignature;
use crate::state::Sessions;
use crate::tls::Tls;
pub use crate::tls::TlsError;
use crate::trace;
use crate::trace::exporter::Exporting;
pub use digests::NotTheModel;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Why the service doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `service.json` can't be read.
    #[error("can't read the settings at `{}`: {source}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A JSON file isn't what it should be.
    #[error("`{}` is wrong: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An environment variable is wrong.
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// A file that the settings name can't be read.
    #[error(transparent)]
    File(#[from] crate::http::Unreadable),
    /// The generated crate was made for another model.
    #[error("`{}` is not the signature that this service was generated from: generate it again", path.display())]
    OtherSignature {
        /// The `signature.json` beside the service.
        path: PathBuf,
    },
    /// What is to be kept in sessions doesn't fit the model.
    #[error("`state.pairs` doesn't fit the model: {0}")]
    State(String),
    /// The host is no IP address.
    #[error("`server.host` is `{0}`, which is not an IP address")]
    Host(String),
    /// The address can't be bound.
    #[error("can't listen on `{address}` (`{setting}`): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The setting that its port is from.
        setting: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// TLS is asked for and can't be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system refused what every program needs: threads, signals.
    #[error("the system refused {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody said where ONNX Runtime is.
    #[error(
        "no ONNX Runtime is named, and none lies in `lib/` beside the program: set `engine.onnxruntime` in the settings, or `NIMIFY_ONNXRUNTIME`"
    )]
    NoOnnxRuntime,
    /// ONNX Runtime can't be opened.
    #[error(transparent)]
    OnnxRuntime(EngineError),
    /// The model can't be loaded.
    #[error(transparent)]
    Model(EngineError),
    /// An engine can't be loaded, and what it was built by or for isn't here.
    #[error("the TensorRT engine can't run here: {misfits} ({source})")]
    Engine {
        /// What isn't, in a sentence.
        misfits: String,
        /// What ONNX Runtime said.
        source: EngineError,
    },
    /// The model is not the one that the service was built with.
    #[error(transparent)]
    OtherModel(#[from] NotTheModel),
    /// Loading ended in a fault of the service itself.
    #[error("loading the model ended in a fault of the service")]
    LoadingPanicked,
}

impl StartError {
    /// The exit code, as `nimify`'s own: 3 a bad model, 4 bad settings or a port that can't be had, 5 no ONNX Runtime,
    /// none of the providers that `engine.require` demands or not what an engine was built for, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Model(EngineError::Provider { .. }) | StartError::Engine { .. } => 5,
            StartError::Model(_) | StartError::OtherModel(_) => 3,
            StartError::Settings { .. } | StartError::Json { .. } | StartError::Environment(_) => 4,
            StartError::File(_) | StartError::OtherSignature { .. } | StartError::Host(_) | StartError::State(_) => 4,
            StartError::Bind { .. } | StartError::Tls(_) => 4,
            StartError::NoOnnxRuntime | StartError::OnnxRuntime(_) => 5,
            StartError::System { .. } | StartError::LoadingPanicked => 1,
        }
    }
}

/// The exit code of a service that stopped with requests unanswered, as of a program that was interrupted.
const CUT_OFF: u8 = 130;

/// Reads `settings_file`, applies the environment, and serves until a signal comes. 0 when every request that was in
/// work has been answered, 130 when some were cut off (by `drainTimeout` or a second signal); otherwise what
/// [`StartError::exit_code`] says, with the reason in the log.
pub fn serve(settings_file: &Path, service: &'static dyn Service) -> Ended {
    let begun = Instant::now();
    memory::give_back();
    let (settings, traces) = match settings(settings_file) {
        Ok((settings, warnings)) => {
            logging::start(settings.log);
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let traces = trace::Plan::new(&settings.service, settings.traces);
            (settings.service, traces)
        }
        Err(error) => {
            logging::start(LogSettings::default());
            return failed(&error);
        }
    };
    match signature(&settings, service)
        .and_then(|signature| {
            let sessions = Sessions::new(&settings.state, &signature).map_err(StartError::State)?;
            Ok(App::new(settings, signature, sessions, service, traces)?)
        })
        .and_then(|app| run(Arc::new(app), begun))
    {
        Ok(End::Drained) => Ended { code: 0, at_work: false },
        Ok(End::Loading) => Ended { code: 0, at_work: true },
        Ok(End::CutOff) => Ended { code: CUT_OFF, at_work: true },
        Err(error) => failed(&error),
    }
}

fn failed(error: &StartError) -> Ended {
    tracing::error!(%error, "the service can't start");
    Ended { code: error.exit_code(), at_work: false }
}

/// How a service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the process should end by it"]
pub struct Ended {
    /// The exit code.
    code: u8,
    /// Whether threads are still in ONNX Runtime: loading a model, or running it.
    at_work: bool,
}

impl Ended {
    /// The exit code, with which the process is to end now. It ends here where threads are still in ONNX Runtime: what
    /// the library has registered for the end of a process would tear down what they work with.
    pub fn exit(self) -> ExitCode {
        if self.at_work {
            exit_at_once(self.code);
        }
        ExitCode::from(self.code)
    }
}

#[expect(unsafe_code, reason = "the standard library has no way to end a process without its destructors")]
fn exit_at_once(code: u8) -> ! {
    unsafe extern "C" {
        /// POSIX: ends the process, and runs nothing that was registered for its end.
        safe fn _exit(code: std::ffi::c_int) -> !;
    }
    _exit(code.into())
}

/// Reads `service.json`, makes its paths absolute, and applies the environment.
pub(crate) fn settings(file: &Path) -> Result<(Overridden, Vec<String>), StartError> {
    let text = std::fs::read(file).map_err(|source| StartError::Settings { path: file.into(), source })?;
    let mut service: ServiceSettings =
        serde_json::from_slice(&text).map_err(|source| StartError::Json { path: file.into(), source })?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let paths = [Some(&mut service.model.path), Some(&mut service.signature), Some(&mut service.openapi)];
    let optional = [service.sample.as_mut(), service.license.as_mut().map(|l| &mut l.path)];
    let tls = &mut service.server.tls;
    let tls = [tls.certificate.as_mut(), tls.key.as_mut(), tls.client_ca.as_mut()];
    let engine = &mut service.engine;
    let libraries = engine.custom_ops.iter_mut().map(Some).chain([engine.onnxruntime.as_mut()]);
    let sides = service.model.side_files.iter_mut().map(|side| Some(&mut side.path));
    for path in paths.into_iter().chain(optional).chain(sides).chain(tls).chain(libraries).flatten() {
        *path = folder.join(&*path);
    }
    let overridden = Overridden { service, log: LogSettings::default(), traces: trace::Options::default() };
    Ok(environment::apply(overridden, std::env::vars_os())?)
}

fn signature(settings: &ServiceSettings, service: &dyn Service) -> Result<ModelSignature, StartError> {
    let path = &settings.signature;
    let wrong = |source| StartError::Json { path: path.clone(), source };
    let signature: ModelSignature = serde_json::from_slice(&read_file("signature", path)?).map_err(wrong)?;
    match service.signature() {
        Some(generated) if serde_json::from_str::<ModelSignature>(generated).map_err(wrong)? != signature => {
            Err(StartError::OtherSignature { path: path.clone() })
        }
        _ => Ok(signature),
    }
}

/// How a service that was told to stop has ended.
enum End {
    /// Every request in work was answered.
    Drained,
    /// The model was still loading.
    Loading,
    /// Some were not.
    CutOff,
}

fn run(app: Arc<App>, begun: Instant) -> Result<End, StartError> {
    // Two at least, so that a health check is answered while a thread is busy.
    let workers = cgroup::cpu_quota().max(2);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|source| StartError::System { what: "threads", source })?;
    let served = runtime.block_on(live(&app, begun));
    // A model that is still loading, or a run past the drain's end, is left to the end of the process.
    runtime.shutdown_background();
    served
}

/// From binding to the last answer.
async fn live(app: &Arc<App>, begun: Instant) -> Result<End, StartError> {
    let mut signals = Signals::new()?;
    let server = &app.settings.server;
    let tls = Tls::start(&server.tls, &app.metrics)?;
    let limit = connections(server.max_connections, app.documents.side_files.list().count());
    let listener = bind(&server.host, server.port, "server.port")?;
    let grpc = server.grpc_port.map(|port| bind(&server.host, port, "server.grpcPort")).transpose()?;
    let metrics = server.metrics_port.map(|port| bind(&server.host, port, "server.metricsPort")).transpose()?;
    tracing::info!(
        address = %address(&listener),
        grpc = grpc.as_ref().map(|listener| address(listener).to_string()),
        metrics = metrics.as_ref().map(|listener| address(listener).to_string()),
        tls = tls.is_some(),
        max_connections = limit,
        max_buffered_bytes = app.budget.limit(),
        model = app.settings.name,
        version = app.settings.version,
        "listening"
    );
    let exporting = Exporting::start(app);
    let closing = Arc::new(Closing::new());
    let doors = [(Some(listener), Door::Service), (grpc, Door::Grpc), (metrics, Door::Metrics)];
    let doors = doors.into_iter().filter_map(|(listener, door)| Some((listener?, door)));
    let workers = tokio::runtime::Handle::current();
    let entrance = Entrance { app: app.clone(), tls, workers, closing: closing.clone(), limit };
    let opened = doors.map(|(listener, door)| Ok((listener.into_std()?, door))).collect::<Result<_, _>>();
    opened
        .and_then(|doors| entrance.open(doors))
        .map_err(|source| StartError::System { what: "a thread that accepts connections", source })?;
    if until_stopped(app, begun, &mut signals).await? {
        app.stop();
        finish(app, &closing, exporting, &mut signals).await;
    }
    let in_work = app.in_work();
    tracing::info!(in_work, "stopped");
    Ok(match in_work {
        0 if app.scheduler().is_err() => End::Loading,
        0 => End::Drained,
        _ => End::CutOff,
    })
}

/// Loads, turns ready, waits for a signal and then for `drainDelay`. False when there is nothing to wait for any more.
async fn until_stopped(app: &Arc<App>, begun: Instant, signals: &mut Signals) -> Result<bool, StartError> {
    tokio::select! {
        biased;
        signal = signals.next() => {
            app.drain();
            tracing::info!(signal, "stopped while the model was loading");
            return Ok(false);
        }
        loaded = loading::start(app.clone()) => app.turn_ready(loaded.unwrap_or(Err(StartError::LoadingPanicked))?),
    }
    tracing::info!(after_ms = begun.elapsed().as_millis() as u64, "ready");
    let signal = signals.next().await;
    app.drain();
    tracing::info!(signal, in_work = app.in_work(), "draining");
    tokio::select! {
        () = tokio::time::sleep(app.settings.server.drain_delay) => Ok(true),
        signal = signals.next() => {
            at_once(signal);
            Ok(false)
        }
    }
}

fn at_once(signal: &str) {
    tracing::warn!(signal, "a second signal: stopping at once");
}

/// A collector that doesn't answer holds up the end for so long at most.
const FLUSH: Duration = Duration::from_secs(2);

/// Waits for requests in flight, and then for their spans to be sent, at most `drainTimeout` or until a second signal.
async fn finish(app: &App, closing: &Closing, exporting: Option<Exporting>, signals: &mut Signals) {
    let end = tokio::time::Instant::now() + app.settings.server.drain_timeout;
    tokio::select! {
        () = closing.close() => {}
        () = tokio::time::sleep_until(end) => {
            tracing::warn!(in_work = app.in_work(), "requests were cut off after `drainTimeout`");
            return;
        }
        signal = signals.next() => return at_once(signal),
    }
    let left = end.saturating_duration_since(tokio::time::Instant::now());
    if let Some(exporting) = exporting {
        tokio::select! {
            () = exporting.end(left.min(FLUSH)) => {}
            signal = signals.next() => at_once(signal),
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, StartError> {
        let listen = |kind| signal(kind).map_err(|source| StartError::System { what: "to watch for signals", source });
        Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn bind(host: &str, port: u16, setting: &'static str) -> Result<TcpListener, StartError> {
    let host: IpAddr = host.parse().map_err(|_| StartError::Host(host.into()))?;
    let address = SocketAddr::new(host, port);
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restart must not wait for the connections of the process before it.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| StartError::Bind { address, setting, source })
}

fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}
