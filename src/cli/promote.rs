//! `nimify promote FROM TO`: what runs in one environment, brought to another; and `promote ENV`: a canary, made what
//! runs.

use std::path::Path;

use crate::deploy::{self, Aim, Health, Helm, ImageName, Manner, Overlay, Site, image_of};

use super::args::PromoteArgs;
use super::deploy::{How, Work};
use super::environment::{self, Folder, Verifier};
use super::exit::Exit;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &PromoteArgs) -> Outcome {
    let (folder, names) = folder_and_names(&args.names)?;
    let to = folder.environment(Some(names[names.len() - 1]))?;
    let how =
        How { release: &args.upgrade.release, dry_run: args.dry_run, create_namespace: args.upgrade.create_namespace };
    let mut overlay = environment::overlay(&args.upgrade.values);
    let aim = match names[..] {
        [from, _] => {
            overlay.image = Some(running(&folder, from, args)?);
            Aim::PromoteFrom(from.into())
        }
        _ => no_values(&overlay).map(|()| Aim::EndCanary)?,
    };
    let prepared = deploy::prepare(&folder.path, &folder.config, to, &overlay)?;
    let verifier = Verifier::new(&folder, to.1, &args.upgrade.trust)?;
    let targets = folder.targets(to)?;
    Work { folder: &folder, prepared: &prepared, targets: &targets, aim: &aim, how }
        .finish(&verifier, args.upgrade.format)
}

/// A canary's values are those that it runs by.
fn no_values(overlay: &Overlay) -> Outcome {
    if overlay.files.is_empty() && overlay.sets.is_empty() {
        return Ok(());
    }
    let text = "`--values` and `--set` change nothing where a canary is promoted: it keeps the values that it runs by";
    Err(Failure::say(Exit::Usage, text))
}

/// `[DIR] FROM TO` or `[DIR] ENV`: of two words the first is a folder unless it names an environment.
fn folder_and_names(words: &[String]) -> Result<(Folder, Vec<&str>), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [folder, from, to] => Ok((Folder::open(Path::new(folder))?, vec![from, to])),
        [first, second] => {
            let is_folder = Path::new(first).join("nimify.yaml").is_file();
            let here = if is_folder { None } else { Some(Folder::open(Path::new("."))?) };
            match here {
                Some(here) => Ok((here, vec![first, second])),
                None => Ok((Folder::open(Path::new(first))?, vec![second])),
            }
        }
        [environment] => Ok((Folder::open(Path::new("."))?, vec![environment])),
        _ => Err(Failure::say(Exit::Usage, "give FROM TO, or the ENV of a canary")),
    }
}

/// The image that runs in all clusters of an environment, and is ready in them.
fn running(folder: &Folder, from: &str, args: &PromoteArgs) -> Result<ImageName, Failure> {
    let chosen = folder.environment(Some(from))?;
    let helm = Helm::find()?;
    let manner = Manner {
        timeout: args.upgrade.release.timeout,
        history_max: args.upgrade.release.history_max,
        create_namespace: false,
    };
    let mut found: Vec<(String, ImageName)> = Vec::new();
    for target in folder.targets(chosen)? {
        let site = Site::new(&helm, &target, manner)?;
        let history = site.history()?;
        if history.deployed().is_none() {
            return Err(deploy::Error::NoRelease(target.to_string()).into());
        }
        let health = Health::from(&site.running()?[..]);
        if !health.is_good() {
            return Err(unhealthy(&target.to_string(), &health));
        }
        found.push((target.cluster().into(), image_of(&site.values(&history)?)?));
    }
    let (_, first) = found.first().cloned().ok_or_else(|| deploy::Error::NoRelease(from.into()))?;
    if found.iter().all(|(_, image)| image.digest == first.digest) {
        return Ok(first);
    }
    let found = found.iter().map(|(cluster, image)| format!("{} in {cluster}", image.digest)).collect::<Vec<_>>();
    Err(deploy::Error::Different { environment: from.into(), found: found.join(", ") }.into())
}

fn unhealthy(release: &str, health: &Health) -> Failure {
    let text = format!("{release} is not healthy: {} of {} pods are ready", health.ready, health.wanted);
    let mut failure = Failure::say(Exit::Deployment, text);
    failure.messages.extend(health.reasons.iter().cloned());
    failure.hint("only what runs well is promoted".to_string())
}
