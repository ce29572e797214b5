//! State that is kept between the requests of a session: outputs of one request that are inputs of the next.
//!
//! A recurrent model gives its state back, and takes it again with the next piece of a stream. Where the settings name
//! such pairs, the service keeps it for clients that say to which session a request belongs. One request of a session
//! runs at a time, in the order in which they came; one that fails changes nothing. What is kept is bounded in number,
//! bytes and idle time, and is in this process alone.
//!
//! [`Sessions`] owns what is kept, [`Turn`] is one request's hold on it; `initial` makes the state of a beginning.

mod initial;
mod kept;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use self::initial::Pair;
use self::kept::{Begun, Kept, State};
pub use self::settings::{StateDim, StatePair, StateSettings};
use crate::codec::check;
use crate::error::Error;
use crate::signature::{ModelSignature, ValueSpec, ValueType};
use crate::tensor::Value;

/// Bytes of the longest name of a session.
pub const LONGEST_ID: usize = 256;

/// To which session a request belongs, and whether it is the session's first or last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// The session's name; `None` for a request that belongs to none.
    pub id: Option<String>,
    /// It is the first: the state begins anew.
    pub start: bool,
    /// It is the last: nothing is kept of it.
    pub end: bool,
}

impl Sequence {
    /// Of a name as clients write it: Triton's clients say 0 or nothing for no session.
    pub fn named(&mut self, id: &str) -> Result<(), Error> {
        if id.len() > LONGEST_ID {
            return Err(Error::BadRequest(format!("the name of a session has at most {LONGEST_ID} bytes")));
        }
        self.id = (!matches!(id, "" | "0")).then(|| id.to_owned());
        Ok(())
    }
}

/// What became of sessions since the service began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sessions that are kept.
    pub sessions: usize,
    /// Bytes of their state.
    pub bytes: usize,
    /// How many began, ended, were idle for too long, and were refused for want of room.
    pub events: [(&'static str, u64); 4],
}

/// The state of all sessions.
#[derive(Debug)]
pub struct Sessions {
    pairs: Vec<Pair>,
    signature: ModelSignature,
    settings: StateSettings,
    kept: Kept,
    started: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
}

/// What requests and answers look like where state is kept: the inputs may be left out, and the outputs null.
pub fn described(settings: &StateSettings, signature: &ModelSignature) -> ModelSignature {
    let mut described = signature.clone();
    let optional = |spec: &mut ValueSpec| {
        if !matches!(spec.value_type, ValueType::Optional { .. }) {
            spec.value_type = ValueType::Optional { element: Box::new(spec.value_type.clone()) };
        }
    };
    for pair in &settings.pairs {
        described.inputs.iter_mut().filter(|spec| spec.name == pair.input).for_each(optional);
        described.outputs.iter_mut().filter(|spec| spec.name == pair.output).for_each(optional);
    }
    described
}

impl Sessions {
    /// Nothing kept yet. `None` where the settings name no pairs; an `Err` says what in them doesn't fit the model.
    pub fn new(settings: &StateSettings, signature: &ModelSignature) -> Result<Option<Sessions>, String> {
        let pairs = initial::pairs(settings, signature)?;
        if pairs.is_empty() {
            return Ok(None);
        }
        Ok(Some(Sessions {
            pairs,
            signature: signature.clone(),
            settings: settings.clone(),
            kept: Kept::new(settings.idle_timeout),
            started: AtomicU64::default(),
            ended: AtomicU64::default(),
            refused: AtomicU64::default(),
        }))
    }

    /// The turn of a request of this session, once those before it have had theirs; for as long as `patience`.
    pub async fn turn(&self, sequence: &Sequence, patience: Duration) -> Result<Turn<'_>, Error> {
        let Some(id) = &sequence.id else {
            return Ok(Turn { sessions: self, id: None, held: None, start: true, end: true });
        };
        let begun = match self.kept.begin(id, sequence.start, self.settings.max_sessions, Instant::now()) {
            Begun::Known(state) => state,
            Begun::New(state) => {
                self.started.fetch_add(1, Ordering::Relaxed);
                state
            }
            Begun::Unknown => return Err(self.unknown(id)),
            Begun::Full => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let most = self.settings.max_sessions;
                return Err(Error::QueueFull(format!("{most} sessions are kept already (`state.maxSessions`)")));
            }
        };
        let held = tokio::time::timeout(patience, begun.lock_owned()).await.map_err(|_| {
            Error::DeadlineExceeded(format!("requests of the session `{id}` before this one took too long"))
        })?;
        // The session may have ended while this request waited for its turn.
        if held.over {
            return Err(self.unknown(id));
        }
        Ok(Turn { sessions: self, id: Some(id.clone()), held: Some(held), start: sequence.start, end: sequence.end })
    }

    /// How it stands, after what was idle for too long is gone.
    pub fn counted(&self) -> Counted {
        let (sessions, bytes, expired) = self.kept.counted(Instant::now());
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let events = [
            ("started", load(&self.started)),
            ("ended", load(&self.ended)),
            ("expired", expired),
            ("refused", load(&self.refused)),
        ];
        Counted { sessions, bytes, events }
    }

    /// Whether an output is kept.
    pub fn keeps(&self, output: usize) -> bool {
        self.pairs.iter().any(|pair| pair.output == output)
    }

    fn unknown(&self, id: &str) -> Error {
        let idle = self.settings.idle_timeout;
        Error::NotFound(format!(
            "no session `{id}` is kept here: it never began, has ended, was idle for {idle:?} or is kept by another \
             replica; begin it with `sequence_start` or the header `Nimify-Session-Start: true`"
        ))
    }
}

/// One request's hold on the state of its session: the next request waits until it is dropped.
#[derive(Debug)]
pub struct Turn<'s> {
    sessions: &'s Sessions,
    id: Option<String>,
    held: Option<OwnedMutexGuard<State>>,
    start: bool,
    end: bool,
}

impl Turn<'_> {
    /// Whether the request belongs to a session.
    pub fn is_of_a_session(&self) -> bool {
        self.held.is_some()
    }

    /// Puts the state in where the request left it out.
    pub fn fill(&self, mut inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let kept = self.held.as_ref().filter(|_| !self.start).and_then(|state| state.values.as_ref());
        for (k, pair) in self.sessions.pairs.iter().enumerate() {
            if inputs.get(pair.input) == Some(&Value::Absent) {
                inputs[pair.input] = match kept.and_then(|values| values.get(k)) {
                    Some(value) => value.clone(),
                    None => pair.initial(&inputs, &self.sessions.signature, self.sessions.settings.max_bytes)?,
                };
            }
        }
        check(&inputs, &self.sessions.signature)?;
        Ok(inputs)
    }

    /// Keeps the state that the model gave, or forgets the session after its last request.
    pub fn keep(mut self, outputs: &[Value]) -> Result<(), Error> {
        let (Some(id), Some(mut state)) = (self.id.take(), self.held.take()) else { return Ok(()) };
        let sessions = self.sessions;
        if self.end {
            sessions.ended.fetch_add(1, Ordering::Relaxed);
            sessions.kept.forget(&id, &mut state);
            return Ok(());
        }
        let values: Vec<Value> = sessions.pairs.iter().filter_map(|pair| outputs.get(pair.output).cloned()).collect();
        let fits = sessions.kept.keep(&id, &mut state, values, sessions.settings.max_bytes, Instant::now());
        if !fits {
            sessions.refused.fetch_add(1, Ordering::Relaxed);
            self.id = Some(id);
            self.held = Some(state);
            let most = sessions.settings.max_bytes;
            return Err(Error::QueueFull(format!("the sessions would hold more than {most} bytes (`state.maxBytes`)")));
        }
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A session whose first request failed never began.
        if let (Some(id), Some(state)) = (&self.id, &mut self.held)
            && state.values.is_none()
        {
            self.sessions.kept.forget(id, state);
        }
    }
}
