//! An image in a folder → a registry, signed for where it goes; and the chart that runs it from there.

use std::path::Path;

use serde::Serialize;

use super::build::BuildRequest;
use super::chart::{self, ChartToPush};
use super::error::files;
use super::model::{self, ModelDestination};
use super::observer::{self, Observer};
use super::{Error, documents, layout_in, repository_of};
use crate::cache::Cache;
use crate::config::Config;
use crate::deploy::{PushedTo, ReleaseRecord};
use crate::image;
use crate::registry::{self, CHUNK, PushReport, PushRequest, Reference, Signing, Watch};
use crate::sign::{self, Algorithm, KeySource, KeyStore, Password, SigningKey};

/// Where an image goes, and how.
#[derive(Debug, Clone, Default)]
pub struct Destination {
    /// `REGISTRY/REPOSITORY[:TAG]`; `None` for the image's own name.
    pub to: Option<String>,
    /// `oci://REGISTRY/PATH`, below which the chart goes under its name; `None` where it isn't pushed.
    pub chart_to: Option<String>,
    /// Where the model goes by itself; `None` where it isn't pushed.
    pub model_to: Option<ModelDestination>,
    /// Speak without TLS.
    pub plain_http: bool,
    /// The keys that sign for the destination; without any, those of the key store that have signed the image.
    pub keys: Vec<KeySource>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The image.
    #[serde(flatten)]
    pub image: PushReport,
    /// The chart, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<PushReport>,
    /// The model by itself, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PushReport>,
}

/// Pushes the image in `folder`, one that nimify wrote or an OCI layout, and its chart where that is asked for.
pub(super) fn push(folder: &Path, destination: &Destination, watch: &dyn Watch) -> Result<Pushed, Error> {
    let layout = layout_in(folder);
    let to = match &destination.to {
        Some(text) => Reference::with_registry(text)?,
        None => Reference::with_registry(&repository_of(&layout)?)?,
    };
    let chart = match &destination.chart_to {
        None => None,
        Some(place) => {
            let digest = image::open_layout(&layout)?.digest;
            Some(ChartToPush::new(&chart::read(folder)?, place, &to.repository, &digest)?)
        }
    };
    let given = !destination.keys.is_empty();
    let keys = keys_at_hand(&destination.keys)?;
    let stated = if given { documents::beside(&layout)? } else { Vec::new() };
    let cache = Cache::from_environment()?;
    let request = PushRequest {
        layout: &layout,
        to: &to,
        plain_http: destination.plain_http,
        signing: if given { Signing::Anew(&keys, &stated) } else { Signing::Again(&keys) },
        cache: Some(&cache),
        chunk: CHUNK,
    };
    let image = registry::push(&request, watch)?;
    let pushed = PushedTo { repository: image.repository.clone(), plain_http: destination.plain_http };
    let noted = ReleaseRecord::note(folder, &image.digest, pushed);
    noted.map_err(files("note in", &folder.join("dist")))?;
    // Last: whoever installs the chart finds its image.
    let signers = if given { &keys[..] } else { &keys[..keys.len().min(1)] };
    let chart = chart.map(|chart| chart.push(signers, destination.plain_http, watch)).transpose()?;
    let to = destination.model_to.as_ref();
    let model = to.map(|to| model::push(folder, to, destination.plain_http, signers, watch)).transpose()?;
    Ok(Pushed { image, chart, model })
}

/// Where a build pushes to: the repository that the config names, with its registry.
pub(super) fn destination(config: &Config) -> Result<Reference, Error> {
    let repository = config.image.repository.as_ref().map_or(config.name.as_str(), |repository| repository.as_str());
    Ok(Reference::with_registry(repository)?)
}

/// Pushes what a build has made, signed for this repository as it is.
pub(super) fn built(
    request: &BuildRequest<'_>,
    to: &Reference,
    layout: &Path,
    cache: &Cache,
    observer: &mut dyn Observer,
) -> Result<PushReport, Error> {
    let asked = PushRequest {
        layout,
        to,
        plain_http: request.plain_http || request.config.image.plain_http(to.repository.registry()),
        signing: Signing::Nobody,
        cache: Some(cache),
        chunk: CHUNK,
    };
    let report = observer::transfer(observer, |watch| registry::push(&asked, watch))?;
    report.warnings.iter().for_each(|warning| observer.warn(warning));
    Ok(report)
}

/// The keys that were named, else those that the key store has.
pub fn keys_at_hand(named: &[KeySource]) -> Result<Vec<SigningKey>, Error> {
    let password = Password::from_environment();
    if !named.is_empty() {
        return Ok(sign::signing_keys(named, &password)?);
    }
    let store = match KeyStore::of_user() {
        Err(sign::Error::NoHome) => return Ok(Vec::new()),
        store => store?,
    };
    let mut keys = Vec::new();
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        match store.key_of(algorithm, &password) {
            Err(sign::Error::NoKey { .. }) => {}
            key => keys.push(key?),
        }
    }
    Ok(keys)
}
