//! What an image stands on: the layers below ONNX Runtime, one file a kind of base.

mod closure;
mod debian;
mod image;
mod installed;

use std::path::{Path, PathBuf};

pub use image::{BaseImage, BaseLayer};
pub use installed::{Installed, InstalledPackage, Manager};

use super::ImageRequest;
use super::closure::{Host, Roots, walk};
use super::debian::DebianBase;
use super::error::Error;
use super::layer::{Contents, Layer};
use super::packages::Package;
use crate::cache::Cache;
use crate::digest::Digest;

/// The numeric user and group that services run as.
pub const USER: u32 = 65532;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      nonroot:x:65532:65532:nonroot:/nimify:/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\nnogroup:x:65534:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n";

/// Where the bundle of certificate authorities stands in an image.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What an image is to stand on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BaseSource {
    /// The libraries of this machine that the service and ONNX Runtime need, and nothing else.
    #[default]
    Closure,
    /// Packages of Debian.
    Debian(DebianBase),
    /// An image from elsewhere.
    Image(BaseImage),
}

/// One file that the base layer takes from this machine: for the lock file and the bill of materials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFile {
    /// Its place in the image, absolute.
    pub place: PathBuf,
    /// Its bytes.
    pub digest: Digest,
}

/// What the base layer was made from: files of this machine, or packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base {
    /// Files of this machine, sorted by place.
    pub files: Vec<BaseFile>,
    /// Their owners, or the packages that the layer consists of, sorted by name; none on a host without dpkg.
    pub packages: Vec<Package>,
    /// The `ID` of the distribution that they come from, such as `debian`.
    pub distribution: Option<String>,
    /// The release and versions of the packages, where the layer consists of such.
    pub debian: Option<super::debian::Packages>,
    /// The image that it was put on, where there is one.
    pub image: Option<BaseImage>,
    /// That one's layers.
    pub layers: Vec<Layer>,
    /// The packages that it says it has.
    pub installed: Installed,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

/// The files of the base layer, with what they were made from.
pub(super) fn lay(request: &ImageRequest, cache: &Cache) -> Result<(Contents, Base), Error> {
    match &request.base {
        BaseSource::Closure => {
            let host = Host { root: "/".into() };
            let libraries = request.libraries();
            let from = Roots { binary: &request.binary, libraries: &libraries, cuda: request.cuda.as_ref() };
            closure::lay(&host, &walk(&host, &from, request.architecture)?, &request.locales)
        }
        BaseSource::Debian(debian) => debian::lay(debian),
        BaseSource::Image(image) => image::lay(image, request, cache),
    }
}

/// Users, groups, where names are looked up, and a place for temporary files.
fn add_accounts(contents: &mut Contents) -> Result<(), Error> {
    contents.bytes("etc/passwd", 0o644, PASSWD)?;
    contents.bytes("etc/group", 0o644, GROUP)?;
    contents.bytes("etc/nsswitch.conf", 0o644, NSSWITCH)?;
    contents.folder("tmp", 0o1777)
}

/// The `ID` in an `os-release`: lower-case letters, digits, and few signs, as its manual page has it.
fn distribution(text: &str) -> Option<String> {
    release_field(text, "ID=")
}

/// A field of an `os-release` whose values are words of that kind: `ID=`, `VERSION_ID=`.
fn release_field(text: &str, field: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(field))?.trim_matches(['"', '\'']);
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (!value.is_empty() && value.bytes().all(plain)).then(|| value.into())
}

fn below_root(path: &Path) -> Result<&str, Error> {
    let text = path.to_str().and_then(|path| path.strip_prefix('/'));
    text.ok_or_else(|| Error::Describe(format!("`{}` can't be a path in the image", path.display())))
}
