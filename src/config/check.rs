//! What no single key can tell: keys that contradict each other.

use std::collections::BTreeSet;

use nimify_runtime::settings::MOST_PRIORITY_LEVELS;

use super::{Config, Environment, TensorRt};

/// The first contradiction: the path of the key, and what is wrong with it.
pub(super) fn check(config: &Config) -> Result<(), (Vec<String>, String)> {
    let wrong = |path: &[&str], message: &str| Err((path.iter().map(|key| key.to_string()).collect(), message.into()));
    let server = config.server.settings();
    let taken = |port: u16, of: &str, instead: &str| {
        format!("`{port}` is the port of {of} already: give another, or {instead}")
    };
    if server.metrics_port == Some(server.port) {
        return wrong(&["server", "metricsPort"], &taken(server.port, "HTTP", "leave this out"));
    }
    if let Some(port) = server.grpc_port {
        if port == server.port {
            return wrong(&["server", "grpcPort"], &taken(port, "HTTP", "null for none"));
        }
        if server.metrics_port == Some(port) {
            return wrong(&["server", "metricsPort"], &taken(port, "gRPC", "leave this out"));
        }
    }
    let tls = &server.tls;
    if (tls.certificate.is_some() || tls.client_ca.is_some()) && tls.key.is_none() {
        return wrong(&["server", "tls"], "needs `key`, the certificate's private key");
    }
    if tls.certificate.is_none() && (tls.key.is_some() || tls.client_ca.is_some()) {
        return wrong(&["server", "tls"], "needs `certificate`");
    }
    if server.read_timeout.is_zero() {
        return wrong(&["server", "readTimeout"], "should be longer than nothing: no request could be read");
    }
    if server.host.parse::<std::net::IpAddr>().is_err() {
        return wrong(&["server", "host"], "should be an IP address to bind, such as `0.0.0.0` or `::`");
    }
    let batching = config.batching.settings();
    if batching.request_timeout.is_zero() {
        return wrong(&["batching", "requestTimeout"], "should be longer than nothing: no request could be answered");
    }
    if batching.priority_levels > MOST_PRIORITY_LEVELS {
        return wrong(&["batching", "priorityLevels"], &format!("should be at most {MOST_PRIORITY_LEVELS}"));
    }
    if batching.default_priority.is_some_and(|level| level > batching.priority_levels) {
        return wrong(&["batching", "defaultPriority"], "is none of the `priorityLevels`");
    }
    let TensorRt { inputs, outputs, .. } = &config.tensorrt;
    if inputs.is_empty() != outputs.is_empty() {
        let (missing, there) = if inputs.is_empty() { ("inputs", "outputs") } else { ("outputs", "inputs") };
        return wrong(&["tensorrt", there], &format!("needs `{missing}` beside it"));
    }
    for (key, list) in [("inputs", inputs), ("outputs", outputs)] {
        let names: BTreeSet<String> = list.iter().map(|tensor| tensor.spec().name).collect();
        if names.len() < list.len() {
            return wrong(&["tensorrt", key], "names one tensor twice");
        }
    }
    for (name, environment) in &config.environments {
        if let Some((key, message)) = contradiction(environment) {
            return wrong(&["environments", name.as_str(), key], message);
        }
    }
    Ok(())
}

fn contradiction(environment: &Environment) -> Option<(&'static str, &'static str)> {
    if environment.context.is_some() && !environment.contexts.is_empty() {
        return Some(("contexts", "stands beside `context`: give one of the two"));
    }
    let empty = |context: &String| context.is_empty();
    if environment.context.as_ref().is_some_and(empty) || environment.contexts.iter().any(empty) {
        return Some(("context", "is empty"));
    }
    let autoscaling = environment.autoscaling.as_ref()?;
    if environment.replicas.is_some() {
        return Some(("replicas", "stands beside `autoscaling`: give one of the two"));
    }
    (autoscaling.min_replicas > autoscaling.max_replicas)
        .then_some(("autoscaling", "has a `minReplicas` above its `maxReplicas`"))
}
