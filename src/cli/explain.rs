//! `nimify explain CODE`.

use super::args::ExplainArgs;
use super::exit::Exit;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &ExplainArgs) -> Outcome {
    let Some(exit) = Exit::ALL.into_iter().find(|exit| exit.code() == args.code) else {
        let known: Vec<_> = Exit::ALL.iter().map(|exit| exit.code().to_string()).collect();
        return Err(Failure::say(Exit::Usage, format!("no command ends with the code {}", args.code))
            .hint(format!("the codes are {}", known.join(", "))));
    };
    super::print(&format!("{}: {}\n\n{}\n", exit.code(), exit.meaning(), exit.advice()))
}
