//! How a model of a hub is written: `hf://ORG/REPOSITORY[@REVISION][/FILE]`.

use std::fmt;
use std::str::FromStr;

use crate::files::RelativePath;
use crate::source::NotASource;

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `ORG/REPOSITORY`.
    pub(super) repository: String,
    /// A branch, a tag or a commit; the main branch where none is given.
    pub(super) revision: Option<String>,
    /// The model file, or a folder that has one.
    pub(super) file: Option<RelativePath>,
}

impl FromStr for HubModel {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        let wrong = |reason: &str| NotASource::Form { text: text.into(), reason: reason.into() };
        let rest = text.strip_prefix("hf://").unwrap_or(text);
        let mut parts = rest.splitn(3, '/');
        let (organisation, repository) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (repository, revision) = match repository.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (repository, None),
        };
        let name = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !text.is_empty() && text.len() <= 96 && text.chars().all(plain) && !text.starts_with('.')
        };
        if !name(organisation) || !name(repository) {
            return Err(wrong(
                "it should be `hf://ORG/REPOSITORY`, with `@REVISION` and `/FILE` after it where wanted",
            ));
        }
        // A branch may have a `/` in its name, which would begin the file here.
        let revision = revision.map(|revision| revision.replace("%2F", "/"));
        let branch = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
            text.parse::<RelativePath>().is_ok() && text.len() <= 255 && text.chars().all(plain)
        };
        if revision.as_deref().is_some_and(|revision| !branch(revision)) {
            return Err(wrong("what follows `@` is no branch, tag or commit"));
        }
        let file = parts.next().filter(|file| !file.is_empty());
        let file =
            file.map(|file| file.parse().map_err(|_| wrong("what follows the repository is no path"))).transpose()?;
        Ok(HubModel { repository: format!("{organisation}/{repository}"), revision, file })
    }
}

impl fmt::Display for HubModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{}", revision.replace('/', "%2F"))?;
        }
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "/{}", file.as_str()))
    }
}

impl HubModel {
    /// The repository without its owner.
    pub(in crate::source) fn title(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_the_hub_comes_back_from_its_text() {
        for text in [
            "hf://org/repo",
            "hf://org/repo@v1.0",
            "hf://org/repo@refs%2Fpr%2F1/onnx/model.onnx",
            "hf://org/repo/onnx/model.onnx",
        ] {
            assert_eq!(text.parse::<HubModel>().unwrap().to_string(), text);
        }
        let model: HubModel = "hf://org/repo@refs%2Fpr%2F1/a.onnx".parse().unwrap();
        assert_eq!(model.revision.as_deref(), Some("refs/pr/1"));
        for bad in
            ["hf://", "hf://org", "hf://org/", "hf://../x", "hf://org/repo@", "hf://org/repo@../x", "hf://o/r/../x"]
        {
            assert!(bad.parse::<HubModel>().is_err(), "{bad}");
        }
    }
}
