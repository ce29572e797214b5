//! The command line of a service: `[healthcheck] [--config FILE]`, `request --url URL [--body FILE] [--trust FILE]`,
//! `--version`, `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::client::Url;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Serve what this file describes.
    Serve(PathBuf),
    /// Ask the service that this file describes whether it is ready.
    Healthcheck(PathBuf),
    /// Send one request to a running service.
    Request {
        /// Where.
        url: Url,
        /// The file with the JSON to post; GET without one.
        body: Option<PathBuf>,
    },
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
}

/// How a service is called.
pub const USAGE: &str = "\
usage: service [--config FILE]                    serve (FILE: service.json beside the executable unless given)
       service healthcheck [--config FILE]        exit 0 when the service answers that it is ready, 1 otherwise
       service request --url URL [--body FILE] [--trust FILE]
                                                  post FILE as JSON (GET without it); exit 0 when 200 is answered;
                                                  --trust: certificates (PEM) of the server or its CA, for https
       service --version | --help";

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Serve,
    Healthcheck,
    Request,
}

/// Reads the arguments after the program's name. `default` is the settings file when none is given.
pub fn parse(arguments: impl IntoIterator<Item = OsString>, default: PathBuf) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let mut word = Word::Serve;
    let (mut config, mut url, mut body, mut trust) = (None, None, None, None);
    while let Some(argument) = arguments.next() {
        let unknown = || format!("the argument `{}` is unknown", argument.to_string_lossy());
        let text = argument.to_str().ok_or_else(unknown)?;
        let (flag, joined) = match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(OsString::from(value))),
            _ => (text, None),
        };
        let place = match flag {
            "--version" | "-V" if joined.is_none() => return Ok(Command::Version),
            "--help" | "-h" if joined.is_none() => return Ok(Command::Help),
            "healthcheck" | "request" if word == Word::Serve => {
                word = if flag == "request" { Word::Request } else { Word::Healthcheck };
                continue;
            }
            "--config" => &mut config,
            "--url" => &mut url,
            "--body" => &mut body,
            "--trust" => &mut trust,
            _ => return Err(unknown()),
        };
        let value = joined.or_else(|| arguments.next()).ok_or_else(|| format!("`{flag}` needs a value"))?;
        if place.replace(value).is_some() {
            return Err(format!("`{flag}` is given twice"));
        }
    }
    let asking = word == Word::Request;
    let places = [("--config", &config, !asking), ("--url", &url, asking), ("--body", &body, asking)];
    let places = places.into_iter().chain([("--trust", &trust, asking)]);
    if let Some((flag, ..)) = { places }.find(|(_, value, belongs)| value.is_some() && !belongs) {
        return Err(format!("`{flag}` does not belong here"));
    }
    let config = config.map_or(default, PathBuf::from);
    Ok(match word {
        Word::Serve => Command::Serve(config),
        Word::Healthcheck => Command::Healthcheck(config),
        Word::Request => {
            let url = url.ok_or("`request` needs `--url URL`")?;
            let url: Url = url.to_string_lossy().parse()?;
            let url = match (url.is_secure(), trust) {
                (true, Some(trusted)) => url.trusting(&PathBuf::from(trusted)),
                (true, None) => {
                    return Err(
                        "a URL with `https://` needs `--trust`, a file with the certificates that are trusted".into()
                    );
                }
                (false, Some(_)) => return Err("`--trust` needs a URL with `https://`".into()),
                (false, None) => url,
            };
            Command::Request { url, body: body.map(PathBuf::from) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Command, String> {
        parse(arguments.iter().map(OsString::from), "default".into())
    }

    #[test]
    fn commands_are_told_apart() {
        assert_eq!(parsed(&[]), Ok(Command::Serve("default".into())));
        assert_eq!(parsed(&["--config", "a"]), Ok(Command::Serve("a".into())));
        assert_eq!(parsed(&["healthcheck", "--config=a"]), Ok(Command::Healthcheck("a".into())));
        assert_eq!(parsed(&["--config", "a", "healthcheck"]), Ok(Command::Healthcheck("a".into())));
        assert_eq!(parsed(&["--version"]), Ok(Command::Version));
        let url: Url = "http://h:1/p".parse().unwrap();
        let request = |body: Option<&str>| Ok(Command::Request { url: url.clone(), body: body.map(PathBuf::from) });
        assert_eq!(parsed(&["request", "--url", "http://h:1/p"]), request(None));
        assert_eq!(parsed(&["request", "--url=http://h:1/p", "--body", "f"]), request(Some("f")));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (arguments, word) in [
            (&["--config"][..], "--config"),
            (&["serve"], "serve"),
            (&["healthcheck", "healthcheck"], "healthcheck"),
            (&["healthcheck", "request"], "request"),
            (&["-x"], "-x"),
            (&["--version=1"], "--version=1"),
            (&["--config", "a", "--config", "b"], "twice"),
            (&["--url", "http://h"], "--url"),
            (&["request"], "--url"),
            (&["request", "--url"], "--url"),
            (&["request", "--url", "https://h"], "--trust"),
            (&["request", "--url", "http://h", "--trust", "f"], "--trust"),
            (&["--trust", "f"], "--trust"),
            (&["request", "--url", "http://h", "--config", "a"], "--config"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
}
