//! The generic service: any model that a `service.json` names, without hooks.

use std::process::ExitCode;

fn main() -> ExitCode {
    nimify_runtime::main(&nimify_runtime::service::Generic)
}
