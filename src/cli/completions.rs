//! `nimify completions SHELL`.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::failure::Outcome;

pub(super) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nimify", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
