//! An image in a folder → a registry, signed for where it goes.

use std::path::Path;

use super::{Error, layout_in, repository_of};
use crate::cache::Cache;
use crate::registry::{self, CHUNK, PushReport, PushRequest, Reference, Signing, Watch};
use crate::sign::{self, KeySource, KeyStore, Password, SigningKey};

/// Where an image goes, and how.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// `REGISTRY/REPOSITORY[:TAG]`; `None` for the image's own name.
    pub to: Option<String>,
    /// Speak without TLS.
    pub plain_http: bool,
    /// The key that signs for the destination; `None` for the key store's, where that has signed the image.
    pub key: Option<KeySource>,
}

/// Pushes the image in `folder`, one that nimify wrote or an OCI layout.
pub fn push(folder: &Path, destination: &Destination, watch: &dyn Watch) -> Result<PushReport, Error> {
    let layout = layout_in(folder);
    let to = match &destination.to {
        Some(text) => Reference::with_registry(text)?,
        None => Reference::with_registry(&repository_of(&layout)?)?,
    };
    let given = destination.key.is_some();
    let key = key(destination)?;
    let cache = Cache::from_environment()?;
    let request = PushRequest {
        layout: &layout,
        to: &to,
        plain_http: destination.plain_http,
        signing: match &key {
            None => Signing::Nobody,
            Some(key) if given => Signing::Anew(key),
            Some(key) => Signing::Again(key),
        },
        cache: Some(&cache),
        chunk: CHUNK,
    };
    Ok(registry::push(&request, watch)?)
}

/// The key that was named, else the key store's if it has one.
fn key(destination: &Destination) -> Result<Option<SigningKey>, Error> {
    let password = Password::from_environment();
    if let Some(source) = &destination.key {
        return Ok(Some(source.signing_key(&password)?));
    }
    match KeyStore::of_user().and_then(|store| store.signing_key(&password)) {
        Ok(key) => Ok(Some(key)),
        Err(sign::Error::NoKey { .. } | sign::Error::NoHome) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
