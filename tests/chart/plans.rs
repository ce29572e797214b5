//! Plans to render charts from.

use std::collections::BTreeMap;

use nimify::digest::Digest;
use nimify::plan::{Resources, Sample, ServicePlan};
use nimify_runtime::settings::{
    BatchingSettings, EngineSettings, ModelFile, PaddingSettings, ServerSettings, ServiceSettings, TracingSettings,
};
use nimify_runtime::signature::{Batching, ModelSignature};

pub(crate) fn digits() -> ServicePlan {
    ServicePlan {
        name: "digits".parse().unwrap(),
        description: "Tells hand-written digits from 8×8 pixels".into(),
        signature: ModelSignature {
            inputs: vec![],
            outputs: vec![],
            batching: Batching::Unproved { reason: "not tried".into() },
        },
        settings: ServiceSettings {
            name: "digits".into(),
            version: "1.2.0".into(),
            model: ModelFile {
                path: "../models/digits.onnx".into(),
                sha256: Digest::of("model").hex(),
                source: "./digits.onnx".into(),
                derived: None,
                files: Default::default(),
                tensorrt: None,
                side_files: Vec::new(),
                labels: Default::default(),
            },
            signature: "signature.json".into(),
            openapi: "openapi.json".into(),
            sample: Some("sample.json".into()),
            license: None,
            server: ServerSettings::default(),
            batching: BatchingSettings::default(),
            engine: EngineSettings::default(),
            state: Default::default(),
            tracing: TracingSettings::default(),
        },
        sample: Some(Sample { request: r#"{"x": [[0]]}"#.into(), response: r#"{"y": [0]}"#.into() }),
        repository: "registry.example.com/ml/digits".into(),
        resources: Resources { cpu_millis: 500, memory_mib: 192, startup_seconds: 45, gpus: 0 },
        environments: BTreeMap::new(),
    }
}

/// Everything that a plan can set, set otherwise; and no sample.
pub(crate) fn unusual() -> ServicePlan {
    let mut plan = digits();
    plan.name = "a-name-of-fifty-two-characters-which-is-the-longestx".parse().unwrap();
    plan.description = "Line one\nline two: {{ .Values }} \"quoted\" # no comment \u{1F600}\u{85}\u{2028}".into();
    plan.settings.version = "2026_11+größe {{ fail \"x\" }}".into();
    plan.settings.server = ServerSettings {
        port: 9000,
        grpc_port: Some(9002),
        metrics_port: Some(9001),
        max_connections: Some(100_000),
        compression: false,
        compression_min_bytes: 1 << 20,
        max_body_bytes: 1 << 40,
        max_buffered_bytes: Some(1 << 41),
        max_concurrency: 12_345_678,
        drain_delay: std::time::Duration::from_millis(2500),
        drain_timeout: std::time::Duration::from_secs(90),
        debug_page: false,
        ..ServerSettings::default()
    };
    plan.settings.batching.max_batch_elements = Some(1 << 40);
    plan.settings.batching.priority_levels = 3;
    plan.settings.batching.default_priority = Some(2);
    plan.settings.batching.padding = PaddingSettings {
        values: BTreeMap::from([("{{ \"ids\" }}: # \u{85}".into(), 50_256.0), ("y".into(), -0.5)]),
        mask: Some("mask".into()),
    };
    plan.settings.batching.max_queue_delay = std::time::Duration::from_micros(250);
    plan.settings.engine = EngineSettings { threads: Some(3), instances: None, ..EngineSettings::default() };
    plan.settings.tracing = TracingSettings {
        endpoint: Some("https://[::1]:4318/otlp?a=b".parse().unwrap()),
        sample_ratio: 0.000_001.try_into().unwrap(),
    };
    plan.sample = None;
    plan.repository = "localhost:5000/a/b".into();
    plan.resources = Resources { cpu_millis: 12_000, memory_mib: 98_304, startup_seconds: 1801, gpus: 2 };
    plan
}
