//! Whom a web host is asked as: a token in the environment that is named after the host, or the line of `.netrc` for it.
//!
//! Both name the host that they are for, so that an address in somebody's `nimify.yaml` can't have a secret sent elsewhere;
//! `.netrc`'s `default` is passed over for that reason.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Error;
use crate::registry::credentials::Secret;

/// What the variables begin with that hold a token; the host follows, `.` written `_` and `-` written `__`.
pub(super) const TOKEN: &str = "NIMIFY_TOKEN_";
/// Largest `.netrc` that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// What a host is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// The header `Authorization`.
    pub(super) header: Secret,
    /// Where it was found.
    pub(super) origin: String,
}

impl Login {
    pub(super) fn bearer(token: &str, origin: String) -> Self {
        Login { header: format!("Bearer {token}").into(), origin }
    }

    /// By a token as somebody has set it: one word, with white space around it perhaps.
    pub(super) fn token(text: &str, origin: String) -> Result<Self, Error> {
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::Credentials { origin, reason: "it isn't one word of ASCII".into() });
        }
        Ok(Login::bearer(token, origin))
    }

    pub(super) fn basic(user: &str, password: &str, origin: String) -> Self {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        Login { header: format!("Basic {}", STANDARD.encode(pair.as_bytes())).into(), origin }
    }
}

/// The user's credentials for `host`, by what `variable` says of the environment.
pub(super) fn find(host: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Login>, Error> {
    let name = format!("{TOKEN}{}", host.replace('-', "__").replace(['.', ':'], "_"));
    if let Some(token) = variable(&name).filter(|token| !token.is_empty()) {
        let token = Zeroizing::new(token.into_string().unwrap_or_default());
        return Login::token(&token, format!("`{name}`")).map(Some);
    }
    let path = match variable("NETRC").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => variable("HOME").map(|home| PathBuf::from(home).join(".netrc")),
    };
    let Some(path) = path else { return Ok(None) };
    let Ok(file) = File::open(&path) else { return Ok(None) };
    let origin = format!("`{}`", path.display());
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|error| Error::Credentials { origin: origin.clone(), reason: error.to_string() })?;
    Ok(machine(&text, host).map(|(login, password)| Login::basic(login, password, origin)))
}

/// Login and password for a host in the text of a `.netrc`.
fn machine<'a>(text: &'a str, host: &str) -> Option<(&'a str, &'a str)> {
    let (mut here, mut login, mut password) = (false, None, None);
    let mut in_macro = false;
    for line in text.lines() {
        // A macro goes on to an empty line.
        if in_macro {
            in_macro = !line.trim().is_empty();
            continue;
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "machine" | "default" => {
                    if here && password.is_some() {
                        return Some((login.unwrap_or_default(), password?));
                    }
                    here = word == "machine" && words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                    (login, password) = (None, None);
                }
                "login" => login = words.next(),
                "password" => password = words.next(),
                "account" => drop(words.next()),
                "macdef" => {
                    in_macro = true;
                    break;
                }
                _ if word.starts_with('#') => break,
                _ => {}
            }
        }
    }
    if here { Some((login.unwrap_or_default(), password?)) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETRC: &str = "# mine\nmachine a.example.com login ada password p1\nmacdef init\nmachine b.example.com\n\n\
        machine b.example.com\n  login bob\n  password p2 account x\nmachine c.example.com login eve\n\
        default login any password p3\n";

    #[test]
    fn a_machine_has_its_own_line_and_never_the_default() {
        assert_eq!(machine(NETRC, "a.example.com"), Some(("ada", "p1")));
        assert_eq!(machine(NETRC, "B.example.com"), Some(("bob", "p2")));
        assert_eq!(machine(NETRC, "c.example.com"), None);
        assert_eq!(machine(NETRC, "d.example.com"), None);
    }

    #[test]
    fn a_variable_comes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".netrc"), NETRC).unwrap();
        let found = |host: &str| {
            let variable = |name: &str| match name.strip_prefix(TOKEN).unwrap_or(name) {
                "my__models_example_com" => Some("t0".into()),
                "bad_example_com" => Some("a b".into()),
                "HOME" => Some(home.path().into()),
                _ => None,
            };
            find(host, &variable)
        };
        let token = found("my-models.example.com").unwrap().unwrap();
        assert_eq!(token.header.reveal(), "Bearer t0");
        assert!(!format!("{token:?}").contains("t0"));
        assert_eq!(found("a.example.com").unwrap().unwrap().header.reveal(), "Basic YWRhOnAx");
        assert_eq!(found("d.example.com").unwrap(), None);
        assert!(!found("bad.example.com").unwrap_err().to_string().contains("a b"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic(text in "(machine|default|login|password|macdef|#|a|\n|\\PC| ){0,40}") {
            _ = machine(&text, "a");
        }
    }
}
