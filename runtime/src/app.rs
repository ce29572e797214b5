//! What every request shares: settings, the model once it is loaded, metrics, and documents made once at start.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::batching::Scheduler;
use crate::error::Error;
use crate::grpc::method::Method;
use crate::http::route::Route;
use crate::http::{Documents, RequestIds, Unreadable};
use crate::inference::Budget;
use crate::metrics::{Live, Metrics};
use crate::model_config::ModelConfig;
use crate::progress::Progress;
use crate::repository;
use crate::service::Service;
use crate::settings::ServiceSettings;
use crate::signature::ModelSignature;
use crate::state::{self, Sessions};
use crate::statistics::ModelStatistics;
use crate::trace::{Plan, Traces};

/// Where the service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The model isn't there yet.
    Loading,
    /// Requests are answered.
    Ready,
    /// A signal came: requests are still answered, new ones should go elsewhere.
    Draining,
    /// Nobody listens any more: what is in work is answered, and streams end.
    Stopping,
}

/// What every request shares.
pub(crate) struct App {
    pub(crate) settings: ServiceSettings,
    pub(crate) service: &'static dyn Service,
    pub(crate) signature: ModelSignature,
    /// The same as requests are held to it: what a session keeps may be left out.
    pub(crate) requests: ModelSignature,
    /// What sessions keep, where they keep anything.
    pub(crate) sessions: Option<Sessions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Budget,
    pub(crate) documents: Documents,
    /// Where requests are recorded, if they are.
    pub(crate) traces: Option<Traces>,
    pub(crate) ids: RequestIds,
    /// How far the start is.
    pub(crate) loading: Progress,
    /// Inference requests that haven't been answered.
    pub(crate) in_work: AtomicUsize,
    phase: AtomicU8,
    /// The same, for those who wait for it to change.
    phases: watch::Sender<Phase>,
    scheduler: OnceLock<Scheduler>,
}

impl App {
    /// Reads the documents that `settings` name. The model is not touched. `sessions` are those of the settings. Requests
    /// are recorded if there is a plan for it.
    pub(crate) fn new(
        settings: ServiceSettings,
        signature: ModelSignature,
        sessions: Option<Sessions>,
        service: &'static dyn Service,
        traces: Option<Plan>,
    ) -> Result<App, Unreadable> {
        let methods = Method::ALL.iter().map(|method| method.label());
        let routes = Route::ALL.iter().map(|route| route.label()).chain(methods);
        let metrics = Metrics::new(&settings.name, &settings.version, routes);
        let documents = Documents::read(&settings, &signature)?;
        Ok(App {
            budget: Budget::of(&settings.server),
            requests: state::described(&settings.state, &signature),
            sessions,
            settings,
            service,
            signature,
            traces: traces.map(|plan| Traces::new(plan, metrics.spans_dropped.clone())),
            metrics: Arc::new(metrics),
            documents,
            ids: RequestIds::new(),
            loading: Progress::begin(),
            in_work: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Loading as u8),
            phases: watch::Sender::new(Phase::Loading),
            scheduler: OnceLock::new(),
        })
    }

    /// Where the service is in its life.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Ready,
            2 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Takes the loaded model and turns ready, unless a signal came before.
    pub(crate) fn turn_ready(&self, scheduler: Scheduler) {
        drop(self.scheduler.set(scheduler));
        let (loading, ready) = (Phase::Loading as u8, Phase::Ready as u8);
        // Unless a signal came before.
        if self.phase.compare_exchange(loading, ready, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.phases.send_replace(Phase::Ready);
        }
    }

    /// Turns ready off for good.
    pub(crate) fn drain(&self) {
        self.turn(Phase::Draining);
    }

    /// Asks streams to end.
    pub(crate) fn stop(&self) {
        self.turn(Phase::Stopping);
    }

    fn turn(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.phases.send_replace(phase);
    }

    /// Waits until streams should end.
    pub(crate) async fn stopping(&self) {
        // The sender lives as long as the app.
        drop(self.phases().wait_for(|phase| *phase == Phase::Stopping).await.map(drop));
    }

    /// Where the service is, for those who wait for it to change.
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phases.subscribe()
    }

    /// The recorded sample request, where there is one.
    pub(crate) fn sample(&self) -> Option<&[u8]> {
        self.documents.sample.as_deref()
    }

    /// Inference requests that haven't been answered.
    pub(crate) fn in_work(&self) -> usize {
        self.in_work.load(Ordering::Relaxed)
    }

    /// What the metrics tell of this moment.
    pub(crate) fn live(&self) -> Live<'_> {
        let ready = self.phase() == Phase::Ready;
        let sessions = self.sessions.as_ref().map(Sessions::counted);
        Live { in_work: self.in_work(), waiting: self.waiting(), ready, sessions, loading: &self.loading }
    }

    /// Requests that wait for the model.
    pub(crate) fn waiting(&self) -> usize {
        self.scheduler.get().map_or(0, Scheduler::queue_len)
    }

    /// What the model has done so far. Its version is the one that was asked for, where one was, and otherwise a number.
    pub(crate) fn statistics(&self, asked_version: Option<&str>) -> ModelStatistics {
        let version = asked_version.map_or_else(|| repository::version_number(&self.settings.version), String::from);
        self.metrics.statistics(&self.settings.name, &version)
    }

    /// How the model is served.
    pub(crate) fn model_config(&self) -> ModelConfig {
        ModelConfig::new(&self.settings, &self.signature, self.instances())
    }

    /// Sessions that run side by side; as the settings say until the model is there.
    pub(crate) fn instances(&self) -> usize {
        self.scheduler.get().map_or(self.settings.engine.instances.unwrap_or(1), Scheduler::instances)
    }

    /// The model, if requests can be sent to it.
    pub(crate) fn scheduler(&self) -> Result<&Scheduler, Error> {
        self.scheduler.get().ok_or_else(|| self.still_loading())
    }

    /// Whether a new request should come here.
    pub(crate) fn ready(&self) -> Result<(), Error> {
        match self.phase() {
            Phase::Ready => Ok(()),
            Phase::Loading => Err(self.still_loading()),
            Phase::Draining | Phase::Stopping => Err(Error::NotReady("the service is stopping".into())),
        }
    }

    fn still_loading(&self) -> Error {
        let doing = self.loading.stand().map(|stand| format!(": {}", stand.text())).unwrap_or_default();
        Error::NotReady(format!("the model is still loading{doing}"))
    }
}
