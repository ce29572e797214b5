//! Files of an image out of its layers again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;

use super::bounded::Bounded;
use super::compress::Compression;
use super::entries;
use super::error::{Error, files};
use super::hashing::Hashing;
use super::layout::{OpenedLayout, blob_path, digest_of};
use super::validate::Limits;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::interrupt::Stoppable;

/// A file that was taken out of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Where it is now.
    pub path: PathBuf,
    /// Of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Writes the plain files that stand in these layers below one of `folders` into `into`, by their paths in the image: a
/// higher layer's beats a lower one's. Each layer is held against its digest.
pub fn unpack(
    layout: &OpenedLayout,
    layers: &[Descriptor],
    folders: &[&str],
    into: &Path,
) -> Result<BTreeMap<RelativePath, UnpackedFile>, Error> {
    let mut found = BTreeMap::new();
    for layer in layers {
        let wrong = |reason: String| Error::Layout { path: layout.folder.clone(), reason };
        let digest = digest_of(layer).map_err(wrong)?;
        let blob = blob_path(&layout.folder, &digest);
        let file = File::open(&blob).map_err(files("read", &blob))?;
        let size = file.metadata().map_err(files("read", &blob))?.len();
        let mut stored = Hashing::new(Stoppable(file));
        let compression = Compression::of_media_type(layer.media_type())
            .ok_or_else(|| wrong(format!("a layer is a `{}`, which can't be unpacked", layer.media_type())))?;
        compression
            .reader(BufReader::new(&mut stored))
            .and_then(|tar| take(Bounded::new(tar, size), folders, into, &mut found))
            .and_then(|()| io::copy(&mut stored, &mut io::sink()))
            .map_err(files("unpack", &blob))?;
        if stored.finish().0 != digest {
            return Err(Error::Changed { path: blob });
        }
    }
    Ok(found)
}

fn take(
    tar: impl Read,
    folders: &[&str],
    into: &Path,
    found: &mut BTreeMap<RelativePath, UnpackedFile>,
) -> io::Result<()> {
    let most = Limits::default().entries;
    let whole = entries::walk(tar, most, &mut |entry| {
        let Ok(path) = entry.path.parse::<RelativePath>() else { return Ok(true) };
        let wanted = path.as_str().split_once('/').is_some_and(|(top, _)| folders.contains(&top));
        if wanted && entry.kind.is_file() {
            let place = into.join(&path);
            fs::create_dir_all(place.parent().expect("a joined path has a parent"))?;
            let mut bytes = Hashing::new(entry.content);
            io::copy(&mut bytes, &mut File::create(&place)?)?;
            let (digest, size) = bytes.finish();
            found.insert(path, UnpackedFile { path: place, digest, size });
        }
        Ok(true)
    })?;
    if whole { Ok(()) } else { Err(io::Error::other(format!("it has more than {most} entries"))) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::artifact::{Artifact, ArtifactBlob, write_artifact};
    use super::super::open_layout;
    use super::*;

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn files_come_out_of_the_highest_layer_that_has_them() {
        let home = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar(&[("models/a", "new"), ("etc/passwd", "x")])).unwrap();
        let layer = |kind, bytes| ArtifactBlob::of(kind, bytes);
        let artifact = Artifact {
            reference: "a:1".into(),
            artifact_type: None,
            config: layer("application/vnd.oci.image.config.v1+json", b"{}".to_vec()),
            layers: vec![
                layer("application/vnd.oci.image.layer.v1.tar", tar(&[("models/a", "old"), ("nimify/b/c", "c")])),
                layer("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish().unwrap()),
            ],
            annotations: BTreeMap::new(),
        };
        let folder = home.path().join("layout");
        write_artifact(&artifact, &folder).unwrap();
        let layout = open_layout(&folder).unwrap();
        let into = home.path().join("out");
        let layers = layout.manifest.layers();
        let found = unpack(&layout, layers, &["models", "nimify"], &into).unwrap();
        let names: Vec<&str> = found.keys().map(RelativePath::as_str).collect();
        assert_eq!(names, ["models/a", "nimify/b/c"]);
        let model = &found[&"models/a".parse().unwrap()];
        assert_eq!((model.digest, model.size), (Digest::of("new"), 3));
        assert_eq!(fs::read(&model.path).unwrap(), b"new");
        assert!(!into.join("etc").exists());
        fs::write(blob_path(&folder, &layout.layers[0]), tar(&[("models/a", "bad"), ("nimify/b/c", "c")])).unwrap();
        assert!(matches!(unpack(&layout, layers, &["models"], &into), Err(Error::Changed { .. })));
    }
}
