//! How the pods of a release are.

use serde::Serialize;

use crate::cluster::reason::Progress;
use crate::cluster::{Rollout, Running};

/// How far a release is, over all of its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Pods that take requests.
    pub ready: u64,
    /// Pods that there should be.
    pub wanted: u64,
    /// Why it isn't healthy; empty where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl Health {
    /// Whether all that should run does.
    pub fn is_good(&self) -> bool {
        self.reasons.is_empty() && self.ready >= self.wanted
    }

    fn of<'a>(all: impl Iterator<Item = &'a Progress>, reasons: Vec<String>) -> Self {
        all.fold(Health { reasons, ..Health::default() }, |sum, at| Health {
            ready: sum.ready + at.ready,
            wanted: sum.wanted + at.wanted,
            ..sum
        })
    }
}

impl From<&Rollout> for Health {
    fn from(rollout: &Rollout) -> Self {
        Health::of(rollout.deployments.iter().map(|(_, at)| at), Vec::new())
    }
}

impl From<&[Running]> for Health {
    fn from(parts: &[Running]) -> Self {
        let reason = |part: &Running| {
            let trouble = part.trouble.as_ref()?;
            Some(format!("`{}`: {}", part.deployment, trouble.sentence()))
        };
        let none = parts.is_empty().then(|| "no Deployment of it is there".to_string());
        let reasons = parts.iter().filter_map(reason).chain(none).collect();
        Health::of(parts.iter().map(|part| &part.progress), reasons)
    }
}
