//! The entries of a tar that is not to be trusted, without reading more of it into memory than a path needs.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Longest path that an extension record may give.
pub(super) const LONGEST_PATH: u64 = 4096;

/// Longest extension record.
const LONGEST_RECORD: u64 = 1 << 20;

/// One entry.
pub(crate) struct Entry<'a> {
    /// Its path as it stands there.
    pub(crate) path: &'a str,
    pub(crate) kind: tar::EntryType,
    /// Where a link leads.
    pub(crate) link: Option<&'a str>,
    /// A file's bytes; what isn't read is passed over.
    pub(crate) content: &'a mut dyn Read,
}

/// Gives each entry to `see`, which says whether to go on. Says whether the tar was read to its end, which it isn't where
/// it has more than `most` entries.
pub(crate) fn walk(tar: impl Read, most: u64, see: &mut dyn FnMut(Entry<'_>) -> io::Result<bool>) -> io::Result<bool> {
    let mut archive = tar::Archive::new(tar);
    let (mut long_path, mut long_link) = (None, None);
    let mut count = 0;
    // Raw, since the library would read extension records of any length into memory.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        count += 1;
        if count > most {
            return Ok(false);
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
            if !see(Entry { path: &path, kind, link: link.as_deref(), content: &mut entry })? {
                return Ok(false);
            }
        }
    }
    Ok(true)
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
