//! A model file → another one: the graph as ONNX Runtime's optimizations have rewritten it.

use std::panic::AssertUnwindSafe;
use std::path::Path;

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use super::session::load_error;
use super::{EngineError, Provider, assignment, library, message};

/// How far a graph is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What keeps its meaning under every provider: constants folded, what nobody uses removed.
    Basic,
    /// Also operators fused into those that the CPU has kernels for. What depends on the kind of CPU is left to the
    /// start of the service: layouts of memory, weights packed for its instructions.
    Extended,
}

/// Weights from this size on stand in the file beside the graph, where there is one, bytes: what is smaller is looked at
/// by the optimizations that are left, and would be read through the map anyway.
const BESIDE_FROM: usize = 1024;

/// Writes the rewritten graph to `to`, and its weights to the file of the name `weights` beside it; without a name they
/// stand in the graph's own file. The same model and library give the same bytes.
///
/// # Errors
/// The model doesn't load, or a file can't be written: [`EngineError::Load`] either way.
pub fn rewrite(model: &Path, to: &Path, extent: Extent, weights: Option<&str>) -> Result<(), EngineError> {
    let environment = library::environment()?;
    let level = match extent {
        Extent::Basic => GraphOptimizationLevel::Level1,
        Extent::Extended => GraphOptimizationLevel::Level2,
    };
    // `ort` panics on types that it has no name for.
    let written = std::panic::catch_unwind(AssertUnwindSafe(|| -> ort::Result<Session> {
        let mut builder = Session::builder(environment)?
            .with_optimization_level(level)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            // Packed weights are not written, and take as long to make as all the rest.
            .with_prepacking(false)?
            .with_optimized_model_path(to)?;
        if let Some(weights) = weights {
            let least = BESIDE_FROM.to_string();
            builder = builder
                .with_config_entry("session.optimized_model_external_initializers_file_name", weights)?
                .with_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", least)?;
        }
        builder.commit_from_file(model)
    }));
    match written {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(reason)) => Err(load_error(model, &reason)),
        Err(_) => Err(EngineError::Load { path: model.into(), reason: "it has a type that can't be served".into() }),
    }
}

/// The providers other than the CPU that are compiled into the library, wanted or not.
pub fn accelerators() -> Result<Vec<Provider>, EngineError> {
    library::environment()?;
    let names = assignment::compiled_in();
    let names = names.map_err(|reason| EngineError::Start { reason: message::clean(reason.message()) })?;
    let there = |provider: &Provider| names.iter().any(|name| name == provider.onnxruntime_name());
    Ok(Provider::ALL.into_iter().filter(|provider| *provider != Provider::Cpu).filter(there).collect())
}
