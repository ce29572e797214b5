//! The way back: to a revision, to the one that ran before, or away where none ever ran.

use serde::Serialize;

use super::Error;
use super::health::Health;
use super::helm::Call;
use super::history::{History, Note, Start};
use super::objects::Objects;
use super::release::{Locked, Observer};
use super::target::Target;
use crate::interrupt;

impl Locked<'_, '_> {
    /// Goes back to a revision, or to the one that ran before; removes what never ran.
    pub fn roll_back(&self, to: Option<u32>, observer: &mut dyn Observer) -> Result<RolledBack, Error> {
        let site = self.site;
        let history = site.history()?;
        let last = history.last().ok_or_else(|| Error::NoRelease(site.target.to_string()))?;
        let canary = Note::is_canary(history.note(last));
        let _patient = interrupt::hold("helm was not waited for: `nimify history` says what became of it");
        let Some(to) = destination(&history, to, &site.target)? else {
            observer.doing("removing what never ran");
            site.helm.change(&Call::uninstall(&site.target, site.manner.timeout))?;
            return Ok(RolledBack { target: site.target.clone(), from: last.revision, to: None, canary, health: None });
        };
        observer.doing(&format!("going back to revision {to} in {}", site.target.cluster()));
        site.helm.change(&Call::rollback(&site.target, to, site.manner.timeout))?;
        let objects = Objects::read(&site.helm.manifest(&site.target, Some(to))?)?;
        let health = site.follow(&objects, observer)?;
        Ok(RolledBack { target: site.target.clone(), from: last.revision, to: Some(to), canary, health: Some(health) })
    }
}

/// A release that went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// Where.
    #[serde(flatten)]
    pub target: Target,
    /// The revision that it went back from.
    pub from: u32,
    /// The one whose state it has again; `None` where it was removed, since none ever ran.
    pub to: Option<u32>,
    /// Whether a canary was ended.
    pub canary: bool,
    /// The pods.
    #[serde(flatten)]
    pub health: Option<Health>,
}

/// The revision to go back to; `None` where there is nothing but what never ran.
fn destination(history: &History, to: Option<u32>, target: &Target) -> Result<Option<u32>, Error> {
    if let Some(to) = to {
        let known: Vec<u32> = history.0.iter().map(|revision| revision.revision).collect();
        if known.contains(&to) {
            return Ok(Some(to));
        }
        let known = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::NoRevision { release: target.to_string(), revision: to, known });
    }
    let last = history.last().ok_or_else(|| Error::NoRelease(target.to_string()))?;
    let canary = Note::is_canary(history.note(last));
    match history.before(canary) {
        Some(before) => Ok(Some(before.revision)),
        None if matches!(history.start(), Start::Pending { before: None, .. } | Start::OnlyFailed(_)) => Ok(None),
        None => Err(Error::NothingBefore(target.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(all: &[(u32, &str, &str)]) -> History {
        super::super::history::tests::history(all)
    }

    #[test]
    fn a_rollback_knows_where_to() {
        let target = Target { environment: "prod".into(), context: None, namespace: None, release: "digits".into() };
        let to =
            |asked, all: &[(u32, &str, &str)]| destination(&history(all), asked, &target).map_err(|e| e.to_string());
        let two = [(1, "superseded", ""), (2, "deployed", "")];
        assert_eq!(to(None, &two), Ok(Some(1)));
        assert_eq!(to(Some(2), &two), Ok(Some(2)));
        assert!(to(Some(9), &two).unwrap_err().contains("no revision 9: there are 1, 2"));
        assert!(to(None, &two[1..]).unwrap_err().contains("no revision to go back to"));
        assert_eq!(to(None, &[(1, "pending-install", "")]), Ok(None));
        assert_eq!(to(None, &[(1, "failed", "")]), Ok(None));
        assert!(to(None, &[]).unwrap_err().contains("no release"));
    }
}
