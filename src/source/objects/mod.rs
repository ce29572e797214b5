//! A model in an object store → a folder in the cache: one object with what its graph names beside it, or all that is
//! below a prefix.
//!
//! The requests are `object_store`'s, signed by it; [`http`] carries them. Which credentials count is decided by a file
//! for each kind of store. Everything happens on the calling thread.

mod az;
mod fit;
mod gs;
mod http;
mod location;
mod s3;
mod said;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path as Key;
use object_store::{BackoffConfig, GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig};

pub use location::{Location, StoreKind};

use self::http::{Connector, OfObject, Trail};
use super::Error;
use super::choose::is_model;
use super::content::{LARGEST_MODEL, MOST_FILES};
use super::error::files;
use super::listed::{Bring, Brought, Order};
use super::surroundings::Surroundings;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::interrupt;
use crate::model;
use crate::registry::{Fault, HostError};

/// Times that a download which doesn't get on is begun again.
const MOST_TRIES: u32 = 4;

/// A store that can be asked.
#[derive(Clone)]
struct Opened {
    store: Arc<dyn ObjectStore>,
    /// As whom, for messages.
    who: String,
    /// Where credentials go.
    hint: &'static str,
}

/// How often a request is sent again, and how long it is waited in between.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(4),
            base: 2.,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(120),
    }
}

/// Settings that `object_store` can't work with. Its words name settings, and no values that are secret.
fn unusable(origin: &str, error: &object_store::Error) -> Error {
    let reason = error.to_string();
    let reason = reason.split_once(" error: ").map_or(reason.as_str(), |(_, rest)| rest);
    Error::Credentials { origin: origin.into(), reason: reason.to_lowercase() }
}

/// Opens a bucket by what the process's surroundings say.
fn open(location: &Location, connector: &Connector, region: Option<&str>) -> Result<Opened, Error> {
    let around = Surroundings::of_process();
    match location.kind {
        StoreKind::S3 => s3::open(location, &around, connector, region),
        StoreKind::Gs => gs::open(location, &around, connector),
        StoreKind::Az => az::open(location, &around, connector),
    }
}

/// What is at a location.
pub(super) struct Objects<'a> {
    location: &'a Location,
    plain_http: bool,
}

impl<'a> Objects<'a> {
    pub(super) fn at(location: &'a Location, plain_http: bool) -> Self {
        Objects { location, plain_http }
    }
}

impl Bring for Objects<'_> {
    fn bring(&self, order: &mut Order<'_>) -> Result<Brought, Error> {
        let bucket = self.open()?;
        let version = self.location.version.as_deref().or(order.locked);
        let one = if self.location.is_folder() { None } else { bucket.head(&self.location.key, version)? };
        match one {
            Some(object) => self.one(&bucket, object, version, order),
            None => self.folder(&bucket, order),
        }
    }
}

impl Objects<'_> {
    /// The bucket, for those who know what they want of it. Nothing is asked yet.
    pub(super) fn open(&self) -> Result<Bucket, Error> {
        Bucket::open(self.location, self.plain_http)
    }

    /// Downloads one object below the key.
    pub(super) fn file(&self, bucket: &Bucket, path: &str, order: &Order<'_>) -> Result<PathBuf, Error> {
        let key = format!("{}/{path}", self.location.key.trim_end_matches('/'));
        let key = key.trim_start_matches('/');
        let missing = || order.wrong(format!("has no `{path}`: `{}/{key}` is not there", bucket.name));
        let object = bucket.head(key, None)?.ok_or_else(missing)?;
        order.watch.expects(object.size);
        bucket.part(&object, None, order)
    }

    /// Brings all that is below the key.
    fn folder(&self, bucket: &Bucket, order: &mut Order<'_>) -> Result<Brought, Error> {
        let objects = bucket.below(&self.location.key, order)?;
        let tags: Tags = objects.iter().map(|(path, object)| (path.clone(), tag(object))).collect();
        // There may be many: their digest tells them apart as well.
        let validator = Digest::of(text(&tags)).to_string();
        if order.known.is_some_and(|known| known.validator.as_deref() == Some(&validator)) {
            return Ok(Brought::Unchanged);
        }
        let size = objects.values().fold(0u64, |size, object| size.saturating_add(object.size));
        if size > LARGEST_MODEL {
            return Err(order.wrong(format!("has objects of more than {LARGEST_MODEL} bytes")));
        }
        order.watch.expects(size);
        for (path, object) in &objects {
            bucket.fetch(object, None, path, order)?;
        }
        Ok(Brought::Files { revision: None, validator: Some(validator) })
    }

    /// Brings one object, and those beside it that it needs.
    fn one(
        &self,
        bucket: &Bucket,
        object: ObjectMeta,
        version: Option<&str>,
        order: &mut Order<'_>,
    ) -> Result<Brought, Error> {
        let name = name_of(&object, order)?;
        let known: Option<Tags> = order.known.and_then(|known| serde_json::from_str(known.validator.as_deref()?).ok());
        let mut tags = Tags::from([(name.clone(), tag(&object))]);
        if let Some(known) = known {
            for path in known.keys().filter(|path| **path != name) {
                tags.extend(bucket.head(&self.beside(path), None)?.map(|object| (path.clone(), tag(&object))));
            }
            if known == tags {
                return Ok(Brought::Unchanged);
            }
        }
        tags = Tags::from([(name.clone(), tag(&object))]);
        order.watch.expects(object.size);
        bucket.fetch(&object, version, &name, order)?;
        for path in model::needed(&order.files.path(&name), &model::Limits::default()) {
            // What is missing is told with the model's own words when it is read.
            let Some(object) = bucket.head(&self.beside(&path), None)? else { continue };
            order.watch.expects(object.size);
            bucket.fetch(&object, None, &path, order)?;
            tags.insert(path, tag(&object));
        }
        let revision = object.version.filter(|version| version != "null");
        Ok(Brought::Files { revision, validator: Some(text(&tags)) })
    }

    /// The key of a file beside the one object.
    fn beside(&self, path: &RelativePath) -> String {
        match self.location.key.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{}", path.as_str()),
            None => path.as_str().into(),
        }
    }
}

/// What tells objects from what they were before, by their paths in the model.
type Tags = BTreeMap<RelativePath, String>;

/// An object's entity tag; without one there is still when it was written.
fn tag(object: &ObjectMeta) -> String {
    object.e_tag.clone().unwrap_or_else(|| format!("{} {}", object.last_modified.to_rfc3339(), object.size))
}

fn text(tags: &Tags) -> String {
    serde_json::to_string(tags).expect("texts are JSON")
}

/// The folders that `path` is in.
fn folders(path: &RelativePath) -> impl Iterator<Item = RelativePath> {
    path.as_str().match_indices('/').filter_map(|(end, _)| path.as_str()[..end].parse().ok())
}

/// The object whose name is that of a folder which `path` is in.
fn above<'a>(path: &RelativePath, objects: &'a BTreeMap<RelativePath, ObjectMeta>) -> Option<&'a RelativePath> {
    folders(path).filter_map(|folder| Some(objects.get_key_value(&folder)?.0)).next()
}

/// The last part of an object's key, which its file is called by.
fn name_of(object: &ObjectMeta, order: &Order<'_>) -> Result<RelativePath, Error> {
    let name = object.location.filename().unwrap_or_default();
    name.parse().map_err(|error| order.wrong(format!("names a file badly: {error}")))
}

/// One bucket, and what is told of it.
pub(super) struct Bucket {
    opened: RefCell<Opened>,
    connector: Connector,
    location: Location,
    name: String,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    fn open(location: &Location, plain_http: bool) -> Result<Self, Error> {
        let connector = Connector { agent: http::agent(), trail: Trail::default(), plain_http, headers: Vec::new() };
        let opened = open(location, &connector, None)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(files("start a runtime for", Path::new(&location.to_string())))?;
        let name = format!("{}://{}", location.kind.scheme(), location.bucket);
        Ok(Bucket { opened: RefCell::new(opened), connector, location: location.clone(), name, runtime })
    }

    fn opened(&self) -> Opened {
        self.opened.borrow().clone()
    }

    /// Asks for something, and once again where the bucket turns out to be in another region.
    fn ask<T>(&self, ask: impl Fn(&Opened) -> Result<T, Error>) -> Result<T, Error> {
        let first = ask(&self.opened());
        match (&first, self.connector.trail.region()) {
            (Err(_), Some(region)) => {
                self.opened.replace(open(&self.location, &self.connector, Some(&region))?);
                ask(&self.opened())
            }
            _ => first,
        }
    }

    /// Waits for `future`; what it says went wrong is what was noted on the way.
    fn wait<T>(&self, attempt: &str, future: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        let done = self.runtime.block_on(future);
        interrupt::check()?;
        done.map_err(|error| self.trouble(attempt, &error))
    }

    fn key(&self, key: &str) -> Result<Key, Error> {
        Key::parse(key).map_err(|error| Error::NotAModel {
            source_name: format!("{}/{key}", self.name),
            reason: format!("has a key that can't be asked for ({error})"),
        })
    }

    /// The object of this key; `None` where there is none.
    fn head(&self, key: &str, version: Option<&str>) -> Result<Option<ObjectMeta>, Error> {
        let attempt = format!("look for `{}/{key}`", self.name);
        let options = GetOptions { head: true, version: version.map(String::from), ..GetOptions::default() };
        let key = self.key(key)?;
        self.ask(|opened| {
            let found = self.runtime.block_on(opened.store.get_opts(&key, options.clone()));
            interrupt::check()?;
            match found {
                Ok(found) => Ok(Some(found.meta)),
                // A version is of an object, and never of what is below a prefix.
                Err(object_store::Error::NotFound { .. }) if version.is_none() => {
                    self.connector.trail.take();
                    Ok(None)
                }
                Err(error) => Err(self.trouble(&attempt, &error)),
            }
        })
    }

    /// All objects below a prefix, by their paths from there.
    fn below(&self, prefix: &str, order: &Order<'_>) -> Result<BTreeMap<RelativePath, ObjectMeta>, Error> {
        self.ask(|opened| self.list(opened, prefix, order))
    }

    fn list(
        &self,
        opened: &Opened,
        prefix: &str,
        order: &Order<'_>,
    ) -> Result<BTreeMap<RelativePath, ObjectMeta>, Error> {
        let shown = prefix.trim_end_matches('/');
        let attempt = format!("list what is below `{}/{shown}`", self.name);
        let prefix = self.key(shown)?;
        let mut listed = opened.store.list((!shown.is_empty()).then_some(&prefix));
        let mut objects = BTreeMap::new();
        while let Some(mut object) = self.wait(&attempt, async { listed.next().await.transpose() })? {
            // It goes into a header of the next request, where not every text fits.
            object.e_tag = object.e_tag.filter(|tag| ::http::HeaderValue::from_str(tag).is_ok());
            let parts: Option<Vec<String>> =
                object.location.prefix_match(&prefix).map(|parts| parts.map(|part| part.as_ref().into()).collect());
            let path = parts.unwrap_or_default().join("/");
            if path.is_empty() {
                continue;
            }
            let path = path.parse().map_err(|error| order.wrong(format!("names a file badly: {error}")))?;
            objects.insert(path, object);
            if objects.len() > MOST_FILES {
                return Err(order.wrong(format!("has more than {MOST_FILES} files")));
            }
        }
        // Consoles keep a folder as an empty object of its name; the `/` at its end is not told.
        let is_empty = |folder: &RelativePath| objects.get(folder).is_some_and(|object| object.size == 0);
        let markers: Vec<_> = objects.keys().flat_map(folders).filter(is_empty).collect();
        markers.iter().for_each(|folder| drop(objects.remove(folder)));
        if objects.is_empty() {
            return Err(order.wrong("is not there: neither an object of that name, nor one below it"));
        }
        if let Some((file, path)) = objects.keys().find_map(|path| Some((above(path, &objects)?, path))) {
            let (file, path) = (file.as_str(), path.as_str());
            return Err(order.wrong(format!("has both `{file}` and `{path}`: a file is no folder")));
        }
        if !objects.keys().any(is_model) {
            return Err(order.wrong(format!("holds no model: none of {} objects is `.onnx`", objects.len())));
        }
        Ok(objects)
    }

    /// Brings one object to its place in the model.
    fn fetch(
        &self,
        object: &ObjectMeta,
        version: Option<&str>,
        path: &RelativePath,
        order: &mut Order<'_>,
    ) -> Result<(), Error> {
        let part = self.part(object, version, order)?;
        order.take(path, &part)
    }

    /// Downloads one object, on from where an earlier run broke off.
    fn part(&self, object: &ObjectMeta, version: Option<&str>, order: &Order<'_>) -> Result<PathBuf, Error> {
        if object.size > LARGEST_MODEL {
            return Err(order.wrong(format!("has an object of more than {LARGEST_MODEL} bytes: `{}`", object.location)));
        }
        let part = order.part(&format!("{}/{}\0{}\0{}", self.name, object.location, tag(object), object.size));
        let mut file = OpenOptions::new().create(true).append(true).open(&part).map_err(files("write", &part))?;
        let mut have = file.metadata().map_err(files("read", &part))?.len();
        if have > object.size {
            file.set_len(0).map_err(files("write", &part))?;
            have = 0;
        }
        order.watch.moved(have as i64);
        let mut tries = 0;
        while have < object.size {
            let before = have;
            let Err(error) = self.go_on(object, version, (&mut file, &part), &mut have, order) else { break };
            interrupt::check()?;
            tries = if have > before { 0 } else { tries + 1 };
            let lasting = !matches!(&error, Error::Host { error, .. } if matches!(error.fault, Fault::NoAnswer(_)));
            if lasting || tries >= MOST_TRIES {
                return Err(error);
            }
        }
        Ok(part)
    }

    /// Adds to a file what is missing of an object.
    fn go_on(
        &self,
        object: &ObjectMeta,
        version: Option<&str>,
        (file, part): (&mut File, &Path),
        have: &mut u64,
        order: &Order<'_>,
    ) -> Result<(), Error> {
        let attempt = format!("fetch `{}/{}`", self.name, object.location);
        let mut options = GetOptions {
            // What was looked at, and nothing that was put there since.
            if_match: object.e_tag.clone(),
            range: (*have > 0).then_some(GetRange::Bounded(*have..object.size)),
            version: version.map(String::from),
            ..GetOptions::default()
        };
        options.extensions.insert(OfObject);
        let answer = self.wait(&attempt, self.opened().store.get_opts(&object.location, options))?;
        let mut stream = answer.into_stream();
        while let Some(bytes) = self.wait(&attempt, async { stream.next().await.transpose() })? {
            if *have + bytes.len() as u64 > object.size {
                return Err(self.odd(&attempt, "has more bytes than it said before"));
            }
            file.write_all(&bytes).map_err(files("write", part))?;
            *have += bytes.len() as u64;
            order.watch.moved(bytes.len() as i64);
        }
        if *have < object.size {
            return Err(self.odd(&attempt, "has fewer bytes than it said before"));
        }
        Ok(())
    }

    fn odd(&self, attempt: &str, reason: &str) -> Error {
        self.told(attempt, &self.name, Fault::Answer(reason.into()))
    }

    fn told(&self, attempt: &str, host: &str, fault: Fault) -> Error {
        Error::Host { error: HostError::new(attempt, host, fault), login: self.opened().hint }
    }

    /// What an error of `object_store` means, from what was noted when it happened.
    fn trouble(&self, attempt: &str, error: &object_store::Error) -> Error {
        let Some((host, fault)) = self.connector.trail.take() else {
            let reason = error.to_string();
            let reason = reason.split_once(" error: ").map_or(reason.as_str(), |(_, rest)| rest);
            return self.odd(attempt, &format!("can't be used ({reason})"));
        };
        let fault = match fault {
            Fault::Refused { status: 401 | 403, words } => Fault::Unauthorized { who: self.opened().who, words },
            Fault::Refused { status: 412, .. } => {
                Fault::Answer("is of another object than before: it has just been replaced".into())
            }
            other => other,
        };
        self.told(attempt, &host, fault)
    }
}
