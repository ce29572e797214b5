//! What to do about each kind of reason.

pub(super) const MISSING: &str = "is it the right namespace? `helm get manifest RELEASE` shows what was installed";
pub(super) const PAUSED: &str = "go on with `kubectl rollout resume deployment NAME`";
pub(super) const QUOTA: &str = "free some of the quota, have it raised, or ask for less: `resources`, `replicaCount`. During \
                                a rollout there are more pods than afterwards: `updateStrategy.rollingUpdate.maxSurge`";
pub(super) const POD_SECURITY: &str = "the chart's own settings fit the level `restricted`: take back what the values change in \
                                       `podSecurityContext`, `containerSecurityContext`, volumes, sidecars or init containers";
pub(super) const DENIED: &str = "a policy of the cluster refuses the pods: change the values that it names, or ask whoever owns \
                                 the policy";
pub(super) const NOT_CREATED: &str = "change what the message names";
pub(super) const OLD_PODS: &str = "they get `terminationGracePeriodSeconds` to finish their requests: wait longer with a longer \
                                   time-out";
pub(super) const STARTING: &str = "a large model or image takes long: wait longer with a longer time-out";
pub(super) const NETWORK: &str = "that is the node's network plug-in: whoever runs the cluster has to look at it";
pub(super) const EVICTED: &str = "the node ran short of what the message names: set `resources.requests` to what the service \
                                  needs, so that the scheduler knows";
pub(super) const CONFIGURATION: &str = "make the Secret or ConfigMap that the message names in this namespace, or correct its \
                                        name in the values";
pub(super) const OUT_OF_MEMORY: &str = "raise `resources.limits.memory`; `nimify inspect` estimates what the model needs. Fewer \
                                        `engine.instances` or a smaller `batching.maxBatchSize` need less";
pub(super) const CRASH: &str = "the last lines of its log say why; `nimify run` tries the same model on this machine";
pub(super) const CANNOT_START: &str = "the message is the node's own; most often a setting of the pod doesn't fit the image or \
                                       the node";
pub(super) const ARCHITECTURE: &str = "the image is built for another processor than the node's: build it for that platform, or \
                                       set `nodeSelector` to `kubernetes.io/arch` of the image";

/// What to do about an image that can't be pulled, by the registry's words; and for how many seconds it is worth waiting.
pub(super) fn image(words: &str) -> (&'static str, u64) {
    let words = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    if says(&["no match for platform", "no matching manifest"]) {
        (ARCHITECTURE, 10)
    } else if says(&["unauthorized", "authentication required", "denied", "forbidden", "no basic auth", "401", "403"]) {
        (
            "the registry wants to know who pulls: name a Secret of the type `kubernetes.io/dockerconfigjson` in \
             `imagePullSecrets`",
            15,
        )
    } else if says(&["not found", "manifest unknown", "name unknown", "does not exist"]) {
        ("the registry has no such image: push it with `nimify push`, and compare repository and digest", 15)
    } else if says(&["x509", "certificate", "http response to https"]) {
        ("the node doesn't trust the registry: its container runtime needs the registry's certificate authority", 30)
    } else if says(&["no space left"]) {
        ("the node's disk is full: free some of it, or use another node", 60)
    } else {
        ("the node has to reach the registry: check its name, DNS, proxy and firewall as seen from the node", 90)
    }
}

/// What to do about a pod that no node takes, by the scheduler's words.
pub(super) fn scheduling(words: &str) -> &'static str {
    let words = words.to_lowercase();
    let says = |part: &str| words.contains(part);
    if says("nvidia.com/") || says("amd.com/gpu") {
        "no node has a free GPU of this kind: free one, add a node, or see whether the device plug-in runs there"
    } else if says("insufficient") {
        "no node has as much free as the pod asks for: lower `resources.requests`, or add a node"
    } else if says("persistentvolumeclaim") || says("volume") {
        "the pod's volume can't be had: check the claim with `kubectl describe pvc`"
    } else if says("taint") {
        "the nodes keep pods like this away: allow their taint in `tolerations`, or use other nodes"
    } else if says("affinity") || says("selector") {
        "no node has the labels that are asked for: check `nodeSelector`, `affinity` and the nodes' labels"
    } else if says("topology spread") {
        "the pods can't be spread as asked for: loosen `topologySpreadConstraints`, or add nodes"
    } else if says("too many pods") {
        "the nodes run as many pods as they may: add a node"
    } else {
        "`kubectl describe pod` shows what the scheduler tried"
    }
}

/// What to do about a volume that can't be mounted, by the node's words; and how many seconds it is worth waiting.
pub(super) fn volume(words: &str) -> (&'static str, Option<u64>) {
    if words.contains("not found") {
        (CONFIGURATION, Some(60))
    } else if words.contains("image") && words.contains("pull") {
        (image(words).0, Some(90))
    } else {
        ("check the volume and its claim with `kubectl describe pod` and `kubectl describe pvc`", None)
    }
}

/// What to do about a probe that isn't answered as it should be, by the probe's words.
pub(super) fn probe(words: &str) -> &'static str {
    if words.contains("503") {
        "the service is there but still loads its model, or drains: a large model needs a longer `startupProbe` and a \
         longer time-out"
    } else if words.contains("404") {
        "the service has no such path: check the probe's `path` in the values"
    } else if words.contains("refused") {
        "nothing listens on the port that the probe asks: check `server.port`, and the log for what the service waits for"
    } else if words.contains("deadline exceeded") || words.contains("Timeout") {
        "the service is too busy to answer, or a network policy is in the way: give it more CPU, or the probe more \
         `timeoutSeconds`"
    } else if words.contains("server gave HTTP response to HTTPS") || words.contains("malformed HTTP response") {
        "one side speaks TLS and the other doesn't: check `tls.secretName`"
    } else {
        "the log of the container says what it does"
    }
}
