//! A Debian package file → what is in it. Pure, and wary: an archive comes from a signed index, but nothing in it is
//! believed that isn't checked.
//!
//! A `.deb` is an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`, in this order. No script in it is
//! ever run.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::files::RelativePath;

/// What a package file may be and unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes that the archives in it unpack to, each.
    pub unpacked: u64,
    /// Most entries.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // glibc's package, the largest that a base has, unpacks to 13 MB.
        Limits { unpacked: 256 << 20, entries: 100_000 }
    }
}

/// Memory that the decoder of xz may take, KiB: `dpkg-deb` packs with a dictionary of 8 MiB, or of 64 at most.
const XZ_MEMORY: u32 = 128 << 10;
/// The largest window of zstd, as a power of two: 128 MiB.
const ZSTD_WINDOW: u32 = 27;

/// An unpacked package.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deb {
    /// The text of `control`.
    pub control: String,
    /// The text of `md5sums`; empty where there is none.
    pub md5sums: String,
    /// What the package has, by its path below `/`.
    pub entries: BTreeMap<RelativePath, Entry>,
}

/// One thing that a package has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder with its permissions.
    Folder {
        /// The permissions alone.
        mode: u32,
    },
    /// A regular file.
    File {
        /// The permissions alone.
        mode: u32,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// A symbolic link and its target as written.
    Link(PathBuf),
}

/// Why bytes are no package, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotADeb(String);

fn wrong<T>(what: impl Into<String>) -> Result<T, NotADeb> {
    Err(NotADeb(what.into()))
}

/// Reads a package file.
pub fn read(bytes: &[u8], limits: Limits) -> Result<Deb, NotADeb> {
    let members = members(bytes)?;
    let part = |name: &str| {
        let found = members
            .iter()
            .find(|(member, _)| member.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
        let (member, bytes) = found.ok_or_else(|| NotADeb(format!("it has no `{name}`")))?;
        unpack(member, bytes, limits)
    };
    match members.first() {
        Some((name, version)) if name == "debian-binary" && version.starts_with(b"2.") => {}
        _ => return wrong("it doesn't begin with `debian-binary` of version 2"),
    }
    let mut control = part("control.tar")?;
    let mut text = |name: &str| match control.remove(&name.parse::<RelativePath>().expect("a plain name")) {
        Some(Entry::File { bytes, .. }) => {
            String::from_utf8(bytes).map(Some).map_err(|_| NotADeb(format!("its `{name}` is not UTF-8")))
        }
        _ => Ok(None),
    };
    let (fields, md5sums) = (text("control")?, text("md5sums")?.unwrap_or_default());
    let control = fields.ok_or_else(|| NotADeb("it has no `control` file".into()))?;
    Ok(Deb { control, md5sums, entries: part("data.tar")? })
}

/// The members of an `ar` archive by name. Its headers are 60 bytes of text; each member starts at an even place.
fn members(bytes: &[u8]) -> Result<Vec<(String, &[u8])>, NotADeb> {
    let Some(mut rest) = bytes.strip_prefix(b"!<arch>\n") else { return wrong("it is no `ar` archive") };
    let mut found = Vec::new();
    while !rest.is_empty() {
        if rest.len() < 60 || &rest[58..60] != b"`\n" {
            return wrong("a member of it has no whole header");
        }
        let (header, body) = rest.split_at(60);
        let field = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).unwrap_or_default().trim();
        let name = field(0..16).trim_end_matches('/').to_string();
        let size = field(48..58);
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse::<usize>().ok().filter(|size| digits && *size <= body.len());
        let Some(size) = size else { return wrong(format!("its member `{}` is cut short", name.escape_default())) };
        found.push((name, &body[..size]));
        if found.len() > 16 {
            return wrong("it has more members than any package");
        }
        rest = body.get(size + size % 2..).unwrap_or_default();
    }
    Ok(found)
}

/// Everything in one of the two archives.
fn unpack(name: &str, bytes: &[u8], limits: Limits) -> Result<BTreeMap<RelativePath, Entry>, NotADeb> {
    let plain: Box<dyn Read + '_> = match name.rsplit('.').next() {
        Some("tar") => Box::new(bytes),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Some("xz") => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, true, XZ_MEMORY)),
        Some("zst") => {
            let failed = |error: io::Error| NotADeb(format!("its `{name}` can't be unpacked: {error}"));
            let mut decoder = zstd::Decoder::new(bytes).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(failed)?;
            Box::new(decoder)
        }
        _ => return wrong(format!("its `{}` is packed in a way that isn't read here", name.escape_default())),
    };
    // One byte more than allowed: reading that far tells that there is more.
    let mut archive = tar::Archive::new(Bounded { inner: plain, left: limits.unpacked });
    let failed = |error: io::Error| NotADeb(format!("its `{name}` can't be unpacked: {error}"));
    let mut found = BTreeMap::new();
    for (count, entry) in archive.entries().map_err(failed)?.enumerate() {
        if count >= limits.entries {
            return wrong(format!("its `{name}` has more than {} entries", limits.entries));
        }
        let entry = entry.map_err(failed)?;
        let Some(path) = place(&entry)? else { continue };
        let unpacked =
            content(entry, &path, &found).map_err(|reason| NotADeb(format!("`{}`: {reason}", path.as_str())))?;
        if found.insert(path.clone(), unpacked).is_some() {
            return wrong(format!("`{}` is in it twice", path.as_str()));
        }
    }
    Ok(found)
}

/// Where an entry belongs, below `/`; `None` for `/` itself.
fn place<R: Read>(entry: &tar::Entry<'_, R>) -> Result<Option<RelativePath>, NotADeb> {
    let bytes = entry.path_bytes();
    let lossy = String::from_utf8_lossy(&bytes).into_owned();
    let text = std::str::from_utf8(&bytes).map_err(|_| NotADeb(format!("`{lossy}` is no path in UTF-8")))?;
    let text = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    if text.is_empty() || text == "." {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| NotADeb(format!("{error}")))
}

fn content<R: Read>(
    mut entry: tar::Entry<'_, R>,
    path: &RelativePath,
    before: &BTreeMap<RelativePath, Entry>,
) -> Result<Entry, String> {
    let parents = path.as_str().match_indices('/').filter_map(|(at, _)| path.as_str()[..at].parse().ok());
    for parent in parents {
        // Only folders hold files: through a link, a file would come to stand somewhere else.
        if let Some(Entry::Link(_) | Entry::File { .. }) = before.get::<RelativePath>(&parent) {
            return Err(format!("stands below `{}`, which is no folder", parent.as_str()));
        }
    }
    let header = entry.header();
    let mode = header.mode().map_err(|error| error.to_string())? & 0o1777;
    let kind = header.entry_type();
    let target = |entry: &tar::Entry<'_, R>| {
        let target = entry.link_name().map_err(|error| error.to_string())?.map(std::borrow::Cow::into_owned);
        target.filter(|target| !target.as_os_str().is_empty()).ok_or_else(|| "is a link to nothing".to_string())
    };
    if kind.is_dir() {
        return Ok(Entry::Folder { mode });
    }
    if kind.is_file() {
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        return Ok(Entry::File { mode, bytes });
    }
    if kind.is_symlink() {
        return target(&entry).map(Entry::Link);
    }
    if kind.is_hard_link() {
        let target = target(&entry)?;
        let target = target.strip_prefix("./").unwrap_or(&target);
        let name = Path::to_str(target).and_then(|target| target.parse::<RelativePath>().ok());
        // A second name of a file is the file once more.
        return match name.and_then(|name| before.get(&name)) {
            Some(file @ Entry::File { .. }) => Ok(file.clone()),
            _ => Err(format!("is a second name of `{}`, which is no file before it", target.display())),
        };
    }
    Err("is neither a file nor a folder nor a link".into())
}

/// Fails where more is read than allowed, instead of ending as if that were all.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left =
            self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("it unpacks to more than is allowed"))?;
        Ok(read)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An `ar` archive of these members.
    pub(in super::super) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = b"!<arch>\n".to_vec();
        for (name, bytes) in members {
            out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, bytes.len()).bytes());
            out.extend(*bytes);
            if bytes.len() % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    /// A tar archive of (path, kind, mode, content or target), written without any care for what they say.
    pub(in super::super) fn tar_of(entries: &[(&str, tar::EntryType, u32, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, mode, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            let link = kind.is_symlink() || kind.is_hard_link();
            header.set_size(if link { 0 } else { content.len() as u64 });
            if link {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content);
            }
            header.set_cksum();
            tar.append(&header, if link { &[] } else { *content }).unwrap();
        }
        tar.into_inner().unwrap()
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    /// A package with this data.
    pub(in super::super) fn deb(control: &str, data: &[(&str, tar::EntryType, u32, &[u8])]) -> Vec<u8> {
        let sums = ("./md5sums", FILE, 0o644, &b"0123  usr/lib/a\n"[..]);
        let control = tar_of(&[
            ("./", tar::EntryType::Directory, 0o755, b""),
            ("./control", FILE, 0o644, control.as_bytes()),
            sums,
        ]);
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &tar_of(data))])
    }

    fn read_all(bytes: &[u8]) -> Result<Deb, NotADeb> {
        read(bytes, Limits::default())
    }

    fn refused(data: &[(&str, tar::EntryType, u32, &[u8])]) -> String {
        read_all(&deb("Package: a\n", data)).unwrap_err().to_string()
    }

    #[test]
    fn a_package_is_read_however_it_is_packed() {
        let data = tar_of(&[
            ("./usr/", tar::EntryType::Directory, 0o755, b""),
            ("./usr/a", FILE, 0o644, b"bytes"),
            ("./usr/b", tar::EntryType::Link, 0o644, b"./usr/a"),
            ("./usr/c", tar::EntryType::Symlink, 0o777, b"/elsewhere"),
        ]);
        let control = tar_of(&[("control", FILE, 0o644, b"Package: a\n")]);
        let gzip = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut out, bytes).unwrap();
            out.finish().unwrap()
        };
        let (gz, zst) = (gzip(&data), zstd::encode_all(&data[..], 1).unwrap());
        for (name, packed) in [("data.tar", &data), ("data.tar.gz", &gz), ("data.tar.zst", &zst)] {
            let bytes = ar(&[("debian-binary/", b"2.0\n"), ("control.tar.gz", &gzip(&control)), (name, packed)]);
            let found = read_all(&bytes).unwrap();
            assert_eq!((found.control.as_str(), found.md5sums.as_str()), ("Package: a\n", ""));
            let entry = |path: &str| found.entries[&path.parse().unwrap()].clone();
            assert_eq!(entry("usr/a"), Entry::File { mode: 0o644, bytes: b"bytes".to_vec() }, "{name}");
            assert_eq!(entry("usr/b"), entry("usr/a"));
            assert_eq!(entry("usr/c"), Entry::Link("/elsewhere".into()));
            assert_eq!(entry("usr"), Entry::Folder { mode: 0o755 });
        }
        assert!(read_all(&ar(&[("debian-binary", b"2.0\n"), ("control.tar.bz2", b"")])).is_err());
    }

    #[test]
    fn no_entry_leaves_its_place() {
        assert!(refused(&[("./../etc/passwd", FILE, 0o644, b"")]).contains("is not a path below a folder"));
        assert!(refused(&[("/etc/passwd", FILE, 0o644, b"")]).contains("is not a path below a folder"));
        let below = [("./a", tar::EntryType::Symlink, 0o777, &b"/etc"[..]), ("./a/passwd", FILE, 0o644, &b""[..])];
        assert_eq!(refused(&below), "`a/passwd`: stands below `a`, which is no folder");
        assert!(
            refused(&[("a", tar::EntryType::Link, 0o644, b"../../etc/shadow")]).contains("which is no file before")
        );
        assert!(refused(&[("a", tar::EntryType::Char, 0o644, b"")]).contains("neither a file"));
        assert!(refused(&[("a", FILE, 0o644, b"1"), ("./a", FILE, 0o644, b"2")]).contains("twice"));
        let set_user_id = read_all(&deb("Package: a\n", &[("a", FILE, 0o4755, b"")])).unwrap();
        assert_eq!(set_user_id.entries[&"a".parse().unwrap()], Entry::File { mode: 0o755, bytes: Vec::new() });
    }

    #[test]
    fn no_more_is_unpacked_than_allowed() {
        let bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 1).unwrap();
        let control = tar_of(&[("control", FILE, 0o644, b"Package: a\n")]);
        let large = tar_of(&[("a", FILE, 0o644, &[1; 100_000])]);
        let packed = |data: &[u8], name| ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (name, data)]);
        let limits = Limits { unpacked: 50_000, entries: 3 };
        for bytes in [packed(&large, "data.tar"), packed(&bomb, "data.tar.zst")] {
            let error = read(&bytes, limits);
            // A tar of zeros alone ends at once.
            assert!(
                error.is_ok_and(|deb| deb.entries.is_empty())
                    || read(&bytes, limits).unwrap_err().to_string().contains("more than is allowed")
            );
        }
        assert!(read(&packed(&large, "data.tar"), limits).unwrap_err().to_string().contains("more than is allowed"));
        let many = tar_of(&[("a", FILE, 0, b""), ("b", FILE, 0, b""), ("c", FILE, 0, b""), ("d", FILE, 0, b"")]);
        assert!(read(&packed(&many, "data.tar"), limits).unwrap_err().to_string().contains("more than 3 entries"));
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for bytes in [&b""[..], b"!<arch>\n", b"!<arch>\nshort", b"PK\x03\x04"] {
            read_all(bytes).unwrap_err();
        }
        let good = deb("Package: a\n", &[("a", FILE, 0o644, b"bytes")]);
        for length in 0..good.len().min(3000) {
            let _ = read_all(&good[..length]);
        }
        assert!(read_all(&ar(&[("control.tar", b""), ("debian-binary", b"2.0\n")])).is_err());
        assert!(read_all(&ar(&[("debian-binary", b"3.0\n")])).is_err());
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(at in 0_usize..4096, value in any::<u8>()) {
            let mut bytes = deb("Package: a\n", &[("./a", FILE, 0o644, b"bytes"), ("b", tar::EntryType::Link, 0, b"a")]);
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(deb) = read_all(&bytes) {
                for path in deb.entries.keys() {
                    prop_assert!(!path.as_str().contains("..") && !path.as_str().starts_with('/'));
                }
            }
        }
    }
}
