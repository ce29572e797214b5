//! `nimify keys generate|import|export`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sign::{Algorithm, KeySource, KeyStore, Password};

use super::args::{KeysArgs, KeysCommand};
use super::exit::Exit;
use super::failure::{self, Failure, Outcome};

pub(super) fn run(args: &KeysArgs) -> Outcome {
    let store = KeyStore::of_user().map_err(Failure::from)?;
    match &args.command {
        KeysCommand::Generate => generate(&store),
        KeysCommand::Import { file } => import(&store, file),
        KeysCommand::Export { private: None, kind } => export_public(&store, (*kind).into()),
        KeysCommand::Export { private: Some(file), kind } => export_private(&store, (*kind).into(), file),
    }
}

fn generate(store: &KeyStore) -> Outcome {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let ensured = store.ensure_of(algorithm, &Password::from_environment()).map_err(Failure::from)?;
        let word = if ensured.made.is_some() { "made" } else { "there already:" };
        super::print(&format!("{word} {}\n", store.private_path(algorithm).display()))?;
    }
    Ok(())
}

fn import(store: &KeyStore, file: &Path) -> Outcome {
    let password = Password::from_environment();
    let key = KeySource::File(file.into()).signing_key(&password).map_err(Failure::from)?;
    store.import(&key, &password).map_err(Failure::from)?;
    let path = store.private_path(key.public().algorithm());
    super::print(&format!("imported {} into {}\n", key.public().id(), path.display()))
}

fn export_public(store: &KeyStore, algorithm: Algorithm) -> Outcome {
    match store.public_key_of(algorithm).map_err(Failure::from)? {
        Some(key) => super::print(&key.to_pem()),
        None => Err(none(store)),
    }
}

/// Copies the private key as it is stored, encrypted with its password, to a new file that only its owner can read.
fn export_private(store: &KeyStore, algorithm: Algorithm, file: &Path) -> Outcome {
    let path = store.private_path(algorithm);
    let pem = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none(store)),
        read => zeroize::Zeroizing::new(read.map_err(|error| failure::files("read", &path, &error))?),
    };
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut out| out.write_all(&pem))
        .map_err(|error| failure::files("write", file, &error))?;
    eprintln!("wrote {}: whoever has it and its password can sign in your name", file.display());
    Ok(())
}

fn none(store: &KeyStore) -> Failure {
    Failure::say(Exit::Config, format!("there is no key in `{}`", store.folder().display()))
        .hint("`nimify keys generate` makes one".to_string())
}
