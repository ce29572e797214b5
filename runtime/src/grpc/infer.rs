//! `ModelInfer` and `ModelStreamInfer`.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::message::{Message, Messages, compressed, framed, generated};
use super::seen::Seen;
use super::{Call, Method};
use crate::app::App;
use crate::codec::v2::ModelName;
use crate::codec::v2::protobuf::messages::{ModelInferResponse, ModelStreamInferResponse};
use crate::codec::v2::protobuf::{Answer, Envelope, In};
use crate::error::Error;
use crate::http::{Limits, guarded};
use crate::inference::{self, Work};
use crate::repository;

/// The most requests of one stream in work at once.
const AT_ONCE: usize = 64;

/// Answers the one message of a call.
pub(super) async fn unary(
    app: &App,
    call: &mut Call,
    messages: &mut Messages<'_>,
    seen: &mut Seen<'_>,
) -> Result<Vec<u8>, Error> {
    let mut work = call.only(app);
    let result = match work.admit() {
        Err(refused) => Err(refused),
        Ok(()) => match messages.only().await {
            Err(error) => Err(error),
            Ok(message) => infer(&mut work, call, message, In::Response, &mut String::new()).await,
        },
    };
    seen.ran(&work);
    work.end(result)
}

/// From a message to an answer with its head. `id` is the request's as soon as it is known.
async fn infer(
    work: &mut Work<'_>,
    call: &Call,
    message: Message<'_>,
    kind: In,
    id: &mut String,
) -> Result<Vec<u8>, Error> {
    let app = work.app;
    let Message { bytes, mut held } = message;
    let mut request = work.decode(bytes.len(), || {
        let envelope = Envelope::read(&bytes, &app.requests)?;
        if kind == In::Stream {
            envelope.id.clone_into(id);
        }
        let version = Some(envelope.version).filter(|version| !version.is_empty());
        repository::check(app, Some(envelope.model), version)?;
        envelope.decode(&app.requests)
    })?;
    held.become_of(|| inference::bytes(&request.inputs));
    drop(bytes);
    work.urgency = request.urgency;
    work.sequence = std::mem::take(&mut request.sequence);
    if let Some(left) = call.left() {
        work.urgency.timeout = Some(work.urgency.timeout.map_or(left, |own| own.min(left)));
    }
    let inputs = std::mem::take(&mut request.inputs);
    let outputs = work.run(inputs).await?;
    let model = ModelName { name: &app.settings.name, version: &app.settings.version };
    let answer = work.encode(&outputs, || {
        let answer = Answer::new(model, &request, &outputs, &app.signature, kind);
        let framed = framed(answer.len(), |out| answer.write(out));
        compressed(framed, call.answers)
    });
    work.sends(answer.len());
    Ok(answer)
}

/// A request of a stream, which has its turn even where others are quicker.
enum Turn<'f> {
    Running(Pin<Box<dyn Future<Output = Bytes> + Send + 'f>>),
    Over(Bytes),
}

/// Answers each message of a call in its turn. What is wrong with one is told in its answer; only what is wrong with
/// the stream ends it.
pub(super) async fn stream(
    app: Arc<App>,
    call: Call,
    body: hyper::body::Incoming,
    answers: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let app = &*app;
    let at_once = app.settings.batching.max_batch_size.clamp(1, AT_ONCE);
    let (sender, mut received) = mpsc::channel(1);
    let mut messages = Messages::new(body, call.encoding, Limits::of(app));
    // A message that is half read stays so while answers are sent.
    let reading = async move {
        loop {
            let message = messages.next(false).await.transpose();
            let more = matches!(message, Some(Ok(_)));
            if sender.send(message).await.is_err() || !more {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let call = &call;
    let answering = async move {
        let mut stopping = pin!(app.stopping());
        let (mut turns, mut end) = (VecDeque::new(), None);
        loop {
            if turns.is_empty()
                && let Some(end) = end.take()
            {
                return end;
            }
            tokio::select! {
                biased;
                answer = next(&mut turns), if !turns.is_empty() => {
                    if answers.send(answer).await.is_err() {
                        return Ok(());
                    }
                }
                message = received.recv(), if end.is_none() && turns.len() < at_once => match message.flatten() {
                    Some(Ok(message)) => turns.push_back(Turn::Running(Box::pin(one(app, call, message)))),
                    Some(Err(error)) => end = Some(Err(error)),
                    None => end = Some(Ok(())),
                },
                () = &mut stopping, if end.is_none() => {
                    end = Some(Err(Error::NotReady("the service is stopping".into())));
                }
            }
        }
    };
    tokio::select! {
        biased;
        ended = answering => ended,
        () = reading => Ok(()),
    }
}

/// The answer of the first, while all go on.
async fn next(turns: &mut VecDeque<Turn<'_>>) -> Bytes {
    poll_fn(|cx| {
        for turn in turns.iter_mut() {
            if let Turn::Running(running) = turn
                && let Poll::Ready(answer) = running.as_mut().poll(cx)
            {
                *turn = Turn::Over(answer);
            }
        }
        match turns.pop_front() {
            Some(Turn::Over(answer)) => Poll::Ready(answer),
            first => {
                turns.extend(first);
                turns.rotate_right(usize::from(turns.len() > 1));
                Poll::Pending
            }
        }
    })
    .await
}

/// The answer to one request of a stream, whatever becomes of it.
async fn one(app: &App, call: &Call, message: Message<'_>) -> Bytes {
    let (mut seen, mut id) = (Seen::begin(app, Method::ModelStreamInfer, call.id.clone()), String::new());
    let answered = guarded(app, async {
        let mut work = call.next(app);
        seen.recorded(work.place());
        let result = match work.admit() {
            Err(refused) => Err(refused),
            Ok(()) => infer(&mut work, call, message, In::Stream, &mut id).await,
        };
        seen.ran(&work);
        work.end(result)
    })
    .await;
    seen.answered(answered.as_ref().err(), false);
    match answered {
        Ok(answer) => app.budget.unsent(answer.into()),
        Err(error) => {
            let model_name = app.settings.name.clone();
            let answer = ModelInferResponse { id, model_name, ..Default::default() };
            let message = ModelStreamInferResponse { error_message: error.to_string(), infer_response: Some(answer) };
            generated(&message).into()
        }
    }
}
