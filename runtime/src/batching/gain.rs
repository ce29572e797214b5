//! How many rows pay: a row of a larger batch has to cost less, or the batch isn't made larger.
//!
//! Joined rows share what a run costs once. For a transformer that is much, for a convolution over a large image next to
//! nothing, and beyond some number it is nothing for any model. What is joined nevertheless takes memory, which ONNX
//! Runtime keeps for as long as such runs go on, and has the first request wait for the last one's row. How far it pays
//! is for the model and the machine to say: while enough requests wait, twice and half as many rows are tried now and
//! then, and what a row costs decides.

/// Rows, as a power of two, that a batch may have before anything is known.
const FIRST: usize = 3;

/// Runs of a size whose quickest says what a row costs.
const RUNS: u32 = 4;

/// Twice as many rows have to be that much cheaper, each...
const CHEAPER: f64 = 0.97;

/// ... and half as many may be that much dearer.
const DEARER: f64 = 1.015;

/// What was measured is worth that much less after each run: the load of the machine changes.
const FADES: f64 = 1.02;

/// Runs between a trial that changed nothing and the next, at first; twice as many each time, up to the most.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: u32 = 1024;

/// What a row costs in batches of 1, 2, 4, 8, … rows, and which of these is in use.
#[derive(Debug)]
pub(super) struct Gain {
    /// Nanoseconds for each element, by size; infinite before the first run.
    costs: Vec<f64>,
    size: usize,
    trial: Option<Trial>,
    /// Whether the next trial is of more rows, or of fewer.
    upwards: bool,
    /// Runs until then, and after it.
    rest: u32,
    pause: u32,
}

/// Another size, for a while.
#[derive(Debug)]
struct Trial {
    size: usize,
    runs: u32,
    /// Runs that were of yet another size: there isn't enough to do.
    others: u32,
}

impl Gain {
    /// For batches of at most `rows` rows.
    pub(super) fn new(rows: usize) -> Gain {
        let largest = size_of(rows.max(1));
        let costs = vec![f64::INFINITY; largest + 1];
        Gain { costs, size: FIRST.min(largest), trial: None, upwards: true, rest: RUNS, pause: PAUSE }
    }

    /// Rows that a batch should have at most.
    pub(super) fn most(&self) -> usize {
        1 << self.trial.as_ref().map_or(self.size, |trial| trial.size)
    }

    /// A run of so many rows is over, and took so many nanoseconds for each of its elements.
    pub(super) fn ran(&mut self, rows: usize, cost: f64) {
        let size = size_of(rows);
        // A batch that is far from full says little about full ones.
        let full = 4 * rows >= 3 << size;
        if let Some(known) = self.costs.get_mut(size).filter(|_| full) {
            *known = cost.min(*known * FADES);
        }
        match &mut self.trial {
            Some(trial) if full && trial.size == size => {
                trial.runs += 1;
                if trial.runs >= RUNS {
                    self.judge(size);
                }
            }
            Some(trial) => {
                trial.others += 1;
                if trial.others > 2 * RUNS {
                    self.give_up();
                }
            }
            None if full && size == self.size => {
                self.rest = self.rest.saturating_sub(1);
                if self.rest == 0 {
                    self.try_next();
                }
            }
            None => {}
        }
    }

    /// The trial of `size` is over.
    fn judge(&mut self, size: usize) {
        let bound = if size > self.size { CHEAPER } else { DEARER };
        if self.costs[size] > self.costs[self.size] * bound {
            return self.give_up();
        }
        (self.size, self.pause) = (size, PAUSE);
        self.try_next();
    }

    fn give_up(&mut self) {
        self.trial = None;
        self.upwards = !self.upwards;
        self.rest = self.pause;
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    fn try_next(&mut self) {
        let next = if self.upwards { Some(self.size + 1) } else { self.size.checked_sub(1) };
        match next.filter(|size| *size < self.costs.len()) {
            Some(size) => self.trial = Some(Trial { size, runs: 0, others: 0 }),
            None => self.give_up(),
        }
    }
}

/// The power of two that holds so many rows.
fn size_of(rows: usize) -> usize {
    rows.max(1).next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that batches have in the end, where so many wait at any time and a run costs so much, and so much a row.
    fn settles(waiting: usize, once: f64, each: f64) -> usize {
        let mut gain = Gain::new(32);
        let mut most = Vec::new();
        for _ in 0..4000 {
            let rows = gain.most().min(waiting);
            most.push(rows);
            gain.ran(rows, (once + each * rows as f64) / rows as f64);
        }
        let usual = |rows: &usize| most.iter().filter(|other| *other == rows).count();
        *most.iter().max_by_key(|rows| usual(rows)).unwrap()
    }

    #[test]
    fn batches_grow_for_as_long_as_a_row_gets_cheaper() {
        assert_eq!(settles(100, 5000.0, 0.0), 32);
        assert_eq!(settles(100, 5000.0, 500.0), 32);
        assert_eq!(settles(100, 1000.0, 1000.0), 16);
        assert_eq!(settles(100, 100.0, 1000.0), 4);
    }

    #[test]
    fn rows_that_gain_nothing_run_alone() {
        assert_eq!(settles(100, 0.0, 1000.0), 1);
        let mut gain = Gain::new(32);
        for _ in 0..200 {
            let rows = gain.most();
            // What doesn't fit into the cache is slower for it.
            gain.ran(rows, 1000.0 + 10.0 * rows as f64);
        }
        assert_eq!(1 << gain.size, 1);
    }

    #[test]
    fn what_never_waits_is_never_held_back() {
        assert_eq!(settles(3, 5000.0, 0.0), 3);
        assert_eq!(settles(8, 5000.0, 10.0), 8);
        let mut gain = Gain::new(32);
        (0..1000).for_each(|_| gain.ran(1, 1000.0));
        assert_eq!(gain.most(), 1 << FIRST);
    }

    #[test]
    fn a_batch_is_no_larger_than_it_may() {
        for rows in [0, 1, 2, 3, 32, 48] {
            let mut gain = Gain::new(rows);
            for _ in 0..1000 {
                let run = gain.most().min(rows.max(1));
                gain.ran(run, 1000.0 / run as f64);
            }
            assert_eq!(1 << gain.size, rows.max(1).next_power_of_two(), "of {rows}");
        }
    }

    #[test]
    fn another_load_is_another_measure() {
        let mut gain = Gain::new(32);
        let mut serve = |cost: &dyn Fn(f64) -> f64| {
            (0..10_000).for_each(|_| gain.ran(gain.most(), cost(gain.most() as f64)));
            1 << gain.size
        };
        assert_eq!(serve(&|rows| 5000.0 / rows), 32);
        assert_eq!(serve(&|_| 1000.0), 1);
        assert_eq!(serve(&|rows| 5000.0 / rows + 1000.0), 32);
    }

    #[test]
    fn a_larger_request_than_batches_may_be_is_no_measure() {
        let mut gain = Gain::new(4);
        gain.ran(1000, 1.0);
        assert_eq!(gain.costs, [f64::INFINITY; 3]);
    }
}
