//! Where spans go: the URL of a collector.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use serde::{Deserialize, Serialize};

/// What OTLP over HTTP puts behind the collector's own URL.
const TRACES: &str = "v1/traces";

/// `http://HOST[:PORT][/PATH]`, or `https://…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(Uri);

impl Endpoint {
    /// The place below a collector's URL that takes traces.
    pub(crate) fn with_traces(&self) -> Endpoint {
        let scheme = self.0.scheme_str().unwrap_or("http");
        let query = self.0.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = self.0.path().trim_end_matches('/');
        let whole = format!("{scheme}://{}{path}/{TRACES}{query}", self.authority());
        whole.parse().expect("a URL with more path is still one")
    }

    /// Whether TLS is spoken.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Name or address, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port, or that of the scheme.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// Host and port as they were written.
    pub(crate) fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    // The text isn't repeated: it may hold a password.
    fn from_str(text: &str) -> Result<Endpoint, String> {
        let uri: Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err("it must begin with `http://` or `https://`".into()),
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("it must not hold a user: use `OTEL_EXPORTER_OTLP_HEADERS`".into());
        }
        if uri.host().unwrap_or_default().is_empty() || uri.port_u16() == Some(0) {
            return Err("it must name a host, and a port other than 0".into());
        }
        Ok(Endpoint(uri))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Endpoint, String> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, tls, host, port, path) in [
            ("http://collector:4318", false, "collector", 4318, "/v1/traces"),
            ("http://collector/", false, "collector", 80, "/v1/traces"),
            ("https://a.b/otlp", true, "a.b", 443, "/otlp/v1/traces"),
            ("https://a?key=1", true, "a", 443, "/v1/traces?key=1"),
            ("https://[::1]:81/otlp/", true, "::1", 81, "/otlp/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let traces = endpoint.with_traces();
            assert_eq!((traces.is_tls(), traces.host(), traces.port()), (tls, host, port), "{text}");
            assert_eq!(traces.path(), path, "{text}");
            assert_eq!(traces.authority(), endpoint.authority());
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_none_is_refused_without_being_repeated() {
        for text in ["", "collector:4318", "/v1", "ftp://secret", "http://", "http://u:secret@a", "http://secret:0"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
