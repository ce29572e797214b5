//! What runs where: a release's Deployments with image, version, since when, and whether they are healthy.

use serde::Serialize;
use serde_json::Value;

use super::objects::{items, name, plain, text};
use super::reason::{Progress, Reason, Seen, progress, reason};
use super::request::{Ask, segment};
use super::{Cluster, Error};
use crate::digest::Digest;

/// Which part of a release a Deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The one that stays.
    Stable,
    /// The one on trial beside it.
    Canary,
}

/// One Deployment of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The Deployment's name.
    pub deployment: String,
    /// Which part of the release it is.
    pub part: Part,
    /// The image as the Deployment names it.
    pub image: String,
    /// The image's digest: as named, or else what its pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The model's version: the label `app.kubernetes.io/version` of the pods.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The chart with its version: the label `helm.sh/chart`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub chart: String,
    /// Ready and wanted pods.
    #[serde(flatten)]
    pub progress: Progress,
    /// Since when this version runs here, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why it isn't healthy; nothing where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
}

/// The label by which the parts of a release differ.
const COMPONENT: &str = "app.kubernetes.io/component";

/// What a Deployment's objects say about it.
pub fn running(seen: &Seen) -> Running {
    let deployment = &seen.deployment;
    let template = &deployment["spec"]["template"];
    let label = |object: &Value, label: &str| plain(text(&object["metadata"]["labels"][label]), 100);
    let container = service_container(template);
    let image = plain(text(&container["image"]), 500);
    let part = if label(deployment, COMPONENT) == "canary" { Part::Canary } else { Part::Stable };
    let progress = progress(seen);
    Running {
        deployment: name(deployment).into(),
        part,
        digest: digest_of(&image).or_else(|| pulled(seen, text(&container["name"]))),
        image,
        version: label(template, "app.kubernetes.io/version"),
        chart: label(deployment, "helm.sh/chart"),
        progress,
        since: seen.newest().map(|set| plain(text(&set["metadata"]["creationTimestamp"]), 40)),
        trouble: (!progress.done).then(|| reason(seen)),
    }
}

/// The container with the service: that of this name, or else the first.
fn service_container(template: &Value) -> &Value {
    let containers = items(&template["spec"]["containers"]);
    containers.iter().find(|c| c["name"] == "service").or(containers.first()).unwrap_or(&Value::Null)
}

fn digest_of(image: &str) -> Option<Digest> {
    image.rsplit_once('@').and_then(|(_, digest)| digest.parse().ok())
}

/// The digest that the pods of the newest version run, where all of those that run agree.
fn pulled(seen: &Seen, container: &str) -> Option<Digest> {
    let statuses = seen.newest_pods().flat_map(|pod| items(&pod["status"]["containerStatuses"]));
    let mut digests = statuses.filter(|s| s["name"] == container).filter_map(|s| digest_of(text(&s["imageID"])));
    let first = digests.next()?;
    digests.all(|other| other == first).then_some(first)
}

impl Cluster {
    /// What of a release runs in the namespace: the stable part, then a canary if there is one.
    pub fn running(&self, release: &str) -> Result<Vec<Running>, Error> {
        let selector = segment(&format!("app.kubernetes.io/instance={release},app.kubernetes.io/managed-by=Helm"));
        let path = format!("/apis/apps/v1/namespaces/{}/deployments", segment(&self.namespace));
        let action = format!("list deployments.apps in namespace {}", self.namespace);
        let deployments = self.list(&path, &format!("labelSelector={selector}&limit=100"), &action)?;
        let mut running = Vec::new();
        for deployment in deployments {
            running.push(self::running(&self.seen(deployment)?));
        }
        running.sort_by(|a: &Running, b| (a.part, &a.deployment).cmp(&(b.part, &b.deployment)));
        Ok(running)
    }

    /// All that is known of this Deployment.
    pub(super) fn seen(&self, deployment: Value) -> Result<Seen, Error> {
        let namespace = segment(&self.namespace);
        let of = |what: &str| format!("list {what} in namespace {}", self.namespace);
        let labels = deployment["spec"]["selector"]["matchLabels"].as_object();
        let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
            return Ok(Seen { deployment, ..Seen::default() });
        };
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        let query = format!("labelSelector={}&limit=500", segment(&selector.join(",")));
        let sets = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
        let replica_sets = self.list(&sets, &query, &of("replicasets.apps"))?;
        let pods = self.list(&format!("/api/v1/namespaces/{namespace}/pods"), &query, &of("pods"))?;
        let mut seen = Seen { deployment, replica_sets, pods, events: Vec::new() };
        seen.events = self.events(&seen)?;
        Ok(seen)
    }

    /// The events about the first few pods that aren't ready. Who may not read events does without.
    fn events(&self, seen: &Seen) -> Result<Vec<Value>, Error> {
        const PODS: usize = 3;
        let mut events = Vec::new();
        for pod in seen.unready().into_iter().take(PODS) {
            let path = format!("/api/v1/namespaces/{}/events", segment(&self.namespace));
            let query = format!("fieldSelector={}&limit=200", segment(&format!("involvedObject.name={pod}")));
            match self.list(&path, &query, "list events") {
                Ok(some) => events.extend(some),
                Err(Error::Forbidden { .. }) => return Ok(Vec::new()),
                Err(other) => return Err(other),
            }
        }
        Ok(events)
    }

    /// The Deployment of this name; null where there is none.
    pub(super) fn deployment(&self, name: &str) -> Result<Value, Error> {
        let path = format!("/apis/apps/v1/namespaces/{}/deployments/{}", segment(&self.namespace), segment(name));
        let action = format!("get deployments.apps in namespace {}", self.namespace);
        Ok(self.object(&Ask::get(path, action))?.unwrap_or_default())
    }
}
