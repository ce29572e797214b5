//! What of `nimify::image` reads files that others made: a layer's tar, a program, the loader's cache. Around them stands
//! what they take of the rest.

#[path = "../../src/image/elf.rs"]
mod elf;
#[path = "../../src/image/entries.rs"]
mod entries;
#[path = "../../src/image/hashing.rs"]
mod hashing;
#[path = "../../src/image/ldcache.rs"]
mod ldcache;
#[path = "../../src/image/rootfs.rs"]
mod rootfs;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

mod error {
    use std::io;
    use std::path::{Path, PathBuf};

    #[derive(Debug)]
    pub enum Error {
        Files { action: &'static str, path: PathBuf, source: io::Error },
        Elf { path: PathBuf, reason: String },
        Machine { path: PathBuf, found: String, expected: Architecture },
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Architecture {
        Amd64,
        Arm64,
    }

    impl Architecture {
        pub fn oci(self) -> &'static str {
            match self {
                Architecture::Amd64 => "amd64",
                Architecture::Arm64 => "arm64",
            }
        }
    }

    pub(super) fn files<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Files { action, path: path.into(), source }
    }
}

mod validate {
    pub struct Limits {
        pub layer_bytes: u64,
        pub entries: u64,
    }
}

/// Puts layers, each a tar, one over the other into the empty folder `root`, keeping files whose path has a `k`; gives
/// the digests of what is kept.
pub fn stack(layers: &[Vec<u8>], store: &Path, root: &Path) -> io::Result<BTreeMap<PathBuf, Digest>> {
    let wanted = |path: &Path| path.as_os_str().as_encoded_bytes().contains(&b'k');
    let limits = validate::Limits { layer_bytes: 1 << 20, entries: 500 };
    let mut rootfs = rootfs::Rootfs::new(store, &wanted);
    for layer in layers {
        let (digest, size) = rootfs.apply(&layer[..], &limits)?;
        assert_eq!((digest, size), (Digest::of(layer), layer.len() as u64));
    }
    rootfs.write(root).map_err(|error| io::Error::other(format!("{error:?}")))
}

/// The libraries that a program or library needs; the reason where it is none.
pub fn needed(program: &[u8]) -> Result<Vec<String>, String> {
    elf::parse(program).map(|elf| elf.needed)
}

/// What a loader's cache knows, for both processors.
pub fn cached(cache: &[u8]) -> Vec<BTreeMap<String, PathBuf>> {
    [error::Architecture::Amd64, error::Architecture::Arm64].map(|processor| ldcache::parse(cache, processor)).into()
}
