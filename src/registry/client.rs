//! A registry's side of the conversation: who asks, tries again, follows, and reads errors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::answer;
use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials, Found, Secret};
use super::place::Place;
use super::retry::{Tries, Trouble};
use super::transport::{Answer, Body, Request, Transport, host};
use super::{Error, HostError, Repository};
use crate::digest::Digest;

/// Largest manifest that is read, bytes: what registries take.
pub(super) const LARGEST_MANIFEST: u64 = 4 << 20;
/// Largest answer of a service of tokens that is read, bytes.
const LARGEST_TOKEN: u64 = 64 << 10;
const MOST_REDIRECTS: usize = 4;
/// What the specification says of a token that doesn't tell its life.
const USUAL_LIFE: u64 = 60;

/// Every kind of manifest that may be behind a tag.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// One repository of a registry, spoken to by several threads at once.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) repository: Repository,
    base: Url,
    transport: Transport,
    found: Option<Found>,
    known: Mutex<Known>,
    /// Held while a token is fetched: the other threads wait for it instead of fetching their own.
    fetching: Mutex<()>,
    /// Set once a thread has failed for good: the others needn't go on.
    stopped: AtomicBool,
    /// Whether it has ever answered.
    answered: AtomicBool,
    pulls_only: bool,
}

/// What the registry has told so far.
#[derive(Debug, Default)]
struct Known {
    challenge: Option<Challenge>,
    /// By scope: the token, and until when it is used.
    tokens: BTreeMap<String, (Secret, Instant)>,
}

/// The answer of a service of tokens.
#[derive(Deserialize)]
struct Token {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

/// A manifest as a registry has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: String,
    pub(super) digest: Digest,
}

/// What is asked of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Pull alone.
    Pull,
    /// Pull and push.
    Push,
}

impl Client {
    /// A client for `repository`, with the user's own credentials for it. Nothing is asked yet.
    pub(super) fn new(repository: &Repository, plain_http: bool, access: Access) -> Result<Self, Error> {
        let scheme = if plain_http { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{}/", repository.host())).map_err(|error| Error::Reference {
            text: repository.to_string(),
            reason: format!("`{}` is no host ({error})", repository.host()),
        })?;
        let variable = |name: &str| std::env::var_os(name);
        let home = variable("HOME").map(PathBuf::from);
        Ok(Client {
            repository: repository.clone(),
            base,
            transport: Transport::new(repository, home.as_deref())?,
            found: credentials::find(repository, &variable)?,
            known: Mutex::default(),
            fetching: Mutex::default(),
            stopped: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            pulls_only: access == Access::Pull,
        })
    }

    /// The tries of something that is about to be done.
    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.answered.load(Ordering::Relaxed))
    }

    /// The address of something in the repository: `manifests/1.0`, `blobs/uploads/`.
    pub(super) fn at(&self, path: &str) -> Place {
        let url = self.base.join(&format!("v2/{}/{path}", self.repository.path()));
        Place { url: url.expect("a repository's path and what is below it make an address"), own: true, foreign: false }
    }

    /// The registry's own address.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Tells the other threads to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Where an answer leads by its `Location`.
    pub(super) fn follow(&self, attempt: &str, answer: &Answer) -> Result<Place, Error> {
        Ok(answer::location(&self.base, attempt, answer)?)
    }

    /// Sends a request until it is answered, and follows where the answer leads. Statuses other than `expected` are
    /// errors.
    pub(super) fn send(&self, mut request: Request<'_>, expected: &[u16]) -> Result<Answer, Error> {
        let (mut tries, mut redirects) = (self.tries(), 0);
        loop {
            let answer = match self.once(&request, &[]) {
                Ok(answer) => answer,
                Err(trouble) => {
                    tries.wait(trouble, &|| self.is_stopped())?;
                    continue;
                }
            };
            let leads_on = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
            if leads_on && matches!(request.method, "GET" | "HEAD") && redirects < MOST_REDIRECTS {
                redirects += 1;
                request.place = self.follow(&request.attempt, &answer)?;
                continue;
            }
            match self.expect(&request.attempt, answer, expected) {
                Ok(answer) => return Ok(answer),
                Err(trouble) => tries.wait(trouble, &|| self.is_stopped())?,
            }
        }
    }

    /// Sends a request once; told to say who asks, once more with that. `mounts` are repositories to read from too.
    pub(super) fn once(&self, request: &Request<'_>, mounts: &[&str]) -> Result<Answer, Trouble> {
        let scope = self.scope(mounts);
        let authorization = if request.place.own { self.authorization(&scope, request)? } else { None };
        let answer = self.transport.send(request, authorization.as_ref().map(|secret| secret.reveal()))?;
        self.answered.store(true, Ordering::Relaxed);
        if answer.status != 401 || !request.place.own {
            return Ok(answer);
        }
        let offers = answer.headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::choose(offers) else { return Ok(answer) };
        // A name and password that were refused are refused again; a token may have run out.
        if challenge == Challenge::Basic && (authorization.is_some() || self.found.is_none()) {
            return Ok(answer);
        }
        {
            let mut known = self.known.lock().expect("no thread panics with the lock");
            // Unless another thread has renewed it already.
            if known.tokens.get(&scope).map(|(token, _)| bearer(token)) == authorization {
                known.tokens.remove(&scope);
            }
            known.challenge = Some(challenge);
        }
        let authorization = self.authorization(&scope, request)?;
        self.transport.send(request, authorization.as_ref().map(|secret| secret.reveal()))
    }

    /// The answer if its status is one of these; else the error that it is.
    pub(super) fn expect(&self, attempt: &str, answer: Answer, expected: &[u16]) -> Result<Answer, Trouble> {
        answer::expect(attempt, answer, expected, self.found.as_ref().map(|found| found.origin.as_str()), words)
    }

    fn scope(&self, mounts: &[&str]) -> String {
        let actions = if self.pulls_only { "pull" } else { "pull,push" };
        let own = format!("repository:{}:{actions}", self.repository.path());
        mounts.iter().fold(own, |all, path| format!("{all} repository:{path}:pull"))
    }

    /// The header that says who asks, as the registry wants it told; `None` before it has asked for one.
    fn authorization(&self, scope: &str, request: &Request<'_>) -> Result<Option<Secret>, Trouble> {
        let lock = || self.known.lock().expect("no thread panics with the lock");
        let stored = || {
            let good = |(token, until): &(Secret, Instant)| (Instant::now() < *until).then(|| bearer(token));
            lock().tokens.get(scope).and_then(good)
        };
        if let Some(header) = stored() {
            return Ok(Some(header));
        }
        let challenge = lock().challenge.clone();
        let credentials = self.found.as_ref().map(|found| &found.credentials);
        Ok(match (challenge, credentials) {
            (None, _) => None,
            (Some(_), Some(Credentials::Bearer(token))) => Some(bearer(token)),
            (Some(Challenge::Basic), Some(Credentials::Basic { username, password })) => {
                Some(basic(username, password))
            }
            (Some(Challenge::Basic), _) => None,
            (Some(Challenge::Bearer { realm, service }), _) => {
                let _alone = self.fetching.lock().expect("no thread panics with the lock");
                if let Some(header) = stored() {
                    return Ok(Some(header));
                }
                let (token, life) = self.token(&realm, service.as_deref(), scope, request)?;
                let header = bearer(&token);
                // A token is not used to its very end.
                let until = Instant::now() + Duration::from_secs(life.saturating_mul(4) / 5);
                lock().tokens.insert(scope.into(), (token, until));
                Some(header)
            }
        })
    }

    /// Asks the registry's service for a token.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        request: &Request<'_>,
    ) -> Result<(Secret, u64), Trouble> {
        let attempt = format!("get a token to {}", request.attempt);
        let odd = |host: String, reason: &str| HostError::odd(&attempt, host, reason);
        let own = host(&self.base);
        let mut url = Url::parse(realm).map_err(|_| odd(own.clone(), "names a token service that is no address"))?;
        // The password goes there: only as safely as to the registry itself.
        if url.scheme() != "https" && url.scheme() != self.base.scheme() {
            return Err(odd(own, "names a token service without TLS").into());
        }
        let service = service.map(|service| ("service", service));
        let scopes = scope.split(' ').map(|scope| ("scope", scope));
        let mut form = None;
        let mut authorization = None;
        match self.found.as_ref().map(|found| &found.credentials) {
            Some(Credentials::Identity(token)) => {
                let fixed = [("grant_type", "refresh_token"), ("client_id", "nimify"), ("scope", scope)];
                let pairs = fixed.into_iter().chain(service).chain([("refresh_token", token.reveal())]);
                let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                form = Some(Zeroizing::new(text));
            }
            other => {
                url.query_pairs_mut().extend_pairs(service.into_iter().chain(scopes));
                if let Some(Credentials::Basic { username, password }) = other {
                    authorization = Some(basic(username, password));
                }
            }
        }
        let content = form.iter().map(|_| ("Content-Type", "application/x-www-form-urlencoded".to_string()));
        let asked = Request {
            method: if form.is_some() { "POST" } else { "GET" },
            // The registry names this service: it may stand where the registry stands.
            place: Place { url, own: true, foreign: false },
            headers: content.collect(),
            body: form.as_ref().map_or(Body::None, |form| Body::Bytes(form.as_bytes())),
            attempt: attempt.clone(),
        };
        let answer = self.transport.send(&asked, authorization.as_ref().map(Secret::reveal))?;
        let mut answer = self.expect(&attempt, answer, &[200])?;
        let host = host(&answer.url);
        let bytes = Zeroizing::new(answer.bytes(LARGEST_TOKEN).unwrap_or_default());
        // The library's own words could quote the token.
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| odd(host.clone(), "is no token"))?;
        let life = token.expires_in.unwrap_or(USUAL_LIFE).max(USUAL_LIFE);
        let text = token.token.filter(|token| !token.is_empty()).or(token.access_token);
        Ok((text.ok_or_else(|| odd(host, "is no token"))?, life))
    }

    /// The manifest behind a tag or digest; `None` where there is none. One that was asked for by digest has it.
    pub(super) fn manifest(&self, name: &str) -> Result<Option<Manifest>, Error> {
        let attempt = format!("read the manifest `{name}` of `{}`", self.repository);
        let asked = self.request("GET", &format!("manifests/{name}"), attempt);
        let Some((answer, bytes)) = self.document(asked)? else { return Ok(None) };
        let digest = Digest::of(&bytes);
        if let Ok(wanted) = name.parse::<Digest>()
            && wanted != digest
        {
            return Err(Error::Changed { what: "the manifest".into(), host: host(&answer.url), digest: wanted });
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_string();
        Ok(Some(Manifest { bytes, media_type, digest }))
    }

    /// A small blob, such as a configuration, by its digest, which is not checked; `None` where there is none.
    pub(super) fn small_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let attempt = format!("read the blob {digest} of `{}`", self.repository);
        let asked = self.request("GET", &format!("blobs/{digest}"), attempt);
        Ok(self.document(asked)?.map(|(_, bytes)| bytes))
    }

    /// What a request without a body brings, up to [`LARGEST_MANIFEST`], and the answer that brought it; `None` where
    /// there is nothing.
    pub(super) fn document(&self, asked: Request<'_>) -> Result<Option<(Answer, Vec<u8>)>, Error> {
        let attempt = asked.attempt.clone();
        let mut answer = self.send(asked, &[200, 404])?;
        if answer.status == 404 {
            return Ok(None);
        }
        let wrong = |host: String, reason: String| Error::from(HostError::odd(attempt, host, reason));
        let bytes = match answer.bytes(LARGEST_MANIFEST + 1) {
            Err(error) => return Err(wrong(host(&answer.url), format!("broke off ({error})"))),
            Ok(bytes) => bytes,
        };
        if bytes.len() as u64 > LARGEST_MANIFEST {
            return Err(wrong(host(&answer.url), format!("is larger than {LARGEST_MANIFEST} bytes")));
        }
        Ok(Some((answer, bytes)))
    }

    /// Whether a tag or digest leads to exactly this manifest already.
    pub(super) fn has_manifest(&self, name: &str, digest: &Digest) -> Result<bool, Error> {
        let attempt = format!("look for the manifest `{name}` of `{}`", self.repository);
        let answer = self.send(self.request("HEAD", &format!("manifests/{name}"), attempt), &[200, 404])?;
        Ok(match answer.header("docker-content-digest") {
            Some(found) => answer.status == 200 && found == digest.to_string(),
            // Without the header, a tag's content has to be looked at.
            None if answer.status == 200 => self.manifest(name)?.is_some_and(|found| found.digest == *digest),
            None => false,
        })
    }

    /// Sends a manifest under a tag or digest. Says whether the registry took note of what it refers to.
    pub(super) fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<bool, Error> {
        let attempt = format!("send the manifest `{name}` to `{}`", self.repository);
        let mut request = self.request("PUT", &format!("manifests/{name}"), attempt);
        request.headers = vec![("Content-Type", media_type.into())];
        request.body = Body::Bytes(bytes);
        let answer = self.send(request, &[200, 201, 202])?;
        Ok(answer.headers.contains_key("oci-subject"))
    }

    /// A request to the repository without a body, which takes manifests of any kind.
    pub(super) fn request<'a>(&self, method: &'static str, path: &str, attempt: String) -> Request<'a> {
        let headers = vec![("Accept", if path.starts_with("manifests/") { MANIFESTS } else { "*/*" }.to_string())];
        Request { headers, ..self.request_at(method, self.at(path), attempt) }
    }

    /// A request to a place without headers or body.
    pub(super) fn request_at<'a>(&self, method: &'static str, place: Place, attempt: String) -> Request<'a> {
        Request { method, place, headers: Vec::new(), body: Body::None, attempt }
    }
}

fn bearer(token: &Secret) -> Secret {
    format!("Bearer {}", token.reveal()).into()
}

fn basic(username: &str, password: &Secret) -> Secret {
    let pair = Zeroizing::new(format!("{username}:{}", password.reveal()));
    format!("Basic {}", STANDARD.encode(pair.as_bytes())).into()
}

/// A registry's words for people: from the errors that the protocol describes, else the text as it is.
fn words(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Errors>(bytes) {
        Ok(all) => {
            let one = |one: &One| [one.code.as_str(), &one.message].join(" ").trim().to_string();
            all.errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Err(_) if bytes.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_registrys_words() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no rights"},{"code":"UNKNOWN"}]}"#;
        assert_eq!(words(json), "DENIED no rights; UNKNOWN");
        assert_eq!(words(b"Client sent an HTTP request\n"), "Client sent an HTTP request\n");
        assert_eq!(words(b"<html>proxy</html>"), "");
        assert_eq!(words(b""), "");
    }
}
