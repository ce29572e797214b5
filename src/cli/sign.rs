//! `nimify sign DIR`.

use crate::pipeline;
use crate::sign::{self, KeySource, KeyStore, Password, SigningKey};

use super::args::SignArgs;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &SignArgs) -> Outcome {
    let keys = signing_keys(&sources(&args.keys))?;
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

/// Where all `--key` say that keys are.
pub(super) fn sources(texts: &[String]) -> Vec<KeySource> {
    texts.iter().map(|text| source(text)).collect()
}

/// The keys that are named, each once, or without any the key store's: an error where there is none.
pub(super) fn signing_keys(sources: &[KeySource]) -> Result<Vec<SigningKey>, Failure> {
    let password = Password::from_environment();
    if sources.is_empty() {
        return Ok(vec![KeyStore::of_user().and_then(|store| store.signing_key(&password))?]);
    }
    Ok(sign::signing_keys(sources, &password)?)
}
