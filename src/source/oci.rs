//! A model in a registry → a folder in the cache.
//!
//! Three forms are taken: a CNCF ModelPack artifact, whose layers say their paths; an image with the model below
//! `/models`, as KServe's "modelcars" have it; and an artifact whose layers have titles, as `oras push` makes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use oci_spec::image::Descriptor;

use super::content::{self, MOST_FILES, ModelFiles, Unfit};
use super::memory::{Known, Memory};
use super::{Error, FetchRequest, Fetched, Pinned};
use crate::cache::Cache;
use crate::files::RelativePath;
use crate::image::{Architecture, Bounded, Compression, walk_tar};
use crate::interrupt::Stoppable;
use crate::registry::{Origin, PullRequest, Reference, Remote, Watch};

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
    let locked = match &request.locked {
        Some(pinned) => Some(pinned.digest),
        None if request.offline => Memory::of(&request.source.to_string(), cache)?.recall().map(|known| known.digest),
        None => None,
    };
    let asked = PullRequest {
        origin: &origin,
        locked,
        // A model is the same for all; an index of images has to be entered by some one.
        architecture: Architecture::host().unwrap_or(Architecture::Amd64),
        offline: request.offline,
        cache,
    };
    let remote = Remote::open(&asked, watch)?;
    let name = request.source.name();
    let wrong = |reason: String| Error::NotAModel { source_name: name.clone(), reason };
    let layers = choose(remote.manifest.layers()).map_err(wrong)?;
    let make = |entry: &Path| {
        layers.iter().for_each(|(layer, _)| watch.expects(layer.size()));
        let mut model = ModelFiles::begin(entry)?;
        let blob = entry.join("layer");
        for (layer, holds) in &layers {
            remote.save(layer, &blob)?;
            add(&mut model, &blob, holds).map_err(|unfit| unfit.of(&name, &blob))?;
        }
        model.check(&format!(" below `/{MODELS}`")).map_err(wrong)?;
        content::write_listing(entry, &model.listing()?)
    };
    let path = cache.take("models", &remote.manifest_digest, content::whole, make)?;
    if request.locked.is_none() {
        let known = Known { digest: remote.digest, revision: None, validator: None };
        Memory::of(&request.source.to_string(), cache)?.keep(&known)?;
    }
    Ok(Fetched { path, pinned: Some(Pinned { source: name, digest: remote.digest, revision: None }) })
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

/// Adds what the layer in the file `blob` holds to the model, and takes that file away.
fn add(model: &mut ModelFiles, blob: &Path, holds: &Holds) -> Result<(), Unfit> {
    match holds {
        Holds::File(path) => model.take(path, blob),
        Holds::Tar { compression, image } => {
            unpack(model, blob, *compression, *image)?;
            Ok(fs::remove_file(blob)?)
        }
    }
}

fn unpack(model: &mut ModelFiles, blob: &Path, compression: Compression, image: bool) -> Result<(), Unfit> {
    let file = File::open(blob)?;
    let size = file.metadata()?.len();
    let stored = BufReader::new(Stoppable(file));
    let (mut unfit, mut own) = (None, BTreeSet::new());
    let tar = Bounded::new(compression.reader(stored)?, size);
    let whole = walk_tar(tar, MOST_ENTRIES, &mut |entry| {
        let path = entry.path.trim_start_matches("./").trim_end_matches('/');
        let wanted = !image || path.starts_with(MODELS);
        let Ok(path) = path.parse::<RelativePath>() else { return Ok(true) };
        match wanted.then(|| removed(&path)).flatten() {
            _ if !wanted => {}
            Some(removed) => model.remove(&removed, &own)?,
            None if entry.kind.is_file() => {
                own.insert(path.clone());
                if let Err(error) = model.write(&path, entry.content) {
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

/// What a layer of an image takes away from those below it: `.wh.NAME` a file, `.wh..wh..opq` all of its folder.
fn removed(path: &RelativePath) -> Option<RelativePath> {
    let (folder, name) = path.as_str().rsplit_once('/')?;
    let gone = name.strip_prefix(".wh.")?;
    if gone == ".wh..opq" { folder.parse().ok() } else { format!("{folder}/{gone}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Digest;

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
        let mut model = ModelFiles::begin(home.path()).unwrap();
        let blob = home.path().join("layer");
        for layer in layers {
            fs::write(&blob, tar_of(layer)).unwrap();
            add(&mut model, &blob, &Holds::Tar { compression: Compression::None, image }).unwrap();
        }
        assert!(!blob.exists());
        let read = |path: &RelativePath| fs::read_to_string(model.path(path)).unwrap();
        model.paths().map(|path| (path.as_str().to_string(), read(path))).collect()
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
    fn what_is_no_tar_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let mut model = ModelFiles::begin(home.path()).unwrap();
        let blob = home.path().join("layer");
        fs::write(&blob, vec![b'x'; 2000]).unwrap();
        let tar = Holds::Tar { compression: Compression::None, image: false };
        assert!(matches!(add(&mut model, &blob, &tar), Err(Unfit::Files(_))));
    }

    #[test]
    fn a_layer_that_unpacks_without_measure_is_refused_before_it_fills_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let zeros = "\0".repeat(3 << 20);
        let bomb = zstd::encode_all(&tar_of(&[("models/a.onnx", &zeros)])[..], 19).unwrap();
        let blob = home.path().join("layer");
        fs::write(&blob, &bomb).unwrap();
        let mut model = ModelFiles::begin(home.path()).unwrap();
        let error = add(&mut model, &blob, &Holds::Tar { compression: Compression::Zstd, image: true }).unwrap_err();
        let Unfit::Files(error) = error else { panic!("{error:?}") };
        assert!(error.to_string().contains("as no files of a model do"), "{error}");
        let written = |entry: walkdir::DirEntry| entry.metadata().unwrap().len();
        let largest = walkdir::WalkDir::new(home.path()).into_iter().map(|entry| written(entry.unwrap())).max();
        assert!(largest.unwrap() <= (1 << 20) + (64 << 10));
    }
}
