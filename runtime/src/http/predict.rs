//! `/v1/predict` and `/v1/infer`: an object with one property an input, answered by one with one property an output.

use hyper::http::request::Parts;

use super::body::{self, Limits};
use super::respond::{self, Response};
use super::session;
use super::upload::Upload;
use crate::codec::predict;
use crate::error::Error;
use crate::inference::{self, Work};
use crate::tensor::Value;

pub(super) async fn predict(work: &mut Work<'_>, head: Parts, body: Upload) -> Result<Response, Error> {
    let app = work.app;
    body::check_media_type(&head.headers, &["application/json"])?;
    work.sequence = session::of(&head.headers)?;
    let (body, mut held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let inputs = work.decode(body.len(), || predict::decode(&body, &app.requests))?;
    held.become_of(|| inference::bytes(&inputs));
    drop(body);
    let mut outputs = work.run(inputs).await?;
    work.leave_out_kept(&mut outputs);
    Ok(respond::json(encoded(work, &outputs)))
}

/// The text of an answer.
pub(super) fn encoded(work: &mut Work<'_>, outputs: &[Value]) -> Vec<u8> {
    let signature = &work.app.signature;
    let text = work.encode(outputs, || {
        let mut text = Vec::new();
        predict::encode(outputs, signature, &mut text);
        text
    });
    work.sends(text.len());
    text
}
