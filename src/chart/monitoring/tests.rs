//! That every query asks for what the runtime's table has, by labels that it has there.

use std::collections::BTreeSet;

use nimify_runtime::metrics::{Kind, METRICS};

use super::*;

/// Labels that Prometheus and the chart's monitors give every series.
const GIVEN: [&str; 4] = ["namespace", "job", "instance", "track"];

/// Every query of the rules and of the dashboards.
fn queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("expr").and_then(Value::as_str).map(String::from));
                map.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    [rules(), service::dashboard(), model::dashboard()].iter().for_each(|value| collect(value, &mut found));
    found
}

/// Each selector of a query: the name, and the labels that it matches.
fn selectors(query: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = query.split('{').zip(query.split('{').skip(1));
    parts
        .filter(|(before, _)| before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(before, after)| {
            let name = before.rsplit(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).next().unwrap();
            let matchers = after.split('}').next().unwrap();
            // A comma in a text would end a matcher here: there is none.
            let label = |matcher: &'_ str| matcher.find(['=', '!']).unwrap_or(0);
            (name, matchers.split(',').map(|matcher| &matcher[..label(matcher)]).collect())
        })
        .collect()
}

/// The labels of what a name stands for; `None` where nothing does.
fn labels(name: &str, recorded: &BTreeSet<String>) -> Option<Vec<&'static str>> {
    if name == "up" || recorded.contains(name) {
        return Some(Vec::new());
    }
    let parts = |kind| if kind == Kind::Histogram { vec!["_bucket", "_sum", "_count"] } else { vec![""] };
    METRICS.iter().find_map(|metric| {
        let part = parts(metric.kind).into_iter().find(|part| name == format!("{}{part}", metric.name))?;
        Some(metric.labels.iter().copied().chain((part == "_bucket").then_some("le")).collect())
    })
}

#[test]
fn every_query_asks_for_series_that_there_are_by_labels_that_they_have() {
    let recorded: BTreeSet<String> =
        recording::rules().iter().map(|rule| rule["record"].as_str().unwrap().to_string()).collect();
    let mut asked = 0;
    for query in queries() {
        for (name, matched) in selectors(&query) {
            let has = labels(name, &recorded).unwrap_or_else(|| panic!("`{name}` is no metric: {query}"));
            for label in
                matched.into_iter().filter(|label| !GIVEN.contains(label) && *label != SCOPE && !label.is_empty())
            {
                assert!(has.contains(&label), "`{name}` has no label `{label}`: {query}");
            }
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked} selectors are few");
}

#[test]
fn the_test_reads_selectors() {
    let query = "sum by (a) (rate(x_total{%scope%,a=~\"1|2\",b!=\"3\"}[5m])) > nimify:y:rate{%scope%} + 0.5";
    assert_eq!(selectors(query), [("x_total", vec!["", "a", "b"]), ("nimify:y:rate", vec![""])]);
    assert_eq!(labels("nimify_inference_duration_seconds_bucket", &BTreeSet::new()), Some(vec!["le"]));
    assert_eq!(labels("nimify_inference_duration_seconds", &BTreeSet::new()), None);
}

#[test]
fn what_is_known_by_its_name_has_one_of_its_own() {
    let names = alert_names();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
    let records = recording::rules();
    let distinct: BTreeSet<String> = records.iter().map(|rule| rule["record"].to_string()).collect();
    assert_eq!(records.len(), distinct.len());
}

#[test]
fn bounds_of_latency_are_written_as_the_page_writes_them() {
    let bounds = latency_bounds();
    assert_eq!((bounds[0].0.as_str(), bounds[0].1.as_str()), ("1ms", "0[.]001"));
    assert!(bounds.contains(&("1s".into(), "1([.]0)?".into())));
    assert!(bounds.contains(&("2500ms".into(), "2[.]5".into())));
    let comment = crate::chart::annotated::entries(crate::chart::template::VALUES);
    let comment = &comment.iter().find(|entry| entry.path.ends_with("latency.threshold")).unwrap().comment;
    assert!(bounds.iter().all(|(bound, _)| comment.contains(&format!(" {bound}"))), "{comment}");
}

/// What a linter of dashboards asks for, as far as it makes sense here: grafana/dashboard-linter's rules by other means.
#[test]
fn dashboards_keep_to_what_people_expect_of_them() {
    for dashboard in [service::dashboard(), model::dashboard()] {
        let title = dashboard["title"].as_str().unwrap();
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datasource", "namespace", "job", "instance"]);
        assert!(variables.iter().all(|variable| !variable["label"].as_str().unwrap().is_empty()));
        // Looked up anew when the time changes, with all chosen at first.
        assert!(variables[1..].iter().all(|variable| variable["refresh"] == 2 && variable["includeAll"] == true));
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<String> = panels.iter().map(|panel| panel["id"].to_string()).collect();
        assert_eq!(ids.len(), panels.len(), "{title}: ids are distinct");
        let mut taken = BTreeSet::new();
        for panel in panels {
            let place = &panel["gridPos"];
            let at = |key: &str| place[key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{title}: {place}");
            for cell in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
                assert!(taken.insert((at("x") + cell.0, at("y") + cell.1)), "{title}: panels overlap at {place}");
            }
            if panel["type"] == "row" {
                continue;
            }
            panel_is_in_order(title, panel);
        }
    }
}

fn panel_is_in_order(dashboard: &str, panel: &Value) {
    let name = format!("{dashboard}: {}", panel["title"]);
    let text = |key: &str| panel[key].as_str().unwrap();
    assert!(!text("title").is_empty() && text("description").ends_with('.'), "{name} has a title and a description");
    assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
    if panel["type"] != "table" {
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{name} has a unit");
    }
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{name} asks something");
    let mut letters = BTreeSet::new();
    for target in targets {
        let query = target["expr"].as_str().unwrap();
        assert!(letters.insert(target["refId"].as_str().unwrap()), "{name}");
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
        for (_, matched) in selectors(query) {
            assert!(["namespace", "job", "instance"].iter().all(|label| matched.contains(label)), "{name}: {query}");
        }
        // A rate over a fixed window misses samples, or draws coarsely, wherever it isn't the one that fits the scrape.
        assert_eq!(query.matches("rate(").count(), query.matches("[$__rate_interval])").count(), "{name}: {query}");
        for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Counter) {
            let bare = query.split(&format!("{}{{", metric.name)).skip(1).count();
            let rated = query.split(&format!("rate({}{{", metric.name)).skip(1).count();
            assert_eq!(bare, rated, "{name}: a counter alone says nothing: {query}");
        }
    }
}
