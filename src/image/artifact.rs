//! What is kept in a registry beside images: a chart, a model. A configuration and layers, written as an OCI layout, so
//! that it is signed, pushed and checked as images are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::describe::{REF_NAME, canonical};
use super::error::{Error, files};
use super::layout::{MARK, blob_path};
use crate::digest::Digest;
use crate::files::write_atomically;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A thing for a registry that is no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// `NAME:TAG`.
    pub reference: String,
    /// What it is, where its kind says so in the manifest.
    pub artifact_type: Option<&'static str>,
    /// The configuration.
    pub config: ArtifactBlob,
    /// What it holds, in order.
    pub layers: Vec<ArtifactBlob>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A blob of an [`Artifact`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactBlob {
    /// Its media type.
    pub media_type: &'static str,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its bytes.
    pub content: ArtifactContent,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactContent {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file that stays where it is: the layout links to it.
    File {
        /// The file.
        path: PathBuf,
        /// Of its bytes.
        digest: Digest,
        /// How many they are.
        size: u64,
    },
}

impl ArtifactBlob {
    /// A blob of bytes without annotations.
    pub fn of(media_type: &'static str, bytes: Vec<u8>) -> Self {
        ArtifactBlob { media_type, annotations: BTreeMap::new(), content: ArtifactContent::Bytes(bytes) }
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        match &self.content {
            ArtifactContent::Bytes(bytes) => Digest::of(bytes),
            ArtifactContent::File { digest, .. } => *digest,
        }
    }

    fn descriptor(&self) -> Value {
        let size = match &self.content {
            ArtifactContent::Bytes(bytes) => bytes.len() as u64,
            ArtifactContent::File { size, .. } => *size,
        };
        let descriptor = json!({ "mediaType": self.media_type, "digest": self.digest(), "size": size });
        annotated(descriptor, &self.annotations)
    }
}

fn annotated(mut value: Value, annotations: &BTreeMap<String, String>) -> Value {
    if !annotations.is_empty() {
        value["annotations"] = json!(annotations);
    }
    value
}

impl Artifact {
    /// The manifest's bytes.
    pub fn manifest(&self) -> Result<Vec<u8>, Error> {
        let layers: Vec<Value> = self.layers.iter().map(ArtifactBlob::descriptor).collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.config.descriptor(), "layers": layers,
        });
        if let Some(kind) = self.artifact_type {
            manifest["artifactType"] = json!(kind);
        }
        canonical(&annotated(manifest, &self.annotations))
    }
}

/// Writes the artifact as an OCI layout into `folder`, which is made if need be; gives the manifest's digest. Files are
/// linked to, not copied: the layout is one to push from.
pub fn write_artifact(artifact: &Artifact, folder: &Path) -> Result<Digest, Error> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(files("make", &blobs))?;
    let manifest = artifact.manifest()?;
    let digest = Digest::of(&manifest);
    for blob in [&artifact.config].into_iter().chain(&artifact.layers) {
        let target = blob_path(folder, &blob.digest());
        match &blob.content {
            ArtifactContent::Bytes(bytes) => write(&target, bytes)?,
            ArtifactContent::File { .. } if target.exists() => {}
            ArtifactContent::File { path, .. } => {
                let path = std::path::absolute(path).map_err(files("find", path))?;
                std::os::unix::fs::symlink(&path, &target).map_err(files("write", &target))?;
            }
        }
    }
    write(&blob_path(folder, &digest), &manifest)?;
    write(&folder.join("oci-layout"), MARK)?;
    let mut entry = json!({ "mediaType": MANIFEST, "digest": digest, "size": manifest.len() });
    entry["annotations"] = json!({ REF_NAME: artifact.reference });
    let index = canonical(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }))?;
    write(&folder.join("index.json"), &index)?;
    Ok(digest)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(path, bytes).map_err(files("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::open_layout;

    #[test]
    fn an_artifact_is_a_layout_that_opens() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("weights");
        fs::write(&file, "w").unwrap();
        let mut large = ArtifactBlob::of("application/x-large", Vec::new());
        large.content = ArtifactContent::File { path: file, digest: Digest::of("w"), size: 1 };
        let artifact = Artifact {
            reference: "digits:1.0.0".into(),
            artifact_type: Some("application/x-thing"),
            config: ArtifactBlob::of("application/x-config", b"{}".to_vec()),
            layers: vec![ArtifactBlob::of("application/x-small", b"s".to_vec()), large.clone(), large],
            annotations: [("a".to_string(), "b".to_string())].into(),
        };
        let folder = home.path().join("layout");
        let digest = write_artifact(&artifact, &folder).unwrap();
        let opened = open_layout(&folder).unwrap();
        assert_eq!((opened.digest, opened.reference.as_deref()), (digest, Some("digits:1.0.0")));
        assert_eq!(opened.layers, [Digest::of("s"), Digest::of("w"), Digest::of("w")]);
        assert_eq!(fs::read(blob_path(&folder, &Digest::of("w"))).unwrap(), b"w");
        assert_eq!(write_artifact(&artifact, &home.path().join("again")).unwrap(), digest);
    }
}
