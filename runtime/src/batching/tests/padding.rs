//! Rows of different lengths over stand-ins that look at their mask, or don't.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::settings::PaddingSettings;
use crate::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};

/// What a stand-in makes of a row's ids, of which the mask leaves so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Doubles each, and adds up what isn't masked.
    Masked,
    /// Adds up one more for each place, whatever the mask says.
    Unmasked,
    /// One place more than went in.
    Longer,
    /// The same for every row.
    Constant,
    /// Refuses what is shorter than 3.
    Picky,
    /// As masked, and loses a place of what has more than one row.
    Loses,
}

/// Inputs `ids` and `mask` of shape [N, S]; outputs of shapes [N, S] and [N].
struct Model {
    kind: Kind,
    takes: Duration,
    /// Rows and length of each run.
    runs: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Model {
    fn new(kind: Kind) -> Model {
        Model { kind, takes: Duration::ZERO, runs: Arc::default() }
    }
}

fn whole(value: &Value) -> (Vec<usize>, Vec<i64>) {
    match value {
        Value::Tensor(Tensor { shape, data: TensorData::Int64(data) }) => (shape.clone(), data.clone()),
        other => panic!("{other:?}"),
    }
}

fn tensor(shape: &[usize], data: Vec<i64>) -> Value {
    Tensor::new(shape.to_vec(), TensorData::Int64(data)).unwrap().into()
}

impl Executor for Model {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let ((shape, ids), (mask_shape, mask)) = (whole(&inputs[0]), whole(&inputs[1]));
        assert_eq!(shape, mask_shape);
        std::thread::sleep(self.takes);
        let (rows, length) = (shape[0], shape[1]);
        self.runs.lock().unwrap().push((rows, length));
        if ids.iter().any(|id| *id < 0) || (self.kind == Kind::Picky && length < 3) {
            return Err(Error::Refused("not that".into()));
        }
        let doubled = ids.iter().map(|id| 2 * id).collect();
        let sums = ids.chunks(length).zip(mask.chunks(length)).map(|(ids, mask)| match self.kind {
            Kind::Unmasked => ids.iter().map(|id| id + 1).sum(),
            Kind::Constant => 7,
            _ => ids.iter().zip(mask).map(|(id, mask)| id * mask).sum(),
        });
        let sums = tensor(&[rows], sums.collect());
        Ok(match self.kind {
            Kind::Longer => vec![tensor(&[rows, length + 1], vec![1; rows * (length + 1)]), sums],
            Kind::Constant => vec![tensor(&[rows, 1], vec![7; rows]), sums],
            Kind::Loses if rows > 1 && mask.contains(&0) => {
                vec![tensor(&[rows, length - 1], vec![1; rows * (length - 1)]), sums]
            }
            _ => vec![tensor(&shape, doubled), sums],
        })
    }

    fn instances(&self) -> usize {
        1
    }
}

fn spec(name: &str, dims: &[Dim]) -> ValueSpec {
    let shape = Shape(Some(dims.to_vec()));
    ValueSpec { name: name.into(), value_type: ValueType::Tensor { element_type: ElementType::Int64, shape } }
}

fn model_signature() -> ModelSignature {
    let dims = [Dim::Symbolic("N".into()), Dim::Symbolic("S".into())];
    ModelSignature {
        inputs: vec![spec("ids", &dims), spec("mask", &dims)],
        outputs: vec![spec("doubled", &dims), spec("sum", &dims[..1])],
        batching: Batching::Proved { axis: 0, reason: "a test".into() },
    }
}

fn declared(values: &[(&str, f64)], mask: Option<&str>) -> PaddingSettings {
    let values = values.iter().map(|(name, value)| (name.to_string(), *value)).collect::<BTreeMap<_, _>>();
    PaddingSettings { values, mask: mask.map(Into::into) }
}

fn sentence(rows: &[&[i64]], mask: i64) -> Vec<Value> {
    let shape = [rows.len(), rows[0].len()];
    vec![tensor(&shape, rows.concat()), tensor(&shape, vec![mask; shape[0] * shape[1]])]
}

fn proved(kind: Kind, settings: &PaddingSettings, sample: &[Value]) -> Result<Padding, String> {
    Padding::prove(&Model::new(kind), &model_signature(), settings, sample)
}

fn full() -> PaddingSettings {
    declared(&[("ids", 9.0)], Some("mask"))
}

#[test]
fn padding_is_proved_by_what_it_doesn_t_change() {
    // Masked in part, of one place, of several rows, and long: whatever the sample is.
    for sample in [
        sentence(&[&[5, 6, 7, 8, 9]], 1),
        sentence(&[&[5]], 0),
        sentence(&[&[1, 2], &[3, 4]], 1),
        sentence(&[&[3; 500]], 1),
    ] {
        let padding = proved(Kind::Masked, &full(), &sample);
        assert!(padding.is_ok(), "{padding:?}");
    }
    assert!(proved(Kind::Picky, &full(), &sentence(&[&[5, 6, 7, 8]], 1)).is_ok(), "two lengths are enough");
}

#[test]
fn padding_that_changes_an_answer_is_refused() {
    let sample = sentence(&[&[5, 6, 7, 8]], 1);
    let refused = |kind, settings: &PaddingSettings, word: &str| {
        let reason = proved(kind, settings, &sample).unwrap_err();
        assert!(reason.contains(word), "{reason}");
    };
    refused(
        Kind::Unmasked,
        &full(),
        "rows of lengths [4, 3, 2, 1] joined: the output `sum` of the row of length 3 differs",
    );
    refused(Kind::Longer, &full(), "the output `doubled` is neither as long as the row nor fixed on axis 1");
    refused(Kind::Constant, &full(), "the same answer");
    // Filled with what isn't masked.
    refused(Kind::Masked, &declared(&[("ids", 9.0), ("mask", 1.0)], None), "the output `sum` of the row of length 3");
    refused(Kind::Masked, &declared(&[("ids", 9.0)], None), "the input `mask` is as long as `S` too");
    refused(Kind::Masked, &declared(&[("ids", 0.5)], Some("mask")), "can't be filled with 0.5: its elements are int64");
    refused(Kind::Masked, &declared(&[("id", 0.0)], Some("mask")), "the model has no input `id`");
    refused(Kind::Masked, &declared(&[], Some("masc")), "the model has no input `masc` (did you mean `mask`?)");
    // Some of it is told without a run, and without a proof of batches.
    let mut alone = model_signature();
    alone.batching = Batching::Unproved { reason: "not tried".into() };
    let check = |settings| Padding::check(&alone, &settings);
    assert_eq!((check(full()), check(PaddingSettings::default())), (Ok(()), Ok(())));
    let wrong = check(declared(&[("idz", 0.0)], Some("mask")));
    assert_eq!(wrong, Err("the model has no input `idz` (did you mean `ids`?)".into()));
    let mut alone = model_signature();
    alone.batching = Batching::Refused { reason: "rows are coupled".into() };
    let reason = Padding::prove(&Model::new(Kind::Masked), &alone, &full(), &sample).unwrap_err();
    assert_eq!(reason, "requests aren't joined at all: rows are coupled");
    let mut fixed = model_signature();
    fixed.inputs[0] = spec("ids", &[Dim::Symbolic("N".into()), Dim::Fixed(4)]);
    let reason = Padding::prove(&Model::new(Kind::Masked), &fixed, &full(), &sample).unwrap_err();
    assert_eq!(reason, "the input `ids` has no free axis beside that of the rows");
    let mut two = model_signature();
    two.inputs[1] = spec("mask", &[Dim::Symbolic("N".into()), Dim::Symbolic("T".into())]);
    let reason = Padding::prove(&Model::new(Kind::Masked), &two, &full(), &sample).unwrap_err();
    assert_eq!(reason, "both `S` and `T` are free: rows have one length");
    for odd in [vec![], vec![tensor(&[1, 4], vec![0; 4]), tensor(&[1, 3], vec![0; 3])], sentence(&[&[]], 1)] {
        assert!(proved(Kind::Masked, &full(), &odd).is_err(), "{odd:?}");
    }
}

struct Padded {
    scheduler: Arc<Scheduler>,
    runs: Arc<Mutex<Vec<(usize, usize)>>>,
}

fn padded(kind: Kind, settings: BatchingSettings) -> Padded {
    let model = Model { takes: Duration::from_millis(1), ..Model::new(kind) };
    let padding = proved(Kind::Masked, &full(), &sentence(&[&[5, 6, 7, 8]], 1)).unwrap();
    let runs = model.runs.clone();
    let scheduler = Scheduler::start_with(model, &model_signature(), &settings, Some(padding), Arc::new(()));
    Padded { scheduler: Arc::new(scheduler), runs }
}

/// One request and the answer that it should get.
fn expected(rows: &[Vec<i64>], mask: i64) -> Vec<Value> {
    let shape = [rows.len(), rows[0].len()];
    let doubled = rows.concat().iter().map(|id| 2 * id).collect();
    vec![
        tensor(&shape, doubled),
        tensor(&[rows.len()], rows.iter().map(|row| mask * row.iter().sum::<i64>()).collect()),
    ]
}

/// Sends all at once, and drops those to be dropped.
fn served(
    padded: &Padded,
    requests: &[(Vec<Vec<i64>>, i64, Urgency)],
    dropped: &[bool],
) -> Vec<Option<Result<Vec<Value>, Error>>> {
    runtime().block_on(async {
        let tasks: Vec<_> = requests
            .iter()
            .map(|(rows, mask, urgency)| {
                let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
                let (inputs, scheduler, urgency) = (sentence(&rows, *mask), padded.scheduler.clone(), *urgency);
                tokio::spawn(async move { scheduler.infer(inputs, urgency).await.map(|answer| answer.outputs) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        tasks.iter().zip(dropped).filter(|(_, dropped)| **dropped).for_each(|(task, _)| task.abort());
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.ok());
        }
        answers
    })
}

fn rows_of(seed: i64, rows: usize, length: usize) -> Vec<Vec<i64>> {
    (0..rows as i64).map(|row| (0..length as i64).map(|k| seed * 1000 + row * 100 + k + 1).collect()).collect()
}

#[test]
fn rows_of_different_lengths_are_joined_and_come_back_as_long_as_they_were() {
    let settings = BatchingSettings { max_queue_delay: Duration::from_secs(20), max_batch_size: 4, ..settings() };
    let padded = padded(Kind::Masked, settings);
    let requests: Vec<_> = [3, 4, 5, 6].into_iter().map(|length| (rows_of(1, 1, length), 1, NOW)).collect();
    for (answer, (rows, mask, _)) in served(&padded, &requests, &[]).into_iter().zip(&requests) {
        assert_eq!(answer, Some(Ok(expected(rows, *mask))));
    }
    assert_eq!(*padded.runs.lock().unwrap(), [(4, 6)]);
}

#[test]
fn much_shorter_rows_and_hidden_ones_are_not_padded() {
    let settings = BatchingSettings { max_queue_delay: Duration::from_secs(20), max_batch_size: 4, ..settings() };
    for (lengths, mask) in [([2, 5], [1, 1]), ([4, 5], [1, 0]), ([4, 5], [0, 0])] {
        let padded = padded(Kind::Masked, settings.clone());
        let requests: Vec<_> =
            lengths.into_iter().zip(mask).map(|(length, mask)| (rows_of(1, 1, length), mask, NOW)).collect();
        // What the first can't be joined with ends its waiting; the other one's own is ended by the request's time.
        let within = Urgency { priority: 0, timeout: Some(Duration::from_millis(400)) };
        let requests: Vec<_> = requests.into_iter().map(|(rows, mask, _)| (rows, mask, within)).collect();
        for (answer, (rows, mask, _)) in served(&padded, &requests, &[]).into_iter().zip(&requests) {
            assert_eq!(answer, Some(Ok(expected(rows, *mask))));
        }
        let mut runs = padded.runs.lock().unwrap().clone();
        runs.sort_unstable();
        assert_eq!(runs, lengths.map(|length| (1, length)));
    }
}

#[test]
fn a_model_that_loses_places_is_not_padded_any_more() {
    let settings = BatchingSettings { max_queue_delay: Duration::from_millis(200), max_batch_size: 2, ..settings() };
    let padded = padded(Kind::Loses, settings);
    let requests: Vec<_> = [3, 4].into_iter().map(|length| (rows_of(1, 1, length), 1, NOW)).collect();
    for _ in 0..2 {
        for (answer, (rows, mask, _)) in served(&padded, &requests, &[]).into_iter().zip(&requests) {
            assert_eq!(answer, Some(Ok(expected(rows, *mask))));
        }
    }
    let runs = padded.runs.lock().unwrap().clone();
    assert_eq!(runs.iter().filter(|run| run.0 == 2).count(), 1, "{runs:?}");
    // Rows of one length are still joined.
    let equal = vec![requests[0].clone(), requests[0].clone()];
    assert!(served(&padded, &equal, &[]).into_iter().all(|answer| answer.is_some_and(|answer| answer.is_ok())));
    assert_eq!(padded.runs.lock().unwrap().last(), Some(&(2, 3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is joined, padded, refused, put first or given up: every request gets its own values.
    #[test]
    fn every_request_gets_its_own_values(
        shapes in prop::collection::vec((1usize..4, 1usize..9, 0u32..4, prop::num::u8::ANY), 1..40),
        budget in prop::option::of(8usize..60),
    ) {
        let settings = BatchingSettings { priority_levels: 3, max_batch_elements: budget, ..settings() };
        let padded = padded(Kind::Masked, settings);
        let requests: Vec<_> = shapes.iter().enumerate().map(|(k, &(rows, length, priority, chance))| {
            let mut rows = rows_of(k as i64, rows, length);
            // One in sixteen is refused, one is hidden.
            if chance % 16 == 0 {
                rows[0][0] = -1;
            }
            (rows, i64::from(chance % 16 != 1), Urgency { priority, timeout: None })
        }).collect();
        let dropped: Vec<bool> = shapes.iter().map(|shape| shape.3 % 16 == 2).collect();
        let answers = served(&padded, &requests, &dropped);
        for (((rows, mask, _), answer), dropped) in requests.iter().zip(answers).zip(dropped) {
            match answer {
                None => prop_assert!(dropped),
                Some(answer) if rows[0][0] < 0 => prop_assert_eq!(answer, Err(Error::Refused("not that".into()))),
                Some(answer) => prop_assert_eq!(answer, Ok(expected(rows, *mask))),
            }
        }
        // The dead are let go of when the thread is back.
        let until = Instant::now() + Duration::from_secs(10);
        while padded.scheduler.queue_len() > 0 {
            prop_assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(1));
        }
        for &(rows, length) in padded.runs.lock().unwrap().iter() {
            // Three rows are the most that one request has.
            prop_assert!(rows <= 8, "{} rows", rows);
            prop_assert!(budget.is_none_or(|most| 2 * rows * length <= most || rows <= 3), "{} rows of {}", rows, length);
        }
    }
}
