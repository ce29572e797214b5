//! A model in a registry → a folder in the cache.
//!
//! Three forms are taken: a CNCF ModelPack artifact, whose layers say their paths; an image with the model below
//! `/models`, as KServe's "modelcars" have it; and an artifact whose layers have titles, as `oras push` makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;

use super::error::files;
use super::{Error, FetchRequest, Fetched, Pinned};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::image::{Architecture, Compression, walk_tar};
use crate::interrupt::Stoppable;
use crate::registry::{Origin, PullRequest, Reference, Remote, Watch};

/// Most files of a model, and most layers.
const MOST_FILES: usize = 10_000;
/// Most bytes of all files, once they are unpacked.
const LARGEST_MODEL: u64 = 256 << 30;
/// Most entries of one layer's tar.
const MOST_ENTRIES: u64 = 100_000;

/// Where models stand in an image.
const MODELS: &str = "models/";

/// ModelPack's weights, and what configures them. Its other layers are documents, code and data.
const WEIGHT: &str = "application/vnd.cncf.model.weight.";
const MODELPACK: &str = "application/vnd.cncf.model.";

/// What ModelPack says of a layer: the path of its file.
const FILE_PATH: &str = "org.cncf.model.filepath";
const TITLE: &str = "org.opencontainers.image.title";
/// What `oras` says of a layer that is a packed folder.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// How a layer holds files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holds {
    /// It is one.
    File(RelativePath),
    /// They are packed; of an image's those below [`MODELS`] count.
    Tar { compression: Compression, image: bool },
}

pub(super) fn fetch(
    request: &FetchRequest<'_>,
    reference: &str,
    cache: &Cache,
    watch: &dyn Watch,
) -> Result<Fetched, Error> {
    let origin = Origin::Registry { reference: Reference::with_registry(reference)?, plain_http: request.plain_http };
    let asked = PullRequest {
        origin: &origin,
        locked: request.locked,
        // A model is the same for all; an index of images has to be entered by some one.
        architecture: Architecture::host().unwrap_or(Architecture::Amd64),
        offline: request.offline,
        cache,
    };
    let remote = Remote::open(&asked, watch)?;
    let wrong = |reason: String| Error::NotAModel { source_name: request.source.to_string(), reason };
    let layers = choose(remote.manifest.layers()).map_err(wrong)?;
    let check = |entry: &Path| whole(entry).then(|| entry.join(FILES));
    let make = |stage: &Path| {
        layers.iter().for_each(|(layer, _)| watch.expects(layer.size()));
        let mut model = Model { folder: stage.join(FILES), files: BTreeSet::new(), bytes: 0 };
        fs::create_dir(&model.folder).map_err(files("make", &model.folder))?;
        let blob = stage.join("layer");
        for (layer, holds) in &layers {
            remote.save(layer, &blob)?;
            model.add(&blob, holds).map_err(|unfit| match unfit {
                Unfit::Files(source) => files("unpack", &blob)(source),
                Unfit::Model(reason) => wrong(reason),
            })?;
        }
        model.check().map_err(wrong)?;
        model.seal(stage)
    };
    let path = cache.take("models", &remote.manifest_digest, check, make)?;
    Ok(Fetched { path, pinned: Some(Pinned { source: request.source.name(), digest: remote.digest }) })
}

/// The layers that hold files of a model; why there are none, or what is wrong with one, as the rest of a sentence.
fn choose(layers: &[Descriptor]) -> Result<Vec<(&Descriptor, Holds)>, String> {
    if layers.len() > MOST_FILES {
        return Err(format!("has {} layers, more than {MOST_FILES}", layers.len()));
    }
    let mut chosen = Vec::new();
    for layer in layers {
        if let Some(holds) = holds(layer)? {
            chosen.push((layer, holds));
        }
    }
    if chosen.is_empty() {
        let types: BTreeSet<String> = layers.iter().map(|layer| format!("`{}`", layer.media_type())).collect();
        let types = types.into_iter().take(5).collect::<Vec<_>>().join(", ");
        return Err(format!("holds no files of a model: its layers are {types}"));
    }
    Ok(chosen)
}

fn holds(layer: &Descriptor) -> Result<Option<Holds>, String> {
    let media_type = layer.media_type().to_string();
    let annotation = |name: &str| layer.annotations().as_ref().and_then(|all| all.get(name));
    if media_type.starts_with(MODELPACK) && !media_type.starts_with(WEIGHT) {
        return Ok(None);
    }
    let image = media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.diff.");
    let folder = annotation(UNPACK).is_some_and(|unpack| unpack == "true");
    let packed = media_type.starts_with(WEIGHT) || folder;
    // `oras` gives plain files the type of an image's layer where it is told none.
    let path = annotation(FILE_PATH).or(annotation(TITLE));
    if (packed || image && path.is_none())
        && let Some(compression) = compression(&media_type)
    {
        return Ok(Some(Holds::Tar { compression, image: image && !folder }));
    }
    let Some(path) = path else { return Ok(None) };
    let path = path.parse().map_err(|error| format!("names a file badly: {error}"))?;
    Ok(Some(Holds::File(path)))
}

/// How a tar of this media type is stored; `None` where it is no tar.
fn compression(media_type: &str) -> Option<Compression> {
    let endings = [
        (".tar", Compression::None),
        (".tar+gzip", Compression::Gzip),
        (".tar.gzip", Compression::Gzip),
        (".tar+zstd", Compression::Zstd),
    ];
    endings.into_iter().find(|(ending, _)| media_type.ends_with(ending)).map(|(_, compression)| compression)
}

/// The folder of an entry that holds the model's files, and the file beside it with their digests.
const FILES: &str = "files";
const DIGESTS: &str = "digests.json";

/// Whether a cached model is as it was written.
fn whole(entry: &Path) -> bool {
    let Ok(text) = fs::read(entry.join(DIGESTS)) else { return false };
    let Ok(digests) = serde_json::from_slice::<BTreeMap<RelativePath, Digest>>(&text) else { return false };
    digests
        .iter()
        .all(|(path, digest)| Digest::of_file(&entry.join(FILES).join(path)).is_ok_and(|(found, _)| found == *digest))
}

/// A model while it is put together.
struct Model {
    folder: PathBuf,
    files: BTreeSet<RelativePath>,
    bytes: u64,
}

/// Why a layer can't be taken.
#[derive(Debug)]
enum Unfit {
    /// The system, or bytes that aren't what they say.
    Files(io::Error),
    /// More than a model may have, as the rest of a sentence.
    Model(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Unfit::Files(error)
    }
}

impl Model {
    /// Adds what the layer in the file `blob` holds, and takes that file away.
    fn add(&mut self, blob: &Path, holds: &Holds) -> Result<(), Unfit> {
        match holds {
            Holds::File(path) => {
                self.count(path, fs::metadata(blob)?.len())?;
                fs::rename(blob, self.place(path)?)?;
            }
            Holds::Tar { compression, image } => {
                self.unpack(blob, *compression, *image)?;
                fs::remove_file(blob)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &RelativePath, bytes: u64) -> Result<(), Unfit> {
        self.files.insert(path.clone());
        if self.files.len() > MOST_FILES {
            return Err(Unfit::Model(format!("has more than {MOST_FILES} files")));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > LARGEST_MODEL {
            return Err(Unfit::Model(format!("has more than {LARGEST_MODEL} bytes")));
        }
        Ok(())
    }

    /// Where a file goes, its folder made.
    fn place(&self, path: &RelativePath) -> io::Result<PathBuf> {
        let place = self.folder.join(path);
        fs::create_dir_all(place.parent().expect("a joined path has a parent"))?;
        Ok(place)
    }

    fn unpack(&mut self, blob: &Path, compression: Compression, image: bool) -> Result<(), Unfit> {
        let stored = BufReader::new(Stoppable(File::open(blob)?));
        let (mut unfit, mut own) = (None, BTreeSet::new());
        let whole = walk_tar(compression.reader(stored)?, MOST_ENTRIES, &mut |entry| {
            let path = entry.path.trim_start_matches("./").trim_end_matches('/');
            let wanted = !image || path.starts_with(MODELS);
            let Ok(path) = path.parse::<RelativePath>() else { return Ok(true) };
            match wanted.then(|| removed(&path)).flatten() {
                _ if !wanted => {}
                Some(removed) => self.remove(&removed, &own)?,
                None if entry.kind.is_file() => {
                    let mut content = entry.content.take(LARGEST_MODEL - self.bytes + 1);
                    let size = io::copy(&mut content, &mut File::create(self.place(&path)?)?)?;
                    own.insert(path.clone());
                    if let Err(error) = self.count(&path, size) {
                        unfit = Some(error);
                        return Ok(false);
                    }
                }
                None => {}
            }
            Ok(true)
        })?;
        match unfit {
            Some(unfit) => Err(unfit),
            None if !whole => Err(Unfit::Model(format!("has a layer of more than {MOST_ENTRIES} entries"))),
            None => Ok(()),
        }
    }

    /// Forgets a file or a folder of a lower layer; what is the layer's `own` stays.
    fn remove(&mut self, path: &RelativePath, own: &BTreeSet<RelativePath>) -> io::Result<()> {
        let below = format!("{}/", path.as_str());
        let gone = |other: &RelativePath| (other == path || other.as_str().starts_with(&below)) && !own.contains(other);
        for path in self.files.iter().filter(|other| gone(other)) {
            fs::remove_file(self.folder.join(path))?;
        }
        self.files.retain(|other| !gone(other));
        Ok(())
    }

    /// Whether there is something to serve; why not, as the rest of a sentence.
    fn check(&self) -> Result<(), String> {
        let extension = |path: &RelativePath| path.as_str().rsplit_once('.').map(|(_, end)| end.to_lowercase());
        if self.files.iter().any(|path| extension(path).as_deref() == Some("onnx")) {
            return Ok(());
        }
        let names: Vec<String> = self.files.iter().take(5).map(|path| format!("`{}`", path.as_str())).collect();
        Err(match names.is_empty() {
            true => format!("holds no model: there are no files below `/{MODELS}`"),
            false => {
                format!("holds no model: none of {} files is `.onnx`, such as {}", self.files.len(), names.join(", "))
            }
        })
    }

    /// Writes the digests of what is there.
    fn seal(&self, stage: &Path) -> Result<(), Error> {
        let mut digests = BTreeMap::new();
        for path in &self.files {
            let place = self.folder.join(path);
            let (digest, _) = Digest::of_file(&place).map_err(files("read", &place))?;
            digests.insert(path, digest);
        }
        let text = serde_json::to_vec(&digests).expect("digests are texts");
        let path = stage.join(DIGESTS);
        fs::write(&path, text).map_err(files("write", &path))
    }
}

/// What a layer of an image takes away from those below it: `.wh.NAME` a file, `.wh..wh..opq` all of its folder.
fn removed(path: &RelativePath) -> Option<RelativePath> {
    let (folder, name) = path.as_str().rsplit_once('/')?;
    let gone = name.strip_prefix(".wh.")?;
    if gone == ".wh..opq" { folder.parse().ok() } else { format!("{folder}/{gone}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(media_type: &str, annotations: &[(&str, &str)]) -> Descriptor {
        let json = serde_json::json!({
            "mediaType": media_type, "digest": Digest::of("").to_string(), "size": 1,
            "annotations": annotations.iter().copied().collect::<BTreeMap<_, _>>(),
        });
        serde_json::from_value(json).unwrap()
    }

    fn file(path: &str) -> Option<Holds> {
        Some(Holds::File(path.parse().unwrap()))
    }

    #[test]
    fn layers_hold_files_by_their_media_types_and_annotations() {
        let tar = |compression, image| Some(Holds::Tar { compression, image });
        let weight = "application/vnd.cncf.model.weight.v1";
        type Case<'a> = (String, &'a [(&'a str, &'a str)], Option<Holds>);
        let cases: [Case<'_>; 9] = [
            (format!("{weight}.raw"), &[(FILE_PATH, "models/a.onnx")], file("models/a.onnx")),
            (format!("{weight}.tar"), &[(FILE_PATH, "a.onnx")], tar(Compression::None, false)),
            (format!("{weight}.tar+zstd"), &[], tar(Compression::Zstd, false)),
            ("application/vnd.cncf.model.doc.v1.raw".into(), &[(FILE_PATH, "README.md")], None),
            ("application/vnd.oci.image.layer.v1.tar+gzip".into(), &[], tar(Compression::Gzip, true)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip".into(), &[], tar(Compression::Gzip, true)),
            ("application/vnd.oci.image.layer.v1.tar".into(), &[(TITLE, "a.onnx")], file("a.onnx")),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip".into(),
                &[(TITLE, "folder"), (UNPACK, "true")],
                tar(Compression::Gzip, false),
            ),
            ("application/x-else".into(), &[], None),
        ];
        for (media_type, annotations, wanted) in cases {
            assert_eq!(holds(&layer(&media_type, annotations)).unwrap(), wanted, "{media_type}");
        }
    }

    #[test]
    fn a_file_can_not_leave_the_folder() {
        for path in ["../a.onnx", "/etc/passwd", "a/../../b", ""] {
            let reason = holds(&layer("application/x", &[(TITLE, path)])).unwrap_err();
            assert!(reason.contains("names a file badly"), "{reason}");
        }
    }

    #[test]
    fn an_artifact_of_something_else_says_what_it_is() {
        let reason = choose(&[layer("application/x-chart", &[])]).unwrap_err();
        assert_eq!(reason, "holds no files of a model: its layers are `application/x-chart`");
    }

    fn tar_of(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            // By hand: the library refuses to write the paths that are to be refused.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn unpacked(layers: &[&[(&str, &str)]], image: bool) -> BTreeMap<String, String> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(FILES);
        fs::create_dir(&folder).unwrap();
        let mut model = Model { folder, files: BTreeSet::new(), bytes: 0 };
        let blob = home.path().join("layer");
        for layer in layers {
            fs::write(&blob, tar_of(layer)).unwrap();
            model.add(&blob, &Holds::Tar { compression: Compression::None, image }).unwrap();
        }
        assert!(!blob.exists());
        model.seal(home.path()).unwrap();
        assert!(whole(home.path()));
        let read = |path: &RelativePath| fs::read_to_string(model.folder.join(path)).unwrap();
        let found = model.files.iter().map(|path| (path.as_str().to_string(), read(path))).collect();
        if let Some(path) = model.files.first() {
            fs::write(model.folder.join(path), "damaged").unwrap();
            assert!(!whole(home.path()));
        }
        found
    }

    #[test]
    fn of_an_image_what_stands_below_models_counts_as_the_highest_layer_has_it() {
        let low: &[(&str, &str)] =
            &[("./models/a.onnx", "old"), ("models/w/x", "1"), ("models/w/y", "2"), ("etc/passwd", "root")];
        let high: &[(&str, &str)] = &[("models/a.onnx", "new"), ("models/w/.wh.x", ""), ("models/../../climbs", "x")];
        let found = unpacked(&[low, high], true);
        let wanted = [("models/a.onnx", "new"), ("models/w/y", "2")];
        assert_eq!(found, wanted.map(|(path, text)| (path.to_string(), text.to_string())).into());
        let opaque = unpacked(&[low, &[("models/w/z", "3"), ("models/w/.wh..wh..opq", "")]], true);
        assert_eq!(opaque.keys().collect::<Vec<_>>(), ["models/a.onnx", "models/w/z"]);
    }

    #[test]
    fn of_a_packed_artifact_everything_counts() {
        assert_eq!(unpacked(&[&[("a.onnx", "1")]], false).keys().collect::<Vec<_>>(), ["a.onnx"]);
    }

    #[test]
    fn without_a_graph_there_is_no_model() {
        let mut model = Model { folder: "x".into(), files: BTreeSet::new(), bytes: 0 };
        assert_eq!(model.check().unwrap_err(), "holds no model: there are no files below `/models/`");
        model.files.insert("models/a.safetensors".parse().unwrap());
        assert!(model.check().unwrap_err().ends_with("such as `models/a.safetensors`"));
        model.files.insert("models/A.ONNX".parse().unwrap());
        assert_eq!(model.check(), Ok(()));
    }

    #[test]
    fn what_is_no_tar_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let mut model = Model { folder: home.path().into(), files: BTreeSet::new(), bytes: 0 };
        let blob = home.path().join("layer");
        fs::write(&blob, vec![b'x'; 2000]).unwrap();
        let tar = Holds::Tar { compression: Compression::None, image: false };
        assert!(matches!(model.add(&blob, &tar), Err(Unfit::Files(_))));
    }
}
