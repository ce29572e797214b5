//! `nimify build`: the same as `create`, from `nimify.yaml` alone.

use std::path::Path;

use crate::config::{self, Overrides};
use crate::nearest::nearest;
use crate::pipeline::BuildRequest;

use super::args::BuildArgs;
use super::create::{self, Maker};
use super::exit::Exit;
use super::failure::{self, Failure, Outcome};
use super::sign;

pub(super) fn run(args: &BuildArgs) -> Outcome {
    let config = config::load(&args.config, &Overrides::default())?;
    if let Some(environment) = &args.env {
        known(environment, &config)?;
    }
    let file = std::path::absolute(&args.config).map_err(|error| failure::files("find", &args.config, &error))?;
    let folder = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    let mut keys = sign::sources(&args.how.keys);
    if keys.is_empty() {
        keys.extend(config.signing.all().map(|key| key.source(&folder)));
    }
    let request = BuildRequest {
        config: &config,
        config_folder: &folder,
        config_text: None,
        output: &folder,
        fetched: None,
        signer: create::signer(&keys, &args.how, Maker::Build)?,
        offline: args.how.offline,
        locked: args.locked,
        archive: args.how.archive,
        push: args.how.push,
        plain_http: args.how.plain_http,
        discard_edits: args.how.discard_edits,
    };
    create::finish(&request, &args.how)
}

/// Refuses an environment that the file doesn't describe, naming the nearest one that it does.
pub(super) fn known(environment: &str, config: &config::Config) -> Result<(), Failure> {
    let names: Vec<String> = config.environments.keys().map(ToString::to_string).collect();
    if names.iter().any(|name| name == environment) {
        return Ok(());
    }
    let hint = match nearest(environment, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "`nimify.yaml` describes none: add one under `environments`".into(),
        None => format!("it describes {}", names.join(", ")),
    };
    Err(Failure::say(Exit::Config, format!("`nimify.yaml` describes no environment `{environment}`")).hint(hint))
}
