//! A request's body → bytes, within limits of size, of memory and of time.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderName};

use super::encoding::{self, Coding};
use super::upload::Upload;
use crate::app::App;
use crate::error::Error;
use crate::inference::{self, Budget, Held};

/// How much a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    pub(crate) budget: &'a Budget,
}

impl<'a> Limits<'a> {
    /// As the settings say.
    pub(crate) fn of(app: &'a App) -> Limits<'a> {
        let server = &app.settings.server;
        Limits { bytes: server.max_body_bytes, time: server.read_timeout, budget: &app.budget }
    }

    /// 413 for a body that is too long at any time.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.bytes {
            return Err(Error::TooLarge { limit: self.bytes, setting: "maxBodyBytes" });
        }
        if bytes > self.budget.largest() {
            return Err(Error::TooLarge { limit: self.budget.largest(), setting: "maxBufferedBytes" });
        }
        Ok(())
    }
}

/// The most that is set aside because of a `Content-Length` alone; more is taken as bytes come.
const RESERVED: u64 = 1 << 20;

/// Whether the body is what the route takes: 415 otherwise. A missing content type is taken as JSON.
pub(crate) fn check_media_type(headers: &HeaderMap, takes: &[&str]) -> Result<(), Error> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = content_type.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if takes.iter().any(|t| essence.eq_ignore_ascii_case(t.as_bytes())) {
        return Ok(());
    }
    Err(Error::UnsupportedMediaType(format!(
        "the content type `{}` is not supported: send `{}`",
        String::from_utf8_lossy(essence).escape_default(),
        takes.join("` or `")
    )))
}

/// Reads the body and takes the codings off that it came in: 415 for an unknown one, 413 past the limit and 429 past the
/// budget, before anything is read where `Content-Length` says so; 408 when it takes too long; 400 when it breaks off.
/// What is held of the budget is to be kept with what is made of the body.
pub(super) async fn read<'a>(
    headers: &HeaderMap,
    mut body: Upload,
    limits: Limits<'a>,
) -> Result<(Bytes, Held<'a>), Error> {
    let codings = encoding::sent(headers)?;
    // hyper has read `Content-Length` already and refused one that is no number.
    let announced = body.announced();
    limits.check(announced)?;
    limits.budget.check(usize::try_from(announced).unwrap_or(usize::MAX))?;
    let mut gathered = Gathered { first: Bytes::new(), all: BytesMut::new(), announced };
    let mut held = limits.budget.hold();
    let gather = poll_fn(|cx| gathered.poll(&mut body, limits, &mut held, cx));
    match tokio::time::timeout(limits.time, gather).await {
        Ok(read) => read?,
        Err(_) => {
            return Err(Error::RequestTimeout(format!(
                "the request body did not arrive within {} (`readTimeout`)",
                crate::settings::duration::format(limits.time)
            )));
        }
    }
    Ok((decoded(gathered.finish(), &codings, limits, &mut held)?, held))
}

/// Takes the codings off; what comes out counts against the limits as it grows, beside what went in.
fn decoded(body: Bytes, codings: &[Coding], limits: Limits<'_>, held: &mut Held<'_>) -> Result<Bytes, Error> {
    codings.iter().try_fold(body, |body, coding| {
        let mut step = |length: usize| {
            limits.check(length as u64)?;
            // Both are in memory: what could never fit is not to come again.
            let (both, largest) = (body.len().saturating_add(length), limits.budget.largest());
            if both as u64 > largest {
                return Err(Error::TooLarge { limit: largest, setting: "maxBufferedBytes" });
            }
            held.grow(both)
        };
        // How long it takes goes by what comes out, which isn't known: anything but the shortest is done aside.
        let long = if body.len() > DECODED_INLINE { inference::INLINE_BYTES + 1 } else { 0 };
        inference::aside_if_large(long, || encoding::decode(*coding, &body, &mut step)).map(Bytes::from)
    })
}

/// A body of so many bytes that decodes to no more than a thousand times as many is decoded in a millisecond or so.
const DECODED_INLINE: usize = 1 << 10;

/// The bytes so far; a body of one frame is never copied.
struct Gathered {
    first: Bytes,
    all: BytesMut,
    announced: u64,
}

impl Gathered {
    fn poll(
        &mut self,
        body: &mut Upload,
        limits: Limits<'_>,
        held: &mut Held<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let data = match body.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(data))) => data,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(Error::BadRequest(format!("the request body broke off: {error}"))));
                }
            };
            let length = self.first.len() + self.all.len() + data.len();
            // What was announced has been checked as a whole.
            if length as u64 > self.announced {
                limits.check(length as u64)?;
            }
            held.grow(length)?;
            self.push(data);
        }
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
            return;
        }
        if self.all.is_empty() {
            let reserved = self.announced.min(RESERVED).max((self.first.len() + data.len()) as u64);
            self.all.reserve(usize::try_from(reserved).unwrap_or_default());
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&data);
    }

    fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

/// The header that says how long the JSON is in front of binary tensors.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Reads [`JSON_LENGTH`].
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Error> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Error::BadRequest("the header `Inference-Header-Content-Length` must be a whole number of bytes".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn json_and_nothing_are_json_and_all_else_is_415() {
        let takes = ["application/json"];
        assert_eq!(check_media_type(&HeaderMap::new(), &takes), Ok(()));
        for good in ["application/json", "Application/JSON; charset=utf-8", " application/json "] {
            assert_eq!(check_media_type(&headers(CONTENT_TYPE, good), &takes), Ok(()), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let error = check_media_type(&headers(CONTENT_TYPE, bad), &takes).unwrap_err();
            assert!(matches!(&error, Error::UnsupportedMediaType(m) if m.contains("`application/json`")), "{error}");
        }
    }

    #[test]
    fn the_json_length_is_a_number() {
        assert_eq!(json_length(&HeaderMap::new()), Ok(None));
        assert_eq!(json_length(&headers(JSON_LENGTH, "12")), Ok(Some(12)));
        for bad in ["", "-1", "x", "99999999999999999999999"] {
            assert!(json_length(&headers(JSON_LENGTH, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_frame_is_not_copied_and_several_are_joined() {
        let mut gathered = Gathered { first: Bytes::new(), all: BytesMut::new(), announced: 0 };
        let one = Bytes::from_static(b"abc");
        gathered.push(one.clone());
        gathered.push(Bytes::new());
        gathered.push(Bytes::from_static(b"de"));
        assert_eq!(gathered.finish(), "abcde");
        let mut gathered = Gathered { first: Bytes::new(), all: BytesMut::new(), announced: 3 };
        gathered.push(one.clone());
        assert_eq!(gathered.finish().as_ptr(), one.as_ptr());
    }
}
