//! Where an image goes from the layout in a folder. Each sink is one function in a file of its own, and all of them read
//! the same layout, which is the first sink of a build.
//!
//! ```text
//! layout ─┬─ ArchiveFile  image/archive.rs     one tar
//!         ├─ Engine       image/load.rs        Docker or Podman, by its API
//!         ├─ Containerd   image/containerd.rs  by archive, through `ctr`
//!         └─ Destination  registry/push.rs     by the OCI distribution protocol
//! ```

use std::path::{Path, PathBuf};

use super::error::files;
use super::{Destination, Error, Pushed, layout_in, push};
use crate::image;
use crate::image::containerd::{self, Containerd};
use crate::image::load::{Engine, Loaded};
use crate::interrupt;
use crate::registry::Watch;

/// Where an image can go.
pub trait Sink {
    /// What is to be told of it.
    type Delivered;

    /// Brings the image in `folder`, one that nimify wrote or an OCI layout, there.
    fn deliver(&self, folder: &Path, watch: &dyn Watch) -> Result<Self::Delivered, Error>;
}

/// A file for the archive that engines and tools read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile(pub PathBuf);

impl Sink for ArchiveFile {
    /// Its bytes.
    type Delivered = u64;

    fn deliver(&self, folder: &Path, _: &dyn Watch) -> Result<u64, Error> {
        let file = std::fs::File::create(&self.0).map_err(files("write", &self.0))?;
        let mut out = std::io::BufWriter::new(file);
        let size = image::archive(&layout_in(folder), &mut out)?;
        std::io::Write::flush(&mut out).map_err(files("write", &self.0))?;
        Ok(size)
    }
}

impl Sink for Engine {
    type Delivered = Loaded;

    /// The engine's API is spoken asynchronously: the only part of the pipeline that is.
    fn deliver(&self, folder: &Path, _: &dyn Watch) -> Result<Loaded, Error> {
        let layout = layout_in(folder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(files("start a thread to load", &layout))?;
        runtime.block_on(async {
            tokio::select! {
                loaded = image::load(&layout, &[], self) => Ok(loaded?),
                stop = interrupt::asked() => Err(stop.into()),
            }
        })
    }
}

impl Sink for Containerd {
    type Delivered = Loaded;

    fn deliver(&self, folder: &Path, _: &dyn Watch) -> Result<Loaded, Error> {
        let loaded = containerd::import(&layout_in(folder), self);
        interrupt::check()?;
        Ok(loaded?)
    }
}

impl Sink for Destination {
    type Delivered = Pushed;

    fn deliver(&self, folder: &Path, watch: &dyn Watch) -> Result<Pushed, Error> {
        push::push(folder, self, watch)
    }
}
