//! What the image stands on: the config's word for it → the base, and what the lock keeps of it.

use super::Error;
use super::build::BuildRequest;
use crate::cache::Cache;
use crate::compile::ServiceBinary;
use crate::config::{ImageBase, Lock, LockedDebian, LockedPackage};
use crate::image::debian::{self, Packages, Program, Resolved};
use crate::image::onnxruntime::OnnxRuntime;
use crate::image::{Architecture, BaseSource};

/// What a base has to carry, and what it may use.
pub(super) struct Around<'a> {
    /// The image's processor.
    pub(super) architecture: Architecture,
    /// The lock of the last build.
    pub(super) old: Option<&'a Lock>,
    pub(super) cache: &'a Cache,
    pub(super) binary: &'a ServiceBinary,
    pub(super) runtime: &'a OnnxRuntime,
}

/// The base that the config asks for, with what it needs from outside.
pub(super) fn source(request: &BuildRequest<'_>, around: &Around<'_>) -> Result<BaseSource, Error> {
    match request.config.image.base.unwrap_or_default() {
        ImageBase::Closure => Ok(BaseSource::Closure),
        ImageBase::DebianPackages => {
            // Without `--locked`, what the indexes have now is taken: updates of security come so.
            let locked = around.old.filter(|_| request.locked).and_then(|old| old.debian.as_ref()).map(packages);
            let base = debian::provide(&debian::Request {
                architecture: around.architecture,
                binary: &around.binary.path,
                libraries: &[&around.runtime.path],
                locked: locked.as_ref(),
                cache: around.cache,
                offline: request.offline,
                apt: Program::of_host(),
            })?;
            Ok(BaseSource::Debian(base))
        }
    }
}

fn packages(locked: &LockedDebian) -> Packages {
    let resolved = |package: &LockedPackage| Resolved { version: package.version.clone(), digest: package.digest };
    Packages {
        release: locked.release.clone(),
        packages: locked.packages.iter().map(|(name, package)| (name.clone(), resolved(package))).collect(),
    }
}

/// The reverse: what the lock says of a base.
pub(super) fn locked(packages: &Packages) -> LockedDebian {
    let package = |resolved: &Resolved| LockedPackage { version: resolved.version.clone(), digest: resolved.digest };
    LockedDebian {
        release: packages.release.clone(),
        packages: packages.packages.iter().map(|(name, resolved)| (name.clone(), package(resolved))).collect(),
    }
}
