//! The `nimify` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    nimify::cli::main()
}
