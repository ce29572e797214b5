//! A sample: the user's request, or the first made-up one on which the model runs.

use nimify_runtime::codec::predict;
use nimify_runtime::signature::{Batching, ModelSignature, ValueSpec};
use nimify_runtime::tensor::Value;

use super::ladder::{Rung, rungs};
use super::proof::{Row, Runner};
use super::rows::{rotated, row};
use super::values::{Known, SPREADS, Spread, request};

/// A request on which the model ran.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// One value an input.
    pub(super) request: Vec<Value>,
    /// One value an output.
    pub(super) answer: Vec<Value>,
    /// Where its values come from.
    pub(super) origin: Origin,
}

/// Where a sample's values come from: what further rows are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// The user gave them.
    User,
    /// They were made up on this rung.
    Ladder(Rung),
}

/// Runs the user's request. An `Err` says why it doesn't work.
pub(super) fn given(runner: &mut dyn Runner, signature: &ModelSignature, json: &str) -> Result<Found, String> {
    let request = predict::decode(json.as_bytes(), signature).map_err(|error| error.to_string())?;
    let answer = runner.run(request.clone())?;
    Ok(Found { request, answer, origin: Origin::User })
}

/// Climbs the ladder until the model runs, or `enough` says that it took long enough. An `Err` says what was tried.
pub(super) fn find(
    runner: &mut dyn Runner,
    known: Known<'_>,
    mut enough: impl FnMut() -> bool,
) -> Result<Found, String> {
    let (mut tried, mut first_refusal) = (0, None);
    for rung in rungs(known.signature) {
        if tried > 0 && enough() {
            break;
        }
        let request = match request(known, &rung, Spread::Unit, 0) {
            Ok(request) => request,
            Err(why) => {
                first_refusal.get_or_insert(why);
                continue;
            }
        };
        tried += 1;
        match runner.run(request.clone()) {
            Ok(answer) => return Ok(Found { request, answer, origin: Origin::Ladder(rung) }),
            Err(why) => drop(first_refusal.get_or_insert(why)),
        }
    }
    let why = first_refusal.unwrap_or_else(|| "none could be made".into());
    Err(format!("the model ran on none of {tried} made-up requests; the first failure: {why}"))
}

/// Sets of `count` distinct single rows like the sample, for the proof; an `Err` says why there are none.
pub(super) fn row_sets(known: Known<'_>, found: &Found, count: usize) -> Result<Vec<Vec<Row>>, String> {
    match &found.origin {
        Origin::User => Ok(vec![rows_of_request(&found.request, count)?]),
        Origin::Ladder(rung) if rung.rows > 1 => {
            Err(format!("the model ran on {} rows at once and on no single row", rung.rows))
        }
        Origin::Ladder(rung) => {
            let set = |spread| (0..count).filter_map(|row| request(known, rung, spread, row).ok()).collect();
            Ok(SPREADS.into_iter().map(set).collect())
        }
    }
}

/// The rows of the user's request, and more made of the same values in another order: each is known to be valid.
fn rows_of_request(request: &[Value], count: usize) -> Result<Vec<Row>, String> {
    let size = |value: &Value| value.as_tensor().and_then(|tensor| tensor.shape.first().copied());
    let rows = request.first().and_then(size).filter(|&rows| rows > 0).ok_or("the sample has no rows")?;
    if request.iter().any(|value| size(value) != Some(rows)) {
        return Err("the inputs of the sample differ in size on axis 0".into());
    }
    let given = |index| request.iter().map(|value| row(value, index)).collect::<Option<Row>>();
    let mut all: Vec<Row> = (0..rows.min(count)).filter_map(given).collect();
    let mut turn = 1;
    while all.len() < count && turn < count {
        let turned: Vec<Row> =
            all.iter().take(rows).map(|row| row.iter().map(|value| rotated(value, turn)).collect()).collect();
        all.extend(turned);
        turn += 1;
    }
    all.truncate(count);
    Ok(all)
}

/// A request as JSON text, one property a line.
pub(super) fn request_json(request: &[Value], signature: &ModelSignature) -> String {
    json(request, &signature.inputs)
}

/// An answer as JSON text, one property a line.
pub(super) fn answer_json(answer: &[Value], signature: &ModelSignature) -> String {
    json(answer, &signature.outputs)
}

/// Each value by itself through the codec of the answers, so that a line holds one value in the model's order.
fn json(values: &[Value], specs: &[ValueSpec]) -> String {
    let property = |(value, spec): (&Value, &ValueSpec)| {
        let alone = ModelSignature {
            inputs: Vec::new(),
            outputs: vec![spec.clone()],
            batching: Batching::Unproved { reason: String::new() },
        };
        let mut bytes = Vec::new();
        predict::encode(std::slice::from_ref(value), &alone, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
        format!("  {}", inner.trim())
    };
    let properties: Vec<_> = values.iter().zip(specs).map(property).collect();
    if properties.is_empty() { "{}\n".into() } else { format!("{{\n{}\n}}\n", properties.join(",\n")) }
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::ElementType::{Float32, Int64};
    use nimify_runtime::tensor::{Tensor, TensorData};

    use super::super::testing::{known, signature, tensor};
    use super::*;

    /// Runs where `takes` says so of the inputs' shapes and the last input's integers, and answers with the inputs.
    struct Fake<F>(F);

    impl<F: FnMut(&[Vec<usize>], &[i64]) -> bool> Runner for Fake<F> {
        fn run(&mut self, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
            let shapes: Vec<_> = inputs.iter().map(|value| value.as_tensor().unwrap().shape.clone()).collect();
            let whole = match &inputs.last().unwrap().as_tensor().unwrap().data {
                TensorData::Int64(all) => all.clone(),
                _ => vec![],
            };
            if (self.0)(&shapes, &whole) { Ok(inputs) } else { Err("no".into()) }
        }
    }

    #[test]
    fn the_ladder_is_climbed_until_the_model_runs() {
        let vad = signature([tensor("audio", Float32, "N,T"), tensor("sr", Int64, "")], []);
        let found = find(
            &mut Fake(|shapes: &[Vec<usize>], sr: &[i64]| shapes[0] == [1, 256] && sr == [8000]),
            known(&vad),
            || false,
        );
        assert!(matches!(found.unwrap().origin, Origin::Ladder(Rung { size: 256, rate: 8000, rows: 1, .. })));
        let zero_or_one = signature([tensor("sex", Int64, "N,3")], []);
        let found =
            find(&mut Fake(|_: &[Vec<usize>], ids: &[i64]| ids.iter().all(|id| *id < 2)), known(&zero_or_one), || {
                false
            });
        assert!(found.is_ok());
    }

    #[test]
    fn a_model_that_takes_nothing_made_up_is_told_with_its_first_words() {
        let any = signature([tensor("x", Float32, "N,4")], []);
        let why = find(&mut Fake(|_: &[Vec<usize>], _: &[i64]| false), known(&any), || false).unwrap_err();
        assert_eq!(why, "the model ran on none of 3 made-up requests; the first failure: no");
        let why = find(&mut Fake(|_: &[Vec<usize>], _: &[i64]| false), known(&any), || true).unwrap_err();
        assert!(why.contains("none of 1 made-up requests"), "{why}");
    }

    #[test]
    fn a_model_of_two_rows_and_more_gives_a_sample_and_no_rows() {
        let any = signature([tensor("x", Float32, "N,4")], []);
        let found =
            find(&mut Fake(|shapes: &[Vec<usize>], _: &[i64]| shapes[0][0] > 1), known(&any), || false).unwrap();
        assert!(row_sets(known(&any), &found, 8).unwrap_err().contains("no single row"));
    }

    #[test]
    fn the_users_rows_come_first_and_their_values_make_the_others() {
        let ids = signature([tensor("ids", Int64, "N,3")], []);
        let found =
            given(&mut Fake(|_: &[Vec<usize>], _: &[i64]| true), &ids, r#"{"ids": [[1, 2, 3], [7, 7, 7]]}"#).unwrap();
        let sets = row_sets(known(&ids), &found, 5).unwrap();
        let row = |ids: [i64; 3]| vec![Value::from(Tensor::new(vec![1, 3], TensorData::Int64(ids.to_vec())).unwrap())];
        assert_eq!(sets, [vec![row([1, 2, 3]), row([7, 7, 7]), row([2, 3, 1]), row([7, 7, 7]), row([3, 1, 2])]]);
        assert!(
            given(&mut Fake(|_: &[Vec<usize>], _: &[i64]| true), &ids, r#"{"ids": "x"}"#).unwrap_err().contains("ids")
        );
    }

    #[test]
    fn a_sample_is_written_one_input_a_line_in_the_models_order() {
        let two = signature([tensor("z", Float32, "N,2"), tensor("a", Int64, "")], []);
        let request = [
            Tensor::new(vec![1, 2], TensorData::Float32(vec![0.1, f32::NAN])).unwrap().into(),
            Tensor::new(vec![], TensorData::Int64(vec![i64::MAX])).unwrap().into(),
        ];
        let text = request_json(&request, &two);
        assert_eq!(text, "{\n  \"z\":[[0.1,\"NaN\"]],\n  \"a\":9223372036854775807\n}\n");
        assert_eq!(answer_json(&[], &two), "{}\n");
    }
}
