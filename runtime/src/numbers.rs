//! Numbers that name requests, traces and spans: distinct in this process, and in all likelihood between processes.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes `N` numbers at a time, which don't depend on one another.
pub(crate) struct Numbers<const N: usize> {
    seeds: [u64; N],
    next: AtomicU64,
}

impl<const N: usize> Numbers<N> {
    /// Begins at random places.
    pub(crate) fn new() -> Self {
        // The standard library's only source of chance.
        Numbers { seeds: [(); N].map(|()| RandomState::new().build_hasher().finish()), next: AtomicU64::new(0) }
    }

    /// The next ones.
    pub(crate) fn next(&self) -> [u64; N] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.seeds.map(|seed| mixed(seed.wrapping_add(number)))
    }
}

/// SplitMix64's finaliser: a bijection, so that distinct numbers stay distinct.
pub(crate) fn mixed(number: u64) -> u64 {
    let a = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        let numbers = Numbers::<2>::new();
        let made: std::collections::BTreeSet<u64> = (0..1000).flat_map(|_| numbers.next()).collect();
        assert_eq!(made.len(), 2000);
        assert_ne!(Numbers::<1>::new().next(), Numbers::<1>::new().next());
    }
}
