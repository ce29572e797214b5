//! The base of this machine's own files: the closure's libraries, certificates, and the few files in `/etc` that
//! programs look for.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::closure::{Closure, Host};
use super::super::error::{Error, files};
use super::super::layer::Contents;
use super::super::{locale, packages};
use super::{Base, BaseFile, CERTIFICATES, add_accounts, below_root, distribution};
use crate::digest::Digest;

/// Where distributions keep the bundle of certificate authorities.
const BUNDLES: [&str; 4] =
    [CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// Lists the base layer around `closure`, with these locales.
pub(super) fn lay(host: &Host, closure: &Closure, locales: &BTreeSet<String>) -> Result<(Contents, Base), Error> {
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
    let locales = locale::lacking(None, Some(host), locales);
    for (place, file) in &locales.files {
        let digest = contents.file(below_root(place)?, 0o644, file)?;
        base.files.push(BaseFile { place: place.clone(), digest });
        owned.insert(host.absolute(file));
    }
    for (place, target) in &locales.links {
        contents.link(below_root(place)?, target)?;
    }
    base.warnings.extend(locales.warnings());
    add_accounts(&mut contents)?;
    if let Some(file) = host.resolve(Path::new("/etc/os-release"), |_, _| ()) {
        let digest = contents.file("etc/os-release", 0o644, &file)?;
        base.distribution = distribution(&fs::read_to_string(&file).map_err(files("read", &file))?);
        base.files.push(BaseFile { place: "/etc/os-release".into(), digest });
        owned.insert(host.absolute(&file));
    }
    let bundle = BUNDLES.iter().find_map(|path| host.resolve(Path::new(path), |_, _| ()));
    match bundle {
        Some(file) => {
            let place = CERTIFICATES;
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

fn bundle_is_there(base: &Base) -> bool {
    base.files.iter().any(|file| file.place == Path::new(CERTIFICATES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_host_gives_a_bare_base_with_a_warning() {
        let home = tempfile::tempdir().unwrap();
        let host = Host { root: home.path().into() };
        let (_, base) = lay(&host, &Closure::default(), &BTreeSet::new()).unwrap();
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
        let (_, base) = lay(&host, &Closure::default(), &BTreeSet::new()).unwrap();
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
