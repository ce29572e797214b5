//! How far a start is: which phase it is in, and how long each has taken.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LoadPhase {
    /// ONNX Runtime's library is opened.
    OpenRuntime,
    /// The model's files are held against their digests.
    VerifyModel,
    /// The model is read and prepared.
    LoadModel,
    /// The recorded sample runs.
    WarmUp,
    /// Requests can be answered.
    Done,
}

/// Each phase that takes time, its name in metrics, and what is going on in it.
const PHASES: [(LoadPhase, &str, &str); 4] = [
    (LoadPhase::OpenRuntime, "open_runtime", "opening ONNX Runtime"),
    (LoadPhase::VerifyModel, "verify_model", "checking the model's digests"),
    (LoadPhase::LoadModel, "load_model", "loading the model"),
    (LoadPhase::WarmUp, "warm_up", "warming up"),
];

/// How far a start is. One thread says so, any may ask.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    phase: AtomicU8,
    /// When the phase began, nanoseconds after `begun`.
    since: AtomicU64,
    /// What phases have taken that are over, nanoseconds: one may come again.
    spent: [AtomicU64; PHASES.len()],
    /// Bytes of the model's file; 0 while that isn't known.
    bytes: AtomicU64,
}

/// What can be said of a start that goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stand {
    /// The phase's name.
    pub(crate) phase: &'static str,
    /// What is going on in it.
    pub(crate) doing: &'static str,
    /// Since the service began.
    pub(crate) elapsed: Duration,
    /// Bytes of the model's file.
    pub(crate) model_bytes: Option<u64>,
}

impl Stand {
    /// For people: `loading the model (90.4 MB), 1.2 s after the start`.
    pub(crate) fn text(&self) -> String {
        let size = self.model_bytes.map(|bytes| format!(" ({:.1} MB)", bytes as f64 / 1e6)).unwrap_or_default();
        format!("{}{size}, {:.1} s after the start", self.doing, self.elapsed.as_secs_f64())
    }
}

impl Progress {
    /// Begins with the first phase.
    pub(crate) fn begin() -> Progress {
        Progress {
            begun: Instant::now(),
            phase: AtomicU8::new(LoadPhase::OpenRuntime as u8),
            since: AtomicU64::new(0),
            spent: Default::default(),
            bytes: AtomicU64::new(0),
        }
    }

    /// Ends the phase that is, and begins another.
    pub(crate) fn enter(&self, phase: LoadPhase) {
        let now = self.now();
        let spent = now.saturating_sub(self.since.swap(now, Relaxed));
        let before = self.phase.swap(phase as u8, Relaxed);
        if let Some(sum) = self.spent.get(usize::from(before)) {
            sum.fetch_add(spent, Relaxed);
        }
    }

    /// Notes how large the model's file is.
    pub(crate) fn model_is(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// How far it is; `None` once it is done.
    pub(crate) fn stand(&self) -> Option<Stand> {
        let (_, phase, doing) = PHASES.get(usize::from(self.phase.load(Relaxed)))?;
        Some(Stand { phase, doing, elapsed: self.begun.elapsed(), model_bytes: self.bytes() })
    }

    /// Bytes of the model's file, where they are known.
    pub(crate) fn bytes(&self) -> Option<u64> {
        Some(self.bytes.load(Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Each phase by its name in metrics, and the seconds that it has taken so far.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let current = usize::from(self.phase.load(Relaxed));
        let running = self.now().saturating_sub(self.since.load(Relaxed));
        PHASES.iter().zip(&self.spent).enumerate().map(move |(k, ((_, name, _), spent))| {
            let running = if k == current { running } else { 0 };
            (*name, spent.load(Relaxed).saturating_add(running) as f64 / 1e9)
        })
    }

    /// Seconds of all phases, once they are over.
    pub(crate) fn took(&self) -> Option<f64> {
        let done = self.phase.load(Relaxed) == LoadPhase::Done as u8;
        done.then(|| self.phases().map(|(_, seconds)| seconds).sum())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_time_and_one_that_comes_again_adds_to_it() {
        let progress = Progress::begin();
        assert_eq!(progress.stand().map(|stand| (stand.phase, stand.model_bytes)), Some(("open_runtime", None)));
        assert_eq!(progress.took(), None);
        progress.model_is(90_400_000);
        let pause = Duration::from_millis(2);
        for phase in [LoadPhase::LoadModel, LoadPhase::WarmUp, LoadPhase::LoadModel, LoadPhase::WarmUp, LoadPhase::Done]
        {
            progress.enter(phase);
            if let Some(stand) = progress.stand() {
                assert_eq!((stand.phase, stand.model_bytes), (PHASES[phase as usize].1, Some(90_400_000)));
            }
            std::thread::sleep(pause);
        }
        let phases: Vec<_> = progress.phases().collect();
        let names: Vec<_> = phases.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["open_runtime", "verify_model", "load_model", "warm_up"]);
        assert!(phases[1].1 == 0.0 && phases[2].1 >= 0.004 && phases[3].1 >= 0.004, "{phases:?}");
        assert_eq!((progress.stand(), progress.took()), (None, Some(phases.iter().map(|(_, s)| s).sum())));
    }

    #[test]
    fn people_are_told_what_goes_on() {
        let stand = Stand {
            phase: "load_model",
            doing: "loading the model",
            elapsed: Duration::from_millis(1234),
            model_bytes: Some(90_400_000),
        };
        assert_eq!(stand.text(), "loading the model (90.4 MB), 1.2 s after the start");
    }
}
