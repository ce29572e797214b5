//! When which of what waits runs together: decisions over plain values and a clock that is handed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::gain::Gain;
use super::line::{Job, Line};
use super::pace::{Done, Pace};
use super::tally::Limits;
use crate::settings::BatchingSettings;

/// What waits, what runs, and what may be joined.
pub(super) struct Forming {
    pub(super) line: Line,
    pace: Pace,
    gain: Gain,
    limits: Arc<Limits>,
    delay: Duration,
}

/// What a thread that asks for work should do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Take at most so many rows.
    Take(usize),
    /// Wait for more jobs, and until then at most.
    Wait(Option<Instant>),
}

impl Forming {
    pub(super) fn new(settings: &BatchingSettings, limits: Arc<Limits>, instances: usize) -> Forming {
        let line = Line::new(settings.priority_levels);
        let gain = Gain::new(limits.rows());
        Forming { line, pace: Pace::new(instances), gain, limits, delay: settings.max_queue_delay }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.pace.arrived(job.rows);
        self.line.push(job);
    }

    /// A run is over.
    pub(super) fn finished(&mut self, done: Done, now: Instant) {
        if done.elements > 0 {
            self.gain.ran(done.rows, done.took.as_nanos() as f64 / done.elements as f64);
        }
        self.pace.finished(done, now);
    }

    /// What an idle thread should do: it waits for more where it is told to or expects it shortly, and never for what
    /// can't be joined, nor where nothing new will be taken in.
    pub(super) fn next(&mut self, now: Instant, closed: bool) -> Next {
        // Who asks for batches to be waited for asks for full ones.
        let pays = if self.delay.is_zero() { self.gain.most() } else { usize::MAX };
        let most = self.limits.rows().min(pays);
        let Some(survey) = self.line.survey(&self.limits, most) else { return Next::Wait(None) };
        if self.limits.axis().is_none() {
            return Next::Take(1);
        }
        if !closed && !survey.full {
            let filled = (survey.since + self.delay).min(survey.due);
            let back = self.pace.wait(survey.rows, now).map(|back| back.min(survey.due));
            let until = back.map_or(filled, |back| back.max(filled));
            if now < until {
                return Next::Wait(Some(until));
            }
        }
        // What waits for being filled up is not held back from it.
        let share = if self.delay.is_zero() { self.pace.share(survey.rows) } else { most };
        Next::Take(most.min(share))
    }

    /// Takes what [`Forming::next`] said.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<Job> {
        let batch = self.line.take(&self.limits, most, now);
        self.pace.started(batch.iter().map(|job| job.rows).sum());
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::oneshot;

    use super::*;
    use crate::tensor::{Tensor, TensorData};

    const MICRO: Duration = Duration::from_micros(1);

    /// Clients that send one row and wait for the answer before they send the next.
    struct Loop {
        clients: usize,
        instances: usize,
        /// What a run takes, µs: so much, and so much a row.
        run: (u32, u32),
        /// Between an answer and the client's next request, µs: the first client's, and how much more each next one's.
        back: (u32, u32),
    }

    /// How many runs had how many rows.
    type Runs = BTreeMap<usize, usize>;

    impl Loop {
        /// Serves `requests` requests, event by event.
        fn serve(&self, requests: usize) -> Runs {
            let settings = BatchingSettings::default();
            let limits = Arc::new(Limits::new(Some(0), settings.max_batch_size, None, None));
            let mut forming = Forming::new(&settings, limits, self.instances);
            let start = Instant::now();
            let mut now = start;
            let mut coming: Vec<Instant> = (0..self.clients as u32).map(|k| start + k * 10 * MICRO).collect();
            let mut running: Vec<(Instant, Instant, usize)> = Vec::new();
            let mut answers = Vec::new();
            let (mut runs, mut served) = (Runs::new(), 0);
            while served < requests {
                let over = running.iter().position(|run| run.1 <= now);
                if let Some(over) = over {
                    let (begun, ended, rows) = running.swap_remove(over);
                    let back = |k: usize| ended + (self.back.0 + k as u32 * self.back.1) * MICRO;
                    coming.extend((0..rows).map(back));
                    forming.finished(Done { rows, elements: rows, since: 0, ended, took: ended - begun }, now);
                    served += rows;
                } else if let Some(k) = coming.iter().position(|at| *at <= now) {
                    let (job, answer) = job(coming.swap_remove(k));
                    answers.push(answer);
                    forming.push(job);
                }
                let mut wake = None;
                if running.len() < self.instances {
                    match forming.next(now, false) {
                        Next::Take(most) => {
                            let rows = forming.take(most, now).len();
                            *runs.entry(rows).or_default() += 1;
                            let takes = (self.run.0 + rows as u32 * self.run.1) * MICRO;
                            running.push((now, now + takes, rows));
                        }
                        Next::Wait(until) => wake = until,
                    }
                }
                let events = coming.iter().copied().chain(running.iter().map(|run| run.1)).chain(wake);
                now = events.min().expect("somebody is on the way").max(now);
            }
            runs
        }

        /// Rows a run, on average.
        fn filled(&self) -> f64 {
            let runs = self.serve(20_000);
            runs.iter().map(|(rows, count)| rows * count).sum::<usize>() as f64 / runs.values().sum::<usize>() as f64
        }
    }

    fn job(arrived: Instant) -> (Job, oneshot::Receiver<Result<super::super::Answer, crate::error::Error>>) {
        let (reply, answer) = oneshot::channel();
        let inputs = vec![Tensor { shape: vec![1], data: TensorData::Int64(vec![0]) }.into()];
        let deadline = arrived + Duration::from_secs(30);
        (Job { inputs, rows: 1, joins: true, size: 1, length: 0, level: 0, arrived, deadline, reply }, answer)
    }

    #[test]
    fn a_lone_client_is_served_at_once() {
        let settings = BatchingSettings::default();
        let limits = Arc::new(Limits::new(Some(0), settings.max_batch_size, None, None));
        let mut forming = Forming::new(&settings, limits, 1);
        let mut now = Instant::now();
        for pause in [0, 1, 100, 1_000, 1_000_000] {
            now += pause * MICRO;
            let (job, _answer) = job(now);
            forming.push(job);
            assert_eq!(forming.next(now, false), Next::Take(1), "after a pause of {pause} µs");
            assert_eq!(forming.take(1, now).len(), 1);
            let ended = now + 4000 * MICRO;
            forming.finished(Done { rows: 1, elements: 1, since: 0, ended, took: 4000 * MICRO }, ended);
            now = ended;
        }
    }

    #[test]
    fn a_busy_service_fills_its_batches() {
        // A run costs the same however many rows it has: whoever isn't part of it waits for another whole one.
        for clients in [2, 3, 5, 16, 32] {
            let all = Loop { clients, instances: 1, run: (5000, 0), back: (50, 5) };
            assert!(all.filled() > 0.95 * clients as f64, "{clients} clients: {:?}", all.serve(2000));
        }
        // More than a run may have.
        let many = Loop { clients: 64, instances: 1, run: (5000, 0), back: (50, 5) };
        assert!(many.filled() > 31.0, "{:?}", many.serve(2000));
    }

    #[test]
    fn instances_share_what_there_is() {
        for (clients, instances) in [(8, 2), (12, 3), (64, 2)] {
            let all = Loop { clients, instances, run: (3000, 500), back: (50, 5) };
            let part = (clients / instances) as f64;
            assert!(all.filled() > 0.8 * part, "{clients} over {instances}: {:?}", all.serve(2000));
        }
        // As many clients as instances: nobody waits for anybody.
        let each = Loop { clients: 3, instances: 3, run: (3000, 500), back: (50, 5) };
        assert_eq!(each.serve(300).keys().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn clients_that_take_long_cost_next_to_nothing() {
        // Nobody is back in time: what waits is run, and the model is hardly ever idle beside it.
        let slow = Loop { clients: 4, instances: 1, run: (5000, 0), back: (4000, 100) };
        let runs = slow.serve(2000);
        assert!(runs.values().sum::<usize>() <= 1010, "{runs:?}");
    }
}
