//! `nimify run MODEL`: serves at once, in this process.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use nimify_runtime::service::Generic;

use crate::cache::Cache;
use crate::config::Config;
use crate::confine;
use crate::interrupt;
use crate::model::{self, ModelDescription};
use crate::pipeline::{self, ServeRequest};
use crate::probe;
use crate::source::TritonModel;

use super::args::RunArgs;
use super::exit::Exit;
use super::failure::{self, Failure};
use super::{create, report};

/// gRPC's usual port.
const GRPC_PORT: u16 = 8001;
/// Where the C library looks for locales.
const LOCALE_PATH: &str = "LOCPATH";

pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let path = super::model::fetch(&args.model, args.offline, args.plain_http, false)?.path;
    let description = super::model::read(&path, &args.tensorrt.config())?;
    know_locales(&description)?;
    let cache = Cache::from_environment()?;
    let library = pipeline::locate_onnxruntime(&cache, args.offline)?;
    let triton = super::model::triton(&args.model)?;
    let (operators, said) =
        super::model::named_operators(&args.custom_ops, triton.as_ref(), description.engine.is_some());
    super::model::warn(&said);
    let operators = super::model::operators(&operators)?;
    let derived = model::wrap(&description)?;
    let probe = if let Some(unseen) = probe::unseen(&description) {
        Some(unseen)
    } else if args.no_probe {
        None
    } else {
        let sample = args.sample.as_deref().map(pipeline::read_sample).transpose()?;
        Some(probe::probe(&pipeline::probe_request(&description, &library.path, &operators, sample)?)?)
    };
    let of_probe = probe.iter().flat_map(|report| &report.warnings);
    for warning in description.contents.warnings.iter().chain(of_probe) {
        eprintln!("warning: {warning}");
    }
    if !description.side_files.is_empty() {
        eprintln!("side files {}", report::sides(description.side_files.iter().map(|side| side.name.as_str())));
    }
    let config = config(args, &description, triton.as_ref())?;
    let folder = pipeline::service_folder(&ServeRequest {
        config: &config,
        description: &description,
        derived: derived.as_ref(),
        probe: probe.as_ref(),
        onnxruntime: &library.path,
        operators: &operators,
        port: args.port,
        grpc_port: args.grpc_port.unwrap_or(if args.port == 0 { 0 } else { GRPC_PORT }),
    })?;
    let ended = nimify_runtime::lifecycle::serve(&folder.path().join("service.json"), &Generic);
    drop((folder, derived));
    // The runtime has logged a reason to fail, and its codes are the command line's own.
    Ok(ended.exit())
}

/// Has the process know the locales that the model names. The C library reads from the environment where it finds them,
/// and what a process changes there while it runs isn't safe to read: so the process begins anew.
fn know_locales(description: &ModelDescription) -> Result<(), Failure> {
    let path = pipeline::locale_path(description)?;
    let Some(path) = path.filter(|path| std::env::var_os(LOCALE_PATH).as_ref() != Some(path)) else { return Ok(()) };
    let itself = confine::itself();
    // What was noted of signals ends with this process.
    interrupt::check().map_err(|_| failure::interrupted())?;
    let begun =
        itself.map(|itself| Command::new(itself).args(std::env::args_os().skip(1)).env(LOCALE_PATH, path).exec());
    let error = begun.unwrap_or_else(|error| error);
    Err(Failure::say(Exit::Internal, format!("can't start `nimify run` again with the model's locales: {error}")))
}

fn config(args: &RunArgs, description: &ModelDescription, triton: Option<&TritonModel>) -> Result<Config, Failure> {
    let model = &description.path;
    let own_name = || triton.map_or_else(|| create::default_name(&args.model, model), |triton| triton.name.clone());
    let name = args.name.clone().unwrap_or_else(own_name);
    let mut config = Config::new(create::word(&name, "--name")?, create::word(&model.to_string_lossy(), "MODEL")?);
    config.server.host = Some(args.host.clone());
    config.state.pairs.clone_from(&args.state);
    if let Some(triton) = triton {
        super::model::warn(&config.carry_state(&triton.config, &description.contents.signature));
    }
    // The service's own paths are relative to its folder.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    config.server.tls.certificate = args.tls_cert.as_ref().map(absolute);
    config.server.tls.key = args.tls_key.as_ref().map(absolute);
    config.check().map_err(|fault| Failure::say(Exit::Config, fault.to_string()))?;
    Ok(config)
}
