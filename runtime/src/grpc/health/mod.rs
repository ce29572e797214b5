//! gRPC's own health checking: the service as a whole (an empty name), and the inference service by its name.

#[allow(missing_docs, unreachable_pub, clippy::enum_variant_names, reason = "generated: `runtime/proto` has the words")]
#[rustfmt::skip]
mod messages;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use self::messages::health_check_response::ServingStatus;
use self::messages::{HealthCheckRequest, HealthCheckResponse};
use super::message::{Message, generated, read};
use crate::app::{App, Phase};
use crate::error::Error;

const SERVICES: [&str; 2] = ["", "inference.GRPCInferenceService"];

fn answer(status: ServingStatus) -> Vec<u8> {
    generated(&HealthCheckResponse { status: status.into() })
}

fn status(phase: Phase) -> ServingStatus {
    if phase == Phase::Ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}

/// Whether the service that the request names takes requests.
pub(super) fn check(app: &App, message: &Message<'_>) -> Result<Vec<u8>, Error> {
    let HealthCheckRequest { service } = read(message)?;
    if !SERVICES.contains(&service.as_str()) {
        return Err(Error::NotFound("the service is unknown: ask for `inference.GRPCInferenceService`".into()));
    }
    Ok(answer(status(app.phase())))
}

/// The name that a request to watch has.
pub(super) fn watched(message: &Message<'_>) -> Result<String, Error> {
    read::<HealthCheckRequest>(message).map(|request| request.service)
}

/// Says whether it does, and again whenever that changes; ends when the service does.
pub(super) async fn watch(app: Arc<App>, service: String, answers: mpsc::Sender<Bytes>) -> Result<(), Error> {
    let mut phases = app.phases();
    let mut told = None;
    loop {
        let phase = *phases.borrow_and_update();
        let now = if SERVICES.contains(&service.as_str()) { status(phase) } else { ServingStatus::ServiceUnknown };
        if told != Some(now) {
            told = Some(now);
            if answers.send(answer(now).into()).await.is_err() {
                return Ok(());
            }
        }
        if phase == Phase::Stopping || phases.changed().await.is_err() {
            return Err(Error::NotReady("the service is stopping".into()));
        }
    }
}
