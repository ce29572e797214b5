//! The generic service: any model that a `service.json` names, without hooks.

use std::process::ExitCode;

use nimify_runtime::service::Generic;

fn main() -> ExitCode {
    nimify_runtime::main(&Generic)
}
