//! What a running service reads from its environment and counts.

use nimify_runtime::arguments::USAGE;
use nimify_runtime::environment::VARIABLES;
use nimify_runtime::logging::{Format, Level, LogSettings};
use nimify_runtime::metrics::METRICS;
use nimify_runtime::settings::{BatchingSettings, EngineSettings, ServerSettings, StateSettings, TracingSettings};
use nimify_runtime::trace;
use serde_json::{Value, json};

use super::{code, table};

/// The settings of `service.json` that have a default, as the file spells them.
pub(super) fn defaults() -> Value {
    let mut defaults = json!({
        "server": ServerSettings::default(),
        "batching": BatchingSettings::default(),
        "engine": EngineSettings::default(),
        "state": StateSettings::default(),
        "tracing": TracingSettings::default(),
    });
    // Set by the build to the library in the image.
    defaults["engine"]["onnxruntime"] = Value::Null;
    defaults
}

/// The default of a setting such as `server.port`; empty where there is none.
pub(super) fn default_of(defaults: &Value, setting: &str) -> String {
    match setting.split('.').try_fold(defaults, |value, key| value.get(key)) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(_) | Value::Array(_)) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// One row a setting: nimify's variable and the NIM names that set the same.
pub(super) fn variables() -> String {
    let defaults = defaults();
    let (own, nim): (Vec<_>, Vec<_>) = VARIABLES.iter().partition(|variable| variable.name.starts_with("NIMIFY_"));
    let rows = own.into_iter().map(|variable| {
        let means = match variable.name {
            "NIMIFY_LOG_LEVEL" => ("NIM_LOG_LEVEL", "info"),
            "NIMIFY_LOG_FORMAT" => ("NIM_JSONL_LOGGING", "text"),
            "NIMIFY_ACCESS_LOG" => ("", "debug"),
            _ => ("", ""),
        };
        let also = |name: &str, setting: &str| name == means.0 || (!setting.is_empty() && setting == variable.setting);
        let names = nim.iter().filter(|other| also(other.name, other.setting)).map(|other| code(other.name));
        let default = if means.1.is_empty() { default_of(&defaults, variable.setting) } else { means.1.into() };
        vec![
            code(variable.name),
            code(variable.setting),
            names.collect::<Vec<_>>().join(", "),
            code(&default),
            variable.help.into(),
        ]
    });
    table(&["variable", "in `service.json`", "NIM's names", "default", "what it sets"], rows)
}

/// OpenTelemetry's variables, and NIM's for the same.
pub(super) fn opentelemetry() -> String {
    let rows = trace::VARIABLES.iter().map(|variable| vec![code(variable.name), variable.help.into()]);
    table(&["variable", "what it sets"], rows)
}

#[test]
fn every_variable_of_nim_stands_beside_one_of_nimifys() {
    let table = variables();
    for variable in VARIABLES {
        assert!(table.contains(&format!("`{}`", variable.name)), "{}", variable.name);
    }
}

#[test]
fn logging_has_the_defaults_that_the_page_says() {
    let log = LogSettings::default();
    assert_eq!(Ok(log.level), Level::parse("info"));
    assert_eq!(Ok(log.format), Format::parse("text"));
    assert_eq!(Ok(log.access), Level::parse("debug"));
}

/// How the program in the image is called.
pub(super) fn usage() -> String {
    format!("```text\n{}\n```\n", USAGE.trim_end())
}

pub(super) fn metrics() -> String {
    let rows = METRICS.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
        let kind = format!("{:?}", metric.kind).to_lowercase();
        vec![code(metric.name), kind, labels.join(", "), metric.unit.into(), metric.help.trim_end_matches('.').into()]
    });
    table(&["metric", "type", "labels", "unit", "what it says"], rows)
}
