//! Why a deployment did not happen, or was undone.

use std::io;
use std::path::PathBuf;

use super::history::Status;
use super::values::ImageName;
use crate::chart::{self, ValueFault};
use crate::digest::Digest;
use crate::interrupt::Interrupted;
use crate::plan::NotAServiceName;
use crate::{cluster, image, registry, sign};

/// Why a command of deployment failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry doesn't answer as it should.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// What was fetched can't be verified.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// The image in the folder can't be read.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The chart can't be read.
    #[error(transparent)]
    Chart(#[from] chart::Error),
    /// The model's name makes no release.
    #[error(transparent)]
    Name(#[from] NotAServiceName),
    /// The cluster can't be asked, or refuses.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(Interrupted),
    /// A file refused.
    #[error("could not {attempt} `{}`", path.display())]
    Files {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without a chart.
    #[error("there is no chart in `{}`", .0.display())]
    NoChart(PathBuf),
    /// A value that the chart doesn't take.
    #[error("the values of {origin}: {fault}")]
    Values {
        /// Where it stands.
        origin: String,
        /// What is wrong with it.
        fault: ValueFault,
    },
    /// A file of values that can't be used.
    #[error("`{}` can't be used as values: {reason}", path.display())]
    ValuesFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A `--set` that says nothing.
    #[error("`--set {text}` can't be used: {reason}")]
    Set {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that helm refuses by the chart's schema.
    #[error("the chart doesn't take these values: {words}")]
    Schema {
        /// helm's words.
        words: String,
    },
    /// Values that name no digest.
    #[error("the values name the image by `{found}`, not by a digest: what would run can't be verified")]
    NoDigest {
        /// What stands at `image.digest`.
        found: String,
    },
    /// A mounted model that values name otherwise than by registry and digest.
    #[error("`model.image` is `{found}`, without registry or digest: what would be mounted can't be verified")]
    NoModelDigest {
        /// What stands at `model.image`.
        found: String,
    },
    /// A repository with a tag or a digest in it.
    #[error("`image.repository` is `{repository}`: it should be a repository alone, with neither tag nor digest")]
    OddRepository {
        /// What stands there.
        repository: String,
    },
    /// An image that no registry is named for.
    #[error("the image {digest} was not pushed: `{repository}` names no registry")]
    NoRegistry {
        /// What stands at `image.repository`.
        repository: String,
        /// The image.
        digest: Digest,
    },
    /// An image that its repository doesn't have.
    #[error("the image was not pushed: there is no {image}")]
    NotPushed {
        /// The image.
        image: ImageName,
    },
    /// Chart and image of a folder don't belong together.
    #[error("the chart runs the image {chart}, but the folder's image is {image}")]
    OtherImage {
        /// What the chart names.
        chart: String,
        /// What lies in `dist/image`.
        image: Digest,
    },
    /// A chart that was not made for the image that is promoted.
    #[error("the folder's chart is that of {chart}, but what runs there is {image}")]
    OtherChart {
        /// What the chart names.
        chart: String,
        /// What runs.
        image: Digest,
    },
    /// Clusters of one environment that run different images.
    #[error("`{environment}` runs different images: {found}")]
    Different {
        /// The environment.
        environment: String,
        /// Which where.
        found: String,
    },
    /// helm can't be started.
    #[error("helm is needed, but `{}` can't be started", program.display())]
    HelmMissing {
        /// What was tried.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// helm is too old.
    #[error("`{}` is helm {found}, older than {oldest}, the oldest that is used", program.display())]
    HelmOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        found: String,
        /// The oldest that would do.
        oldest: String,
    },
    /// A program that isn't helm.
    #[error("`{}` doesn't tell its version as helm does: it said `{said}`", program.display())]
    HelmOdd {
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// helm took longer than it may.
    #[error("`helm {verb}` took longer than {seconds} s and was stopped")]
    HelmSlow {
        /// The call.
        verb: &'static str,
        /// Its time.
        seconds: u64,
    },
    /// helm refused.
    #[error("`helm {verb}` failed: {words}")]
    Helm {
        /// The call.
        verb: &'static str,
        /// helm's words.
        words: String,
    },
    /// Another helm is at work on the release.
    #[error("`helm {verb}` was refused: another operation on the release is in progress")]
    Busy {
        /// The call.
        verb: &'static str,
    },
    /// helm was ended in the middle of something, or is still at it.
    #[error("revision {revision} of {release} is `{}`: the helm that began it was ended before it was done", status.word())]
    Pending {
        /// The release.
        release: String,
        /// The environment.
        environment: String,
        /// Its last revision.
        revision: u32,
        /// That one's state.
        status: Status,
        /// The revision that ran before.
        before: Option<u32>,
    },
    /// What helm rendered can't be read.
    #[error(transparent)]
    Manifest(#[from] super::diff::Unread),
    /// What would run is not what was verified.
    #[error("the chart would run {found}, but what was verified is {verified}")]
    RunsOther {
        /// The images of its containers named `service`.
        found: String,
        /// The image that was verified.
        verified: ImageName,
    },
    /// No such release.
    #[error("there is no release {0}")]
    NoRelease(String),
    /// No revision to go back to.
    #[error("{0} has no revision to go back to")]
    NothingBefore(String),
    /// A revision that isn't there.
    #[error("{release} has no revision {revision}: there are {known}")]
    NoRevision {
        /// The release.
        release: String,
        /// What was asked for.
        revision: u32,
        /// Those that are there.
        known: String,
    },
    /// No canary to promote.
    #[error("{0} has no canary")]
    NoCanary(String),
    /// A canary runs, which a plain deployment would end unseen.
    #[error("{0} has a canary")]
    HasCanary(String),
    /// A chart that knows no canary.
    #[error("the chart in the folder knows no canary: it was made by an older nimify")]
    OldChart,
    /// Pods that don't become ready.
    #[error("{}", .0.sentence())]
    NotReady(Box<cluster::Failure>),
    /// A service that answers the sample otherwise.
    #[error("the service answered the recorded sample {reason}")]
    Answer {
        /// How.
        reason: String,
    },
    /// The sample can't be used.
    #[error("the recorded sample can't be used: {reason}")]
    Sample {
        /// Why not.
        reason: String,
    },
}

/// The error after Ctrl-C.
pub(crate) fn interrupted(interrupted: Interrupted) -> Error {
    Error::Interrupted(interrupted)
}

impl From<cluster::Unfinished> for Error {
    fn from(unfinished: cluster::Unfinished) -> Self {
        match unfinished {
            cluster::Unfinished::Failed(failure) => Error::NotReady(failure),
            cluster::Unfinished::Cluster(error) => error.into(),
        }
    }
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Cluster(error) => return error.hint(),
            Error::NotReady(failure) => failure.reason.advice.clone(),
            Error::NoChart(_) => "`create` and `build` write one: give the folder that they wrote".into(),
            Error::Set { .. } => "such as `--set replicaCount=3` or `--set 'resources.limits={memory: 1Gi}'`".into(),
            Error::Values { .. } | Error::Schema { .. } => {
                "`chart/values.yaml` lists the values with what they are for".into()
            }
            Error::NoDigest { .. } => "take `image.digest` and `image.tag` out of the environment's values".into(),
            Error::NoModelDigest { .. } => "`nimify push --model-to` prints the REPOSITORY@DIGEST of a model".into(),
            Error::OddRepository { .. } => "`image.digest` names which image of it runs".into(),
            Error::NoRegistry { .. } => "`nimify push DIR --to REGISTRY/REPOSITORY` pushes it and notes where".into(),
            Error::NotPushed { image } => {
                format!("`nimify push DIR --to {}` pushes it with its signatures", image.repository)
            }
            Error::OtherImage { .. } => "`nimify build` in the folder makes both anew".into(),
            Error::OtherChart { .. } => {
                "promote from the folder as it was when that image was built: `nimify build --locked` makes it again"
                    .into()
            }
            Error::Different { .. } => "`nimify status` says what runs where; deploy to all of them first".into(),
            Error::HelmMissing { .. } => {
                "install helm 3 or 4 (https://helm.sh/docs/intro/install), or name it in `NIMIFY_HELM`".into()
            }
            Error::HelmOld { oldest, .. } => {
                format!("install helm {oldest} or newer, or name another one in `NIMIFY_HELM`")
            }
            Error::HelmOdd { .. } => "name helm in `NIMIFY_HELM`".into(),
            Error::HelmSlow { .. } => "`--timeout` gives it longer; `nimify status` says what runs now".into(),
            Error::Busy { .. } => "wait for it to end: `nimify history` shows the release's revisions".into(),
            Error::Pending { environment, before, .. } => {
                let rollback = format!("`nimify rollback --env {environment}`");
                match before {
                    Some(before) => format!("if no helm is at work on it, {rollback} goes back to revision {before}"),
                    None => format!("if no helm is at work on it, {rollback} removes what it left"),
                }
            }
            Error::RunsOther { .. } => "the chart's templates were changed: `nimify build` writes them anew".into(),
            Error::NoRelease(_) => "`nimify deploy` makes it".into(),
            Error::NothingBefore(_) => "`nimify history` lists the revisions that are known".into(),
            Error::NoRevision { .. } => "`nimify history` lists them with what they are".into(),
            Error::NoCanary(_) => {
                "`nimify deploy --canary PERCENT` begins one; `nimify promote FROM TO` brings what runs \
                                   in one environment to another"
                    .into()
            }
            Error::HasCanary(_) => {
                "`nimify promote ENV` makes it what runs, `nimify rollback --env ENV` ends it".into()
            }
            Error::OldChart => "`nimify build` in the folder makes it anew".into(),
            Error::Sample { .. } => "`--no-sample` deploys without it".into(),
            _ => return None,
        };
        Some(text)
    }
}
