//! The command line of a service: `[healthcheck] [--config FILE]`, `--version`, `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Serve what this file describes.
    Serve(PathBuf),
    /// Ask the service that this file describes whether it is ready.
    Healthcheck(PathBuf),
    /// Print the version.
    Version,
    /// Print the usage.
    Help,
}

/// How a service is called.
pub(crate) const USAGE: &str = "\
usage: service [--config FILE]               serve (FILE: service.json beside the executable unless given)
       service healthcheck [--config FILE]   exit 0 when the service answers that it is ready, 1 otherwise
       service --version | --help";

/// Reads the arguments after the program's name. `default` is the settings file when none is given.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>, default: PathBuf) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let (mut file, mut healthcheck) = (None, false);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--version" | "-V") => return Ok(Command::Version),
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--config") => file = Some(arguments.next().ok_or("`--config` needs a file")?),
            Some(text) if text.starts_with("--config=") => file = Some(text["--config=".len()..].into()),
            Some("healthcheck") if !healthcheck => healthcheck = true,
            _ => return Err(format!("the argument `{}` is unknown", argument.to_string_lossy())),
        }
    }
    let file = file.map_or(default, PathBuf::from);
    Ok(if healthcheck { Command::Healthcheck(file) } else { Command::Serve(file) })
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
        for wrong in [&["--config"][..], &["serve"], &["healthcheck", "healthcheck"], &["-x"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
