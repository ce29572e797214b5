//! How many bytes of requests and of answers are in memory at once: without a bound, `maxConcurrency` times
//! `maxBodyBytes` would be, and whatever clients ask for and don't read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

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
    /// Of requests.
    held: AtomicUsize,
    /// Of answers that wait to be sent; they outlive their requests.
    unsent: Arc<AtomicUsize>,
}

impl Budget {
    /// As the settings say, or for `auto` as the memory of this process allows.
    pub(crate) fn of(server: &ServerSettings) -> Budget {
        let auto = || match cgroup::memory_limit() {
            Some(memory) => memory / PART,
            None => server.max_body_bytes.saturating_mul(BODIES),
        };
        let limit = server.max_buffered_bytes.unwrap_or_else(|| usize::try_from(auto()).unwrap_or(usize::MAX));
        Budget { limit, held: AtomicUsize::new(0), unsent: Arc::default() }
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
        if more > 0 && self.held.load(Ordering::Relaxed).saturating_add(more) > self.left() {
            return Err(self.full());
        }
        Ok(())
    }

    /// Refuses every request, small ones too, while answers that clients don't take hold all that there is.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        if self.unsent.load(Ordering::Relaxed) > self.limit {
            return Err(Error::QueueFull(format!(
                "the answers that wait to be read hold as many bytes as they may, {} (`maxBufferedBytes`): try again \
                 later",
                self.limit
            )));
        }
        Ok(())
    }

    /// Counts an answer until the last byte of it is sent or dropped; one that others hold too costs no memory of its own.
    pub(crate) fn unsent(&self, answer: Bytes) -> Bytes {
        let bytes = counted(answer.len());
        if bytes == 0 || !answer.is_unique() {
            return answer;
        }
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
        Bytes::from_owner(Unsent { answer, bytes, unsent: self.unsent.clone() })
    }

    /// What answers leave to requests.
    fn left(&self) -> usize {
        self.limit.saturating_sub(self.unsent.load(Ordering::Relaxed))
    }

    /// What a request that begins holds: nothing.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held { budget: self, bytes: 0 }
    }

    fn full(&self) -> Error {
        Error::QueueFull(format!(
            "requests and answers hold as many bytes as they may, {} (`maxBufferedBytes`): try again later",
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
        if self.budget.held.fetch_add(more, Ordering::Relaxed).saturating_add(more) > self.budget.left() {
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

/// An answer that waits to be sent.
struct Unsent {
    answer: Bytes,
    bytes: usize,
    unsent: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.unsent.fetch_sub(self.bytes, Ordering::Relaxed);
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
    fn an_answer_counts_until_its_last_byte_is_gone() {
        let budget = budget(1000);
        let mut answer = budget.unsent(vec![7; FREE + 600].into());
        assert_eq!((budget.left(), budget.admit()), (400, Ok(())));
        assert!(budget.check(FREE + 401).is_err() && budget.hold().grow(FREE + 401).is_err());
        assert_eq!((budget.check(FREE + 400), budget.hold().grow(FREE + 400)), (Ok(()), Ok(())));
        let part = answer.split_to(100);
        drop(answer);
        assert_eq!((&part[..], budget.left()), (&[7; 100][..], 400));
        // They are there already: what is over the limit is counted too.
        let more = budget.unsent(vec![7; FREE + 401].into());
        assert!(matches!(budget.admit(), Err(Error::QueueFull(m)) if m.contains("`maxBufferedBytes`")));
        assert_eq!(budget.left(), 0);
        drop((part, more));
        assert_eq!((budget.left(), budget.admit()), (1000, Ok(())));
    }

    #[test]
    fn an_answer_that_is_small_or_shared_does_not_count() {
        let budget = budget(1000);
        let shared = Bytes::from(vec![7; FREE + 600]);
        let kept = [
            budget.unsent(vec![7; FREE].into()),
            budget.unsent(shared.clone()),
            budget.unsent(Bytes::from_static(&[7; FREE + 600])),
        ];
        assert_eq!((kept.len(), budget.left()), (3, 1000));
    }

    #[test]
    fn auto_is_a_part_of_the_memory() {
        let auto = Budget::of(&ServerSettings::default());
        assert_eq!(Some(auto.limit() as u64), cgroup::memory_limit().map(|memory| memory / PART));
    }
}
