//! What the file of a TensorRT engine doesn't say: asked for on a terminal, and kept in `nimify.yaml`.

use std::num::NonZeroU32;

use crate::config::{Config, TensorRt, TensorText};
use crate::model::{self, ModelDescription};

use super::failure::Failure;
use super::prompts;

/// Asks what the engine takes and gives.
pub(super) fn ask(description: &ModelDescription, told: TensorRt) -> Result<TensorRt, Failure> {
    let inputs = tensors("Inputs (NAME:TYPE[SIZES], with spaces between)", &likely_input(description))?;
    let outputs = tensors("Outputs", "")?;
    Ok(TensorRt { inputs, outputs, ..told })
}

fn tensors(question: &'static str, default: &str) -> Result<Vec<TensorText>, Failure> {
    let read = |text: &str| {
        let tensors: Result<Vec<TensorText>, _> = text.split_whitespace().map(str::parse).collect();
        let tensors = tensors.map_err(|error: crate::config::NotAWord| error.to_string())?;
        if tensors.is_empty() { Err("there is at least one".to_string()) } else { Ok(tensors) }
    };
    let text = prompts::text(question, default, move |text| read(text).map(drop))?;
    Ok(read(&text).expect("it was checked as it was given"))
}

/// The input that Ultralytics' exports have, by what they say of themselves.
fn likely_input(description: &ModelDescription) -> String {
    let said = |key: &str| description.contents.metadata.get(key).map(String::as_str);
    let numbers = |text: &str| -> Option<Vec<u32>> {
        text.trim_matches(['[', ']']).split(',').map(|number| number.trim().parse().ok()).collect()
    };
    let (Some([height, width]), Some([batch])) = (
        said("imgsz").and_then(numbers).as_deref().map(|sizes| <[u32; 2]>::try_from(sizes).ok()).unwrap_or_default(),
        said("batch").and_then(numbers).as_deref().map(|sizes| <[u32; 1]>::try_from(sizes).ok()).unwrap_or_default(),
    ) else {
        return String::new();
    };
    format!("images:float32[{batch},3,{height},{width}]")
}

/// Keeps what is told of the engine, so that a build asks no file beside it.
pub(super) fn write(description: &ModelDescription, config: &mut Config) {
    let Some(declared) = description.declared() else { return };
    let texts = |specs: &[nimify_runtime::signature::ValueSpec]| {
        // A name that can't be written so is asked of the file beside the engine again.
        let texts: Option<Vec<TensorText>> = specs.iter().map(|spec| model::tensor_text(spec)?.parse().ok()).collect();
        texts.unwrap_or_default()
    };
    let (inputs, outputs) = (texts(&declared.inputs), texts(&declared.outputs));
    let whole = !inputs.is_empty() && !outputs.is_empty();
    let (inputs, outputs) = if whole { (inputs, outputs) } else { (Vec::new(), Vec::new()) };
    let compute_capability = declared.compute_capability.and_then(|capability| capability.to_string().parse().ok());
    let rows = declared.max_batch_size.and_then(NonZeroU32::new);
    config.tensorrt = TensorRt { inputs, outputs, compute_capability, max_batch_size: rows };
    config.batching.max_batch_size = config.batching.max_batch_size.or(rows);
}
