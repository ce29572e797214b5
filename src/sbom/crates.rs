//! `Cargo.lock` and the list of what is compiled → the crates of a service.

use std::collections::BTreeMap;

use crate::digest::Digest;

/// A crate that a service is compiled from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of its archive; `None` for what is not from a registry: the serving library.
    pub checksum: Option<Digest>,
    /// Its licence, an SPDX expression, as its manifest gives it.
    pub license: String,
    /// Whether it is in the executable. Otherwise it runs while that is built: a build script, a macro.
    pub linked: bool,
}

impl Crate {
    /// Its package URL.
    pub fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", super::escape(&self.name), super::escape(&self.version))
    }
}

/// Why the crates of a service can't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCrates {
    /// A text is no lock file of cargo's.
    #[error("line {line} of `Cargo.lock` should be {wanted}")]
    Lock {
        /// The line, from 1.
        line: usize,
        /// What should be there.
        wanted: &'static str,
    },
    /// A text is no list of crates.
    #[error("line {line} of the list of crates should be a name, a version, `linked` or `build`, and a licence")]
    List {
        /// The line, from 1.
        line: usize,
    },
    /// The two don't belong together.
    #[error("`{name}` {version} is not in the lock file")]
    NotLocked {
        /// The crate.
        name: String,
        /// Its version.
        version: String,
    },
}

/// The crates of `list`, sorted, each with the checksum that `lock` has of it.
pub fn service_crates(list: &str, lock: &str) -> Result<Vec<Crate>, NotCrates> {
    let locked = checksums(lock)?;
    let mut crates = Vec::new();
    for (at, line) in list.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.splitn(4, ' ').map(String::from);
        let (Some(name), Some(version), Some(part), Some(license)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NotCrates::List { line: at + 1 });
        };
        if part != "linked" && part != "build" {
            return Err(NotCrates::List { line: at + 1 });
        }
        let Some(checksum) = locked.get(&(name.clone(), version.clone())) else {
            return Err(NotCrates::NotLocked { name, version });
        };
        crates.push(Crate { name, version, checksum: *checksum, license, linked: part == "linked" });
    }
    crates.sort();
    Ok(crates)
}

/// The packages of a lock file that cargo wrote: name and version → the digest of the archive.
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), Option<Digest>>, NotCrates> {
    let mut found = BTreeMap::new();
    let (mut name, mut version) = (String::new(), String::new());
    for (line, text) in lock.lines().enumerate() {
        let wrong = |wanted| NotCrates::Lock { line: line + 1, wanted };
        if text == "[[package]]" {
            (name, version) = Default::default();
            continue;
        }
        let Some((key, value)) = text.split_once(" = ") else { continue };
        let quoted =
            || value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(wrong("a text in quotes"));
        match key {
            "name" => name = quoted()?.into(),
            "version" if !name.is_empty() => {
                version = quoted()?.into();
                found.insert((name.clone(), version.clone()), None);
            }
            "checksum" => {
                let digest = format!("sha256:{}", quoted()?).parse().map_err(|_| wrong("a SHA-256 digest"))?;
                found.insert((name.clone(), version.clone()), Some(digest));
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_crate_has_the_checksum_that_is_locked() {
        let checksum = Digest::of("anyhow");
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"service\"\nversion = \"0.1.0\"\ndependencies = [\n \"anyhow\",\n]\n\n\
             [[package]]\nname = \"anyhow\"\nversion = \"1.0.104\"\nsource = \"registry+x\"\nchecksum = \"{}\"\n",
            checksum.hex()
        );
        let list = "# comment\nservice 0.1.0 linked Apache-2.0\nanyhow 1.0.104 build MIT OR Apache-2.0\n";
        let crates = service_crates(list, &lock).unwrap();
        let anyhow = Crate {
            name: "anyhow".into(),
            version: "1.0.104".into(),
            checksum: Some(checksum),
            license: "MIT OR Apache-2.0".into(),
            linked: false,
        };
        assert_eq!(anyhow.purl(), "pkg:cargo/anyhow@1.0.104");
        assert_eq!(crates[0], anyhow);
        assert_eq!((crates.len(), crates[1].checksum, crates[1].linked), (2, None, true));
        assert_eq!(service_crates("anyhow 1 linked\n", &lock), Err(NotCrates::List { line: 1 }));
        assert_eq!(service_crates("anyhow 1.0.104 both MIT\n", &lock), Err(NotCrates::List { line: 1 }));
        assert!(matches!(service_crates("anyhow 1 linked MIT\n", &lock), Err(NotCrates::NotLocked { .. })));
        assert!(service_crates(list, "[[package]]\nname = service\n").is_err());
        assert!(service_crates(list, &lock.replace(&checksum.hex(), "12")).is_err());
    }

    #[test]
    fn services_are_made_of_what_is_listed() {
        let crates = service_crates(nimify_runtime::sources::CRATES, nimify_runtime::sources::LOCK).unwrap();
        let is = |name: &str| crates.iter().find(|found| found.name == name).map(|found| found.linked);
        assert_eq!([is("tokio"), is("syn"), is("tonic")], [Some(true), Some(false), None]);
        assert_eq!(crates.iter().filter(|found| found.checksum.is_none()).count(), 1, "the serving library");
    }
}
