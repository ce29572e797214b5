//! `nimify run MODEL`: serves at once, in this process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nimify_runtime::service::Generic;

use crate::cache::Cache;
use crate::config::Config;
use crate::model;
use crate::pipeline::{self, ServeRequest};
use crate::probe;

use super::args::RunArgs;
use super::create;
use super::exit::Exit;
use super::failure::Failure;

/// gRPC's usual port.
const GRPC_PORT: u16 = 8001;

pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let path = super::model::fetch(&args.model, args.offline, args.plain_http, false)?.path;
    let description = super::model::read(&path, &args.tensorrt.config())?;
    let cache = Cache::from_environment()?;
    let library = pipeline::locate_onnxruntime(&cache, args.offline)?;
    let operators = super::model::operators(&args.custom_ops)?;
    let derived = model::wrap(&description)?;
    let probe = if let Some(unseen) = probe::unseen(&description) {
        Some(unseen)
    } else if args.no_probe {
        None
    } else {
        let sample = args.sample.as_deref().map(pipeline::read_sample).transpose()?;
        Some(probe::probe(&pipeline::probe_request(&description, &library.path, &operators, sample)?)?)
    };
    for warning in probe.iter().flat_map(|report| &report.warnings) {
        eprintln!("warning: {warning}");
    }
    let triton = super::model::triton(&args.model)?;
    let config = config(args, &description.path, triton.map(|triton| triton.name))?;
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

fn config(args: &RunArgs, model: &Path, own_name: Option<String>) -> Result<Config, Failure> {
    let own_name = || own_name.unwrap_or_else(|| create::default_name(&args.model, model));
    let name = args.name.clone().unwrap_or_else(own_name);
    let mut config = Config::new(create::word(&name, "--name")?, create::word(&model.to_string_lossy(), "MODEL")?);
    config.server.host = Some(args.host.clone());
    // The service's own paths are relative to its folder.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    config.server.tls.certificate = args.tls_cert.as_ref().map(absolute);
    config.server.tls.key = args.tls_key.as_ref().map(absolute);
    config.check().map_err(|fault| Failure::say(Exit::Config, fault.to_string()))?;
    Ok(config)
}
