//! The whole command line: the built `nimify` is run as people run it, and its exit code, its words and what lies on
//! disk afterwards are held against what they should be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/command.rs"]
mod command;
#[path = "../support/fake.rs"]
mod fake;
#[path = "../support/made.rs"]
mod made;

mod bad_config;
mod bad_models;
mod bad_places;
mod bad_tools;
mod create;
mod determinism;
mod engines;
mod hooks;
mod interrupted;
mod prompts;
mod serve;
mod triton;
mod trust;
mod words;
