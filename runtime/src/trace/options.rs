//! What is said of traces: OpenTelemetry's standard variables and NIM's, `service.json` → a [`Plan`], or none. Pure.
//!
//! OpenTelemetry's variables are often given to every container of a cluster at once. So a value that can't be used is
//! warned of and ignored, as OpenTelemetry asks; one of nimify's own ends the start.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::endpoint::Endpoint;
use super::sampler::{Ratio, Sampler};
use crate::http::route::percent_decoded;
use crate::settings::ServiceSettings;

/// One variable of OpenTelemetry, or of NIM for the same.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it sets and how it is written.
    pub help: &'static str,
    set: fn(&mut Options, &str) -> Result<(), String>,
}

macro_rules! variables {
    ($($name:literal, $help:literal, $set:expr;)+) => {
        /// Every variable that is honoured, in the order in which they are applied: a later one beats an earlier one.
        pub const VARIABLES: &[Variable] = &[$(Variable { name: $name, help: $help, set: $set }),+];
    };
}

variables! {
    "NIM_ENABLE_OTEL", "`1` turns traces on, `0` off", |o, v| switch(v).map(|on| o.exporting = Some(on));
    "NIM_OTEL_TRACES_EXPORTER", "as `OTEL_TRACES_EXPORTER`", |o, v| exporter(v).map(|on| o.exporting = Some(on));
    "NIM_OTEL_EXPORTER_OTLP_ENDPOINT", "as `OTEL_EXPORTER_OTLP_ENDPOINT`", |o, v| v.parse().map(|e| o.base = Some(e));
    "NIM_OTEL_SERVICE_NAME", "as `OTEL_SERVICE_NAME`", |o, v| text(v).map(|n| o.service_name = Some(n));
    "OTEL_SDK_DISABLED", "`true` turns traces off, whatever else is said", |o, v| switch(v).map(|off| o.disabled = off);
    "OTEL_TRACES_EXPORTER", "`otlp`, or `none`, which turns traces off; `otlp` without an endpoint means a collector on \
        this host", |o, v| exporter(v).map(|on| o.exporting = Some(on));
    "OTEL_EXPORTER_OTLP_ENDPOINT", "the collector, such as `http://collector:4318`; `/v1/traces` is added to it",
        |o, v| v.parse().map(|e| o.base = Some(e));
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the collector's URL for traces as it is", |o, v| v.parse().map(|e| o.exact = Some(e));
    "OTEL_EXPORTER_OTLP_PROTOCOL", "`http/protobuf` (the default) or `grpc`", |o, v| protocol(v).map(|p| o.protocol = p);
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "the same for traces alone", |o, v| protocol(v).map(|p| o.protocol = p);
    "OTEL_EXPORTER_OTLP_HEADERS", "headers that the collector asks for, such as keys: `name=value,name=value`; never \
        logged", |o, v| headers(v).map(|h| o.headers = h);
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "the same for traces alone", |o, v| headers(v).map(|h| o.headers = h);
    "OTEL_EXPORTER_OTLP_TIMEOUT", "how long the collector may take, milliseconds: `10000`", |o, v| millis(v).map(|t| o.timeout = t);
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "the same for traces alone", |o, v| millis(v).map(|t| o.timeout = t);
    "OTEL_EXPORTER_OTLP_COMPRESSION", "`gzip` or `none`", |o, v| compression(v).map(|gzip| o.gzip = gzip);
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "the same for traces alone", |o, v| compression(v).map(|gzip| o.gzip = gzip);
    "OTEL_EXPORTER_OTLP_CERTIFICATE", "a PEM file of the authorities trusted for `https`, instead of the system's",
        |o, v| { o.certificate = Some(v.into()); Ok(()) };
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "the same for traces alone", |o, v| { o.certificate = Some(v.into()); Ok(()) };
    "OTEL_SERVICE_NAME", "`service.name`, which is the model's name otherwise", |o, v| text(v).map(|n| o.service_name = Some(n));
    "OTEL_RESOURCE_ATTRIBUTES", "attributes of every span: `name=value,name=value`", |o, v| pairs(v).map(|p| o.resource = p);
    "OTEL_TRACES_SAMPLER", "`parentbased_always_on` (the default), `parentbased_always_off`, \
        `parentbased_traceidratio`, `always_on`, `always_off` or `traceidratio`",
        |o, v| Decides::parse(v).map(|d| o.decides = Some(d));
    "OTEL_TRACES_SAMPLER_ARG", "for the two samplers with a ratio: from `0` to `1`", |o, v| v.parse().map(|r| o.ratio = r);
    "OTEL_BSP_SCHEDULE_DELAY", "how long spans wait for more at most, milliseconds: `5000`",
        |o, v| millis(v).map(|t| o.delay = t);
    "OTEL_BSP_MAX_QUEUE_SIZE", "recorded requests that may wait, after which more are dropped: `2048`",
        |o, v| count(v).map(|n| o.queue = n);
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "recorded requests that are sent at once: `512`", |o, v| count(v).map(|n| o.batch = n);
}

/// What the environment says of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    disabled: bool,
    exporting: Option<bool>,
    base: Option<Endpoint>,
    exact: Option<Endpoint>,
    protocol: Protocol,
    headers: Headers,
    timeout: Duration,
    gzip: bool,
    certificate: Option<PathBuf>,
    service_name: Option<String>,
    resource: Vec<(String, String)>,
    decides: Option<Decides>,
    ratio: Ratio,
    delay: Duration,
    queue: usize,
    batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            disabled: false,
            exporting: None,
            base: None,
            exact: None,
            protocol: Protocol::Http,
            headers: Headers::default(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            service_name: None,
            resource: Vec::new(),
            decides: None,
            ratio: Ratio::default(),
            delay: Duration::from_secs(5),
            queue: 2048,
            batch: 512,
        }
    }
}

impl Options {
    /// Applies a variable. What is wrong with its value is the error; it changes nothing then.
    pub(crate) fn set(&mut self, variable: &Variable, value: &str) -> Result<(), String> {
        // An empty one is as good as none, says OpenTelemetry.
        if value.is_empty() { Ok(()) } else { (variable.set)(self, value) }
    }

    /// Forgets what was said of the collector's place: nimify's own variable is there.
    pub(crate) fn forget_endpoint(&mut self) {
        (self.exporting, self.base, self.exact) = (None, None, None);
    }

    /// Forgets what was said of the sampler: nimify's own variable is there.
    pub(crate) fn forget_sampler(&mut self) {
        self.decides = None;
    }
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Protobuf by POST.
    Http,
    /// A unary call.
    Grpc,
}

impl Protocol {
    /// As OpenTelemetry spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http/protobuf",
            Protocol::Grpc => "grpc",
        }
    }
}

/// Headers whose values nobody sees.
#[derive(Clone, PartialEq, Default)]
pub(crate) struct Headers(pub(crate) HeaderMap);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The samplers that OpenTelemetry has names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decides {
    by_parent: bool,
    /// Without a ratio: all or none.
    fixed: Option<bool>,
}

impl Decides {
    fn parse(text: &str) -> Result<Decides, String> {
        let (by_parent, rest) = match text.strip_prefix("parentbased_") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let fixed = match rest {
            "always_on" => Some(true),
            "always_off" => Some(false),
            "traceidratio" => None,
            _ => return Err(format!("`{text}` is not a sampler that there is")),
        };
        Ok(Decides { by_parent, fixed })
    }

    fn sampler(self, ratio: Ratio) -> Sampler {
        let fixed = |on| Ratio::try_from(if on { 1.0 } else { 0.0 }).expect("0 and 1 are ratios");
        Sampler::new(self.by_parent, self.fixed.map_or(ratio, fixed))
    }
}

/// How traces are made and where they go.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where each export goes; over gRPC its path says nothing.
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Headers,
    /// Of one export.
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
    /// Whom to trust instead of the system's authorities.
    pub(crate) certificate: Option<PathBuf>,
    /// Attributes of all spans.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) sampler: Sampler,
    /// How long a recorded request waits for others.
    pub(crate) delay: Duration,
    /// Recorded requests that wait at most.
    pub(crate) queue: usize,
    /// Recorded requests that are sent at once.
    pub(crate) batch: usize,
}

impl Plan {
    /// What follows from `service.json` and the environment; `None` where nobody asks for traces.
    pub fn new(settings: &ServiceSettings, options: Options) -> Option<Plan> {
        let (here, whole): (_, fn(Endpoint) -> Endpoint) = match options.protocol {
            Protocol::Http => ("http://localhost:4318", |endpoint| endpoint.with_traces()),
            // The call's path is always the same.
            Protocol::Grpc => ("http://localhost:4317", |endpoint| endpoint),
        };
        if options.disabled || options.exporting == Some(false) {
            return None;
        }
        let base = options.base.as_ref().or(settings.tracing.endpoint.as_ref()).cloned();
        let endpoint = match (options.exact, base, options.exporting) {
            (Some(exact), _, _) => exact,
            (None, Some(base), _) => whole(base),
            (None, None, Some(true)) => whole(here.parse().expect("it is a URL")),
            (None, None, _) => return None,
        };
        let by_settings = Sampler::new(true, settings.tracing.sample_ratio);
        Some(Plan {
            endpoint,
            protocol: options.protocol,
            headers: options.headers,
            timeout: options.timeout,
            gzip: options.gzip,
            certificate: options.certificate,
            resource: resource(settings, options.service_name, options.resource),
            sampler: options.decides.map_or(by_settings, |decides| decides.sampler(options.ratio)),
            delay: options.delay,
            queue: options.queue,
            batch: options.batch.min(options.queue),
        })
    }
}

/// What is known of the service, then what was said of it; `OTEL_SERVICE_NAME` beats the attribute.
fn resource(settings: &ServiceSettings, name: Option<String>, said: Vec<(String, String)>) -> Vec<(String, String)> {
    let known = [
        ("service.name", settings.name.as_str()),
        ("service.version", &settings.version),
        ("telemetry.sdk.name", "nimify"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let mut all: Vec<(String, String)> = known.map(|(key, value)| (key.into(), value.into())).into();
    for (key, value) in said.into_iter().chain(name.map(|name| ("service.name".into(), name))) {
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => all.push((key, value)),
        }
    }
    all
}

fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(format!("`{value}` is neither `true` nor `false`")),
    }
}

/// Whether spans are exported.
fn exporter(value: &str) -> Result<bool, String> {
    match value {
        "none" => Ok(false),
        _ if value.split(',').any(|one| one.trim() == "otlp") => Ok(true),
        _ => Err(format!("`{value}` is not an exporter that there is: write `otlp` or `none`")),
    }
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value {
        "http/protobuf" => Ok(Protocol::Http),
        "grpc" => Ok(Protocol::Grpc),
        _ => Err(format!("`{value}` is not a protocol that there is: write `http/protobuf` or `grpc`")),
    }
}

fn compression(value: &str) -> Result<bool, String> {
    match value {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(format!("`{value}` is not a compression that there is: write `gzip` or `none`")),
    }
}

fn text(value: &str) -> Result<String, String> {
    Ok(value.into())
}

fn count(value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) | Err(_) => Err(format!("`{value}` is not a whole number from 1 on")),
        Ok(count) => Ok(count),
    }
}

fn millis(value: &str) -> Result<Duration, String> {
    count(value).map(|count| Duration::from_millis(count as u64))
}

/// `name=value,name=value`, the values percent-encoded. The text isn't repeated: it may hold keys.
fn pairs(value: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or("each must be `name=value`")?;
        let value = percent_decoded(value.trim()).ok_or("a value has a broken `%` escape")?;
        match name.trim() {
            "" => Err("a name is empty"),
            name => Ok((name.into(), value)),
        }
    };
    let all = value.split(',').filter(|one| !one.trim().is_empty()).map(pair).collect::<Result<_, _>>();
    all.map_err(|reason: &str| reason.into())
}

fn headers(value: &str) -> Result<Headers, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(value)? {
        let name: HeaderName = name.parse().map_err(|_| "a name is not a header's")?;
        let mut value = HeaderValue::try_from(value).map_err(|_| "a value can't stand in a header")?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(Headers(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tracing: &str) -> ServiceSettings {
        let json = format!(
            r#"{{"name":"m","version":"1","model":{{"path":"m.onnx","sha256":"","source":""}},
            "signature":"signature.json","openapi":"openapi.json","sample":null,"license":null,"tracing":{tracing}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    /// Applied in the table's order, whatever the order here.
    fn options(variables: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        for variable in VARIABLES {
            for (_, value) in variables.iter().filter(|(name, _)| *name == variable.name) {
                options.set(variable, value).unwrap_or_else(|error| panic!("{}: {error}", variable.name));
            }
        }
        options
    }

    fn plan(tracing: &str, variables: &[(&str, &str)]) -> Option<Plan> {
        Plan::new(&settings(tracing), options(variables))
    }

    fn endpoint(tracing: &str, variables: &[(&str, &str)]) -> Option<String> {
        plan(tracing, variables).map(|plan| plan.endpoint.to_string())
    }

    #[test]
    fn nobody_who_is_not_asked_records() {
        let file = r#"{"endpoint":"http://file:1"}"#;
        for (tracing, variables) in [
            ("{}", &[][..]),
            ("{}", &[("OTEL_SERVICE_NAME", "x"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]),
            (file, &[("OTEL_SDK_DISABLED", "True")]),
            (file, &[("OTEL_TRACES_EXPORTER", "none")]),
            (file, &[("NIM_ENABLE_OTEL", "0")]),
        ] {
            assert_eq!(plan(tracing, variables), None, "{variables:?}");
        }
    }

    #[test]
    fn the_endpoint_is_the_nearest_that_was_named() {
        let file = r#"{"endpoint":"http://file:1"}"#;
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://base:2/x");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://exact:3/y");
        for (tracing, variables, expected) in [
            (file, &[][..], "http://file:1/v1/traces"),
            (file, &[base], "http://base:2/x/v1/traces"),
            (file, &[exact, base], "http://exact:3/y"),
            ("{}", &[("NIM_OTEL_EXPORTER_OTLP_ENDPOINT", "http://nim:4"), base], "http://base:2/x/v1/traces"),
            ("{}", &[("NIM_OTEL_EXPORTER_OTLP_ENDPOINT", "http://nim:4")], "http://nim:4/v1/traces"),
            ("{}", &[("NIM_ENABLE_OTEL", "1")], "http://localhost:4318/v1/traces"),
            ("{}", &[("OTEL_TRACES_EXPORTER", "otlp, console")], "http://localhost:4318/v1/traces"),
        ] {
            assert_eq!(endpoint(tracing, variables).as_deref(), Some(expected), "{variables:?}");
        }
        let grpc = [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert_eq!(endpoint("{}", &grpc).unwrap(), "http://localhost:4317/");
    }

    #[test]
    fn a_sampler_is_the_variables_or_follows_the_settings_ratio() {
        let sampler = |tracing: &str, variables: &[(&str, &str)]| {
            let on = [&[("OTEL_TRACES_EXPORTER", "otlp")], variables].concat();
            plan(tracing, &on).unwrap().sampler
        };
        let ratio = |ratio: f64| Ratio::try_from(ratio).unwrap();
        let name = |name| ("OTEL_TRACES_SAMPLER", name);
        let quarter = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
        for (tracing, variables, expected) in [
            ("{}", &[][..], Sampler::new(true, ratio(1.0))),
            (r#"{"sampleRatio":0.5}"#, &[quarter], Sampler::new(true, ratio(0.5))),
            (r#"{"sampleRatio":0.5}"#, &[name("always_on"), quarter], Sampler::new(false, ratio(1.0))),
            ("{}", &[name("parentbased_always_off")], Sampler::new(true, ratio(0.0))),
            ("{}", &[name("traceidratio"), quarter], Sampler::new(false, ratio(0.25))),
            ("{}", &[name("parentbased_traceidratio")], Sampler::new(true, ratio(1.0))),
        ] {
            assert_eq!(sampler(tracing, variables), expected, "{tracing} {variables:?}");
        }
    }

    #[test]
    fn attributes_of_the_resource_are_known_then_said() {
        let said = [
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=b%2Cc , k8s.pod.name=d"),
        ];
        let resource = |variables: &[(&str, &str)]| plan("{}", variables).unwrap().resource;
        let all = resource(&said);
        let value = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(value("service.name"), Some("a"));
        assert_eq!(value("deployment.environment.name"), Some("b,c"));
        assert_eq!((value("k8s.pod.name"), value("service.version")), (Some("d"), Some("1")));
        let named = resource(&[said[0], said[1], ("OTEL_SERVICE_NAME", "n")]);
        assert!(named.contains(&("service.name".into(), "n".into())), "{named:?}");
        assert!(resource(&said[..1]).contains(&("service.name".into(), "m".into())));
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let options = options(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20ecret,x=secret")]);
        assert_eq!(options.headers.0["api-key"], "s ecret");
        assert!(options.headers.0["x"].is_sensitive());
        let shown = format!("{options:?}");
        assert!(shown.contains("api-key") && !shown.contains("ecret"), "{shown}");
    }

    #[test]
    fn a_wrong_value_changes_nothing_and_isnt_told_where_it_may_be_secret() {
        for variable in VARIABLES {
            if variable.name.ends_with("_NAME") || variable.name.ends_with("_CERTIFICATE") {
                continue;
            }
            let mut options = Options::default();
            let error = options.set(variable, "secret\u{1}%zz").unwrap_err();
            assert_eq!(options, Options::default(), "{}", variable.name);
            let may_tell = !["HEADERS", "ENDPOINT", "ATTRIBUTES"].iter().any(|end| variable.name.ends_with(end));
            assert!(may_tell || !error.contains("secret"), "{}: {error}", variable.name);
            assert_eq!(options.set(variable, ""), Ok(()));
        }
    }
}
