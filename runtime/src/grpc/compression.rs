//! Compression of messages, as `grpc-encoding` and `grpc-accept-encoding` name it.
//!
//! An answer is compressed as its request was, and not otherwise: every client says that it takes compressed answers,
//! while few are so far away that they are quicker.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;
use crate::http::encoding::{self, Coding};
use crate::inference::aside_if_large;

/// How the compressed messages of a call are compressed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What the other side takes.
pub(super) const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What this side takes.
pub(super) const TAKES: HeaderValue = HeaderValue::from_static("identity,deflate,gzip,zstd");

/// Shorter messages than this are sent as they are.
const SHORT: usize = 1 << 10;

/// How a call's messages are compressed, `None` for as they are.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
    match headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"deflate") => Ok(Some(Coding::Deflate)),
        Some(b"gzip") => Ok(Some(Coding::Gzip)),
        Some(b"zstd") => Ok(Some(Coding::Zstd)),
        Some(other) => {
            let came = String::from_utf8_lossy(other);
            Err(Error::UnsupportedMediaType(format!(
                "the `grpc-encoding` `{}` is not supported",
                came.escape_default()
            )))
        }
    }
}

/// Whether the client takes answers so.
pub(super) fn is_taken(coding: Coding, headers: &HeaderMap) -> bool {
    let takes =
        |value: &HeaderValue| value.to_str().is_ok_and(|list| list.split(',').any(|name| name.trim() == coding.name()));
    headers.get_all(ACCEPTED).iter().any(takes)
}

/// The message inside; `room` is asked, with the length so far, whether there may be more.
pub(super) fn decompress(
    coding: Option<Coding>,
    bytes: &[u8],
    room: &mut dyn FnMut(usize) -> Result<(), Error>,
) -> Result<Bytes, Error> {
    let coding = coding
        .ok_or_else(|| Error::BadRequest("a message is compressed and the call has no `grpc-encoding`".into()))?;
    // Numbers shrink to a fifth or so at most.
    aside_if_large(bytes.len().saturating_mul(5), || encoding::decode(coding, bytes, room)).map(Bytes::from)
}

/// The message compressed; `None` where that isn't worth it.
pub(super) fn compress(coding: Coding, message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < SHORT {
        return None;
    }
    // Writing into memory can't fail but for want of it.
    let smaller = aside_if_large(message.len(), || encoding::compress(coding, message)).ok()?;
    (smaller.len() < message.len()).then_some(smaller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_follow_their_request() {
        let headers =
            |name: HeaderName, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(of(&headers(ENCODING, "gzip")), Ok(Some(Coding::Gzip)));
        assert_eq!((of(&HeaderMap::new()), of(&headers(ENCODING, "identity"))), (Ok(None), Ok(None)));
        assert!(of(&headers(ENCODING, "snappy")).unwrap_err().to_string().contains("`snappy`"));
        assert!(is_taken(Coding::Gzip, &headers(ACCEPTED, "identity, gzip")));
        assert!(!is_taken(Coding::Gzip, &headers(ACCEPTED, "identity")));
    }

    #[test]
    fn what_is_short_or_does_not_shrink_stays_as_it_is() {
        assert_eq!(compress(Coding::Gzip, &[0; 100]), None);
        let row = compress(Coding::Zstd, &[7; 10_000]).unwrap();
        assert_eq!(decompress(Some(Coding::Zstd), &row, &mut |_| Ok(())).unwrap(), [7; 10_000][..]);
        assert!(matches!(decompress(None, &row, &mut |_| Ok(())), Err(Error::BadRequest(_))));
    }
}
