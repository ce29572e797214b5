//! Following a rollout until all runs, or until it is clear why it won't.
//!
//! What is decided is decided by [`Patience`], from what is seen and how long it stands; the rest asks and waits. What
//! tells why is read before this returns: afterwards the pods may be gone.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::logs::Log;
use super::reason::{Kind, Progress, Reason, Seen, progress, reason};
use super::{Cluster, Error};

/// How often it is looked at.
const LOOKS: Duration = Duration::from_secs(1);
/// For how long a cluster that was reached before may not be reached.
const UNREACHED: Duration = Duration::from_secs(30);

/// What the observer of a rollout is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update<'a> {
    /// The Deployment.
    pub deployment: &'a str,
    /// How far it is.
    pub progress: Progress,
    /// What it waits for, or what is wrong so far; nothing where it is done.
    pub reason: Option<&'a Reason>,
}

/// A rollout that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollout {
    /// The Deployments, with what runs.
    pub deployments: Vec<(String, Progress)>,
    /// How long it took.
    pub took: Duration,
}

/// Why a rollout is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The Deployment.
    pub deployment: String,
    /// How far it got.
    #[serde(flatten)]
    pub progress: Progress,
    /// Why.
    pub reason: Reason,
    /// After how long it was given up.
    pub after: Duration,
    /// Whether that was the time-out; otherwise waiting on would not have helped.
    pub timed_out: bool,
    /// The last lines of the containers that it is about.
    pub logs: Vec<Log>,
}

/// How following ended, where not well.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The rollout failed.
    #[error("{}", .0.sentence())]
    Failed(Box<Failure>),
    /// The cluster could not be asked any more.
    #[error(transparent)]
    Cluster(#[from] Error),
}

impl Failure {
    /// What happened, in one sentence.
    pub fn sentence(&self) -> String {
        let Failure { deployment, progress, reason, after, timed_out, .. } = self;
        let Progress { ready, wanted, .. } = progress;
        let after = after.as_secs();
        let end =
            if *timed_out { format!("after {after} s, the time-out") } else { format!("given up after {after} s") };
        format!("{ready} of {wanted} pods of `{deployment}` are ready ({end}): {}", reason.sentence())
    }
}

/// How long a reason has stood, and whether waiting on may help.
#[derive(Debug, Default)]
struct Patience {
    since: Option<(Kind, Duration)>,
}

impl Patience {
    /// Whether it is time to give up, `now` after the beginning.
    fn is_over(&mut self, reason: &Reason, now: Duration) -> bool {
        // Between two tries a pod says for a moment that it is starting: the clock of what is wrong goes on.
        if reason.kind == Kind::Starting {
            return false;
        }
        let since = match self.since {
            Some((kind, since)) if kind == reason.kind => since,
            _ => now,
        };
        self.since = Some((reason.kind, since));
        reason.patience.is_some_and(|patience| now.saturating_sub(since) >= patience)
    }
}

/// What is known of one Deployment while it is followed.
struct Followed<'a> {
    name: &'a str,
    patience: Patience,
    seen: Seen,
    progress: Progress,
    /// The last reason that wasn't just that it is starting.
    trouble: Option<Reason>,
}

impl Cluster {
    /// Waits until the newest version of these Deployments runs, all of its pods ready and none of the version before
    /// left; gives up when `timeout` is over, or before where waiting can't help.
    pub fn follow(
        &self,
        deployments: &[String],
        timeout: Duration,
        observer: &mut dyn FnMut(&Update<'_>),
    ) -> Result<Rollout, Unfinished> {
        let began = Instant::now();
        let nothing = Progress { ready: 0, wanted: 0, done: false };
        let mut followed: Vec<Followed<'_>> = deployments
            .iter()
            .map(|name| Followed {
                name,
                patience: Patience::default(),
                seen: Seen::default(),
                progress: nothing,
                trouble: None,
            })
            .collect();
        let mut unreached = None;
        loop {
            let timed_out = began.elapsed() >= timeout;
            for one in followed.iter_mut().filter(|one| !one.progress.done) {
                match self.deployment(one.name).and_then(|deployment| self.seen(deployment)) {
                    Ok(seen) => {
                        unreached = None;
                        one.seen = seen;
                    }
                    Err(error) if is_passing(&error) => {
                        let since = *unreached.get_or_insert_with(Instant::now);
                        if since.elapsed() >= UNREACHED || timed_out {
                            return Err(error.into());
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                if let Some(failure) = self.judge(one, began.elapsed(), timed_out, observer) {
                    return Err(Unfinished::Failed(Box::new(failure)));
                }
            }
            if followed.iter().all(|one| one.progress.done) {
                let deployments = followed.iter().map(|one| (one.name.to_owned(), one.progress)).collect();
                return Ok(Rollout { deployments, took: began.elapsed() });
            }
            self.sleep(LOOKS.min(timeout.saturating_sub(began.elapsed()).max(Duration::from_millis(100))))?;
        }
    }

    /// Tells the observer how far it is, and whether to give up.
    fn judge(
        &self,
        one: &mut Followed<'_>,
        now: Duration,
        timed_out: bool,
        observer: &mut dyn FnMut(&Update<'_>),
    ) -> Option<Failure> {
        one.progress = progress(&one.seen);
        if one.progress.done {
            observer(&Update { deployment: one.name, progress: one.progress, reason: None });
            return None;
        }
        let reason = reason(&one.seen);
        observer(&Update { deployment: one.name, progress: one.progress, reason: Some(&reason) });
        let hopeless = one.patience.is_over(&reason, now);
        if reason.kind != Kind::Starting {
            one.trouble = Some(reason.clone());
        }
        if !hopeless && !timed_out {
            return None;
        }
        // What was wrong a moment ago says more than that it is tried again.
        let reason = if reason.kind == Kind::Starting { one.trouble.take().unwrap_or(reason) } else { reason };
        let logs = self.telling_logs(&one.seen, &reason);
        let (deployment, progress) = (one.name.to_owned(), one.progress);
        Some(Failure { deployment, progress, reason, after: now, timed_out: !hopeless, logs })
    }
}

/// Whether the same question may be answered a moment later.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. } | Error::Refused { status: 429 | 500.., .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(kind: Kind, patience: Option<u64>) -> Reason {
        let patience = patience.map(Duration::from_secs);
        Reason { kind, pod: None, container: None, cause: String::new(), advice: String::new(), patience }
    }

    #[test]
    fn a_reason_has_to_stand_for_its_time() {
        let at = Duration::from_secs;
        let mut patience = Patience::default();
        let pull = reason(Kind::ImagePull, Some(15));
        assert!(!patience.is_over(&pull, at(5)));
        assert!(!patience.is_over(&reason(Kind::Starting, None), at(10)));
        assert!(!patience.is_over(&pull, at(19)));
        assert!(patience.is_over(&pull, at(20)));
        // Another kind starts anew.
        assert!(!patience.is_over(&reason(Kind::Quota, Some(10)), at(21)));
        assert!(!patience.is_over(&pull, at(22)));
        assert!(!patience.is_over(&reason(Kind::Unschedulable, None), at(9999)));
        assert!(patience.is_over(&reason(Kind::Crash, Some(0)), at(10_000)));
    }

    #[test]
    fn a_failure_says_how_far_it_got_and_why() {
        let reason = Reason { cause: "it broke".into(), pod: Some("p-1".into()), ..reason(Kind::Crash, None) };
        let progress = Progress { ready: 1, wanted: 3, done: false };
        let failure = Failure {
            deployment: "digits".into(),
            progress,
            reason,
            after: Duration::from_secs(9),
            timed_out: false,
            logs: Vec::new(),
        };
        assert_eq!(failure.sentence(), "1 of 3 pods of `digits` are ready (given up after 9 s): pod `p-1`: it broke");
        let failure = Failure { timed_out: true, ..failure };
        assert!(failure.sentence().contains("after 9 s, the time-out"));
    }
}
