//! What can go wrong on the way to a cluster and back, told apart so that each has its own advice.

use std::path::PathBuf;

use super::lease::Holder;
use crate::interrupt::Interrupted;

/// Why a cluster could not be asked, or didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no kubeconfig, and this isn't a pod of a cluster either.
    #[error("no kubeconfig: looked for {}", list(looked_for.iter().map(|path| path.display().to_string())))]
    NoKubeconfig {
        /// Where it was looked for.
        looked_for: Vec<PathBuf>,
    },
    /// The kubeconfig can't be read, or lacks something.
    #[error("the kubeconfig can't be used: {words}")]
    Kubeconfig {
        /// What is wrong, and where.
        words: String,
    },
    /// The kubeconfig has no context of this name.
    #[error("the kubeconfig has no context `{name}`{}", nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    UnknownContext {
        /// The name that was asked for.
        name: String,
        /// The most similar one that there is.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// No context was named, and the kubeconfig doesn't name a current one.
    #[error("the kubeconfig names no current context")]
    NoContext {
        /// All that there are.
        known: Vec<String>,
    },
    /// A namespace's name that can't be one.
    #[error("`{0}` is not a namespace's name: lower-case letters, digits and `-`, at most 63")]
    NamespaceName(String),
    /// The program that logs in, named by the kubeconfig, failed.
    #[error("`{command}`, which logs in to context `{context}`, failed: {words}")]
    LogIn {
        /// The program.
        command: String,
        /// The context that names it.
        context: String,
        /// What it said.
        words: String,
    },
    /// Nobody answers at the cluster's address.
    #[error("the cluster of context `{context}` can't be reached at {server}: {words}")]
    Unreachable {
        /// The context.
        context: String,
        /// The API server's address.
        server: String,
        /// What the network said.
        words: String,
    },
    /// The server's certificate, or ours, isn't believed.
    #[error("no trusted connection to {server}: {words}")]
    Certificate {
        /// The API server's address.
        server: String,
        /// What TLS said.
        words: String,
    },
    /// The cluster doesn't know who asks.
    #[error("the cluster of context `{context}` doesn't accept the kubeconfig's credentials: {words}")]
    NotAuthorised {
        /// The context.
        context: String,
        /// What the API server said.
        words: String,
    },
    /// The cluster knows who asks, but doesn't allow it.
    #[error("the cluster doesn't allow to {action}: {words}")]
    Forbidden {
        /// Verb and resource: `create leases.coordination.k8s.io in namespace ml`.
        action: String,
        /// What the API server said, with the user's name.
        words: String,
    },
    /// Rights that a release takes are missing.
    #[error(
        "the user of context `{context}` lacks rights in namespace `{namespace}`: {}",
        missing.join(", ")
    )]
    MissingRights {
        /// Verbs and resources.
        missing: Vec<String>,
        /// The namespace.
        namespace: String,
        /// The context.
        context: String,
    },
    /// A Service behind which nothing answers.
    #[error("nothing answers behind the Service `{service}`: {words}")]
    NothingBehind {
        /// The Service.
        service: String,
        /// What the API server said.
        words: String,
    },
    /// Somebody else holds the lock of a release, or took it over.
    #[error("{}", locked(lease, namespace, holder.as_ref()))]
    Locked {
        /// The Lease's name.
        lease: String,
        /// Its namespace.
        namespace: String,
        /// Who holds it; `None` where it was lost, or changed hands while it was asked for.
        holder: Option<Holder>,
    },
    /// The namespace doesn't exist.
    #[error("there is no namespace `{namespace}` in the cluster of context `{context}`")]
    NoNamespace {
        /// The namespace.
        namespace: String,
        /// The context.
        context: String,
    },
    /// The API server refused for another reason.
    #[error("the cluster refused to {action}: {words}")]
    Refused {
        /// Verb and resource.
        action: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        words: String,
    },
    /// An answer that is larger than is read.
    #[error("the cluster's answer to {action} is larger than {limit} bytes")]
    TooLarge {
        /// Verb and resource.
        action: String,
        /// How much is read.
        limit: usize,
    },
    /// An answer that isn't what such a request is answered with.
    #[error("the cluster's answer to {action} can't be understood: {words}")]
    NotUnderstood {
        /// Verb and resource.
        action: String,
        /// What is wrong with it.
        words: String,
    },
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::NoKubeconfig { .. } => {
                "name the file in KUBECONFIG, or write one with your cluster's own tool; `kubectl config view` shows what \
                 kubectl would use"
                    .into()
            }
            Error::Kubeconfig { .. } => "`kubectl config view` shows the kubeconfig as it is understood".into(),
            Error::UnknownContext { known, .. } if known.is_empty() => {
                "the kubeconfig has no contexts: is KUBECONFIG the file that you mean?".into()
            }
            Error::UnknownContext { known, .. } => {
                format!("the contexts that there are: {}", list(known.iter().cloned()))
            }
            Error::NoContext { known } => {
                format!("name one in the environment's `context`: {}", list(known.iter().cloned()))
            }
            Error::NamespaceName(_) => "write the environment's `namespace` as the cluster knows it".into(),
            Error::LogIn { command, .. } => {
                format!("run the program yourself to see what it wants, or install it if `{command}` isn't there")
            }
            Error::Unreachable { .. } => {
                "check that the cluster runs, that its network is reached from here (a VPN?), and the proxy: `proxy-url` \
                 of the kubeconfig, HTTPS_PROXY and NO_PROXY"
                    .into()
            }
            Error::Certificate { .. } => {
                "the kubeconfig's `certificate-authority-data` has to be the one of this cluster; a cluster that was made \
                 anew has a new one"
                    .into()
            }
            Error::NotAuthorised { .. } => {
                "log in again with your cluster's own tool: the token or certificate may have expired".into()
            }
            Error::Forbidden { .. } | Error::MissingRights { .. } => {
                "ask whoever runs the cluster for a Role with what is missing in the namespace, or use another context".into()
            }
            Error::NoNamespace { namespace, context } => format!(
                "make it with `kubectl --context {context} create namespace {namespace}`, or correct the environment's \
                 `namespace`"
            ),
            Error::Locked { lease, namespace, holder } => match holder {
                Some(Holder { expires_in, .. }) => format!(
                    "wait until it is done; if that holder is gone, the lock is free {expires_in} s from now. `kubectl \
                     -n {namespace} get lease {lease}` shows it"
                ),
                None => format!("another deploy is under way: `kubectl -n {namespace} get lease {lease}` shows whose"),
            },
            Error::NothingBehind { service, .. } => format!(
                "`kubectl get endpointslices -l kubernetes.io/service-name={service}` shows which pods it leads to"
            ),
            Error::Refused { status: 429 | 500.., .. } => "the API server is in trouble itself: try again later".into(),
            Error::Refused { .. }
            | Error::TooLarge { .. }
            | Error::NotUnderstood { .. }
            | Error::Interrupted(_) => return None,
        };
        Some(hint)
    }
}

/// Who holds a lock.
fn locked(lease: &str, namespace: &str, holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { name, since, .. }) => {
            format!("`{name}` changes this release since {since} (lease `{lease}` in namespace `{namespace}`)")
        }
        None => format!("the lease `{lease}` in namespace `{namespace}` was taken by another, or is gone"),
    }
}

/// Names in backticks, with commas.
fn list(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
