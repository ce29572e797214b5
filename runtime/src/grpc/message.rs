//! A call's body → messages, within the limits of size, of memory and of time that HTTP has; and messages → bytes.
//!
//! Each message has five bytes in front: whether it is compressed, and its length. One that came in one piece is not
//! copied.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderValue;

use super::compression;
use crate::error::Error;
use crate::http::Limits;
use crate::http::encoding::Coding;
use crate::inference::{Budget, Held};
use crate::settings::ServerSettings;

/// Bytes in front of a message.
const HEAD: usize = 5;

/// The most that is set aside because of a message's own word; more is taken as bytes come.
const RESERVED: usize = 1 << 20;

/// The messages of a call.
pub(super) struct Messages<'a, B = Incoming> {
    body: B,
    encoding: Option<Coding>,
    limits: Limits<'a>,
    /// What has come and isn't taken.
    rest: Bytes,
}

/// A message, and what it holds of the budget.
pub(super) struct Message<'a> {
    pub(super) bytes: Bytes,
    pub(super) held: Held<'a>,
}

impl<'a, B> Messages<'a, B>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    /// Those of a body in which compressed ones are compressed so.
    pub(super) fn new(body: B, encoding: Option<Coding>, limits: Limits<'a>) -> Messages<'a, B> {
        Messages { body, encoding, limits, rest: Bytes::new() }
    }

    /// The one message of a call that has one.
    pub(super) async fn only(&mut self) -> Result<Message<'a>, Error> {
        self.next(true).await?.ok_or_else(|| Error::BadRequest("the call has no message".into()))
    }

    /// The next message, `None` at the end. Where it is `due`, or has begun, it has to come in time.
    pub(super) async fn next(&mut self, due: bool) -> Result<Option<Message<'a>>, Error> {
        if !due && self.rest.is_empty() && !self.more().await? {
            return Ok(None);
        }
        let limit = self.limits.time;
        match tokio::time::timeout(limit, self.message()).await {
            Ok(message) => message,
            Err(_) => Err(Error::RequestTimeout(format!(
                "the message did not arrive within {} (`readTimeout`)",
                crate::settings::duration::format(limit)
            ))),
        }
    }

    async fn message(&mut self) -> Result<Option<Message<'a>>, Error> {
        if self.rest.is_empty() && !self.more().await? {
            return Ok(None);
        }
        let limits = self.limits;
        let mut held = limits.budget.hold();
        let head = self.take(HEAD, &mut held).await?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        limits.check(length as u64)?;
        limits.budget.check(length)?;
        let bytes = self.take(length, &mut held).await?;
        let bytes = match head[0] {
            0 => bytes,
            1 => compression::decompress(self.encoding, &bytes, &mut |length| {
                limits.check(length as u64)?;
                held.grow(length)
            })?,
            _ => return Err(Error::BadRequest("a message should begin with 0, or 1 where it is compressed".into())),
        };
        Ok(Some(Message { bytes, held }))
    }

    /// Exactly so many bytes.
    async fn take(&mut self, count: usize, held: &mut Held<'a>) -> Result<Bytes, Error> {
        if self.rest.len() >= count {
            held.grow(count)?;
            return Ok(self.rest.split_to(count));
        }
        let mut all = BytesMut::with_capacity(count.min(RESERVED).max(self.rest.len()));
        loop {
            let wanted = (count - all.len()).min(self.rest.len());
            held.grow(all.len() + wanted)?;
            all.extend_from_slice(&self.rest.split_to(wanted));
            if all.len() == count {
                return Ok(all.freeze());
            }
            if !self.more().await? {
                return Err(Error::BadRequest("the call broke off within a message".into()));
            }
        }
    }

    /// Waits for more bytes; false at the end. `rest` is empty before.
    async fn more(&mut self) -> Result<bool, Error> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                None => return Ok(false),
                Some(Err(error)) => return Err(Error::BadRequest(format!("the call broke off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        self.rest = data;
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// The messages of a body that comes in these parts, each of at most `most` bytes, and how the body ended: what a call
/// does, for tests that have bytes and no connection. `encoding` is the call's `grpc-encoding`.
#[doc(hidden)]
pub async fn messages(parts: Vec<Bytes>, encoding: &'static str, most: usize) -> (Vec<Bytes>, Result<(), Error>) {
    let server = ServerSettings { max_buffered_bytes: Some(most), ..ServerSettings::default() };
    let (budget, time) = (Budget::of(&server), Duration::from_secs(60));
    let headers = HeaderMap::from_iter([(compression::ENCODING, HeaderValue::from_static(encoding))]);
    let mut taken = Vec::new();
    let encoding = match compression::of(&headers) {
        Ok(encoding) => encoding,
        Err(error) => return (taken, Err(error)),
    };
    let limits = Limits { bytes: most as u64, time, budget: &budget };
    let mut messages = Messages::new(InParts(parts.into()), encoding, limits);
    loop {
        match messages.next(false).await {
            Ok(Some(message)) => taken.push(message.bytes),
            Ok(None) => return (taken, Ok(())),
            Err(error) => return (taken, Err(error)),
        }
    }
}

/// A body that is there already.
struct InParts(VecDeque<Bytes>);

impl Body for InParts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }
}

/// A message of `length` bytes that `write` appends, with its head.
#[doc(hidden)]
pub fn framed(length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEAD + length);
    framed.extend_from_slice(&[0; HEAD]);
    write(&mut framed);
    set_length(&mut framed);
    framed
}

/// The same message compressed, where that is asked for and of use.
pub(super) fn compressed(message: Vec<u8>, coding: Option<Coding>) -> Vec<u8> {
    let Some(coding) = coding else { return message };
    let Some(smaller) = compression::compress(coding, &message[HEAD..]) else { return message };
    let mut smaller = framed(smaller.len(), |out| out.extend_from_slice(&smaller));
    smaller[0] = 1;
    smaller
}

fn set_length(framed: &mut [u8]) {
    // No answer of 4 GiB fits into the length that gRPC has: its client finds the message broken.
    let length = u32::try_from(framed.len() - HEAD).unwrap_or(u32::MAX);
    framed[1..HEAD].copy_from_slice(&length.to_be_bytes());
}

/// A generated message with its head.
pub(super) fn generated(message: &impl prost::Message) -> Vec<u8> {
    framed(message.encoded_len(), |out| message.encode_raw(out))
}

/// Reads a generated message.
pub(super) fn read<M: prost::Message + Default>(message: &Message<'_>) -> Result<M, Error> {
    M::decode(message.bytes.clone()).map_err(|error| Error::BadRequest(format!("the request can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 10_000;

    /// The messages of `body`, which comes in parts of so many bytes.
    fn read_in(body: &[u8], part: usize, encoding: &'static str) -> (Vec<Bytes>, Result<(), Error>) {
        let parts = body.chunks(part).map(Bytes::copy_from_slice).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(messages(parts, encoding, MOST))
    }

    fn written(message: &[u8], coding: Option<Coding>) -> Vec<u8> {
        compressed(framed(message.len(), |out| out.extend_from_slice(message)), coding)
    }

    #[test]
    fn what_is_no_message_is_refused_after_those_before_it() {
        let good = written(b"good", None);
        for (bad, wrong) in [
            (&[2, 0, 0, 0, 0][..], "a message should begin with 0"),
            (&[1, 0, 0, 0, 0], "the call has no `grpc-encoding`"),
            (&[0, 0, 0, 0, 2, b'x'], "broke off within a message"),
            (&[0, 0], "broke off within a message"),
            (&[0, 0, 0, 0x27, 0x11], "`maxBodyBytes`"),
            (&[0, 0xff, 0xff, 0xff, 0xff], "`maxBodyBytes`"),
        ] {
            for part in [1, 100] {
                let (taken, end) = read_in(&[&good, bad].concat(), part, "identity");
                assert_eq!(taken, ["good"]);
                assert!(end.as_ref().unwrap_err().to_string().contains(wrong), "{end:?}");
            }
        }
        assert_eq!(read_in(&[], 1, "identity"), (vec![], Ok(())));
        // Small on the wire, and larger than it may be.
        let (taken, end) = read_in(&written(&[0; MOST + 1], Some(Coding::Gzip)), 100, "gzip");
        assert!(taken.is_empty() && matches!(end, Err(Error::TooLarge { .. })), "{end:?}");
    }

    proptest! {
        #[test]
        fn messages_are_read_as_they_were_written_however_they_come(
            lengths in proptest::collection::vec(0usize..3000, 0..5), byte: u8, part in 1usize..2000, packed: bool,
        ) {
            let sent: Vec<Vec<u8>> = lengths.iter().map(|length| vec![byte; *length]).collect();
            let coding = packed.then_some(Coding::Zstd);
            let body = sent.iter().flat_map(|message| written(message, coding)).collect::<Vec<u8>>();
            let (taken, end) = read_in(&body, part, "zstd");
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(taken, sent);
        }
    }
}
