//! `nimify deploy`, and what `promote` and `diff` share with it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::deploy::{
    self, Aim, Aimed, Change, Helm, History, Manner, ObjectDiff, Observer as _, Prepared, Released, Sample, Site,
    Target, Wanted,
};

use super::args::{DeployArgs, Format, ReleaseArgs};
use super::environment::{self, Folder, Verifier};
use super::failure::{Failure, Outcome};
use super::progress::Progress;

pub(super) fn run(args: &DeployArgs) -> Outcome {
    let folder = environment::place(&args.place)?;
    let chosen = folder.environment(args.place.env.as_deref())?;
    let prepared = deploy::prepare(&folder.path, &folder.config, chosen, &environment::overlay(&args.upgrade.values))?;
    let verifier = Verifier::new(&folder, chosen.1, &args.upgrade.trust)?;
    let how =
        How { release: &args.upgrade.release, dry_run: args.dry_run, create_namespace: args.upgrade.create_namespace };
    let aim = args.canary.map_or(Aim::Replace, Aim::Canary);
    let targets = folder.targets(chosen)?;
    let work = Work { folder: &folder, prepared: &prepared, targets: &targets, aim: &aim, how };
    work.finish(&verifier, args.upgrade.format)
}

/// How a deployment is made.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    pub(super) release: &'a ReleaseArgs,
    pub(super) dry_run: bool,
    pub(super) create_namespace: bool,
}

/// A deployment to all clusters of an environment.
pub(super) struct Work<'a> {
    pub(super) folder: &'a Folder,
    pub(super) prepared: &'a Prepared,
    pub(super) targets: &'a [Target],
    pub(super) aim: &'a Aim,
    pub(super) how: How<'a>,
}

/// What a deployment would change in one cluster.
#[derive(Debug, Serialize)]
struct Differs {
    #[serde(flatten)]
    target: Target,
    image: String,
    objects: Vec<ObjectDiff>,
}

/// What a deployment made in one cluster.
#[derive(Debug, Serialize)]
struct Deployed {
    #[serde(flatten)]
    released: Released,
    image: String,
}

impl Work<'_> {
    /// Deploys to one cluster after another, up to the first failure; or shows what that would change.
    pub(super) fn finish(&self, verifier: &Verifier<'_>, format: Format) -> Outcome {
        let mut progress = Progress::new(self.how.release.quiet);
        self.prepared.warnings.iter().for_each(|warning| progress.warn(warning));
        let done = self.each(verifier, format, &mut progress);
        progress.finish();
        done
    }

    fn each(&self, verifier: &Verifier<'_>, format: Format, progress: &mut Progress) -> Outcome {
        if *self.aim != Aim::EndCanary {
            progress.doing("verifying the image in its registry");
            verifier.verify(&self.prepared.image, self.prepared.plain_http)?;
            self.prepared.model.iter().try_for_each(|model| verifier.verify(model, false))?;
        }
        let helm = Helm::find()?;
        if self.how.dry_run {
            let all = self.differences(&helm, Some(verifier), progress)?;
            progress.finish();
            return tell_differences(&all, format);
        }
        let sample = if self.how.release.no_sample { None } else { Sample::read(&self.folder.path)? };
        let mut done = Vec::new();
        for (at, target) in self.targets.iter().enumerate() {
            match self.one(&helm, target, sample.as_ref(), verifier, progress) {
                Ok(deployed) => done.push(deployed),
                Err(failure) => {
                    progress.finish();
                    tell_deployed(&done, format)?;
                    return Err(stopped(failure, &self.targets[at + 1..]));
                }
            }
        }
        progress.finish();
        if self.how.release.quiet && format == Format::Text {
            return Ok(());
        }
        tell_deployed(&done, format)
    }

    fn site<'h>(&self, helm: &'h Helm, target: &Target) -> Result<Site<'h>, Failure> {
        let manner = Manner {
            timeout: self.how.release.timeout,
            history_max: self.how.release.history_max,
            create_namespace: self.how.create_namespace,
        };
        Ok(Site::new(helm, target, manner)?)
    }

    fn one(
        &self,
        helm: &Helm,
        target: &Target,
        sample: Option<&Sample>,
        verifier: &Verifier<'_>,
        progress: &mut Progress,
    ) -> Result<Deployed, Failure> {
        progress.doing(&format!("looking at {}", target.cluster()));
        let site = self.site(helm, target)?;
        let locked = site.lock()?;
        let history = site.history()?;
        let aimed = self.aimed(&site, &history)?;
        if *self.aim == Aim::EndCanary {
            verifier.verify(&aimed.image, self.prepared.plain_http)?;
        }
        // A canary's sample is the new model's; what is promoted from it was asked before.
        let sample = sample.filter(|_| aimed.image.digest == self.prepared.image.digest);
        let wanted = self.wanted(&aimed, sample);
        let manifest = site.render(&wanted)?;
        deploy::check_runs(&manifest, &aimed.image, aimed.beside.as_ref())?;
        let released = locked.deploy(&wanted, &manifest, &history, progress)?;
        Ok(Deployed { released, image: aimed.image.to_string() })
    }

    fn aimed(&self, site: &Site<'_>, history: &History) -> Result<Aimed, Failure> {
        site.check(history)?;
        let running = match history.deployed() {
            Some(_) => Some(site.values(history)?),
            None => None,
        };
        Ok(self.aim.values(self.prepared, (site.target(), history, running.as_ref()))?)
    }

    fn wanted<'a>(&'a self, aimed: &'a Aimed, sample: Option<&'a Sample>) -> Wanted<'a> {
        Wanted {
            chart: &self.prepared.chart,
            values: &aimed.values,
            note: &aimed.note,
            sample,
            canary: self.aim.is_canary(),
        }
    }

    /// What would change in each cluster.
    fn differences(
        &self,
        helm: &Helm,
        verifier: Option<&Verifier<'_>>,
        progress: &mut Progress,
    ) -> Result<Vec<Differs>, Failure> {
        self.targets.iter().map(|target| self.differs(helm, target, verifier, progress)).collect()
    }

    fn differs(
        &self,
        helm: &Helm,
        target: &Target,
        verifier: Option<&Verifier<'_>>,
        progress: &mut Progress,
    ) -> Result<Differs, Failure> {
        progress.doing(&format!("comparing with {}", target.cluster()));
        let site = self.site(helm, target)?;
        let history = site.history()?;
        let aimed = self.aimed(&site, &history)?;
        if let Some(verifier) = verifier {
            verifier.verify(&aimed.image, self.prepared.plain_http)?;
        }
        let after = site.render(&self.wanted(&aimed, None))?;
        deploy::check_runs(&after, &aimed.image, aimed.beside.as_ref())?;
        let before = site.manifest(&history)?;
        let namespace = site.target().namespace.as_deref().unwrap_or_default();
        let objects = deploy::diff(&before, &after, namespace).map_err(deploy::Error::from)?;
        Ok(Differs { target: site.target().clone(), image: aimed.image.to_string(), objects })
    }

    /// What would change, whoever signed the image.
    pub(super) fn compare(&self, format: Format) -> Outcome {
        let mut progress = Progress::new(self.how.release.quiet);
        self.prepared.warnings.iter().for_each(|warning| progress.warn(warning));
        let helm = Helm::find().map_err(Failure::from);
        let all = helm.and_then(|helm| self.differences(&helm, None, &mut progress));
        progress.finish();
        tell_differences(&all?, format)
    }
}

/// A failure with the clusters that were not tried any more.
fn stopped(mut failure: Failure, left: &[Target]) -> Failure {
    if !left.is_empty() {
        let names: Vec<&str> = left.iter().map(Target::cluster).collect();
        failure.messages.push(format!("not tried after that: {}", names.join(", ")));
    }
    failure
}

fn tell_deployed(all: &[Deployed], format: Format) -> Outcome {
    if format == Format::Json {
        return super::print_json(&serde_json::json!({ "deployed": all }));
    }
    let mut text = String::new();
    for Deployed { released, image } in all {
        let Released { target, revision, health, sample } = released;
        let answered = if *sample { ", answers the recorded sample" } else { "" };
        let _ =
            writeln!(text, "{target}: revision {revision}, {} of {} pods ready{answered}", health.ready, health.wanted);
        let _ = writeln!(text, "{image}");
    }
    super::print(&text)
}

fn tell_differences(all: &[Differs], format: Format) -> Outcome {
    if format == Format::Json {
        return super::print_json(&serde_json::json!({ "differences": all }));
    }
    let mut text = String::new();
    for Differs { target, image, objects } in all {
        let _ = writeln!(text, "{target}: {}", counted(objects));
        let _ = writeln!(text, "{image}");
        for ObjectDiff { object, change, diff } in objects {
            let word = match change {
                Change::Added => "new",
                Change::Removed => "goes",
                Change::Changed => "changes",
            };
            let _ = writeln!(text, "\n{object} {word}\n{}", diff.trim_end());
        }
    }
    super::print(&text)
}

fn counted(objects: &[ObjectDiff]) -> String {
    let count = |change| objects.iter().filter(|one| one.change == change).count();
    match objects {
        [] => "nothing would change".into(),
        _ => {
            format!("{} new, {} changed, {} gone", count(Change::Added), count(Change::Changed), count(Change::Removed))
        }
    }
}
