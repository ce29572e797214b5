//! `/v1/predict` and `/v1/infer`: an object with one property an input, answered by one with one property an output.

use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::app::App;
use super::respond::{self, Response};
use super::{body, infer};
use crate::codec::predict;
use crate::error::Error;

pub(super) async fn predict(app: &App, head: Parts, body: Incoming) -> Result<Response, Error> {
    body::check_media_type(&head.headers, &["application/json"])?;
    let (body, mut held) = body::read(&head.headers, body, infer::limits(app)).await?;
    let inputs = infer::decode(app, body.len(), || predict::decode(&body, &app.signature))?;
    held.become_of(|| infer::bytes(&inputs));
    drop(body);
    let outputs = infer::run(app, inputs).await?;
    let answer = infer::encode(app, &outputs, || {
        let mut answer = Vec::new();
        predict::encode(&outputs, &app.signature, &mut answer);
        answer
    });
    Ok(respond::json(answer))
}
