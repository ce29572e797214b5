//! Which distribution packages own the files of the base layer, written so that scanners find them.
//!
//! Scanners read `/var/lib/dpkg/status.d/<package>` (the control fields) and `<package>.md5sums`. On a host without
//! dpkg there are no owners, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::closure::Host;
use crate::digest::Digest;

/// A package that a package manager has settled on: one of Debian's, a wheel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Its version.
    pub version: String,
    /// Of the package's file.
    pub digest: Digest,
}

/// A distribution package that owns files of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture as the distribution writes it.
    pub architecture: String,
    /// The source package, by which vulnerabilities are tracked.
    pub source: String,
    /// The package file that it was taken from; `None` where it is installed on the machine that built.
    pub digest: Option<Digest>,
    /// Its files in the image, absolute.
    pub files: BTreeSet<PathBuf>,
    /// The control fields, as they go into the image.
    control: String,
    /// `<md5>  <path>` lines of the files in the image.
    md5sums: String,
}

/// The control fields that describe the package itself and don't change with how a host uses it.
const FIELDS: [&str; 10] = [
    "Package",
    "Essential",
    "Source",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Maintainer",
    "Section",
    "Homepage",
    "Description",
];

const DATABASE: &str = "/var/lib/dpkg";

/// The packages that own `files` (absolute paths on the host, links resolved), and those of `also` that are
/// installed, sorted by name.
pub(super) fn owners(host: &Host, files: &BTreeSet<PathBuf>, also: &[&str]) -> Vec<Package> {
    let stanzas = status(&fs::read_to_string(host.at(Path::new(DATABASE).join("status"))).unwrap_or_default());
    let mut owned = owned_files(host, files);
    for (name, stanza) in &stanzas {
        if also.contains(&stanza.get("Package").map_or("", String::as_str)) {
            owned.entry(name.clone()).or_default();
        }
    }
    let package = |(name, files): (String, BTreeSet<PathBuf>)| {
        let sums = md5sums(host, &name, &files);
        Package::from_fields(stanzas.get(&name)?, files, sums)
    };
    owned.into_iter().filter_map(package).collect()
}

impl Package {
    /// The package with these control fields; `None` if they name none.
    pub(super) fn from_fields(
        fields: &BTreeMap<String, String>,
        files: BTreeSet<PathBuf>,
        md5sums: String,
    ) -> Option<Self> {
        let field = |name: &str| fields.get(name).cloned();
        let control: String = FIELDS.iter().filter_map(|name| Some(format!("{name}: {}\n", field(name)?))).collect();
        Some(Package {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            source: field("Source").or_else(|| field("Package"))?,
            digest: None,
            files,
            control,
            md5sums,
        })
    }

    /// Whether a file of the image, by its absolute place, is one of the package's.
    pub fn owns(&self, place: &str) -> bool {
        // Libraries may stand in the image in another folder than on the host, and never two of one name.
        let name = Path::new(place).file_name();
        let documents = Path::new("/usr/share/doc").join(&self.name);
        Path::new(place).starts_with(documents) || self.files.iter().any(|file| file.file_name() == name)
    }

    /// One for tests.
    #[cfg(test)]
    pub(crate) fn made_up(name: &str, version: &str, files: &[&str]) -> Self {
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
            source: name.into(),
            digest: None,
            files: files.iter().map(PathBuf::from).collect(),
            control: String::new(),
            md5sums: String::new(),
        }
    }

    /// The entries for scanners: place in the image and bytes.
    pub(super) fn entries(&self) -> [(String, Vec<u8>); 2] {
        let place = format!("var/lib/dpkg/status.d/{}", self.name);
        [(format!("{place}.md5sums"), self.md5sums.clone().into()), (place, self.control.clone().into())]
    }
}

/// Name as dpkg's files have it (`libc6:amd64`, `base-files`) → the files it owns among `files`.
fn owned_files(host: &Host, files: &BTreeSet<PathBuf>) -> BTreeMap<String, BTreeSet<PathBuf>> {
    let mut owned: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    // By name first: nearly every line of every list is dismissed by one look-up.
    let names: BTreeSet<_> = files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let Ok(lists) = fs::read_dir(host.at(Path::new(DATABASE).join("info"))) else { return owned };
    for list in lists.filter_map(Result::ok) {
        let file = list.file_name();
        let Some(package) = file.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
        let text = fs::read_to_string(list.path()).unwrap_or_default();
        let ours = text.lines().filter(|line| names.contains(line.rsplit('/').next().unwrap_or(line)));
        // A list may name a file by way of a link (`/lib/…` on a merged `/usr`), and links that lead to it.
        let real = ours.filter_map(|line| Some((line, host.absolute(&host.resolve(Path::new(line), |_, _| ())?))));
        for (line, real) in real {
            if files.contains(&real) && real.file_name() == Path::new(line).file_name() {
                owned.entry(package.into()).or_default().insert(real);
            }
        }
    }
    owned
}

/// The stanzas of dpkg's status file that are installed, by the names of their list files.
fn status(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut installed = BTreeMap::new();
    for fields in stanzas(text) {
        let get = |name: &str| fields.get(name).map_or("", String::as_str);
        if !get("Status").ends_with(" installed") {
            continue;
        }
        let name = match get("Multi-Arch") {
            "same" => format!("{}:{}", get("Package"), get("Architecture")),
            _ => get("Package").into(),
        };
        installed.insert(name, fields);
    }
    installed
}

/// The stanzas of a text of control fields, each as its fields.
pub(super) fn stanzas(text: &str) -> Vec<BTreeMap<String, String>> {
    let stanza = |text: &str| {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = fields.get_mut(&last) {
                    value.push('\n');
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                last = name.into();
                fields.insert(last.clone(), value.trim().into());
            }
        }
        fields
    };
    text.split("\n\n").map(stanza).filter(|fields| !fields.is_empty()).collect()
}

/// The lines of the package's list of checksums that are about `files`.
fn md5sums(host: &Host, package: &str, files: &BTreeSet<PathBuf>) -> String {
    let list = Path::new(DATABASE).join("info").join(format!("{package}.md5sums"));
    let text = fs::read_to_string(host.at(list)).unwrap_or_default();
    let ours = |line: &&str| {
        let path = line.split_once("  ").map(|(_, path)| Path::new("/").join(path));
        path.and_then(|path| host.resolve(&path, |_, _| ())).is_some_and(|real| files.contains(&host.absolute(&real)))
    };
    text.lines().filter(ours).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(home: &Path) -> Host {
        let host = Host { root: home.into() };
        let write = |path: &str, text: &str| {
            fs::create_dir_all(host.at(path).parent().unwrap()).unwrap();
            fs::write(host.at(path), text).unwrap();
        };
        write("/usr/lib/x/liba.so.1.2", "");
        write("/usr/lib/x/README", "");
        std::os::unix::fs::symlink("usr/lib", host.at("/lib")).unwrap();
        std::os::unix::fs::symlink("liba.so.1.2", host.at("/usr/lib/x/liba.so")).unwrap();
        write("/var/lib/dpkg/info/liba1:amd64.list", "/.\n/lib\n/lib/x\n/lib/x/liba.so.1.2\n/lib/x/README\n");
        write("/var/lib/dpkg/info/liba1:amd64.md5sums", "0123  lib/x/liba.so.1.2\n4567  lib/x/README\n");
        write("/var/lib/dpkg/info/liba-dev.list", "/usr/lib/x/liba.so\n");
        write(
            "/var/lib/dpkg/status",
            "Package: liba1\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\nVersion: 1.2-3\n\
             Source: a (1.2)\nConffiles:\n /etc/a 00\nDescription: A\n for all\n .\n of us\n\n\
             Package: liba-dev\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
             Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
             Package: certs\nStatus: install ok installed\nArchitecture: all\nVersion: 7\n",
        );
        host
    }

    #[test]
    fn the_owner_is_found_through_the_merged_usr() {
        let home = tempfile::tempdir().unwrap();
        let files = BTreeSet::from(["/usr/lib/x/liba.so.1.2".into()]);
        let found = owners(&host(home.path()), &files, &["certs", "gone"]);
        assert_eq!(found.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["certs", "liba1"]);
        let owner = &found[1];
        assert_eq!((owner.version.as_str(), owner.source.as_str(), &owner.files), ("1.2-3", "a (1.2)", &files));
        let [(sums_at, sums), (control_at, control)] = owner.entries();
        assert_eq!(sums_at, "var/lib/dpkg/status.d/liba1.md5sums");
        assert_eq!(String::from_utf8(sums).unwrap(), "0123  lib/x/liba.so.1.2\n");
        assert_eq!(control_at, "var/lib/dpkg/status.d/liba1");
        let control = String::from_utf8(control).unwrap();
        assert!(control.starts_with("Package: liba1\nSource: a (1.2)\nVersion: 1.2-3\n"), "{control}");
        assert!(control.ends_with("Description: A\n for all\n .\n of us\n"), "{control}");
    }

    #[test]
    fn a_host_without_dpkg_has_no_owners() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(owners(&Host { root: home.path().into() }, &BTreeSet::from(["/a".into()]), &["certs"]), []);
    }
}
