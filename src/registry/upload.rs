//! One blob → the registry: not at all where it is there, by a mount where a neighbour has it, in one piece where it is
//! small, else in chunks that go on where they were broken off.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::Client;
use super::place::Place;
use super::retry::Trouble;
use super::transport::{Answer, Body, Request};
use super::{Error, Fault, HostError, Watch};
use crate::digest::Digest;

/// Smallest chunk that is tried before a registry's "too large" is believed.
const SMALLEST_CHUNK: u64 = 1 << 20;

/// A blob on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) source: Source,
}

/// Where a blob's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Blob {
    /// A small blob that no file holds.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Blob { digest: Digest::of(&bytes), size: bytes.len() as u64, source: Source::Bytes(bytes) }
    }
}

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was there.
    Present,
    /// Another repository had it.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// What all uploads of a push share.
pub(super) struct Uploads<'a> {
    pub(super) client: &'a Client,
    /// From this size on a blob goes in chunks of this size.
    pub(super) chunk: u64,
    pub(super) watch: &'a dyn Watch,
    /// Bytes that left this machine, those sent twice counted twice.
    pub(super) traffic: &'a AtomicU64,
}

/// An upload that the registry has opened.
struct Session {
    place: Place,
    /// How many bytes the registry has.
    offset: u64,
    /// The smallest chunk that it takes.
    least: u64,
    /// Whether that is known: not after a try that broke off.
    sure: bool,
}

/// In how many pieces a blob goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pieces {
    One,
    Chunks(u64),
}

/// How one try went.
enum Step {
    Done,
    /// Nothing failed, but the pieces have to be others.
    Again(Pieces),
}

impl Uploads<'_> {
    /// Brings the blob into the repository. `neighbours` are repositories of the registry that may have it.
    pub(super) fn upload(&self, blob: &Blob, neighbours: &[String]) -> Result<Sent, Error> {
        if self.is_there(blob)? {
            return Ok(Sent::Present);
        }
        let mut session = None;
        for from in neighbours {
            match self.mount(blob, from) {
                Ok(None) => return Ok(Sent::Mounted),
                Ok(Some(opened)) => session = Some(opened),
                // It was worth a try: everything else is told by what follows.
                Err(_) => {}
            }
        }
        let mut pieces = if blob.size > self.chunk { Pieces::Chunks(self.chunk) } else { Pieces::One };
        let (mut tries, mut again) = (self.client.tries(), false);
        loop {
            let before = session.as_ref().map_or(0, |session: &Session| session.offset);
            match self.go_on(blob, &mut session, pieces, again) {
                Ok(Step::Done) => return Ok(Sent::Uploaded),
                Ok(Step::Again(other)) => {
                    pieces = other;
                    self.begin_again(&mut session);
                }
                Err(trouble) => {
                    if session.as_ref().is_some_and(|session| session.offset > before) {
                        tries.reset();
                    }
                    tries.wait(trouble, &|| self.client.is_stopped())?;
                    match (pieces, &mut session) {
                        (Pieces::Chunks(_), Some(session)) => session.sure = false,
                        _ => self.begin_again(&mut session),
                    }
                    again = true;
                }
            }
        }
    }

    /// Sends what is left in the given pieces and closes the upload.
    fn go_on(&self, blob: &Blob, session: &mut Option<Session>, pieces: Pieces, again: bool) -> Result<Step, Trouble> {
        if let Some(open) = session.as_mut().filter(|open| !open.sure)
            && !self.ask(open)?
        {
            self.begin_again(session);
        }
        // The answer may have been lost, and not the blob.
        if again && session.is_none() && self.is_there(blob)? {
            return Ok(Step::Done);
        }
        let session = match session {
            Some(session) => session,
            None => session.insert(self.open(blob)?),
        };
        let Pieces::Chunks(chunk) = pieces else { return self.send_rest(blob, session) };
        while session.offset < blob.size {
            let length = chunk.max(session.least).min(blob.size - session.offset);
            if let Some(step) = self.send_chunk(blob, session, length, chunk)? {
                return Ok(step);
            }
        }
        self.close(blob, session, Body::Bytes(b"")).map(|_| Step::Done)
    }

    fn is_there(&self, blob: &Blob) -> Result<bool, Error> {
        let attempt = format!("look for the blob {}", blob.digest);
        let request = self.client.request("HEAD", &format!("blobs/{}", blob.digest), attempt);
        Ok(self.client.send(request, &[200, 404])?.status == 200)
    }

    /// Asks for a mount. `None`: done; else the upload that the registry opened instead.
    fn mount(&self, blob: &Blob, from: &str) -> Result<Option<Session>, Trouble> {
        let attempt = format!("mount the blob {}", blob.digest);
        let mut request = self.client.request("POST", "blobs/uploads/", attempt.clone());
        let digest = blob.digest.to_string();
        request.place.url.query_pairs_mut().extend_pairs([("mount", digest.as_str()), ("from", from)]);
        request.body = Body::Bytes(b"");
        let answer = self.client.once(&request, &[from])?;
        let answer = self.client.expect(&attempt, answer, &[201, 202])?;
        if answer.status == 201 { Ok(None) } else { Ok(Some(self.session(&attempt, &answer)?)) }
    }

    fn open(&self, blob: &Blob) -> Result<Session, Trouble> {
        let attempt = format!("begin to send the blob {}", blob.digest);
        let mut request = self.client.request("POST", "blobs/uploads/", attempt.clone());
        request.body = Body::Bytes(b"");
        let answer = self.client.once(&request, &[])?;
        let answer = self.client.expect(&attempt, answer, &[202])?;
        Ok(self.session(&attempt, &answer)?)
    }

    fn session(&self, attempt: &str, answer: &Answer) -> Result<Session, Error> {
        let place = self.client.follow(attempt, answer)?;
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(Session { place, offset: 0, least, sure: true })
    }

    /// A part of the blob as a body.
    fn part<'a>(&self, blob: &'a Blob, offset: u64, length: u64, hooks: &'a Hooks<'a>) -> Body<'a> {
        Body::Part { source: &blob.source, offset, length, moved: hooks.moved, stop: hooks.stop }
    }

    /// The whole blob with the closing request.
    fn send_rest(&self, blob: &Blob, session: &mut Session) -> Result<Step, Trouble> {
        let sent = AtomicU64::new(0);
        let hooks = Hooks { moved: &|n| self.moved(&sent, n), stop: &|| self.client.is_stopped() };
        let closed = self.close(blob, session, self.part(blob, 0, blob.size, &hooks));
        if closed.is_err() {
            self.take_back(&sent, 0);
        }
        match closed {
            // A proxy before the registry has its own idea of large.
            Err(Trouble::Lasting(error)) if status(&error) == Some(413) && blob.size > SMALLEST_CHUNK => {
                Ok(Step::Again(Pieces::Chunks((blob.size / 4).clamp(SMALLEST_CHUNK, 8 << 20))))
            }
            closed => closed.map(|_| Step::Done),
        }
    }

    fn send_chunk(&self, blob: &Blob, session: &mut Session, length: u64, chunk: u64) -> Result<Option<Step>, Trouble> {
        let (begin, end) = (session.offset, session.offset + length);
        let attempt = format!("send bytes {begin} to {} of the blob {}", end - 1, blob.digest);
        let sent = AtomicU64::new(0);
        let hooks = Hooks { moved: &|n| self.moved(&sent, n), stop: &|| self.client.is_stopped() };
        let request = Request {
            method: "PATCH",
            place: session.place.clone(),
            headers: vec![
                ("Content-Type", "application/octet-stream".into()),
                ("Content-Range", format!("{begin}-{}", end - 1)),
            ],
            body: self.part(blob, begin, length, &hooks),
            attempt: attempt.clone(),
        };
        let answer = self.client.once(&request, &[]);
        let answer = answer.and_then(|answer| self.client.expect(&attempt, answer, &[202, 201, 204]));
        let answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                self.take_back(&sent, 0);
                return match trouble {
                    Trouble::Lasting(error) if status(&error) == Some(413) && chunk / 4 >= SMALLEST_CHUNK => {
                        Ok(Some(Step::Again(Pieces::Chunks(chunk / 4))))
                    }
                    // Not every registry takes chunks: in one piece, then.
                    Trouble::Lasting(error)
                        if matches!(status(&error), Some(400 | 405 | 411 | 415 | 501)) && begin == 0 =>
                    {
                        Ok(Some(Step::Again(Pieces::One)))
                    }
                    // The registry has lost the upload, or counts otherwise: it is asked how far it came.
                    Trouble::Lasting(error) if matches!(status(&error), Some(400 | 404 | 416)) => {
                        Err(Trouble::passing(error))
                    }
                    trouble => Err(trouble),
                };
            }
        };
        session.place = self.client.follow(&attempt, &answer)?;
        // What the registry says that it has counts, not what was sent.
        session.offset =
            answer.header("range").and_then(has).filter(|has| (begin + 1..=end).contains(has)).unwrap_or(end);
        self.take_back(&sent, session.offset - begin);
        Ok(None)
    }

    fn close(&self, blob: &Blob, session: &Session, body: Body<'_>) -> Result<Answer, Trouble> {
        let attempt = format!("finish the blob {}", blob.digest);
        let mut place = session.place.clone();
        place.url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
        let headers = vec![("Content-Type", "application/octet-stream".to_string())];
        let request = Request { method: "PUT", place, headers, body, attempt: attempt.clone() };
        let answer = self.client.once(&request, &[])?;
        self.client.expect(&attempt, answer, &[201, 204]).map_err(|trouble| match trouble {
            // An upload that the registry has lost is begun again.
            Trouble::Lasting(error) if matches!(status(&error), Some(404 | 416)) => Trouble::passing(error),
            trouble => trouble,
        })
    }

    /// Asks how far an upload came. Says whether the registry still knows it.
    fn ask(&self, session: &mut Session) -> Result<bool, Trouble> {
        let attempt = "ask how far an upload came".to_string();
        let (place, headers) = (session.place.clone(), Vec::new());
        let request = Request { method: "GET", place, headers, body: Body::None, attempt: attempt.clone() };
        let asked = self.client.once(&request, &[]).and_then(|answer| self.client.expect(&attempt, answer, &[204]));
        let answer = match asked {
            Ok(answer) => answer,
            Err(Trouble::Lasting(error)) if status(&error).is_some() => return Ok(false),
            Err(trouble) => return Err(trouble),
        };
        // `0-0` is what registries say of one byte, and of none.
        let Some(offset) = answer.header("range").and_then(has).filter(|offset| *offset > 1) else { return Ok(false) };
        if answer.headers.contains_key("location") {
            session.place = self.client.follow(&attempt, &answer)?;
        }
        self.watch.moved(offset as i64 - session.offset as i64);
        session.offset = offset;
        session.sure = true;
        Ok(true)
    }

    fn begin_again(&self, session: &mut Option<Session>) {
        if let Some(open) = session.take() {
            self.watch.moved(-(open.offset as i64));
        }
    }

    fn moved(&self, sent: &AtomicU64, bytes: u64) {
        sent.fetch_add(bytes, Ordering::Relaxed);
        self.traffic.fetch_add(bytes, Ordering::Relaxed);
        self.watch.moved(bytes as i64);
    }

    /// Corrects the progress to what has really arrived.
    fn take_back(&self, sent: &AtomicU64, arrived: u64) {
        self.watch.moved(arrived as i64 - sent.load(Ordering::Relaxed) as i64);
    }
}

/// What a body calls while it is read.
struct Hooks<'a> {
    moved: &'a (dyn Fn(u64) + Sync),
    stop: &'a (dyn Fn() -> bool + Sync),
}

/// How many bytes a `Range: 0-N` (or `bytes=0-N`) says are there.
fn has(range: &str) -> Option<u64> {
    let (begin, end) = range.trim().trim_start_matches("bytes=").split_once('-')?;
    if begin.trim() != "0" {
        return None;
    }
    end.trim().parse::<u64>().ok()?.checked_add(1)
}

/// The status with which a host refused, where it did.
fn status(error: &Error) -> Option<u16> {
    match error {
        Error::Host(HostError { fault: Fault::Refused { status, .. }, .. }) => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_how_many_bytes_are_there() {
        for (range, bytes) in [
            ("0-0", Some(1)),
            ("bytes=0-99", Some(100)),
            ("0-18446744073709551615", None),
            ("5-9", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(has(range), bytes, "{range}");
        }
    }
}
