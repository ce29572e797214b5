//! What every request shares: settings, the model once it is loaded, metrics, and documents made once at start.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::batching::Scheduler;
use crate::error::Error;
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
use crate::statistics::ModelStatistics;

/// Where the service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The model isn't there yet.
    Loading,
    /// Requests are answered.
    Ready,
    /// A signal came: requests are still answered, new ones should go elsewhere.
    Draining,
}

/// What every request shares.
pub(crate) struct App {
    pub(crate) settings: ServiceSettings,
    pub(crate) service: &'static dyn Service,
    pub(crate) signature: ModelSignature,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budget: Budget,
    pub(crate) documents: Documents,
    pub(crate) ids: RequestIds,
    /// How far the start is.
    pub(crate) loading: Progress,
    /// Inference requests that haven't been answered.
    pub(crate) in_work: AtomicUsize,
    phase: AtomicU8,
    scheduler: OnceLock<Scheduler>,
}

impl App {
    /// Reads the documents that `settings` name. The model is not touched.
    pub(crate) fn new(
        settings: ServiceSettings,
        signature: ModelSignature,
        service: &'static dyn Service,
    ) -> Result<App, Unreadable> {
        let routes = Route::ALL.iter().map(|route| route.label());
        let metrics = Metrics::new(&settings.name, &settings.version, routes);
        let documents = Documents::read(&settings, &signature)?;
        Ok(App {
            budget: Budget::of(&settings.server),
            settings,
            service,
            signature,
            metrics: Arc::new(metrics),
            documents,
            ids: RequestIds::new(),
            loading: Progress::begin(),
            in_work: AtomicUsize::new(0),
            phase: AtomicU8::new(Phase::Loading as u8),
            scheduler: OnceLock::new(),
        })
    }

    /// Where the service is in its life.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Takes the loaded model and turns ready, unless a signal came before.
    pub(crate) fn turn_ready(&self, scheduler: Scheduler) {
        drop(self.scheduler.set(scheduler));
        let (loading, ready) = (Phase::Loading as u8, Phase::Ready as u8);
        let _unless_draining = self.phase.compare_exchange(loading, ready, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Turns ready off for good.
    pub(crate) fn drain(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::Release);
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
        Live { in_work: self.in_work(), waiting: self.waiting(), ready, loading: &self.loading }
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
            Phase::Draining => Err(Error::NotReady("the service is stopping".into())),
        }
    }

    fn still_loading(&self) -> Error {
        let doing = self.loading.stand().map(|stand| format!(": {}", stand.text())).unwrap_or_default();
        Error::NotReady(format!("the model is still loading{doing}"))
    }
}
