//! Compression of messages, as `grpc-encoding` and `grpc-accept-encoding` name it.
//!
//! An answer is compressed as its request was, and not otherwise: every client says that it takes compressed answers,
//! while few are so far away that they are quicker.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::Error;
use crate::inference::aside_if_large;

/// How the compressed messages of a call are compressed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What the other side takes.
pub(super) const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What this side takes.
pub(super) const TAKES: HeaderValue = HeaderValue::from_static("identity,deflate,gzip,zstd");

/// Shorter messages than this are sent as they are.
const SHORT: usize = 1 << 10;

/// Read at once, between two looks at the limits.
const CHUNK: usize = 64 << 10;

/// A way of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Deflate,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The name in the headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Deflate => "deflate",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    /// How a call's messages are compressed.
    pub(super) fn of(headers: &HeaderMap) -> Result<Encoding, Error> {
        let Some(value) = headers.get(ENCODING) else { return Ok(Encoding::Identity) };
        let known = [Encoding::Identity, Encoding::Deflate, Encoding::Gzip, Encoding::Zstd];
        known.into_iter().find(|known| known.name().as_bytes() == value.as_bytes()).ok_or_else(|| {
            let came = String::from_utf8_lossy(value.as_bytes());
            Error::UnsupportedMediaType(format!("the `grpc-encoding` `{}` is not supported", came.escape_default()))
        })
    }

    /// How its answers may be: the same way, where the client takes that.
    pub(super) fn of_answers(self, headers: &HeaderMap) -> Encoding {
        let takes = |value: &HeaderValue| {
            value.to_str().is_ok_and(|list| list.split(',').any(|name| name.trim() == self.name()))
        };
        if headers.get_all(ACCEPTED).iter().any(takes) { self } else { Encoding::Identity }
    }

    /// The message inside; `room` is asked, with the length so far, whether there may be more.
    pub(super) fn decompress(self, bytes: &[u8], room: impl FnMut(usize) -> Result<(), Error>) -> Result<Bytes, Error> {
        let all = |reader: &mut dyn Read| aside_if_large(bytes.len().saturating_mul(8), || read_all(reader, room));
        match self {
            Encoding::Identity => {
                Err(Error::BadRequest("a message is compressed and the call has no `grpc-encoding`".into()))
            }
            Encoding::Deflate => all(&mut flate2::bufread::ZlibDecoder::new(bytes)),
            Encoding::Gzip => all(&mut flate2::bufread::MultiGzDecoder::new(bytes)),
            Encoding::Zstd => match zstd::stream::read::Decoder::with_buffer(bytes) {
                Ok(mut decoder) => all(&mut decoder),
                Err(error) => Err(broken(&error)),
            },
        }
    }

    /// `out` with the compressed message behind; `None` where it isn't worth it.
    pub(super) fn compress(self, message: &[u8], out: Vec<u8>) -> Option<Vec<u8>> {
        if self == Encoding::Identity || message.len() < SHORT {
            return None;
        }
        let fast = Compression::fast();
        let finished = aside_if_large(message.len(), || match self {
            Encoding::Identity => Ok(out),
            Encoding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(out, fast);
                encoder.write_all(message).and_then(|()| encoder.finish())
            }
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, fast);
                encoder.write_all(message).and_then(|()| encoder.finish())
            }
            Encoding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, 1)?;
                encoder.write_all(message).and_then(|()| encoder.finish())
            }
        });
        // Writing into memory doesn't fail; if it did, the message goes as it is.
        finished.ok()
    }
}

fn read_all(reader: &mut dyn Read, mut room: impl FnMut(usize) -> Result<(), Error>) -> Result<Bytes, Error> {
    let mut all = Vec::new();
    loop {
        let read = reader.take(CHUNK as u64).read_to_end(&mut all).map_err(|error| broken(&error))?;
        if read == 0 {
            return Ok(all.into());
        }
        room(all.len())?;
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::BadRequest(format!("a compressed message can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime<T>(work: impl Future<Output = T> + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(runtime.spawn(work)).unwrap()
    }

    #[test]
    fn messages_go_there_and_back_within_the_limit() {
        runtime(async {
            let message = b"row after row ".repeat(10_000);
            for encoding in [Encoding::Deflate, Encoding::Gzip, Encoding::Zstd] {
                let small = encoding.compress(&message, Vec::new()).unwrap();
                assert!(small.len() < message.len() / 10);
                assert_eq!(encoding.decompress(&small, |_| Ok(())).unwrap(), message);
                let limit = |length| if length > 100_000 { Err(Error::Refused("large".into())) } else { Ok(()) };
                assert_eq!(encoding.decompress(&small, limit), Err(Error::Refused("large".into())));
                assert!(matches!(encoding.decompress(&small[..20], |_| Ok(())), Err(Error::BadRequest(_))));
                assert_eq!(encoding.compress(b"short", Vec::new()), None);
            }
            assert!(Encoding::Identity.decompress(&message, |_| Ok(())).is_err());
        });
    }

    #[test]
    fn answers_follow_their_request() {
        let headers =
            |name: HeaderName, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        assert_eq!(Encoding::of(&headers(ENCODING, "gzip")), Ok(Encoding::Gzip));
        assert_eq!(Encoding::of(&HeaderMap::new()), Ok(Encoding::Identity));
        assert!(Encoding::of(&headers(ENCODING, "snappy")).unwrap_err().to_string().contains("`snappy`"));
        assert_eq!(Encoding::Gzip.of_answers(&headers(ACCEPTED, "identity, gzip")), Encoding::Gzip);
        assert_eq!(Encoding::Gzip.of_answers(&headers(ACCEPTED, "identity")), Encoding::Identity);
        assert_eq!(Encoding::Identity.of_answers(&headers(ACCEPTED, "gzip")), Encoding::Identity);
    }
}
