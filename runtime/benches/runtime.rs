//! What the runtime costs over what can't be avoided, as ratios within one run: absolute times depend on the machine.
//!
//! `NIMIFY_ONNXRUNTIME=… cargo bench -p nimify-runtime --bench runtime`. The two sides of a ratio
//! are taken in turn.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use nimify_runtime::codec::{predict, v2};
use nimify_runtime::engine::{Engine, LoadOptions, init};
use nimify_runtime::http::compressed;
use nimify_runtime::signature::ModelSignature;
use nimify_runtime::tensor::{Tensor, TensorData, Value};

/// Time of one call of each side, sampled in turn for about a second: the lower decile, as other work on the machine only
/// ever adds.
fn compare(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (Duration, Duration) {
    let started = Instant::now();
    ours();
    theirs();
    // Enough calls a sample that the clock's own cost doesn't show.
    let calls = (Duration::from_millis(2).as_nanos() / started.elapsed().as_nanos().max(1)).clamp(1, 1000) as u32;
    let sample = |run: &mut dyn FnMut()| {
        let started = Instant::now();
        (0..calls).for_each(|_| run());
        started.elapsed() / calls
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until || a.len() < 20 {
        a.push(sample(&mut ours));
        b.push(sample(&mut theirs));
    }
    a.sort_unstable();
    b.sort_unstable();
    (a[a.len() / 10], b[b.len() / 10])
}

fn report(what: &str, than: &str, (ours, theirs): (Duration, Duration)) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<44} {ours:>10.2?}   {ratio:>5.2} of {than} ({theirs:.2?})");
}

fn signature(input: &str, output: &str) -> ModelSignature {
    let spec = |name: &str, shape: &str| {
        format!(r#"{{"name":"{name}","kind":"tensor","elementType":"float32","shape":{shape}}}"#)
    };
    let (input, output) = (spec("x", input), spec("y", output));
    let json =
        format!(r#"{{"inputs":[{input}],"outputs":[{output}],"batching":{{"verdict":"unproved","reason":"-"}}}}"#);
    serde_json::from_str(&json).expect("the benchmark's own signature")
}

/// Floats that look like data, the same in every run.
fn floats(count: usize) -> Vec<f32> {
    (0..count as u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32).collect()
}

/// Nested arrays as a client writes them: a float32 as its shortest digits, or as those of the double that it becomes in
/// Python.
fn body(shape: &[usize], data: &[f32], doubles: bool) -> String {
    fn nest(out: &mut String, shape: &[usize], data: &mut impl Iterator<Item = String>) {
        match shape {
            [] => out.push_str(&data.next().unwrap_or_default()),
            [size, inner @ ..] => {
                out.push('[');
                for k in 0..*size {
                    if k > 0 {
                        out.push_str(", ");
                    }
                    nest(out, inner, data);
                }
                out.push(']');
            }
        }
    }
    let mut out = String::from("{\"x\": ");
    let text = |&x: &f32| if doubles { format!("{:?}", f64::from(x)) } else { format!("{x:?}") };
    nest(&mut out, shape, &mut data.iter().map(text));
    out + "}"
}

type Rows = std::collections::HashMap<String, Vec<Vec<f32>>>;
type Images = std::collections::HashMap<String, Vec<Vec<Vec<Vec<f32>>>>>;

fn codec() {
    let row = floats(16);
    let small = signature(r#"["N",16]"#, r#"["N",16]"#);
    let text = body(&[1, 16], &row, true);
    let (bytes, than) = (text.as_bytes(), "serde_json");
    let ours = || drop(black_box(predict::decode(black_box(bytes), &small)));
    let theirs = || drop(black_box(serde_json::from_slice::<Rows>(black_box(bytes))));
    report("decode [1,16], digits of doubles", than, compare(ours, theirs));

    let image = floats(3 * 224 * 224);
    let large = signature(r#"["N",3,224,224]"#, r#"["N",3,224,224]"#);
    for (doubles, name) in [(true, "digits of doubles"), (false, "shortest digits")] {
        let text = body(&[1, 3, 224, 224], &image, doubles);
        let bytes = text.as_bytes();
        let ours = || drop(black_box(predict::decode(black_box(bytes), &large)));
        let theirs = || drop(black_box(serde_json::from_slice::<Images>(black_box(bytes))));
        report(&format!("decode [1,3,224,224], {name}"), than, compare(ours, theirs));
    }

    let value = Value::Tensor(Tensor { shape: vec![1, 3, 224, 224], data: TensorData::Float32(image.clone()) });
    let nested: Vec<Vec<Vec<Vec<f32>>>> =
        vec![image.chunks(224 * 224).map(|c| c.chunks(224).map(<[f32]>::to_vec).collect()).collect()];
    let mut out = Vec::new();
    let ours = || {
        out.clear();
        predict::encode(black_box(std::slice::from_ref(&value)), &large, &mut out);
    };
    let mut other = Vec::new();
    let theirs = || {
        other.clear();
        let _ = serde_json::to_writer(&mut other, black_box(&nested));
    };
    report("encode [1,3,224,224]", than, compare(ours, theirs));

    let head =
        r#"{"inputs":[{"name":"x","shape":[1,3,224,224],"datatype":"FP32","parameters":{"binary_data_size":602112}}]}"#;
    let mut raw = head.as_bytes().to_vec();
    image.iter().for_each(|x| raw.extend_from_slice(&x.to_le_bytes()));
    let ours = || drop(black_box(v2::decode(black_box(&raw), Some(head.len()), &large)));
    let theirs = || drop(black_box(black_box(&image).clone()));
    report("decode [1,3,224,224], binary", "a copy of the floats", compare(ours, theirs));
}

/// What a content coding costs the writing of an answer, and what it leaves of the answer.
fn compression() {
    for shape in [vec![1, 1000], vec![1, 3, 224, 224]] {
        let data = TensorData::Float32(floats(shape.iter().product()));
        let signature = signature("null", "null");
        let value = Value::Tensor(Tensor { shape: shape.clone(), data });
        let write = |out: &mut Vec<u8>| {
            out.clear();
            predict::encode(black_box(std::slice::from_ref(&value)), &signature, out);
        };
        for coding in ["zstd", "gzip", "br", "deflate"] {
            let (mut out, mut other, mut smaller) = (Vec::new(), Vec::new(), Vec::new());
            let ours = || {
                write(&mut out);
                smaller = compressed(coding, black_box(&out)).expect("a coding of the service");
            };
            let times = compare(ours, || write(&mut other));
            let left = smaller.len() * 100 / other.len();
            report(&format!("write {shape:?} in {coding}, {left}% of the bytes"), "identity", times);
        }
    }
}

/// Time of one run of the tiny model, in a process of its own: there can be one environment in each.
fn run_tiny_model(side: &str, library: &Path) -> Duration {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rows.onnx");
    let decile = |run: &mut dyn FnMut()| {
        let mut samples: Vec<Duration> = (0..400)
            .map(|_| {
                let started = Instant::now();
                (0..200).for_each(|_| run());
                started.elapsed() / 200
            })
            .collect();
        samples.sort_unstable();
        samples[samples.len() / 10]
    };
    if side == "ours" {
        init(library).expect("NIMIFY_ONNXRUNTIME is ONNX Runtime's library");
        let engine = Engine::load(&model, &LoadOptions::default()).expect("the model loads");
        let tensor = |shape: &[usize], count: usize| {
            Value::Tensor(Tensor { shape: shape.to_vec(), data: TensorData::Float32(floats(count)) })
        };
        return decile(&mut || drop(black_box(engine.run(vec![tensor(&[1, 3], 3), tensor(&[1, 1], 1)]))));
    }
    let environment = ort::init_from(library).expect("ONNX Runtime opens").build().expect("ONNX Runtime starts");
    let mut session = ort::session::Session::builder(&environment)
        .and_then(|builder| builder.with_intra_threads(1)?.commit_from_file(&model))
        .expect("the model loads");
    decile(&mut || {
        let x = ort::value::Tensor::from_array(([1usize, 3], floats(3))).expect("a tensor");
        let b = ort::value::Tensor::from_array(([1usize, 1], floats(1))).expect("a tensor");
        let outputs = session.run(ort::inputs![x, b]).expect("the model runs");
        let copy = |k: usize| outputs[k].try_extract_tensor::<f32>().map(|(_, data)| data.to_vec());
        let _ = black_box((copy(0), copy(1)));
    })
}

fn engine() {
    let own = std::env::current_exe().expect("a process has an executable");
    let run = |side: &str| {
        let output = std::process::Command::new(&own).args(["--tiny-model", side]).output().expect("it starts again");
        let nanos = String::from_utf8_lossy(&output.stdout).trim().parse();
        Duration::from_nanos(nanos.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
    };
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = (0..7).map(|_| (run("ours"), run("theirs"))).unzip();
    ours.sort_unstable();
    theirs.sort_unstable();
    report("run a model of three operators", "ort's own run and extraction", (ours[3], theirs[3]));
}

fn main() {
    let library = std::env::var_os("NIMIFY_ONNXRUNTIME").expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library");
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(k) = arguments.iter().position(|argument| argument == "--tiny-model") {
        let side = arguments.get(k + 1).map_or("ours", String::as_str);
        println!("{}", run_tiny_model(side, Path::new(&library)).as_nanos());
        return;
    }
    codec();
    compression();
    engine();
}
