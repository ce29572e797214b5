//! What a deployment is for → the values by which the release is to run.

use serde_json::Value;

use super::history::{History, Note};
use super::prepare::Prepared;
use super::target::Target;
use super::values::{ImageName, image_of};
use super::{Error, canary};

/// What a deployment is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// The image in the place of what runs.
    Replace,
    /// The image beside what runs, with so many percent of the requests.
    Canary(u8),
    /// The canary in the place of what it runs beside.
    EndCanary,
    /// What runs in another environment.
    PromoteFrom(String),
}

/// The values of one release, and the image that is new by them.
#[derive(Debug, Clone, PartialEq)]
pub struct Aimed {
    /// What helm is given over the chart's own values.
    pub values: Value,
    /// The image that has to be verified.
    pub image: ImageName,
    /// The image that stays beside it.
    pub beside: Option<ImageName>,
    /// What is noted with the revision.
    pub note: String,
}

impl Aim {
    /// The values for a release, given how it runs now: `running` holds all its values, where there is one.
    pub fn values(
        &self,
        prepared: &Prepared,
        (target, history, running): (&Target, &History, Option<&Value>),
    ) -> Result<Aimed, Error> {
        let note = |image: &ImageName, canary, from: Option<&str>| {
            Note { digest: &image.digest.to_string(), canary, promoted_from: from }.text()
        };
        let there = running.filter(|_| history.deployed().is_some());
        let has_canary = there.is_some_and(canary::is_running);
        match self {
            Aim::Replace | Aim::PromoteFrom(_) if has_canary => Err(Error::HasCanary(target.to_string())),
            Aim::Replace | Aim::PromoteFrom(_) => {
                let from = if let Aim::PromoteFrom(from) = self { Some(from.as_str()) } else { None };
                let image = prepared.image.clone();
                let note = note(&image, None, from);
                Ok(Aimed { values: prepared.values.overlay.clone(), image, beside: None, note })
            }
            Aim::Canary(percent) => {
                let running = there.ok_or_else(|| Error::NoRelease(target.to_string()))?;
                if !prepared.knows_canaries() {
                    return Err(Error::OldChart);
                }
                let values = canary::begun(running, &prepared.values.merged(), *percent);
                let image = prepared.image.clone();
                let note = note(&image, Some(*percent), None);
                Ok(Aimed { values, image, beside: image_of(running).ok(), note })
            }
            Aim::EndCanary => {
                let running = there.filter(|_| has_canary).ok_or_else(|| Error::NoCanary(target.to_string()))?;
                let image = image_of(&canary::of_canary(running))?;
                let note = note(&image, None, None);
                Ok(Aimed { values: canary::promoted(running), image, beside: None, note })
            }
        }
    }

    /// Whether the new pods are the canary's.
    pub fn is_canary(&self) -> bool {
        matches!(self, Aim::Canary(_))
    }
}
