//! A request to the service itself, by way of its Service object: the API server passes it on.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::request::{Ask, segment};
use super::{Cluster, Error};

/// Where in the namespace a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// The Service's name.
    pub service: &'a str,
    /// The name of its port.
    pub port: &'a str,
    /// Whether the port speaks TLS.
    pub tls: bool,
    /// The path, `/v1/predict`.
    pub path: &'a str,
}

/// How much an answer may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long it may take.
    pub timeout: Duration,
    /// How many bytes of it are read.
    pub limit: usize,
}

/// What the service answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body's type.
    pub content_type: Option<String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Target<'_> {
    fn url(&self, namespace: &str) -> String {
        let scheme = if self.tls { "https:" } else { "" };
        let (service, port) = (segment(self.service), segment(self.port));
        let path = self.path.trim_start_matches('/');
        format!("/api/v1/namespaces/{}/services/{scheme}{service}:{port}/proxy/{path}", segment(namespace))
    }
}

impl Cluster {
    /// Posts a JSON body to the service through the API server. Any status that the service itself answers is a reply;
    /// that nothing of the service answers is an error.
    pub fn post(&self, target: Target<'_>, body: &[u8], bounds: Bounds) -> Result<Reply, Error> {
        self.pass_on(Method::POST, "create", target, Some(body), bounds)
    }

    /// Gets a page of the service through the API server, as [`Cluster::post`] does it.
    pub fn fetch(&self, target: Target<'_>, bounds: Bounds) -> Result<Reply, Error> {
        self.pass_on(Method::GET, "get", target, None, bounds)
    }

    fn pass_on(
        &self,
        method: Method,
        verb: &str,
        target: Target<'_>,
        body: Option<&[u8]>,
        bounds: Bounds,
    ) -> Result<Reply, Error> {
        let action = format!("{verb} services/proxy in namespace {}", self.namespace);
        let ask = Ask {
            method,
            body: body.map(|body| ("application/json", body.to_vec())),
            timeout: bounds.timeout,
            limit: bounds.limit,
            ..Ask::get(target.url(&self.namespace), action)
        };
        let answer = self.send_once(&ask)?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let of_the_cluster = said["kind"] == "Status" && said["apiVersion"] == "v1";
        if of_the_cluster && !answer.status.is_success() {
            return Err(match (answer.status.as_u16(), self.refusal(&ask, &answer)) {
                // No pod is ready, or none answers; or there is no such Service.
                (404 | 500.., Error::Refused { words, .. }) => {
                    Error::NothingBehind { service: target.service.into(), words }
                }
                (_, refusal) => refusal,
            });
        }
        Ok(Reply { status: answer.status.as_u16(), content_type: answer.content_type, body: answer.body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_scheme_service_and_port() {
        let target = Target { service: "digits", port: "http", tls: false, path: "/v1/predict" };
        assert_eq!(target.url("ml"), "/api/v1/namespaces/ml/services/digits:http/proxy/v1/predict");
        let tls = Target { tls: true, ..target };
        assert_eq!(tls.url("ml"), "/api/v1/namespaces/ml/services/https:digits:http/proxy/v1/predict");
        let odd = Target { service: "a/b?", ..target };
        assert_eq!(odd.url("ml"), "/api/v1/namespaces/ml/services/a%2Fb%3F:http/proxy/v1/predict");
    }
}
