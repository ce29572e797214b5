//! One layer, read once: digests of what is stored and of what is inside, and every path in it.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::Limits;
use super::fault::Problem;
use crate::digest::Digest;
use crate::image::compress::Compression;
use crate::image::layer::Hashing;

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
    let walked = walk(&mut tar, limits, &mut paths);
    // What follows the end of the tar belongs to the digest too.
    let read = io::copy(&mut tar, &mut io::sink());
    let (digest, size) = tar.finish();
    if size > limits.layer_bytes {
        tell(None, Problem::Limit(format!("{} bytes a layer", limits.layer_bytes)));
        return None;
    }
    if let Err(error) = walked.and(read.map(drop)) {
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

/// Longest path that an extension record may give.
const LONGEST_PATH: u64 = 4096;

/// Longest extension record.
const LONGEST_RECORD: u64 = 1 << 20;

fn walk(tar: impl Read, limits: &Limits, paths: &mut Paths<'_>) -> io::Result<()> {
    let mut archive = tar::Archive::new(tar);
    let (mut long_path, mut long_link) = (None, None);
    let mut count = 0;
    // Raw, since the library would read extension records of any length into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        count += 1;
        if count > limits.entries || paths.bytes > limits.layer_bytes.min(LONGEST_PATH * limits.entries / 64) {
            (paths.tell)(None, Problem::Limit(format!("{} entries a layer", limits.entries)));
            return Ok(());
        }
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            long_path = Some(terminated(&bytes(&mut entry, LONGEST_PATH)?));
        } else if kind.is_gnu_longlink() {
            long_link = Some(terminated(&bytes(&mut entry, LONGEST_PATH)?));
        } else if kind.is_pax_local_extensions() {
            let record = bytes(&mut entry, LONGEST_RECORD)?;
            let values = pax(&record).ok_or_else(|| io::Error::other("an extension record is malformed"))?;
            long_path = values.get(b"path".as_slice()).map(|path| lossy(path)).or(long_path);
            long_link = values.get(b"linkpath".as_slice()).map(|link| lossy(link)).or(long_link);
            // Others give an entry another size or name.
            if let Some(key) = values.keys().find(|key| **key == b"size" || key.starts_with(b"GNU.sparse.")) {
                return Err(io::Error::other(format!("`{}` in an extension record is not supported", lossy(key))));
            }
        } else if !kind.is_pax_global_extensions() {
            let path = long_path.take().unwrap_or_else(|| lossy(&entry.header().path_bytes()));
            let header_link = || entry.header().link_name_bytes().map(|link| lossy(&link));
            let link = long_link.take().or_else(header_link);
            paths.see(&path, kind, link.as_deref());
        }
    }
    Ok(())
}

fn bytes(entry: &mut impl Read, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("an extension record is longer than {longest} bytes")));
    }
    Ok(bytes)
}

/// A text up to its first zero.
fn terminated(bytes: &[u8]) -> String {
    lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The values of an extension record of lines `<length> <key>=<value>`, read as engines do: by their lengths, since a
/// value may hold line breaks, and the last of several with one key.
fn pax(mut record: &[u8]) -> Option<BTreeMap<&[u8], &[u8]>> {
    let mut values = BTreeMap::new();
    while !record.is_empty() {
        let space = record.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&record[..space]).ok()?.parse().ok()?;
        let (line, rest) = record.split_at_checked(length)?;
        let pair = line.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        values.insert(&pair[..equals], &pair[equals + 1..]);
        record = rest;
    }
    Some(values)
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
