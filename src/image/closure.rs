//! The libraries that the service binary and ONNX Runtime need on this machine, and nothing else.
//!
//! `DT_NEEDED` is walked from the roots as glibc's loader would: `DT_RUNPATH`, then the loader's cache, then its
//! default folders. In the image every library stands in the folder of the C library, which the loader always
//! searches, so that neither a cache nor a path setting is needed there.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::cuda::Cuda;
use super::elf::{self, Elf};
use super::error::{Architecture, Error, files};
use super::ldcache;

/// A machine's file system, as far as the closure reads it: `/` in earnest, a made-up folder in tests.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) root: PathBuf,
}

/// The files of the closure, by their absolute place in the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closure {
    /// Place in the image → file on this machine.
    pub files: BTreeMap<PathBuf, PathBuf>,
    /// Symbolic links that lead there, such as `/lib64` → `usr/lib64`: place → target as written.
    pub links: BTreeMap<PathBuf, PathBuf>,
}

/// Most symbolic links followed for one path, as in the kernel.
const MOST_LINKS: usize = 40;

/// Walks from `binary` and `libraries` (what the binary opens by itself) to everything that the loader will ask for.
///
/// The roots themselves are not part of the result.
pub fn closure(binary: &Path, libraries: &[&Path], architecture: Architecture) -> Result<Closure, Error> {
    walk(&Host { root: "/".into() }, &Roots { binary, libraries, cuda: None }, architecture)
}

/// From where the walk begins.
#[derive(Clone, Copy)]
pub(super) struct Roots<'a> {
    pub(super) binary: &'a Path,
    pub(super) libraries: &'a [&'a Path],
    /// What needs not be found: it is in layers of its own, or comes with a driver. Its own needs are walked.
    pub(super) cuda: Option<&'a Cuda>,
}

pub(super) fn walk(host: &Host, from: &Roots<'_>, architecture: Architecture) -> Result<Closure, Error> {
    let (mut walk, loader) = Walk::new(host, None, from, architecture)?;
    walk.run()?;
    if walk.needs_name_service_modules() {
        for module in ["libnss_files.so.2", "libnss_dns.so.2"] {
            walk.queue.push_back((module.into(), "libc.so.6".into(), Vec::new()));
        }
        walk.run()?;
    }
    walk.place(&loader)
}

/// What a base image's own libraries lack of what `binary` and `libraries` ask for: the place in the base → the file on
/// this machine. `None` where the base has no glibc of its own to go by.
pub(super) fn lacking(
    base: &Host,
    machine: &Host,
    from: &Roots<'_>,
    architecture: Architecture,
) -> Result<Option<BTreeMap<PathBuf, PathBuf>>, Error> {
    let (mut walk, loader) = Walk::new(base, Some(machine), from, architecture)?;
    let own = walk.look_up_on(base, &walk.names, "libc.so.6", &[]);
    let is_glibc = |libc: &Library| libc.elf.versions_defined.iter().any(|version| version.starts_with("GLIBC_2."));
    let loader = base.resolve(Path::new(&loader), |_, _| ()).filter(|path| path.is_file());
    let Some(libc) = own.filter(is_glibc).filter(|_| loader.is_some()) else { return Ok(None) };
    walk.run()?;
    let folder = libc.path.parent().and_then(|folder| base.resolve(folder, |_, _| ()));
    let folder = folder.map_or("/usr/lib".into(), |folder| base.absolute(&folder));
    let lent = walk.found.iter().filter(|(_, library)| library.lent);
    let lent = lent.filter_map(|(name, library)| Some((folder.join(name), machine.resolve(&library.path, |_, _| ())?)));
    Ok(Some(lent.collect()))
}

/// A library as found: its path as the loader would open it, without the host's root, and what is in it.
struct Library {
    path: PathBuf,
    elf: Elf,
    /// Whether the other machine has it.
    lent: bool,
}

struct Walk<'a> {
    host: &'a Host,
    /// Where a library is looked for that the host lacks, with that one's cache.
    lender: Option<(&'a Host, BTreeMap<String, PathBuf>)>,
    architecture: Architecture,
    cuda: Option<&'a Cuda>,
    /// The loader's cache.
    names: BTreeMap<String, PathBuf>,
    /// The binary first.
    roots: Vec<Library>,
    /// By the name that was asked for.
    found: BTreeMap<String, Library>,
    /// (name, who needs it, where that one says to look).
    queue: VecDeque<(String, PathBuf, Vec<PathBuf>)>,
}

impl<'a> Walk<'a> {
    /// A walk that begins at the roots, and the loader that the binary names.
    fn new(
        host: &'a Host,
        lender: Option<&'a Host>,
        from: &Roots<'a>,
        architecture: Architecture,
    ) -> Result<(Self, String), Error> {
        let names =
            |host: &Host| ldcache::parse(&fs::read(host.at("/etc/ld.so.cache")).unwrap_or_default(), architecture);
        let mut walk = Walk {
            host,
            lender: lender.map(|lender| (lender, names(lender))),
            architecture,
            cuda: from.cuda,
            names: names(host),
            roots: Vec::new(),
            found: BTreeMap::new(),
            queue: VecDeque::new(),
        };
        let cuda = from.cuda.into_iter().flat_map(Cuda::libraries);
        for path in [from.binary].into_iter().chain(from.libraries.iter().copied()).chain(cuda) {
            let path = std::path::absolute(path).map_err(files("find", path))?;
            let elf = elf::read(&path)?;
            elf.expect(architecture, &path)?;
            let root = Library { path, elf, lent: false };
            walk.queue_needs(&root);
            walk.roots.push(root);
        }
        let loader = walk.roots[0].elf.loader.clone().ok_or_else(|| Error::Static { path: from.binary.into() })?;
        Ok((walk, loader))
    }

    fn queue_needs(&mut self, library: &Library) {
        let origin = library.path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let folder = |part: &String| part.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).into();
        let search: Vec<PathBuf> = library.elf.search.iter().map(folder).collect();
        for name in &library.elf.needed {
            self.queue.push_back((name.clone(), library.path.clone(), search.clone()));
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        while let Some((name, needed_by, search)) = self.queue.pop_front() {
            if self.found.contains_key(&name) || self.cuda.is_some_and(|cuda| cuda.gives(&name)) {
                continue;
            }
            let missing = || Error::MissingLibrary { library: name.clone(), needed_by: needed_by.clone() };
            let library = self.look_up(&name, &search).ok_or_else(missing)?;
            self.queue_needs(&library);
            self.found.insert(name, library);
        }
        self.check_versions()
    }

    fn look_up(&self, name: &str, search: &[PathBuf]) -> Option<Library> {
        self.look_up_on(self.host, &self.names, name, search).or_else(|| {
            let (lender, names) = self.lender.as_ref()?;
            let library = self.look_up_on(lender, names, name, search)?;
            Some(Library { lent: true, ..library })
        })
    }

    fn look_up_on(
        &self,
        host: &Host,
        names: &BTreeMap<String, PathBuf>,
        name: &str,
        search: &[PathBuf],
    ) -> Option<Library> {
        let triplet = format!("{}-linux-gnu", self.architecture.kernel());
        let defaults = [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")].map(PathBuf::from);
        let plain = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"].map(PathBuf::from);
        let cached = names.get(name).and_then(|path| path.parent()).map(Path::to_path_buf);
        let folders = search.iter().cloned().chain(cached).chain(defaults).chain(plain);
        // A file of another architecture under the right name is passed over, as the loader does.
        folders.map(|folder| folder.join(name)).find_map(|path| {
            let elf = elf::read(&host.resolve(&path, |_, _| ())?).ok()?;
            (elf.machine == self.architecture.oci()).then_some(Library { path, elf, lent: false })
        })
    }

    fn check_versions(&self) -> Result<(), Error> {
        for user in self.roots.iter().chain(self.found.values()) {
            for (name, version) in &user.elf.versions_needed {
                let Some(library) = self.found.get(name) else { continue };
                let defined = &library.elf.versions_defined;
                if !defined.is_empty() && !defined.contains(version) {
                    return Err(Error::MissingVersion {
                        library: name.clone(),
                        version: version.clone(),
                        found: library.path.clone(),
                        needed_by: user.path.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn needs_name_service_modules(&self) -> bool {
        self.found.get("libc.so.6").is_some_and(|libc| is_before_2_34(&libc.elf))
    }

    fn place(&self, loader: &str) -> Result<Closure, Error> {
        let mut closure = Closure::default();
        let gone =
            |path: &Path| files("resolve", path)(std::io::Error::new(std::io::ErrorKind::NotFound, "it leads nowhere"));
        let loader = Path::new(loader);
        let real = self.host.resolve(loader, |link, target| drop(closure.links.insert(link, target)));
        let real = real.ok_or_else(|| gone(loader))?;
        closure.files.insert(self.host.absolute(&real), real);
        let libc = self.found.get("libc.so.6").and_then(|libc| self.host.resolve(&libc.path, |_, _| ()));
        let folder = libc.as_deref().and_then(Path::parent).map(|folder| self.host.absolute(folder));
        for (name, library) in &self.found {
            let mut links = BTreeMap::new();
            let real = self.host.resolve(&library.path, |link, target| drop(links.insert(link, target)));
            let real = real.ok_or_else(|| gone(&library.path))?;
            let at_home = self.host.absolute(&real).parent().map(Path::to_path_buf) == folder;
            match &folder {
                // A library from elsewhere moves to where the loader looks without being told.
                Some(folder) if !at_home && !name.starts_with('/') => {
                    closure.files.insert(folder.join(name), real);
                }
                _ => {
                    closure.files.insert(self.host.absolute(&real), real);
                    closure.links.extend(links);
                }
            }
        }
        Ok(closure)
    }
}

/// Since 2.34, the modules `files` and `dns` are in the C library itself.
fn is_before_2_34(libc: &Elf) -> bool {
    let minor = |version: &String| version.strip_prefix("GLIBC_2.")?.split('.').next()?.parse::<u32>().ok();
    libc.versions_defined.iter().filter_map(minor).max().is_some_and(|newest| newest < 34)
}

impl Host {
    /// The path on this machine of what the image calls `path`.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The reverse of [`Host::at`].
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(path))
    }

    /// Follows every symbolic link on the way to `path`, telling each to `link` (place, target). `None` if it leads
    /// nowhere or in circles.
    pub(super) fn resolve(&self, path: &Path, mut link: impl FnMut(PathBuf, PathBuf)) -> Option<PathBuf> {
        let mut left: VecDeque<PathBuf> = parts(path);
        let mut done = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == Path::new("..") {
                done.pop();
                continue;
            }
            let next = done.join(&part);
            let data = fs::symlink_metadata(self.at(&next)).ok()?;
            if !data.is_symlink() {
                done = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            let target = fs::read_link(self.at(&next)).ok()?;
            if target.is_absolute() {
                done = "/".into();
            }
            for part in parts(&target).into_iter().rev() {
                left.push_front(part);
            }
            link(next, target);
        }
        Some(self.at(done))
    }
}

fn parts(path: &Path) -> VecDeque<PathBuf> {
    let named = |part: Component<'_>| match part {
        Component::Normal(part) => Some(part.into()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn this_test() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    fn architecture() -> Architecture {
        Architecture::host().unwrap()
    }

    #[test]
    fn the_closure_of_this_test_has_loader_and_c_library_in_one_place() {
        let found = closure(&this_test(), &[], architecture()).unwrap();
        let libc = found.files.keys().find(|path| path.ends_with("libc.so.6")).unwrap();
        assert!(found.files.keys().any(|path| path.to_string_lossy().contains("/ld-linux")), "{found:?}");
        for (place, file) in &found.files {
            assert!(file.is_file(), "{}", file.display());
            let link = found.links.keys().any(|link| place.starts_with(link));
            assert!(!link, "`{}` stands below a link", place.display());
        }
        assert!(found.files.keys().filter(|place| place.parent() == libc.parent()).count() > 2, "{found:?}");
    }

    #[test]
    fn a_library_that_is_nowhere_is_named_with_who_needs_it() {
        let empty = tempfile::tempdir().unwrap();
        let test = this_test();
        let from = Roots { binary: &test, libraries: &[], cuda: None };
        let error = walk(&Host { root: empty.path().into() }, &from, architecture()).unwrap_err();
        let Error::MissingLibrary { library, needed_by } = error else { panic!("{error}") };
        assert!(library.contains(".so"));
        assert_eq!(needed_by, this_test());
    }

    #[test]
    fn another_processor_is_refused() {
        let other = match architecture() {
            Architecture::Amd64 => Architecture::Arm64,
            Architecture::Arm64 => Architecture::Amd64,
        };
        assert!(matches!(closure(&this_test(), &[], other), Err(Error::Machine { .. })));
    }

    fn library(path: &str, needs: &[(&str, &str)], defines: &[&str]) -> Library {
        let elf = Elf {
            versions_needed: needs
                .iter()
                .map(|(library, version)| (library.to_string(), version.to_string()))
                .collect(),
            versions_defined: defines.iter().map(|version| version.to_string()).collect(),
            ..Elf::default()
        };
        Library { path: path.into(), elf, lent: false }
    }

    #[test]
    fn a_c_library_that_is_too_old_is_named_with_who_needs_more() {
        let host = Host { root: "/".into() };
        let check = |libc: &[&str]| {
            let found = BTreeMap::from([("libc.so.6".to_string(), library("/lib/libc.so.6", &[], libc))]);
            let roots = vec![library("/service", &[("libc.so.6", "GLIBC_2.34")], &[])];
            let names = BTreeMap::new();
            Walk {
                host: &host,
                lender: None,
                architecture: architecture(),
                cuda: None,
                names,
                roots,
                found,
                queue: VecDeque::new(),
            }
            .check_versions()
        };
        assert!(check(&["GLIBC_2.28", "GLIBC_2.34"]).is_ok());
        let error = check(&["GLIBC_2.28"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "`/service` needs version `GLIBC_2.34` of `libc.so.6`, which `/lib/libc.so.6` doesn't provide"
        );
    }

    #[test]
    fn name_service_modules_are_apart_before_glibc_2_34() {
        for (newest, before) in [("GLIBC_2.28", true), ("GLIBC_2.33", true), ("GLIBC_2.34", false), ("GLIBC_2.4", true)]
        {
            let libc = library("", &[], &["GLIBC_2.2.5", "GLIBC_PRIVATE", newest]);
            assert_eq!(is_before_2_34(&libc.elf), before, "{newest}");
        }
    }

    #[test]
    fn links_are_followed_and_told_and_circles_end() {
        let home = tempfile::tempdir().unwrap();
        let host = Host { root: home.path().into() };
        fs::create_dir_all(host.at("/usr/lib/x")).unwrap();
        fs::write(host.at("/usr/lib/x/real.so.1.2"), "").unwrap();
        symlink("usr/lib", host.at("/lib")).unwrap();
        symlink("real.so.1.2", host.at("/usr/lib/x/a.so")).unwrap();
        symlink("/lib/x/../x/a.so", host.at("/usr/b.so")).unwrap();
        symlink("loop", host.at("/loop")).unwrap();
        let mut links = Vec::new();
        let real = host.resolve(Path::new("/usr/b.so"), |link, target| links.push((link, target))).unwrap();
        assert_eq!(host.absolute(&real), Path::new("/usr/lib/x/real.so.1.2"));
        let told: Vec<_> =
            links.iter().map(|(link, target)| (link.to_str().unwrap(), target.to_str().unwrap())).collect();
        assert_eq!(told, [("/usr/b.so", "/lib/x/../x/a.so"), ("/lib", "usr/lib"), ("/usr/lib/x/a.so", "real.so.1.2")]);
        assert_eq!(host.resolve(Path::new("/loop"), |_, _| ()), None);
        assert_eq!(host.resolve(Path::new("/none"), |_, _| ()), None);
    }
}
