//! `/debug`: a page that draws the live picture of the service from its counters, and needs nothing from elsewhere.
//!
//! It shows what `/metrics` tells and no more: nothing of any request, of the settings or of the environment. So it is
//! served where the metrics are: on `metricsPort` alone where that is set.

use super::docs;
use super::respond::{self, Response};
use super::route::Route;
use crate::app::App;
use crate::error::Error;

const PAGE: &str = include_str!("debug/index.html");
const STYLE: &str = concat!(include_str!("page.css"), include_str!("debug/style.css"));
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("debug/script.js"));

/// One of the page's files, or the counters as they stand.
pub(super) fn page(app: &App, route: Route) -> Result<Response, Error> {
    let (content_type, body) = match route {
        Route::DebugStyle => ("text/css; charset=utf-8", STYLE.into()),
        Route::DebugScript => ("text/javascript; charset=utf-8", SCRIPT.into()),
        Route::DebugData => {
            let picture = app.metrics.picture(app.live(), app.settings.batching.max_queue);
            ("application/json", respond::written(&picture)?)
        }
        _ => ("text/html; charset=utf-8", PAGE.into()),
    };
    Ok(docs::file(content_type, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_fetches_nothing_from_elsewhere() {
        assert!(PAGE.len() + STYLE.len() + SCRIPT.len() < 25_000);
        for text in [PAGE, STYLE, SCRIPT] {
            // A name of a namespace is no address.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains(" style=") && !PAGE.contains("<script>"));
        assert!(!SCRIPT.contains("innerHTML"), "a model's name is text, never markup");
    }
}
