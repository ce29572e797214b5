//! Questions, on a terminal only; each has its flag and a default that Enter takes.

use std::io::IsTerminal;

use dialoguer::Input;
use dialoguer::theme::ColorfulTheme;

use super::exit::Exit;
use super::failure::{self, Failure};

/// Whether anybody is there to answer.
pub(super) fn possible(yes: bool) -> bool {
    !yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks for a text until `check` takes it.
pub(super) fn text(
    question: &str,
    default: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, Failure> {
    Input::with_theme(&ColorfulTheme::default())
        .with_prompt(question)
        .default(default.to_string())
        .validate_with(|answer: &String| check(answer))
        .interact_text()
        .map_err(|dialoguer::Error::IO(error)| match error.kind() {
            std::io::ErrorKind::Interrupted => failure::interrupted(),
            _ => Failure::say(Exit::Usage, format!("could not ask for the {question}: {error}")),
        })
}
