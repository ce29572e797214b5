//! Questions, on a terminal only; each has its flag and a default that Enter takes.

use std::io::{ErrorKind, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use dialoguer::Input;
use dialoguer::theme::ColorfulTheme;
use rustix::termios::OptionalActions;

use super::exit::Exit;
use super::failure::{self, Failure};
use crate::interrupt;

/// Whether anybody is there to answer.
pub(super) fn possible(yes: bool) -> bool {
    !yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a text until `check` takes it.
pub(super) fn text(
    question: &'static str,
    default: &str,
    check: impl Fn(&str) -> Result<(), String> + Send + 'static,
) -> Result<String, Failure> {
    let before = rustix::termios::tcgetattr(std::io::stdin());
    let (sender, answers) = mpsc::channel();
    let default = default.to_string();
    // In a thread of its own: whoever waits for a key sees no signal, and the terminal has to be given back as it was.
    std::thread::spawn(move || {
        let answer = Input::with_theme(&ColorfulTheme::default())
            .with_prompt(question)
            .default(default)
            .validate_with(|answer: &String| check(answer))
            .interact_text();
        // Nobody listens any more after a signal.
        _ = sender.send(answer);
    });
    let failed = |reason: String| Failure::say(Exit::Usage, format!("could not ask for the {question}: {reason}"));
    let answer = loop {
        match answers.recv_timeout(Duration::from_millis(50)) {
            Ok(Err(dialoguer::Error::IO(error))) if error.kind() != ErrorKind::Interrupted => {
                return Err(failed(error.to_string()));
            }
            Ok(answer) => break answer.ok(),
            Err(RecvTimeoutError::Disconnected) => return Err(failed("the question was broken off".into())),
            Err(RecvTimeoutError::Timeout) if interrupt::check().is_err() => {
                // A moment for the other thread to come back by itself.
                _ = answers.recv_timeout(Duration::from_millis(250));
                break None;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    answer.ok_or_else(|| {
        if let Ok(before) = &before {
            _ = rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        // Below the line of the question.
        eprintln!();
        failure::interrupted()
    })
}
