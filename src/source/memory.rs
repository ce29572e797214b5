//! What a source led to when it was last fetched: so that nothing is fetched twice, and without a network at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::files;
use crate::cache::Cache;
use crate::digest::Digest;

/// The file that holds it.
const LED_TO: &str = "led-to.json";
/// Largest one that is read, bytes.
const LARGEST: u64 = 64 << 10;

/// What a source led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// What the lock pins.
    pub(super) digest: Digest,
    /// What the source itself calls it for good, such as a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<String>,
    /// What the source can be asked with whether it changed, such as an entity tag. It may differ for equal contents,
    /// and so never leaves this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) validator: Option<String>,
}

/// The folder of one source, for this run alone as long as this lives.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    _lock: File,
}

impl Memory {
    /// Of the source that is called so. Names may hold secrets: only their digest becomes a path.
    pub(super) fn of(source: &str, cache: &Cache) -> Result<Self, Error> {
        let (folder, lock) = cache.alone("sources", &Digest::of(source).hex())?;
        Ok(Memory { folder, _lock: lock })
    }

    /// What the source led to, if that is known.
    pub(super) fn recall(&self) -> Option<Known> {
        let path = self.folder.join(LED_TO);
        let small = fs::metadata(&path).is_ok_and(|data| data.len() <= LARGEST);
        serde_json::from_slice(&small.then(|| fs::read(&path).ok()).flatten()?).ok()
    }

    /// Keeps what the source led to.
    pub(super) fn keep(&self, known: &Known) -> Result<(), Error> {
        let path = self.folder.join(LED_TO);
        let text = serde_json::to_vec(known).expect("texts are JSON");
        crate::files::write_atomically(&path, &text).map_err(files("write", &path))
    }

    /// A folder for what is on its way: an interrupted run finds it again.
    pub(super) fn parts(&self) -> Result<PathBuf, Error> {
        let parts = self.folder.join("parts");
        fs::create_dir_all(&parts).map_err(files("make", &parts))?;
        Ok(parts)
    }

    /// An empty folder in which a model is put together.
    pub(super) fn stage(&self) -> Result<PathBuf, Error> {
        let stage = self.folder.join("stage");
        remove(&stage)?;
        fs::create_dir(&stage).map_err(files("make", &stage))?;
        Ok(stage)
    }

    /// Takes away what was on its way.
    pub(super) fn clear(&self) -> Result<(), Error> {
        remove(&self.folder.join("parts"))?;
        remove(&self.folder.join("stage"))
    }
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(files("remove", folder)(error)),
        _ => Ok(()),
    }
}
