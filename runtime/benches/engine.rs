//! What the engine's choices bring, as ratios within one run: each side in a process of its own, in turn.
//!
//! `NIMIFY_ONNXRUNTIME=… cargo bench -p nimify-runtime --bench engine -- MODEL.onnx [SIZE]`. The model should be one with
//! weights; free dimensions but the first get SIZE (32).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nimify_runtime::engine::{Engine, Extent, LoadOptions, init, rewrite};
use nimify_runtime::signature::{Dim, ElementType, ValueSpec};
use nimify_runtime::tensor::{Tensor, TensorData, Value};

/// Processes of each side, the best tenth of which counts.
const ROUNDS: usize = 9;

/// What one process found.
#[derive(Debug, Clone, Copy)]
struct Found {
    load_ms: f64,
    run_ms: f64,
    /// Memory that is the process's own; mapped weights are not.
    own_mib: f64,
}

/// One way to load the model.
const SIDES: [(&str, &str); 7] = [
    ("original", "the user's file"),
    ("prepared", "the prepared graph"),
    ("unoptimized", "the user's file, never rewritten"),
    ("planned", "the user's file, memory planned for each shape"),
    ("two", "the user's file, two instances"),
    ("two-prepared", "the prepared graph, two instances"),
    ("twice", "the user's file, two sessions of their own"),
];

fn input(spec: &ValueSpec, size: usize) -> Value {
    let (element_type, shape) = spec.tensor().expect("the benchmark feeds tensors");
    let size = |(k, dim): (usize, &Dim)| match dim {
        Dim::Fixed(fixed) => *fixed as usize,
        _ if k == 0 => 1,
        _ => size,
    };
    let shape: Vec<usize> = shape.dims().unwrap_or_default().iter().enumerate().map(size).collect();
    let count = shape.iter().product();
    let data = match element_type {
        ElementType::Int64 => TensorData::Int64(vec![1; count]),
        ElementType::Int32 => TensorData::Int32(vec![1; count]),
        ElementType::Float32 => TensorData::Float32((0..count).map(|k| (k % 251) as f32 / 251.0).collect()),
        other => panic!("the benchmark has no values of type {other}"),
    };
    Tensor { shape, data }.into()
}

/// Anonymous memory in use, MiB.
fn own_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process can read its own status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says RssAnon");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("it is a number") / 1024.0
}

fn measure(side: &str, library: &Path, original: &Path, prepared: &Path, size: usize) -> Found {
    init(library).expect("NIMIFY_ONNXRUNTIME is ONNX Runtime's library");
    let instances = if side.starts_with("two") { 2 } else { 1 };
    let options = LoadOptions {
        threads: instances,
        instances,
        optimize: side != "unoptimized",
        fixed_shapes: side == "planned",
        ..LoadOptions::default()
    };
    let model = if side.ends_with("prepared") { prepared } else { original };
    let before = own_mib();
    let begun = Instant::now();
    let engine = Engine::load(model, &options).expect("the model loads");
    let second = (side == "twice").then(|| Engine::load(model, &options).expect("the model loads"));
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let inputs: Vec<Value> = engine.inputs().iter().map(|spec| input(spec, size)).collect();
    let run = |engine: &Engine| {
        let inputs = inputs.clone();
        let begun = Instant::now();
        engine.run(inputs).expect("the model runs");
        begun.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..30).map(|_| run(&engine)).collect();
    times.sort_by(f64::total_cmp);
    second.iter().for_each(|engine| {
        run(engine);
    });
    Found { load_ms, run_ms: times[times.len() / 10], own_mib: own_mib() - before }
}

/// The lower decile of each figure: other work on the machine only ever adds.
fn best(found: &[Found]) -> Found {
    let lowest = |figure: fn(&Found) -> f64| {
        let mut figures: Vec<f64> = found.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 10]
    };
    Found { load_ms: lowest(|f| f.load_ms), run_ms: lowest(|f| f.run_ms), own_mib: lowest(|f| f.own_mib) }
}

fn main() {
    let library = std::env::var_os("NIMIFY_ONNXRUNTIME").expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library");
    let library = PathBuf::from(library);
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [side, original, prepared, size] = arguments.as_slice() {
        let size = size.parse().expect("a size is a number");
        let found = measure(side, &library, Path::new(original), Path::new(prepared), size);
        println!("{} {} {}", found.load_ms, found.run_ms, found.own_mib);
        return;
    }
    let Some(original) = arguments.first() else {
        println!("name a model: cargo bench -p nimify-runtime --bench engine -- MODEL.onnx [SIZE]");
        return;
    };
    let size = arguments.get(1).map_or("32", String::as_str);
    let folder = tempfile::tempdir().expect("there is room for a graph");
    let prepared = folder.path().join("model.optimized.onnx");
    init(&library).expect("NIMIFY_ONNXRUNTIME is ONNX Runtime's library");
    rewrite(Path::new(original), &prepared, Extent::Extended, Some("model.optimized.data"))
        .expect("it can be rewritten");
    let own = std::env::current_exe().expect("a process has an executable");
    let run = |side: &str| {
        let child = Command::new(&own).args([side, original.as_str()]).arg(&prepared).arg(size).output();
        let output = child.expect("it starts again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [load_ms, run_ms, own_mib] = figures[..] else { panic!("{}", String::from_utf8_lossy(&output.stderr)) };
        Found { load_ms, run_ms, own_mib }
    };
    let mut found = vec![Vec::new(); SIDES.len()];
    for _ in 0..ROUNDS {
        SIDES.iter().zip(&mut found).for_each(|((side, _), found)| found.push(run(side)));
    }
    let base = best(&found[0]);
    println!("{:<48}{:>10}{:>8}{:>10}{:>8}{:>10}{:>8}", "", "load ms", "ratio", "run ms", "ratio", "own MiB", "ratio");
    for ((_, what), found) in SIDES.iter().zip(&found) {
        let it = best(found);
        let (load, run, own) = (it.load_ms / base.load_ms, it.run_ms / base.run_ms, it.own_mib / base.own_mib);
        println!(
            "{what:<48}{:>10.1}{load:>8.2}{:>10.3}{run:>8.2}{:>10.1}{own:>8.2}",
            it.load_ms, it.run_ms, it.own_mib
        );
    }
}
