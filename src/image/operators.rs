//! Libraries of custom operators: files that the user names → files that an image can carry.

use std::path::{Path, PathBuf};

use super::elf;
use super::error::{Architecture, Error, files};
use crate::digest::Digest;

/// Where they stand in an image, below `/nimify`: out of the way of the library that the service looks for.
pub const FOLDER: &str = "lib/operators";

/// A shared library that brings operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLibrary {
    /// Its file's name, which no other has.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub digest: Digest,
}

/// Looks at each library: it has to be a shared library for `architecture`, and no two may have one name.
///
/// # Errors
/// [`Error::Elf`], [`Error::Machine`], [`Error::Files`], and [`Error::SameName`].
pub fn operator_libraries(paths: &[PathBuf], architecture: Architecture) -> Result<Vec<OperatorLibrary>, Error> {
    let mut libraries: Vec<OperatorLibrary> = Vec::new();
    for path in paths {
        let library = operator_library(path, architecture)?;
        if let Some(other) = libraries.iter().find(|other| other.name == library.name) {
            return Err(Error::SameName { one: other.path.clone(), other: library.path });
        }
        libraries.push(library);
    }
    Ok(libraries)
}

fn operator_library(path: &Path, architecture: Architecture) -> Result<OperatorLibrary, Error> {
    // Before it is opened: opening a pipe waits.
    let metadata = std::fs::metadata(path).map_err(files("read", path))?;
    if !metadata.is_file() {
        return Err(Error::Elf { path: path.into(), reason: "it is no regular file".into() });
    }
    elf::read(path)?.expect(architecture, path)?;
    let name = path.file_name().and_then(|name| name.to_str()).map(String::from);
    let name = name.ok_or_else(|| Error::Elf { path: path.into(), reason: "its name isn't UTF-8".into() })?;
    let (digest, _) = Digest::of_file(path).map_err(files("read", path))?;
    Ok(OperatorLibrary { name, path: path.into(), digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_for_the_processor_is_refused() {
        let own = std::env::current_exe().unwrap();
        let host = Architecture::host().unwrap();
        let foreign = if host == Architecture::Amd64 { Architecture::Arm64 } else { Architecture::Amd64 };
        let looked = |paths: &[&Path], architecture| {
            operator_libraries(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), architecture)
        };
        let found = looked(&[&own], host).unwrap();
        assert_eq!((found.len(), found[0].path.as_path()), (1, own.as_path()));
        assert!(matches!(looked(&[&own], foreign), Err(Error::Machine { .. })));
        assert!(matches!(looked(&[&own, &own], host), Err(Error::SameName { .. })));
        assert!(matches!(looked(&[Path::new("Cargo.toml")], host), Err(Error::Elf { .. })));
        assert!(matches!(looked(&[Path::new("/dev/null")], host), Err(Error::Elf { .. })));
        assert!(matches!(looked(&[Path::new("nowhere.so")], host), Err(Error::Files { .. })));
    }
}
