//! What a person reads when a command fails: what was attempted, why it failed, and what to do.

use std::fmt::Write as _;

use super::exit::Exit;
use crate::interrupt;

/// A failed command.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code it ends with.
    pub(super) exit: Exit,
    /// What was attempted and failed, then each cause beneath it.
    pub(super) messages: Vec<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
}

/// The result of every command.
pub(super) type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure with the error and its sources as messages.
    pub(super) fn new(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut messages = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some errors repeat their source in their own text.
            if !messages.last().is_some_and(|last| last.contains(&text)) {
                messages.push(text);
            }
            source = cause.source();
        }
        Failure { exit, messages, hint: None }
    }

    /// A failure in plain words.
    pub(super) fn say(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, messages: vec![message.into()], hint: None }
    }

    /// Adds what to do.
    pub(super) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().or(self.hint);
        self
    }

    /// The text for standard error.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (k, message) in self.messages.iter().enumerate() {
            let label = if k == 0 { "error" } else { "cause" };
            let mut lines = message.trim_end().lines();
            let _ = writeln!(text, "{label}: {}", lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(text, "       {line}");
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, " hint: {}", hint.trim_end().replace('\n', "\n       "));
        }
        // Names of others' files are told as they are, but for what a terminal takes as an order.
        text.retain(|c| !c.is_control() || c == '\n');
        text
    }
}

/// Turns an I/O error on a path into a failure: the path, the system's word, and the hint for the common ones.
pub(super) fn files(attempt: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    if interrupt::check().is_err() {
        return interrupted();
    }
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some(
            "free some space on that disk: `nimify doctor` shows how much the cache takes and prunes it with `--fix`",
        ),
        ErrorKind::PermissionDenied => Some("check who owns the path and its permissions"),
        ErrorKind::ReadOnlyFilesystem => Some("choose a folder that can be written with `--output`"),
        _ => None,
    };
    Failure::say(Exit::Files, format!("could not {attempt} `{}`: {error}", path.display())).hint(hint.map(String::from))
}

/// The failure after Ctrl-C.
pub(super) fn interrupted() -> Failure {
    Failure::say(Exit::Interrupted, "interrupted; nothing is left half written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_error_causes_and_hint() {
        let mut failure = Failure::say(Exit::Model, "`m.onnx` can't be read").hint("look\nthere".to_string());
        failure.messages.push("line one\nline two".into());
        assert_eq!(
            failure.text(),
            "error: `m.onnx` can't be read\ncause: line one\n       line two\n hint: look\n       there\n"
        );
    }

    #[test]
    fn a_full_disk_has_its_hint() {
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let failure = files("write", std::path::Path::new("/out"), &error);
        assert_eq!(failure.exit, Exit::Files);
        assert!(failure.hint.unwrap().contains("doctor"));
    }
}
