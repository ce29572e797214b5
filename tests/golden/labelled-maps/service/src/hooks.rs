//! What happens to each request before the model and to each answer after it. This file is yours: nimify writes it
//! once and never again.
//!
//! Both hooks run on every protocol, for each request alone: before requests are joined into a batch and after the
//! batch is split. Shapes must stay such that the model takes them. An error ends the request with its HTTP status.

use nimify_runtime::service::Error;

use crate::api::{Request, Response};

/// Before the model.
pub fn before(request: Request) -> Result<Request, Error> {
    Ok(request)
}

/// After the model.
pub fn after(response: Response) -> Result<Response, Error> {
    Ok(response)
}
