//! The host's apt → the packages of a Debian base, checked, and their files as one layer.
//!
//! The packages come through the host's own apt ([`apt`]), with its sources, mirrors, proxies and keyrings; they are
//! kept in the cache by the digest that the signed index, or the lock, has for them. Nothing is installed: their files
//! are taken out ([`deb`]) and joined ([`root`]).

mod apt;
pub mod deb;
mod error;
mod root;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

pub use apt::Program;
pub use error::Error;
pub use root::Clash;

use apt::{Apt, Candidate};
use deb::{Deb, Entry, Limits};
use error::files;
use root::Root;

use super::closure::{self, Host, Roots};
use super::cuda::Cuda;
use super::error::Architecture;
use super::layer::Contents;
use super::locale::{self, Lacking};
use super::packages::{Package, Resolved, stanzas};
use crate::cache::Cache;
use crate::digest::Digest;

/// What every base has. What else the service's libraries need is found by their names.
const PACKAGES: [&str; 8] =
    ["base-files", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "media-types", "netbase", "tzdata"];

/// What has `C.UTF-8`, which stands in for the locales that a model names.
const LOCALES: &str = "libc-bin";

/// Largest package file that is read.
const LARGEST_PACKAGE: u64 = 64 << 20;
/// Most packages of a base.
const MOST_PACKAGES: usize = 64;

/// What a base is to be made of.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// For which processor.
    pub architecture: Architecture,
    /// The service's binary, whose needs the base has to meet.
    pub binary: &'a Path,
    /// The libraries that it opens by itself.
    pub libraries: &'a [&'a Path],
    /// CUDA, whose needs it has to meet too.
    pub cuda: Option<&'a Cuda>,
    /// Locales that the model names.
    pub locales: &'a BTreeSet<String>,
    /// The packages of an earlier build, of which nothing may differ.
    pub locked: Option<&'a Packages>,
    /// Where indexes and packages are kept.
    pub cache: &'a Cache,
    /// Fetch nothing.
    pub offline: bool,
    /// How to call apt.
    pub apt: Program,
}

/// The packages of a base: for the lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packages {
    /// The release's code name, such as `bookworm`.
    pub release: String,
    /// By name.
    pub packages: BTreeMap<String, Resolved>,
}

/// A base, ready to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianBase {
    /// What it is made of.
    pub packages: Packages,
    pub(super) contents: Contents,
    /// The packages as scanners and bills of materials have them.
    pub(super) owners: Vec<Package>,
    /// What a person should know, in sentences.
    pub(super) warnings: Vec<String>,
}

/// Fetches the packages, or takes them from the cache, and joins their files.
///
/// Fails where a library is needed that no package of the release has.
pub fn provide(request: &Request<'_>) -> Result<DebianBase, super::Error> {
    let mut store = Store::new(request)?;
    let mut chosen = match request.locked {
        Some(locked) => locked.packages.clone(),
        None if request.locales.is_empty() => store.resolve_all(&PACKAGES)?,
        None => store.resolve_all(&[&PACKAGES[..], &[LOCALES]].concat())?,
    };
    loop {
        let debs = store.take(&chosen)?;
        let root = root::merge(debs.iter().map(|(name, deb)| (name.as_str(), deb))).map_err(Error::from)?;
        let (missing, locales) = needed(request, &root)?;
        let missing = match missing {
            None => {
                let packages = Packages { release: store.release()?, packages: chosen };
                return assemble(packages, &debs, &root, &locales);
            }
            Some(missing) => missing,
        };
        let super::Error::MissingLibrary { library, .. } = &missing else { return Err(missing) };
        let found = if request.locked.is_some() { None } else { store.package_of(library)? };
        match found {
            Some((name, resolved)) if !chosen.contains_key(&name) && chosen.len() < MOST_PACKAGES => {
                chosen.insert(name, resolved);
            }
            _ => return Err(missing),
        }
    }
}

/// Walks from the service's files through the root: the library that is missing, as an error, or `None`; and what the root
/// lacks of the locales.
fn needed(request: &Request<'_>, root: &Root) -> Result<(Option<super::Error>, Lacking), super::Error> {
    let folder = tempfile::tempdir().map_err(files("make", &std::env::temp_dir()))?;
    unpack(root, folder.path())?;
    let host = Host { root: folder.path().into() };
    let from = Roots { binary: request.binary, libraries: request.libraries, cuda: request.cuda };
    // Nothing comes from this machine here: what the packages lack, the image lacks.
    let lacking = locale::lacking(Some(&host), None, request.locales);
    match closure::walk(&host, &from, request.architecture) {
        Ok(_) => Ok((None, lacking)),
        Err(error @ super::Error::MissingLibrary { .. }) => Ok((Some(error), lacking)),
        Err(other) => Err(other),
    }
}

/// Writes a root to an empty folder: links last, so that nothing is written through one.
fn unpack(root: &Root, folder: &Path) -> Result<(), Error> {
    let make = |path: &Path| fs::create_dir_all(path).map_err(files("make", path));
    let parent = |path: &Path| make(path.parent().unwrap_or(folder));
    for (path, entry) in root {
        let path = folder.join(path);
        match entry {
            Entry::Folder { .. } => make(&path)?,
            Entry::File { bytes, .. } => {
                parent(&path)?;
                fs::write(&path, bytes).map_err(files("write", &path))?;
            }
            Entry::Link(_) => {}
        }
    }
    for (path, entry) in root {
        if let Entry::Link(target) = entry {
            let path = folder.join(path);
            parent(&path)?;
            std::os::unix::fs::symlink(target, &path).map_err(files("link", &path))?;
        }
    }
    Ok(())
}

/// The layer, and what scanners find in it.
fn assemble(
    packages: Packages,
    debs: &BTreeMap<String, Deb>,
    root: &Root,
    locales: &Lacking,
) -> Result<DebianBase, super::Error> {
    let mut contents = Contents::default();
    for (path, entry) in root {
        match entry {
            Entry::Folder { mode } => contents.folder(path.as_str(), *mode)?,
            Entry::File { mode, bytes } => {
                // Only what may be run is told from what may not: packages differ in little else, and all are readable.
                let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
                contents.bytes(path.as_str(), mode, bytes.clone())?;
            }
            Entry::Link(target) => contents.link(path.as_str(), target)?,
        }
    }
    for (place, target) in &locales.links {
        let place = place.strip_prefix("/").unwrap_or(place).to_string_lossy();
        contents.link(&place, target)?;
    }
    let mut owners = Vec::new();
    for (name, deb) in debs {
        let fields = stanzas(&deb.control).into_iter().next().unwrap_or_default();
        let kept = |path: &str| path.parse().is_ok_and(|path| root.contains_key(&root::merged(&path)));
        let sums = deb.md5sums.lines().filter(|line| line.split_once("  ").is_some_and(|(_, path)| kept(path)));
        let sums: String = sums.map(|line| format!("{line}\n")).collect();
        let own = deb.entries.iter().filter(|(_, entry)| !matches!(entry, Entry::Folder { .. }));
        let own = own.map(|(path, _)| root::merged(path)).filter(|path| root.contains_key(path));
        let places: BTreeSet<PathBuf> = own.map(|path| Path::new("/").join(path.as_str())).collect();
        let damaged = || super::Error::Describe(format!("the package `{name}` doesn't say what it is"));
        let mut package = Package::from_fields(&fields, places, sums).ok_or_else(damaged)?;
        package.digest = packages.packages.get(name).map(|resolved| resolved.digest);
        for (place, bytes) in package.entries() {
            contents.bytes(&place, 0o644, bytes)?;
        }
        owners.push(package);
    }
    Ok(DebianBase { packages, contents, owners, warnings: locales.warnings().collect() })
}

/// apt and the cache; apt is asked only once something has to be.
struct Store<'a> {
    request: &'a Request<'a>,
    /// apt's folder, and what keeps other runs out of it.
    folder: PathBuf,
    _alone: fs::File,
    apt: Option<Apt<'a>>,
}

impl<'a> Store<'a> {
    fn new(request: &'a Request<'a>) -> Result<Self, super::Error> {
        let (folder, alone) = request.cache.alone("apt", request.architecture.oci())?;
        Ok(Store { request, folder, _alone: alone, apt: None })
    }

    fn apt(&mut self) -> Result<&Apt<'a>, Error> {
        if self.apt.is_none() {
            let Request { architecture, offline, apt, .. } = self.request;
            if *offline && !self.folder.join("lists").is_dir() {
                return Err(Error::NotCached { what: "the index of Debian's packages".into() });
            }
            let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
            self.apt = Some(Apt::open(apt, architecture.oci(), &self.folder, !offline, code_name(&host))?);
        }
        Ok(self.apt.as_ref().expect("it was just put there"))
    }

    fn release(&mut self) -> Result<String, Error> {
        match self.request.locked {
            Some(locked) => Ok(locked.release.clone()),
            None => Ok(self.apt()?.release.clone()),
        }
    }

    fn resolve(&mut self, name: &str) -> Result<Candidate, Error> {
        let apt = self.apt()?;
        let none = || Error::NoPackage { name: name.into(), version: None, release: apt.release.clone() };
        apt.show(name)?.ok_or_else(none)
    }

    fn resolve_all(&mut self, names: &[&str]) -> Result<BTreeMap<String, Resolved>, Error> {
        let mut left: VecDeque<String> = names.iter().map(|name| name.to_string()).collect();
        let mut found = BTreeMap::new();
        while let Some(name) = left.pop_front() {
            let candidate = self.resolve(&name)?;
            // The compiler's libraries share their licence and their version by a package of its release's own name.
            let base = |name: &&String| name.starts_with("gcc-") && name.ends_with("-base");
            left.extend(candidate.depends.iter().filter(base).filter(|name| !found.contains_key(*name)).cloned());
            found.insert(name, Resolved { version: candidate.version, digest: candidate.digest });
        }
        Ok(found)
    }

    /// The package that has a library, by the names that Debian's policy gives such packages.
    fn package_of(&mut self, library: &str) -> Result<Option<(String, Resolved)>, Error> {
        for name in package_names(library) {
            if let Some(found) = self.apt()?.show(&name)? {
                return Ok(Some((name, Resolved { version: found.version, digest: found.digest })));
            }
        }
        Ok(None)
    }

    /// The packages themselves, fetched where the cache doesn't have them.
    fn take(&mut self, chosen: &BTreeMap<String, Resolved>) -> Result<BTreeMap<String, Deb>, super::Error> {
        let cache = self.request.cache;
        let place = |resolved: &Resolved| cache.root().join(KIND).join(resolved.digest.hex());
        let missing: Vec<_> =
            chosen.iter().filter(|(_, resolved)| check(&place(resolved), resolved).is_none()).collect();
        let fetched = tempfile::tempdir().map_err(files("make", &std::env::temp_dir()))?;
        if let Some((name, resolved)) = missing.first() {
            if self.request.offline {
                return Err(Error::NotCached { what: format!("`{name}` {}", resolved.version) }.into());
            }
            let wanted: Vec<_> = missing.iter().map(|(name, one)| (name.as_str(), one.version.as_str())).collect();
            self.apt()?.download(&wanted, fetched.path())?;
        }
        let fetched = by_digest(fetched.path())?;
        let mut debs = BTreeMap::new();
        for (name, resolved) in chosen {
            let bytes = cache.take(
                KIND,
                &resolved.digest,
                |entry| check(entry, resolved),
                |stage| {
                    let bytes = fetched.get(&resolved.digest);
                    let bytes = bytes.ok_or_else(|| Error::Digest { name: name.clone(), digest: resolved.digest })?;
                    let path = stage.join(FILE);
                    fs::write(&path, bytes).map_err(files("write", &path))?;
                    Ok::<(), super::Error>(())
                },
            )?;
            let unreadable = |source| Error::Package { name: name.clone(), source };
            debs.insert(name.clone(), deb::read(&bytes, Limits::default()).map_err(unreadable)?);
        }
        Ok(debs)
    }
}

/// The cache's kind of entries for package files, and the file in each.
const KIND: &str = "debian";
const FILE: &str = "package.deb";

/// The package file of a cache entry, if it is what it should be.
fn check(entry: &Path, resolved: &Resolved) -> Option<Vec<u8>> {
    read_package(&entry.join(FILE)).filter(|bytes| Digest::of(bytes) == resolved.digest)
}

fn read_package(path: &Path) -> Option<Vec<u8>> {
    let data = fs::metadata(path).ok()?;
    (data.is_file() && data.len() <= LARGEST_PACKAGE).then(|| fs::read(path).ok())?
}

/// The package files in a folder.
fn by_digest(folder: &Path) -> Result<BTreeMap<Digest, Vec<u8>>, Error> {
    let entries = fs::read_dir(folder).map_err(files("list", folder))?;
    let packages = entries.filter_map(|entry| read_package(&entry.ok()?.path()));
    Ok(packages.map(|bytes| (Digest::of(&bytes), bytes)).collect())
}

/// `libgomp.so.1` → `libgomp1`; a number at the end of the name is kept apart by a dash: `libcap2.so.2` → `libcap2-2`.
/// Since Debian 13, some have a mark for their larger times.
fn package_names(library: &str) -> Vec<String> {
    let Some((stem, version)) = library.split_once(".so.") else { return Vec::new() };
    if stem == "libz" {
        return vec!["zlib1g".into()];
    }
    let stem = stem.to_ascii_lowercase().replace('_', "-");
    let dash = if stem.ends_with(|last: char| last.is_ascii_digit()) { "-" } else { "" };
    let name = format!("{stem}{dash}{version}");
    [name.clone(), format!("{name}t64")].into_iter().filter(|name| apt::is_word(name)).collect()
}

/// The code name of the release in an `os-release`, where that is Debian's own.
fn code_name(text: &str) -> Option<&str> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_matches('"'));
    field("VERSION_CODENAME=").filter(|_| field("ID=") == Some("debian"))
}

#[cfg(test)]
mod tests;
