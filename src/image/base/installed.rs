//! The packages that an image from elsewhere says it consists of: from dpkg's status, in one file or one a package, and
//! from apk's list.
//!
//! It is what the image says of itself, read as a scanner would read it. What can't be read is passed over: a base is
//! none the worse for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::closure::Host;
use super::super::packages::stanzas;

/// Where dpkg keeps its packages, all in one file.
const STATUS: &str = "var/lib/dpkg/status";
/// Where an image without dpkg itself has one file a package.
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d";
/// Where apk keeps its packages, today and in a system whose `/lib` is in `/usr`.
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
/// Where rpm keeps its own: databases, which are not read.
const RPM: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
const RELEASES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Largest list that is read, bytes: that of a whole desktop is a tenth of it.
const LARGEST: u64 = 64 << 20;

/// Which package manager a package is of, as package URLs call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// dpkg: `deb`.
    Deb,
    /// Alpine's: `apk`.
    Apk,
}

/// A package that a base has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstalledPackage {
    /// Of which package manager.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture as the distribution writes it.
    pub architecture: String,
    /// The source package, by which vulnerabilities are tracked.
    pub source: String,
}

/// What a base says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installed {
    /// Its packages, sorted.
    pub packages: Vec<InstalledPackage>,
    /// The `ID` in its `os-release`: `debian`, `alpine`.
    pub distribution: Option<String>,
    /// The `VERSION_ID` in it: `12`, `3.23.2`.
    pub version: Option<String>,
    /// Whether it has packages of rpm, whose database is not read.
    pub has_rpm: bool,
}

/// Whether a file of a base has to be looked at for [`read`].
pub(super) fn is_read(path: &Path) -> bool {
    path == Path::new(STATUS)
        || path.parent() == Some(Path::new(STATUS_FOLDER)) && !is_sums(path)
        || APK.iter().chain(&RELEASES).any(|known| path == Path::new(known))
}

fn is_sums(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md5sums")
}

/// What the file system of a base says.
pub(super) fn read(base: &Host) -> Installed {
    let mut packages = dpkg(&text(base, STATUS), true);
    for path in entries(base) {
        packages.extend(dpkg(&text(base, &path), false));
    }
    packages.extend(APK.iter().flat_map(|path| apk(&text(base, path))));
    packages.sort();
    packages.dedup();
    let release = RELEASES.iter().map(|path| text(base, path)).find(|text| !text.is_empty()).unwrap_or_default();
    Installed {
        packages,
        distribution: super::distribution(&release),
        version: super::release_field(&release, "VERSION_ID="),
        has_rpm: RPM.iter().any(|folder| base.resolve(Path::new(folder), |_, _| ()).is_some()),
    }
}

/// The files of [`STATUS_FOLDER`], sorted.
fn entries(base: &Host) -> Vec<PathBuf> {
    let folder = base.resolve(&Path::new("/").join(STATUS_FOLDER), |_, _| ());
    let Some(Ok(found)) = folder.map(fs::read_dir) else { return Vec::new() };
    let mut paths: Vec<_> = found.flatten().map(|entry| Path::new(STATUS_FOLDER).join(entry.file_name())).collect();
    paths.retain(|path| !is_sums(path));
    paths.sort();
    paths
}

/// The text of a file of the base; empty where it has none.
fn text(base: &Host, path: impl AsRef<Path>) -> String {
    let found = base.resolve(&Path::new("/").join(path), |_, _| ());
    let small = |file: &PathBuf| fs::metadata(file).is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
    let bytes = found.filter(small).and_then(|file| fs::read(file).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The packages of control fields; of a status file only those that are installed.
fn dpkg(text: &str, has_status: bool) -> Vec<InstalledPackage> {
    let package = |fields: &BTreeMap<String, String>| {
        let is_installed = fields.get("Status").is_some_and(|status| status.ends_with(" installed"));
        let field = |name: &str| fields.get(name).filter(|text| !text.is_empty()).cloned();
        let name = field("Package").filter(|_| is_installed || !has_status)?;
        // `Source: glibc (2.36-9)` where the source has another version.
        let source = field("Source").and_then(|text| text.split_whitespace().next().map(String::from));
        let (version, architecture) = (field("Version")?, field("Architecture").unwrap_or_default());
        let source = source.unwrap_or_else(|| name.clone());
        Some(InstalledPackage { manager: Manager::Deb, name, version, architecture, source })
    };
    stanzas(text).iter().filter_map(package).collect()
}

/// The packages of apk's list: paragraphs of lines of a letter, a colon, and what it says.
fn apk(text: &str) -> Vec<InstalledPackage> {
    let package = |paragraph: &str| {
        let field = |key: &str| {
            let value = paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            value.map(str::trim).filter(|text| !text.is_empty()).map(String::from)
        };
        let (name, version) = (field("P")?, field("V")?);
        let source = field("o").unwrap_or_else(|| name.clone());
        let architecture = field("A").unwrap_or_default();
        Some(InstalledPackage { manager: Manager::Apk, name, version, architecture, source })
    };
    text.split("\n\n").filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(packages: &[InstalledPackage]) -> Vec<String> {
        let one = |package: &InstalledPackage| {
            let InstalledPackage { manager, name, version, architecture, source } = package;
            format!("{manager:?} {name} {version} {architecture} of {source}")
        };
        packages.iter().map(one).collect()
    }

    #[test]
    fn packages_are_read_from_wherever_a_base_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            STATUS,
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u1\n\n\
             Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
        );
        write(&format!("{STATUS_FOLDER}/netbase"), "Package: netbase\nArchitecture: all\nVersion: 6.4\n");
        write(&format!("{STATUS_FOLDER}/netbase.md5sums"), "Package: sums\nVersion: 1\n");
        write(
            APK[0],
            "C:Q1x=\nP:musl\nV:1.2.5-r9\nA:x86_64\no:musl\nL:MIT\nF:lib\nR:ld-musl-x86_64.so.1\n\nP:libcrypto3\nV:3.5-r0\nA:x86_64\no:openssl\n",
        );
        write(RELEASES[1], "NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
        fs::create_dir_all(home.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("../usr/lib/os-release", home.path().join("etc/os-release")).unwrap();
        let base = Host { root: home.path().into() };
        let found = read(&base);
        let expected = [
            "Deb libc6 2.36-9+deb12u1 amd64 of glibc",
            "Deb netbase 6.4 all of netbase",
            "Apk libcrypto3 3.5-r0 x86_64 of openssl",
            "Apk musl 1.2.5-r9 x86_64 of musl",
        ];
        assert_eq!(named(&found.packages), expected);
        assert_eq!((found.distribution.as_deref(), found.version.as_deref()), (Some("debian"), Some("12")));
        assert!(!found.has_rpm);
        write("usr/lib/sysimage/rpm/rpmdb.sqlite", "");
        assert!(read(&base).has_rpm);
    }

    #[test]
    fn what_is_read_is_kept_when_a_base_is_unpacked() {
        for path in [STATUS, APK[0], APK[1], "var/lib/dpkg/status.d/libc6", "etc/os-release"] {
            assert!(is_read(Path::new(path)), "{path}");
        }
        for path in ["home/var/lib/dpkg/status", "var/lib/dpkg/status.d/libc6.md5sums", "var/lib/dpkg/status-old"] {
            assert!(!is_read(Path::new(path)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_packages_with_name_and_version(
            text in "((Package|Version|Status|P|V|o): ?[a-z 0-9]{0,6}\n|\n|[^\n]{0,8}\n){0,20}",
        ) {
            for package in dpkg(&text, true).into_iter().chain(dpkg(&text, false)).chain(apk(&text)) {
                prop_assert!(!package.name.is_empty() && !package.version.is_empty());
            }
        }
    }
}
