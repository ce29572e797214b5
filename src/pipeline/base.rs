//! What the image stands on: the config's word for it → the base, and what the lock keeps of it.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::build::BuildRequest;
use super::observer::{self, Step, Stopwatch};
use crate::cache::Cache;
use crate::compile::ServiceBinary;
use crate::config::{Accelerator, Base, Lock, LockedDebian, LockedImage, LockedPackage};
use crate::image::cuda::{self, Cuda, TensorRt};
use crate::image::debian::{self, Packages, Program};
use crate::image::onnxruntime::OnnxRuntime;
use crate::image::operators::OperatorLibrary;
use crate::image::{Architecture, BaseImage, BaseSource, Resolved};
use crate::registry::{self, Origin, PullRequest, Reference};

/// What a base has to carry, and what it may use.
pub(super) struct Around<'a> {
    /// The image's processor.
    pub(super) architecture: Architecture,
    /// The lock of the last build.
    pub(super) old: Option<&'a Lock>,
    pub(super) cache: &'a Cache,
    pub(super) binary: &'a ServiceBinary,
    pub(super) runtime: &'a OnnxRuntime,
    pub(super) operators: &'a [OperatorLibrary],
    /// Locales that the model names.
    pub(super) locales: &'a BTreeSet<String>,
}

/// The base that the config asks for, with what it needs from outside.
pub(super) fn source(
    request: &BuildRequest<'_>,
    around: &Around<'_>,
    cuda: Option<&Cuda>,
    watch: &mut Stopwatch<'_>,
) -> Result<BaseSource, Error> {
    let image = &request.config.image;
    let origin = match image.base.clone().unwrap_or_default().base(request.config_folder) {
        Base::Closure => return Ok(BaseSource::Closure),
        Base::DebianPackages => {
            watch.step(Step::Base)?;
            return packages(request, around, cuda);
        }
        Base::Layout { folder, name } => Origin::Layout { folder, name },
        Base::Image(text) => {
            let reference: Reference = text.parse()?;
            let plain_http = request.plain_http || image.plain_http(reference.repository.registry());
            Origin::Registry { reference, plain_http }
        }
    };
    watch.step(Step::Base)?;
    // Otherwise what the tag leads to now is taken: updates of security come so.
    let locked = around.old.and_then(|old| old.base_image.as_ref()).filter(|_| request.locked || request.offline);
    let asked = PullRequest {
        origin: &origin,
        locked: locked.filter(|locked| locked.reference == origin.name()).map(|locked| locked.digest),
        architecture: around.architecture,
        offline: request.offline,
        cache: around.cache,
    };
    Ok(BaseSource::Image(observer::transfer(watch.observer, |watch| registry::pull(&asked, watch))?))
}

fn packages(request: &BuildRequest<'_>, around: &Around<'_>, cuda: Option<&Cuda>) -> Result<BaseSource, Error> {
    // Without `--locked`, what the indexes have now is taken, for the same reason.
    let locked = around.old.filter(|_| request.locked).and_then(|old| old.debian.as_ref()).map(resolved_packages);
    let operators = around.operators.iter().map(|library| library.path.as_path());
    let libraries: Vec<_> = [around.runtime.path.as_path()].into_iter().chain(operators).collect();
    let base = debian::provide(&debian::Request {
        architecture: around.architecture,
        binary: &around.binary.path,
        libraries: &libraries,
        cuda,
        locales: around.locales,
        locked: locked.as_ref(),
        cache: around.cache,
        offline: request.offline,
        apt: Program::of_host(),
    })?;
    Ok(BaseSource::Debian(base))
}

/// The libraries of the accelerator that the config asks for.
pub(super) fn accelerator(
    request: &BuildRequest<'_>,
    around: &Around<'_>,
    engine: bool,
) -> Result<Option<Cuda>, Error> {
    let tensorrt = match request.config.image.accelerator.unwrap_or_default() {
        Accelerator::None => return Ok(None),
        Accelerator::Cuda => None,
        Accelerator::TensorRt if engine => Some(TensorRt::Run),
        Accelerator::TensorRt => Some(TensorRt::Build),
    };
    // Wheels are large: what the lock names is taken as long as nothing newer may be fetched.
    let locked = around.old.filter(|_| request.locked || request.offline).map(|old| &old.wheels);
    let locked = locked.into_iter().flatten().map(|(name, package)| (name.clone(), resolved(package)));
    let cuda = cuda::provide(&cuda::Request {
        architecture: around.architecture,
        locked: locked.collect(),
        tensorrt,
        cache: around.cache,
        python: "python3".into(),
        offline: request.offline,
    })?;
    Ok(Some(cuda))
}

/// Whether TensorRT can be in the image: asked for, or in an image below it.
pub(super) fn may_have_tensorrt(request: &BuildRequest<'_>) -> bool {
    let image = &request.config.image;
    let base = image.base.clone().unwrap_or_default().base(request.config_folder);
    image.accelerator == Some(Accelerator::TensorRt) || matches!(base, Base::Layout { .. } | Base::Image(_))
}

/// What the lock says of wheels.
pub(super) fn locked_wheels(wheels: &BTreeMap<String, Resolved>) -> BTreeMap<String, LockedPackage> {
    wheels.iter().map(|(name, wheel)| (name.clone(), locked(wheel))).collect()
}

fn resolved(package: &LockedPackage) -> Resolved {
    Resolved { version: package.version.clone(), digest: package.digest }
}

fn locked(package: &Resolved) -> LockedPackage {
    LockedPackage { version: package.version.clone(), digest: package.digest }
}

fn resolved_packages(locked: &LockedDebian) -> Packages {
    Packages {
        release: locked.release.clone(),
        packages: locked.packages.iter().map(|(name, package)| (name.clone(), resolved(package))).collect(),
    }
}

/// What the lock says of packages.
pub(super) fn locked_packages(packages: &Packages) -> LockedDebian {
    LockedDebian {
        release: packages.release.clone(),
        packages: packages.packages.iter().map(|(name, package)| (name.clone(), locked(package))).collect(),
    }
}

/// What the lock says of an image.
pub(super) fn locked_image(image: &BaseImage) -> LockedImage {
    LockedImage { reference: image.name.clone(), digest: image.digest, manifest: image.manifest }
}
