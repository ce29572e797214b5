//! Which kubeconfig and which context of it: the rules that kubectl and helm follow.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::Error;
use crate::nearest::nearest;

/// The largest kubeconfig that is read.
const LARGEST: u64 = 8 << 20;

/// The files that make up the kubeconfig, first to last: those of `KUBECONFIG`, or else the usual one.
pub(super) fn paths(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    let named = variable("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect();
    if !named.is_empty() {
        return named;
    }
    let home = variable("HOME").filter(|home| !home.is_empty());
    home.map(|home| Path::new(&home).join(".kube/config")).into_iter().collect()
}

/// The files read and put together; the first that says something wins. Files that don't exist are left out, as kubectl
/// does it; `None` when none of them exists.
pub(super) fn read(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, Error> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        check_form(path)?;
        let next = Kubeconfig::read_from(path).map_err(|error| unusable(&error, Some(path)))?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(|error| unusable(&error, Some(path)))?,
        });
    }
    Ok(merged)
}

/// Reads the file once as YAML of a bounded size. The text of a mistake in it isn't shown: it may be a secret.
fn check_form(path: &Path) -> Result<(), Error> {
    let say = |words: String| Error::Kubeconfig { words: format!("`{}` {words}", path.display()) };
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    read.map_err(|error| say(format!("can't be read: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(say(format!("is larger than {LARGEST} bytes")));
    }
    match serde_yaml::from_slice::<serde_yaml::Value>(&bytes) {
        Err(error) => match error.location() {
            Some(at) => Err(say(format!("is not YAML: line {}, column {}", at.line(), at.column()))),
            // Several documents in one file, which a kubeconfig may have.
            None => Ok(()),
        },
        Ok(_) => Ok(()),
    }
}

/// What the kubeconfig lacks, in words without anything that is secret.
pub(super) fn unusable(error: &KubeconfigError, path: Option<&Path>) -> Error {
    let words = match error {
        // Its text quotes the file, which has tokens in it.
        KubeconfigError::Parse(_) => "it is YAML, but not of the form of a kubeconfig".into(),
        other => super::request::words(other),
    };
    let place = path.map(|path| format!("`{}`: ", path.display())).unwrap_or_default();
    Error::Kubeconfig { words: format!("{place}{words}") }
}

/// The context that is meant: the one named, or the current one.
pub(super) fn context(config: &Kubeconfig, named: Option<&str>) -> Result<String, Error> {
    let known: Vec<String> = config.contexts.iter().map(|context| context.name.clone()).collect();
    let current = config.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = named.or(current) else { return Err(Error::NoContext { known }) };
    if known.iter().any(|known| known == name) {
        return Ok(name.into());
    }
    Err(Error::UnknownContext {
        name: name.into(),
        nearest: nearest(name, known.iter().map(String::as_str)).map(String::from),
        known,
    })
}

/// The options with which the crate loads this context.
pub(super) fn options(context: &str) -> KubeConfigOptions {
    KubeConfigOptions { context: Some(context.into()), ..KubeConfigOptions::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "apiVersion: v1\nkind: Config\ncurrent-context: kind-staging\ncontexts:\n\
        - {name: kind-staging, context: {cluster: a, user: u, namespace: ml}}\n\
        - {name: prod-eu, context: {cluster: a, user: u}}\nclusters:\n\
        - {name: a, cluster: {server: 'https://a.example.com'}}\n";

    fn written(files: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths = (0..files.len()).map(|k| folder.path().join(format!("{k}"))).collect::<Vec<_>>();
        for (path, text) in paths.iter().zip(files) {
            std::fs::write(path, text).unwrap();
        }
        (folder, paths)
    }

    #[test]
    fn the_variable_names_files_and_otherwise_it_is_the_usual_one() {
        let with = |kubeconfig: &str| {
            let kubeconfig = kubeconfig.to_owned();
            paths(move |name| match name {
                "KUBECONFIG" => Some(kubeconfig.clone().into()),
                "HOME" => Some("/home/ada".into()),
                _ => None,
            })
        };
        assert_eq!(with("/a:/b:"), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(with(""), [PathBuf::from("/home/ada/.kube/config")]);
        assert!(paths(|_| None).is_empty());
    }

    #[test]
    fn files_that_are_not_there_are_left_out_and_the_first_wins() {
        let (_folder, mut paths) = written(&["current-context: prod-eu\n", TWO]);
        paths.insert(0, "/no/such/file".into());
        let config = read(&paths).unwrap().unwrap();
        assert_eq!(context(&config, None).unwrap(), "prod-eu");
        assert_eq!(context(&config, Some("kind-staging")).unwrap(), "kind-staging");
        assert!(read(&["/no/such/file".into()]).unwrap().is_none());
    }

    #[test]
    fn an_unknown_context_names_the_nearest() {
        let (_folder, paths) = written(&[TWO]);
        let config = read(&paths).unwrap().unwrap();
        let error = context(&config, Some("kind-stagin")).unwrap_err();
        assert!(error.to_string().ends_with("did you mean `kind-staging`?"), "{error}");
        assert_eq!(error.hint().unwrap(), "the contexts that there are: `kind-staging`, `prod-eu`");
        let error = context(&config, Some("zzz")).unwrap_err();
        assert_eq!(error.to_string(), "the kubeconfig has no context `zzz`");
        assert!(matches!(context(&Kubeconfig::default(), None), Err(Error::NoContext { .. })));
    }

    #[test]
    fn a_broken_file_is_named_without_its_words() {
        for (text, said) in [
            ("users: [", "is not YAML: line"),
            ("users: {token: hunter2}", "but not of the form of a kubeconfig"),
            ("- hunter2", "but not of the form of a kubeconfig"),
        ] {
            let (_folder, paths) = written(&[text]);
            let error = read(&paths).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
        }
        let (folder, _) = written(&[]);
        assert!(read(&[folder.path().into()]).is_err());
    }
}
