//! That `charts-template/` and the Rust beside it say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nimify_runtime::settings::{Optimize, Providers};

use super::*;
use crate::files;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts-template")
}

/// The checked-in file holds `text`; `NIMIFY_UPDATE_GOLDEN=1` writes it.
fn golden(path: &str, text: &str) {
    let file = folder().join(path);
    if std::env::var_os("NIMIFY_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == text,
        "charts-template/{path} is out of date: run this test with NIMIFY_UPDATE_GOLDEN=1 and look at the change"
    );
}

#[test]
fn the_template_is_a_chart_by_itself() {
    let name = "service".parse().unwrap();
    golden("Chart.yaml", &Metadata::new(&name, "Serves a model", "0.1.0").to_yaml());
    golden("values.schema.json", &schema_text(&schema()));
    for (path, text) in monitoring::files() {
        golden(&path, &text);
    }
    let values: Values = serde_yaml::from_str(template::VALUES).unwrap();
    assert_eq!(values, serde_json::from_value(serde_json::to_value(&values).unwrap()).unwrap());
}

#[test]
fn every_file_of_the_template_is_built_in() {
    let built_in: BTreeSet<&str> = template::COPIED.iter().map(|(path, _)| *path).collect();
    let tree = files::read_tree(&folder()).unwrap();
    let made = |path: &&str| {
        ["Chart.yaml", "values.yaml", "values.schema.json"].contains(path) || path.starts_with("monitoring/")
    };
    let there: BTreeSet<&str> = tree.keys().map(|path| path.as_str()).filter(|path| !made(path)).collect();
    assert_eq!(built_in, there);
}

/// Paths of the properties that the schema closes.
fn properties(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // What is below has its line elsewhere.
        if path != canary::VALUES.join(".") {
            properties(property, &path, found);
        }
        found.insert(path);
    }
}

#[test]
fn every_value_stands_in_the_file_with_a_comment() {
    let entries = annotated::entries(template::VALUES);
    for entry in &entries {
        assert!(entry.comment.ends_with('.'), "`{}` has no comment, or one that is no sentence", entry.path);
    }
    let mut known = BTreeSet::new();
    properties(&schema(), "", &mut known);
    known.remove("global");
    let there: BTreeSet<String> = entries.into_iter().map(|entry| entry.path).collect();
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "values without a line");
}

#[test]
fn the_schema_is_closed_wherever_it_names_properties() {
    fn check(schema: &Value) {
        if schema.get("properties").is_some() {
            assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
        }
        match schema {
            Value::Object(map) => map.values().for_each(check),
            Value::Array(list) => list.iter().for_each(check),
            _ => {}
        }
    }
    check(&schema());
    assert!(!schema_text(&schema()).contains("$ref"));
}

#[test]
fn the_schema_knows_the_words_that_the_runtime_has() {
    let words = schema().pointer("/properties/engine/properties/optimize/enum").cloned();
    assert_eq!(words, Some(json!(Optimize::ALL)));
    let pattern = schema().pointer("/properties/engine/properties/provider/pattern").cloned();
    assert_eq!(pattern, Some(json!(Providers::PATTERN)));
}

#[test]
fn the_start_up_probe_asks_as_often_as_its_budget_counts_on() {
    let values: Value = serde_yaml::from_str(template::VALUES).unwrap();
    assert_eq!(values["startupProbe"]["periodSeconds"], json!(STARTUP_PERIOD));
    assert_eq!(values["server"]["drainDelay"], json!(DRAIN_DELAY));
}
