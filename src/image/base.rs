//! The base layer: the closure's libraries, certificates, and the few files in `/etc` that programs look for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::closure::{Closure, Host};
use super::error::{Error, files};
use super::layer::Contents;
use super::packages::{self, Package};
use crate::digest::Digest;

/// The numeric user and group that services run as.
pub const USER: u32 = 65532;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      nonroot:x:65532:65532:nonroot:/nimify:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n";

/// Where distributions keep the bundle of certificate authorities; in the image it stands at the first of these.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// One file that the base layer takes from this machine: for the lock file and the bill of materials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// Its place in the image, absolute.
    pub place: PathBuf,
    /// Its bytes.
    pub digest: Digest,
}

/// What the base layer was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base {
    /// Files of this machine, sorted by place.
    pub files: Vec<BaseFile>,
    /// Their owners, sorted by name; none on a host without dpkg.
    pub packages: Vec<Package>,
    /// The `ID` of the host's distribution, such as `debian`.
    pub distribution: Option<String>,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

/// Lists the base layer around `closure`.
pub(super) fn base(host: &Host, closure: &Closure) -> Result<(Contents, Base), Error> {
    let mut contents = Contents::default();
    let mut base = Base::default();
    let mut owned = BTreeSet::new();
    for (place, target) in &closure.links {
        contents.link(below_root(place)?, target)?;
    }
    for (place, file) in &closure.files {
        let digest = contents.file(below_root(place)?, 0o755, file)?;
        base.files.push(BaseFile { place: place.clone(), digest });
        owned.insert(host.absolute(file));
    }
    contents.bytes("etc/passwd", 0o644, PASSWD)?;
    contents.bytes("etc/group", 0o644, GROUP)?;
    contents.bytes("etc/nsswitch.conf", 0o644, NSSWITCH)?;
    contents.folder("tmp", 0o1777)?;
    if let Some(file) = host.resolve(Path::new("/etc/os-release"), |_, _| ()) {
        let digest = contents.file("etc/os-release", 0o644, &file)?;
        base.distribution = distribution(&fs::read_to_string(&file).map_err(files("read", &file))?);
        base.files.push(BaseFile { place: "/etc/os-release".into(), digest });
        owned.insert(host.absolute(&file));
    }
    let bundle = CERTIFICATES.iter().find_map(|path| host.resolve(Path::new(path), |_, _| ()));
    match bundle {
        Some(file) => {
            let place = CERTIFICATES[0];
            let digest = contents.file(below_root(Path::new(place))?, 0o644, &file)?;
            base.files.push(BaseFile { place: place.into(), digest });
        }
        None => base.warnings.push("this machine has no certificate bundle: the image has none either".into()),
    }
    // The bundle is generated on the host: no package lists it as its file.
    base.packages = packages::owners(host, &owned, if bundle_is_there(&base) { &["ca-certificates"] } else { &[] });
    for package in &base.packages {
        for (place, bytes) in package.entries() {
            contents.bytes(&place, 0o644, bytes)?;
        }
        let place = format!("/usr/share/doc/{}/copyright", package.name);
        if let Some(file) = host.resolve(Path::new(&place), |_, _| ()) {
            // Bytes, not a file: it may be gone at any time, and is small.
            let bytes = fs::read(&file).map_err(files("read", &file))?;
            base.files.push(BaseFile { place: PathBuf::from(&place), digest: Digest::of(&bytes) });
            contents.bytes(&place[1..], 0o644, bytes)?;
        }
    }
    base.files.sort_by(|a, b| a.place.cmp(&b.place));
    Ok((contents, base))
}

/// The `ID` in an `os-release`: lower-case letters, digits, and few signs, as its manual page has it.
fn distribution(text: &str) -> Option<String> {
    let id = text.lines().find_map(|line| line.strip_prefix("ID="))?.trim_matches(['"', '\'']);
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (!id.is_empty() && id.bytes().all(plain)).then(|| id.into())
}

fn bundle_is_there(base: &Base) -> bool {
    base.files.iter().any(|file| file.place == Path::new(CERTIFICATES[0]))
}

fn below_root(path: &Path) -> Result<&str, Error> {
    let text = path.to_str().and_then(|path| path.strip_prefix('/'));
    text.ok_or_else(|| Error::Describe(format!("`{}` can't be a path in the image", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_gives_a_bare_base_with_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let host = Host { root: home.path().into() };
        let (_, base) = base(&host, &Closure::default()).unwrap();
        assert_eq!((base.files.len(), base.packages.len(), base.warnings.len()), (0, 0, 1));
    }

    #[test]
    fn certificates_and_release_are_taken_from_wherever_the_host_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let host = Host { root: home.path().into() };
        for folder in ["/etc/pki/tls/certs", "/usr/lib"] {
            fs::create_dir_all(host.at(folder)).unwrap();
        }
        fs::write(host.at("/etc/pki/tls/certs/ca-bundle.crt"), "bundle").unwrap();
        fs::write(host.at("/usr/lib/os-release"), "ID=x").unwrap();
        std::os::unix::fs::symlink("../usr/lib/os-release", host.at("/etc/os-release")).unwrap();
        let (_, base) = base(&host, &Closure::default()).unwrap();
        let listed: Vec<_> = base.files.iter().map(|file| (file.place.to_str().unwrap(), file.digest)).collect();
        let expected =
            [("/etc/os-release", Digest::of("ID=x")), ("/etc/ssl/certs/ca-certificates.crt", Digest::of("bundle"))];
        assert_eq!(listed, expected);
        assert_eq!(base.warnings, Vec::<String>::new());
        assert_eq!(base.distribution.as_deref(), Some("x"));
        assert_eq!(distribution("NAME=x\nID=\"alma-linux\"\n").as_deref(), Some("alma-linux"));
        assert_eq!(distribution("ID=a/b\n"), None);
    }
}
