//! What can go wrong on the way: each stage's own error, and those of the composition.

use std::path::{Path, PathBuf};

use crate::config::{Difference, LockError};
use crate::files::RelativePath;
use crate::image::Architecture;
use crate::interrupt::Interrupted;
use crate::{bundle, cache, chart, codegen, compile, image, model, plan, probe, registry, sign, source};

/// Why a pipeline ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model can't be read.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The model can't be run.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// The model can't be fetched.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The model's name makes no service name.
    #[error(transparent)]
    Name(#[from] plan::NotAServiceName),
    /// A setting doesn't fit the model.
    #[error(transparent)]
    Unfit(#[from] plan::Unfit),
    /// The crate can't be generated.
    #[error(transparent)]
    Generate(#[from] codegen::Error),
    /// The crate can't be compiled.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// The image can't be packed.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// An engine doesn't take the image.
    #[error(transparent)]
    Load(#[from] image::load::Error),
    /// A registry doesn't take or give an image.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The image can't be signed or checked.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// The chart can't be rendered.
    #[error(transparent)]
    Chart(#[from] chart::Error),
    /// The cache can't be used.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A file or folder refused.
    #[error("could not {attempt} `{}`", path.display())]
    Files {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output folder holds what nimify did not write.
    #[error("`{}` is there already, and nimify did not write it", .0.display())]
    Foreign(PathBuf),
    /// The folder of `nimify.yaml` holds, under the names that nimify writes, what no lock says that it wrote.
    #[error("`{}` holds {} already, and no lock file says that nimify wrote them", folder.display(), names(entries))]
    InTheWay {
        /// The folder.
        folder: PathBuf,
        /// What stands there.
        entries: Vec<&'static str>,
    },
    /// Generated files that were edited.
    #[error("generated files were edited: {}", list(.0))]
    Edited(Vec<RelativePath>),
    /// A lock file that can't be read.
    #[error("`{}` can't be read", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LockError,
    },
    /// `--locked`, but there is no lock.
    #[error("there is no lock file at `{}`", .0.display())]
    NoLock(PathBuf),
    /// `--locked`, and something differs.
    #[error("what would be built differs from the lock:\n{}", lines(.0))]
    Locked(Vec<Difference>),
    /// Hooks that the generic service would not run.
    #[error("`service/src/hooks.rs` was edited, but the generic service runs no hooks")]
    HooksWithoutCompiler,
    /// A sample larger than anything that could be sent.
    #[error("the sample `{}` has {size} bytes, more than the {limit} that are read", path.display())]
    SampleTooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// A licence that is no text for people.
    #[error("the licence `{}` has {size} bytes, more than the {limit} that are taken", path.display())]
    LicenseTooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// `create` would overwrite a `nimify.yaml` that says something else.
    #[error("`{}` is there already and asks for something else", .0.display())]
    OtherConfig(PathBuf),
    /// An image that is to be bundled, but isn't whole.
    #[error("`{}` is not whole:\n{}", path.display(), faults.join("\n"))]
    NotWhole {
        /// The layout.
        path: PathBuf,
        /// What is wrong with it.
        faults: Vec<String>,
    },
    /// A bundle that is not taken.
    #[error("`{}` is refused", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: bundle::Error,
    },
    /// Something else stands where a file is to go.
    #[error("`{}` is there already and holds something else", .0.display())]
    FileInTheWay(PathBuf),
    /// A folder without a chart.
    #[error("there is no chart in `{}`", .0.display())]
    NoChart(PathBuf),
    /// An image without a model that nimify put there.
    #[error("no layer of the image in `{}` holds a model", .0.display())]
    NoModel(PathBuf),
    /// An image without a name.
    #[error("the image in `{}` has no name", .0.display())]
    Nameless(PathBuf),
    /// A machine that no service is built for.
    #[error("this machine's processor is neither x86-64 nor 64-bit Arm")]
    Architecture,
    /// The base is to be made of this machine's libraries, but it has none of them for the image's processor.
    #[error("this machine has no libraries for an image for `linux/{architecture}`")]
    ForeignBase {
        /// The image's.
        architecture: Architecture,
        /// Which is missing.
        source: image::Error,
    },
    /// Libraries of custom operators for another processor: nothing here can try them.
    #[error("libraries of custom operators can't be tried for an image for `linux/{architecture}` on this machine")]
    ForeignOperators {
        /// The image's.
        architecture: Architecture,
    },
    /// A model that runs with other libraries alone.
    #[error("the model needs libraries of custom operators, which don't travel with it: {}", .0.join(", "))]
    NeedsOperators(Vec<String>),
    /// `SOURCE_DATE_EPOCH` is no number.
    #[error("`SOURCE_DATE_EPOCH` is `{0}`, which is not a number of seconds since 1970")]
    SourceDateEpoch(String),
}

fn list(paths: &[RelativePath]) -> String {
    paths.iter().map(|path| format!("`{}`", path.as_str())).collect::<Vec<_>>().join(", ")
}

fn names(entries: &[&str]) -> String {
    entries.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// An I/O error with what was attempted on which path.
pub(super) fn files(attempt: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Files { attempt, path, source }
}

impl Error {
    /// What to do about the errors of the composition; each stage's own hints stand with the stage.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Foreign(_) => "choose another folder with `--output`, or move that one away",
            Error::InTheWay { .. } => {
                "move them away or bring `nimify.lock` back; `--discard-edits` replaces them and keeps the hooks and \
                 every file of another name"
            }
            Error::Edited(_) => {
                "move the edits to `service/src/hooks.rs` or `nimify.yaml`, which are yours, or throw them away with \
                 `--discard-edits`"
            }
            Error::Lock { .. } => {
                "bring the file back from version control, or write it anew with `--discard-edits`, which keeps the hooks"
            }
            Error::NoLock(_) => "build once without `--locked`: that writes it",
            Error::Locked(_) => "build without `--locked` to accept what is new, then commit the new lock file",
            Error::OtherConfig(_) => {
                "edit that file and run `nimify build` beside it, or write it anew with `--discard-edits`"
            }
            Error::HooksWithoutCompiler => {
                "install cargo and build with `service: generated`, or delete the file: the next build writes it anew"
            }
            Error::NotWhole { .. } => "build it again: a changed byte can't be told from an attack",
            Error::FileInTheWay(_) => "choose another file with `--output`, or replace it with `--force`",
            Error::Bundle { source: bundle::Error::Broken { .. }, .. } => {
                "fetch the file again, and compare its digest with the one that `nimify bundle` printed"
            }
            Error::Bundle { source: bundle::Error::NoBundle(_), .. } => "give a file that `nimify bundle` wrote",
            Error::NoChart(_) | Error::NoModel(_) => "`create` and `build` write one: give the folder that they wrote",
            Error::Nameless(_) => "name it with `--repository`",
            Error::ForeignBase { .. } => {
                "`image.base: debian-packages` takes them from Debian's archive, by this machine's apt"
            }
            Error::ForeignOperators { .. } => "build on a machine with that processor",
            Error::NeedsOperators(_) => "deploy the whole image: an artifact of the model alone carries no native code",
            Error::SourceDateEpoch(_) => "set it to a whole number, or unset it",
            Error::Name(_) => "give another one with `--name`",
            // What doesn't fit an engine says itself what to do.
            Error::Unfit(unfit) if unfit.key.starts_with("engine.") => return None,
            Error::Unfit(_) => "`nimify inspect MODEL` lists the inputs, their types and their shapes",
            _ => return None,
        };
        Some(text.into())
    }
}
