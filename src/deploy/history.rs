//! `helm history` → what became of a release, and from where a new deployment begins.

use serde::{Deserialize, Serialize};

/// One revision of a release, as helm tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1.
    pub revision: u32,
    /// When it was made, RFC 3339.
    pub updated: String,
    /// What became of it.
    pub status: Status,
    /// Chart and its version: `digits-1.2.0`.
    pub chart: String,
    /// The model's version.
    #[serde(default, rename(deserialize = "app_version", serialize = "appVersion"))]
    pub app_version: String,
    /// What was noted with it.
    #[serde(default)]
    pub description: String,
}

/// What became of a revision, in helm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is what runs.
    Deployed,
    /// Another took its place.
    Superseded,
    /// It failed.
    Failed,
    /// The release is gone.
    Uninstalled,
    /// It is being removed.
    Uninstalling,
    /// Its first installation has not ended.
    PendingInstall,
    /// Its upgrade has not ended.
    PendingUpgrade,
    /// Its rollback has not ended.
    PendingRollback,
    /// A state that this version doesn't know.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// helm's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Deployed => "deployed",
            Status::Superseded => "superseded",
            Status::Failed => "failed",
            Status::Uninstalled => "uninstalled",
            Status::Uninstalling => "uninstalling",
            Status::PendingInstall => "pending-install",
            Status::PendingUpgrade => "pending-upgrade",
            Status::PendingRollback => "pending-rollback",
            Status::Unknown => "unknown",
        }
    }

    /// Whether a helm that began it has not ended, or was ended before it could say so.
    pub fn is_pending(self) -> bool {
        matches!(self, Status::PendingInstall | Status::PendingUpgrade | Status::PendingRollback | Status::Uninstalling)
    }
}

/// The revisions of a release, the oldest first; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(pub Vec<Revision>);

/// From where a deployment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Nothing is there.
    First,
    /// This revision runs; `failed` is what the last attempt ended as, where it failed.
    From {
        /// The revision to go back to if the new one fails.
        revision: u32,
        /// The last attempt, if it failed.
        failed: Option<u32>,
    },
    /// Only failed attempts are there.
    OnlyFailed(u32),
    /// helm won't touch it: a revision whose helm has not ended.
    Pending {
        /// The revision.
        revision: u32,
        /// Its state.
        status: Status,
        /// The revision that ran before, to which `rollback` goes.
        before: Option<u32>,
    },
}

impl History {
    /// Reads what `helm history --output json` prints.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut all: Vec<Revision> = serde_json::from_slice(text)?;
        all.sort_by_key(|revision| revision.revision);
        Ok(History(all))
    }

    /// The last one.
    pub fn last(&self) -> Option<&Revision> {
        self.0.last()
    }

    /// The one that runs.
    pub fn deployed(&self) -> Option<&Revision> {
        self.0.iter().rev().find(|revision| revision.status == Status::Deployed)
    }

    /// What is there: the revision that runs, else the last attempt at one.
    pub fn running(&self) -> Option<&Revision> {
        self.deployed().or(self.last()).filter(|revision| revision.status != Status::Uninstalled)
    }

    /// From where a deployment begins.
    pub fn start(&self) -> Start {
        let Some(last) = self.last().filter(|last| last.status != Status::Uninstalled) else { return Start::First };
        let deployed = self.deployed().map(|revision| revision.revision);
        if last.status.is_pending() {
            return Start::Pending { revision: last.revision, status: last.status, before: deployed };
        }
        match deployed {
            Some(revision) => {
                Start::From { revision, failed: (last.status == Status::Failed).then_some(last.revision) }
            }
            None => Start::OnlyFailed(last.revision),
        }
    }

    /// What was noted with the state that a revision has: helm's own rollback says only whose that is.
    pub fn note<'a>(&'a self, revision: &'a Revision) -> &'a str {
        let mut found = revision;
        // Each leads to an older one.
        while let Some(to) = found.description.strip_prefix("Rollback to ").and_then(|to| to.parse::<u32>().ok())
            && let Some(older) = self.0.iter().find(|older| older.revision == to && to < found.revision)
        {
            found = older;
        }
        &found.description
    }

    /// The revision that a rollback goes to: the one that ran before what runs now, and that is no canary where
    /// `canary` is to be ended. Where the last attempt is stuck or failed, what ran before it.
    pub fn before(&self, canary: bool) -> Option<&Revision> {
        let last = self.last()?;
        if last.status != Status::Deployed
            && let Some(deployed) = self.deployed()
        {
            return Some(deployed);
        }
        let ran = |revision: &&Revision| revision.status == Status::Superseded && revision.revision < last.revision;
        let fits = |revision: &&Revision| !canary || !Note::is_canary(self.note(revision));
        self.0.iter().rev().filter(ran).find(fits)
    }
}

/// What nimify notes with a revision: which image, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    /// The image's digest.
    pub digest: &'a str,
    /// The share of a canary, percent.
    pub canary: Option<u8>,
    /// The environment that it was promoted from.
    pub promoted_from: Option<&'a str>,
}

impl Note<'_> {
    /// The revision's description.
    pub fn text(&self) -> String {
        match (self.canary, self.promoted_from) {
            (Some(percent), _) => format!("canary {percent}% {}", self.digest),
            (None, Some(environment)) => format!("promoted from {environment} {}", self.digest),
            (None, None) => format!("deployed {}", self.digest),
        }
    }

    /// Whether a description is that of a canary.
    pub fn is_canary(description: &str) -> bool {
        description.starts_with("canary ")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::deploy) fn history(all: &[(u32, &str, &str)]) -> History {
        let revision = |(revision, status, description): &(u32, &str, &str)| {
            serde_json::json!({
                "revision": revision, "updated": "2026-11-21T18:00:00Z", "status": status,
                "chart": "digits-1.0.0", "app_version": "1.0.0", "description": description,
            })
        };
        let all: Vec<_> = all.iter().map(revision).collect();
        History::parse(serde_json::to_string(&all).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn a_deployment_begins_from_what_runs() {
        let start = |all: &[(u32, &str, &str)]| history(all).start();
        assert_eq!(start(&[]), Start::First);
        assert_eq!(start(&[(1, "uninstalled", "")]), Start::First);
        assert_eq!(start(&[(1, "deployed", "")]), Start::From { revision: 1, failed: None });
        assert_eq!(start(&[(1, "deployed", ""), (2, "failed", "")]), Start::From { revision: 1, failed: Some(2) });
        assert_eq!(start(&[(1, "failed", "")]), Start::OnlyFailed(1));
        assert_eq!(
            start(&[(1, "deployed", ""), (2, "pending-upgrade", "")]),
            Start::Pending { revision: 2, status: Status::PendingUpgrade, before: Some(1) }
        );
        assert_eq!(
            start(&[(1, "pending-install", "")]),
            Start::Pending { revision: 1, status: Status::PendingInstall, before: None }
        );
        assert_eq!(start(&[(1, "something-new", "")]), Start::OnlyFailed(1));
    }

    #[test]
    fn a_rollback_goes_to_what_ran_before() {
        let before = |canary, all: &[(u32, &str, &str)]| history(all).before(canary).map(|found| found.revision);
        assert_eq!(before(false, &[]), None);
        assert_eq!(before(false, &[(1, "deployed", "")]), None);
        let three = [(1, "superseded", ""), (2, "failed", ""), (3, "deployed", "")];
        assert_eq!(before(false, &three), Some(1));
        assert_eq!(before(false, &[(1, "deployed", ""), (2, "failed", "")]), Some(1));
        assert_eq!(before(false, &[(1, "deployed", ""), (2, "pending-upgrade", "")]), Some(1));
        let canaries = [(1, "superseded", ""), (2, "superseded", "canary 10% x"), (3, "deployed", "canary 50% x")];
        assert_eq!((before(false, &canaries), before(true, &canaries)), (Some(2), Some(1)));
        let again = [(1, "superseded", "a"), (2, "superseded", "canary 9% x"), (4, "deployed", "Rollback to 2")];
        assert_eq!((history(&again).note(&history(&again).0[2]), before(true, &again)), ("canary 9% x", Some(1)));
    }

    #[test]
    fn a_revision_notes_its_image() {
        let note = Note { digest: "sha256:1", canary: None, promoted_from: None };
        assert_eq!(note.text(), "deployed sha256:1");
        assert_eq!(Note { promoted_from: Some("staging"), ..note.clone() }.text(), "promoted from staging sha256:1");
        let canary = Note { canary: Some(10), ..note }.text();
        assert!(Note::is_canary(&canary) && canary == "canary 10% sha256:1");
    }
}
