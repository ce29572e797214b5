//! `/docs`: a page for people that needs nothing from elsewhere, and the two documents that it reads besides
//! `/openapi.json`.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use serde_json::json;

use super::respond::{self, Response};
use super::route::Route;
use crate::app::App;
use crate::error::Error;
use crate::settings::ServiceSettings;
use crate::signature::ModelSignature;

const PAGE: &str = include_str!("docs/index.html");
const STYLE: &str = concat!(include_str!("page.css"), include_str!("docs/style.css"));
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("docs/script.js"));

/// Nothing but this service, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One of the page's files.
pub(super) fn page(app: &App, route: Route) -> Result<Response, Error> {
    let (content_type, body) = match route {
        Route::DocsStyle => ("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes())),
        Route::DocsScript => ("text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes())),
        Route::DocsModel => ("application/json", app.documents.docs_model.clone()),
        Route::DocsSample => {
            let sample = app.documents.sample.clone();
            let none = || Error::NotFound("no sample request was recorded for this model".into());
            ("application/json", sample.ok_or_else(none)?)
        }
        _ => ("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes())),
    };
    Ok(file(content_type, body))
}

/// A file of a page, with what keeps the page to itself.
pub(super) fn file(content_type: &'static str, body: Bytes) -> Response {
    let mut response = respond::ok(HeaderValue::from_static(content_type), body);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What the page shows of the model: `/openapi.json` has JSON Schemas, in which a dim's name is lost.
pub(super) fn model(settings: &ServiceSettings, signature: &ModelSignature, has_sample: bool) -> Bytes {
    let document = json!({
        "name": settings.name, "version": settings.version, "source": settings.model.source,
        "signature": signature, "hasSample": has_sample, "hasLicense": settings.license.is_some(),
        "hasMetrics": settings.server.metrics_port.is_none(),
        "hasDebug": settings.server.debug_page && settings.server.metrics_port.is_none(),
        "runtime": env!("CARGO_PKG_VERSION"),
    });
    document.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_fetches_nothing_from_elsewhere() {
        assert!(PAGE.len() + STYLE.len() + SCRIPT.len() < 25_000);
        for text in [PAGE, STYLE, SCRIPT] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url(//"));
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains(" style=") && !PAGE.contains("<script>"));
        assert!(!SCRIPT.contains("innerHTML"), "a tensor's name is text, never markup");
    }
}
