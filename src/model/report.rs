//! [`ModelDescription`] → the text that people read.

use std::fmt::Write as _;

use nimify_runtime::signature::{Batching, ValueSpec};

use super::{Engine, ModelDescription};

/// A compact report, in lines that end with a newline.
pub fn text(description: &ModelDescription) -> String {
    let contents = &description.contents;
    let mut lines = Lines::default();
    lines.plain(&format!("{}  {}, {}", description.file_name, description.format, bytes(description.size)));
    lines.plain(&format!("{}", description.digest));
    let first_line = contents.doc.lines().find(|line| !line.trim().is_empty());
    lines.field("about", first_line.map(|line| shortened(line.trim(), 90)).as_deref());
    lines.field("producer", Some(&made_by(description)));
    match &description.engine {
        Some(engine) => lines.engine(engine),
        None => lines.graph(description),
    }
    if description.told().is_err() {
        lines.section("inputs and outputs", std::iter::once("not known: nothing beside the file says them".into()));
    } else {
        lines.values("inputs", &contents.signature.inputs);
        lines.values("outputs", &contents.signature.outputs);
        lines.batching(&contents.signature.batching);
    }
    lines.section("values seen in the graph", contents.input_hints.iter().map(|(input, hint)| hint.describe(input)));
    lines.section(
        "external data",
        description.external_files.iter().map(|file| format!("{}  {}", shown(file.path.as_str()), bytes(file.size))),
    );
    lines.section(
        "side files",
        description.side_files.iter().map(|file| format!("{}  {}", shown(file.name.as_str()), bytes(file.size))),
    );
    lines.section("labels", labels(&description.labels).into_iter());
    lines.section(
        "metadata",
        contents.metadata.iter().map(|(key, value)| format!("{}: {}", shown(key), shortened(value, 80))),
    );
    lines.section("warnings", contents.warnings.iter().map(|warning| shown(warning)));
    lines.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn plain(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    fn field(&mut self, label: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.plain(&format!("  {label:<11} {value}"));
        }
    }

    fn graph(&mut self, description: &ModelDescription) {
        let contents = &description.contents;
        self.field("IR version", Some(&contents.ir_version.to_string()));
        let opsets: Vec<_> =
            contents.opsets.iter().map(|(domain, version)| format!("{} {version}", shown(domain))).collect();
        self.field("opsets", Some(&opsets.join(", ")));
        self.field("parameters", Some(&parameters(description)));
        self.field("operators", Some(&operators(description)));
    }

    fn engine(&mut self, engine: &Engine) {
        let version = engine.tensorrt.map_or("8 or older".into(), |version| version.to_string());
        self.field("built by", Some(&format!("TensorRT {version}")));
        let gpu = engine.compute_capability.map(|gpu| format!("GPUs of compute capability {gpu}"));
        self.field("built for", Some(&gpu.unwrap_or_else(|| "GPUs that nothing names".into())));
        self.field("rows", engine.max_batch_size.map(|rows| format!("at most {rows} in one run")).as_deref());
        self.field("told by", engine.told_by.as_deref());
    }

    fn section(&mut self, title: &str, lines: impl Iterator<Item = String>) {
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            self.plain("");
            self.plain(title);
            lines.for_each(|line| self.plain(&format!("  {line}")));
        }
    }

    /// Names, kinds and shapes under each other.
    fn values(&mut self, title: &str, specs: &[ValueSpec]) {
        let rows: Vec<_> = specs.iter().map(|spec| (shown(&spec.name), shown(&spec.value_type.to_string()))).collect();
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(40);
        let kinds = rows.iter().filter_map(|(_, kind)| kind.split_once(" [").map(|(kind, _)| kind.len()));
        let kind_width = kinds.max().unwrap_or(0);
        self.section(
            title,
            rows.iter().map(|(name, kind)| match kind.split_once(" [") {
                Some((kind, shape)) if !kind.contains('(') => format!("{name:<width$}  {kind:<kind_width$}  [{shape}"),
                _ => format!("{name:<width$}  {kind}"),
            }),
        );
        if specs.is_empty() {
            self.section(title, std::iter::once("none".into()));
        }
    }

    fn batching(&mut self, batching: &Batching) {
        let reason = shown(batching.reason());
        let verdict = match batching {
            Batching::Proved { axis, .. } => format!("proved along axis {axis}: {reason}"),
            Batching::Stated { axis, .. } => format!("along axis {axis}, {reason}"),
            Batching::Refused { .. } => format!("no: {reason}"),
            Batching::Unproved { .. } => format!("unproved, {reason}"),
        };
        self.section("batching", std::iter::once(verdict));
    }
}

impl super::Hint {
    fn describe(&self, input: &str) -> String {
        let mut parts = Vec::new();
        parts.extend(self.below.map(|below| format!("0 to {}", below.saturating_sub(1))));
        if !self.integers.is_empty() {
            let some: Vec<_> = self.integers.iter().take(8).map(i64::to_string).collect();
            parts.push(some.join(", ") + if self.integers.len() > some.len() { ", …" } else { "" });
        }
        if !self.strings.is_empty() {
            let some: Vec<_> = self.strings.iter().take(6).map(|text| format!("\"{}\"", shortened(text, 20))).collect();
            parts.push(some.join(", ") + if self.strings.len() > some.len() { ", …" } else { "" });
        }
        let operators: Vec<_> = self.operators.iter().map(|op| shown(op)).collect();
        format!("{}: {} (by {})", shown(input), parts.join("; "), operators.join(", "))
    }
}

/// How many there are, and the first of them, quoted: a label may have a comma.
fn labels(labels: &[String]) -> Option<String> {
    let first: Vec<String> = labels.iter().take(5).map(|label| format!("\"{}\"", shortened(label, 20))).collect();
    let more = if labels.len() > first.len() { ", …" } else { "" };
    (!labels.is_empty()).then(|| format!("{}: {}{more}", labels.len(), first.join(", ")))
}

fn made_by(description: &ModelDescription) -> String {
    let contents = &description.contents;
    let mut text = shown(format!("{} {}", contents.producer_name, contents.producer_version).trim());
    if !contents.domain.is_empty() {
        let _ = write!(text, " ({})", shown(&contents.domain));
    }
    if contents.model_version != 0 {
        let _ = write!(text, ", model version {}", contents.model_version);
    }
    text
}

fn parameters(description: &ModelDescription) -> String {
    let contents = &description.contents;
    if contents.parameters == 0 {
        return "none".into();
    }
    let types: Vec<_> = contents.parameter_types.keys().map(|element_type| element_type.name()).collect();
    let types = if types.is_empty() { String::new() } else { format!(" ({})", types.join(", ")) };
    format!("{}, {}{types}", count(contents.parameters), bytes(contents.parameter_bytes))
}

/// The ten most frequent, the standard domain left out.
fn operators(description: &ModelDescription) -> String {
    let operators = &description.contents.operators;
    let mut by_count: Vec<_> = operators.iter().map(|(name, count)| (std::cmp::Reverse(*count), name)).collect();
    by_count.sort();
    let top: Vec<_> = by_count
        .iter()
        .take(10)
        .map(|(count, name)| format!("{} {}", shown(name.strip_prefix("ai.onnx:").unwrap_or(name)), count.0))
        .collect();
    let more =
        if by_count.len() > top.len() { format!(", {} more", by_count.len() - top.len()) } else { String::new() };
    format!("{}{more}", top.join(", "))
}

/// A number as people say it: `22.7 million`.
fn count(number: u64) -> String {
    match number {
        0..100_000 => number.to_string(),
        100_000..1_000_000 => format!("{} thousand", number / 1000),
        1_000_000..1_000_000_000 => format!("{:.1} million", number as f64 / 1e6),
        _ => format!("{:.1} billion", number as f64 / 1e9),
    }
}

/// Bytes in decimal units, as file managers and registries show them.
fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.2} GB", number as f64 / 1e9),
    }
}

/// A text from the model, made harmless for a terminal: control characters are written out.
fn shown(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { c.escape_unicode().to_string() } else { c.into() }).collect()
}

/// Control characters, and those that turn the direction of the text around.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text from the model, harmless and on one line.
fn shortened(text: &str, most: usize) -> String {
    let text = shown(&text.chars().take(most + 1).collect::<String>().replace(['\n', '\r', '\t'], " "));
    if text.chars().count() <= most { text } else { text.chars().take(most).chain(['…']).collect() }
}
