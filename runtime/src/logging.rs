//! Structured logs on stderr: lines for people, or one JSON object a line. Never a payload.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Something that is said once a second at most: under overload, a line a request would be load itself.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<Said>);

#[derive(Debug)]
struct Said {
    last: Option<Instant>,
    kept: u64,
}

impl Seldom {
    /// Nothing has been said.
    pub(crate) const fn new() -> Seldom {
        Seldom(Mutex::new(Said { last: None, kept: 0 }))
    }

    /// How often it has happened since it was last said, if it may be said now.
    pub(crate) fn happened(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        said.kept += 1;
        if said.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            return None;
        }
        said.last = Some(Instant::now());
        Some(std::mem::take(&mut said.kept))
    }
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The least severe level that is written.
    pub level: Level,
    /// How a line is written.
    pub format: Format,
    /// From this level on each request is a line.
    pub access: Level,
}

/// What the lines of requests are marked with.
pub(crate) const ACCESS: &str = "nimify_access";

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { level: Level::default(), format: Format::default(), access: Level(LevelFilter::DEBUG) }
    }
}

impl LogSettings {
    /// Of the lines of requests, which are of the level `info` themselves: all or none.
    fn requests(&self) -> LevelFilter {
        let written = self.access.0 != LevelFilter::OFF && self.level.0 >= self.access.0;
        if written { LevelFilter::INFO } else { LevelFilter::OFF }
    }
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl Default for Level {
    fn default() -> Self {
        Level(LevelFilter::INFO)
    }
}

impl Level {
    /// Reads `off`, `error`, `warn`, `info`, `debug` or `trace`, in any case.
    pub fn parse(text: &str) -> Result<Self, String> {
        let level = match text.to_ascii_lowercase().as_str() {
            "off" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" | "warning" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => {
                return Err(format!(
                    "`{text}` is not a log level: write `off`, `error`, `warn`, `info`, `debug` or `trace`"
                ));
            }
        };
        Ok(Level(level))
    }

    /// The same with the levels that NIM has besides.
    pub fn from_nim(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "default" => Ok(Level::default()),
            "critical" => Ok(Level(LevelFilter::ERROR)),
            _ => Level::parse(text),
        }
    }
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads `text` or `json`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("`{text}` is not a log format: write `text` or `json`")),
        }
    }
}

/// Begins to log. A process that logs already, as a test does, goes on as it did.
pub fn start(settings: LogSettings) {
    // Other crates' details drown what the service has to say; only their trouble is of interest.
    let others = settings.level.0.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(others)
        .with_target("nimify_runtime", settings.level.0)
        .with_target("service", settings.level.0)
        .with_target(ACCESS, settings.requests());
    let registry = tracing_subscriber::registry().with(targets);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let started = match settings.format {
        Format::Text => registry.with(lines.with_ansi(false)).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a fault of the service")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_from_a_level_on() {
        for (level, access, written) in [
            ("info", "debug", false),
            ("debug", "debug", true),
            ("info", "info", true),
            ("warn", "info", false),
            ("trace", "off", false),
            ("off", "off", false),
        ] {
            let parse = |text| Level::parse(text).unwrap();
            let settings = LogSettings { level: parse(level), access: parse(access), format: Format::Text };
            assert_eq!(settings.requests() == LevelFilter::INFO, written, "{level} {access}");
        }
        assert_eq!(LogSettings::default().access, Level::parse("debug").unwrap());
    }

    #[test]
    fn levels_and_formats_are_read_or_refused() {
        assert_eq!(Level::parse("INFO").unwrap(), Level::default());
        assert_eq!(Level::from_nim("critical").unwrap(), Level::parse("error").unwrap());
        assert!(Level::parse("loud").unwrap_err().contains("loud"));
        assert!(Level::parse("default").is_err());
        assert_eq!(Format::parse("json").unwrap(), Format::Json);
        assert!(Format::parse("xml").is_err());
    }
}
