//! The page that a scraper reads: Prometheus's text format, or OpenMetrics where it is asked for, which adds examples.

use std::fmt::Write;
use std::time::SystemTime;

use super::histogram::{Counted, Example};
use super::process::unix_seconds;
use super::table::{Kind, Metric};

/// A format of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.0: the same with units and examples.
    OpenMetrics,
}

impl Format {
    /// What a scraper that sends this `Accept` header gets: OpenMetrics if it wants that at least as much as text.
    pub fn of(accept: &str) -> Format {
        let (mut open, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut weight, mut version) = (1.0, "1.0.0");
            for part in parts {
                match part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                    Some(("q", value)) => weight = value.parse::<f32>().unwrap_or(0.0),
                    Some(("version", value)) => version = value,
                    _ => {}
                }
            }
            let wanted = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if version == "1.0.0" => &mut open,
                "text/plain" | "text/*" | "*/*" => &mut text,
                _ => continue,
            };
            *wanted = weight.max(*wanted);
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }

    /// The content type of the page.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page while it is written.
pub(super) struct Page {
    format: Format,
    out: String,
}

impl Page {
    pub(super) fn new(format: Format) -> Page {
        Page { format, out: String::with_capacity(16 << 10) }
    }

    /// The samples of `metric`, which `write` gives; a metric without any is left out.
    pub(super) fn metric(&mut self, metric: &Metric, write: impl FnOnce(&mut Samples<'_>)) {
        let begun = self.out.len();
        self.head(metric);
        let headed = self.out.len();
        write(&mut Samples { metric, page: self });
        if self.out.len() == headed {
            self.out.truncate(begun);
        }
    }

    /// The page as a whole.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn head(&mut self, metric: &Metric) {
        let (family, kind) = family(metric, self.format);
        self.push(format_args!("# HELP {family} "));
        self.escaped(metric.help, self.format == Format::OpenMetrics);
        self.push(format_args!("\n# TYPE {family} {kind}\n"));
        let unit = metric.unit;
        if self.format == Format::OpenMetrics && family.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
            self.push(format_args!("# UNIT {family} {unit}\n"));
        }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes any text");
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        for character in text.chars() {
            match character {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if quotes => self.out.push_str("\\\""),
                other => self.out.push(other),
            }
        }
    }
}

/// Name and type of a metric's family. OpenMetrics counts only under names that end in `_total`: what Triton calls
/// otherwise keeps its name, and is of a type that nobody knows.
fn family(metric: &Metric, format: Format) -> (&'static str, &'static str) {
    let name = metric.name;
    match (format, metric.kind) {
        (_, Kind::Gauge) | (Format::Text, Kind::Info) => (name, "gauge"),
        (_, Kind::Histogram) => (name, "histogram"),
        (Format::Text, Kind::Counter) => (name, "counter"),
        (Format::OpenMetrics, Kind::Counter) => {
            name.strip_suffix("_total").map_or((name, "unknown"), |n| (n, "counter"))
        }
        (Format::OpenMetrics, Kind::Info) => (name.strip_suffix("_info").unwrap_or(name), "info"),
    }
}

/// A number of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    Real(f64),
}

macro_rules! whole {
    ($($type:ty),+) => {$(impl From<$type> for Number {
        fn from(value: $type) -> Number {
            Number::Whole(value as i128)
        }
    })+};
}
whole!(u64, i64, usize, bool);

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}

impl std::fmt::Display for Number {
    /// As Go and Python write it, which is how scrapers compare bounds.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Number::Whole(value) => write!(f, "{value}"),
            Number::Real(value) if value.is_nan() => f.write_str("NaN"),
            Number::Real(value) if value.is_infinite() => f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
            Number::Real(value) if value != 0.0 && value.abs() < 1e-4 => {
                let text = format!("{value:e}");
                let (mantissa, exponent) = text.split_once("e-").unwrap_or((&text, "0"));
                write!(f, "{mantissa}e-{exponent:0>2}")
            }
            Number::Real(value) => write!(f, "{value}"),
        }
    }
}

/// Labels and their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Takes the samples of one metric.
pub(super) struct Samples<'p> {
    metric: &'p Metric,
    page: &'p mut Page,
}

impl Samples<'_> {
    /// One sample.
    pub(super) fn value(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.sample("", labels, None, value.into());
        self.page.out.push('\n');
    }

    /// One sample, where there is a value.
    pub(super) fn known(&mut self, labels: Labels<'_>, value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.value(labels, value);
        }
    }

    /// A histogram whose whole numbers are `scale` to one of the metric's unit.
    pub(super) fn histogram(
        &mut self,
        labels: Labels<'_>,
        counted: &Counted,
        scale: f64,
        examples: &[Option<Example>],
    ) {
        let bounds = counted.bounds.iter().map(|bound| *bound as f64 / scale).chain([f64::INFINITY]);
        let mut count = 0;
        for (k, (bound, in_bucket)) in bounds.zip(&counted.buckets).enumerate() {
            count += in_bucket;
            self.sample("_bucket", labels, Some(self.bound(bound)), count.into());
            if let (Format::OpenMetrics, Some(Some(example))) = (self.page.format, examples.get(k)) {
                self.example(example, scale);
            }
            self.page.out.push('\n');
        }
        self.value_of("_sum", labels, counted.sum as f64 / scale);
        self.value_of("_count", labels, count);
    }

    fn value_of(&mut self, suffix: &str, labels: Labels<'_>, value: impl Into<Number>) {
        self.sample(suffix, labels, None, value.into());
        self.page.out.push('\n');
    }

    /// OpenMetrics wants a bound to be seen as a float.
    fn bound(&self, bound: f64) -> String {
        let text = Number::Real(bound).to_string();
        let is_float = text.contains(['.', 'e', 'I']);
        if self.page.format == Format::OpenMetrics && !is_float { text + ".0" } else { text }
    }

    fn example(&mut self, example: &Example, scale: f64) {
        let (trace, value) = (example.trace, Number::Real(example.value as f64 / scale));
        let at = unix_seconds(example.at.max(SystemTime::UNIX_EPOCH));
        self.page.push(format_args!(" # {{trace_id=\"{trace}\"}} {value} {at:.3}"));
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<String>, value: Number) {
        let name = self.metric.name;
        self.page.push(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for (label, value) in labels.iter().copied().chain(bound.as_deref().map(|bound| ("le", bound))) {
            self.page.out.push(separator);
            self.page.push(format_args!("{label}=\""));
            self.page.escaped(value, true);
            self.page.out.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.page.out.push('}');
        }
        self.page.push(format_args!(" {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_want_it_at_least_as_much() {
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "text/plain, Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8",
        ] {
            assert_eq!(Format::of(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "text/html",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.1,text/plain;q=0.5",
            "application/openmetrics-text;q=x",
            ";;=,,é",
        ] {
            assert_eq!(Format::of(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn numbers_are_written_as_scrapers_compare_them() {
        for (number, text) in [(1e-5, "1e-05"), (2.5e-5, "2.5e-05"), (0.0001, "0.0001"), (30.0, "30"), (0.0, "0")] {
            assert_eq!(Number::Real(number).to_string(), text);
        }
        assert_eq!(Number::from(u64::MAX).to_string(), "18446744073709551615");
        assert_eq!(Number::Real(f64::NEG_INFINITY).to_string(), "-Inf");
    }

    fn page(format: Format, kind: Kind, name: &'static str, write: impl FnOnce(&mut Samples<'_>)) -> String {
        let metric = Metric { name, kind, help: "A \\ \"b\"\nc", labels: &[], unit: "seconds", read: |_, _| {} };
        let mut page = Page::new(format);
        page.metric(&metric, write);
        page.finish()
    }

    #[test]
    fn help_and_labels_are_escaped() {
        let write = |samples: &mut Samples<'_>| samples.value(&[("a", "\"\\\n")], 7_u64);
        let text = page(Format::Text, Kind::Counter, "x_seconds_total", write);
        assert_eq!(
            text,
            "# HELP x_seconds_total A \\\\ \"b\"\\nc\n# TYPE x_seconds_total counter\nx_seconds_total{a=\"\\\"\\\\\\n\"} 7\n"
        );
        let text = page(Format::OpenMetrics, Kind::Counter, "x_seconds_total", write);
        assert!(text.starts_with(
            "# HELP x_seconds A \\\\ \\\"b\\\"\\nc\n# TYPE x_seconds counter\n# UNIT x_seconds seconds\n"
        ));
        assert!(text.ends_with("x_seconds_total{a=\"\\\"\\\\\\n\"} 7\n# EOF\n"));
        assert!(page(Format::OpenMetrics, Kind::Counter, "x", write).contains("# TYPE x unknown\nx{"));
        assert!(page(Format::OpenMetrics, Kind::Info, "x_info", write).contains("# TYPE x info\nx_info{"));
        assert_eq!(page(Format::Text, Kind::Gauge, "x", |_| {}), "");
    }

    #[test]
    fn a_histogram_is_cumulative_and_has_its_examples_where_they_can_stand() {
        let counted = Counted { bounds: &[1_000_000_000, 2_500_000_000], buckets: vec![1, 0, 2], sum: 7_500_000_000 };
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        let examples =
            [None, None, Some(Example { trace: crate::trace::context::TraceId([10; 16]), value: 3_000_000_000, at })];
        let write = |samples: &mut Samples<'_>| samples.histogram(&[("r", "/")], &counted, 1e9, &examples);
        let text = page(Format::Text, Kind::Histogram, "x_seconds", write);
        let want = "x_seconds_bucket{r=\"/\",le=\"1\"} 1\nx_seconds_bucket{r=\"/\",le=\"2.5\"} 1\n\
                    x_seconds_bucket{r=\"/\",le=\"+Inf\"} 3\nx_seconds_sum{r=\"/\"} 7.5\nx_seconds_count{r=\"/\"} 3\n";
        assert!(text.ends_with(want), "{text}");
        let text = page(Format::OpenMetrics, Kind::Histogram, "x_seconds", write);
        let want = format!("le=\"+Inf\"}} 3 # {{trace_id=\"{}\"}} 3 1.500\n", "0a".repeat(16));
        assert!(text.contains(&want) && text.contains("le=\"1.0\"} 1\n"), "{text}");
    }
}
