//! An output folder → one file for an air gap, and the way back; nothing here touches the network.
//!
//! The file is a plain tar in one form alone. It is an OCI layout and a `docker load` archive of the image, with what
//! nimify needs besides:
//!
//! ```text
//! bundle.json               what is in the file: path, size and digest of all that follows but the next
//! bundle.sigstore.jsonl     a signature of bundle.json a line, as a Sigstore bundle; may be empty
//! blobs/sha256/…            the blobs of the image and of its signatures
//! index.json, oci-layout    an OCI layout of the image alone, so that every tool knows which one is meant
//! manifest.json             the same for `docker load`
//! nimify/…                  chart, bills of materials and other documents, and the layout's whole index
//! ```
//!
//! Everything follows from `bundle.json`: the order of the entries, and each byte of their headers. So the reader
//! compares instead of interpreting: links, folders, second entries and paths that lead elsewhere can't occur.
//!
//! Not here: what the entries mean, and who is trusted (`pipeline`).

mod contents;
mod read;
mod summed;
mod write;

pub use contents::{Contents, Entry, FORMAT};
pub use read::{Reader, Unpacked};
pub use write::{Source, write};

use std::io;

/// The first entry.
pub const CONTENTS: &str = "bundle.json";
/// The second.
pub const SIGNATURES: &str = "bundle.sigstore.jsonl";

/// Why a file is not taken for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It doesn't begin as one.
    #[error("it is no bundle: {0}")]
    NoBundle(String),
    /// It begins as one, but a part isn't what it should be.
    #[error("`{place}` {what}")]
    Broken {
        /// The entry.
        place: String,
        /// What is wrong, as the rest of a sentence.
        what: String,
    },
    /// It can't be read, or what is in it can't be written.
    #[error("could not {0}")]
    Io(&'static str, #[source] io::Error),
}

impl Error {
    fn broken(place: &str, what: impl Into<String>) -> Self {
        Error::Broken { place: place.into(), what: what.into() }
    }
}

/// The header of an entry: everything but its name and size is the same each time.
fn header(path: &str, size: u64) -> Option<[u8; 512]> {
    let mut header = tar::Header::new_gnu();
    // A longer one would need a second header.
    if path.len() > contents::LONGEST_PATH || header.set_path(path).is_err() {
        return None;
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Some(*header.as_bytes())
}

/// Entries begin at multiples of 512 bytes: how many zeros follow one of `size` bytes.
fn padding(size: u64) -> usize {
    (size.wrapping_neg() % 512) as usize
}

/// Two empty blocks end a tar.
const END: usize = 1024;
