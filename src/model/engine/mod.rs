//! A TensorRT engine: its header, what is told of it beside it, and the ONNX model of one node that runs it.
//!
//! An engine is native code for one version of TensorRT and one architecture of GPU. Its file says which TensorRT built
//! it; what it takes and gives stands in no documented place in it. That comes from whoever made it: flags or
//! `nimify.yaml`, `signature.json` or Triton's `config.pbtxt` beside it ([`beside`]).

mod beside;
mod declared;
mod header;
mod wrap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nimify_runtime::signature::ModelSignature;
use serde::{Deserialize, Serialize};

pub use declared::{ComputeCapability, Declared, NotATensor, parse_tensor, tensor_text};
pub(super) use header::is_engine;
pub use header::{Header, TensorRtVersion, header};
pub use wrap::wrap;

use super::batching::verdict;
use super::contents::Contents;
use super::error::Error;

/// What is known of an engine besides its inputs and outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// The TensorRT that built it; `None` for engines of TensorRT 8 and older, whose header is another.
    pub tensorrt: Option<TensorRtVersion>,
    /// First byte of the engine itself: exporters put a description of their own before it.
    pub offset: u64,
    /// The compute capability of the GPUs that it was built for, where somebody says.
    pub compute_capability: Option<ComputeCapability>,
    /// Most rows in one run, where Triton's configuration says that there are rows.
    pub max_batch_size: Option<u32>,
    /// Who says what it takes and gives; `None` where nobody does.
    pub told_by: Option<String>,
}

/// Describes the engine at `path`, whose first bytes are `head`. What is `declared` beats the files beside it.
pub(super) fn describe(path: &Path, head: &[u8], size: u64, declared: &Declared) -> Result<(Engine, Contents), Error> {
    let Header { offset, tensorrt, metadata } =
        header(head, size).map_err(|fault| Error::Contents { path: path.into(), fault })?;
    let beside = if declared.is_whole() { None } else { beside::find(path)? };
    let mut told = declared.clone();
    let mut told_by = declared.is_whole().then(|| "the user".to_string());
    if let Some((name, other)) = beside {
        if !declared.is_whole() {
            (told.inputs, told.outputs) = (other.inputs, other.outputs);
            told_by = Some(name);
        }
        told.compute_capability = told.compute_capability.or(other.compute_capability);
        told.max_batch_size = told.max_batch_size.or(other.max_batch_size);
    }
    let Declared { inputs, outputs, compute_capability, max_batch_size } = told;
    let contents = contents(ModelSignature { batching: verdict(&inputs, &outputs, &[]), inputs, outputs }, metadata);
    Ok((Engine { tensorrt, offset, compute_capability, max_batch_size, told_by }, contents))
}

/// What a graph would say, as far as an engine has it.
fn contents(signature: ModelSignature, metadata: BTreeMap<String, String>) -> Contents {
    let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    Contents {
        ir_version: 0,
        opsets: BTreeMap::new(),
        producer_name: text("author"),
        producer_version: text("version"),
        domain: String::new(),
        model_version: 0,
        doc: text("description"),
        metadata,
        signature,
        operators: BTreeMap::new(),
        custom_operators: BTreeMap::new(),
        parameters: 0,
        parameter_bytes: 0,
        parameter_types: BTreeMap::new(),
        row_coupling: BTreeSet::new(),
        input_hints: BTreeMap::new(),
        locales: BTreeSet::new(),
        warnings: vec![
            "a TensorRT engine is native code: trust it only as you would a program; it runs by the TensorRT and on the \
             GPUs that it was built for alone"
                .into(),
        ],
        external: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
