//! Objects of a rollout → how far it is, and why it doesn't get on.
//!
//! Pure: everything comes from what the cluster's own controllers, scheduler and nodes wrote into the objects. Of several
//! reasons the one is told that explains the most: a pod that was never made before one that isn't ready.

mod advice;
mod container;
mod pod;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::objects::{condition, count, holds, is_ending, is_owned_by, name, plain, text};

/// How many characters of foreign words are told.
const WORDS: usize = 600;

/// All that is known of one Deployment at one moment, as the API server answers it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The Deployment; null where there is none.
    pub deployment: Value,
    /// The ReplicaSets of its selector.
    pub replica_sets: Vec<Value>,
    /// The pods of its selector.
    pub pods: Vec<Value>,
    /// Events about those of the pods that aren't ready.
    pub events: Vec<Value>,
}

/// The kind of a reason; each has a section in `docs/how-to/when-a-rollout-fails.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing is wrong as far as it can be seen: it just takes its time.
    Starting,
    /// Pods of the version before haven't ended yet.
    OldPods,
    /// The container runs, but a probe isn't answered as it should be.
    NotReady,
    /// No node takes the pod.
    Unschedulable,
    /// The pod was put off its node.
    Evicted,
    /// The pod's network can't be set up.
    Network,
    /// A volume can't be mounted.
    Volume,
    /// Something that the container's settings name isn't there.
    Configuration,
    /// The image can't be pulled.
    ImagePull,
    /// The container can't be started.
    CannotStart,
    /// The container ends as soon as it starts.
    Crash,
    /// The container needs more memory than its limit.
    OutOfMemory,
    /// Pods can't be made, for a reason of no other kind.
    NotCreated,
    /// The namespace's Pod Security level refuses the pods.
    PodSecurity,
    /// An admission policy refuses the pods.
    Denied,
    /// The namespace's quota is used up.
    Quota,
    /// The Deployment is paused.
    Paused,
    /// There is no such Deployment.
    Missing,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 18] = [
        Kind::Starting,
        Kind::OldPods,
        Kind::NotReady,
        Kind::Unschedulable,
        Kind::Evicted,
        Kind::Network,
        Kind::Volume,
        Kind::Configuration,
        Kind::ImagePull,
        Kind::CannotStart,
        Kind::Crash,
        Kind::OutOfMemory,
        Kind::NotCreated,
        Kind::PodSecurity,
        Kind::Denied,
        Kind::Quota,
        Kind::Paused,
        Kind::Missing,
    ];
}

/// Why a rollout doesn't get on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its kind.
    pub kind: Kind,
    /// The pod that it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The container of the pod, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What happened, in a few sentences with the cluster's own words.
    pub cause: String,
    /// What to do about it.
    pub advice: String,
    /// How long this may stand before waiting on is pointless; `None` where waiting may always help.
    #[serde(skip)]
    pub patience: Option<Duration>,
}

impl Reason {
    fn new(kind: Kind, cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Reason { kind, pod: None, container: None, cause: cause.into(), advice: advice.into(), patience: None }
    }

    /// Waiting on is pointless once this has stood for so many seconds.
    fn hopeless_after(mut self, seconds: u64) -> Self {
        self.patience = Some(Duration::from_secs(seconds));
        self
    }

    fn of_pod(mut self, pod: &str, container: Option<&str>) -> Self {
        self.pod = Some(pod.into());
        self.container = container.map(String::from);
        self
    }

    /// What happened, and to which pod.
    pub fn sentence(&self) -> String {
        let pod = self.pod.as_ref().map(|pod| format!("pod `{pod}`: ")).unwrap_or_default();
        format!("{pod}{}", self.cause)
    }
}

/// How far a Deployment's rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Pods of the new version that are ready.
    pub ready: u64,
    /// Pods that are wanted.
    pub wanted: u64,
    /// Whether all that is wanted runs, and nothing of the version before.
    pub done: bool,
}

impl Seen {
    /// The ReplicaSet of the newest version.
    pub fn newest(&self) -> Option<&Value> {
        const REVISION: &str = "deployment.kubernetes.io/revision";
        let revision = |object: &Value| text(&object["metadata"]["annotations"][REVISION]).parse::<u64>().ok();
        let wanted = revision(&self.deployment)?;
        self.replica_sets.iter().find(|set| is_owned_by(set, &self.deployment) && revision(set) == Some(wanted))
    }

    /// The pods of the newest version that are to stay.
    pub fn newest_pods(&self) -> impl Iterator<Item = &Value> {
        let newest = self.newest();
        self.pods.iter().filter(move |pod| newest.is_some_and(|set| is_owned_by(pod, set)) && !is_ending(pod))
    }

    /// The names of the new pods that aren't ready, the oldest first: those whose events say why.
    pub fn unready(&self) -> Vec<&str> {
        let mut pods: Vec<&Value> = self.newest_pods().filter(|pod| !holds(pod, "Ready")).collect();
        pods.sort_by_key(|pod| text(&pod["metadata"]["creationTimestamp"]));
        pods.into_iter().map(name).collect()
    }

    /// Whether the controller has seen what the Deployment asks for now.
    fn is_observed(&self) -> bool {
        let generation = count(&self.deployment["metadata"]["generation"]);
        generation > 0 && count(&self.deployment["status"]["observedGeneration"]) >= generation
    }
}

/// How far it is: the rule of `kubectl rollout status`.
pub fn progress(seen: &Seen) -> Progress {
    let Value::Object(_) = seen.deployment else { return Progress { ready: 0, wanted: 0, done: false } };
    let status = &seen.deployment["status"];
    let wanted = seen.deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let [all, updated, available] =
        ["replicas", "updatedReplicas", "availableReplicas"].map(|field| count(&status[field]));
    let done = seen.is_observed() && updated >= wanted && all == updated && available >= updated;
    let ready = seen.newest_pods().filter(|pod| holds(pod, "Ready")).count() as u64;
    Progress { ready: if done { wanted } else { ready.min(wanted) }, wanted, done }
}

/// Why it isn't done yet: the most telling of the reasons.
pub fn reason(seen: &Seen) -> Reason {
    let deployment = &seen.deployment;
    if !deployment.is_object() {
        let words = "the release has no Deployment of this name in the cluster";
        return Reason::new(Kind::Missing, words, advice::MISSING).hopeless_after(5);
    }
    if deployment["spec"]["paused"] == true {
        return Reason::new(Kind::Paused, "the Deployment is paused, so no pods are made", advice::PAUSED)
            .hopeless_after(0);
    }
    // Until the controller has seen what is asked for now, what is there is about what was asked for before.
    if !seen.is_observed() {
        return underway(seen);
    }
    let refused = not_created(seen);
    let pods = seen.newest_pods().flat_map(|pod| pod::reasons(pod, &seen.events));
    refused.into_iter().chain(pods).max_by_key(|reason| reason.kind).unwrap_or_else(|| underway(seen))
}

/// That pods couldn't be made, as the ReplicaSet's controller says it.
fn not_created(seen: &Seen) -> Option<Reason> {
    let failed = |object: &Value| {
        let condition = condition(object, "ReplicaFailure").filter(|condition| condition["status"] == "True")?;
        Some(text(&condition["message"]).to_owned())
    };
    // The Deployment's own may be about pods of the version before.
    let words = failed(seen.newest().unwrap_or(&seen.deployment))?;
    let told = plain(&words, WORDS);
    let (kind, advice, patience) = if words.contains("exceeded quota") {
        (Kind::Quota, advice::QUOTA, 10)
    } else if words.contains("violates PodSecurity") {
        (Kind::PodSecurity, advice::POD_SECURITY, 5)
    } else if words.contains("denied the request") || words.contains("ValidatingAdmissionPolicy") {
        (Kind::Denied, advice::DENIED, 10)
    } else {
        (Kind::NotCreated, advice::NOT_CREATED, 30)
    };
    Some(Reason::new(kind, format!("no pods can be made: {told}"), advice).hopeless_after(patience))
}

/// What it waits for where nothing is wrong.
fn underway(seen: &Seen) -> Reason {
    let status = &seen.deployment["status"];
    let [all, updated] = ["replicas", "updatedReplicas"].map(|field| count(&status[field]));
    let unready = seen.unready();
    let words = if !seen.is_observed() {
        "the cluster hasn't taken notice of the new version yet".into()
    } else if let Some(pod) = unready.first() {
        format!("pod `{pod}` is starting")
    } else if all > updated {
        let words = format!("{} of the version before haven't ended yet", pods(all - updated));
        return Reason::new(Kind::OldPods, words, advice::OLD_PODS);
    } else if condition(&seen.deployment, "Progressing").is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        "the rollout made no progress for longer than the Deployment's `progressDeadlineSeconds`".into()
    } else {
        "the new pods are being made".into()
    };
    Reason::new(Kind::Starting, words, advice::STARTING)
}

fn pods(number: u64) -> String {
    if number == 1 { "1 pod".into() } else { format!("{number} pods") }
}
