//! The command line: the only place with words for people, prompts, progress and exit codes.

mod args;
mod build;
mod bundle;
mod completions;
mod create;
mod deploy;
mod diff;
mod doctor;
mod engine;
mod environment;
pub mod exit;
mod explain;
mod failure;
mod history;
mod inspect;
mod keys;
mod load;
mod model;
mod progress;
mod promote;
mod prompts;
mod push;
mod report;
mod rollback;
mod run;
mod schema;
mod sign;
mod stage_failures;
mod status;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::args::{Cli, Command};
use self::failure::{Failure, Outcome};
use crate::{optimize, probe};

/// Every command with its flags, as clap has them: what the reference page is made of.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    nimify_runtime::engine::turn_off_telemetry();
    // The other halves of stages that load a model, which no person calls: they answer signals by dying.
    match std::env::args_os().nth(1) {
        Some(word) if word == probe::SUBCOMMAND => return probe::child_main(std::io::stdin(), std::io::stdout()),
        Some(word) if word == optimize::SUBCOMMAND => return optimize::child_main(std::io::stdin(), std::io::stdout()),
        _ => {}
    }
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprint!("{}", failure.text());
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    // A service answers signals itself.
    if let Command::Run(args) = cli.command {
        return run::run(&args);
    }
    if let Err(error) = crate::interrupt::listen() {
        eprintln!("warning: Ctrl-C may leave temporary folders behind: {error}");
    }
    done(cli.command).map(|()| exit::Exit::Done.into())
}

fn done(command: Command) -> Outcome {
    match command {
        Command::Inspect(args) => inspect::run(&args),
        Command::Create(args) => create::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Push(args) => push::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Deploy(args) => deploy::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Rollback(args) => rollback::run(&args),
        Command::Promote(args) => promote::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::History(args) => history::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema => schema::run(),
        Command::Explain(args) => explain::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Run(_) => unreachable!("answered before"),
    }
}

/// Prints data to standard output. A reader that has gone away is no failure.
fn print(text: &str) -> Outcome {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::say(exit::Exit::Files, format!("could not write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON to standard output.
fn print_json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string_pretty(value).expect("the reports have text keys only");
    print(&format!("{text}\n"))
}
