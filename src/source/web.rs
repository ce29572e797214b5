//! Requests to a web host that has models: redirects followed by the rules that registries are followed by, passing
//! trouble waited out, credentials shown to the host that they are for and to no other.

use url::Url;

use super::Error;
use super::login::Login;
use crate::registry::place::{self, Place};
use crate::registry::retry::{Tries, Trouble};
use crate::registry::transport::{Answer, Body, Request, Transport, host};
use crate::registry::{self, HostError, answer};

const MOST_REDIRECTS: usize = 6;

/// One host.
pub(super) struct Client {
    base: Url,
    transport: Transport,
    login: Option<Login>,
    /// Where credentials for it go.
    hint: &'static str,
    most_redirects: usize,
    /// What the body of a refusal says.
    words: fn(&[u8]) -> String,
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
        let (transport, most_redirects) = (Transport::plain(), MOST_REDIRECTS);
        Client { base: base.clone(), transport, login, hint, most_redirects, words }
    }

    /// For a host that has no reason to lead elsewhere, and isn't followed there.
    pub(super) fn unmoved(base: &Url, login: Option<Login>, hint: &'static str) -> Self {
        Client { most_redirects: 0, ..Client::new(base, login, hint) }
    }

    /// For a host whose refusals are to be read by `words`.
    pub(super) fn saying(self, words: fn(&[u8]) -> String) -> Self {
        Client { words, ..self }
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
                let origin = login.map(|login| login.origin.as_str());
                return answer::expect(&ask.attempt, answer, expected, origin, self.words);
            }
            redirects += 1;
            if redirects > self.most_redirects {
                return Err(ask.odd(&answer, "leads on and on").into());
            }
            request.place = answer::location(&self.base, &ask.attempt, &answer)?;
        }
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

/// Refuses to ask a host elsewhere without TLS, unless the user has said so; `source` is what is fetched.
pub(super) fn check_tls(url: &Url, plain_http: bool, source: &str) -> Result<(), Error> {
    let is_here = url.host_str().is_some_and(place::is_here);
    if url.scheme() == "http" && !is_here && !plain_http {
        return Err(Error::PlainHttp { source_name: source.into() });
    }
    Ok(())
}

/// What an error's body says: a text, or the `error` of a JSON object. Pages say nothing.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = json.as_ref().and_then(|value| ["error", "message"].iter().find_map(|key| value.get(key)?.as_str()));
    said.unwrap_or(if json.is_some() || text.trim_start().starts_with('<') { "" } else { &text }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_body_is_a_text_or_has_one() {
        assert_eq!(words(b"no such file"), "no such file");
        assert_eq!(words(br#"{"error":"Repository not found"}"#), "Repository not found");
        assert_eq!(words(b"<html>404</html>"), "");
        assert_eq!(words(br#"{"code":1}"#), "");
    }
}
