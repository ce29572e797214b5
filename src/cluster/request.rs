//! One request to the API server: bounded in time and size, ended by Ctrl-C, its refusals told apart.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;

use super::objects::plain;
use super::{Cluster, Error};
use crate::interrupt;

/// How long one request may take, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of an answer is read, unless the request says otherwise.
const LIMIT: usize = 32 << 20;
/// How much of a refusal is read at least.
const REFUSAL: usize = 64 << 10;
/// How many characters of the cluster's words are told.
const WORDS: usize = 1000;
/// How often a request that only reads is tried.
const TRIES: u32 = 3;

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// The verb of HTTP.
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    /// What is sent, and of which type it is.
    pub(super) body: Option<(&'static str, Vec<u8>)>,
    /// Verb and resource in the words of an access rule, for messages.
    pub(super) action: String,
    /// How long it may take.
    pub(super) timeout: Duration,
    /// How much of the answer is read.
    pub(super) limit: usize,
    /// Whether it goes on when the user asked to stop: to clean up.
    pub(super) heedless: bool,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The body's type.
    pub(super) content_type: Option<String>,
    /// The body, whole.
    pub(super) body: Vec<u8>,
    /// The server's time.
    pub(super) time: Option<Timestamp>,
}

impl Ask {
    /// A request that reads.
    pub(super) fn get(path: impl Into<String>, action: impl Into<String>) -> Self {
        let (path, action) = (path.into(), action.into());
        Ask { method: Method::GET, path, body: None, action, timeout: TIMEOUT, limit: LIMIT, heedless: false }
    }

    /// The same, going on when the user asked to stop.
    pub(super) fn heedless(self) -> Self {
        Ask { heedless: true, ..self }
    }

    /// A request with an object.
    pub(super) fn with(method: Method, path: impl Into<String>, object: &Value, action: impl Into<String>) -> Self {
        let body = Some(("application/json", object.to_string().into_bytes()));
        Ask { method, body, ..Ask::get(path, action) }
    }
}

impl Cluster {
    /// Sends it and reads the whole answer, whatever its status.
    pub(super) fn send(&self, ask: &Ask) -> Result<Answer, Error> {
        let tries = if ask.method == Method::GET { TRIES } else { 1 };
        let mut wait = Duration::from_millis(200);
        for _ in 1..tries {
            match self.send_once(ask) {
                Ok(answer) if matches!(answer.status.as_u16(), 429 | 500 | 502..=504) => {}
                Err(Error::Unreachable { .. }) => {}
                other => return other,
            }
            match self.sleep(wait) {
                Err(_) if ask.heedless => {}
                other => other?,
            }
            wait *= 2;
        }
        self.send_once(ask)
    }

    /// Sends it once, as [`Cluster::send`] does.
    pub(super) fn send_once(&self, ask: &Ask) -> Result<Answer, Error> {
        let (content_type, body) = ask.body.clone().unwrap_or(("application/json", Vec::new()));
        let request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header("accept", "application/json, */*")
            .header("content-type", content_type)
            .body(Body::from(body))
            .map_err(|error| Error::NotUnderstood { action: ask.action.clone(), words: error.to_string() })?;
        let exchange = async {
            let response = self.client.send(request).await.map_err(|error| self.failed(&error))?;
            let (parts, mut body) = response.into_parts();
            // A refusal is short, but longer than some answers that are waited for.
            let limit = if parts.status.is_success() { ask.limit } else { ask.limit.max(REFUSAL) };
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.failed(&error))?;
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                if bytes.len() > limit {
                    return Err(Error::TooLarge { action: ask.action.clone(), limit });
                }
            }
            let content_type = parts.headers.get("content-type").and_then(|value| value.to_str().ok());
            let date = parts.headers.get("date").and_then(|value| value.to_str().ok());
            let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
            let time = date.and_then(|date| Timestamp::try_from(date).ok());
            Ok(Answer { status: parts.status, content_type: content_type.map(String::from), body: bytes, time })
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                stopped = interrupt::asked(), if !ask.heedless => Err(stopped.into()),
                ended = tokio::time::timeout(ask.timeout, exchange) => ended.unwrap_or_else(|_| {
                    Err(self.unreachable(format!("no answer in {} s", ask.timeout.as_secs())))
                }),
            }
        })
    }

    /// The object that is answered with; `None` where there is none of that name.
    pub(super) fn object(&self, ask: &Ask) -> Result<Option<Value>, Error> {
        Ok(self.object_and_time(ask)?.0)
    }

    /// The same, with the server's time.
    pub(super) fn object_and_time(&self, ask: &Ask) -> Result<(Option<Value>, Option<Timestamp>), Error> {
        let answer = self.send(ask)?;
        if answer.status == StatusCode::NOT_FOUND {
            return match self.refusal(ask, &answer) {
                Error::NoNamespace { .. } if ask.method != Method::GET => Err(self.no_namespace()),
                _ => Ok((None, answer.time)),
            };
        }
        if !answer.status.is_success() {
            return Err(self.refusal(ask, &answer));
        }
        let object = serde_json::from_slice(&answer.body).map(|object| (Some(object), answer.time));
        object.map_err(|error| Error::NotUnderstood { action: ask.action.clone(), words: error.to_string() })
    }

    /// The members of a list, page by page in one answer; nothing where the kind isn't known to the cluster.
    pub(super) fn list(&self, path: &str, query: &str, action: &str) -> Result<Vec<Value>, Error> {
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let list = self.object(&Ask::get(path, action))?;
        Ok(match list.map(|mut list| list["items"].take()) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        })
    }

    /// What an answer that isn't a success says.
    pub(super) fn refusal(&self, ask: &Ask, answer: &Answer) -> Error {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(WORDS)]).into_owned();
        let words = said["message"].as_str().map_or_else(text, String::from);
        let mut words = plain(&words, WORDS);
        if words.is_empty() {
            words = answer.status.to_string();
        }
        let action = ask.action.clone();
        match answer.status.as_u16() {
            401 => Error::NotAuthorised { context: self.context.clone(), words },
            403 if words.contains("system:anonymous") => Error::NotAuthorised { context: self.context.clone(), words },
            // A quota and Pod Security answer with 403 as well, and then it isn't about rights.
            403 if words.contains("exceeded quota") || words.contains("violates PodSecurity") => {
                Error::Refused { action, status: 403, words }
            }
            403 => Error::Forbidden { action, words },
            404 if said["details"]["kind"] == "namespaces" => self.no_namespace(),
            status => Error::Refused { action, status, words },
        }
    }

    /// That there is no such namespace.
    pub(super) fn no_namespace(&self) -> Error {
        Error::NoNamespace { namespace: self.namespace.clone(), context: self.context.clone() }
    }

    fn unreachable(&self, words: String) -> Error {
        Error::Unreachable { context: self.context.clone(), server: self.server.clone(), words }
    }

    /// What it means that no answer came.
    pub(super) fn failed(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let words = words(error);
        let mut cause = Some(error);
        while let Some(here) = cause {
            if let Some(kube::Error::Auth(error)) = here.downcast_ref::<kube::Error>() {
                return self.log_in(error);
            }
            if is_tls(here) {
                return Error::Certificate { server: self.server.clone(), words };
            }
            cause = here.source();
        }
        self.unreachable(words)
    }

    fn log_in(&self, error: &kube::client::AuthError) -> Error {
        super::log_in(error, self.command.as_deref(), &self.context)
    }

    /// Waits, unless the user asks to stop.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), Error> {
        self.runtime.block_on(async {
            tokio::select! {
                stopped = interrupt::asked() => Err(stopped.into()),
                () = tokio::time::sleep(time) => Ok(()),
            }
        })
    }
}

/// Whether TLS is what failed. `source` steps over what an I/O error is made of, so that is looked into as well.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut inner: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(here) = inner {
        if here.is::<rustls::Error>() {
            return true;
        }
        let below = here.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        inner = below.map(|below| below as &(dyn std::error::Error + 'static));
    }
    false
}

/// The innermost cause, which says what happened; those around it say that something did.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A name made fit for a path.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    name.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
