//! The serving library behind every service that nimify makes.
//!
//! A request goes one way through it: bytes → [`codec`] → values → [`batching`] → [`engine`] → values → [`codec`] →
//! bytes. [`inference`] says so once for every protocol, [`http`], [`grpc`] and [`lifecycle`] carry it; [`service`] is
//! where a generated crate joins in.

use std::path::PathBuf;
use std::process::ExitCode;

mod access;
mod app;
pub mod arguments;
pub mod batching;
pub mod cgroup;
pub mod client;
pub mod codec;
pub mod engine;
pub mod environment;
pub mod error;
pub mod grpc;
pub mod healthcheck;
pub mod http;
pub mod inference;
pub mod lifecycle;
pub mod logging;
mod memory;
pub mod metrics;
pub mod model_config;
pub mod narrow;
mod numbers;
mod nvml;
mod progress;
pub mod repository;
pub mod request;
mod rows;
pub mod service;
pub mod settings;
pub mod signature;
#[cfg(feature = "sources")]
pub mod sources;
pub mod state;
pub mod statistics;
pub mod tensor;
mod tls;
pub mod trace;

use arguments::Command;
use service::Service;

/// The whole `main` of a service: reads the command line and serves, checks the health of the service that runs, or
/// sends a request to one. Exit codes: 0 served and drained, healthy, or answered with 200; 1 not healthy, or another
/// answer; 2 a wrong command line; otherwise as [`lifecycle::serve`] says.
pub fn main(service: &'static dyn Service) -> ExitCode {
    engine::turn_off_telemetry();
    match arguments::parse(std::env::args_os().skip(1), beside_executable()) {
        Ok(Command::Serve(file)) => lifecycle::serve(&file, service).exit(),
        Ok(Command::Healthcheck(file)) => match healthcheck::check(&file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Request { url, body }) => match request::send(&url, body.as_deref()) {
            Ok(status) => {
                println!("{status}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Version) => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            println!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
    }
}

fn beside_executable() -> PathBuf {
    let folder = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    folder.unwrap_or_default().join("service.json")
}
