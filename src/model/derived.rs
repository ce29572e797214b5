//! A model made of another: what is served where the user's own file is not.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::digest::Digest;
use crate::files::RelativePath;

/// A model made of another.
#[derive(Debug)]
pub struct Derived {
    /// The graph's file name.
    pub file_name: RelativePath,
    /// The graph and what it needs: name → file on this machine, as long as this value lives.
    pub files: Vec<DerivedFile>,
    /// What was done.
    pub how: String,
    _folder: TempDir,
}

/// One file of a derived model.
#[derive(Debug, Clone)]
pub struct DerivedFile {
    /// Its name.
    pub name: RelativePath,
    /// Where it is.
    pub path: PathBuf,
    /// Its digest.
    pub digest: Digest,
}

impl Derived {
    /// A model of these files, which `folder` holds.
    pub fn new(file_name: RelativePath, files: Vec<DerivedFile>, how: String, folder: TempDir) -> Self {
        Derived { file_name, files, how, _folder: folder }
    }

    /// The graph's file.
    pub fn graph(&self) -> &DerivedFile {
        let own = self.files.iter().find(|file| file.name == self.file_name);
        own.expect("the graph is among its files")
    }
}
