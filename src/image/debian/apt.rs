//! The host's apt, asked in folders of our own: what it fetches, it has checked from the signed index down to each
//! package, by the keyrings and sources that the host has. Nothing of the host changes, and nobody has to be root.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::error::{Error, files};
use crate::digest::Digest;
use crate::image::packages::stanzas;
use crate::interrupt;

/// Read after the host's own settings. Hooks of the host are for its own packages; signatures and times are always
/// checked, whatever the host allows itself.
const SETTINGS: &str = r#"#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Check-Valid-Until "true";
Acquire::Check-Date "true";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
"#;

/// Options of a source that switch off what is checked here.
const UNSAFE: [&str; 6] =
    ["trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure", "check-valid-until", "check-date"];

/// How to call apt.
#[derive(Debug, Clone)]
pub struct Program {
    /// The folder of `apt-get` and `apt-cache`; the path where there is none.
    pub folder: Option<PathBuf>,
    /// More arguments, such as `-oDir::Etc=…`.
    pub options: Vec<OsString>,
}

impl Program {
    /// The apt of this machine, as it is set up.
    pub fn of_host() -> Self {
        Program { folder: None, options: Vec::new() }
    }

    fn command(&self, name: &str) -> Command {
        let program = self.folder.as_ref().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let mut command = Command::new(program);
        // Its words are read here, and shown.
        command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").args(&self.options);
        command
    }
}

/// A package as the index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    /// Of the package file.
    pub(super) digest: Digest,
    /// The names that it depends on, alternatives too.
    pub(super) depends: BTreeSet<String>,
}

/// apt with folders of our own, and the sources of one release of Debian.
pub(super) struct Apt<'a> {
    program: &'a Program,
    /// The processor, as Debian calls it.
    architecture: &'static str,
    folder: PathBuf,
    /// The release's code name.
    pub(super) release: String,
}

impl<'a> Apt<'a> {
    /// Makes `folder` ready; with `update` the indexes in it are brought up to date. `host` is the code name of the
    /// release that the host runs, where that is a Debian.
    pub(super) fn open(
        program: &'a Program,
        architecture: &'static str,
        folder: &Path,
        update: bool,
        host: Option<&str>,
    ) -> Result<Self, Error> {
        let mut apt = Apt { program, architecture, folder: folder.into(), release: String::new() };
        for inner in ["lists/partial", "archives/partial", "sources"] {
            fs::create_dir_all(folder.join(inner)).map_err(files("make", &folder.join(inner)))?;
        }
        apt.write("apt.conf", SETTINGS)?;
        apt.write("status", "")?;
        apt.write("preferences", "")?;
        if update {
            apt.take_sources()?;
            let said = apt.run("apt-get", &["update", "--error-on=any"].map(OsString::from), folder)?;
            check_update(&said)?;
        }
        apt.release = release(&apt.releases()?, host, architecture)?;
        apt.write("preferences", &preferences(&apt.release))?;
        Ok(apt)
    }

    /// The candidate of a package, or the version asked for. `None` if the indexes don't have it.
    pub(super) fn show(&self, name: &str) -> Result<Option<Candidate>, Error> {
        // A name begins with a letter or digit, and so is no option.
        let said = self.run("apt-cache", &["show", "--no-all-versions", name].map(OsString::from), &self.folder)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let found = stanzas(&text).into_iter().find(|stanza| stanza.get("Package").is_some_and(|found| found == name));
        Ok(found.and_then(|stanza| candidate(&stanza)))
    }

    /// Has apt fetch these packages (name, version) into `target`, checked against the indexes.
    pub(super) fn download(&self, packages: &[(&str, &str)], target: &Path) -> Result<(), Error> {
        let mut arguments = vec![OsString::from("download")];
        arguments.extend(packages.iter().map(|(name, version)| format!("{name}={version}").into()));
        let said = self.run("apt-get", &arguments, target)?;
        let words = words(&said);
        if let Some((name, version)) = missing_version(&words) {
            return Err(Error::NoPackage { name, version: Some(version), release: self.release.clone() });
        }
        if words.contains("cannot be authenticated")
            || words.contains("were not authenticated")
            || words.contains("Hash Sum mismatch")
        {
            return Err(Error::Untrusted { words });
        }
        if said.status.success() { Ok(()) } else { Err(Error::Apt { attempt: "fetch packages", words }) }
    }

    /// Copies the host's files of sources: those that have Debian's, or all where apt doesn't know yet whose they are.
    fn take_sources(&self) -> Result<(), Error> {
        let target = self.folder.join("sources");
        fs::remove_dir_all(&target).map_err(files("remove", &target))?;
        fs::create_dir(&target).map_err(files("make", &target))?;
        let ask = |more: &[&str]| {
            let mut apt = self.program.command("apt-get");
            apt.args(["indextargets", "--format", "$(SOURCESENTRY)|$(ORIGIN)"]).args(more);
            finish(apt.arg("Created-By: Packages")).map(|said| String::from_utf8_lossy(&said.stdout).into_owned())
        };
        let file = |line: &str, origin| Some(line.strip_suffix(origin)?.rsplit_once(':')?.0.to_string());
        let mut places: BTreeSet<String> = ask(&[])?.lines().filter_map(|line| file(line, "|Debian")).collect();
        if places.is_empty() {
            let all = ask(&["--no-release-info"])?;
            places = all.lines().filter_map(|line| file(line.split_once('|')?.0, "")).collect();
        }
        for place in places {
            let place = Path::new(&place);
            let text = fs::read_to_string(place).map_err(files("read", place))?;
            if let Some(option) = unsafe_option(&text) {
                return Err(Error::Unsigned { file: place.into(), option });
            }
            let copy = target.join(place.file_name().unwrap_or(OsStr::new("sources.list")));
            fs::write(&copy, text).map_err(files("write", &copy))?;
        }
        Ok(())
    }

    /// The code names of Debian's releases in the indexes.
    fn releases(&self) -> Result<BTreeSet<String>, Error> {
        let format = "$(ORIGIN)|$(CODENAME)";
        let arguments = ["indextargets", "--format", format, "Created-By: Packages"].map(OsString::from);
        let said = self.run("apt-get", &arguments, &self.folder)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let debian = text.lines().filter_map(|line| line.strip_prefix("Debian|"));
        // `bookworm-security` and `bookworm-updates` go with `bookworm`.
        Ok(debian.filter_map(|name| name.split('-').next()).filter(|name| is_word(name)).map(String::from).collect())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(files("write", &path))
    }

    fn run(&self, program: &str, arguments: &[OsString], current: &Path) -> Result<Output, Error> {
        let mut command = self.program.command(program);
        let at = |name: &str| self.folder.join(name).into_os_string();
        let mut set = |option: &str, value: OsString| {
            let mut both = OsString::from(option);
            both.push(value);
            command.arg(both);
        };
        set("-c=", at("apt.conf"));
        for (option, place) in [
            ("-oDir::State=", ""),
            ("-oDir::State::lists=", "lists/"),
            ("-oDir::State::status=", "status"),
            ("-oDir::State::extended_states=", "extended_states"),
            ("-oDir::Cache=", ""),
            ("-oDir::Cache::archives=", "archives/"),
            ("-oDir::Etc::sourceparts=", "sources/"),
            ("-oDir::Etc::preferences=", "preferences"),
        ] {
            set(option, at(place));
        }
        set("-oDir::Etc::sourcelist=", "/dev/null".into());
        set("-oDir::Etc::preferencesparts=", "/dev/null".into());
        set("-oAPT::Architecture=", self.architecture.into());
        set("-oAPT::Architectures::=", self.architecture.into());
        finish(command.args(arguments).current_dir(current))
    }
}

fn finish(command: &mut Command) -> Result<Output, Error> {
    let program = PathBuf::from(command.get_program());
    interrupt::output(command).map_err(|source| Error::NoApt { program, source })
}

/// The errors that a program told, or else its last words.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("E: ")).collect();
    let chosen =
        if errors.is_empty() { &lines[lines.len().saturating_sub(3)..] } else { &errors[..errors.len().min(3)] };
    if chosen.is_empty() { "it failed without a word".into() } else { chosen.join(" / ") }
}

/// What an update came to.
fn check_update(said: &Output) -> Result<(), Error> {
    let text = String::from_utf8_lossy(&said.stderr);
    let says = |signs: &[&str]| text.lines().find(|line| signs.iter().any(|sign| line.contains(sign)));
    let line = |line: &str| line.trim_start_matches(['E', 'W', ':', ' ']).to_string();
    if let Some(expired) = says(&["is expired", "is not valid yet"]) {
        return Err(Error::Expired { words: line(expired) });
    }
    let signs = [
        "is not signed",
        "NO_PUBKEY",
        "couldn't be verified",
        "signature verification",
        "Hash Sum mismatch",
        "EXPKEYSIG",
        "REVKEYSIG",
        "BADSIG",
    ];
    if let Some(untrusted) = says(&signs) {
        return Err(Error::Untrusted { words: line(untrusted) });
    }
    if said.status.success() {
        Ok(())
    } else {
        Err(Error::Apt { attempt: "fetch the package indexes", words: words(said) })
    }
}

/// The release to take: the only one there is, or that of the host.
fn release(found: &BTreeSet<String>, host: Option<&str>, architecture: &str) -> Result<String, Error> {
    let of_host = found.iter().find(|name| Some(name.as_str()) == host);
    match (of_host, found.len()) {
        (Some(name), _) => Ok(name.clone()),
        (None, 0) => Err(Error::NoSources { architecture: architecture.into() }),
        (None, 1) => Ok(found.iter().next().cloned().unwrap_or_default()),
        _ => Err(Error::Releases { releases: found.iter().cloned().collect() }),
    }
}

/// Debian's own packages of one release and of its updates, and nobody else's.
fn preferences(release: &str) -> String {
    let pin = |name: String| format!("Package: *\nPin: release o=Debian, n={name}\nPin-Priority: 500\n\n");
    let wanted = ["", "-updates", "-security"].map(|suffix| pin(format!("{release}{suffix}")));
    wanted.concat() + "Package: *\nPin: release a=*\nPin-Priority: -1\n"
}

/// An option of a file of sources that switches a check off, in either form of such files.
fn unsafe_option(text: &str) -> Option<String> {
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default()) {
        let is_field = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphabetic() || c == b'-');
        // A field `Trusted: yes`, or `deb [signed-by=… trusted=yes] …`.
        let options: Vec<(&str, &str)> = match line.split_once(':') {
            Some((name, value)) if is_field(name.trim()) => vec![(name, value)],
            _ => line.split([' ', '\t', '[', ']']).filter_map(|word| word.split_once('=')).collect(),
        };
        for (name, value) in options {
            let name = name.trim().trim_end_matches(['+', '-']).to_ascii_lowercase();
            let off: &[&str] = if name.starts_with("check-") { &["no", "false", "0"] } else { &["yes", "true", "1"] };
            let said = value.split([',', ' ']).find(|said| off.contains(&said.trim().to_ascii_lowercase().as_str()));
            if let (true, Some(said)) = (UNSAFE.contains(&name.as_str()), said) {
                return Some(format!("{name}={}", said.trim()));
            }
        }
    }
    None
}

fn candidate(stanza: &BTreeMap<String, String>) -> Option<Candidate> {
    let field = |name: &str| stanza.get(name).filter(|value| is_word(value)).cloned();
    let depends = ["Depends", "Pre-Depends"].iter().filter_map(|name| stanza.get(*name));
    let names = depends
        .flat_map(|list| list.split([',', '|']))
        .filter_map(|one| one.split([' ', '(', ':', '[']).find(|part| !part.is_empty()));
    Some(Candidate {
        name: field("Package")?,
        version: field("Version")?,
        architecture: field("Architecture")?,
        digest: format!("sha256:{}", stanza.get("SHA256")?).parse().ok()?,
        depends: names.map(String::from).collect(),
    })
}

/// What names, versions and architectures are made of: nothing that means something on a command line.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.~:".contains(&byte);
    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) && text.bytes().all(plain) && text.len() < 256
}

/// The package and version in apt's complaint that there is none such.
fn missing_version(words: &str) -> Option<(String, String)> {
    let (_, rest) = words.split_once("Version '")?;
    let (version, rest) = rest.split_once("' for '")?;
    let (name, rest) = rest.split_once('\'')?;
    rest.starts_with(" was not found").then(|| (name.into(), version.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_switch_checks_off_are_found_in_both_forms() {
        for (text, option) in [
            ("deb [signed-by=/k.gpg trusted=yes] http://x y main", Some("trusted=yes")),
            ("deb [trusted=YES] http://x y main", Some("trusted=YES")),
            ("deb [ allow-insecure=yes ] http://x y main", Some("allow-insecure=yes")),
            ("deb [check-valid-until=no] http://x y main", Some("check-valid-until=no")),
            ("Types: deb\nTrusted: yes\n", Some("trusted=yes")),
            ("Types: deb\nAllow-Insecure:yes\n", Some("allow-insecure=yes")),
            ("# deb [trusted=yes] http://x y main", None),
            ("deb [signed-by=/etc/apt/trusted.gpg.d/a.gpg] http://x/trusted y main", None),
            ("deb [trusted=no] http://x y main", None),
            ("Types: deb\nSigned-By: /usr/share/keyrings/debian.gpg\n", None),
        ] {
            assert_eq!(unsafe_option(text).as_deref(), option, "{text}");
        }
    }

    #[test]
    fn the_release_is_that_of_the_host_or_the_only_one() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(release(&names(&["trixie"]), None, "amd64").unwrap(), "trixie");
        assert_eq!(release(&names(&["bookworm", "trixie"]), Some("bookworm"), "amd64").unwrap(), "bookworm");
        let error = |found: &[&str]| release(&names(found), Some("noble"), "amd64").unwrap_err().to_string();
        assert_eq!(error(&["bookworm", "trixie"]), "apt's sources are of several releases of Debian: bookworm, trixie");
        assert_eq!(error(&[]), "this machine's apt has no sources of Debian for amd64");
    }

    #[test]
    fn a_candidate_is_read_from_its_stanza() {
        let digest = Digest::of("deb");
        let text = format!(
            "Package: libgcc-s1\nVersion: 12.2.0-14\nArchitecture: amd64\nSHA256: {}\n\
             Depends: gcc-12-base (= 12.2.0-14), libc6 (>= 2.35) | libc6.1, python3:any\n",
            digest.hex()
        );
        let found = candidate(&stanzas(&text)[0]).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str(), found.digest), ("libgcc-s1", "12.2.0-14", digest));
        assert_eq!(found.depends, ["gcc-12-base", "libc6", "libc6.1", "python3"].map(String::from).into());
        assert_eq!(candidate(&stanzas(&text.replace("12.2.0-14\nArch", "$(x)\nArch"))[0]), None);
    }

    #[test]
    fn a_version_that_is_gone_is_named() {
        let words = "Version '2.36-9' for 'libc6' was not found";
        assert_eq!(missing_version(words), Some(("libc6".into(), "2.36-9".into())));
        assert_eq!(missing_version("Unable to locate package x"), None);
    }
}
