//! What a layout says about its image besides the image: cosign's tagged manifests, and documents that refer to it.
//!
//! Both forms have a place of their own in a registry. A tagged manifest (`sha256-<hex>.sig`, `.att`) is merged with the
//! one that is there, so that nobody's signature is lost; a document with a `subject` is sent by its digest, and where
//! the registry takes no note of its subject, listed in the index under the tag `sha256-<hex>`.

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, ImageManifest, MediaType, Sha256Digest};

use super::Error;
use crate::digest::Digest;
use crate::image::{self, OpenedLayout, REF_NAME};
use crate::sign::Artifact;

/// The documents in a layout that are about its image; others are named in the second list.
pub(super) fn read(layout: &OpenedLayout) -> Result<(Vec<Artifact>, Vec<Digest>), Error> {
    let wrong = |reason: String| image::Error::Layout { path: layout.folder.clone(), reason };
    let (mut artifacts, mut others) = (Vec::new(), Vec::new());
    for descriptor in &layout.others {
        let digest = image::digest_of(descriptor).map_err(wrong)?;
        let tag = descriptor.annotations().as_ref().and_then(|all| all.get(REF_NAME)).map(String::as_str);
        let about = Artifact::about(&layout.digest, &layout.folder, (&digest, descriptor.size()), tag);
        match about.map_err(|fault| wrong(fault.to_string()))? {
            Some(artifact) => artifacts.push(artifact),
            None => others.push(digest),
        }
    }
    Ok((artifacts, others))
}

/// The tag of the index that lists who refers to an image, where the registry doesn't.
pub(super) fn fallback_tag(image: &Digest) -> String {
    format!("sha256-{}", image.hex())
}

/// How an index lists a document: by digest, with its kind and annotations.
pub(super) fn referrer(document: &Artifact) -> Result<Descriptor, String> {
    let manifest: ImageManifest = serde_json::from_slice(&document.manifest).map_err(|error| error.to_string())?;
    let kind = manifest.artifact_type().clone().unwrap_or_else(|| manifest.config().media_type().clone());
    let size = document.manifest.len() as u64;
    let mut descriptor = Descriptor::new(MediaType::ImageManifest, size, digest(&document.digest()));
    descriptor.set_artifact_type(Some(kind));
    descriptor.set_annotations(manifest.annotations().clone());
    Ok(descriptor)
}

fn digest(digest: &Digest) -> Sha256Digest {
    digest.hex().parse().expect("64 hex digits are a SHA-256 digest")
}

/// The index with one document more; `None` where it lists it already. `before` is what stands under the tag now.
pub(super) fn listed(before: Option<&[u8]>, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, String> {
    let mut all = match before {
        None => Vec::new(),
        Some(bytes) => {
            let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            index.manifests().clone()
        }
    };
    if all.iter().any(|one| one.digest() == descriptor.digest()) {
        return Ok(None);
    }
    all.push(descriptor.clone());
    let index = ImageIndexBuilder::default().schema_version(2u32).media_type(MediaType::ImageIndex).manifests(all);
    let index = index.build().map_err(|error| error.to_string())?;
    serde_json::to_vec(&index).map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_listed_once() {
        let [one, two] =
            ["a", "b"].map(|text| Descriptor::new(MediaType::ImageManifest, 1u64, digest(&Digest::of(text))));
        let first = listed(None, &one).unwrap().unwrap();
        assert_eq!(listed(Some(&first), &one).unwrap(), None);
        let second: ImageIndex = serde_json::from_slice(&listed(Some(&first), &two).unwrap().unwrap()).unwrap();
        assert_eq!(second.manifests(), &[one.clone(), two]);
        assert!(listed(Some(b"[]"), &one).is_err());
    }
}
