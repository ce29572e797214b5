//! `/v1/predict` and `/v1/infer`: an object with one property an input, answered by one with one property an output.

use hyper::http::request::Parts;

use super::body::{self, Limits};
use super::respond::{self, Response};
use super::upload::Upload;
use crate::codec::predict;
use crate::error::Error;
use crate::inference::{self, Work};

pub(super) async fn predict(work: &mut Work<'_>, head: Parts, body: Upload) -> Result<Response, Error> {
    let app = work.app;
    body::check_media_type(&head.headers, &["application/json"])?;
    let (body, mut held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let inputs = work.decode(body.len(), || predict::decode(&body, &app.signature))?;
    held.become_of(|| inference::bytes(&inputs));
    drop(body);
    let outputs = work.run(inputs).await?;
    let answer = work.encode(&outputs, || {
        let mut answer = Vec::new();
        predict::encode(&outputs, &app.signature, &mut answer);
        answer
    });
    work.sends(answer.len());
    Ok(respond::json(answer))
}
