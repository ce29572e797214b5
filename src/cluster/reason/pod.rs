//! Why one pod isn't ready, from its status and the events about it.

use serde_json::Value;

use super::super::objects::{condition, holds, items, name, plain, text};
use super::{Kind, Reason, WORDS, advice, container};

/// All that keeps this pod from being ready; nothing where it is ready or nothing is wrong.
pub(super) fn reasons(pod: &Value, events: &[Value]) -> Vec<Reason> {
    if holds(pod, "Ready") {
        return Vec::new();
    }
    let pod_name = name(pod);
    let mut events: Vec<&Value> =
        events.iter().filter(|event| event["involvedObject"]["name"] == pod_name && !pod_name.is_empty()).collect();
    events.sort_by_key(|event| moment(event));
    let latest = |reasons: &[&str]| events.iter().rev().find(|e| reasons.contains(&text(&e["reason"]))).copied();
    let words = |event: &Value| plain(text(&event["message"]), WORDS);

    let mut found = Vec::new();
    found.extend(unscheduled(pod));
    found.extend(put_off(pod));
    let pulling = events.iter().rev().map(|e| text(&e["message"])).find(|words| words.starts_with("Failed to pull"));
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|list| items(&pod["status"][list]));
    for status in statuses.into_iter().flatten() {
        let container = text(&status["name"]);
        // A probe's own verdict is why the node ended it.
        let ended_by = events.iter().rev().find(|e| text(&e["reason"]) == "Killing" && is_of(e, container));
        let by_probe = ended_by.is_some_and(|e| text(&e["message"]).contains("probe"));
        let reason = container::reason(status, pulling).filter(|reason| !(by_probe && reason.kind == Kind::Crash));
        found.extend(reason.map(|reason| reason.of_pod(pod_name, Some(container))));
        found.extend(unanswered(status, &events).map(|reason| {
            let restarts = status["restartCount"].as_u64().unwrap_or(0);
            let reason = if by_probe && restarts >= 3 { reason.hopeless_after(0) } else { reason };
            reason.of_pod(pod_name, Some(container))
        }));
    }
    // Nothing of this is worth telling once a container has got so far that it was made.
    let made = items(&pod["status"]["containerStatuses"]).iter().any(|s| s["state"]["running"].is_object());
    if !made {
        if let Some(event) = latest(&["FailedMount", "FailedAttachVolume", "FailedMapVolume"]) {
            let words = words(event);
            let (advice, seconds) = advice::volume(&words);
            let reason = Reason::new(Kind::Volume, format!("a volume can't be mounted: {words}"), advice);
            let reason = match seconds {
                Some(seconds) => reason.hopeless_after(seconds),
                None => reason,
            };
            found.push(reason.of_pod(pod_name, None));
        }
        if let Some(event) = latest(&["FailedCreatePodSandBox", "NetworkNotReady"]) {
            let cause = format!("the pod can't be set up on its node: {}", words(event));
            found.push(Reason::new(Kind::Network, cause, advice::NETWORK).of_pod(pod_name, None));
        }
    }
    found
}

/// When an event was last seen: RFC 3339 sorts as text.
fn moment(event: &Value) -> &str {
    let fields = [&event["series"]["lastObservedTime"], &event["lastTimestamp"], &event["eventTime"]];
    fields.into_iter().map(text).find(|moment| !moment.is_empty()).unwrap_or_default()
}

/// Whether an event is about this container; one without a place is about each.
fn is_of(event: &Value, container: &str) -> bool {
    let place = text(&event["involvedObject"]["fieldPath"]);
    place.is_empty() || place.contains(&format!("{{{container}}}"))
}

fn unscheduled(pod: &Value) -> Option<Reason> {
    let condition = condition(pod, "PodScheduled").filter(|condition| condition["status"] == "False")?;
    let words = text(&condition["message"]);
    // What preemption would bring is an afterthought that hides the point.
    let words = plain(words.split(" preemption:").next().unwrap_or_default(), WORDS);
    let cause = match text(&condition["reason"]) {
        "SchedulingGated" => "the pod waits for a scheduling gate to be opened".to_owned(),
        _ => format!("no node takes the pod: {words}"),
    };
    Some(Reason::new(Kind::Unschedulable, cause, advice::scheduling(&words)).of_pod(name(pod), None))
}

fn put_off(pod: &Value) -> Option<Reason> {
    let status = &pod["status"];
    let reason = text(&status["reason"]);
    if status["phase"] != "Failed" || reason.is_empty() {
        return None;
    }
    let cause = format!("the pod was stopped by its node ({reason}): {}", plain(text(&status["message"]), WORDS));
    Some(Reason::new(Kind::Evicted, cause, advice::EVICTED).of_pod(name(pod), None))
}

/// That a container runs, or was ended, without a probe being answered as it should be.
fn unanswered(status: &Value, events: &[&Value]) -> Option<Reason> {
    let container = text(&status["name"]);
    let event = events.iter().rev().find(|e| text(&e["reason"]) == "Unhealthy" && is_of(e, container))?;
    if status["ready"] == true {
        return None;
    }
    let words = plain(text(&event["message"]), WORDS);
    let ended = events.iter().rev().find(|e| text(&e["reason"]) == "Killing" && is_of(e, container));
    let again = ended.is_some_and(|e| text(&e["message"]).contains("probe"));
    let again = if again { ", and the node started it anew" } else { "" };
    let cause = format!("container `{container}` runs but doesn't get ready{again}: {words}");
    Some(Reason::new(Kind::NotReady, cause, advice::probe(&words)))
}
