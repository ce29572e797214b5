//! A source that has no digest of its own → a folder in the cache, pinned by the listing of its files.
//!
//! What a scheme has to say is in its [`Bring`]; when the network is asked, what is taken from the cache, and what a lock
//! means is the same for all and decided here.

use std::path::{Path, PathBuf};

use super::content::{self, ModelFiles};
use super::error::files;
use super::memory::{Known, Memory};
use super::{Error, FetchRequest, Fetched, Pinned};
use crate::cache::Cache;
use crate::files::RelativePath;
use crate::registry::Watch;

/// What one scheme does.
pub(super) trait Bring {
    /// Puts the model's files into the order, or says that they are those that are known.
    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error>;

    /// Whether it may be asked without a network: it has a cache of somebody else's to read.
    fn offline(&self) -> bool {
        false
    }
}

/// What is to be brought, and where to.
pub(super) struct Order<'a> {
    /// The source, for messages.
    pub(super) source_name: String,
    /// The revision that is locked: this one, and no other, is to be brought.
    pub(super) locked: Option<&'a str>,
    /// The network is not to be used.
    pub(super) offline: bool,
    /// What the source led to before; its files are in the cache.
    pub(super) known: Option<&'a Known>,
    /// The model's files.
    pub(super) files: ModelFiles,
    /// Is told of bytes.
    pub(super) watch: &'a dyn Watch,
    parts: PathBuf,
}

impl Order<'_> {
    /// The file in which a download of `what` goes on where an earlier run was interrupted. `what` names these bytes and
    /// no others: an address with an entity tag, a revision with a path.
    pub(super) fn part(&self, what: &str) -> PathBuf {
        self.parts.join(crate::digest::Digest::of(what).hex())
    }

    /// Moves a file that has come to its place in the model.
    pub(super) fn take(&mut self, path: &RelativePath, from: &Path) -> Result<(), Error> {
        self.files.take(path, from).map_err(|unfit| unfit.of(&self.source_name, from))
    }

    /// The source holds no model; why, as the rest of a sentence.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> Error {
        Error::NotAModel { source_name: self.source_name.clone(), reason: reason.into() }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Brought {
    /// Nothing has changed since what is known.
    Unchanged,
    /// The files are in the order.
    Files {
        /// [`Pinned::revision`].
        revision: Option<String>,
        /// [`Known::validator`].
        validator: Option<String>,
    },
}

/// Fetches by `scheme`: from the cache what is locked or, offline, what was there last; else what is there now.
pub(super) fn fetch(
    request: &FetchRequest<'_>,
    scheme: &dyn Bring,
    cache: &Cache,
    watch: &dyn Watch,
) -> Result<Fetched, Error> {
    let name = request.source.name();
    if let Some(pinned) = &request.locked
        && let Some(path) = at_hand(cache, &pinned.digest)
    {
        return Ok(Fetched { path, pinned: Some(pinned.clone()) });
    }
    let memory = Memory::of(&request.source.to_string(), cache)?;
    let pinned =
        |known: &Known| Pinned { source: name.clone(), digest: known.digest, revision: known.revision.clone() };
    let before = memory.recall().and_then(|known| Some((at_hand(cache, &known.digest)?, known)));
    if request.offline {
        if let Some((path, known)) = before.as_ref().filter(|_| request.locked.is_none()) {
            return Ok(Fetched { path: path.clone(), pinned: Some(pinned(known)) });
        }
        if !scheme.offline() {
            return Err(Error::NotCached { source_name: name });
        }
    }
    let mut order = Order {
        source_name: name.clone(),
        locked: request.locked.as_ref().and_then(|pinned| pinned.revision.as_deref()),
        offline: request.offline,
        known: before.as_ref().map(|(_, known)| known).filter(|_| request.locked.is_none()),
        files: ModelFiles::begin(&memory.stage()?)?,
        watch,
        parts: memory.parts()?,
    };
    let brought = scheme.bring(&mut order)?;
    let Brought::Files { revision, validator } = brought else {
        let (path, known) = before.expect("nothing can be unchanged where nothing was known");
        return Ok(Fetched { path, pinned: Some(pinned(&known)) });
    };
    order.files.check("").map_err(|reason| order.wrong(reason))?;
    let listing = order.files.listing()?;
    let known = Known { digest: content::digest(&listing), revision, validator };
    if let Some(locked) = request.locked.as_ref().filter(|locked| locked.digest != known.digest) {
        return Err(Error::Changed { source_name: name, locked: locked.digest, found: known.digest });
    }
    let path = cache.take("models", &known.digest, content::whole, |entry| {
        order.files.move_to(entry).map_err(files("put files in place in", entry))?;
        content::write_listing(entry, &listing)
    })?;
    memory.keep(&known)?;
    memory.clear()?;
    Ok(Fetched { path, pinned: Some(request.locked.clone().unwrap_or_else(|| pinned(&known))) })
}

/// The files of a model that is in the cache.
fn at_hand(cache: &Cache, digest: &crate::digest::Digest) -> Option<PathBuf> {
    content::whole(&cache.root().join("models").join(digest.hex()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::digest::Digest;
    use crate::source::Source;

    /// A source of one file, whose content is its revision.
    struct Made {
        content: &'static str,
        asked: Cell<u32>,
    }

    impl Bring for Made {
        fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
            self.asked.set(self.asked.get() + 1);
            let content = order.locked.unwrap_or(self.content);
            if order.known.is_some_and(|known| known.revision.as_deref() == Some(content)) {
                return Ok(Brought::Unchanged);
            }
            let part = order.part(content);
            fs::write(&part, content).unwrap();
            order.take(&"a.onnx".parse().unwrap(), &part)?;
            Ok(Brought::Files { revision: Some(content.into()), validator: None })
        }
    }

    struct Desk {
        home: tempfile::TempDir,
        source: Source,
    }

    impl Desk {
        fn new() -> Self {
            Desk { home: tempfile::tempdir().unwrap(), source: "oci://r.example.com/a".parse().unwrap() }
        }

        fn fetch(&self, made: &Made, locked: Option<&Pinned>, offline: bool) -> Result<(String, Pinned), Error> {
            let cache = Cache::open(self.home.path().into()).unwrap();
            let request = FetchRequest { source: &self.source, locked: locked.cloned(), offline, plain_http: false };
            let fetched = fetch(&request, made, &cache, &())?;
            Ok((fs::read_to_string(fetched.path.join("a.onnx")).unwrap(), fetched.pinned.unwrap()))
        }
    }

    fn made(content: &'static str) -> Made {
        Made { content, asked: Cell::new(0) }
    }

    #[test]
    fn what_is_known_is_not_fetched_again_and_what_is_locked_is_not_even_asked_for() {
        let desk = Desk::new();
        let (text, first) = desk.fetch(&made("1"), None, false).unwrap();
        assert_eq!((text.as_str(), first.revision.as_deref()), ("1", Some("1")));
        assert_eq!(desk.fetch(&made("1"), None, false).unwrap().1, first);
        let (text, second) = desk.fetch(&made("2"), None, false).unwrap();
        assert_eq!(text, "2");
        assert_ne!(first.digest, second.digest);
        let scheme = made("2");
        assert_eq!(desk.fetch(&scheme, Some(&first), false).unwrap(), ("1".into(), first));
        assert_eq!(desk.fetch(&scheme, None, true).unwrap(), ("2".into(), second));
        assert_eq!(scheme.asked.get(), 0);
    }

    #[test]
    fn without_a_network_there_is_only_what_is_cached() {
        let desk = Desk::new();
        assert!(matches!(desk.fetch(&made("1"), None, true), Err(Error::NotCached { .. })));
        let (_, pinned) = desk.fetch(&made("1"), None, false).unwrap();
        let other = Pinned { digest: Digest::of("other"), ..pinned };
        assert!(matches!(desk.fetch(&made("1"), Some(&other), true), Err(Error::NotCached { .. })));
    }

    #[test]
    fn what_is_locked_is_brought_by_its_revision_and_must_be_the_same() {
        let (one, two) = (Desk::new(), Desk::new());
        let (_, pinned) = one.fetch(&made("1"), None, false).unwrap();
        assert_eq!(two.fetch(&made("2"), Some(&pinned), false).unwrap(), ("1".into(), pinned.clone()));
        let forged = Pinned { revision: Some("3".into()), ..pinned };
        assert!(matches!(Desk::new().fetch(&made("2"), Some(&forged), false), Err(Error::Changed { .. })));
    }
}
