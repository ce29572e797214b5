//! The body of an answer: one message and its trailers, or messages as they are made.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::status;
use crate::error::Error;
use crate::http::PART;

/// Answers that wait for the client to take them; what makes more waits too.
const AHEAD: usize = 4;

/// Makes a stream's messages, and ends as the call should.
type Maker = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The body of an answer.
pub(crate) struct Body(Kind);

enum Kind {
    /// What is left of it.
    Whole { message: Option<Bytes>, trailers: Option<HeaderMap> },
    /// Polled by the connection itself, so that a client that goes takes all of it along.
    Stream {
        maker: Option<Maker>,
        messages: mpsc::Receiver<Bytes>,
        /// What is left of a message.
        rest: Bytes,
        trailers: Option<HeaderMap>,
    },
}

impl Body {
    /// Nothing: all is in the headers.
    pub(super) fn empty() -> Body {
        Body(Kind::Whole { message: None, trailers: None })
    }

    /// What is no gRPC.
    pub(super) fn text(text: Bytes) -> Body {
        Body(Kind::Whole { message: Some(text), trailers: None })
    }

    /// One message, and that all is well.
    pub(super) fn message(message: Bytes) -> Body {
        Body(Kind::Whole { message: Some(message), trailers: Some(status::trailers(None)) })
    }

    /// What the future that `maker` gives sends, until it ends.
    pub(super) fn stream<F>(maker: impl FnOnce(mpsc::Sender<Bytes>) -> F) -> Body
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (sender, messages) = mpsc::channel(AHEAD);
        let maker: Maker = Box::pin(maker(sender));
        Body(Kind::Stream { maker: Some(maker), messages, rest: Bytes::new(), trailers: None })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match &mut self.0 {
            Kind::Whole { message: Some(rest), .. } | Kind::Stream { rest, .. } if rest.len() > PART => {
                Some(Frame::data(rest.split_to(PART)))
            }
            Kind::Stream { rest, .. } if !rest.is_empty() => Some(Frame::data(std::mem::take(rest))),
            Kind::Whole { message, trailers } => {
                message.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers))
            }
            Kind::Stream { maker, messages, rest, trailers } => {
                if let Some(running) = maker
                    && let Poll::Ready(ended) = running.as_mut().poll(cx)
                {
                    *maker = None;
                    *trailers = Some(status::trailers(ended.err().as_ref()));
                }
                match messages.poll_recv(cx) {
                    Poll::Ready(Some(mut message)) => {
                        let part = message.split_to(message.len().min(PART));
                        *rest = message;
                        Some(Frame::data(part))
                    }
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => trailers.take().map(Frame::trailers),
                }
            }
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole { message: None, trailers: None })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { message: Some(text), trailers: None } => SizeHint::with_exact(text.len() as u64),
            // gRPC says where its messages end, and no `Content-Length`.
            _ => SizeHint::default(),
        }
    }
}
