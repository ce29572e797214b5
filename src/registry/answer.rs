//! What an answer comes to: what was asked for, another place to ask, or trouble. The same for registries and for the hosts
//! of other sources, but for how each writes what is wrong.

use std::time::SystemTime;

use url::Url;

use super::place::{self, Place};
use super::retry::{self, Trouble};
use super::transport::{Answer, host};
use super::{Fault, HostError};

/// Most bytes of an error's body that are read, and most of its characters that are told.
const LARGEST_BODY: u64 = 64 << 10;
const MOST_TOLD: usize = 400;

/// The answer if its status is one of `expected`; else the error that it is. `origin` is where the credentials came from
/// that it was asked with, `words` what the body of an error says, in whatever form.
pub(crate) fn expect(
    attempt: &str,
    mut answer: Answer,
    expected: &[u16],
    origin: Option<&str>,
    words: impl Fn(&[u8]) -> String,
) -> Result<Answer, Trouble> {
    if expected.contains(&answer.status) {
        return Ok(answer);
    }
    let after = answer.header("retry-after").and_then(|text| retry::retry_after(text, SystemTime::now()));
    let words = told(&words(&answer.bytes(LARGEST_BODY).unwrap_or_default()));
    let fault = match answer.status {
        401 | 403 => {
            let credentials = |origin| format!("the credentials from {origin}");
            Fault::Unauthorized { who: origin.map_or("a request without credentials".into(), credentials), words }
        }
        status => Fault::Refused { status, words },
    };
    let error = HostError::new(attempt, host(&answer.url), fault).into();
    Err(if retry::passes(answer.status) { Trouble::Passing { error, after } } else { Trouble::Lasting(error) })
}

/// What a host says, as the end of a sentence: on one line, short, with a separator before it; empty where it says nothing.
pub(crate) fn told(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(MOST_TOLD).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// Where an answer leads by its `Location`, asked for by way of `base`.
pub(crate) fn location(base: &Url, attempt: &str, answer: &Answer) -> Result<Place, HostError> {
    let location = answer.header("location");
    let location = location.ok_or_else(|| HostError::odd(attempt, host(&answer.url), "has no `Location`"))?;
    follow(base, attempt, answer, location)
}

/// Where a link of an answer leads.
pub(crate) fn follow(base: &Url, attempt: &str, answer: &Answer, target: &str) -> Result<Place, HostError> {
    place::follow(base, &answer.url, target)
        .map_err(|(target, reason)| HostError::new(attempt, host(&answer.url), Fault::Astray { target, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_one_short_line_without_control_characters() {
        assert_eq!(told("  no\n such\x07 \u{1b}[31mfile "), ": no such [31mfile");
        assert_eq!(told(" \n"), "");
        assert_eq!(told(&"x".repeat(1000)).len(), MOST_TOLD + 2);
    }
}
