//! The config's word for the model → its files on this machine, and what the lock keeps of where they came from.

use super::Error;
use super::build::BuildRequest;
use super::observer::{self, Stopwatch};
use crate::cache::Cache;
use crate::config::{Lock, LockedSource};
use crate::source::{self, FetchRequest, Fetched, Pinned};

/// Brings the model here. What the lock says is taken where nothing newer may be; otherwise what a tag leads to now is.
pub(super) fn fetch(
    request: &BuildRequest<'_>,
    old: Option<&Lock>,
    cache: &Cache,
    watch: &mut Stopwatch<'_>,
) -> Result<Fetched, Error> {
    if let Some(fetched) = &request.fetched {
        return Ok(fetched.clone());
    }
    let source = request.config.model.source(request.config_folder);
    if let Some(path) = source.path() {
        return Ok(Fetched { path: path.into(), pinned: None });
    }
    let locked = old.and_then(|old| old.source.as_ref()).filter(|_| request.locked || request.offline);
    let plain_http = source.host().is_some_and(|registry| request.config.image.plain_http(registry));
    let asked = FetchRequest {
        locked: locked.filter(|locked| locked.name == source.name()).map(pinned),
        source: &source,
        offline: request.offline,
        plain_http: request.plain_http || plain_http,
    };
    Ok(observer::transfer(watch.observer, |watch| source::fetch(&asked, cache, watch))?)
}

/// What the lock says of where the model came from.
pub(super) fn locked(pinned: &Pinned) -> LockedSource {
    let Pinned { source, digest, revision } = pinned.clone();
    LockedSource { name: source, digest, revision }
}

fn pinned(locked: &LockedSource) -> Pinned {
    let LockedSource { name, digest, revision } = locked.clone();
    Pinned { source: name, digest, revision }
}
