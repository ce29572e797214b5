//! The last lines that a container wrote, bounded, read before the pod may be gone.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::objects::{count, items, name, plain, text};
use super::reason::{Kind, Reason, Seen};
use super::request::{Ask, segment};
use super::{Cluster, Error};

/// How many lines are read of a container.
const LINES: usize = 20;
/// How many bytes.
const BYTES: usize = 16 << 10;
/// How many characters of a line are kept.
const WIDTH: usize = 400;

/// The last lines of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Whether it is the run before the one that is there now.
    pub previous: bool,
    /// The lines, oldest first.
    pub lines: Vec<String>,
}

/// The last lines of a text, made fit for a terminal.
fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| plain(line, WIDTH)).collect()
}

/// The containers of this pod that ran, and whether the run before has to be asked for.
fn that_ran<'a>(pod: &'a Value, reason: &Reason) -> Vec<(&'a str, bool)> {
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|list| items(&pod["status"][list]));
    let mut found = Vec::new();
    for status in statuses.into_iter().flatten() {
        let container = text(&status["name"]);
        let is_meant = reason.container.as_deref().is_none_or(|meant| meant == container);
        let runs = status["state"]["running"].is_object() || status["state"]["terminated"].is_object();
        if !is_meant || status["ready"] == true || container.is_empty() {
            continue;
        }
        // The run that ended says why; the one that is there now may not have got so far.
        if count(&status["restartCount"]) > 0 {
            found.push((container, true));
        }
        if runs {
            found.push((container, false));
        }
    }
    found
}

impl Cluster {
    /// The logs that belong to a reason; what can't be had is left out, since the reason itself is more important.
    pub(super) fn telling_logs(&self, seen: &Seen, reason: &Reason) -> Vec<Log> {
        if !matches!(reason.kind, Kind::Crash | Kind::OutOfMemory | Kind::NotReady | Kind::CannotStart | Kind::Starting)
        {
            return Vec::new();
        }
        let unready = seen.unready();
        let Some(meant) = reason.pod.as_deref().or(unready.first().copied()) else { return Vec::new() };
        let Some(pod) = seen.pods.iter().find(|pod| name(pod) == meant) else { return Vec::new() };
        let asked = that_ran(pod, reason).into_iter().map(|(container, previous)| self.log(meant, container, previous));
        asked.filter_map(Result::ok).filter(|log| !log.lines.is_empty()).collect()
    }

    /// The last lines of one container.
    fn log(&self, pod: &str, container: &str, previous: bool) -> Result<Log, Error> {
        let path = format!("/api/v1/namespaces/{}/pods/{}/log", segment(&self.namespace), segment(pod));
        let query = format!("container={}&previous={previous}&tailLines={LINES}", segment(container));
        let mut ask = Ask::get(format!("{path}?{query}&limitBytes={BYTES}"), "get pods/log");
        (ask.timeout, ask.limit) = (Duration::from_secs(5), 2 * BYTES);
        let answer = self.send_once(&ask)?;
        if !answer.status.is_success() {
            return Err(self.refusal(&ask, &answer));
        }
        let lines = last_lines(&answer.body);
        Ok(Log { pod: pod.into(), container: container.into(), previous, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_lines_are_few_and_plain() {
        let text: String = (0..50).map(|k| format!("line {k}\n\n")).collect();
        let lines = last_lines(text.as_bytes());
        assert_eq!((lines.len(), lines[19].as_str()), (LINES, "line 49"));
        assert_eq!(last_lines(b"\x1b[2Jwiped\xff\n"), ["[2Jwiped\u{fffd}"]);
        assert_eq!(last_lines("x".repeat(1000).as_bytes())[0].chars().count(), WIDTH + 1);
        assert!(last_lines(b"").is_empty());
    }

    #[test]
    fn a_container_that_was_started_again_tells_by_its_run_before() {
        let pod = json!({"status": {
            "initContainerStatuses": [{"name": "model", "ready": true, "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [
                {"name": "service", "ready": false, "restartCount": 2, "state": {"waiting": {}}},
                {"name": "sidecar", "ready": false, "restartCount": 0, "state": {"running": {}}},
            ],
        }});
        let reason = |container: Option<&str>| Reason {
            kind: Kind::Crash,
            pod: None,
            container: container.map(String::from),
            cause: String::new(),
            advice: String::new(),
            patience: None,
        };
        assert_eq!(that_ran(&pod, &reason(Some("service"))), [("service", true)]);
        assert_eq!(that_ran(&pod, &reason(None)), [("service", true), ("sidecar", false)]);
        assert!(that_ran(&json!(null), &reason(None)).is_empty());
    }
}
