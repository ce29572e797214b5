//! How a model of MLflow's is written: `mlflow://models/…` and `mlflow://runs/…`, and `models:/…` and `runs:/…` as MLflow
//! itself writes them.

use std::fmt;
use std::str::FromStr;

use crate::files::RelativePath;
use crate::source::NotASource;

/// The stages that versions were in before there were aliases.
const STAGES: [&str; 4] = ["None", "Staging", "Production", "Archived"];

/// A model, by what MLflow calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlflowModel {
    /// A version of a registered model.
    Version {
        /// The registered model.
        name: String,
        /// Its version.
        version: String,
    },
    /// The version that an alias leads to.
    Alias {
        /// The registered model.
        name: String,
        /// The alias.
        alias: String,
    },
    /// The newest version, of those in a stage where one is named.
    Newest {
        /// The registered model.
        name: String,
        /// The stage, as MLflow writes it.
        stage: Option<&'static str>,
    },
    /// A model that was logged, by its own identifier.
    Logged {
        /// The identifier: `m-…`.
        id: String,
    },
    /// What a run has logged.
    Run {
        /// The run's identifier.
        run: String,
        /// The model's folder among its artifacts, or the name that it was logged under.
        path: RelativePath,
    },
}

impl MlflowModel {
    /// Of a text that is written as MLflow writes it; `None` where it isn't.
    pub fn own(text: &str) -> Option<Result<Self, NotASource>> {
        let rest = |kind: &str| text.strip_prefix(kind)?.strip_prefix(":/").filter(|rest| !rest.starts_with('/'));
        ["models", "runs"].into_iter().find_map(|kind| Some(format!("{kind}/{}", rest(kind)?).parse()))
    }
}

impl FromStr for MlflowModel {
    type Err = NotASource;

    /// From what follows `mlflow://`.
    fn from_str(text: &str) -> Result<Self, NotASource> {
        let wrong = |reason: &str| NotASource::Form { text: format!("mlflow://{text}"), reason: reason.into() };
        match text.split_once('/') {
            Some(("models", rest)) => registered(rest).ok_or_else(|| {
                wrong(
                    "it should name a version, `models/NAME/VERSION`, an alias, `models/NAME@ALIAS`, or \
                     `models/NAME/latest`",
                )
            }),
            Some(("runs", rest)) => match rest.split_once('/') {
                Some((run, path)) if is_part(run) => {
                    let path = path.trim_end_matches('/').parse();
                    let path = path.map_err(|_| wrong("the path of its model can't be one"))?;
                    Ok(MlflowModel::Run { run: run.into(), path })
                }
                _ => Err(wrong("it should name a run and the model's path there, `runs/RUN/PATH`")),
            },
            _ => Err(wrong("it should begin with `models/` or `runs/`")),
        }
    }
}

/// What follows `models/`.
fn registered(text: &str) -> Option<MlflowModel> {
    let Some((name, which)) = text.split_once('/') else {
        return match text.rsplit_once('@') {
            Some((name, alias)) if is_part(name) && is_part(alias) => {
                Some(MlflowModel::Alias { name: name.into(), alias: alias.into() })
            }
            None if text.starts_with("m-") && is_part(text) => Some(MlflowModel::Logged { id: text.into() }),
            _ => None,
        };
    };
    let name = is_part(name).then(|| name.to_string())?;
    if which.bytes().all(|byte| byte.is_ascii_digit()) {
        let version = which.parse::<u64>().ok()?.to_string();
        return Some(MlflowModel::Version { name, version });
    }
    if which.eq_ignore_ascii_case("latest") {
        return Some(MlflowModel::Newest { name, stage: None });
    }
    let stage = STAGES.into_iter().find(|stage| stage.eq_ignore_ascii_case(which))?;
    Some(MlflowModel::Newest { name, stage: Some(stage) })
}

/// Whether a text can stand between two strokes of an address as it is.
fn is_part(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\\', '?', '#']) && !text.chars().any(char::is_control)
}

impl fmt::Display for MlflowModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MlflowModel::Version { name, version } => write!(f, "mlflow://models/{name}/{version}"),
            MlflowModel::Alias { name, alias } => write!(f, "mlflow://models/{name}@{alias}"),
            MlflowModel::Newest { name, stage } => write!(f, "mlflow://models/{name}/{}", stage.unwrap_or("latest")),
            MlflowModel::Logged { id } => write!(f, "mlflow://models/{id}"),
            MlflowModel::Run { run, path } => write!(f, "mlflow://runs/{run}/{}", path.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for rest in [
            "models/digits/3",
            "models/digits@champion",
            "models/a b/latest",
            "models/digits/Production",
            "models/m-0af1",
            "runs/0af1/model",
        ] {
            let model: MlflowModel = rest.parse().unwrap();
            assert_eq!(model.to_string(), format!("mlflow://{rest}"));
            let (kind, rest) = rest.split_once('/').unwrap();
            assert_eq!(MlflowModel::own(&format!("{kind}:/{rest}")), Some(Ok(model)));
        }
        assert_eq!("models/a/PRODUCTION".parse(), "models/a/Production".parse::<MlflowModel>());
        assert_eq!("models/a/Latest".parse(), "models/a/latest".parse::<MlflowModel>());
        for other in ["models/digits/3", "models://digits/3", "models:digits", "a/runs:/b"] {
            assert_eq!(MlflowModel::own(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_model_says_why() {
        for (rest, reason) in [
            ("models/digits", "should name a version"),
            ("models/digits/newest", "should name a version"),
            ("models//1", "should name a version"),
            ("models/../1", "should name a version"),
            ("models/a/1/2", "should name a version"),
            ("runs/0af1", "should name a run"),
            ("runs/0af1/../x", "can't be one"),
            ("digits/1", "should begin with"),
        ] {
            let error = rest.parse::<MlflowModel>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_is_read_again(
            text in "(models|runs)(/|:/)(m-|[a-c.@/\\\\ %?#\u{0}0-9]|latest|\\PC){0,12}"
        ) {
            let read = MlflowModel::own(&text).unwrap_or_else(|| text.parse());
            if let Ok(model) = read {
                let written = model.to_string();
                prop_assert_eq!(written.strip_prefix("mlflow://").unwrap().parse(), Ok(model));
                prop_assert!(!written.split('/').any(|part| part == ".."));
            }
        }
    }
}
