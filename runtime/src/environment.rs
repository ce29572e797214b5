//! Environment variables that override `service.json`: one table, from which both the reading and the documentation
//! come. `NIM_*` names that operators already use are honoured; nimify's own beat them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::codec::distance;
use crate::logging::{Format, Level, LogSettings};
use crate::settings::{
    MOST_PRIORITY_LEVELS, Optimize, PaddingSettings, ServiceSettings, StatePair, TlsSettings, duration,
};
use crate::trace;

/// One environment variable.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The setting that it overrides, as `service.json` spells it; empty for one that stands in no file.
    pub setting: &'static str,
    /// What it sets and how it is written.
    pub help: &'static str,
    set: fn(&mut Overridden, &str) -> Result<(), String>,
}

/// What the environment can change.
#[derive(Debug, Clone, PartialEq)]
pub struct Overridden {
    /// `service.json`.
    pub service: ServiceSettings,
    /// How to log.
    pub log: LogSettings,
    /// What OpenTelemetry's own variables say.
    pub traces: trace::Options,
}

/// A variable whose value can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It isn't UTF-8.
    #[error("the environment variable `{0}` is not UTF-8")]
    NotUtf8(String),
    /// It isn't what the setting takes.
    #[error("the environment variable `{name}` is wrong: {reason}")]
    Wrong {
        /// The variable.
        name: &'static str,
        /// What it should be and what it is.
        reason: String,
    },
}

macro_rules! variables {
    ($($name:literal, $setting:literal, $help:literal, $set:expr;)+) => {
        /// Every variable, in the order in which they are applied: a later one beats an earlier one.
        pub const VARIABLES: &[Variable] = &[$(Variable { name: $name, setting: $setting, help: $help, set: $set }),+];
    };
}

variables! {
    "NIM_SERVER_PORT", "server.port", "HTTP port", |o, v| port(v).map(|p| o.service.server.port = p);
    "NIM_HTTP_API_PORT", "server.port", "HTTP port", |o, v| port(v).map(|p| o.service.server.port = p);
    "NIM_GRPC_API_PORT", "server.grpcPort", "gRPC port", |o, v| port(v).map(|p| o.service.server.grpc_port = Some(p));
    "NIM_CUSTOM_MODEL_NAME", "name", "the model's name in the protocols", |o, v| name(v).map(|n| o.service.name = n);
    "NIM_SSL_CERT_PATH", "server.tls.certificate", "the server's certificate, PEM",
        |o, v| file(v).map(|f| o.service.server.tls.certificate = f);
    "NIM_SSL_KEY_PATH", "server.tls.key", "its private key, PEM", |o, v| file(v).map(|f| o.service.server.tls.key = f);
    "NIM_SSL_CA_CERTS_PATH", "server.tls.clientCa", "CAs of the clients, PEM",
        |o, v| file(v).map(|f| o.service.server.tls.client_ca = f);
    "NIM_SSL_MODE", "server.tls.certificate", "`disabled`, `tls` or `mtls`: which of the three files above are used",
        |o, v| tls_mode(v, &mut o.service.server.tls);
    "NIM_LOG_LEVEL", "", "`error`, `warn`, `info`, `debug` or `trace`; `critical`, `default` and the like as NIM has them",
        |o, v| Level::from_nim(v).map(|l| o.log.level = l);
    "NIM_JSONL_LOGGING", "", "`1` writes one JSON object a line",
        |o, v| switch(v).map(|on| o.log.format = if on { Format::Json } else { Format::Text });
    "NIMIFY_MODEL_NAME", "name", "the model's name in the protocols", |o, v| name(v).map(|n| o.service.name = n);
    "NIMIFY_HOST", "server.host", "IP address to bind", |o, v| host(v).map(|h| o.service.server.host = h);
    "NIMIFY_PORT", "server.port", "HTTP port; `0` lets the system choose",
        |o, v| port(v).map(|p| o.service.server.port = p);
    "NIMIFY_GRPC_PORT", "server.grpcPort", "gRPC port; `0` lets the system choose, empty or `none` turns gRPC off",
        |o, v| optional(v, port).map(|p| o.service.server.grpc_port = p);
    "NIMIFY_METRICS_PORT", "server.metricsPort", "a port of its own for the metrics; empty or `none` for none",
        |o, v| optional(v, port).map(|p| o.service.server.metrics_port = p);
    "NIMIFY_MAX_CONNECTIONS", "server.maxConnections",
        "connections at once; `auto` takes what the limit on open files leaves",
        |o, v| auto(v).map(|n| o.service.server.max_connections = n);
    "NIMIFY_TLS_CERTIFICATE", "server.tls.certificate", "the server's certificate, PEM; empty or `none` for no TLS",
        |o, v| file(v).map(|f| o.service.server.tls.certificate = f);
    "NIMIFY_TLS_KEY", "server.tls.key", "its private key, PEM", |o, v| file(v).map(|f| o.service.server.tls.key = f);
    "NIMIFY_TLS_CLIENT_CA", "server.tls.clientCa",
        "CAs of the clients, PEM: only a client with a certificate from one of them gets more than health",
        |o, v| file(v).map(|f| o.service.server.tls.client_ca = f);
    "NIMIFY_COMPRESSION", "server.compression", "`1` compresses answers for clients that ask for it, `0` none",
        |o, v| switch(v).map(|on| o.service.server.compression = on);
    "NIMIFY_COMPRESSION_MIN_BYTES", "server.compressionMinBytes", "smallest answer that is compressed, bytes",
        |o, v| at_least_1(v).map(|n| o.service.server.compression_min_bytes = n);
    "NIMIFY_DEBUG_PAGE", "server.debugPage", "`1` or `0`: whether `/debug` draws the live picture, where the metrics are served",
        |o, v| switch(v).map(|on| o.service.server.debug_page = on);
    "NIMIFY_MAX_BODY_BYTES", "server.maxBodyBytes", "largest request body, bytes",
        |o, v| at_least_1(v).map(|n| o.service.server.max_body_bytes = n as u64);
    "NIMIFY_MAX_BUFFERED_BYTES", "server.maxBufferedBytes",
        "bytes of requests and unread answers in memory at once, after which 429 is answered; `auto` takes an eighth of \
         the memory",
        |o, v| auto(v).map(|n| o.service.server.max_buffered_bytes = n);
    "NIMIFY_MAX_CONCURRENCY", "server.maxConcurrency", "requests in work at once, after which 429 is answered",
        |o, v| at_least_1(v).map(|n| o.service.server.max_concurrency = n);
    "NIMIFY_READ_TIMEOUT", "server.readTimeout", "how long a client may take to send its head, and again its body: `30s`",
        |o, v| some_time(v).map(|d| o.service.server.read_timeout = d);
    "NIMIFY_DRAIN_DELAY", "server.drainDelay", "between SIGTERM and the end of listening: `5s`",
        |o, v| duration::parse(v).map(|d| o.service.server.drain_delay = d);
    "NIMIFY_DRAIN_TIMEOUT", "server.drainTimeout", "how long requests in flight may take after that: `8s`",
        |o, v| duration::parse(v).map(|d| o.service.server.drain_timeout = d);
    "NIMIFY_MAX_BATCH_SIZE", "batching.maxBatchSize", "most rows in one run of the model; `1` turns batching off",
        |o, v| at_least_1(v).map(|n| o.service.batching.max_batch_size = n);
    "NIMIFY_MAX_BATCH_ELEMENTS", "batching.maxBatchElements",
        "most elements in one run, over all inputs, padding counted; `auto` sets no limit",
        |o, v| auto(v).map(|n| o.service.batching.max_batch_elements = n);
    "NIMIFY_MAX_QUEUE_DELAY", "batching.maxQueueDelay", "how long a batch that isn't full waits for more: `2ms`",
        |o, v| duration::parse(v).map(|d| o.service.batching.max_queue_delay = d);
    "NIMIFY_MAX_QUEUE", "batching.maxQueue", "requests that may wait, after which 429 is answered",
        |o, v| at_least_1(v).map(|n| o.service.batching.max_queue = n);
    "NIMIFY_REQUEST_TIMEOUT", "batching.requestTimeout", "from arrival to answer, after which 504 is answered: `5s`",
        |o, v| some_time(v).map(|d| o.service.batching.request_timeout = d);
    "NIMIFY_PRIORITY_LEVELS", "batching.priorityLevels", "levels of priority that a request may ask for, 1 being the highest",
        |o, v| levels(v).map(|n| o.service.batching.priority_levels = n);
    "NIMIFY_DEFAULT_PRIORITY", "batching.defaultPriority",
        "level of a request that asks for none; `auto` is the lowest",
        |o, v| auto(v).map(|n| o.service.batching.default_priority = n);
    "NIMIFY_PADDING", "batching.padding",
        r#"how rows of different lengths are made equal, as JSON: `{"values": {"ids": 0}, "mask": "mask"}`; `none` turns it off"#,
        |o, v| padding(v).map(|p| o.service.batching.padding = p);
    "NIMIFY_STATE", "state.pairs",
        r#"outputs that are kept in sessions for inputs, as JSON: `[{"output": "hn", "input": "h"}]`; `none` keeps nothing"#,
        |o, v| state(v).map(|p| o.service.state.pairs = p);
    "NIMIFY_MAX_SESSIONS", "state.maxSessions", "most sessions whose state is kept, after which 429 is answered",
        |o, v| at_least_1(v).map(|n| o.service.state.max_sessions = n);
    "NIMIFY_MAX_STATE_BYTES", "state.maxBytes", "most bytes of state over all sessions, after which 429 is answered",
        |o, v| at_least_1(v).map(|n| o.service.state.max_bytes = n);
    "NIMIFY_SESSION_IDLE_TIMEOUT", "state.idleTimeout", "how long a session is kept without a request: `5m`",
        |o, v| some_time(v).map(|d| o.service.state.idle_timeout = d);
    "NIMIFY_PROVIDER", "engine.provider",
        "execution provider: `auto`, or one or several of `tensorrt`, `cuda`, `migraphx`, `rocm`, `openvino` and `cpu`, the best first: `tensorrt,cuda`",
        |o, v| v.parse().map(|p| o.service.engine.provider = p);
    "NIMIFY_ENGINE_REQUIRE", "engine.require",
        "`1` ends the start with an error where none of those providers runs the model; `0` lets the CPU run it",
        |o, v| switch(v).map(|on| o.service.engine.require = on);
    "NIMIFY_THREADS", "engine.threads", "threads in all; `auto` takes the cgroup's quota",
        |o, v| auto(v).map(|n| o.service.engine.threads = n);
    "NIMIFY_INSTANCES", "engine.instances", "sessions that share the threads; `auto` measures while warming up",
        |o, v| auto(v).map(|n| o.service.engine.instances = n);
    "NIMIFY_OPTIMIZE", "engine.optimize",
        "`never` runs the model's graph as it is in the image; `build` and `load` let ONNX Runtime rewrite it as the service starts",
        |o, v| optimize(v).map(|word| o.service.engine.optimize = word);
    "NIMIFY_VERIFY_MODEL", "engine.verifyModel",
        "`1` holds the model's files against the digests that they had when the image was built, and ends the start where one differs",
        |o, v| switch(v).map(|on| o.service.engine.verify_model = on);
    "NIMIFY_ONNXRUNTIME", "engine.onnxruntime", "ONNX Runtime's library",
        |o, v| not_empty(v).map(|p| o.service.engine.onnxruntime = Some(PathBuf::from(p)));
    "NIMIFY_CUSTOM_OPS", "engine.customOps",
        "libraries of custom operators, with `:` between them; empty for none. They are native code that runs in the service",
        |o, v| { o.service.engine.custom_ops = std::env::split_paths(v).filter(|path| !path.as_os_str().is_empty()).collect(); Ok(()) };
    "NIMIFY_TRACING_ENDPOINT", "tracing.endpoint",
        "the collector of OpenTelemetry traces: `http://collector:4318`, to which `/v1/traces` is added; empty or `none` for none",
        |o, v| optional(v, str::parse).map(|e| { o.service.tracing.endpoint = e; o.traces.forget_endpoint(); });
    "NIMIFY_TRACING_SAMPLE_RATIO", "tracing.sampleRatio",
        "how many of the requests are recorded whose caller doesn't decide it, from `0` to `1`",
        |o, v| v.parse().map(|r| { o.service.tracing.sample_ratio = r; o.traces.forget_sampler(); });
    "NIMIFY_LOG_LEVEL", "", "`off`, `error`, `warn`, `info`, `debug` or `trace`", |o, v| Level::parse(v).map(|l| o.log.level = l);
    "NIMIFY_LOG_FORMAT", "", "`text` or `json` (one object a line)", |o, v| Format::parse(v).map(|f| o.log.format = f);
    "NIMIFY_ACCESS_LOG", "", "the log level from which on each request is a line, without its payload; `off` for never",
        |o, v| Level::parse(v).map(|l| o.log.access = l);
}

/// Variables of `nimify`'s command line, which a service started by it inherits: no reason for a warning.
const ELSEWHERE: [&str; 4] = ["NIMIFY_CACHE", "NIMIFY_SIGNING_KEY", "NIMIFY_KEY_PASSWORD", "NIMIFY_CONFIG"];

/// Applies every known variable of `environment`. A wrong value is an error, and one of OpenTelemetry's a warning; so is
/// a `NIMIFY_*` variable that nobody knows.
pub fn apply(
    settings: Overridden,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Overridden, Vec<String>), Error> {
    let mut settings = settings;
    let mut found = BTreeMap::new();
    let mut warnings = Vec::new();
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let known = VARIABLES.iter().map(|v| v.name).chain(trace::VARIABLES.iter().map(|v| v.name));
        if known.into_iter().any(|known| known == name) {
            found.insert(name.to_string(), value.into_string().map_err(|_| Error::NotUtf8(name.to_string()))?);
        } else if name.starts_with("NIMIFY_") && !ELSEWHERE.contains(&name) {
            warnings.push(unknown(name));
        }
    }
    // Before nimify's own, which beat them.
    for variable in trace::VARIABLES {
        if let Some(value) = found.get(variable.name)
            && let Err(reason) = settings.traces.set(variable, value.trim())
        {
            warnings.push(format!("the environment variable `{}` has no effect: {reason}", variable.name));
        }
    }
    for variable in VARIABLES {
        if let Some(value) = found.get(variable.name) {
            (variable.set)(&mut settings, value.trim())
                .map_err(|reason| Error::Wrong { name: variable.name, reason })?;
        }
    }
    warnings.sort();
    Ok((settings, warnings))
}

fn unknown(name: &str) -> String {
    let nearest = VARIABLES
        .iter()
        .filter(|v| v.name.starts_with("NIMIFY_"))
        .min_by_key(|v| distance(v.name, name))
        .expect("the table isn't empty");
    format!(
        "the environment variable `{name}` is unknown and has no effect; the nearest known one is `{}`",
        nearest.name
    )
}

fn port(value: &str) -> Result<u16, String> {
    value.parse().map_err(|_| format!("`{value}` is not a port: write a whole number from 0 to 65535"))
}

fn host(value: &str) -> Result<String, String> {
    match value.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("`{value}` is not an IP address, such as `0.0.0.0`, `127.0.0.1` or `::`")),
    }
}

fn name(value: &str) -> Result<String, String> {
    match value.chars().any(char::is_control) {
        true => Err("a model's name holds no control characters".into()),
        false => not_empty(value).map(String::from),
    }
}

fn not_empty(value: &str) -> Result<&str, String> {
    if value.is_empty() { Err("it is empty".into()) } else { Ok(value) }
}

fn at_least_1(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) => Err("`0` is too small: it must be at least 1".into()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("`{value}` is not a whole number")),
    }
}

fn levels(value: &str) -> Result<usize, String> {
    match at_least_1(value)? {
        count if count > MOST_PRIORITY_LEVELS => Err(format!("`{count}` is more than {MOST_PRIORITY_LEVELS}")),
        count => Ok(count),
    }
}

fn padding(value: &str) -> Result<PaddingSettings, String> {
    let wrong = |e: serde_json::Error| format!("{e}: write JSON such as `{{\"values\": {{\"ids\": 0}}}}`, or `none`");
    optional(value, |json| serde_json::from_str(json).map_err(wrong)).map(Option::unwrap_or_default)
}

fn state(value: &str) -> Result<Vec<StatePair>, String> {
    let wrong = |e: serde_json::Error| {
        format!("{e}: write JSON such as `[{{\"output\": \"hn\", \"input\": \"h\"}}]`, or `none`")
    };
    optional(value, |json| serde_json::from_str(json).map_err(wrong)).map(Option::unwrap_or_default)
}

fn auto(value: &str) -> Result<Option<usize>, String> {
    if value == "auto" {
        return Ok(None);
    }
    at_least_1(value).map(Some).map_err(|reason| format!("{reason}; `auto` is possible too"))
}

fn optional<T>(value: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if value.is_empty() || value == "none" { Ok(None) } else { parse(value).map(Some) }
}

fn file(value: &str) -> Result<Option<PathBuf>, String> {
    match value {
        "" | "none" => Ok(None),
        _ if value.contains(char::is_control) => Err("a path holds no control characters".into()),
        _ => Ok(Some(value.into())),
    }
}

/// As NIM has it: the mode says which files count.
fn tls_mode(value: &str, tls: &mut TlsSettings) -> Result<(), String> {
    let needs = |set: bool, name: &str| if set { Ok(()) } else { Err(format!("`{value}` needs `{name}`")) };
    let mode = value.to_ascii_lowercase();
    match mode.as_str() {
        "" | "disabled" => *tls = TlsSettings::default(),
        "tls" | "mtls" => {
            needs(tls.certificate.is_some(), "NIM_SSL_CERT_PATH")?;
            needs(tls.key.is_some(), "NIM_SSL_KEY_PATH")?;
            match mode == "mtls" {
                true => needs(tls.client_ca.is_some(), "NIM_SSL_CA_CERTS_PATH")?,
                false => tls.client_ca = None,
            }
        }
        _ => return Err(format!("`{value}` is not a mode: write `disabled`, `tls` or `mtls`")),
    }
    Ok(())
}

fn some_time(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        Duration::ZERO => Err(format!("`{value}` leaves no time")),
        time => Ok(time),
    }
}

fn optimize(value: &str) -> Result<Optimize, String> {
    let words = || Optimize::ALL.map(|word| format!("`{}`", word.word())).join(", ");
    let found = Optimize::ALL.into_iter().find(|word| word.word() == value);
    found.ok_or_else(|| format!("`{value}` is none of {}", words()))
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        _ => Err(format!("`{value}` is not a switch: write `1` or `0`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Overridden {
        let json = r#"{"name":"m","version":"1","model":{"path":"m.onnx","sha256":"","source":""},
            "signature":"signature.json","openapi":"openapi.json","sample":null,"license":null}"#;
        Overridden {
            service: serde_json::from_str(json).unwrap(),
            log: LogSettings::default(),
            traces: trace::Options::default(),
        }
    }

    fn applied(variables: &[(&str, &str)]) -> Result<(Overridden, Vec<String>), Error> {
        apply(settings(), variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))))
    }

    #[test]
    fn every_variable_takes_a_value_and_refuses_nonsense() {
        for variable in VARIABLES {
            let good = match variable.name {
                name if name.ends_with("_NAME") => "other",
                "NIMIFY_HOST" => "127.0.0.1",
                "NIMIFY_PROVIDER" => "cpu",
                "NIMIFY_OPTIMIZE" => "never",
                "NIMIFY_ENGINE_REQUIRE" | "NIMIFY_VERIFY_MODEL" => "1",
                "NIMIFY_ONNXRUNTIME" | "NIMIFY_CUSTOM_OPS" => "/lib/x.so",
                name if name.ends_with("LOG_LEVEL") => "debug",
                "NIMIFY_LOG_FORMAT" => "json",
                "NIMIFY_PADDING" => r#"{"mask":"m"}"#,
                "NIMIFY_STATE" => r#"[{"output":"hn","input":"h"}]"#,
                "NIMIFY_ACCESS_LOG" => "info",
                "NIMIFY_TRACING_ENDPOINT" => "http://collector:4318",
                "NIMIFY_TRACING_SAMPLE_RATIO" => "0.5",
                "NIM_JSONL_LOGGING" => "1",
                "NIMIFY_COMPRESSION" | "NIMIFY_DEBUG_PAGE" => "0",
                name if name.ends_with("_TIMEOUT") || name.ends_with("_DELAY") => "7s",
                _ => "7",
            };
            // Says which files count, so that there is nothing to say without them.
            if variable.name == "NIM_SSL_MODE" {
                continue;
            }
            let (changed, warnings) = applied(&[(variable.name, good)]).unwrap();
            assert_ne!(changed, settings(), "{}", variable.name);
            assert!(warnings.is_empty());
            let nonsense = "\u{1}!";
            if !["NIMIFY_ONNXRUNTIME", "NIMIFY_CUSTOM_OPS"].contains(&variable.name) {
                let error = applied(&[(variable.name, nonsense)]).unwrap_err();
                assert!(error.to_string().contains(variable.name), "{error}");
            }
        }
    }

    #[test]
    fn nimifys_own_names_beat_nims() {
        for order in [["NIM_HTTP_API_PORT", "NIMIFY_PORT"], ["NIMIFY_PORT", "NIM_HTTP_API_PORT"]] {
            let values = order.map(|name| (name, if name == "NIMIFY_PORT" { "2" } else { "1" }));
            assert_eq!(applied(&values).unwrap().0.service.server.port, 2);
        }
    }

    #[test]
    fn nims_mode_says_which_files_count() {
        const FILES: [(&str, &str); 3] =
            [("NIM_SSL_CERT_PATH", "c"), ("NIM_SSL_KEY_PATH", "k"), ("NIM_SSL_CA_CERTS_PATH", "a")];
        let tls = |mode: &str, files: &[(&str, &str)]| {
            let variables: Vec<_> = files.iter().copied().chain([("NIM_SSL_MODE", mode)]).collect();
            applied(&variables).map(|(settings, _)| settings.service.server.tls)
        };
        assert_eq!(tls("disabled", &FILES), Ok(TlsSettings::default()));
        let files = |client_ca: Option<&str>| TlsSettings {
            certificate: Some("c".into()),
            key: Some("k".into()),
            client_ca: client_ca.map(Into::into),
        };
        assert_eq!(tls("TLS", &FILES), Ok(files(None)));
        assert_eq!(tls("mtls", &FILES), Ok(files(Some("a"))));
        for (mode, given, missing) in [
            ("tls", 0, "NIM_SSL_CERT_PATH"),
            ("tls", 1, "NIM_SSL_KEY_PATH"),
            ("mtls", 2, "NIM_SSL_CA_CERTS_PATH"),
            ("ssl", 3, "`disabled`, `tls` or `mtls`"),
        ] {
            assert!(tls(mode, &FILES[..given]).unwrap_err().to_string().contains(missing), "{mode}");
        }
    }

    #[test]
    fn an_unknown_name_is_warned_of_with_the_nearest() {
        let (_, warnings) = applied(&[("NIMIFY_MAX_BATCHSIZE", "8"), ("NIMIFY_CACHE", "/c"), ("HOME", "/")]).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("`NIMIFY_MAX_BATCH_SIZE`"), "{warnings:?}");
    }

    #[test]
    fn edges() {
        assert!(applied(&[("NIMIFY_PORT", "65536")]).is_err());
        assert!(applied(&[("NIMIFY_THREADS", "0")]).is_err());
        assert!(applied(&[("NIMIFY_PRIORITY_LEVELS", "65")]).is_err());
        assert!(applied(&[("NIMIFY_READ_TIMEOUT", "0s")]).is_err());
        assert_eq!(applied(&[("NIMIFY_THREADS", "auto")]).unwrap().0.service.engine.threads, None);
        assert_eq!(applied(&[("NIMIFY_METRICS_PORT", "none")]).unwrap().0.service.server.metrics_port, None);
    }
}
