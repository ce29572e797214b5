//! `nimify.yaml` as people write it, right and wrong.

use proptest::prelude::*;

use super::*;

const FULL: &str = r#"apiVersion: nimify/v1
name: digits
model: ./digits.onnx
version: 1.2.0
description: Tells handwritten digits apart.
license: { name: Apache-2.0, path: LICENSE }
sample: sample.json
service: generated
server: { host: 0.0.0.0, port: 8000, grpcPort: 8001, metricsPort: null, maxConnections: auto, tls: { certificate: /tls/tls.crt, key: /tls/tls.key, clientCa: /tls/ca.crt }, compression: true, compressionMinBytes: 1024, maxBodyBytes: 1048576, maxBufferedBytes: 8589934592, maxConcurrency: 64, readTimeout: 10s, drainDelay: 2s, drainTimeout: 5s }
batching: { maxBatchSize: 32, maxQueueDelay: 2ms, maxQueue: 1024, requestTimeout: 5s }
engine: { provider: auto, threads: auto, instances: 1 }
image: { repository: registry.example.com/ml/digits, base: closure, platform: linux/amd64, compression: gzip, modelCompression: zstd, budget: { layer: 500MB, total: 2GB } }
signing: { key: env://NIMIFY_SIGNING_KEY }
environments:
  staging: { context: kind-staging, namespace: ml, replicas: 1, values: { podLabels: { team: ml } }, trust: { keys: [cosign.pub, { key: old.pub, notAfter: 2026-12-31 }], expires: 2027-06-30T12:00:00Z } }
  prod: { contexts: [eu, us], namespace: ml, autoscaling: { minReplicas: 2, maxReplicas: 10, targetCpuPercent: 70, targetQueueDepth: 4, targetLatency: 250ms } }
"#;

const LEAST: &str = "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\n";

fn read(text: &str) -> Result<Config, Fault> {
    parse(text, &Overrides::default(), &|name| match name {
        "PORT" => Some("9000".into()),
        "REGISTRY" => Some("registry.example.com".into()),
        "SECRET" => Some("hunter2 hunter2".into()),
        _ => None,
    })
}

fn wrong(text: &str) -> String {
    match read(text) {
        Ok(config) => panic!("should be refused: {config:?}"),
        Err(fault) => fault.to_string(),
    }
}

/// What is wrong with the least config and these lines.
fn wrong_with(lines: &str) -> String {
    wrong(&format!("{LEAST}{lines}"))
}

#[test]
fn every_section_is_read() {
    let config = read(FULL).unwrap();
    assert_eq!(config.server.settings().port, 8000);
    assert_eq!(config.server.settings().max_body_bytes, 1 << 20);
    assert_eq!(config.batching.settings().max_queue_delay, std::time::Duration::from_millis(2));
    assert_eq!(config.engine.settings().threads, None);
    assert_eq!(config.engine.settings().instances, Some(1));
    assert_eq!(config.image.repository.as_ref().unwrap().as_str(), "registry.example.com/ml/digits");
    let values = |name: &str| config.environments[&name.parse().unwrap()].chart_values();
    assert_eq!(values("staging"), serde_json::json!({ "replicaCount": 1, "podLabels": { "team": "ml" } }));
    let autoscaling = serde_json::json!({
        "enabled": true, "minReplicas": 2, "maxReplicas": 10,
        "targetCpuPercent": 70, "targetQueueDepth": 4, "targetLatency": "250ms",
    });
    assert_eq!(values("prod")["autoscaling"], autoscaling);
}

#[test]
fn what_is_left_out_is_the_runtimes_default() {
    let config = read(LEAST).unwrap();
    assert_eq!(config, Config::new("digits".parse().unwrap(), "digits.onnx".parse().unwrap()));
    assert_eq!(config.server.settings(), nimify_runtime::settings::ServerSettings::default());
    assert_eq!(config.batching.settings(), nimify_runtime::settings::BatchingSettings::default());
    assert_eq!(config.engine.settings(), nimify_runtime::settings::EngineSettings::default());
    assert_eq!(config.version.as_str(), "0.1.0");
}

#[test]
fn json_says_the_same() {
    let yaml = read(FULL).unwrap();
    let json = serde_json::to_string_pretty(&yaml).unwrap();
    assert_eq!(read(&json).unwrap(), yaml);
    assert_eq!(read(&format!("\u{feff}{FULL}")).unwrap(), yaml);
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    assert_eq!(wrong_with("server:\n  prot: 8000\n"), "5:3: `server`: `prot` is no known key: did you mean `port`?");
    assert_eq!(wrong_with("batchng: {}\n"), "4:1: `batchng` is no known key: did you mean `batching`?");
    assert_eq!(
        wrong_with("signing: { zzzzzzzz: 1 }\n"),
        "4:12: `signing`: `zzzzzzzz` is no known key: known are `key`, `keys`"
    );
    let text = wrong_with("environments:\n  prod:\n    trust: { key: [a] }\n");
    assert_eq!(text, "6:14: `environments.prod.trust`: `key` is no known key: did you mean `keys`?");
    assert!(wrong_with("service: generate\n").contains("did you mean `generated`?"));
}

#[test]
fn wrong_values_say_where_and_what_they_should_be() {
    for (lines, message) in [
        (
            "server: { port: abc }",
            "4:17: `server.port`: should be a whole number from 0 to 65535, but is the text `abc`",
        ),
        ("server: { port: 0 }", "4:17: `server.port`: should be a whole number from 1 to 65535, but is `0`"),
        ("server: { port: 65536 }", "should be a whole number from 0 to 65535, but is the text `65536`"),
        ("server: { port: \"8000\" }", "should be a whole number"),
        ("server: 8000", "4:9: `server`: should be a mapping, but is the text `8000`"),
        ("server: [0.0.0.0, 8000]", "4:9: `server`: should be a mapping, but is a list"),
        ("server: { port: [1] }", "should be a whole number from 0 to 65535, but is a list"),
        ("server: { readTimeout: 5 }", "`5` is not a duration"),
        ("server: { readTimeout: 0s }", "4:24: `server.readTimeout`: should be longer than nothing"),
        ("server: { metricsPort: 8000 }", "4:24: `server.metricsPort`: `8000` is the port of HTTP already"),
        ("server: { port: 8001 }", "`server.grpcPort`: `8001` is the port of HTTP already"),
        ("server: { grpcPort: 9000, metricsPort: 9000 }", "`server.metricsPort`: `9000` is the port of gRPC already"),
        ("server: { host: example.com }", "`server.host`: should be an IP address"),
        ("batching: { maxBatchSize: 0 }", "should be a whole number of at least 1, but is `0`"),
        ("batching: { requestTimeout: 0ms }", "`batching.requestTimeout`"),
        ("batching: { priorityLevels: 65 }", "should be at most 64"),
        ("batching: { priorityLevels: 2, defaultPriority: 3 }", "`batching.defaultPriority`: is none of"),
        ("batching: { maxBatchElements: 0 }", "but is `0`"),
        ("engine: { threads: 0 }", "should be `auto` or a whole number of at least 1, but is `0`"),
        ("engine: { threads: many }", "but is `many`"),
        ("engine: { threads: 1.5 }", "but is `1.5`"),
        ("engine: { provider: gpu }", "`engine.provider`: `gpu` is not an execution provider: write `auto`"),
        ("engine: { provider: 'cuda,cuda' }", "`cuda` stands twice"),
        ("engine: { optimize: always }", "`always` is no known word here: known are `build`"),
        ("engine: { require: 1 }", "should be `true` or `false`"),
        (
            "image: { base: debian }",
            "`debian` can't be a base: it should be `closure`, `debian-packages`, or an image with its tag",
        ),
        ("image: { repository: Digits }", "can't be an image's repository"),
        ("image: { platform: windows/amd64 }", "is no platform"),
        ("version: a b", "can't be a version"),
        ("version:", "`version`: should be a text, but is empty"),
        ("environments: { Prod: {} }", "4:17: `environments`: `Prod` can't be a name here"),
        ("environments: { prod: { context: a, contexts: [b] } }", "`environments.prod.contexts`: stands beside"),
        ("environments: { prod: { replicas: 1, autoscaling: { maxReplicas: 2 } } }", "give one of the two"),
        ("environments: { prod: { autoscaling: { minReplicas: 3, maxReplicas: 2 } } }", "above its `maxReplicas`"),
        ("environments: { prod: { autoscaling: {} } }", "the key `maxReplicas` is missing"),
        ("environments: { prod: { trust: { keys: [a, kms://b] } } }", "`environments.prod.trust.keys[1]`: `kms://b`"),
        ("environments: { prod: { trust: { keys: [{ key: a, notAftr: 2026-12-31 }] } } }", "did you mean `notAfter`?"),
        ("environments: { prod: { trust: { keys: [{ key: a, notAfter: soon }] } } }", "`soon` is no date"),
        ("environments: { prod: { trust: { keys: [1] } } }", "`environments.prod.trust.keys[0]`"),
        ("environments: { prod: { trust: { keys: [a], expires: 2026-02-30 } } }", "`2026-02-30` is no date"),
    ] {
        let text = wrong_with(lines);
        assert!(text.contains(message), "{lines}\n   {text}\n   {message}");
    }
    assert_eq!(wrong("name: digits\nmodel: a\n"), "1:1: the key `apiVersion` is missing");
    assert!(wrong(&LEAST.replace("v1", "v2")).contains("`nimify/v2` is no known word here: did you mean `nimify/v1`?"));
    let text = wrong(&LEAST.replace("digits.onnx", "gopher://org/repo/digits.onnx"));
    assert!(
        text.starts_with("3:8: `model`: a model from `gopher://` is not supported: give a path or `https://"),
        "{text}"
    );
    assert!(wrong(&LEAST.replace("name: digits", "name: 模型")).contains("can't be a service name"));
    assert!(wrong("- a\n").contains("should be a mapping, but is a list"));
    assert!(wrong_with("name: again\n").contains("`name` is given twice, first at 2:1"));
}

#[test]
fn a_version_is_a_text_even_where_it_looks_like_a_number() {
    let config = read(&format!("{LEAST}version: 1.10\n")).unwrap();
    assert_eq!(config.version.as_str(), "1.10");
}

#[test]
fn variables_are_put_into_values() {
    let text = format!(
        "{LEAST}description: costs $${{5}}\nserver: {{ port: \"${{PORT}}\" }}\n\
         engine: {{ threads: \"${{THREADS:-2}}\" }}\nimage:\n  repository: ${{REGISTRY}}/ml/digits\n"
    );
    let config = read(&text).unwrap();
    assert_eq!(config.server.settings().port, 9000);
    assert_eq!(config.engine.settings().threads, Some(2));
    assert_eq!(config.image.repository.unwrap().as_str(), "registry.example.com/ml/digits");
    assert_eq!(config.description.as_deref(), Some("costs ${5}"));
    assert_eq!(
        wrong_with("image:\n  repository: ${NONE}/digits\n"),
        "5:15: the environment variable `NONE` is not set: set it, or write `${NONE:-default}`"
    );
    let text = wrong_with("image:\n  repository: ${SECRET}\n");
    assert!(text.contains("`${SECRET}` can't be") && !text.contains("hunter2"), "{text}");
}

#[test]
fn grpc_has_its_usual_port_unless_it_is_turned_off() {
    for (server, port) in
        [("", Some(8001)), ("server: { grpcPort: 9001 }", Some(9001)), ("server: { grpcPort: null }", None)]
    {
        let config = read(&format!("{LEAST}{server}\n")).unwrap();
        assert_eq!(config.server.settings().grpc_port, port, "{server}");
        assert_eq!(read(&config.to_yaml()).unwrap(), config);
    }
}

#[test]
fn flags_beat_the_file() {
    let overrides = Overrides {
        version: Some("9".parse().unwrap()),
        port: std::num::NonZeroU16::new(9999),
        keys: vec!["other.key".parse().unwrap(), "env://SECOND".parse().unwrap()],
        ..Overrides::default()
    };
    let config = parse(FULL, &overrides, &|_| None).unwrap();
    assert_eq!((config.version.as_str(), config.server.settings().port), ("9", 9999));
    let keys: Vec<_> = config.signing.all().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["other.key", "env://SECOND"]);
    assert_eq!(config.name.as_str(), "digits");
    let clash = Overrides { port: std::num::NonZeroU16::new(8001), ..Overrides::default() };
    let fault = parse(&format!("{LEAST}server: {{ metricsPort: 8001 }}"), &clash, &|_| None).unwrap_err();
    assert_eq!(fault.key, "server.metricsPort");
}

#[test]
fn what_is_written_is_read_back() {
    let mut config = read(FULL).unwrap();
    config.description = Some("${HOME} is $${not} a variable: yes, 'really' # no\n\u{7f}".into());
    let text = config.to_yaml();
    assert_eq!(read(&text).unwrap(), config, "{text}");
    assert_eq!(text, config.to_yaml());
    let least = read(LEAST).unwrap().to_yaml();
    assert!(least.ends_with("\napiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\nversion: 0.1.0\n"), "{least}");
}

#[test]
fn files_that_are_no_config_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("nimify.yaml");
    let refused = || load(&path, &Overrides::default()).unwrap_err();
    assert!(matches!(refused(), Error::Io { .. }));
    fs::write(&path, "a: [\n").unwrap();
    assert!(refused().to_string().contains("nimify.yaml:"), "{}", refused());
    fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    assert!(matches!(refused(), Error::NotText { .. }));
    fs::write(&path, "#".repeat(document::LARGEST_TEXT as usize + 1)).unwrap();
    assert!(matches!(refused(), Error::TooLarge { .. }));
    fs::write(&path, FULL).unwrap();
    assert_eq!(load(&path, &Overrides::default()).unwrap(), read(FULL).unwrap());
}

#[test]
fn the_schema_accepts_what_is_right_and_refuses_what_is_unknown() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    for text in [FULL, LEAST, &read(FULL).unwrap().to_yaml()] {
        let faults: Vec<String> = validator.iter_errors(&json(text)).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
    for variable in ["server: { port: \"${PORT}\" }", "image: { compression: \"${HOW}\" }", "service: \"${KIND}\""] {
        assert!(validator.is_valid(&json(&format!("{LEAST}{variable}"))), "{variable}");
    }
    for lines in [
        "batchng: {}",
        "server: { prot: 1 }",
        "server: { port: 0 }",
        "server: { port: abc }",
        "engine: { threads: 0 }",
        "image: { base: debian }",
        "image: { repository: Digits }",
        "environments: { prod: { trust: { key: [a] } } }",
        "environments: { Prod: {} }",
        "signing: { key: kms://x }",
    ] {
        assert!(!validator.is_valid(&json(&format!("{LEAST}{lines}"))), "{lines}");
    }
}

#[test]
fn the_schema_and_the_reader_agree_on_names() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for name in ["digits", "größe", "Silero_VAD.v5", "input.1", "a/b", "a b", "---", "模型"] {
        let text = LEAST.replace("digits\n", &format!("{name}\n"));
        let json = serde_json::json!({ "apiVersion": "nimify/v1", "name": name, "model": "digits.onnx" });
        assert_eq!(validator.is_valid(&json), read(&text).is_ok(), "{name}");
    }
}

/// A value of the chart, as JSON can hold it.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof!["\\PC{0,12}", Just("1e3".into()), Just("0x1f".into()), Just("yes".into()), Just("~".into())];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map("\\PC{0,8}", inner, 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

#[test]
fn a_text_that_is_one_line_break_comes_back() {
    for text in ["\u{2028}", "a\u{2029}b", "\u{85}"] {
        let mut config = read(LEAST).unwrap();
        let values =
            [("a".to_string(), serde_yaml::from_str(&format!("{{'': [{}]}}", serde_json::json!(text))).unwrap())];
        let environment = Environment { values: values.into_iter().collect(), ..Environment::default() };
        config.environments.insert("prod".parse().unwrap(), environment);
        assert_eq!(read(&config.to_yaml()).as_ref(), Ok(&config), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_panic(text in "\\PC{0,60}|[ a-z:\\[\\]{}&*!|>'\"\n\t#$,0-9-]{0,80}") {
        let _ = read(&text);
        let _ = read(&format!("{LEAST}{text}"));
        let _ = Lock::parse(&text);
    }

    #[test]
    fn size_alone_costs_little(part in "[ a:\\[\\]{},?&*!|>'\"\n#-]{1,6}") {
        let begin = std::time::Instant::now();
        let _ = read(&part.repeat(30_000 / part.len()));
        prop_assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }

    #[test]
    fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_config_cut_or_changed_anywhere_makes_no_panic(at in 0..FULL.len(), c in any::<char>()) {
        let _ = read(&FULL[..at]);
        let _ = read(&format!("{}{c}{}", &FULL[..at], &FULL[at + 1..]));
    }

    #[test]
    fn chart_values_come_back(values in proptest::collection::btree_map("[a-z]{1,6}", value(), 0..5)) {
        let mut config = read(LEAST).unwrap();
        let environment = Environment { values: values.into_iter().collect(), ..Environment::default() };
        config.environments.insert("prod".parse().unwrap(), environment);
        let text = config.to_yaml();
        let back = read(&text);
        prop_assert_eq!(back.as_ref().ok(), Some(&config), "{}\n{:?}", text, back);
    }
}
