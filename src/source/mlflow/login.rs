//! Whom a tracking server is asked as, in the order of MLflow's own client.

use std::io::Read;

use url::Url;
use zeroize::Zeroizing;

use crate::source::Error;
use crate::source::login::{self, Login};
use crate::source::surroundings::Surroundings;

/// Largest file of credentials that is read, bytes.
const LARGEST: u64 = 1 << 20;
const USER: &str = "MLFLOW_TRACKING_USERNAME";
const PASSWORD: &str = "MLFLOW_TRACKING_PASSWORD";
const TOKEN: &str = "MLFLOW_TRACKING_TOKEN";

/// The credentials for the server at `base`, and those that stand in its address taken out of it.
pub(super) fn take(base: &mut Url, around: &Surroundings) -> Result<Option<Login>, Error> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let written = (!base.username().is_empty()).then(|| decoded(base.username()));
    let written = written.zip(base.password().map(decoded));
    // They would be told with the address. Neither fails on an address that has a host.
    _ = base.set_username("");
    _ = base.set_password(None);
    if let Some((user, password)) = written {
        return Ok(Some(Login::basic(&user, &password, "`MLFLOW_TRACKING_URI`".into())));
    }
    let file = file(around)?;
    let kept = |name: &str| setting(&file.as_ref()?.1, name);
    let either = |name: &str| around.get(name).map(str::to_string).or_else(|| kept(name));
    if let (Some(user), Some(password)) = (either(USER), either(PASSWORD)) {
        let origin = match (&file, around.get(PASSWORD)) {
            (Some((path, _)), None) => format!("`{path}`"),
            _ => format!("`{USER}` and `{PASSWORD}`"),
        };
        return Ok(Some(Login::basic(&user, &password, origin)));
    }
    match around.get(TOKEN) {
        Some(token) => Login::token(token, format!("`{TOKEN}`")).map(Some),
        None => login::find(base.host_str().unwrap_or_default(), &|name| around.get(name).map(Into::into)),
    }
}

/// `~/.mlflow/credentials`, if there is one: its path and its text.
fn file(around: &Surroundings) -> Result<Option<(String, Zeroizing<String>)>, Error> {
    let Some(path) = around.home.as_ref().map(|home| home.join(".mlflow/credentials")) else { return Ok(None) };
    let Ok(file) = std::fs::File::open(&path) else { return Ok(None) };
    let (mut text, path) = (Zeroizing::new(String::new()), path.display().to_string());
    let read = file.take(LARGEST).read_to_string(&mut text);
    read.map_err(|error| Error::Credentials { origin: format!("`{path}`"), reason: error.to_string() })?;
    Ok(Some((path, text)))
}

/// A setting of the section `mlflow`: `name = value` or `name: value`, in letters of any case.
fn setting(text: &str, name: &str) -> Option<String> {
    let mut here = false;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines.find_map(|line| {
        if line.starts_with('[') {
            here = line == "[mlflow]";
            return None;
        }
        let (key, value) = line.split_once(['=', ':']).filter(|_| here)?;
        let value = value.trim();
        (key.trim().eq_ignore_ascii_case(name) && !value.is_empty()).then(|| value.to_string())
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn header(address: &str, variables: &[(&str, &str)], file: &str) -> Result<Option<String>, Error> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".mlflow")).unwrap();
        std::fs::write(home.path().join(".mlflow/credentials"), file).unwrap();
        let mut base = address.parse().unwrap();
        let found = take(&mut base, &Surroundings::made(variables, home.path()))?;
        assert_eq!(base.as_str(), "https://mlflow.example.com/");
        Ok(found.map(|login| login.header.reveal().to_string()))
    }

    #[test]
    fn mlflows_own_order_is_kept() {
        let plain = "https://mlflow.example.com/";
        let basic = |pair: &str| Some(format!("Basic {}", STANDARD.encode(pair)));
        let kept = "[other]\nmlflow_tracking_username = eve\n[mlflow]\n# mine\nmlflow_tracking_username = ada\n\
            mlflow_tracking_password: p=1\n";
        let token = [(TOKEN, "t0")];
        let both = [(TOKEN, "t0"), (USER, "bob"), (PASSWORD, "p2")];
        assert_eq!(header(plain, &[], "").unwrap(), None);
        assert_eq!(header(plain, &token, "").unwrap(), Some("Bearer t0".into()));
        assert_eq!(header(plain, &both, "").unwrap(), basic("bob:p2"));
        assert_eq!(header(plain, &token, kept).unwrap(), basic("ada:p=1"));
        assert_eq!(header(plain, &[(USER, "bob")], kept).unwrap(), basic("bob:p=1"));
        assert_eq!(header("https://a:b%40c@mlflow.example.com/", &both, kept).unwrap(), basic("a:b@c"));
        let error = header(plain, &[(TOKEN, "a b")], "").unwrap_err().to_string();
        assert!(error.contains(TOKEN) && !error.contains("a b"), "{error}");
    }
}
