//! The lock file's part in a build: read before, compared and written after.

use std::path::Path;

use super::Error;
use super::build::BuildRequest;
use super::error::files;
use super::output_files::OutputTree;
use super::service_files;
use crate::compile::{self, ServiceBinary, ServiceKind};
use crate::config::{self, Lock, LockedDerived, LockedRuntime, Toolchain};
use crate::digest::Digest;
use crate::files::FileTree;
use crate::image::onnxruntime::{self, OnnxRuntime, Source};
use crate::image::operators::OperatorLibrary;
use crate::image::{Architecture, Image};
use crate::model::{Derived, ModelDescription};
use crate::output::{self, Ground, LOCK_FILE};
use crate::plan::ServicePlan;
use crate::source::Pinned;
use crate::{chart, codegen};

/// Reads the lock of the output folder, if there is one. With it unreadable, only `--discard-edits` goes on.
pub(super) fn read(request: &BuildRequest<'_>, ground: Ground) -> Result<Option<Lock>, Error> {
    if ground != Ground::Ours {
        return Ok(None);
    }
    let path = request.output.join(LOCK_FILE);
    let text = std::fs::read_to_string(&path).map_err(files("read", &path))?;
    match Lock::parse(&text) {
        Ok(lock) => Ok(Some(lock)),
        Err(_) if request.discard_edits && !request.locked => Ok(None),
        Err(source) => Err(Error::Lock { path, source }),
    }
}

/// Refuses to build where something would be lost, or without the lock that was asked for.
pub(super) fn check_ground(request: &BuildRequest<'_>, ground: Ground, old: Option<&Lock>) -> Result<(), Error> {
    let folder = request.output;
    if request.locked && old.is_none() {
        return Err(Error::NoLock(folder.join(LOCK_FILE)));
    }
    if ground == Ground::Foreign {
        // `build` writes into the folder of its `nimify.yaml`, beside what is there; `create` into nobody else's.
        if request.config_text.is_some() {
            return Err(Error::Foreign(folder.into()));
        }
        let there = output::entries_in(folder);
        if !there.is_empty() && !request.discard_edits {
            return Err(Error::InTheWay { folder: folder.into(), entries: there });
        }
    }
    if request.discard_edits {
        return Ok(());
    }
    let yaml = folder.join("nimify.yaml");
    match (&request.config_text, std::fs::read_to_string(&yaml)) {
        (Some(text), Ok(there)) if *text != there => return Err(Error::OtherConfig(yaml)),
        _ => {}
    }
    let Some(old) = old else { return Ok(()) };
    let mut there = FileTree::new();
    for path in old.generated.keys() {
        if let Ok(bytes) = std::fs::read(folder.join(path)) {
            there.insert(path.clone(), bytes);
        }
    }
    let edited = config::edited(old, &there);
    if edited.is_empty() { Ok(()) } else { Err(Error::Edited(edited)) }
}

/// What a build used.
pub(super) struct Used<'a> {
    pub(super) plan: &'a ServicePlan,
    pub(super) description: &'a ModelDescription,
    pub(super) source: Option<&'a Pinned>,
    pub(super) derived: Option<&'a Derived>,
    pub(super) runtime: &'a OnnxRuntime,
    pub(super) operators: &'a [OperatorLibrary],
    pub(super) binary: &'a ServiceBinary,
    pub(super) image: &'a Image,
}

pub(super) fn lock(used: &Used<'_>, tree: &OutputTree) -> Lock {
    let description = used.description;
    let beside = description.external_files.iter().map(|file| (file.path.clone(), file.digest));
    let model = beside.chain([(service_files::model_name(description), description.digest)]).collect();
    let base = used.image.base.files.iter().map(|file| (file.place.display().to_string(), file.digest)).collect();
    let digests = |tree: &FileTree| tree.iter().map(|(path, bytes)| (path.clone(), Digest::of(bytes))).collect();
    let in_service = |tree: &FileTree| {
        let service = tree.iter().filter(|(path, _)| path.as_str().starts_with("service/"));
        service.map(|(path, bytes)| (path.clone(), Digest::of(bytes))).collect()
    };
    Lock {
        lock_version: Lock::VERSION,
        nimify: env!("CARGO_PKG_VERSION").into(),
        model,
        side_files: description.side_files.iter().map(|side| (side.name.clone(), side.digest)).collect(),
        source: used.source.map(super::source::locked),
        derived: used.derived.map(derived),
        onnxruntime: onnxruntime(used.runtime, used.image.architecture),
        custom_ops: used.operators.iter().map(|library| (library.name.clone(), library.digest)).collect(),
        base,
        debian: used.image.base.debian.as_ref().map(super::base::locked_packages),
        base_image: used.image.base.image.as_ref().map(super::base::locked_image),
        wheels: super::base::locked_wheels(&used.image.wheels),
        templates: templates(),
        toolchain: toolchain(used.binary),
        service: match used.binary.kind {
            ServiceKind::Generated => config::ServiceKind::Generated,
            ServiceKind::Generic => config::ServiceKind::Generic,
        },
        sample: used.plan.sample.as_ref().map(|sample| Digest::of(&sample.request)),
        batching: serde_json::to_value(&used.plan.signature.batching).expect("a verdict is texts and numbers"),
        users: in_service(&tree.users),
        image: used.image.digest,
        generated: digests(&tree.generated),
    }
}

fn derived(derived: &Derived) -> LockedDerived {
    let files = derived.files.iter().map(|file| (file.name.clone(), file.digest)).collect();
    LockedDerived { how: derived.how.clone(), files }
}

fn onnxruntime(runtime: &OnnxRuntime, architecture: Architecture) -> LockedRuntime {
    let pinned = runtime.is_pinned(architecture);
    // The same library is the same wherever it was found; only another one than the pinned is worth a word.
    let source = if runtime.source == Source::Given && !pinned { "override" } else { "pinned" };
    LockedRuntime { version: onnxruntime::VERSION.into(), digest: runtime.digest, source: source.into() }
}

fn toolchain(binary: &ServiceBinary) -> Option<Toolchain> {
    let (rustc, target) = binary.toolchain.rsplit_once(' ').filter(|(rustc, _)| rustc.starts_with("rustc "))?;
    Some(Toolchain { rustc: rustc.into(), target: target.into() })
}

/// The digest of everything that is printed or compiled from within nimify.
pub(super) fn templates() -> Digest {
    let trees = [("runtime", compile::workspace()), ("service", codegen::templates()), ("chart", chart::templates())];
    let mut lines = String::new();
    for (part, tree) in trees {
        for (path, bytes) in tree {
            lines += &format!("{part}/{} {}\n", path.as_str(), Digest::of(bytes));
        }
    }
    Digest::of(lines)
}

/// Refuses a build that isn't what the lock says.
pub(super) fn compare(output: &Path, old: Option<&Lock>, new: &Lock) -> Result<(), Error> {
    let old = old.ok_or_else(|| Error::NoLock(output.join(LOCK_FILE)))?;
    let differences = config::compare(old, new);
    if differences.is_empty() { Ok(()) } else { Err(Error::Locked(differences)) }
}
