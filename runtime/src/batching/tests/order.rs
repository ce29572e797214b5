//! Who goes first, who never runs, and how many at once: over a stand-in that runs when the test lets it.

use std::sync::{Condvar, Mutex};

use tokio::task::JoinHandle;

use super::*;

/// Notes each run's elements as it begins, and ends it when it is let.
#[derive(Default)]
struct Gate {
    state: Mutex<(Vec<Vec<i64>>, usize)>,
    changed: Condvar,
}

impl Gate {
    /// The runs that have begun, of which there are `count`.
    fn begun(&self, count: usize) -> Vec<Vec<i64>> {
        let state = self.state.lock().unwrap();
        let (state, timeout) =
            self.changed.wait_timeout_while(state, Duration::from_secs(20), |state| state.0.len() < count).unwrap();
        assert!(!timeout.timed_out(), "{:?} instead of {count} runs", state.0);
        state.0.clone()
    }

    /// Lets so many more runs end.
    fn open(&self, count: usize) {
        self.state.lock().unwrap().1 += count;
        self.changed.notify_all();
    }
}

struct Gated(Arc<Gate>, usize);

impl Executor for Gated {
    fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let Some(TensorData::Int64(data)) = inputs[0].as_tensor().map(|tensor| tensor.data.clone()) else { panic!() };
        let mut state = self.0.state.lock().unwrap();
        state.0.push(data);
        self.0.changed.notify_all();
        let mut state = self.0.changed.wait_while(state, |state| state.1 == 0).unwrap();
        state.1 -= 1;
        Ok(inputs)
    }

    fn instances(&self) -> usize {
        self.1
    }
}

struct Place {
    gate: Arc<Gate>,
    scheduler: Arc<Scheduler>,
}

type Sent = JoinHandle<Result<Vec<Value>, Error>>;

impl Place {
    fn new(instances: usize, batching: Batching, settings: BatchingSettings) -> Place {
        let gate = Arc::new(Gate::default());
        let signature = ModelSignature { inputs: vec![], outputs: vec![], batching };
        let scheduler = Scheduler::start(Gated(gate.clone(), instances), &signature, &settings, Arc::new(()));
        Place { gate, scheduler: Arc::new(scheduler) }
    }

    fn proved(settings: BatchingSettings) -> Place {
        Place::new(1, Batching::Proved { axis: 0, reason: "a test".into() }, settings)
    }

    /// Sends a request of the elements, and returns once it is in the queue, or answered.
    async fn send(&self, elements: &[i64], urgency: Urgency) -> Sent {
        let before = self.scheduler.queue.arrived();
        let shape = vec![elements.len()];
        let inputs = vec![Tensor { shape, data: TensorData::Int64(elements.to_vec()) }.into()];
        let scheduler = self.scheduler.clone();
        let sent = tokio::spawn(async move { scheduler.infer(inputs, urgency).await.map(|answer| answer.outputs) });
        while !sent.is_finished() && self.scheduler.queue.arrived() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sent
    }

    /// Sends a request of a 0, and returns once the model is at it.
    async fn occupy(&self) -> Sent {
        let sent = self.send(&[0], NOW).await;
        assert_eq!(self.gate.begun(1), [[0]]);
        self.wait_until(0).await;
        sent
    }

    async fn wait_until(&self, waiting: usize) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.scheduler.queue_len() != waiting {
            assert!(Instant::now() < until, "{} wait and not {waiting}", self.scheduler.queue_len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn priority(priority: u32) -> Urgency {
    Urgency { priority, timeout: None }
}

fn within(timeout: Duration) -> Urgency {
    Urgency { priority: 0, timeout: Some(timeout) }
}

fn levels(priority_levels: usize, max_batch_size: usize) -> BatchingSettings {
    BatchingSettings { priority_levels, max_batch_size, ..BatchingSettings::default() }
}

#[test]
fn a_higher_level_goes_first_and_the_oldest_first_inside_one() {
    let settings = BatchingSettings { default_priority: Some(2), ..levels(3, 1) };
    let place = Place::proved(settings);
    runtime().block_on(async {
        place.occupy().await;
        // 0, and a level that there isn't, are the default.
        for (k, level) in [3, 0, 1, 2, 9, 1, 3].into_iter().enumerate() {
            place.send(&[k as i64 + 1], priority(level)).await;
        }
        place.gate.open(8);
        assert_eq!(place.gate.begun(8), [[0], [3], [6], [2], [4], [5], [1], [7]]);
    });
}

#[test]
fn a_batch_takes_the_higher_levels_first_and_is_filled_up_with_lower_ones() {
    let place = Place::proved(levels(3, 4));
    runtime().block_on(async {
        place.occupy().await;
        for (k, level) in [3, 3, 2, 1, 2, 3].into_iter().enumerate() {
            place.send(&[k as i64 + 1], priority(level)).await;
        }
        place.gate.open(3);
        assert_eq!(place.gate.begun(3), [vec![0], vec![4, 3, 5, 1], vec![2, 6]]);
    });
}

#[test]
fn a_lower_level_is_not_starved() {
    let place = Place::proved(levels(2, 1));
    runtime().block_on(async {
        place.occupy().await;
        place.send(&[-1], priority(2)).await;
        for k in 1..=20 {
            place.send(&[k], priority(1)).await;
        }
        place.gate.open(22);
        let at = place.gate.begun(22).iter().position(|run| run == &[-1]);
        assert_eq!(at, Some(7));
    });
}

#[test]
fn without_levels_a_priority_says_nothing() {
    let place = Place::proved(levels(1, 1));
    runtime().block_on(async {
        place.occupy().await;
        for (k, level) in [3, 1, 2].into_iter().enumerate() {
            place.send(&[k as i64 + 1], priority(level)).await;
        }
        place.gate.open(4);
        assert_eq!(place.gate.begun(4), [[0], [1], [2], [3]]);
    });
}

#[test]
fn a_higher_level_takes_a_place_in_a_full_queue() {
    let place = Place::proved(BatchingSettings { max_queue: 2, ..levels(2, 1) });
    runtime().block_on(async {
        place.occupy().await;
        let [older, younger] = [place.send(&[1], priority(2)).await, place.send(&[2], priority(2)).await];
        let full = Err(Error::QueueFull("the queue is full: 2 requests wait (`maxQueue`)".into()));
        assert_eq!(place.send(&[3], priority(2)).await.await.unwrap(), full);
        let high = place.send(&[4], priority(1)).await;
        assert_eq!(younger.await.unwrap(), full, "the youngest of the lowest level makes room");
        place.gate.open(3);
        assert!(older.await.unwrap().is_ok() && high.await.unwrap().is_ok());
        assert_eq!(place.gate.begun(3), [[0], [4], [1]]);
    });
}

#[test]
fn a_request_whose_time_is_over_is_answered_and_never_runs() {
    let place = Place::proved(levels(1, 4));
    runtime().block_on(async {
        place.occupy().await;
        let late = place.send(&[1], within(Duration::from_millis(30))).await;
        let patient = place.send(&[2], within(Duration::from_secs(60))).await;
        // While the model is still at the first.
        let text = "no answer within the time that the request allows itself";
        assert_eq!(late.await.unwrap(), Err(Error::DeadlineExceeded(text.into())));
        place.wait_until(1).await;
        let none = place.send(&[3], within(Duration::ZERO)).await;
        assert_eq!(none.await.unwrap(), Err(Error::DeadlineExceeded(text.into())));
        place.gate.open(2);
        assert!(patient.await.unwrap().is_ok());
        assert_eq!(place.gate.begun(2), [[0], [2]]);
    });
}

#[test]
fn a_request_s_own_time_doesn_t_outlast_that_of_the_service() {
    let settings = BatchingSettings { request_timeout: Duration::from_millis(50), ..levels(1, 1) };
    let place = Place::proved(settings);
    runtime().block_on(async {
        let late = place.send(&[0], within(Duration::from_secs(60))).await;
        let text = "no answer within 50ms (`requestTimeout`)";
        assert_eq!(late.await.unwrap(), Err(Error::DeadlineExceeded(text.into())));
        place.gate.open(1);
    });
}

#[test]
fn those_who_left_hold_no_places() {
    let place = Place::proved(BatchingSettings { max_queue: 8, ..levels(2, 4) });
    runtime().block_on(async {
        place.occupy().await;
        let mut sent = Vec::new();
        for k in 1..=8 {
            sent.push(place.send(&[k], priority(1 + k as u32 % 2)).await);
        }
        for gone in &sent[..7] {
            gone.abort();
        }
        place.wait_until(1).await;
        for k in 11..=17 {
            sent.push(place.send(&[k], NOW).await);
        }
        place.gate.open(4);
        for answer in sent.drain(..).skip(7) {
            assert!(answer.await.unwrap().is_ok());
        }
        let ran: Vec<i64> = place.gate.begun(3).concat();
        assert!(ran.iter().all(|k| [0, 8].contains(k) || *k > 10), "{ran:?}");
    });
}

#[test]
fn one_that_left_among_many_does_not_run_with_them() {
    let place = Place::proved(levels(1, 32));
    runtime().block_on(async {
        place.occupy().await;
        let mut sent = Vec::new();
        for k in 1..=8 {
            sent.push(place.send(&[k], NOW).await);
        }
        sent.remove(4).abort();
        tokio::time::sleep(Duration::from_millis(20)).await;
        place.gate.open(2);
        for answer in sent {
            assert!(answer.await.unwrap().is_ok());
        }
        assert_eq!(place.gate.begun(2)[1], [1, 2, 3, 4, 6, 7, 8]);
    });
}

#[test]
fn a_delay_does_not_use_up_the_time_of_a_request() {
    let settings = BatchingSettings { max_queue_delay: Duration::from_secs(60), ..levels(1, 4) };
    let place = Place::proved(settings);
    place.gate.open(1);
    runtime().block_on(async {
        let answer = place.send(&[1], within(Duration::from_secs(2))).await.await.unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    });
}

#[test]
fn a_run_has_no_more_elements_than_it_may() {
    let place = Place::proved(BatchingSettings { max_batch_elements: Some(6), ..levels(1, 32) });
    runtime().block_on(async {
        place.occupy().await;
        for k in 1..=3 {
            place.send(&[k, k], NOW).await;
        }
        // More than a run may have: alone. What is behind it is not held up, nor does it overtake what it could join.
        place.send(&[4; 7], NOW).await;
        place.send(&[5], NOW).await;
        place.send(&[6; 6], NOW).await;
        place.gate.open(5);
        assert_eq!(place.gate.begun(5), [vec![0], vec![1, 1, 2, 2, 3, 3], vec![4; 7], vec![5], vec![6; 6]]);
    });
}

#[test]
fn as_many_runs_go_on_as_there_are_instances() {
    for batching in
        [Batching::Refused { reason: "a test".into() }, Batching::Proved { axis: 0, reason: "a test".into() }]
    {
        let place = Place::new(3, batching, levels(1, 1));
        runtime().block_on(async {
            for k in 0..5 {
                place.send(&[k], NOW).await;
            }
            // Which of the threads is first is the machine's affair.
            let mut begun = place.gate.begun(3);
            begun.sort_unstable();
            assert_eq!(begun, [[0], [1], [2]]);
            place.wait_until(2).await;
            place.gate.open(1);
            assert_eq!(place.gate.begun(4)[3], [3]);
            place.wait_until(1).await;
            place.gate.open(4);
            assert_eq!(place.gate.begun(5)[4], [4]);
        });
    }
}
