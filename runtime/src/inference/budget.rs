//! How many bytes of requests are in memory at once, over all requests in work: without a bound, `maxConcurrency` times
//! `maxBodyBytes` would be.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cgroup;
use crate::error::Error;
use crate::settings::ServerSettings;

/// So much of each request is free: a small one costs no counting and is never refused because of large ones.
pub(crate) const FREE: usize = 16 << 10;

/// Where nobody says how much, requests may hold this part of the memory, and leave the rest to the model, to what a
/// body becomes when it is read, and to the answers.
const PART: u64 = 8;

/// Where not even the memory is known: so many of the largest bodies.
const BODIES: u64 = 4;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    /// As the settings say, or for `auto` as the memory of this process allows.
    pub(crate) fn of(server: &ServerSettings) -> Budget {
        let auto = || match cgroup::memory_limit() {
            Some(memory) => memory / PART,
            None => server.max_body_bytes.saturating_mul(BODIES),
        };
        let limit = server.max_buffered_bytes.unwrap_or_else(|| usize::try_from(auto()).unwrap_or(usize::MAX));
        Budget { limit, held: AtomicUsize::new(0) }
    }

    /// Bytes beyond [`FREE`] that requests may hold together.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The largest request that is possible at all, bytes.
    pub(crate) fn largest(&self) -> u64 {
        self.limit.saturating_add(FREE) as u64
    }

    /// Refuses a request of `bytes` bytes for which there is no room now; one with room may still come too late.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), Error> {
        let more = counted(bytes);
        if more > 0 && self.held.load(Ordering::Relaxed).saturating_add(more) > self.limit {
            return Err(self.full());
        }
        Ok(())
    }

    /// What a request that begins holds: nothing.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held { budget: self, bytes: 0 }
    }

    fn full(&self) -> Error {
        Error::QueueFull(format!(
            "the requests in work hold as many bytes as they may, {} (`maxBufferedBytes`): try again later",
            self.limit
        ))
    }
}

/// The bytes of a request that count.
fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE)
}

/// What one request holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Held<'_> {
    /// Holds `bytes` bytes from now on, or what it did before and 429.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let counted = counted(bytes);
        let more = counted.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        if self.budget.held.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.budget.limit {
            self.budget.held.fetch_sub(more, Ordering::Relaxed);
            return Err(self.budget.full());
        }
        self.bytes = counted;
        Ok(())
    }

    /// Holds what the body has become, which is in memory already whether there is room or not. `bytes` isn't asked
    /// for a small body: what becomes of it is small too.
    pub(crate) fn become_of(&mut self, bytes: impl FnOnce() -> usize) {
        if self.bytes > 0 {
            let counted = counted(bytes());
            self.budget.held.fetch_add(counted, Ordering::Relaxed);
            self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
            self.bytes = counted;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: usize) -> Budget {
        Budget::of(&ServerSettings { max_buffered_bytes: Some(limit), ..ServerSettings::default() })
    }

    #[test]
    fn requests_share_the_budget_and_give_back_what_they_held() {
        let budget = budget(1000);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        assert_eq!(one.grow(FREE + 600), Ok(()));
        assert_eq!(one.grow(FREE + 500), Ok(()), "it holds more already");
        assert!(matches!(two.grow(FREE + 401), Err(Error::QueueFull(m)) if m.contains("`maxBufferedBytes`")));
        assert_eq!((two.grow(FREE + 400), two.grow(FREE + 400)), (Ok(()), Ok(())));
        assert!(budget.check(FREE + 1).is_err());
        assert_eq!((budget.check(FREE), budget.hold().grow(FREE)), (Ok(()), Ok(())));
        drop(one);
        assert_eq!(budget.check(FREE + 600), Ok(()));
        drop(two);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        assert_eq!(budget.largest(), 1000 + FREE as u64);
    }

    #[test]
    fn what_a_body_becomes_counts_in_its_place_even_beyond_the_limit() {
        let budget = budget(1000);
        let mut held = budget.hold();
        held.grow(FREE + 600).unwrap();
        held.become_of(|| FREE + 4000);
        assert_eq!(budget.held.load(Ordering::Relaxed), 4000);
        assert!(budget.check(FREE + 1).is_err());
        held.become_of(|| 10);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        held.become_of(|| unreachable!("a small one isn't measured"));
    }

    #[test]
    fn auto_is_a_part_of_the_memory() {
        let auto = Budget::of(&ServerSettings::default());
        assert_eq!(Some(auto.limit() as u64), cgroup::memory_limit().map(|memory| memory / PART));
    }
}
