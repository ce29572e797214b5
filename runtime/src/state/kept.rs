//! What is kept, by session: how much of it there may be, and for how long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turns;

use crate::inference;
use crate::tensor::Value;

/// One session's state.
#[derive(Debug, Default)]
pub(super) struct State {
    /// One value a pair; `None` before the first request has been answered.
    pub(super) values: Option<Vec<Value>>,
    /// Their bytes.
    bytes: usize,
    /// It is kept no more: who still waits for a turn gets none.
    pub(super) over: bool,
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Kept {
    sessions: Mutex<Book>,
    bytes: AtomicUsize,
    idle: Duration,
}

#[derive(Debug)]
struct Book {
    entries: HashMap<String, Entry>,
    /// When it was last looked for idle ones.
    swept: Instant,
    expired: u64,
}

#[derive(Debug)]
struct Entry {
    state: Arc<Turns<State>>,
    used: Instant,
}

/// What there is for a request of a session.
#[derive(Debug)]
pub(super) enum Begun {
    /// The session, which was there.
    Known(Arc<Turns<State>>),
    /// The session, which begins.
    New(Arc<Turns<State>>),
    /// There is no such session, and the request doesn't begin one.
    Unknown,
    /// There may be no more sessions.
    Full,
}

impl Kept {
    pub(super) fn new(idle: Duration) -> Kept {
        let book = Book { entries: HashMap::new(), swept: Instant::now(), expired: 0 };
        Kept { sessions: Mutex::new(book), bytes: AtomicUsize::new(0), idle }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What it holds is whole between any two statements.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session `id`, which begins if it isn't there and `start` says so.
    pub(super) fn begin(&self, id: &str, start: bool, most: usize, now: Instant) -> Begun {
        let mut book = self.book();
        // Often enough that none is kept for much longer than it may be.
        if now.saturating_duration_since(book.swept) > self.idle / 8 || book.entries.len() >= most {
            self.sweep(&mut book, now);
        }
        if let Some(entry) = book.entries.get_mut(id) {
            entry.used = now;
            return Begun::Known(entry.state.clone());
        }
        match (start, book.entries.len() < most) {
            (false, _) => Begun::Unknown,
            (true, false) => Begun::Full,
            (true, true) => {
                let state = Arc::new(Turns::new(State::default()));
                book.entries.insert(id.to_owned(), Entry { state: state.clone(), used: now });
                Begun::New(state)
            }
        }
    }

    /// Forgets what was idle for too long, but for what has a request in work.
    fn sweep(&self, book: &mut Book, now: Instant) {
        let before = book.entries.len();
        book.entries.retain(|_, entry| {
            if now.saturating_duration_since(entry.used) <= self.idle {
                return true;
            }
            let Ok(mut state) = entry.state.try_lock() else { return true };
            self.clear(&mut state);
            false
        });
        book.expired += (before - book.entries.len()) as u64;
        book.swept = now;
    }

    fn clear(&self, state: &mut State) {
        self.bytes.fetch_sub(state.bytes, Ordering::Relaxed);
        *state = State { over: true, ..State::default() };
    }

    /// Keeps `values` as the state of the session; `false`, and nothing changed, where all states would be too large.
    pub(super) fn keep(&self, id: &str, state: &mut State, values: Vec<Value>, most: usize, now: Instant) -> bool {
        let bytes = inference::bytes(&values);
        let others = self.bytes.fetch_add(bytes, Ordering::Relaxed) - state.bytes;
        if others.saturating_add(bytes) > most {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_sub(state.bytes, Ordering::Relaxed);
        (state.values, state.bytes) = (Some(values), bytes);
        if let Some(entry) = self.book().entries.get_mut(id) {
            entry.used = now;
        }
        true
    }

    /// Forgets a session whose state the caller holds.
    pub(super) fn forget(&self, id: &str, state: &mut State) {
        if !state.over {
            self.clear(state);
            self.book().entries.remove(id);
        }
    }

    /// Sessions, their bytes, and how many were idle for too long.
    pub(super) fn counted(&self, now: Instant) -> (usize, usize, u64) {
        let mut book = self.book();
        self.sweep(&mut book, now);
        (book.entries.len(), self.bytes.load(Ordering::Relaxed), book.expired)
    }
}
