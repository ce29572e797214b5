//! The scheduler over a stand-in for the engine, so that every way of failing can be had.

mod order;
mod padding;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::signature::Batching;
use crate::tensor::{Tensor, TensorData};

/// Doubles what it gets, after so long. Refuses a run with a negative element, and panics at [`PANICS`].
struct Doubler {
    takes: Duration,
    instances: usize,
    /// Rows that it leaves out of its output, as a model with a wrong proof might.
    loses: usize,
    runs: Arc<AtomicUsize>,
}

/// Nothing special.
const NOW: Urgency = Urgency { priority: 0, timeout: None };

const PANICS: i64 = 1 << 40;

impl Executor for Doubler {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.takes);
        let Some(Tensor { mut shape, data: TensorData::Int64(data) }) = inputs[0].clone().into_tensor() else {
            return Err(Error::Internal("not a tensor of integers".into()));
        };
        assert!(!data.contains(&PANICS), "asked to");
        if data.iter().any(|&x| x < 0) {
            return Err(Error::Refused("a negative number".into()));
        }
        let mut data: Vec<i64> = data.into_iter().map(|x| 2 * x).collect();
        if self.loses > 0 && shape[0] > 1 {
            shape[0] -= self.loses;
            data.truncate(shape.iter().product());
        }
        let rows = TensorData::Float32(vec![0.5; shape[0]]);
        let rows = Tensor { shape: vec![shape[0]], data: rows };
        Ok(vec![Tensor { shape, data: TensorData::Int64(data) }.into(), rows.into()])
    }

    fn instances(&self) -> usize {
        self.instances
    }
}

/// Notes how many runs had how many rows.
#[derive(Default)]
struct Notes(Mutex<BTreeMap<usize, usize>>);

impl Observer for Notes {
    fn batch(&self, rows: usize, _ran: Duration) {
        *self.0.lock().unwrap().entry(rows).or_default() += 1;
    }
}

/// Longer than what runs where the request is.
const SLOW: Duration = Duration::from_millis(1);

struct Bench {
    scheduler: Arc<Scheduler>,
    notes: Arc<Notes>,
    runs: Arc<AtomicUsize>,
}

fn bench(takes: Duration, loses: usize, instances: usize, settings: BatchingSettings) -> Bench {
    let (notes, runs) = (Arc::new(Notes::default()), Arc::new(AtomicUsize::new(0)));
    let doubler = Doubler { takes, instances, loses, runs: runs.clone() };
    let batching = Batching::Proved { axis: 0, reason: "a test".into() };
    let signature = ModelSignature { inputs: vec![], outputs: vec![], batching };
    let scheduler = Arc::new(Scheduler::start(doubler, &signature, &settings, notes.clone()));
    Bench { scheduler, notes, runs }
}

fn settings() -> BatchingSettings {
    BatchingSettings { max_batch_size: 8, ..BatchingSettings::default() }
}

fn request(shape: &[usize], from: i64) -> Vec<Value> {
    let count: usize = shape.iter().product();
    vec![Tensor { shape: shape.to_vec(), data: TensorData::Int64((from..from + count as i64).collect()) }.into()]
}

fn answer(shape: &[usize], from: i64) -> Vec<Value> {
    let count: usize = shape.iter().product();
    let doubled = TensorData::Int64((from..from + count as i64).map(|x| 2 * x).collect());
    let rows = Tensor { shape: vec![shape[0]], data: TensorData::Float32(vec![0.5; shape[0]]) };
    vec![Tensor { shape: shape.to_vec(), data: doubled }.into(), rows.into()]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Sends every request at once; gives the answers in the same order.
fn all_at_once(bench: &Bench, requests: Vec<Vec<Value>>) -> Vec<Result<Vec<Value>, Error>> {
    runtime().block_on(async {
        let tasks: Vec<_> = requests
            .into_iter()
            .map(|inputs| {
                let scheduler = bench.scheduler.clone();
                tokio::spawn(async move { scheduler.infer(inputs, NOW).await.map(|answer| answer.outputs) })
            })
            .collect();
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        answers
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Every request gets its own rows, whatever it was joined with, and a bad one spoils no other.
    #[test]
    fn every_request_gets_its_own_rows(
        shapes in prop::collection::vec((0usize..11, 1usize..3, prop::bool::weighted(0.1)), 1..40),
        instances in 1usize..3,
        delay in 0u64..3,
        slow in prop::bool::ANY,
    ) {
        let settings = BatchingSettings { max_queue_delay: Duration::from_millis(delay), ..settings() };
        let bench = bench(if slow { SLOW } else { Duration::ZERO }, 0, instances, settings);
        let from = |k: usize, bad: bool| if bad { -1 } else { k as i64 * 100 };
        let requests = shapes.iter().enumerate().map(|(k, &(rows, width, bad))| request(&[rows, width], from(k, bad)));
        let answers = all_at_once(&bench, requests.collect());
        let mut answered = 0;
        for (k, (got, &(rows, width, bad))) in answers.into_iter().zip(&shapes).enumerate() {
            match got {
                Ok(got) => {
                    answered += rows;
                    prop_assert_eq!(got, answer(&[rows, width], from(k, bad)));
                }
                Err(e) => {
                    prop_assert!(bad && rows > 0, "{}", e);
                    prop_assert_eq!(e, Error::Refused("a negative number".into()));
                }
            }
        }
        prop_assert_eq!(bench.scheduler.queue_len(), 0);
        let notes = bench.notes.0.lock().unwrap();
        let told: usize = notes.iter().map(|(rows, runs)| rows * runs).sum();
        prop_assert_eq!(told, answered, "what was not answered is not counted");
        let largest = notes.keys().max().copied().unwrap_or(0);
        let alone = shapes.iter().map(|s| s.0).max().unwrap();
        prop_assert!(largest <= alone.max(8), "a run of {} rows", largest);
    }
}

#[test]
fn rows_are_counted_over_what_is_there() {
    let batching = Batching::Proved { axis: 0, reason: "a test".into() };
    let signature = ModelSignature { inputs: vec![], outputs: vec![], batching };
    let sizes = |inputs: Vec<Value>, most| {
        parts(inputs, &signature, most).into_iter().map(|(_, rows)| rows).collect::<Vec<_>>()
    };
    assert_eq!(sizes(request(&[5, 2], 0), 2), [2, 2, 1]);
    let without_state = || [request(&[5, 2], 0), vec![Value::Absent]].concat();
    assert_eq!(sizes(without_state(), usize::MAX), [5]);
    assert_eq!(sizes(without_state(), 2), [5], "what isn't there can't be split");
    assert_eq!(sizes(vec![Value::Absent], 2), [1]);
}

#[test]
fn requests_that_wait_are_joined_up_to_the_limit() {
    let bench = bench(Duration::from_millis(30), 0, 1, settings());
    let requests: Vec<_> = (0..17).map(|k| request(&[1, 2], k * 10)).collect();
    for (k, got) in all_at_once(&bench, requests).into_iter().enumerate() {
        assert_eq!(got, Ok(answer(&[1, 2], k as i64 * 10)));
    }
    // The first runs as soon as it comes, with what has come by then; the rest in batches of 8.
    assert!(bench.runs.load(Ordering::SeqCst) <= 4, "{:?}", bench.notes.0);
    assert!(bench.notes.0.lock().unwrap().contains_key(&8), "{:?}", bench.notes.0);
}

#[test]
fn a_delay_fills_a_batch_and_a_full_one_does_not_wait() {
    let patient = || BatchingSettings { max_queue_delay: Duration::from_secs(20), ..settings() };
    let started = Instant::now();
    let full = bench(SLOW, 0, 1, patient());
    assert!(all_at_once(&full, (0..8).map(|k| request(&[1, 1], k)).collect()).iter().all(Result::is_ok));
    assert_eq!(full.runs.load(Ordering::SeqCst), 1);
    // What can't be joined doesn't wait either.
    let scalar = vec![Value::Sequence(vec![])];
    let alone = bench(SLOW, 0, 1, patient());
    assert!(matches!(all_at_once(&alone, vec![scalar])[0], Err(Error::Internal(_))));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_model_that_loses_rows_is_not_batched_any_more() {
    let bench = bench(Duration::from_millis(20), 1, 1, settings());
    let requests = |n: i64| (0..n).map(|k| request(&[1, 1], k)).collect::<Vec<_>>();
    for (k, got) in all_at_once(&bench, requests(6)).into_iter().enumerate() {
        assert_eq!(got, Ok(answer(&[1, 1], k as i64)));
    }
    let runs = bench.runs.load(Ordering::SeqCst);
    assert!(all_at_once(&bench, requests(6)).iter().all(Result::is_ok));
    assert_eq!(bench.runs.load(Ordering::SeqCst), runs + 6);
    assert_eq!(*bench.notes.0.lock().unwrap(), BTreeMap::from([(1, 12)]), "each row once");
}

#[test]
fn a_panic_ends_one_request_and_nothing_else() {
    let bench = bench(Duration::from_millis(10), 0, 1, settings());
    let requests = vec![request(&[1], 1), request(&[1], 2), request(&[1], PANICS), request(&[1], 3)];
    let answers = all_at_once(&bench, requests);
    assert!(matches!(&answers[2], Err(Error::Internal(text)) if text.contains("panicked")), "{:?}", answers[2]);
    for (k, from) in [(0, 1), (1, 2), (3, 3)] {
        assert_eq!(answers[k], Ok(answer(&[1], from)));
    }
    assert_eq!(all_at_once(&bench, vec![request(&[2], 5)])[0], Ok(answer(&[2], 5)));
}

#[test]
fn a_full_queue_and_a_passed_deadline_are_said() {
    let settings = BatchingSettings {
        max_batch_size: 1,
        max_queue: 2,
        request_timeout: Duration::from_millis(150),
        ..BatchingSettings::default()
    };
    let bench = bench(Duration::from_millis(400), 0, 1, settings);
    runtime().block_on(async {
        let send = |k| {
            let scheduler = bench.scheduler.clone();
            tokio::spawn(async move { scheduler.infer(request(&[1], k), NOW).await.map(|answer| answer.outputs) })
        };
        let running = send(0);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let waiting = [send(1), send(2)];
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(bench.scheduler.queue_len(), 2);
        let full = send(3).await.unwrap().unwrap_err();
        assert_eq!(full, Error::QueueFull("the queue is full: 2 requests wait (`maxQueue`)".into()));
        let late = Error::DeadlineExceeded("no answer within 150ms (`requestTimeout`)".into());
        assert_eq!(running.await.unwrap(), Err(late.clone()));
        for task in waiting {
            assert_eq!(task.await.unwrap(), Err(late.clone()));
        }
        // Those whose time is over make room for others, and never run.
        let scheduler = bench.scheduler.clone();
        let _ = scheduler.infer(request(&[1], 4), NOW).await.map(|answer| answer.outputs);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(bench.scheduler.queue_len(), 0);
    });
    assert!(bench.runs.load(Ordering::SeqCst) <= 2, "{:?}", bench.runs);
}

#[test]
fn a_request_that_nobody_waits_for_does_not_run() {
    let bench = bench(Duration::from_millis(100), 0, 1, settings());
    runtime().block_on(async {
        let scheduler = bench.scheduler.clone();
        let running =
            tokio::spawn(async move { scheduler.infer(request(&[1], 0), NOW).await.map(|answer| answer.outputs) });
        tokio::time::sleep(Duration::from_millis(30)).await;
        let scheduler = bench.scheduler.clone();
        let gone =
            tokio::spawn(async move { scheduler.infer(request(&[1], 1), NOW).await.map(|answer| answer.outputs) });
        tokio::time::sleep(Duration::from_millis(30)).await;
        gone.abort();
        assert!(running.await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(150)).await;
    });
    assert_eq!(bench.runs.load(Ordering::SeqCst), 1);
}

#[test]
fn quick_runs_happen_where_the_request_is() {
    let bench = bench(Duration::ZERO, 0, 1, settings());
    for k in 0..20 {
        assert_eq!(all_at_once(&bench, vec![request(&[1, 4], k)])[0], Ok(answer(&[1, 4], k)));
    }
    assert!(bench.scheduler.inline.takes(4));
    let here = std::thread::current().id();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ran = runtime.block_on(async {
        bench.scheduler.infer(request(&[1, 4], 1), NOW).await.map(|answer| answer.outputs).unwrap();
        std::thread::current().id()
    });
    assert_eq!(ran, here);
    assert!(matches!(all_at_once(&bench, vec![request(&[1], PANICS)])[0], Err(Error::Internal(_))));
}

#[test]
fn the_threads_end_with_the_scheduler() {
    let bench = bench(SLOW, 0, 2, settings());
    let queue = Arc::downgrade(&bench.scheduler.queue);
    drop(bench);
    let until = Instant::now() + Duration::from_secs(10);
    while queue.strong_count() > 0 {
        assert!(Instant::now() < until, "threads go on");
        std::thread::sleep(Duration::from_millis(5));
    }
}
