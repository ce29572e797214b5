//! What a cluster's Prometheus and Grafana are given: recording rules, alerts and dashboards, and what scalers ask
//! it, all written from the runtime's one table of metrics. Pure.
//!
//! They are the same for every model: files of the chart that stand for themselves. What differs between releases is put
//! in by helm. The rules hold words such as `%scope%`, which `templates/prometheusrule.yaml` replaces; since helm takes
//! the files as data, the `{{ }}` of Prometheus and Grafana need no escaping. The dashboards are whole as they are, and
//! can be imported by hand.

mod alerts;
mod grafana;
mod model;

mod query;
mod recording;
mod scaling;
mod service;

use nimify_runtime::metrics::DURATIONS;
use nimify_runtime::settings::duration;
use serde_json::{Map, Value, json};

use super::yaml;

/// The file of the rules, by its path in the chart.
const RULES: &str = "monitoring/rules.yaml";

/// Written over the rules.
const HEADER: &str = "\
# Recording rules and alerts, written by nimify from the table of its metrics. templates/prometheusrule.yaml replaces the
# words between `%` and leaves out what isn't wanted.
";

/// Series of one release: what every selector of a rule has.
const SCOPE: &str = "%scope%";

/// Every file, by its path in the chart.
pub(super) fn files() -> Vec<(String, String)> {
    let dashboards = [("service", service::dashboard()), ("model", model::dashboard())].map(|(name, dashboard)| {
        let text = serde_json::to_string_pretty(&dashboard).expect("a JSON value can be written");
        (format!("monitoring/{name}.json"), text + "\n")
    });
    let rules = (RULES.into(), format!("{HEADER}{}", yaml::write(&rules())));
    [rules].into_iter().chain(dashboards).chain(scaling::files()).collect()
}

/// The rules, and the tables that helm looks values up in.
fn rules() -> Value {
    json!({
        "groups": [
            { "name": "nimify-recorded", "rules": recording::rules() },
            { "name": "nimify-alerts", "rules": alerts::ALERTS.iter().flat_map(alerts::Alert::rules).collect::<Vec<_>>() },
        ],
        "bounds": latency_bounds().into_iter().map(|(bound, label)| (bound, label.into())).collect::<Map<_, Value>>(),
    })
}

/// The names of the alerts, sorted.
pub fn alert_names() -> Vec<&'static str> {
    let mut names: Vec<_> = alerts::ALERTS.iter().map(|alert| alert.name).collect();
    names.sort_unstable();
    names
}

/// Times that a latency objective can be about: the bounds of the histogram, each with the regular expression for its
/// label `le`. OpenMetrics, and Prometheus from version 3 on, write `1.0` for `1`.
pub(super) fn latency_bounds() -> Vec<(String, String)> {
    let from_a_millisecond = DURATIONS.iter().filter(|nanoseconds| **nanoseconds >= 1_000_000);
    from_a_millisecond
        .map(|nanoseconds| {
            let bound = std::time::Duration::from_nanos(*nanoseconds);
            let seconds = bound.as_secs_f64().to_string();
            let label = seconds.replace('.', "[.]");
            let whole = !seconds.contains('.');
            (duration::format(bound), if whole { format!("{label}([.]0)?") } else { label })
        })
        .collect()
}

#[cfg(test)]
mod tests;
