//! A model → a folder that the runtime serves from, without an image: what `nimify run` does.

use std::path::Path;

use tempfile::TempDir;

use super::Error;
use super::error::files;
use super::service_files;
use crate::config::Config;
use crate::image::operators::OperatorLibrary;
use crate::model::{Derived, ModelDescription};
use crate::plan;
use crate::probe::ProbeReport;
use crate::{files as trees, openapi};

/// What is to be served, and where.
#[derive(Debug)]
pub struct ServeRequest<'a> {
    /// Names and settings.
    pub config: &'a Config,
    /// The model.
    pub description: &'a ModelDescription,
    /// What is served in its place, if something is.
    pub derived: Option<&'a Derived>,
    /// What running it showed; `None` serves it unbatched.
    pub probe: Option<&'a ProbeReport>,
    /// ONNX Runtime's library.
    pub onnxruntime: &'a Path,
    /// Libraries of custom operators.
    pub operators: &'a [OperatorLibrary],
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// gRPC port; 0 lets the system choose.
    pub grpc_port: u16,
}

/// Writes the folder: `service.json` and what it names. It is gone when the value is dropped.
pub fn service_folder(request: &ServeRequest<'_>) -> Result<TempDir, Error> {
    let mut plan = plan::plan(request.config, request.description, request.probe)?;
    let mut model = &request.description.path;
    if let Some(derived) = request.derived {
        plan.serve_files_of(derived);
        model = &derived.graph().path;
    }
    plan.settings.model.path = std::path::absolute(model).map_err(files("find", model))?;
    for (side, found) in plan.settings.model.side_files.iter_mut().zip(&request.description.side_files) {
        side.path = std::path::absolute(&found.path).map_err(files("find", &found.path))?;
    }
    plan.settings.engine.onnxruntime = Some(request.onnxruntime.into());
    let absolute = |library: &OperatorLibrary| std::path::absolute(&library.path).map_err(files("find", &library.path));
    plan.settings.engine.custom_ops = request.operators.iter().map(absolute).collect::<Result<_, _>>()?;
    plan.settings.server.port = request.port;
    plan.settings.server.grpc_port = Some(request.grpc_port);
    let document = openapi::to_json(&openapi::describe(&plan));
    let folder = tempfile::Builder::new().prefix("nimify-run-").tempdir();
    let folder = folder.map_err(files("make a folder in", &std::env::temp_dir()))?;
    trees::write_tree(folder.path(), &service_files::described(&plan, &document))
        .map_err(files("write to", folder.path()))?;
    Ok(folder)
}
