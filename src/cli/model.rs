//! The model that a command names, brought here.

use crate::cache::Cache;
use crate::source::{self, FetchRequest, Fetched, Source};

use super::failure::Failure;
use super::push::Bar;

/// The model, which is fetched with a bar on a terminal where it isn't here.
pub(super) fn fetch(source: &Source, offline: bool, plain_http: bool, quiet: bool) -> Result<Fetched, Failure> {
    if let Some(path) = source.path() {
        return Ok(Fetched { path: path.into(), pinned: None });
    }
    let cache = Cache::from_environment()?;
    let bar = Bar::new("fetching", quiet);
    let fetched = source::fetch(&FetchRequest { source, locked: None, offline, plain_http }, &cache, &bar);
    bar.0.finish_and_clear();
    Ok(fetched?)
}
