//! A real Prometheus that scrapes real services under load, by the very relabelings of the chart's monitor: every panel
//! and every recorded ratio has to give data, every alert has to be one that Prometheus can evaluate, and those that are
//! brought about have to be there. No window is shortened: a rate needs two samples of it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::service::{Service, stand_in};
use super::{dashboards, rendered, rule_list, the, write_rules};

/// No data comes later than this, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Alerts that aren't brought about here; what makes them fire is tried on made series alone.
const QUIET: [&str; 7] = [
    "NimifyCertificateRefused",
    "NimifyConnectionsRefused",
    "NimifyDown",
    "NimifyPanics",
    "NimifyRestarts",
    "NimifyDeadlinesPassed",
    "NimifySpansDropped",
];

struct Prometheus {
    process: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(objects: &[Value], targets: &[Value]) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        write_rules(folder.path(), objects);
        let endpoint = &the(objects, "ServiceMonitor")["spec"]["endpoints"][0];
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": "of-the-operator",
                "metrics_path": endpoint["path"],
                "static_configs": targets,
                "relabel_configs": endpoint["relabelings"].as_array().unwrap().iter().map(snake).collect::<Vec<_>>(),
            }],
        });
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("this test needs Prometheus: run `tools/setup`");
        Prometheus { process, url: format!("http://127.0.0.1:{port}"), folder }
    }

    /// What a query gives now: values that are numbers.
    fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let agent = ureq::Agent::new_with_config(ureq::config::Config::builder().http_status_as_error(false).build());
        let url = format!("{}/api/v1/query", self.url);
        let mut answer = agent.get(url).query("query", query).call().map_err(|error| error.to_string())?;
        let answer: Value = answer.body_mut().read_json().map_err(|error| error.to_string())?;
        let list = answer["data"]["result"].as_array().ok_or_else(|| answer.to_string())?;
        Ok(list.iter().filter(|sample| sample["value"][1] != "NaN").cloned().collect())
    }

    /// Asks until there is data.
    fn wait_for(&self, query: &str) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            match self.ask(query) {
                Ok(data) if !data.is_empty() => return data,
                said if begun.elapsed() > PATIENCE => {
                    let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                    panic!("no data: {query}\n{said:?}\n{log}")
                }
                _ => std::thread::sleep(Duration::from_millis(500)),
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The operator's spelling as Prometheus has it: `sourceLabels` is `source_labels`.
fn snake(step: &Value) -> Value {
    let name = |name: &str| match name {
        "sourceLabels" => "source_labels".into(),
        "targetLabel" => "target_label".into(),
        other => other.to_string(),
    };
    step.as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (name(key), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A pod as the operator finds it behind a Service.
fn target(address: &str, pod: &str, component: &str, service: &str) -> Value {
    json!({
        "targets": [address],
        "labels": {
            "namespace": "default",
            "__meta_kubernetes_pod_name": pod,
            "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
            "__meta_kubernetes_service_label_app_kubernetes_io_component": service,
        },
    })
}

/// Objectives and limits that services under too much load miss.
const STRICT: [&str; 5] = [
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.slo.latency.threshold=1ms",
    "batching.maxQueue=1",
    "resources.limits.memory=1Mi",
    "canary.enabled=true",
];

#[test]
fn every_panel_and_every_rule_gives_data_on_services_under_load() {
    let digits = format!("{{\"pixels\": [{:?}]}}", [0.5; 64]);
    let stable = Service::start("fixtures/digits/digits.onnx", &[]).load(4, &[&digits, "{\"pixels\": [[1]]}"]);
    // Every second one asks for a row that isn't there: the model refuses it.
    let refusing =
        Service::start("runtime/tests/data/gather.onnx", &[]).load(1, &["{\"index\": [1]}", "{\"index\": [9]}"]);
    let narrow = [("NIMIFY_MAX_QUEUE", "2"), ("NIMIFY_INSTANCES", "1"), ("NIMIFY_THREADS", "1")];
    let full = Service::start("runtime/tests/data/slow.onnx", &narrow).load(8, &["{\"count\": 30}"]);
    let objects = rendered(&STRICT);
    let prometheus = Prometheus::start(
        &objects,
        &[
            target(&stable.address, "stable-0", "server", "server"),
            target(&refusing.address, "stable-1", "server", "server"),
            target(&stand_in(), "stable-2", "server", "server"),
            // Nobody listens there.
            target("127.0.0.1:9", "stable-3", "server", "server"),
            target(&full.address, "canary-0", "canary", "canary"),
            // Behind the stable part's Service too, where the share is by pods.
            target(&full.address, "canary-0", "canary", "server"),
        ],
    );
    prometheus.wait_for("count(up) == 5 and sum(up) == 4");
    panels_give_data(&prometheus, &dashboards(&objects));
    rules_give_data(&prometheus, &rule_list(&objects));
    let tracks = prometheus.wait_for("count by (track) (nimify_ready) == 1 or count by (track) (nimify_ready) == 3");
    assert_eq!(tracks.len(), 2, "{tracks:?}");
}

fn panels_give_data(prometheus: &Prometheus, dashboards: &[Value]) {
    let mut asked = 0;
    for panel in dashboards.iter().flat_map(|dashboard| dashboard["panels"].as_array().unwrap()) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            // As Grafana fills them in: the release chosen, all instances, a rate over four scrapes and more.
            let query = query.replace("$namespace", "default").replace("$job", super::JOB);
            prometheus.wait_for(&query.replace("$instance", ".+").replace("$__rate_interval", "1m"));
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked} queries are few");
    for dashboard in dashboards {
        for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
            let query = variable["definition"].as_str().unwrap().strip_prefix("label_values(").unwrap();
            let (series, label) = query.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            let series = series.replace("$namespace", "default").replace("$job", super::JOB);
            prometheus.wait_for(&format!("count by ({label}) ({series})"));
        }
    }
}

fn rules_give_data(prometheus: &Prometheus, rules: &[Value]) {
    for rule in rules {
        if let Some(recorded) = rule["record"].as_str() {
            prometheus.wait_for(recorded);
            continue;
        }
        let (name, query) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        if QUIET.contains(&name) {
            prometheus.ask(query).unwrap_or_else(|said| panic!("{name} can't be evaluated: {said}"));
        } else {
            prometheus.wait_for(query);
        }
    }
    for name in QUIET {
        assert!(rules.iter().any(|rule| rule["alert"] == name), "{name} is an alert");
    }
}
