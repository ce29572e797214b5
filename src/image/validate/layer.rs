//! One layer, read once: digests of what is stored and of what is inside, and every path in it.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::Limits;
use super::fault::Problem;
use crate::digest::Digest;
use crate::image::compress::Compression;
use crate::image::entries::{self, LONGEST_PATH};
use crate::image::hashing::Hashing;

/// What a layer turned out to be.
pub(super) struct Seen {
    /// Digest and size of what is stored.
    pub(super) stored: (Digest, u64),
    /// Digest of the tar inside; `None` if it could not be read to its end.
    pub(super) diff_id: Option<Digest>,
}

/// Reads a layer; tells each problem with the path in the layer that it is about, if any. Fails only where the
/// stored bytes can't be read.
pub(super) fn read(
    stored: impl Read,
    compression: Compression,
    limits: &Limits,
    tell: &mut dyn FnMut(Option<&str>, Problem),
) -> io::Result<Seen> {
    let mut stored = Hashing::new(stored);
    let diff_id = inside(compression.reader(&mut stored)?, limits, tell);
    io::copy(&mut stored, &mut io::sink())?;
    Ok(Seen { stored: stored.finish(), diff_id })
}

fn inside(tar: impl Read, limits: &Limits, tell: &mut dyn FnMut(Option<&str>, Problem)) -> Option<Digest> {
    let mut tar = Hashing::new(tar.take(limits.layer_bytes.saturating_add(1)));
    let mut paths = Paths { tell, kinds: BTreeMap::new(), bytes: 0 };
    let most_bytes = limits.layer_bytes.min(LONGEST_PATH * limits.entries / 64);
    let walked = entries::walk(&mut tar, limits.entries, &mut |entry| {
        paths.see(entry.path, entry.kind, entry.link);
        Ok(paths.bytes <= most_bytes)
    });
    if matches!(walked, Ok(false)) {
        (paths.tell)(None, Problem::Limit(format!("{} entries a layer", limits.entries)));
    }
    // What follows the end of the tar belongs to the digest too.
    let read = io::copy(&mut tar, &mut io::sink());
    let (digest, size) = tar.finish();
    if size > limits.layer_bytes {
        tell(None, Problem::Limit(format!("{} bytes a layer", limits.layer_bytes)));
        return None;
    }
    if let Err(error) = walked.and(read) {
        tell(None, Problem::Layer(error.to_string()));
        return None;
    }
    Some(digest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    Other,
}

struct Paths<'a> {
    tell: &'a mut dyn FnMut(Option<&str>, Problem),
    kinds: BTreeMap<String, Kind>,
    bytes: u64,
}

impl Paths<'_> {
    fn see(&mut self, path: &str, kind: tar::EntryType, link: Option<&str>) {
        let mut tell = |problem| (self.tell)(Some(path), problem);
        if escapes(path) {
            return tell(Problem::Escapes);
        }
        let clean: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if clean.is_empty() {
            return;
        }
        if kind.is_hard_link() && link.is_none_or(escapes) {
            tell(Problem::LinkEscapes);
        }
        if kind.is_block_special() || kind.is_character_special() || kind.is_fifo() {
            tell(Problem::Special);
        }
        for end in 1..clean.len() {
            if self.kinds.get(&clean[..end].join("/")) == Some(&Kind::Other) {
                tell(Problem::BelowAFile);
            }
        }
        let clean = clean.join("/");
        self.bytes += clean.len() as u64;
        let kind = if kind.is_dir() { Kind::Folder } else { Kind::Other };
        if self.kinds.insert(clean, kind).is_some() {
            tell(Problem::DuplicatePath);
        }
    }
}

/// Whether a path in a tar is absolute or climbs.
fn escapes(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..")
}
