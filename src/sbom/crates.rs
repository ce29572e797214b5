//! `Cargo.lock` → the crates that it names.

use crate::digest::Digest;

/// A crate that the service's lock file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of its archive; `None` for what is not from a registry: the service and the serving library.
    pub checksum: Option<Digest>,
}

impl Crate {
    /// Its package URL.
    pub fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", super::escape(&self.name), super::escape(&self.version))
    }
}

/// Why a text is no lock file of cargo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of `Cargo.lock` should be {wanted}")]
pub struct NotALockFile {
    /// The line, from 1.
    pub line: usize,
    /// What should be there.
    pub wanted: &'static str,
}

/// The crates of a lock file that cargo wrote, sorted. Those that only other platforms need are among them, since the
/// lock does not tell.
pub fn locked_crates(lock: &str) -> Result<Vec<Crate>, NotALockFile> {
    let mut crates: Vec<Crate> = Vec::new();
    for (line, text) in lock.lines().enumerate() {
        let wrong = |wanted| NotALockFile { line: line + 1, wanted };
        if text == "[[package]]" {
            crates.push(Crate { name: String::new(), version: String::new(), checksum: None });
            continue;
        }
        let Some((key, value)) = text.split_once(" = ") else { continue };
        let Some(last) = crates.last_mut() else { continue };
        let quoted =
            || value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(wrong("a text in quotes"));
        match key {
            "name" => last.name = quoted()?.into(),
            "version" => last.version = quoted()?.into(),
            "checksum" => {
                let digest = format!("sha256:{}", quoted()?).parse();
                last.checksum = Some(digest.map_err(|_| wrong("a SHA-256 digest"))?);
            }
            _ => {}
        }
    }
    if let Some(at) = crates.iter().position(|found| found.name.is_empty() || found.version.is_empty()) {
        return Err(NotALockFile { line: at + 1, wanted: "part of a package with name and version" });
    }
    crates.sort();
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_of_a_lock_are_read() {
        let checksum = Digest::of("anyhow");
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"service\"\nversion = \"0.1.0\"\ndependencies = [\n \"anyhow\",\n]\n\n\
             [[package]]\nname = \"anyhow\"\nversion = \"1.0.104\"\nsource = \"registry+x\"\nchecksum = \"{}\"\n",
            checksum.hex()
        );
        let crates = locked_crates(&lock).unwrap();
        let anyhow = Crate { name: "anyhow".into(), version: "1.0.104".into(), checksum: Some(checksum) };
        assert_eq!(anyhow.purl(), "pkg:cargo/anyhow@1.0.104");
        assert_eq!(crates, [anyhow, Crate { name: "service".into(), version: "0.1.0".into(), checksum: None }]);
        assert!(locked_crates("[[package]]\nname = service\n").is_err());
        assert!(locked_crates("[[package]]\nname = \"service\"\n").is_err());
        assert!(locked_crates(&lock.replace(&checksum.hex(), "12")).is_err());
    }

    #[test]
    fn the_lock_of_services_is_one() {
        let crates = locked_crates(nimify_runtime::sources::LOCK).unwrap();
        assert!(crates.len() > 50, "{}", crates.len());
        assert!(crates.iter().filter(|found| found.checksum.is_none()).count() <= 2);
    }
}
