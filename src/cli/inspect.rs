//! `nimify inspect MODEL`.

use crate::cache::Cache;
use crate::model::{self, ModelDescription};
use crate::pipeline;
use crate::probe::{self, ProbeReport};

use super::args::{Format, InspectArgs};
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &InspectArgs) -> Outcome {
    let path = super::model::fetch(&args.model, args.offline, args.plain_http, false)?.path;
    let mut description = super::model::read(&path, &args.tensorrt.config())?;
    let unseen = probe::unseen(&description).filter(|_| args.probe);
    description.contents.warnings.extend(unseen.iter().flat_map(|report| report.warnings.clone()));
    let report = if args.probe && unseen.is_none() { Some(probe(args, &description)?) } else { None };
    if let Some(report) = &report {
        description.contents.signature.batching = report.batching.clone();
        description.contents.signature.outputs = report.outputs.clone();
        description.contents.warnings.extend(report.warnings.iter().cloned());
    }
    match args.format {
        Format::Text => {
            super::print(&model::text(&description))?;
            report.map_or(Ok(()), |report| super::print(&probed(&report)))
        }
        Format::Json => {
            let mut json = serde_json::to_value(&description).expect("a description is texts and numbers");
            if let Some(report) = report {
                let sample = report.sample.map(|sample| sample.request);
                json["probe"] = serde_json::json!({ "measured": report.measured, "sample": sample });
            }
            super::print_json(&json)
        }
    }
}

fn probe(args: &InspectArgs, description: &ModelDescription) -> Result<ProbeReport, Failure> {
    let cache = Cache::from_environment().map_err(Failure::from)?;
    let library = pipeline::locate_onnxruntime(&cache, args.offline).map_err(Failure::from)?;
    let sample = args.sample.as_deref().map(pipeline::read_sample).transpose().map_err(Failure::from)?;
    let triton = super::model::triton(&args.model)?;
    let (operators, said) =
        super::model::named_operators(&args.custom_ops, triton.as_ref(), description.engine.is_some());
    super::model::warn(&said);
    let operators = super::model::operators(&operators)?;
    let request = pipeline::probe_request(description, &library.path, &operators, sample).map_err(Failure::from)?;
    probe::probe(&request).map_err(|error| Failure::from(pipeline::Error::from(error)))
}

/// What the probe measured, below the static report.
fn probed(report: &ProbeReport) -> String {
    let measured = &report.measured;
    let mut text =
        format!("\nProbed with ONNX Runtime {}\n  load      {:.1} ms\n", measured.ort_version, measured.load_ms);
    if let Some(run_us) = measured.run_us {
        text += &format!("  one run   {run_us:.0} µs\n");
    }
    if let Some(bytes) = measured.resident_bytes {
        text += &format!("  resident  {} MiB\n", bytes >> 20);
    }
    if let Some(sample) = &report.sample {
        text += &format!("  sample    {}\n", shortened(&sample.request));
    }
    text
}

/// One line of at most 100 characters.
fn shortened(json: &str) -> String {
    let line: String = json.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 100 { line } else { line.chars().take(99).chain(['…']).collect() }
}
