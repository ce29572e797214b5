//! `nimify schema`.

use super::failure::Outcome;

pub(super) fn run() -> Outcome {
    super::print_json(&crate::config::schema())
}
