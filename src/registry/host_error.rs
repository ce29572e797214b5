//! What a host answered instead of what was asked for: of registries and of sources alike.

use std::fmt;

/// Something that one host was asked for didn't come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// What was attempted: `fetch …`.
    pub attempt: String,
    /// The host that was asked, with its port where that isn't the usual one.
    pub host: String,
    /// What happened.
    pub fault: Fault,
}

/// What happened instead of a good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nobody answers, or the answer breaks off: how, with the host as the subject.
    NoAnswer(String),
    /// The host's certificate isn't trusted: what is wrong with it.
    Untrusted(String),
    /// TLS was asked for, but the other side speaks without it.
    PlainHttp,
    /// The host wants to know who asks, or doesn't let them.
    Unauthorized {
        /// As whom it was asked: `a request without credentials`, `the credentials from …`.
        who: String,
        /// What it said, with a separator before it; empty where it said nothing.
        words: String,
    },
    /// The host answered with an error.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, with a separator before it; empty where it said nothing.
        words: String,
    },
    /// An answer that isn't what it should be: why, with the answer as the subject.
    Answer(String),
    /// The host sends us where we don't go.
    Astray {
        /// Where it leads, without a query: that may hold a signature.
        target: String,
        /// Why that isn't followed.
        reason: &'static str,
    },
}

impl HostError {
    pub(crate) fn new(attempt: impl Into<String>, host: impl Into<String>, fault: Fault) -> Self {
        HostError { attempt: attempt.into(), host: host.into(), fault }
    }

    /// Of an answer that isn't what it should be.
    pub(crate) fn odd(attempt: impl Into<String>, host: impl Into<String>, reason: impl Into<String>) -> Self {
        HostError::new(attempt, host, Fault::Answer(reason.into()))
    }
}

impl std::error::Error for HostError {}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostError { attempt, host, fault } = self;
        write!(f, "could not {attempt}: ")?;
        match fault {
            Fault::NoAnswer(reason) => write!(f, "`{host}` {reason}"),
            Fault::Untrusted(reason) => write!(f, "the certificate of `{host}` is not trusted ({reason})"),
            Fault::PlainHttp => write!(f, "`{host}` speaks plain HTTP, not TLS"),
            Fault::Unauthorized { who, words } => write!(f, "`{host}` refuses {who}{words}"),
            Fault::Refused { status, words } => write!(f, "`{host}` answered {status}{words}"),
            Fault::Answer(reason) => write!(f, "the answer of `{host}` {reason}"),
            Fault::Astray { target, reason } => write!(f, "`{host}` leads to `{target}`, {reason}"),
        }
    }
}
