//! The task that sends spans: a batch when it is full, or after a while. A collector that can't be reached costs requests
//! nothing: their spans wait, up to a bound, and are dropped and counted beyond it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::otlp::{ExportRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans};
use super::post::{Failure, Poster};
use super::record::{Model, Record};
use super::{Plan, Queue};
use crate::app::App;

/// A batch is tried so often.
const ATTEMPTS: u32 = 5;
/// The pause after the first failure; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also where the collector asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The task.
pub(crate) struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Begins to send what is recorded, where something is.
    pub(crate) fn start(app: &Arc<App>) -> Option<Exporting> {
        let plan = &app.traces.as_ref()?.plan;
        tracing::info!(endpoint = %plan.endpoint, protocol = plan.protocol.name(), "requests are traced");
        let poster = Poster::new(plan);
        let exporter = Exporter { app: app.clone(), poster, resource: resource(plan), unsent: None, failing: false };
        let (stop, stopped) = oneshot::channel();
        Some(Exporting { stop, task: tokio::spawn(exporter.run(stopped)) })
    }

    /// Sends what is left, for so long at most.
    pub(crate) async fn end(self, within: Duration) {
        // A task that has ended already has nothing to send.
        let _unless_ended = self.stop.send(());
        let task = self.task.abort_handle();
        if tokio::time::timeout(within, self.task).await.is_err() {
            task.abort();
            tracing::warn!("spans were left unsent: the collector took too long");
        }
    }
}

struct Exporter {
    app: Arc<App>,
    poster: Poster,
    resource: Resource,
    /// Didn't get through, and is tried again.
    unsent: Option<Batch>,
    /// The last one didn't get through: said once.
    failing: bool,
}

/// Requests that are sent together.
struct Batch {
    body: Bytes,
    /// Its spans.
    spans: u64,
    attempts: u32,
}

impl Exporter {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let app = self.app.clone();
        let Some(traces) = &app.traces else { return };
        let mut pause = None;
        loop {
            let last = tokio::select! {
                _ = &mut stopped => true,
                () = traces.queue.full.notified(), if pause.is_none() => false,
                () = sleep(pause.unwrap_or(traces.plan.delay)) => false,
            };
            pause = self.send(&traces.queue, last).await;
            if last {
                return;
            }
        }
    }

    /// Sends all that waits. `Some` is the pause after which to go on, where the collector can't take it now; the last
    /// time there is none.
    async fn send(&mut self, queue: &Queue, last: bool) -> Option<Duration> {
        while let Some(mut batch) = self.next(queue) {
            batch.attempts += 1;
            match self.poster.post(batch.body.clone()).await {
                Ok(rejected) => {
                    queue.dropped.inc_by(rejected.min(batch.spans));
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("spans are exported again");
                    }
                }
                Err(failure) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(error = failure.reason, "spans can't be exported");
                    }
                    if failure.again && batch.attempts < ATTEMPTS && !last {
                        let pause = pause(&failure, batch.attempts);
                        self.unsent = Some(batch);
                        return Some(pause);
                    }
                    queue.dropped.inc_by(batch.spans);
                }
            }
        }
        None
    }

    fn next(&mut self, queue: &Queue) -> Option<Batch> {
        self.unsent.take().or_else(|| {
            let records = queue.take();
            let settings = &self.app.settings;
            let tls = settings.server.tls.certificate.is_some();
            let model = Model { name: &settings.name, version: &settings.version, tls };
            // It takes as long as some requests do: the thread's connections are served by another meanwhile.
            (!records.is_empty()).then(|| tokio::task::block_in_place(|| encode(records, model, self.resource.clone())))
        })
    }
}

fn encode(records: Vec<Record>, model: Model<'_>, resource: Resource) -> Batch {
    let spans: Vec<_> = records.into_iter().flat_map(|record| record.spans(model)).collect();
    let count = spans.len() as u64;
    let scope = Scope { name: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let request = ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] };
    Batch { body: request.encode_to_vec().into(), spans: count, attempts: 0 }
}

/// The service and its host.
fn resource(plan: &Plan) -> Resource {
    let mut attributes: Vec<_> = plan.resource.iter().map(|(key, value)| KeyValue::text(key, value)).collect();
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname")
        && !plan.resource.iter().any(|(key, _)| key == "host.name")
    {
        attributes.push(KeyValue::text("host.name", host.trim()));
    }
    Resource { attributes }
}

/// What the collector asks for, else longer each time.
fn pause(failure: &Failure, attempts: u32) -> Duration {
    let grown = PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(8));
    failure.after.unwrap_or(grown).min(LONGEST_PAUSE)
}
