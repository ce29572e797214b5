//! An OCI layout → every fault in it. It never stops at the first, reads blobs as streams, and bounds what it unpacks.

mod fault;
mod layer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::de::DeserializeOwned;

pub use fault::{Fault, Problem};

use super::compress::Compression;
use super::describe::REF_NAME;
use super::layout::{LARGEST_JSON, blob_path, digest_of};
use crate::digest::Digest;

/// Bounds against decompression bombs and their like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes of one layer.
    pub layer_bytes: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// Faults told.
    pub faults: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { layer_bytes: 256 << 30, entries: 1 << 20, faults: 1000 }
    }
}

/// Every fault of the layout in `folder`; none if it is whole.
pub fn validate(folder: &Path) -> Vec<Fault> {
    validate_within(folder, &Limits::default())
}

/// The same within other limits.
pub fn validate_within(folder: &Path, limits: &Limits) -> Vec<Fault> {
    let mut check = Check { folder, limits, faults: Vec::new(), seen: BTreeSet::new() };
    check.mark();
    check.index();
    check.strays();
    check.faults
}

/// Deepest nesting of indexes.
const DEEPEST: usize = 4;

struct Check<'a> {
    folder: &'a Path,
    limits: &'a Limits,
    faults: Vec<Fault>,
    /// Blobs that something refers to.
    seen: BTreeSet<Digest>,
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Check<'_> {
    fn tell(&mut self, place: impl Into<String>, problem: Problem) {
        let most = self.limits.faults;
        match self.faults.len() {
            told if told < most => self.faults.push(Fault { place: place.into(), problem }),
            told if told == most => {
                self.faults.push(Fault { place: "the layout".into(), problem: Problem::More(most) });
            }
            _ => {}
        }
    }

    fn mark(&mut self) {
        let Some(mark) = self.document::<serde_json::Value>("oci-layout") else { return };
        match mark["imageLayoutVersion"].as_str() {
            Some("1.0.0") => {}
            other => self.tell("oci-layout", Problem::Version(other.unwrap_or("none").into())),
        }
    }

    fn index(&mut self) {
        let place = "index.json";
        let Some(index) = self.document::<ImageIndex>(place) else { return };
        self.index_head(place, &index);
        match index.manifests().first() {
            None => self.tell(place, Problem::Empty),
            Some(first) if *first.media_type() != MediaType::ImageManifest => {
                if *first.media_type() != MediaType::ImageIndex {
                    self.tell(place, Problem::MediaType(first.media_type().to_string()));
                }
            }
            Some(_) => {}
        }
        let mut names = BTreeSet::new();
        for (at, descriptor) in index.manifests().iter().enumerate() {
            let name = descriptor.annotations().as_ref().and_then(|all| all.get(REF_NAME));
            if let Some(name) = name.filter(|name| !names.insert((*name).clone())) {
                self.tell(place, Problem::TwiceNamed(name.clone()));
            }
            // Signatures and attestations, which follow the image, are manifests with layers of other kinds.
            self.entry(place, descriptor, at == 0, 0);
        }
    }

    fn index_head(&mut self, place: &str, index: &ImageIndex) {
        if index.schema_version() != 2 {
            self.tell(place, Problem::Version(index.schema_version().to_string()));
        }
        if let Some(other) = index.media_type().as_ref().filter(|kind| **kind != MediaType::ImageIndex) {
            self.tell(place, Problem::MediaType(other.to_string()));
        }
    }

    /// A descriptor in an index.
    fn entry(&mut self, place: &str, descriptor: &Descriptor, is_image: bool, depth: usize) {
        match descriptor.media_type() {
            MediaType::ImageManifest => {
                if let Some((blob, manifest)) = self.json_blob::<ImageManifest>(place, descriptor) {
                    self.manifest(&blob, descriptor, &manifest, is_image);
                }
            }
            MediaType::ImageIndex if depth >= DEEPEST => self.tell(place, Problem::Depth),
            MediaType::ImageIndex => {
                let Some((blob, index)) = self.json_blob::<ImageIndex>(place, descriptor) else { return };
                self.index_head(&blob, &index);
                for descriptor in index.manifests() {
                    self.entry(&blob, descriptor, is_image, depth + 1);
                }
            }
            _ => drop(self.plain_blob(place, descriptor)),
        }
    }

    fn manifest(&mut self, place: &str, descriptor: &Descriptor, manifest: &ImageManifest, is_image: bool) {
        if manifest.schema_version() != 2 {
            self.tell(place, Problem::Version(manifest.schema_version().to_string()));
        }
        if let Some(other) = manifest.media_type().as_ref().filter(|kind| **kind != MediaType::ImageManifest) {
            self.tell(place, Problem::MediaType(other.to_string()));
        }
        let config = manifest.config();
        if *config.media_type() != MediaType::ImageConfig {
            if is_image {
                self.tell(place, Problem::MediaType(config.media_type().to_string()));
            }
            self.plain_blob(place, config);
            for layer in manifest.layers() {
                self.plain_blob(place, layer);
            }
            return;
        }
        let mut diff_ids = Vec::new();
        if let Some((blob, config)) = self.json_blob::<ImageConfiguration>(place, config) {
            self.configuration(&blob, &config, descriptor, manifest.layers().len());
            diff_ids = config.rootfs().diff_ids().clone();
        }
        for (at, layer) in manifest.layers().iter().enumerate() {
            self.layer(place, layer, diff_ids.get(at).map(String::as_str), is_image);
        }
    }

    fn configuration(&mut self, place: &str, config: &ImageConfiguration, descriptor: &Descriptor, layers: usize) {
        let rootfs = config.rootfs();
        if rootfs.typ() != "layers" {
            self.tell(place, Problem::Field { field: "rootfs.type", value: rootfs.typ().clone() });
        }
        if rootfs.diff_ids().len() != layers {
            self.tell(place, Problem::DiffIdCount { diff_ids: rootfs.diff_ids().len(), layers });
        }
        if let Some(history) = config.history().as_ref().filter(|history| !history.is_empty()) {
            let history = history.iter().filter(|entry| entry.empty_layer() != Some(true)).count();
            if history != layers {
                self.tell(place, Problem::HistoryCount { history, layers });
            }
        }
        if let Some(created) = config.created().as_ref().filter(|created| !is_rfc3339(created)) {
            self.tell(place, Problem::Field { field: "created", value: created.clone() });
        }
        if let Some(said) = descriptor.platform() {
            let found = format!("{}/{}", config.os(), config.architecture());
            let said = format!("{}/{}", said.os(), said.architecture());
            if said != found {
                self.tell(place, Problem::Platform { said, found });
            }
        }
    }

    fn layer(&mut self, place: &str, descriptor: &Descriptor, diff_id: Option<&str>, is_image: bool) {
        let Some(compression) = Compression::of_media_type(descriptor.media_type()) else {
            if is_image {
                self.tell(place, Problem::MediaType(descriptor.media_type().to_string()));
            }
            // A signature's payload stands as it is: its content is itself.
            let found = self.plain_blob(place, descriptor);
            if let (Some(found), Some(said), false) = (found, diff_id, is_image)
                && found.to_string() != said
            {
                self.tell(blob_name(&found), Problem::DiffId { said: said.into(), found });
            }
            return;
        };
        let Some((digest, file)) = self.open_blob(place, descriptor) else { return };
        let name = blob_name(&digest);
        let limits = self.limits;
        let mut tell = |path: Option<&str>, problem| match path {
            Some(path) => self.tell(format!("{name}: {path}"), problem),
            None => self.tell(&name, problem),
        };
        match layer::read(file, compression, limits, &mut tell) {
            Err(error) => self.tell(&name, Problem::Unreadable(error.to_string())),
            Ok(seen) => {
                self.compare(&name, &digest, descriptor, seen.stored);
                if let (Some(found), Some(said)) = (seen.diff_id, diff_id)
                    && found.to_string() != said
                {
                    self.tell(&name, Problem::DiffId { said: said.into(), found });
                }
            }
        }
    }

    /// A blob of any kind; gives the digest that its descriptor says.
    fn plain_blob(&mut self, place: &str, descriptor: &Descriptor) -> Option<Digest> {
        let (digest, file) = self.open_blob(place, descriptor)?;
        match Digest::of_reader(file) {
            Err(error) => self.tell(blob_name(&digest), Problem::Unreadable(error.to_string())),
            Ok(found) => self.compare(&blob_name(&digest), &digest, descriptor, found),
        }
        Some(digest)
    }

    /// A blob that is a JSON document; gives its name too.
    fn json_blob<T: DeserializeOwned>(&mut self, place: &str, descriptor: &Descriptor) -> Option<(String, T)> {
        let digest = self.plain_blob(place, descriptor)?;
        let name = blob_name(&digest);
        Some((name.clone(), self.document(&name)?))
    }

    fn compare(&mut self, name: &str, digest: &Digest, descriptor: &Descriptor, (found, size): (Digest, u64)) {
        if size != descriptor.size() {
            self.tell(name, Problem::Size { said: descriptor.size(), found: size });
        }
        if found != *digest {
            self.tell(name, Problem::Digest { found });
        }
    }

    fn open_blob(&mut self, place: &str, descriptor: &Descriptor) -> Option<(Digest, File)> {
        let digest = match digest_of(descriptor) {
            Ok(digest) => digest,
            Err(reason) => {
                self.tell(place, Problem::BadDigest(reason));
                return None;
            }
        };
        self.seen.insert(digest);
        let file = self.open(&blob_name(&digest), &blob_path(self.folder, &digest))?;
        Some((digest, file))
    }

    fn open(&mut self, place: &str, path: &Path) -> Option<File> {
        let problem = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Problem::Missing,
            Err(error) => Problem::Unreadable(error.to_string()),
            Ok(data) if !data.is_file() => Problem::NotAFile,
            Ok(_) => match File::open(path) {
                Ok(file) => return Some(file),
                Err(error) => Problem::Unreadable(error.to_string()),
            },
        };
        self.tell(place, problem);
        None
    }

    fn document<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        use std::io::Read;
        let file = self.open(name, &self.folder.join(name))?;
        let mut bytes = Vec::new();
        if let Err(error) = file.take(LARGEST_JSON + 1).read_to_end(&mut bytes) {
            self.tell(name, Problem::Unreadable(error.to_string()));
            return None;
        }
        if bytes.len() as u64 > LARGEST_JSON {
            self.tell(name, Problem::Limit(format!("{LARGEST_JSON} bytes a document")));
            return None;
        }
        serde_json::from_slice(&bytes).map_err(|error| self.tell(name, Problem::Parse(error.to_string()))).ok()
    }

    /// Files that nothing refers to: every byte of a layout of ours is accounted for.
    fn strays(&mut self) {
        let known: BTreeSet<String> =
            ["index.json", "oci-layout"].into_iter().map(String::from).chain(self.seen.iter().map(blob_name)).collect();
        let folders = ["blobs", "blobs/sha256"];
        let mut strays = BTreeMap::new();
        let walk = walkdir::WalkDir::new(self.folder).min_depth(1).sort_by_file_name();
        for entry in walk.into_iter().filter_map(Result::ok) {
            let name = entry.path().strip_prefix(self.folder).unwrap_or(entry.path()).to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_dir() && folders.contains(&name.as_str());
            if !is_folder && !known.contains(&name) {
                strays.insert(name, Problem::Stray);
            }
        }
        for (name, problem) in strays {
            self.tell(name, problem);
        }
    }
}

/// `YYYY-MM-DDTHH:MM:SS`, perhaps a fraction, then `Z` or an offset: as strictly as engines read it.
fn is_rfc3339(text: &str) -> bool {
    let number =
        |range: std::ops::Range<usize>| text.get(range).filter(|part| part.bytes().all(|c| c.is_ascii_digit()));
    let within = |range, low, high| {
        number(range).and_then(|part| part.parse().ok()).is_some_and(|n: u32| (low..=high).contains(&n))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|&(at, mark)| text.as_bytes().get(at) == Some(&mark)) {
        return false;
    }
    let date = within(0..4, 0, 9999) && within(5..7, 1, 12) && within(8..10, 1, 31);
    let time = within(11..13, 0, 23) && within(14..16, 0, 59) && within(17..19, 0, 59);
    let rest = text.get(19..).unwrap_or("");
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = rest.len() == 6 && rest.starts_with(['+', '-']) && rest.as_bytes()[3] == b':';
    date && time && (rest == "Z" || offset)
}

#[cfg(test)]
mod tests;
