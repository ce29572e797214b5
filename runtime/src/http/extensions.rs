//! Triton's extensions of the Open Inference Protocol: statistics, configuration, repository. The values are plain ones
//! of modules of their own; here they become JSON.

use hyper::http::request::Parts;

use super::body::{self, Limits};
use super::respond::{self, Response};
use super::route::Target;
use super::upload::Upload;
use super::v2::check_name;
use crate::app::App;
use crate::error::Error;
use crate::repository::{self, IndexRequest};
use crate::statistics::Statistics;

/// The statistics of the model in the path, or of all models, which are the one.
pub(super) fn statistics(app: &App, target: &Target) -> Result<Response, Error> {
    check_name(app, target)?;
    respond::written(&Statistics { model_stats: vec![app.statistics(target.version.as_deref())] }).map(respond::json)
}

pub(super) fn config(app: &App, target: &Target) -> Result<Response, Error> {
    check_name(app, target)?;
    respond::written(&app.model_config()).map(respond::json)
}

/// The body may be empty, or say `{"ready": true}`.
pub(super) async fn index(app: &App, head: Parts, body: Upload) -> Result<Response, Error> {
    body::check_media_type(&head.headers, &["application/json", "application/octet-stream"])?;
    let (body, _held) = body::read(&head.headers, body, Limits::of(app)).await?;
    let request = match body.trim_ascii() {
        [] => IndexRequest::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Error::BadRequest(format!("the request can't be read: {error}")))?,
    };
    respond::written(&repository::index(app, request)).map(respond::json)
}

/// The service has one model, which it loads when it starts.
pub(super) fn control(app: &App, target: &Target) -> Result<Response, Error> {
    check_name(app, target)?;
    Err(repository::no_control())
}
