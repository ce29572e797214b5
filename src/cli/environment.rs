//! What the commands of deployment share: folder, environment, trust, and the words for what went wrong.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::config::{self, Config, Environment, Overrides};
use crate::deploy::{self, Failed, ImageName, Look, Observer, Overlay, Target, Trouble, Undone};
use crate::sign::TrustedKeys;

use super::args::{PlaceArgs, TrustArgs, ValuesArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::progress::Progress;
use super::{build, verify};

/// A folder with its config.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) config: Config,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let config = config::load(&path.join("nimify.yaml"), &Overrides::default())?;
        Ok(Folder { path: path.into(), config })
    }

    /// The environment of this name; the only one, where none is given.
    pub(super) fn environment(&self, name: Option<&str>) -> Result<(&str, &Environment), Failure> {
        let all = &self.config.environments;
        let name = match (name, all.len()) {
            (Some(name), _) => name.to_string(),
            (None, 1) => all.keys().map(ToString::to_string).collect(),
            (None, 0) => {
                return Err(Failure::say(Exit::Config, "`nimify.yaml` describes no environment")
                    .hint("add one: `environments: { staging: { context: …, namespace: … } }`".to_string()));
            }
            (None, _) => {
                let names: Vec<&str> = all.keys().map(config::DnsLabel::as_str).collect();
                return Err(Failure::say(Exit::Usage, "`nimify.yaml` describes several environments")
                    .hint(format!("name one with `--env`: {}", names.join(", "))));
            }
        };
        build::known(&name, &self.config)?;
        let (name, environment) =
            all.iter().find(|(known, _)| known.as_str() == name).expect("a known environment is there");
        Ok((name.as_str(), environment))
    }

    /// The releases of an environment, one a cluster.
    pub(super) fn targets(&self, (name, environment): (&str, &Environment)) -> Result<Vec<Target>, Failure> {
        Ok(deploy::targets(&self.config, name, environment).map_err(deploy::Error::from)?)
    }
}

/// Folder and name of the environment that a command is about.
pub(super) fn place(args: &PlaceArgs) -> Result<Folder, Failure> {
    Folder::open(&args.dir)
}

/// What the flags put over the values of an environment.
pub(super) fn overlay(args: &ValuesArgs) -> Overlay {
    Overlay { files: args.values.clone(), sets: args.set.clone(), image: None }
}

/// Verifies images in their registry, each once.
pub(super) struct Verifier<'a> {
    folder: &'a Path,
    config: &'a Config,
    trusted: TrustedKeys,
    plain_http: bool,
    verified: RefCell<Vec<ImageName>>,
}

impl<'a> Verifier<'a> {
    pub(super) fn new(folder: &'a Folder, environment: &Environment, args: &TrustArgs) -> Result<Self, Failure> {
        let trusted = verify::trusted_in(&folder.path, &environment.trust, args)?;
        let plain_http = args.plain_http;
        Ok(Verifier { folder: &folder.path, config: &folder.config, trusted, plain_http, verified: RefCell::default() })
    }

    /// Refuses an image that a trusted key did not sign, or that isn't whole.
    pub(super) fn verify(&self, image: &ImageName, plain_http: bool) -> Result<(), Failure> {
        if self.verified.borrow().contains(image) {
            return Ok(());
        }
        let plain = self.plain_http || plain_http || self.config.image.plain_http(image.repository.registry());
        let look = Look { plain_http: plain, folder: Some(self.folder), trusted: &self.trusted };
        let verdict = deploy::verify(image, &look, &())?;
        if !verdict.is_trusted() {
            return Err(verify::refused(&verdict, Path::new(&image.to_string())));
        }
        self.verified.borrow_mut().push(image.clone());
        Ok(())
    }
}

impl Observer for Progress {
    fn doing(&mut self, text: &str) {
        self.begin(text);
    }

    fn detail(&mut self, text: &str) {
        crate::pipeline::Observer::detail(self, text);
    }

    fn warn(&mut self, text: &str) {
        crate::pipeline::Observer::warn(self, text);
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Before(error) => error.into(),
            Trouble::After(failed) => after(&failed),
        }
    }
}

/// What failed, why, and how everything was left.
fn after(failed: &Failed) -> Failure {
    let what = if failed.interrupted { "was interrupted" } else { "failed" };
    let mut messages = vec![format!("the deployment of {} {what}", failed.target)];
    if !failed.reasons.is_empty() {
        messages.push(failed.reasons.join("\n"));
    }
    let env = &failed.target.environment;
    let hint = match &failed.undone {
        Undone::RolledBack { to, ready } => {
            messages.push(match ready {
                Some(true) => format!("rolled back: revision {to} runs again, and is ready"),
                Some(false) => format!("rolled back to revision {to}, but its pods are not ready either"),
                None => format!("rolled back to revision {to}"),
            });
            (*ready == Some(false)).then(|| format!("`nimify status --env {env}` says why"))
        }
        Undone::Removed => {
            messages.push("removed again: nothing ran there before".into());
            None
        }
        Undone::Not(error) => {
            messages.push(format!("it could not be undone: {error}"));
            Some(format!("`nimify status --env {env}` says what runs, `nimify rollback --env {env}` goes back"))
        }
    };
    let exit = if failed.interrupted { Exit::Interrupted } else { Exit::Deployment };
    Failure { exit, messages, hint: hint.or_else(|| failed.advice.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reasons: &[&str], interrupted: bool, undone: Undone) -> String {
        let target = Target {
            environment: "prod".into(),
            context: Some("eu".into()),
            namespace: Some("ml".into()),
            release: "digits".into(),
        };
        let reasons = reasons.iter().map(ToString::to_string).collect();
        after(&Failed { target, reasons, advice: None, interrupted, undone }).text()
    }

    #[test]
    fn a_failure_says_why_and_how_everything_was_left() {
        let back = Undone::RolledBack { to: 3, ready: Some(true) };
        assert_eq!(
            failed(&["pod `a` can't be scheduled", "no memory"], false, back),
            "error: the deployment of `digits` of `prod` in eu failed\ncause: pod `a` can't be scheduled\n       no memory\n\
             cause: rolled back: revision 3 runs again, and is ready\n"
        );
        assert_eq!(
            failed(&[], true, Undone::Removed),
            "error: the deployment of `digits` of `prod` in eu was interrupted\n\
             cause: removed again: nothing ran there before\n"
        );
        let not = Undone::Not(Box::new(deploy::Error::Busy { verb: "rollback" }));
        let told = failed(&["x"], false, not);
        assert!(told.contains("could not be undone") && told.contains("hint: `nimify status --env prod`"), "{told}");
    }
}
