//! An environment of `nimify.yaml` → the places where its release runs, in their order.

use serde::Serialize;

use crate::config::{Config, Environment};
use crate::plan::{NotAServiceName, ServiceName};

/// One release in one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The environment's name.
    pub environment: String,
    /// The kubeconfig's context; `None` for its current one.
    pub context: Option<String>,
    /// The namespace; `None` for the context's own.
    pub namespace: Option<String>,
    /// The release's name, which is that of the service.
    pub release: String,
}

/// The places of an environment: one a context.
pub fn targets(config: &Config, name: &str, environment: &Environment) -> Result<Vec<Target>, NotAServiceName> {
    let release = ServiceName::derive(config.name.as_str())?;
    let namespace = environment.namespace.as_ref().map(ToString::to_string);
    let target = |context: Option<String>| Target {
        environment: name.into(),
        context,
        namespace: namespace.clone(),
        release: release.as_str().into(),
    };
    if environment.contexts.is_empty() {
        return Ok(vec![target(environment.context.clone())]);
    }
    Ok(environment.contexts.iter().cloned().map(Some).map(target).collect())
}

impl Target {
    /// The cluster as people name it.
    pub fn cluster(&self) -> &str {
        self.context.as_deref().unwrap_or("the current context")
    }

    /// What every call of helm for this release has.
    pub(super) fn flags(&self) -> Vec<String> {
        let flag = |name: &str, value: &Option<String>| value.clone().map(|value| [name.to_string(), value]);
        let flags = [flag("--namespace", &self.namespace), flag("--kube-context", &self.context)];
        flags.into_iter().flatten().flatten().collect()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` of `{}` in {}", self.release, self.environment, self.cluster())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_context_is_a_place_of_its_own() {
        let text = "apiVersion: nimify/v1\nname: Silero_VAD\nmodel: m.onnx\nenvironments:\n  \
                    dev: {}\n  prod: { contexts: [eu, us], namespace: ml }\n";
        let config = crate::config::parse(text, &Default::default(), &|_| None).unwrap();
        let of = |name: &str| {
            let environment = config.environments.iter().find(|(known, _)| known.as_str() == name).unwrap().1;
            targets(&config, name, environment).unwrap()
        };
        assert_eq!(of("dev").len(), 1);
        assert_eq!(of("dev")[0].flags(), Vec::<String>::new());
        let prod = of("prod");
        assert_eq!(prod.iter().map(Target::cluster).collect::<Vec<_>>(), ["eu", "us"]);
        assert_eq!(prod[1].flags(), ["--namespace", "ml", "--kube-context", "us"]);
        assert_eq!(prod[1].to_string(), "`silero-vad` of `prod` in us");
    }
}
