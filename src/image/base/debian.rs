//! The base of Debian packages: their files, users, and where names are looked up.

use super::super::debian::DebianBase;
use super::super::error::Error;
use super::super::layer::Contents;
use super::{Base, add_accounts};

/// The layer of these packages.
pub(super) fn lay(debian: &DebianBase) -> Result<(Contents, Base), Error> {
    let mut contents = debian.contents.clone();
    add_accounts(&mut contents)?;
    let base = Base {
        packages: debian.owners.clone(),
        distribution: Some("debian".into()),
        debian: Some(debian.packages.clone()),
        warnings: debian.warnings.clone(),
        ..Base::default()
    };
    Ok((contents, base))
}
