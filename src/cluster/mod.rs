//! A Kubernetes cluster by its API: who asks, what runs, what a rollout comes to and why.
//!
//! Objects come and go as plain JSON. What they mean is decided by pure functions (`reason`, `running`); the rest asks
//! and waits. Nothing here changes what runs: helm does that. The one object that is written is the lock.
//!
//! The interface is blocking; requests run on a small runtime of the connection's own, and end when the user asks to
//! stop.

mod access;
#[cfg(test)]
mod connection_tests;
mod error;
mod kubeconfig;
mod lease;
mod logs;
mod objects;
pub mod reason;
mod request;
mod rollout;
mod running;
mod through;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, KubeconfigError};
use tokio::runtime::Runtime;

pub use self::access::{Right, rights};
pub use self::error::Error;
pub use self::lease::{Holder, Lock};
pub use self::logs::Log;
use self::request::{Ask, words};
pub use self::rollout::{Failure, Rollout, Unfinished, Update};
pub use self::running::{Part, Running, running};
pub use self::through::{Bounds, Reply, Target};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The name of the context where there is no kubeconfig, in a pod of the cluster itself.
const IN_CLUSTER: &str = "in-cluster";

/// A connection to one cluster, and the namespace in it that is meant. A clone is the same connection.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    runtime: Arc<Runtime>,
    context: String,
    namespace: String,
    server: String,
    version: String,
    /// The program that logs in, for messages.
    command: Option<String>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cluster { context, namespace, server, .. } = self;
        f.debug_struct("Cluster")
            .field("context", context)
            .field("namespace", namespace)
            .field("server", server)
            .finish()
    }
}

impl Cluster {
    /// Connects to the cluster of a context and asks for its version, so that what is in the way comes out here.
    ///
    /// `context`: one of the kubeconfig (`KUBECONFIG`, or `~/.kube/config`), or else its current one; in a pod without a
    /// kubeconfig, the pod's own cluster. `namespace`: or else the context's, or else `default`.
    pub fn connect(context: Option<&str>, namespace: Option<&str>) -> Result<Self, Error> {
        Self::connect_by(&kubeconfig::paths(|name| std::env::var_os(name)), context, namespace)
    }

    /// Connects as [`Cluster::connect`] does, by these files instead of the environment's.
    pub fn connect_by(kubeconfigs: &[PathBuf], context: Option<&str>, namespace: Option<&str>) -> Result<Self, Error> {
        // One provider is compiled in; saying so keeps it so when another comes with a dependency.
        drop(rustls::crypto::ring::default_provider().install_default());
        // Its workers run requests of several threads at once: the lock is renewed while a rollout is followed.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Error::Kubeconfig { words: error.to_string() })?;
        let (context, mut config) = runtime.block_on(configuration(kubeconfigs, context))?;
        config.connect_timeout = Some(CONNECT);
        config.default_retry = false;
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), String::from);
        if !is_label(&namespace) {
            return Err(Error::NamespaceName(namespace));
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let command = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
        let client = {
            let _entered = runtime.enter();
            kube::Client::try_from(config).map_err(|error| match &error {
                kube::Error::Auth(error) => log_in(error, command.as_deref(), &context),
                kube::Error::InferKubeconfig(error) => kubeconfig::unusable(error, None),
                other => Error::Kubeconfig { words: words(other) },
            })?
        };
        let runtime = Arc::new(runtime);
        let mut cluster = Cluster { client, runtime, context, namespace, server, version: String::new(), command };
        cluster.version = cluster.ask_version()?;
        Ok(cluster)
    }

    /// The context's name.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The namespace that is meant.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The API server's address.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The API server's version, `v1.34.1`; empty where it doesn't tell.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn ask_version(&self) -> Result<String, Error> {
        match self.object(&Ask { timeout: CONNECT, ..Ask::get("/version", "get its version") }) {
            Ok(version) => Ok(version.and_then(|v| v["gitVersion"].as_str().map(String::from)).unwrap_or_default()),
            // Some clusters keep it to themselves.
            Err(Error::Forbidden { .. }) => Ok(String::new()),
            Err(other) => Err(other),
        }
    }
}

/// The context's name and its configuration.
async fn configuration(paths: &[PathBuf], context: Option<&str>) -> Result<(String, Config), Error> {
    let Some(read) = kubeconfig::read(paths)? else {
        return match (context, Config::incluster()) {
            (None, Ok(config)) => Ok((IN_CLUSTER.into(), config)),
            _ => Err(Error::NoKubeconfig { looked_for: paths.to_vec() }),
        };
    };
    let context = kubeconfig::context(&read, context)?;
    let config = Config::from_custom_kubeconfig(read, &kubeconfig::options(&context)).await;
    let config = config.map_err(|error| match &error {
        KubeconfigError::LoadClusterOfContext(name) => {
            Error::Kubeconfig { words: format!("context `{context}` names the cluster `{name}`, which isn't there") }
        }
        KubeconfigError::MissingClusterUrl => {
            Error::Kubeconfig { words: format!("the cluster of context `{context}` has no `server`") }
        }
        other => kubeconfig::unusable(other, None),
    })?;
    Ok((context, config))
}

/// What a program that logs in said. Its arguments and its output may be secret and aren't shown.
fn log_in(error: &kube::client::AuthError, command: Option<&str>, context: &str) -> Error {
    use kube::client::AuthError;
    let Some(command) = command else {
        return Error::Kubeconfig { words: format!("the credentials of context `{context}`: {}", words(error)) };
    };
    let said = match error {
        AuthError::AuthExecRun { out, .. } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            let last = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("{} {}", out.status, last.chars().take(300).collect::<String>()).trim_end().to_owned()
        }
        AuthError::AuthExecParse(_) => "what it wrote is not an ExecCredential".into(),
        other => words(other),
    };
    Error::LogIn { command: command.into(), context: context.into(), words: said }
}

/// Whether a text is a DNS label, which every namespace's name is.
fn is_label(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c != '-');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63 && text.chars().all(plain) && ends(text.chars().next()) && ends(text.chars().last())
}
