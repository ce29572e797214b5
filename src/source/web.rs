//! Requests to a web host that has models: redirects followed by the rules that registries are followed by, passing
//! trouble waited out, credentials shown to the host that they are for and to no other.

use std::time::SystemTime;

use url::Url;

use super::Error;
use super::login::Login;
use crate::registry::place::{self, Place};
use crate::registry::retry::{self, Tries, Trouble};
use crate::registry::transport::{Answer, Body, Request, Transport, host};
use crate::registry::{self, Fault, HostError};

/// Most of an error's text that is read, and most of it that is told.
const LARGEST_WORDS: u64 = 4 << 10;
const MOST_WORDS: usize = 200;
const MOST_REDIRECTS: usize = 6;

/// One host.
pub(super) struct Client {
    base: Url,
    transport: Transport,
    login: Option<Login>,
    /// Where credentials for it go.
    hint: &'static str,
    most_redirects: usize,
}

/// What is asked for.
pub(super) struct Ask {
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    /// What is attempted, for messages.
    pub(super) attempt: String,
}

impl Ask {
    /// What is wrong with an answer, with the answer as the subject.
    pub(super) fn odd(&self, answer: &Answer, reason: impl Into<String>) -> HostError {
        HostError::odd(&self.attempt, host(&answer.url), reason)
    }
}

impl Client {
    /// For the host of `base`. Nothing is asked yet.
    pub(super) fn new(base: &Url, login: Option<Login>, hint: &'static str) -> Self {
        Client { base: base.clone(), transport: Transport::plain(), login, hint, most_redirects: MOST_REDIRECTS }
    }

    /// For a host that has no reason to lead elsewhere, and isn't followed there.
    pub(super) fn unmoved(base: &Url, login: Option<Login>, hint: &'static str) -> Self {
        Client { most_redirects: 0, ..Client::new(base, login, hint) }
    }

    /// Does something until it is done, or it is clear that it won't be. A try that got somewhere counts as the first.
    pub(super) fn persist<T>(&self, mut attempt: impl FnMut(&mut Tries) -> Result<T, Trouble>) -> Result<T, Error> {
        let mut tries = Tries::new(false);
        loop {
            match attempt(&mut tries) {
                Ok(done) => return Ok(done),
                Err(trouble) => tries.wait(trouble, &|| false).map_err(|error| self.told(error))?,
            }
        }
    }

    /// The whole body of the answer, which may be `limit` bytes long.
    pub(super) fn text(&self, ask: &Ask, limit: u64) -> Result<Vec<u8>, Error> {
        self.persist(|_| {
            let mut answer = self.once(ask, &[200])?;
            match answer.bytes(limit + 1) {
                Ok(bytes) if bytes.len() as u64 <= limit => Ok(bytes),
                Ok(_) => Err(ask.odd(&answer, format!("has more than {limit} bytes")).into()),
                Err(error) => Err(Trouble::passing(ask.odd(&answer, format!("broke off ({error})")))),
            }
        })
    }

    /// Asks once, and follows where the answer leads. Statuses other than `expected` are errors.
    pub(super) fn once(&self, ask: &Ask, expected: &[u16]) -> Result<Answer, Trouble> {
        let own = self.base.origin() == ask.url.origin();
        let mut request = Request {
            method: "GET",
            place: Place { url: ask.url.clone(), own, foreign: self.base.host() != ask.url.host() },
            headers: ask.headers.clone(),
            body: Body::None,
            attempt: ask.attempt.clone(),
        };
        let mut redirects = 0;
        loop {
            let login = self.login.as_ref().filter(|_| request.place.own);
            let answer = self.transport.send(&request, login.map(|login| login.header.reveal()))?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return expect(ask, login, answer, expected);
            }
            redirects += 1;
            if redirects > self.most_redirects {
                return Err(ask.odd(&answer, "leads on and on").into());
            }
            request.place = self.follow(ask, &answer)?;
        }
    }

    fn follow(&self, ask: &Ask, answer: &Answer) -> Result<Place, HostError> {
        let location = answer.header("location").ok_or_else(|| ask.odd(answer, "has no `Location`"))?;
        let astray =
            |(target, reason)| HostError::new(&ask.attempt, host(&answer.url), Fault::Astray { target, reason });
        place::follow(&self.base, &answer.url, location).map_err(astray)
    }

    /// The error in the words of a source.
    pub(super) fn told(&self, error: registry::Error) -> Error {
        match error {
            registry::Error::Host(error) => Error::Host { error, login: self.hint },
            registry::Error::Interrupted(stop) => stop.into(),
            other => other.into(),
        }
    }
}

fn expect(ask: &Ask, login: Option<&Login>, mut answer: Answer, expected: &[u16]) -> Result<Answer, Trouble> {
    if expected.contains(&answer.status) {
        return Ok(answer);
    }
    let after = answer.header("retry-after").and_then(|text| retry::retry_after(text, SystemTime::now()));
    let (attempt, host) = (ask.attempt.clone(), host(&answer.url));
    let words = words(&answer.bytes(LARGEST_WORDS).unwrap_or_default());
    let fault = match answer.status {
        401 | 403 => {
            let credentials = |login: &Login| format!("the credentials from {}", login.origin);
            let who = login.map_or("a request without credentials".into(), credentials);
            Fault::Unauthorized { who, words }
        }
        status => Fault::Refused { status, words },
    };
    let error = HostError { attempt, host, fault }.into();
    Err(if retry::passes(answer.status) { Trouble::Passing { error, after } } else { Trouble::Lasting(error) })
}

/// What an error's body says, with a separator before it: a text, or the `error` of a JSON object. Pages say nothing.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = json.as_ref().and_then(|value| ["error", "message"].iter().find_map(|key| value.get(key)?.as_str()));
    let said = said.unwrap_or(if json.is_some() || text.trim_start().starts_with('<') { "" } else { &text });
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_body_is_told_shortly() {
        assert_eq!(words(b"  no\n such\x07 file "), ": no such file");
        assert_eq!(words(br#"{"error":"Repository not found"}"#), ": Repository not found");
        assert_eq!(words(b"<html>404</html>"), "");
        assert_eq!(words(br#"{"code":1}"#), "");
        assert_eq!(words(&[b'x'; 5000]).len(), MOST_WORDS + 2);
    }
}
