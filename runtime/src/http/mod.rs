//! HTTP: a request's head → its route → an answer, with a request id on it and a count in the metrics.
//!
//! There is no framework between hyper and the routes: a path is matched by [`route`], a body read by `body` and an
//! error written by `respond`, so that a request pays for nothing that it doesn't use. One file a family of routes:
//! `predict`, `nim`, `files`, `v2`, `extensions`, `docs`, `debug`.

mod body;
mod connection;
mod debug;
mod docs;
mod documents;
pub(crate) mod encoding;
mod events;
mod extensions;
mod files;
mod nim;
mod predict;
mod request_id;
mod respond;
pub mod route;
mod seen;
mod session;
mod upload;
mod v2;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Version};

pub(crate) use body::Limits;
pub(crate) use connection::front::{Closing, Entrance, connections};
pub(crate) use connection::{Access, Door};
pub use documents::Unreadable;
pub(crate) use documents::{Documents, read as read_file};
pub use files::media_type;
pub(crate) use request_id::{REQUEST_ID, RequestIds, text as id_text};
use respond::Response;
use route::{Route, Target};
use seen::Seen;
use upload::Upload;
pub(crate) use v2::extensions;

use crate::app::{App, Phase};
use crate::error::Error;
use crate::inference::Work;

/// Bytes of an answer that are handed to HTTP/2 at once: it takes in all that it is given, whether the client has made
/// room or not.
pub(crate) const PART: usize = 256 << 10;

/// Answers one request. Never fails: what goes wrong is in the answer.
async fn answer(app: &Arc<App>, door: Door, access: Access, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let (version, style) = (head.version, Route::style(head.uri.path()));
    let without_body = version == Version::HTTP_2 && head.method == Method::HEAD;
    let wanted = encoding::wanted(&head.headers);
    let target = door.admit(app, Route::find(head.uri.path()));
    let mut seen = Seen::begin(app, &head, target.route);
    let body = Upload::new(&head.headers, body, app.settings.server.read_timeout);
    let routed = match access.check(app, target.route.is_health()) {
        Ok(()) => guarded(app, dispatch(app, target, head, body, &mut seen)).await,
        Err(refused) => Err(refused),
    };
    let response = match routed {
        Ok(response) => response,
        Err(error) => {
            seen.failed(&error);
            respond::error(&error, style)
        }
    };
    let mut response = encoding::encoded(response, wanted, &app.settings.server);
    if without_body {
        respond::leave_body_out(&mut response);
    }
    response.body_mut().count(&app.budget);
    if version == Version::HTTP_2 {
        response.body_mut().in_parts(PART);
    } else if app.phase() >= Phase::Draining {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    seen.answered(&mut response);
    response
}

/// `body` as answers in the content coding of this name are written, for the benchmarks; `None` where there is none.
#[doc(hidden)]
pub fn compressed(coding: &str, body: &[u8]) -> Option<Vec<u8>> {
    encoding::compress(encoding::Coding::find(coding)?, body).ok()
}

/// What a request ends in; a panic is counted and told as a fault of the service.
pub(crate) async fn guarded<T>(app: &App, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    caught(request).await.unwrap_or_else(|()| {
        app.metrics.panics.inc();
        Err(Error::Internal("the service failed on this request; its logs say more".into()))
    })
}

/// Polls a future; a panic in it becomes an error.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, ()> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(())),
    })
    .await
}

async fn dispatch(
    app: &Arc<App>,
    target: Target,
    head: Parts,
    body: Upload,
    seen: &mut Seen<'_>,
) -> Result<Response, Error> {
    let route = target.route;
    let path = head.uri.path();
    if route == Route::Unknown {
        return Err(Error::NotFound(format!("there is nothing at `{path}`")));
    }
    let method = route.method();
    if head.method != method && !(head.method == Method::HEAD && method == Method::GET) {
        return Ok(respond::method_not_allowed(&head.method, &method, path, Route::style(path)));
    }
    let documents = &app.documents;
    match route {
        Route::Predict | Route::Infer if events::are_wanted(&head.headers) => {
            events::predict(app, head, body, seen.go_on()).await
        }
        Route::Predict | Route::Infer | Route::ModelInfer => infer(app, &target, head, body, seen).await,
        Route::Live => Ok(nim::live()),
        Route::Ready => nim::ready(app),
        Route::Metrics | Route::NimMetrics => Ok(nim::metrics(app, &head.headers)),
        Route::Models => Ok(respond::json(documents.models.clone())),
        Route::Metadata => Ok(respond::json(documents.metadata.clone())),
        Route::SideFile => files::file(app, &target, &head.headers),
        Route::Manifest => Ok(respond::json(documents.manifest.clone())),
        Route::License => nim::license(app),
        Route::Version => Ok(respond::json(documents.version.clone())),
        Route::ServerMetadata => Ok(respond::json(documents.server.clone())),
        Route::ServerLive => Ok(respond::empty()),
        Route::ServerReady => v2::ready(app),
        Route::ModelReady => v2::model_ready(app, &target),
        Route::ModelMetadata => v2::metadata(app, &target),
        Route::Statistics | Route::ModelStatistics => extensions::statistics(app, &target),
        Route::ModelConfig => extensions::config(app, &target),
        Route::RepositoryIndex => extensions::index(app, head, body).await,
        Route::RepositoryLoad | Route::RepositoryUnload => extensions::control(app, &target),
        Route::OpenApi => Ok(respond::json(documents.openapi.clone())),
        Route::Docs | Route::DocsStyle | Route::DocsScript | Route::DocsModel | Route::DocsSample => {
            docs::page(app, route)
        }
        Route::Debug | Route::DebugStyle | Route::DebugScript | Route::DebugData => debug::page(app, route),
        Route::Unknown => Err(Error::NotFound(format!("there is nothing at `{path}`"))),
    }
}

async fn infer(app: &App, target: &Target, head: Parts, body: Upload, seen: &mut Seen<'_>) -> Result<Response, Error> {
    let mut work = Work::begin(app);
    work.trace = seen.trace();
    let result = match work.admit() {
        Err(refused) => Err(refused),
        Ok(()) if target.route == Route::ModelInfer => v2::infer(&mut work, target, head, body).await,
        Ok(()) => predict::predict(&mut work, head, body).await,
    };
    seen.ran(&work);
    work.end(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(caught(async { 1 })), Ok(1));
        let panics = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "on purpose");
        };
        assert_eq!(runtime.block_on(caught(panics)), Err(()));
    }
}
