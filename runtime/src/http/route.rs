//! A path → the route that answers it. Pure, so that metrics, errors and the table of routes agree.

use hyper::Method;

/// How a family of routes writes its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `{"error":{"message","type","code"}}`.
    Nim,
    /// `{"error":"…"}`.
    OpenInference,
}

macro_rules! routes {
    ($($name:ident $method:ident $path:literal, $doc:literal;)+) => {
        /// Every route.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Route {
            $(#[doc = $doc] $name,)+
            /// A path that nobody serves.
            Unknown,
        }

        impl Route {
            /// Every route, in the order of its number (`route as usize`).
            pub const ALL: &[Route] = &[$(Route::$name,)+ Route::Unknown];

            /// The path, with the model's and the version's name left open; the label in the metrics.
            pub fn label(self) -> &'static str {
                match self { $(Route::$name => $path,)+ Route::Unknown => "unknown" }
            }

            /// What it answers, in a line.
            pub fn doc(self) -> &'static str {
                match self { $(Route::$name => $doc,)+ Route::Unknown => "A path that nobody serves." }
            }

            /// The method that it takes; HEAD goes with GET.
            pub fn method(self) -> Method {
                match self { $(Route::$name => Method::$method,)+ Route::Unknown => Method::GET }
            }

            fn exact(path: &str) -> Option<Route> {
                match path { $($path => Some(Route::$name),)+ _ => None }
            }
        }
    };
}

routes! {
    Predict POST "/v1/predict", "One property an input, one an output.";
    Infer POST "/v1/infer", "The same under NIM's name.";
    Live GET "/v1/health/live", "Whether the process runs.";
    Ready GET "/v1/health/ready", "Whether it takes requests.";
    Metrics GET "/metrics", "Prometheus metrics.";
    NimMetrics GET "/v1/metrics", "The same under NIM's path.";
    Models GET "/v1/models", "The list of models, one long.";
    Metadata GET "/v1/metadata", "What is served.";
    SideFile GET "/v1/metadata/files/{file}", "A file that came with the model.";
    Manifest GET "/v1/manifest", "What it was made of.";
    License GET "/v1/license", "The model's licence.";
    Version GET "/v1/version", "Versions of the model and of the API.";
    ServerMetadata GET "/v2", "The server's name, version and extensions.";
    ServerLive GET "/v2/health/live", "Whether the process runs.";
    ServerReady GET "/v2/health/ready", "Whether it takes requests.";
    ModelMetadata GET "/v2/models/{model}", "Inputs and outputs.";
    ModelReady GET "/v2/models/{model}/ready", "Whether the model takes requests.";
    ModelInfer POST "/v2/models/{model}/infer", "An inference, in JSON or binary.";
    Statistics GET "/v2/models/stats", "What the models have done so far.";
    ModelStatistics GET "/v2/models/{model}/stats", "What the model has done so far.";
    ModelConfig GET "/v2/models/{model}/config", "How the model is served, in Triton's words.";
    RepositoryIndex POST "/v2/repository/index", "The list of models, one long, and their states.";
    RepositoryLoad POST "/v2/repository/models/{model}/load", "Nothing: the model is loaded at the start.";
    RepositoryUnload POST "/v2/repository/models/{model}/unload", "Nothing: the model stays.";
    OpenApi GET "/openapi.json", "The service's description.";
    Docs GET "/docs", "A page for people.";
    DocsStyle GET "/docs/style.css", "The page's style.";
    DocsScript GET "/docs/script.js", "The page's script.";
    DocsModel GET "/docs/model.json", "The signature that the page shows.";
    DocsSample GET "/docs/sample.json", "The recorded sample request.";
    Debug GET "/debug", "A page that draws latency, batches and queue as they are now.";
    DebugStyle GET "/debug/style.css", "The page's style.";
    DebugScript GET "/debug/script.js", "The page's script.";
    DebugData GET "/debug/data.json", "The counters that the page draws.";
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The route.
    pub route: Route,
    /// The model that the path names, decoded.
    pub model: Option<String>,
    /// The version that the path names, decoded.
    pub version: Option<String>,
    /// The file that the path names, decoded.
    pub file: Option<String>,
}

impl Target {
    /// A route whose path names nothing.
    pub(super) fn plain(route: Route) -> Target {
        Target { route, model: None, version: None, file: None }
    }
}

impl Route {
    /// How errors under this path are written.
    pub fn style(path: &str) -> Style {
        match path.strip_prefix("/v2") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Style::OpenInference,
            _ => Style::Nim,
        }
    }

    /// Whether it runs the model.
    pub fn is_inference(self) -> bool {
        matches!(self, Route::Predict | Route::Infer | Route::ModelInfer)
    }

    /// Whether it is a part of the page for debugging.
    pub fn is_debug(self) -> bool {
        matches!(self, Route::Debug | Route::DebugStyle | Route::DebugScript | Route::DebugData)
    }

    /// Whether it tells what the service counts, for those who run it and not for those who use it.
    pub fn is_metrics(self) -> bool {
        matches!(self, Route::Metrics | Route::NimMetrics) || self.is_debug()
    }

    /// Whether it is asked every few seconds by machines, so that its failures are no news.
    pub fn is_health(self) -> bool {
        matches!(self, Route::Live | Route::Ready | Route::ServerLive | Route::ServerReady | Route::ModelReady)
    }

    /// Finds the route of a path. The method is looked at afterwards.
    pub fn find(path: &str) -> Target {
        let plain = Target::plain;
        if let Some(route) = Route::exact(path)
            && !path.contains('{')
        {
            return plain(route);
        }
        if let Some(file) = path.strip_prefix("/v1/metadata/files/") {
            let file = percent_decoded(file).filter(|file| !file.is_empty() && !path.contains('{'));
            return file.map_or(plain(Route::Unknown), |file| Target { file: Some(file), ..plain(Route::SideFile) });
        }
        match path.strip_prefix("/v2/") {
            Some("") => plain(Route::ServerMetadata),
            Some(rest) => {
                let found = match rest.strip_prefix("repository/") {
                    Some(rest) => Route::find_control(rest),
                    None => Route::find_model(rest),
                };
                found.unwrap_or(plain(Route::Unknown))
            }
            None => plain(Route::Unknown),
        }
    }

    /// `models/{model}/(load|unload)`.
    fn find_control(rest: &str) -> Option<Target> {
        let (model, control) = rest.strip_prefix("models/")?.split_once('/')?;
        let route = match control {
            "load" => Route::RepositoryLoad,
            "unload" => Route::RepositoryUnload,
            _ => return None,
        };
        let model = percent_decoded(Some(model).filter(|m| !m.is_empty())?)?;
        Some(Target { model: Some(model), ..Target::plain(route) })
    }

    /// `models/{model}[/versions/{version}][/ready|/infer|/stats|/config]`.
    fn find_model(rest: &str) -> Option<Target> {
        let mut parts = rest.strip_prefix("models/")?.split('/');
        let model = Some(percent_decoded(parts.next().filter(|m| !m.is_empty())?)?);
        let mut next = parts.next();
        let mut version = None;
        if next == Some("versions") {
            version = Some(percent_decoded(parts.next().filter(|v| !v.is_empty())?)?);
            next = parts.next();
        }
        let route = match next {
            None | Some("") => Route::ModelMetadata,
            Some("ready") => Route::ModelReady,
            Some("infer") => Route::ModelInfer,
            Some("stats") => Route::ModelStatistics,
            Some("config") => Route::ModelConfig,
            Some(_) => return None,
        };
        parts.next().is_none().then_some(Target { model, version, ..Target::plain(route) })
    }
}

/// `%41` → `A`; `None` for a broken escape or what isn't UTF-8 afterwards.
pub(crate) fn percent_decoded(part: &str) -> Option<String> {
    if !part.contains('%') {
        return Some(part.to_string());
    }
    let mut decoded = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(route: Route, model: &str, version: Option<&str>) -> Target {
        Target { model: Some(model.into()), version: version.map(Into::into), ..Target::plain(route) }
    }

    #[test]
    fn every_route_without_a_model_is_found_by_its_label() {
        for (number, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, number);
            if !route.label().contains('{') {
                assert_eq!(Route::find(route.label()).route, *route);
            }
        }
        assert_eq!(Route::find("/v2/").route, Route::ServerMetadata);
        assert_eq!(Route::find("/v1/metadata/files/a%20b").file.as_deref(), Some("a b"));
        for path in [
            "",
            "/",
            "/v1",
            "/v1/metadata/files/",
            "/v1/predict/",
            "/v3",
            "/v2x",
            "/v2/models",
            "/v2/models/",
            "*",
            "/docs/x",
        ] {
            assert_eq!(Route::find(path).route, Route::Unknown, "{path}");
        }
    }

    #[test]
    fn model_and_version_are_taken_from_the_path() {
        assert_eq!(Route::find("/v2/models/m"), target(Route::ModelMetadata, "m", None));
        assert_eq!(Route::find("/v2/models/m/ready"), target(Route::ModelReady, "m", None));
        assert_eq!(Route::find("/v2/models/a%2Fb/versions/1.0/infer"), target(Route::ModelInfer, "a/b", Some("1.0")));
        assert_eq!(Route::find("/v2/models/{model}"), target(Route::ModelMetadata, "{model}", None));
        assert_eq!(Route::find("/v2/models/stats"), Target::plain(Route::Statistics));
        assert_eq!(Route::find("/v2/models/stats/stats"), target(Route::ModelStatistics, "stats", None));
        assert_eq!(Route::find("/v2/models/m/versions/2/config"), target(Route::ModelConfig, "m", Some("2")));
        assert_eq!(Route::find("/v2/repository/models/a%2Fb/load"), target(Route::RepositoryLoad, "a/b", None));
        for path in ["", "index/", "models", "models/m", "models//load", "models/m/load/", "models/m/reload"] {
            assert_eq!(Route::find(&format!("/v2/repository/{path}")).route, Route::Unknown, "{path}");
        }
        for path in ["m/versions", "m/versions/", "m/x", "m/infer/x", "m%", "m%4", "m%zz", "%ff", "m%+1"] {
            assert_eq!(Route::find(&format!("/v2/models/{path}")).route, Route::Unknown, "{path}");
        }
    }

    #[test]
    fn errors_are_styled_by_the_prefix() {
        assert_eq!(Route::style("/v2"), Style::OpenInference);
        assert_eq!(Route::style("/v2/nothing"), Style::OpenInference);
        assert_eq!(Route::style("/v22"), Style::Nim);
        assert_eq!(Route::style("/"), Style::Nim);
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "/v2/models/[a-z%0-9/é]{0,20}|\\PC{0,30}") {
            let _ = Route::find(&path);
        }
    }
}
