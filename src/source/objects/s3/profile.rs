//! The files in which Amazon's tools keep profiles, `~/.aws/config` and `~/.aws/credentials` → one profile's settings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::source::Error;
use crate::source::error::files;
use crate::source::surroundings::Surroundings;

/// The program that a profile has its keys from.
pub(super) const PROCESS: &str = "credential_process";
/// Largest file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// One profile's settings, of both files; `credentials` wins.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Profile {
    /// What it is called.
    pub(super) name: String,
    /// Where it stands, for messages.
    pub(super) origin: String,
    settings: BTreeMap<String, String>,
}

impl fmt::Debug for Profile {
    /// Without its settings, among which there are keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Profile {
    /// The profile that the environment names, or the one called `default`; `None` where there is none of that name
    /// and none was asked for.
    pub(super) fn find(around: &Surroundings) -> Result<Option<Self>, Error> {
        let Some(name) = around.get("AWS_PROFILE").or(around.get("AWS_DEFAULT_PROFILE")) else {
            return Profile::named(around, "default");
        };
        let found = Profile::named(around, name)?;
        found.map(Some).ok_or_else(|| {
            let [config, credentials] = places(around);
            let reason = format!("it is neither in `{}` nor in `{}`", config.display(), credentials.display());
            Error::Credentials { origin: format!("the profile `{name}`"), reason }
        })
    }

    /// The profile of this name; `None` where there is none.
    pub(super) fn named(around: &Surroundings, name: &str) -> Result<Option<Self>, Error> {
        let [config, credentials] = places(around);
        let mut settings = BTreeMap::new();
        let mut origins = Vec::new();
        let default = (name == "default").then(|| name.to_string());
        let of_config: Vec<String> = [format!("profile {name}")].into_iter().chain(default).collect();
        for (path, sections) in [(&config, of_config), (&credentials, vec![name.to_string()])] {
            let mut found = read(path)?.map(|text| parse(&text)).unwrap_or_default();
            if let Some(found) = sections.iter().find_map(|section| found.remove(section)) {
                settings.extend(found);
                origins.push(format!("`{}`", path.display()));
            }
        }
        let origin = origins.join(" and ");
        Ok((!origins.is_empty()).then(|| Profile { name: name.into(), origin, settings }))
    }

    /// One of its settings, for messages.
    pub(super) fn told(&self, setting: &str) -> String {
        format!("`{setting}` of the profile `{}`", self.name)
    }

    /// What is wrong with it, as the rest of a sentence.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> Error {
        Error::Credentials { origin: format!("the profile `{}`", self.name), reason: reason.into() }
    }

    /// Because of `setting` it gives no keys that could be had here.
    pub(super) fn needs_exchange(&self, setting: &str) -> Error {
        self.wrong(format!(
            "it needs to be exchanged for keys first (`{setting}`): `aws configure export-credentials --profile {} \
             --format env` gives them",
            self.name
        ))
    }

    /// A setting that isn't empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The two files.
fn places(around: &Surroundings) -> [PathBuf; 2] {
    let place = |variable: &str, file: &str| {
        let home = around.home.as_deref().unwrap_or(Path::new("/"));
        around.get(variable).map_or_else(|| home.join(".aws").join(file), PathBuf::from)
    };
    [place("AWS_CONFIG_FILE", "config"), place("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let size = match std::fs::metadata(path) {
        Ok(data) => data.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(files("read", path)(error)),
    };
    if size > LARGEST {
        let origin = format!("`{}`", path.display());
        return Err(Error::Credentials { origin, reason: format!("it has more than {LARGEST} bytes") });
    }
    let bytes = std::fs::read(path).map_err(files("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The sections of a file with their settings. What is indented belongs to the setting before it, and is left out.
fn parse(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            current = Some(section(name.0));
        } else if let (Some(section), Some((name, value))) = (&current, line.split_once('=')) {
            let name = name.trim().to_lowercase();
            // What a command's line says is the shell's.
            let marks: &[&str] = if name == PROCESS { &[] } else { &[" #", " ;"] };
            let value = marks.iter().fold(value, |value, mark| value.split(mark).next().unwrap_or_default());
            sections.entry(section.clone()).or_default().insert(name, value.trim().into());
        }
    }
    sections
}

/// What a section is called: `NAME`, or a word and a name, which may be quoted.
fn section(text: &str) -> String {
    let text = text.trim();
    let (word, name) = text.split_once([' ', '\t']).unwrap_or(("", text));
    let name = name.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
    let name = quoted.unwrap_or(name);
    if word.is_empty() { name.into() } else { format!("{word} {name}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: &str = "\
# a comment
[default]
region = eu-west-1
s3 =
  max_concurrent_requests = 20
[profile  ml]
region=eu-central-1 ; not this
aws_access_key_id = old
[sso-session x]
region = other
[profile 'ml prod']
credential_process = sh -c \"a ; b\" # not a comment
";

    #[test]
    fn a_profile_is_of_both_files() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), "[ml]\nAWS_ACCESS_KEY_ID = AKID\n").unwrap();
        let around = |variables: &[(&str, &str)]| Surroundings::made(variables, home.path());
        let profile = Profile::find(&around(&[])).unwrap().unwrap();
        assert_eq!((profile.get("region"), profile.get("s3")), (Some("eu-west-1"), None));
        let profile = Profile::find(&around(&[("AWS_PROFILE", "ml")])).unwrap().unwrap();
        assert_eq!((profile.get("region"), profile.get("aws_access_key_id")), (Some("eu-central-1"), Some("AKID")));
        let quoted = Profile::find(&around(&[("AWS_PROFILE", "ml prod")])).unwrap().unwrap();
        assert_eq!(quoted.get(PROCESS), Some("sh -c \"a ; b\" # not a comment"));
        assert_eq!((section("profile \"a  b\""), section(" a\"b ")), ("profile a  b".into(), "a\"b".into()));
        let error = Profile::find(&around(&[("AWS_PROFILE", "other")])).unwrap_err().to_string();
        assert!(error.contains("the profile `other` can't be used") && error.contains("neither"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            parse(&text);
        }
    }
}
