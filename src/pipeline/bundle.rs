//! An output folder → one file for an air gap; such a file → what is in it, checked, and on into a registry.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::files;
use super::{Destination, Error, Pushed, Sink, chart, layout_in, verify};
use crate::bundle::{self, CONTENTS, Contents, Entry, FORMAT, Reader, Source, Unpacked};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::{self as tree, RelativePath};
use crate::image::{self, OpenedLayout};
use crate::interrupt::Stoppable;
use crate::registry::Watch;
use crate::sign::{self, KeyId, SigningKey, TrustedKeys, Verdict};

/// What of an output folder goes along besides image and chart, where it is there. What was measured or recorded on the
/// machine that built it, and what names places of its own, stays.
const BESIDE: [&str; 9] = [
    "dist/cosign.pub",
    "dist/model.pub",
    "dist/model.sig",
    "dist/provenance.json",
    "dist/sbom.cdx.json",
    "dist/sbom.spdx.json",
    "nimify.lock",
    "openapi.yaml",
    "signature.json",
];

/// What is to be written where.
#[derive(Debug)]
pub struct BundleRequest<'a> {
    /// The folder that `create` or `build` wrote.
    pub folder: &'a Path,
    /// The file; `None` for `NAME-VERSION.bundle.tar` here.
    pub output: Option<PathBuf>,
    /// Who vouches for what is in it.
    pub keys: &'a [SigningKey],
    /// Replace a file that is there.
    pub force: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleReport {
    /// The file.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What the image is called.
    pub image: String,
    /// The image's digest.
    pub image_digest: Digest,
    /// The chart's file in it.
    pub chart: Option<String>,
    /// The keys that vouch for it.
    pub signed_by: Vec<String>,
    /// Whether the file was there with these very bytes.
    pub unchanged: bool,
}

/// What stands where in a bundle.
type Parts = Vec<(Entry, Source)>;

/// Writes the bundle of an output folder.
pub fn bundle(request: &BundleRequest<'_>) -> Result<BundleReport, Error> {
    let layout = layout_in(request.folder);
    let opened = image::open_layout(&layout)?;
    if let Verdict::Refused { faults } = sign::verify_layout(&layout, &TrustedKeys::default())? {
        return Err(Error::NotWhole { path: layout, faults: faults.iter().map(ToString::to_string).collect() });
    }
    let name = opened.reference.clone().ok_or_else(|| Error::Nameless(layout.clone()))?;
    let (mut parts, chart) = beside(request.folder)?;
    parts.extend(image_parts(&opened, &name)?);
    parts.sort_by(|one, other| one.0.path.cmp(&other.0.path));
    let (entries, sources): (Vec<Entry>, Vec<Source>) = parts.into_iter().unzip();
    let contents = Contents { format: FORMAT.into(), image: name.clone(), digest: opened.digest, entries };
    let of = Digest::of(contents.to_json());
    let mut signatures = Vec::new();
    for key in request.keys {
        signatures.extend(sign::sign_contents(key, CONTENTS, &of)?);
        signatures.push(b'\n');
    }
    let path = request.output.clone().unwrap_or_else(|| default_name(&name).into());
    let (digest, size, unchanged) = write(&path, request.force, &contents, &signatures, &sources)?;
    Ok(BundleReport {
        path,
        digest,
        size,
        image: name,
        image_digest: opened.digest,
        chart,
        signed_by: request.keys.iter().map(|key| key.public().id().to_string()).collect(),
        unchanged,
    })
}

/// `NAME-VERSION.bundle.tar`, of an image called `…/NAME:VERSION`.
fn default_name(image: &str) -> String {
    let (name, version) = named(image);
    format!("{name}-{version}.bundle.tar")
}

/// The last part of an image's name, and its tag.
fn named(image: &str) -> (&str, &str) {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').unwrap_or((last, "latest"))
}

/// Writes the file beside its place; gives its digest and size, and whether it was there already.
fn write(
    path: &Path,
    force: bool,
    contents: &Contents,
    signatures: &[u8],
    sources: &[Source],
) -> Result<(Digest, u64, bool), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there = path.symlink_metadata().is_ok();
    if there && !force && !path.is_file() {
        return Err(Error::FileInTheWay(path.into()));
    }
    let beside = tempfile::Builder::new().prefix(".nimify-").tempfile_in(folder).map_err(files("write in", folder))?;
    let out = BufWriter::with_capacity(1 << 20, beside.as_file());
    let (digest, size) = bundle::write(contents, signatures, sources, out).map_err(refused(path))?;
    if there && Digest::of_file(path).is_ok_and(|found| found == (digest, size)) {
        return Ok((digest, size, true));
    }
    if there && !force {
        return Err(Error::FileInTheWay(path.into()));
    }
    beside.as_file().sync_all().map_err(files("write", path))?;
    tree::set_mode(beside.path(), 0o644).map_err(files("write", path))?;
    beside.persist(path).map_err(|error| error.error).map_err(files("write", path))?;
    Ok((digest, size, false))
}

fn part(path: &str, bytes: Vec<u8>) -> Result<(Entry, Source), Error> {
    let entry = Entry { path: relative(path)?, size: bytes.len() as u64, digest: Digest::of(&bytes) };
    Ok((entry, Source::Bytes(bytes)))
}

fn relative(path: &str) -> Result<RelativePath, Error> {
    path.parse().map_err(|error| files("bundle", Path::new(path))(std::io::Error::other(error)))
}

/// The image as an archive for other tools, and the layout's whole index.
fn image_parts(opened: &OpenedLayout, name: &str) -> Result<Parts, Error> {
    let blobs = opened.folder.join("blobs/sha256");
    let mut parts = Vec::new();
    for blob in fs::read_dir(&blobs).map_err(files("read", &blobs))? {
        let path = blob.map_err(files("read", &blobs))?.path();
        // The layout was found to be whole: each file is named by its digest.
        let hex = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let digest =
            format!("sha256:{hex}").parse().map_err(|error| files("bundle", &path)(std::io::Error::other(error)))?;
        let size = fs::metadata(&path).map_err(files("read", &path))?.len();
        let entry = Entry { path: relative(&format!("blobs/sha256/{hex}"))?, size, digest };
        parts.push((entry, Source::File(path)));
    }
    for (path, bytes) in image::loadable(opened, &[name.to_string()])? {
        parts.push(part(path, bytes)?);
    }
    let index = opened.folder.join("index.json");
    parts.push(part("nimify/index.json", fs::read(&index).map_err(files("read", &index))?)?);
    Ok(parts)
}

/// Chart and documents, and the name of the packed chart.
fn beside(folder: &Path) -> Result<(Parts, Option<String>), Error> {
    let mut parts = Vec::new();
    for name in BESIDE {
        match fs::read(folder.join(name)) {
            Ok(bytes) => parts.push(part(&format!("nimify/{name}"), bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(files("read", &folder.join(name))(error)),
        }
    }
    if !chart::chart_in(folder).exists() {
        return Ok((parts, None));
    }
    let chart = chart::read(folder)?;
    let package = crate::chart::package(&chart)?;
    for (path, bytes) in chart {
        parts.push(part(&format!("nimify/chart/{}", path.as_str()), bytes)?);
    }
    let name = package.file_name();
    parts.push(part(&format!("nimify/{name}"), package.archive)?);
    Ok((parts, Some(name)))
}

/// A bundle that was unpacked into a folder of its own, which goes when this goes. Every digest holds; who vouches for
/// it is not known yet.
#[derive(Debug)]
pub struct UnpackedBundle {
    folder: tempfile::TempDir,
    /// While it is open, nothing is pruned.
    _cache: Cache,
    path: PathBuf,
    contents: Contents,
    contents_digest: Digest,
    signatures: Vec<Vec<u8>>,
    file: Unpacked,
}

/// What became of a bundle that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleVerdict {
    /// What is found of its image.
    pub image: Verdict,
    /// The trusted keys that vouch for all that is in it.
    pub signers: BTreeSet<KeyId>,
    /// How many it takes.
    pub threshold: usize,
}

impl BundleVerdict {
    /// Whether image and contents are vouched for.
    pub fn is_trusted(&self) -> bool {
        self.image.is_trusted() && self.signers.len() >= self.threshold
    }
}

/// What the system refuses is no fault of the bundle.
fn refused(path: &Path) -> impl FnOnce(bundle::Error) -> Error {
    let path = path.to_path_buf();
    move |error| match error {
        bundle::Error::Io(attempt, source) => Error::Files { attempt, path, source },
        source => Error::Bundle { path, source },
    }
}

/// Unpacks a bundle into a folder in the cache, as an output folder.
pub fn unpack_bundle(path: &Path) -> Result<UnpackedBundle, Error> {
    let cache = Cache::from_environment()?;
    let file = File::open(path).map_err(files("read", path))?;
    let reader = Reader::open(Stoppable(BufReader::with_capacity(1 << 20, file))).map_err(refused(path))?;
    let room = cache.root();
    let size = reader.contents.size().unwrap_or(u64::MAX);
    if let Ok(disk) = rustix::fs::statvfs(room)
        && disk.f_bavail.saturating_mul(disk.f_frsize) < size
    {
        return Err(files("unpack a bundle in", room)(std::io::ErrorKind::StorageFull.into()));
    }
    let folder = cache.scratch()?;
    let (contents_digest, signatures) = (reader.contents_digest, reader.signatures.clone());
    let (contents, file) = reader.unpack(folder.path(), place).map_err(refused(path))?;
    let unpacked =
        UnpackedBundle { folder, _cache: cache, path: path.into(), contents, contents_digest, signatures, file };
    unpacked.check()?;
    Ok(unpacked)
}

/// Where an entry goes in the output folder. What only other tools read goes to a folder aside.
fn place(path: &str) -> String {
    match path.strip_prefix("nimify/") {
        Some("index.json") => "dist/image/index.json".into(),
        Some(path) => path.into(),
        None if path == "oci-layout" || path.starts_with("blobs/") => format!("dist/image/{path}"),
        None => format!("aside/{path}"),
    }
}

impl UnpackedBundle {
    /// The output folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The whole file's digest.
    pub fn digest(&self) -> Digest {
        self.file.digest
    }

    fn layout(&self) -> PathBuf {
        self.folder().join("dist/image")
    }

    /// What is there twice, for tools that know nothing of nimify, has to be the same.
    fn check(&self) -> Result<(), Error> {
        let refused = |place: &str, what: &str| {
            let source = bundle::Error::Broken { place: place.into(), what: what.into() };
            Err(Error::Bundle { path: self.path.clone(), source })
        };
        let opened = image::open_layout(&self.layout())?;
        if opened.digest != self.contents.digest || opened.reference.as_ref() != Some(&self.contents.image) {
            return refused("nimify/index.json", "doesn't begin with the image that `bundle.json` names");
        }
        for (name, bytes) in image::loadable(&opened, std::slice::from_ref(&self.contents.image))? {
            let path = self.folder().join(place(name));
            if fs::read(&path).ok() != Some(bytes) {
                return refused(name, "is not about the image that `bundle.json` names");
            }
        }
        if self.has_chart() {
            let package = crate::chart::package(&chart::read(self.folder())?)?;
            if fs::read(self.folder().join(package.file_name())).ok() != Some(package.archive) {
                return refused(&format!("nimify/{}.tgz", package.name), "is not the chart in `nimify/chart`");
            }
        }
        Ok(())
    }

    /// Whether there is a chart in it.
    pub fn has_chart(&self) -> bool {
        chart::chart_in(self.folder()).is_dir()
    }

    /// Asks who vouches for it.
    pub fn verify(&self, trusted: &TrustedKeys) -> Result<BundleVerdict, Error> {
        let signers =
            self.signatures.iter().filter_map(|line| sign::contents_signer(line, &self.contents_digest, trusted));
        let signers = signers.collect();
        Ok(BundleVerdict { image: verify(&self.layout(), trusted)?, signers, threshold: trusted.threshold() })
    }

    /// Pushes it below `REGISTRY[/PREFIX]`: the image under its own name, the chart under `charts/`.
    pub fn push(&self, below: &str, destination: &Destination, watch: &dyn Watch) -> Result<Pushed, Error> {
        let below = below.trim_end_matches('/');
        let (name, version) = named(&self.contents.image);
        let destination = Destination {
            to: Some(format!("{below}/{name}:{version}")),
            chart_to: self.has_chart().then(|| format!("{below}/charts")),
            ..destination.clone()
        };
        destination.deliver(self.folder(), watch)
    }
}
