//! The image that is to run, in the repository that it is to be pulled from: is it there, whole, and signed by whom?

use std::path::Path;

use super::Error;
use super::values::ImageName;
use crate::image;
use crate::registry::{self, FetchRequest, Watch};
use crate::sign::{self, Fault, TrustedKeys, Verdict};

/// How an image is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Speak to its registry without TLS.
    pub plain_http: bool,
    /// The output folder, where there is one: its layers needn't be sent again.
    pub folder: Option<&'a Path>,
    /// Whose signatures are believed.
    pub trusted: &'a TrustedKeys,
}

/// Fetches the image with all that is said about it and verifies it as `nimify verify` does.
pub fn verify(image: &ImageName, look: &Look<'_>, watch: &dyn Watch) -> Result<Verdict, Error> {
    let at_hand = look.folder.map(|folder| folder.join("dist/image"));
    let at_hand = at_hand.filter(|layout| layout.join("oci-layout").is_file());
    // Beside the layers at hand they are linked, not copied.
    let place = at_hand.as_deref().and_then(Path::parent).filter(|dist| writable(dist)).map(Path::to_path_buf);
    let place = place.unwrap_or_else(std::env::temp_dir);
    let scratch = tempfile::Builder::new().prefix(".nimify-verify-").tempdir_in(&place);
    let scratch = scratch.map_err(|source| Error::Files { attempt: "write in", path: place, source })?;
    let request = FetchRequest {
        repository: &image.repository,
        digest: image.digest,
        plain_http: look.plain_http,
        at_hand: at_hand.as_deref(),
        into: scratch.path(),
    };
    if !registry::fetch(&request, watch)? {
        return Err(Error::NotPushed { image: image.clone() });
    }
    let verdict = sign::verify_layout(scratch.path(), look.trusted)?;
    let packed = image::validate(scratch.path()).into_iter();
    let verdict = verdict.and(packed.map(|fault| Fault { place: fault.place, what: fault.problem.to_string() }));
    crate::interrupt::check().map_err(super::interrupted)?;
    Ok(verdict)
}

fn writable(folder: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}
