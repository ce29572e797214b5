//! One release in one cluster: looked at, locked, changed, followed, asked, and put back where it fails.
//!
//! Nothing is changed before the image is verified and all that can be known beforehand is known. What has to be undone
//! is undone in the end whatever happens in between; Ctrl-C undoes it too.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::health::Health;
use super::helm::{Call, Helm, Upgrade, values_file};
use super::history::{History, Start};
use super::objects::{Endpoint, Objects, PORT};
use super::sample::Sample;
use super::target::Target;
use crate::cluster::{self, Bounds, Cluster, Lock, Running, Update};
use crate::interrupt;

/// How long a question to a service that has just become ready may take.
const ANSWER: Bounds = Bounds { timeout: Duration::from_secs(60), limit: 64 << 20 };

/// Is told what happens meanwhile.
pub trait Observer {
    /// Something begins.
    fn doing(&mut self, text: &str);
    /// How far it is.
    fn detail(&mut self, text: &str);
    /// Something that the user should know.
    fn warn(&mut self, text: &str);
}

/// How a release is changed.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How long its pods may take.
    pub timeout: Duration,
    /// Revisions that helm keeps.
    pub history_max: u32,
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
}

/// What a release is to become.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The chart's folder.
    pub chart: &'a Path,
    /// What helm is given over the chart's values.
    pub values: &'a Value,
    /// What is noted with the revision.
    pub note: &'a str,
    /// What the service is asked, and what it should answer.
    pub sample: Option<&'a Sample>,
    /// Whether it is the canary that is new, and asked.
    pub canary: bool,
}

/// A release that runs as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Where.
    #[serde(flatten)]
    pub target: Target,
    /// Its revision.
    pub revision: u32,
    /// The pods.
    #[serde(flatten)]
    pub health: Health,
    /// Whether it was asked for the sample, and answered it.
    pub sample: bool,
}

/// A release that did not become what it should, and what was done about it.
#[derive(Debug)]
pub struct Failed {
    /// Where.
    pub target: Target,
    /// Why, read before anything was undone.
    pub reasons: Vec<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Whether the user asked to stop.
    pub interrupted: bool,
    /// What was done about it.
    pub undone: Undone,
}

/// What was done about a failure.
#[derive(Debug)]
pub enum Undone {
    /// The revision that ran before runs again, and is ready or not.
    RolledBack {
        /// The revision.
        to: u32,
        /// Whether its pods are ready; `None` where that was not waited for.
        ready: Option<bool>,
    },
    /// There was none before: nothing is left of it.
    Removed,
    /// It could not be undone.
    Not(Box<Error>),
}

/// Why a release was not made.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing was changed.
    Before(Error),
    /// It was changed, and changed back.
    After(Box<Failed>),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Before(error)
    }
}

/// A release under the hands of one deployment.
#[derive(Debug)]
pub struct Site<'a> {
    pub(super) helm: &'a Helm,
    pub(super) target: Target,
    cluster: Cluster,
    pub(super) manner: Manner,
    /// Whether the namespace is there.
    namespace: bool,
}

/// A site that nobody else changes meanwhile.
#[derive(Debug)]
pub struct Locked<'a, 'b> {
    pub(super) site: &'b Site<'a>,
    /// None where the namespace isn't there yet, and so nobody else at work in it.
    lock: Option<Lock>,
}

impl<'a> Site<'a> {
    /// Connects to the cluster of a release, and asks whether its namespace is there.
    pub fn new(helm: &'a Helm, target: &Target, manner: Manner) -> Result<Self, Error> {
        let cluster = Cluster::connect(target.context.as_deref(), target.namespace.as_deref())?;
        let target = Target { namespace: Some(cluster.namespace().into()), ..target.clone() };
        let namespace = match cluster.check_namespace() {
            Err(cluster::Error::NoNamespace { .. }) if manner.create_namespace => false,
            checked => checked.map(|()| true)?,
        };
        Ok(Site { helm, target, cluster, manner, namespace })
    }

    /// The release.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its revisions.
    pub fn history(&self) -> Result<History, Error> {
        self.helm.history(&self.target)
    }

    /// All values by which it runs.
    pub fn values(&self, history: &History) -> Result<Value, Error> {
        self.helm.values(&self.target, history.running().map(|running| running.revision))
    }

    /// The objects that run now; empty where there is no release.
    pub fn manifest(&self, history: &History) -> Result<String, Error> {
        match history.running() {
            Some(revision) => self.helm.manifest(&self.target, Some(revision.revision)),
            None => Ok(String::new()),
        }
    }

    /// What it would become, as the cluster sees it.
    pub fn render(&self, wanted: &Wanted<'_>) -> Result<String, Error> {
        let values = values_file(wanted.values)?;
        self.helm.render(&self.target, &self.upgrade(wanted, values.path()))
    }

    /// Its parts as they run.
    pub fn running(&self) -> Result<Vec<Running>, Error> {
        Ok(self.cluster.running(&self.target.release)?)
    }

    /// Waits until all of it runs.
    pub(super) fn follow(&self, objects: &Objects, observer: &mut dyn Observer) -> Result<Health, Error> {
        let mut tell = |update: &Update<'_>| {
            let at = update.progress;
            let why = update.reason.map(|reason| format!(", {}", reason.cause)).unwrap_or_default();
            observer.detail(&format!("`{}`: {} of {} pods ready{why}", update.deployment, at.ready, at.wanted));
        };
        let rollout = self.cluster.follow(&objects.deployments, self.manner.timeout, &mut tell)?;
        Ok(Health::from(&rollout))
    }

    /// Refuses a release that helm won't touch.
    pub fn check(&self, history: &History) -> Result<(), Error> {
        let Start::Pending { revision, status, before } = history.start() else { return Ok(()) };
        let (release, environment) = (self.target.to_string(), self.target.environment.clone());
        Err(Error::Pending { release, environment, revision, status, before })
    }

    fn upgrade<'c>(&self, wanted: &Wanted<'c>, values: &'c Path) -> Upgrade<'c> {
        Upgrade {
            chart: wanted.chart,
            values,
            description: wanted.note,
            history_max: self.manner.history_max,
            patience: self.manner.timeout,
            create_namespace: self.manner.create_namespace,
        }
    }

    /// Keeps others from changing the release as long as what this gives is there.
    pub fn lock(&self) -> Result<Locked<'a, '_>, Error> {
        let lock = if self.namespace { Some(self.cluster.lock(&self.target.release, &holder())?) } else { None };
        Ok(Locked { site: self, lock })
    }
}

/// Who deploys, as others know them.
fn holder() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".into());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}, process {}", host.trim(), std::process::id())
}

impl Locked<'_, '_> {
    /// Makes the release what is wanted, or leaves it as it was. `history` is what it was since it was locked.
    pub fn deploy(
        &self,
        wanted: &Wanted<'_>,
        manifest: &str,
        history: &History,
        observer: &mut dyn Observer,
    ) -> Result<Released, Trouble> {
        let site = self.site;
        let objects = Objects::read(manifest)?;
        if site.namespace {
            site.cluster.check_access(&cluster::rights(&objects.all)).map_err(Error::from)?;
        }
        let start = self.start(history, observer)?;
        let values = values_file(wanted.values)?;
        interrupt::check().map_err(super::interrupted)?;
        self.lock.as_ref().map_or(Ok(()), Lock::check).map_err(Error::from)?;
        // From here on all is undone, also where the user asks to stop.
        let _patient = interrupt::hold("left as it is: `nimify status` says what runs, `nimify rollback` goes back");
        observer.doing(&format!("deploying to {}", site.target.cluster()));
        let done = site
            .helm
            .change(&Call::upgrade(&site.target, &site.upgrade(wanted, values.path())))
            .and_then(|()| self.watch(wanted, &objects, observer));
        match done {
            Ok((health, sample)) => {
                let revision = site.history()?.last().map_or(0, |last| last.revision);
                Ok(Released { target: site.target.clone(), revision, health, sample })
            }
            Err(error) => {
                let interrupted = interrupt::check().is_err();
                let reasons = if interrupted { Vec::new() } else { lines(&error) };
                let advice = if interrupted { None } else { error.hint() };
                observer.doing("undoing it");
                let undone = self.undo(&start, &objects, observer);
                let target = site.target.clone();
                Err(Trouble::After(Box::new(Failed { target, reasons, advice, interrupted, undone })))
            }
        }
    }

    /// From where to begin, if helm will touch it at all.
    fn start(&self, history: &History, observer: &mut dyn Observer) -> Result<Start, Error> {
        self.site.check(history)?;
        let (target, start) = (&self.site.target, history.start());
        match &start {
            Start::From { failed: Some(failed), revision } => {
                observer.warn(&format!(
                    "revision {failed} of {target} failed; revision {revision} runs, and is what a rollback goes to"
                ));
            }
            Start::OnlyFailed(failed) => {
                observer.warn(&format!("{target} never ran: its revision {failed} failed"));
            }
            Start::First | Start::From { .. } | Start::Pending { .. } => {}
        }
        Ok(start)
    }

    /// Follows the rollout, then asks the service.
    fn watch(
        &self,
        wanted: &Wanted<'_>,
        objects: &Objects,
        observer: &mut dyn Observer,
    ) -> Result<(Health, bool), Error> {
        let site = self.site;
        observer.doing(&format!("waiting for pods in {}", site.target.cluster()));
        let health = site.follow(objects, observer)?;
        let endpoint = if wanted.canary { &objects.canary } else { &objects.service };
        let (Some(sample), Some(endpoint)) = (wanted.sample, endpoint) else { return Ok((health, false)) };
        observer.doing("asking for the recorded sample");
        self.ask(endpoint, sample)?;
        Ok((health, true))
    }

    fn ask(&self, endpoint: &Endpoint, sample: &Sample) -> Result<(), Error> {
        let Endpoint { service, tls } = endpoint;
        let to = cluster::Target { service, port: PORT, tls: *tls, path: "/v1/predict" };
        let answer = self.site.cluster.post(to, &sample.request, ANSWER)?;
        if answer.status != 200 {
            let text: String =
                String::from_utf8_lossy(&answer.body).chars().filter(|c| !c.is_control()).take(400).collect();
            return Err(Error::Answer { reason: format!("with {}: {text}", answer.status) });
        }
        match sample.difference(&answer.body)? {
            None => Ok(()),
            Some(difference) => Err(Error::Answer { reason: format!("otherwise than recorded: {difference}") }),
        }
    }

    /// Puts the release back to where it began.
    fn undo(&self, start: &Start, objects: &Objects, observer: &mut dyn Observer) -> Undone {
        match start {
            Start::From { revision, .. } => self.go_back(*revision, objects, observer),
            _ => match self.site.helm.change(&Call::uninstall(&self.site.target, self.site.manner.timeout)) {
                Ok(()) => Undone::Removed,
                Err(error) => Undone::Not(Box::new(error)),
            },
        }
    }

    fn go_back(&self, to: u32, objects: &Objects, observer: &mut dyn Observer) -> Undone {
        let (site, manner) = (self.site, self.site.manner);
        if let Err(error) = site.helm.change(&Call::rollback(&site.target, to, manner.timeout)) {
            return Undone::Not(Box::new(error));
        }
        if interrupt::check().is_err() {
            return Undone::RolledBack { to, ready: None };
        }
        let before = site.helm.manifest(&site.target, Some(to)).and_then(|text| Objects::read(&text));
        let followed = site.follow(before.as_ref().unwrap_or(objects), observer);
        Undone::RolledBack { to, ready: Some(followed.is_ok()) }
    }
}

/// An error and its causes, a line each.
fn lines(error: &Error) -> Vec<String> {
    if let Error::NotReady(failure) = error {
        let mut lines = vec![failure.sentence()];
        for log in &failure.logs {
            let run = if log.previous { ", the run before" } else { "" };
            lines.push(format!("the last lines of `{}` in `{}`{run}:", log.container, log.pod));
            lines.extend(log.lines.iter().map(|line| format!("  {line}")));
        }
        return lines;
    }
    let mut lines = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        lines.push(cause.to_string());
        source = cause.source();
    }
    lines.dedup();
    lines
}
