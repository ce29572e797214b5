//! The memory that a session's CPU arena holds, and giving it back.
//!
//! An arena keeps what its largest run needed for as long as the session lives. That is right while such runs go on, and
//! wrong after one request that was far larger than the rest: [`Watermark`] tells the two apart.
#![expect(unsafe_code, reason = "`ort` has no calls for an arena's figures")]

use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::sys::OrtAllocator;

use super::native::{self, check};

/// What a session's arena holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that it has from the system: weights that aren't mapped from a file, and room for runs.
    pub held: u64,
    /// Bytes of those that are in use.
    pub used: u64,
    /// The most that was ever in use.
    pub peak: u64,
}

impl std::ops::Add for Memory {
    type Output = Memory;

    fn add(self, other: Memory) -> Memory {
        Memory { held: self.held + other.held, used: self.used + other.used, peak: self.peak + other.peak }
    }
}

/// The arena of one session.
struct Arena(ptr::NonNull<OrtAllocator>);

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `CreateAllocator` gave it, and nobody else has it.
        unsafe { (ort::api().ReleaseAllocator)(self.0.as_ptr()) }
    }
}

impl Arena {
    fn of(session: &Session) -> ort::Result<Arena> {
        let mut allocator = ptr::null_mut();
        // SAFETY: session and memory info are valid, and so is the out pointer.
        check(unsafe { (ort::api().CreateAllocator)(session.ptr(), native::cpu().ptr(), &mut allocator) })?;
        ptr::NonNull::new(allocator).map(Arena).ok_or_else(|| ort::Error::new("ONNX Runtime gave no allocator"))
    }
}

/// The figures of the session's arena.
pub(super) fn stats(session: &Session) -> ort::Result<Memory> {
    let arena = Arena::of(session)?;
    let mut pairs = ptr::null_mut();
    // SAFETY: the allocator is valid while `arena` lives, and so is the out pointer.
    check(unsafe { (ort::api().AllocatorGetStats)(arena.0.as_ptr(), &mut pairs) })?;
    let number = |key: &CStr| {
        // SAFETY: the pairs are valid until they are released below; a value is a C string of theirs, or null.
        let value: *const c_char = unsafe { (ort::api().GetKeyValue)(pairs, key.as_ptr()) };
        if value.is_null() {
            return 0;
        }
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(value) };
        text.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let memory = if pairs.is_null() {
        Memory::default()
    } else {
        Memory { held: number(c"TotalAllocated"), used: number(c"InUse"), peak: number(c"MaxInUse") }
    };
    // SAFETY: given by the call above, null or not, and not used any more.
    unsafe { (ort::api().ReleaseKeyValuePairs)(pairs) };
    Ok(memory)
}

/// Tells when an arena is far larger than what comes now: after a run of requests of which none was half as large as the
/// one that it was made for.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// Runs since the last look.
    runs: u32,
    /// The largest of them.
    recent: usize,
    /// The largest since the arena was shrunk.
    largest: usize,
    /// Whether the next run is to shrink the arena.
    due: bool,
}

impl Watermark {
    /// Runs between two looks: few enough that memory isn't held for long, and enough that a large request among small
    /// ones, again and again, doesn't have the memory fetched anew each time.
    const LOOK_EVERY: u32 = 64;

    /// Counts a run that begins by the size of its inputs; true when the arena should be shrunk after it.
    pub(super) fn runs(&mut self, size: usize) -> bool {
        let shrink = std::mem::take(&mut self.due);
        self.recent = self.recent.max(size);
        self.runs += 1;
        if self.runs == Self::LOOK_EVERY {
            self.due = self.recent < self.largest.div_ceil(2);
            self.largest = if self.due { self.recent } else { self.largest.max(self.recent) };
            (self.runs, self.recent) = (0, 0);
        }
        shrink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_shrinks_once_after_a_large_run_and_never_while_they_go_on() {
        let mut mark = Watermark::default();
        let mut runs = |size, count| (0..count).filter(|_| mark.runs(size)).count();
        assert_eq!(runs(10, 1000), 0);
        assert_eq!(runs(1000, 1), 0);
        assert_eq!(runs(10, 200), 1);
        assert_eq!(runs(10, 1000), 0);
        // As large a request each time, or half as large: nothing to give back.
        assert_eq!(runs(1000, 100), 0);
        assert_eq!(runs(501, 1000), 0);
        assert_eq!((0..100).map(|_| runs(1000, 1) + runs(1, 60)).sum::<usize>(), 0);
        assert_eq!(runs(1, 200), 1);
    }
}
