//! The batch proof: rows run alone and joined give the same answers, or requests are never joined.
//!
//! Distinct rows are run one by one, then joined along axis 0 in batches of several sizes and orders, and each row of
//! each joint answer is compared with the row's own. What would be wrong in production shows here: a row's answer that
//! depends on its neighbours, an output without rows, a graph that was exported for one row. Operators that couple
//! rows by so little that a comparison may miss it are known by name and rule a model out when its file is read: that
//! refusal stands. A comparison of equal things proves nothing, so rows are told apart by their answers: as long as every row of every output is the same, other
//! values are tried, and if none brings out a difference the verdict is `Unproved`.

use std::collections::BTreeMap;

use nimify_runtime::batching::same_answer;
use nimify_runtime::signature::{Batching, Dim, ModelSignature, ValueSpec};
use nimify_runtime::tensor::Value;

use super::rows::{join, row};

/// Runs the model: one value an input in, one an output out, in the signature's order. An `Err` is what it said.
pub(super) trait Runner {
    /// Runs the model once.
    fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, String>;
}

/// A request of one row.
pub(super) type Row = Vec<Value>;

/// What rules batching out before anything is run: what reading the file refused, and the signature's shapes.
pub(super) fn ruled_out(signature: &ModelSignature) -> Option<String> {
    if let Batching::Refused { reason } = &signature.batching {
        return Some(reason.clone());
    }
    if signature.inputs.is_empty() {
        return Some("the model has no inputs: there are no rows to join".into());
    }
    let inputs = signature.inputs.iter().map(|spec| ("input", spec));
    let outputs = signature.outputs.iter().map(|spec| ("output", spec));
    inputs
        .chain(outputs)
        .find_map(|(what, spec)| no_rows(spec).map(|why| format!("the {what} `{}` {why}", spec.name)))
        .or_else(|| rows_elsewhere(&signature.inputs))
}

/// Why a value can't carry one row a request on axis 0, as far as its type says.
fn no_rows(spec: &ValueSpec) -> Option<String> {
    let Some((_, shape)) = spec.tensor() else {
        return Some(format!("is no tensor but {}: it has no axis of rows", spec.value_type));
    };
    // An unknown rank is settled by running the model.
    let dims = shape.dims()?;
    match dims.first() {
        None => Some("is a scalar: it has no axis of rows".into()),
        Some(Dim::Fixed(size)) => {
            let elsewhere = dims.iter().position(|dim| !matches!(dim, Dim::Fixed(_)));
            let free = elsewhere.map(|axis| format!("; its free axis is {axis}")).unwrap_or_default();
            Some(format!("is fixed at {size} on axis 0: its shape is {shape}{free}"))
        }
        Some(_) => None,
    }
}

/// A name that counts rows on axis 0 of one input and stands on another axis too: joining would change both.
fn rows_elsewhere(inputs: &[ValueSpec]) -> Option<String> {
    let dims = |spec: &ValueSpec| spec.tensor().and_then(|(_, shape)| shape.0.clone()).unwrap_or_default();
    let mut rows = BTreeMap::new();
    for spec in inputs {
        if let Some(Dim::Symbolic(name)) = dims(spec).into_iter().next() {
            rows.entry(name).or_insert(&spec.name);
        }
    }
    inputs.iter().find_map(|spec| {
        dims(spec).iter().enumerate().skip(1).find_map(|(axis, dim)| match dim {
            Dim::Symbolic(name) => rows.get(name).map(|first| {
                format!("`{name}` is axis 0 of the input `{first}` and axis {axis} of the input `{}`", spec.name)
            }),
            _ => None,
        })
    })
}

/// What one set of rows showed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// Joined and alone agree; outputs that were the same for every row are listed by their index.
    Agree {
        /// Rows that were told apart.
        rows: usize,
        /// Sizes of the batches that were run.
        batches: Vec<usize>,
        /// Indices of outputs that never varied.
        constant: Vec<usize>,
    },
    /// Rows can't be joined, and why.
    Coupled(String),
    /// These rows could not be compared, and why.
    Unusable(String),
}

/// The fewest distinct rows that prove something.
const FEWEST_ROWS: usize = 3;

/// Runs `rows` alone and joined, and compares.
pub(super) fn examine(runner: &mut dyn Runner, signature: &ModelSignature, rows: &[Row]) -> Finding {
    let mut distinct: Vec<(Row, Row)> = Vec::new();
    for row in rows {
        // A made-up row may be one that the model refuses; others will do.
        if distinct.iter().all(|(known, _)| known != row)
            && let Ok(answer) = runner.run(row.clone())
        {
            distinct.push((row.clone(), answer));
        }
    }
    if distinct.len() < FEWEST_ROWS {
        return Finding::Unusable(format!("the model ran on {} distinct rows, of which it takes 3", distinct.len()));
    }
    if let Some(why) = distinct.iter().find_map(|(_, answer)| answer_without_row(signature, answer)) {
        return Finding::Coupled(why);
    }
    match runner.run(distinct[0].0.clone()) {
        Ok(again) => {
            if let Some(why) = difference(signature, &distinct[0].1, &again) {
                return Finding::Coupled(format!("two runs of one row differ: {why}"));
            }
        }
        Err(why) => return Finding::Unusable(format!("a row that ran was refused when run again: {why}")),
    }
    let batches = batches(distinct.len());
    for batch in &batches {
        if let Err(finding) = examine_batch(runner, signature, &distinct, batch) {
            return finding;
        }
    }
    let constant = (0..signature.outputs.len())
        .filter(|&k| distinct.iter().all(|(_, answer)| answer[k] == distinct[0].1[k]))
        .collect();
    let mut sizes: Vec<_> = batches.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    sizes.dedup();
    Finding::Agree { rows: distinct.len(), batches: sizes, constant }
}

/// The batches to run, as indices of rows: all of them forwards and backwards, some of them, one of them many times.
fn batches(rows: usize) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..rows).collect();
    let backwards = all.iter().rev().copied().collect();
    let repeated = [1, 0, 1, 2].into_iter().cycle().take(2 * rows + 1).collect();
    vec![all, backwards, vec![1, 0], vec![rows - 1, 0, rows / 2], repeated]
}

fn examine_batch(
    runner: &mut dyn Runner,
    signature: &ModelSignature,
    rows: &[(Row, Row)],
    batch: &[usize],
) -> Result<(), Finding> {
    let inputs: Option<Row> =
        (0..signature.inputs.len()).map(|k| join(batch.iter().map(|&index| &rows[index].0[k]))).collect();
    let inputs = inputs.ok_or_else(|| Finding::Unusable("the rows could not be joined: their shapes differ".into()))?;
    let size = batch.len();
    let answer = runner.run(inputs).map_err(|why| {
        Finding::Coupled(format!("the model runs on single rows and refuses {size} joined ones: {why}"))
    })?;
    for (k, (joined, spec)) in answer.iter().zip(&signature.outputs).enumerate() {
        let shape = joined.as_tensor().map(|tensor| &tensor.shape[..]).unwrap_or_default();
        if shape.first() != Some(&size) {
            let name = &spec.name;
            return Err(Finding::Coupled(format!(
                "the output `{name}` has the shape {shape:?} for {size} joined rows"
            )));
        }
        for (place, &index) in batch.iter().enumerate() {
            let joined = row(joined, place).expect("axis 0 was found to be as long as the batch");
            same_answer(&rows[index].1[k], &joined).map_err(|why| {
                Finding::Coupled(format!(
                    "in a batch of {size} a row's answer changes: the output `{}` {why}",
                    spec.name
                ))
            })?;
        }
    }
    Ok(())
}

/// The output that doesn't carry one row in the answer to one.
fn answer_without_row(signature: &ModelSignature, answer: &[Value]) -> Option<String> {
    answer.iter().zip(&signature.outputs).find_map(|(value, spec)| match value.as_tensor() {
        None => Some(format!("the output `{}` is no tensor: it has no axis of rows", spec.name)),
        Some(tensor) if tensor.shape.first() != Some(&1) => {
            Some(format!("the output `{}` has the shape {:?} for one row", spec.name, tensor.shape))
        }
        Some(_) => None,
    })
}

fn difference(signature: &ModelSignature, one: &[Value], other: &[Value]) -> Option<String> {
    let mut pairs = one.iter().zip(other).zip(&signature.outputs);
    pairs.find_map(|((a, b), spec)| same_answer(a, b).err().map(|why| format!("the output `{}` {why}", spec.name)))
}

/// The verdict over several sets of rows, tried in order until one settles it.
pub(super) fn prove(
    runner: &mut dyn Runner,
    signature: &ModelSignature,
    sets: impl IntoIterator<Item = Vec<Row>>,
) -> Batching {
    let mut best = Batching::Unproved { reason: "no rows to compare could be made".into() };
    let mut never_varied: Vec<usize> = (0..signature.outputs.len()).collect();
    for rows in sets {
        match examine(runner, signature, &rows) {
            Finding::Coupled(reason) => return Batching::Refused { reason },
            Finding::Unusable(reason) => {
                if !matches!(best, Batching::Proved { .. }) {
                    best = Batching::Unproved { reason };
                }
            }
            Finding::Agree { rows, batches, constant } => {
                never_varied.retain(|k| constant.contains(k));
                if never_varied.len() == signature.outputs.len() {
                    best = Batching::Unproved {
                        reason: "every row tried had the same answer: comparing equal things proves nothing".into(),
                    };
                    continue;
                }
                best = Batching::Proved { axis: 0, reason: agreement(signature, rows, &batches, &never_varied) };
                if never_varied.is_empty() {
                    break;
                }
            }
        }
    }
    best
}

fn agreement(signature: &ModelSignature, rows: usize, batches: &[usize], constant: &[usize]) -> String {
    let sizes: Vec<_> = batches.iter().map(usize::to_string).collect();
    let mut text = format!("{rows} rows gave the same answers alone and in batches of {}", sizes.join(", "));
    if !constant.is_empty() {
        let names: Vec<_> = constant.iter().map(|&k| format!("`{}`", signature.outputs[k].name)).collect();
        text += &format!(" (the same for every row: {})", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::ElementType::{Float32, Int64};
    use nimify_runtime::tensor::{Tensor, TensorData};

    use super::super::testing::{signature, tensor};
    use super::*;

    struct Fake<F>(F);

    impl<F: FnMut(Vec<f32>) -> Result<(Vec<usize>, Vec<f32>), String>> Runner for Fake<F> {
        fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
            let TensorData::Float32(x) = inputs[0].as_tensor().unwrap().data.clone() else { panic!() };
            let (shape, data) = (self.0)(x)?;
            Ok(vec![floats(shape, data)])
        }
    }

    fn floats(shape: Vec<usize>, data: Vec<f32>) -> Value {
        Tensor::new(shape, TensorData::Float32(data)).unwrap().into()
    }

    fn rows(values: &[f32]) -> Vec<Row> {
        values.iter().map(|v| vec![floats(vec![1], vec![*v])]).collect()
    }

    /// The verdict on a model of one input and one output of one number a row.
    fn verdict(model: impl FnMut(Vec<f32>) -> Result<(Vec<usize>, Vec<f32>), String>) -> Batching {
        let signature = signature([tensor("x", Float32, "N")], [tensor("y", Float32, "N")]);
        let sets = [rows(&[0.0, 1.0, 2.0, 3.0]), rows(&[-5.0, 10.0, 70.0, 90.0])];
        prove(&mut Fake(model), &signature, sets)
    }

    fn each(x: Vec<f32>, row: impl Fn(f32) -> f32) -> Result<(Vec<usize>, Vec<f32>), String> {
        Ok((vec![x.len()], x.into_iter().map(row).collect()))
    }

    fn refused(verdict: &Batching, word: &str) {
        assert!(matches!(verdict, Batching::Refused { reason } if reason.contains(word)), "{verdict:?} without {word}");
    }

    #[test]
    fn rows_that_keep_their_answers_are_proved() {
        let verdict = verdict(|x| each(x, |v| 2.0 * v));
        assert_eq!(
            verdict,
            Batching::Proved {
                axis: 0,
                reason: "4 rows gave the same answers alone and in batches of 2, 3, 4, 9".into()
            }
        );
    }

    #[test]
    fn a_row_that_sees_its_neighbours_is_refused() {
        let mean = |x: Vec<f32>| x.iter().sum::<f32>() / x.len() as f32;
        refused(
            &verdict(|x| {
                let m = mean(x.clone());
                each(x, |v| v - m)
            }),
            "a row's answer changes",
        );
        // The first row's answer for all: right alone, wrong for every other in a batch.
        refused(
            &verdict(|x| {
                let first = x[0];
                each(x, |_| first)
            }),
            "a row's answer changes",
        );
        // Position in the batch.
        refused(
            &verdict(|x| Ok((vec![x.len()], x.iter().enumerate().map(|(k, v)| v + k as f32).collect()))),
            "a row's answer changes",
        );
        // Only batches of more than eight rows go wrong.
        refused(
            &verdict(|x| {
                let far = x.len() > 8;
                each(x, |v| if far { 0.0 } else { v })
            }),
            "in a batch of 9",
        );
    }

    #[test]
    fn an_output_without_rows_is_refused() {
        refused(&verdict(|x| Ok((vec![], vec![x[0]]))), "has the shape [] for one row");
        refused(&verdict(|x| Ok((vec![1], vec![x[0]]))), "has the shape [1] for 4 joined rows");
        refused(&verdict(|x| Ok((vec![2 * x.len()], [x.clone(), x].concat()))), "has the shape [2] for one row");
    }

    #[test]
    fn a_graph_exported_for_one_row_is_refused() {
        let one = |x: Vec<f32>| if x.len() > 1 { Err("reshape {1}".to_string()) } else { each(x, |v| v) };
        refused(&verdict(one), "refuses 4 joined ones: reshape {1}");
    }

    #[test]
    fn a_model_that_draws_numbers_is_refused() {
        let mut draw = 0.0;
        refused(
            &verdict(move |x| {
                draw += 1.0;
                each(x, |v| v + draw)
            }),
            "two runs of one row differ",
        );
    }

    #[test]
    fn equal_answers_prove_nothing_until_other_rows_differ() {
        let verdict_constant = verdict(|x| each(x, |_| 1.0));
        assert!(matches!(&verdict_constant, Batching::Unproved { reason } if reason.contains("same answer")));
        // The first set of rows shows nothing, the second does.
        assert!(matches!(verdict(|x| each(x, |v| v.max(20.0))), Batching::Proved { .. }));
        // And what it shows may be that rows are coupled.
        let coupled = |x: Vec<f32>| {
            let top = x.iter().copied().fold(20.0, f32::max);
            each(x, |_| top)
        };
        refused(&verdict(coupled), "a row's answer changes");
    }

    #[test]
    fn too_few_rows_prove_nothing() {
        let picky = |x: Vec<f32>| if x.iter().any(|v| *v > 1.0) { Err("no".to_string()) } else { each(x, |v| v) };
        assert!(matches!(verdict(picky), Batching::Unproved { .. }));
    }

    #[test]
    fn constant_outputs_beside_a_varying_one_are_named() {
        struct Two;
        impl Runner for Two {
            fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
                let rows = inputs[0].as_tensor().unwrap().shape[0];
                Ok(vec![inputs[0].clone(), floats(vec![rows], vec![7.0; rows])])
            }
        }
        let outputs = [tensor("y", Float32, "N"), tensor("seven", Float32, "N")];
        let signature = signature([tensor("x", Float32, "N")], outputs);
        let verdict = prove(&mut Two, &signature, [rows(&[0.0, 1.0, 2.0])]);
        assert!(
            matches!(&verdict, Batching::Proved { axis: 0, reason } if reason.ends_with("(the same for every row: `seven`)"))
        );
    }

    #[test]
    fn shapes_and_what_the_file_says_rule_batching_out_before_anything_runs() {
        let x = || tensor("x", Float32, "N,4");
        let out = |inputs: Vec<ValueSpec>, outputs: Vec<ValueSpec>| ruled_out(&signature(inputs, outputs));
        assert_eq!(out(vec![x()], vec![tensor("y", Float32, "N")]), None);
        assert_eq!(out(vec![tensor("x", Float32, "...")], vec![tensor("y", Float32, "...")]), None);
        for (inputs, outputs, word) in [
            (vec![], vec![x()], "no inputs"),
            (vec![x(), tensor("sr", Int64, "")], vec![x()], "`sr` is a scalar"),
            (
                vec![x(), tensor("state", Float32, "2,N,64")],
                vec![x()],
                "`state` is fixed at 2 on axis 0: its shape is [2, N, 64]; its free axis is 1",
            ),
            (vec![tensor("x", Float32, "1,4")], vec![x()], "`x` is fixed at 1 on axis 0"),
            (vec![x()], vec![tensor("y", Float32, "")], "the output `y` is a scalar"),
            (vec![tensor("a", Float32, "N,N")], vec![x()], "`N` is axis 0 of the input `a` and axis 1"),
        ] {
            let why = out(inputs, outputs).unwrap();
            assert!(why.contains(word), "{why}");
        }
        let refused = Batching::Refused { reason: "`ai.onnx:DynamicQuantizeLinear` scales by all rows".into() };
        let known = ModelSignature { batching: refused.clone(), ..signature([x()], [x()]) };
        assert_eq!(ruled_out(&known).as_deref(), Some(refused.reason()));
    }
}
