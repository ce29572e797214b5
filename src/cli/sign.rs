//! `nimify sign DIR`.

use crate::pipeline;
use crate::sign::{KeySource, KeyStore, Password, SigningKey};

use super::args::SignArgs;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &SignArgs) -> Outcome {
    let mut keys = args.keys.iter().map(|key| signing_key(Some(source(key)))).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        keys.push(signing_key(None)?);
    }
    let layout = pipeline::layout_in(&args.dir);
    let repository = match &args.repository {
        Some(repository) => repository.clone(),
        None => pipeline::repository_of(&layout).map_err(Failure::from)?,
    };
    for key in keys {
        let signed = pipeline::sign(&layout, &key, &repository).map_err(Failure::from)?;
        super::print(&format!("signed {} with the key {}\n", signed.image, key.public().id()))?;
    }
    Ok(())
}

/// Where `--key` says that the key is.
pub(super) fn source(text: &str) -> KeySource {
    match text.parse() {
        Ok(source) => source,
        Err(never) => match never {},
    }
}

/// The key that a flag names, or the key store's: an error where there is none.
pub(super) fn signing_key(source: Option<KeySource>) -> Result<SigningKey, Failure> {
    let password = Password::from_environment();
    match source {
        Some(source) => source.signing_key(&password),
        None => KeyStore::of_user().and_then(|store| store.signing_key(&password)),
    }
    .map_err(Failure::from)
}
