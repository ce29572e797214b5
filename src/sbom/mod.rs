//! Image → what it consists of and what it was made from: SPDX 2.3, CycloneDX 1.6 and SLSA provenance, as plain values.
//!
//! Pure and the same each time: no clock, no random numbers, no file is touched. What stands in the documents is in the
//! [`Inventory`] that the pipeline gathers.

mod crates;
mod cyclonedx;
mod provenance;
mod spdx;

pub use crates::{Crate, NotCrates, service_crates};
pub use cyclonedx::cyclonedx;
pub use provenance::{BuildFacts, provenance};
pub use spdx::spdx;

use serde_json::Value;

use crate::digest::Digest;
use crate::image::{Installed, InstalledPackage, Manager, Package};

/// The kind of an attested SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";
/// The kind of an attested CycloneDX document.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
/// The kind of an attested SLSA provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Everything in an image.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The image's name, without registry and tag.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// The processor, as OCI calls it.
    pub architecture: String,
    /// The image's manifest.
    pub image: Digest,
    /// The time in the documents, seconds since 1970: that of the image.
    pub created: u64,
    /// The nimify that made it.
    pub nimify: String,
    /// The model.
    pub model: ModelPart,
    /// ONNX Runtime's library.
    pub onnxruntime: RuntimePart,
    /// Libraries of custom operators: name, digest.
    pub operators: Vec<(String, Digest)>,
    /// The service's executable.
    pub service: Digest,
    /// What it is compiled from, sorted by name and version.
    pub crates: Vec<Crate>,
    /// The `ID` of the distribution that the base layer comes from, such as `debian`.
    pub distribution: Option<String>,
    /// The packages that own files of the base layer, sorted by name.
    pub packages: Vec<Package>,
    /// The image that this one is put on.
    pub base_image: Option<BaseImagePart>,
    /// The wheels that libraries of an accelerator come from: name, version, and the digest of the file.
    pub wheels: Vec<(String, String, Digest)>,
    /// The files of the base layer by their absolute place, with digests, sorted by place.
    pub base: Vec<(String, Digest)>,
}

/// An image that another is put on.
#[derive(Debug, Clone)]
pub struct BaseImagePart {
    /// Its reference without a digest.
    pub name: String,
    /// What the reference led to: an index, or the image itself.
    pub digest: Digest,
    /// The image's manifest.
    pub manifest: Digest,
    /// The packages that it says it has.
    pub installed: Installed,
}

impl BaseImagePart {
    /// Its package URL.
    fn purl(&self) -> String {
        let (repository, tag) = match self.name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (self.name.as_str(), None),
        };
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let tag = tag.map(|tag| format!("&tag={}", escape(tag))).unwrap_or_default();
        let digest = escape(&self.digest.to_string());
        format!("pkg:oci/{}@{digest}?repository_url={}{tag}", escape(name), escape(repository))
    }

    /// The package URL of one of its packages.
    fn package_purl(&self, package: &InstalledPackage) -> String {
        let (kind, usual) = match package.manager {
            Manager::Deb => ("deb", "debian"),
            Manager::Apk => ("apk", "alpine"),
        };
        let distribution = self.installed.distribution.as_deref().unwrap_or(usual);
        let architecture = Some(("arch", package.architecture.clone())).filter(|(_, value)| !value.is_empty());
        let release = self.installed.version.as_ref().map(|version| ("distro", format!("{distribution}-{version}")));
        let qualifiers: Vec<String> =
            architecture.into_iter().chain(release).map(|(name, value)| format!("{name}={}", escape(&value))).collect();
        let mark = if qualifiers.is_empty() { "" } else { "?" };
        let (name, version) = (escape(&package.name), escape(&package.version));
        format!("pkg:{kind}/{}/{name}@{version}{mark}{}", escape(distribution), qualifiers.join("&"))
    }
}

/// The model in an image.
#[derive(Debug, Clone)]
pub struct ModelPart {
    /// The name in the protocols.
    pub name: String,
    /// The user's files: name, digest. The graph comes first.
    pub files: Vec<(String, Digest)>,
    /// Files of the user's that go with it: name, digest.
    pub side_files: Vec<(String, Digest)>,
    /// Where it was fetched from and what that led to, where it was.
    pub source: Option<(String, Digest)>,
    /// What the image has instead, where the build made another graph of it: how, and its files.
    pub derived: Option<(String, Vec<(String, Digest)>)>,
    /// The licence's name, as the config gives it.
    pub license: Option<String>,
    /// The tool that exported it.
    pub producer: String,
    /// Inputs: name, type and shape.
    pub inputs: Vec<(String, String)>,
    /// Outputs: name, type and shape.
    pub outputs: Vec<(String, String)>,
    /// Facts about the graph: parameters, operator sets, element types.
    pub facts: Vec<(String, String)>,
}

/// ONNX Runtime in an image.
#[derive(Debug, Clone)]
pub struct RuntimePart {
    /// Its version.
    pub version: String,
    /// The library.
    pub digest: Digest,
    /// Whether it is the library that this nimify pins.
    pub pinned: bool,
}

impl Inventory {
    /// The package URL of the image.
    fn image_purl(&self) -> String {
        format!("pkg:oci/{}@{}?tag={}", escape(&self.name), escape(&self.image.to_string()), escape(&self.version))
    }

    fn onnxruntime_purl(&self) -> String {
        // Another library than the wheel's is not what that package's advisories are about.
        let kind = if self.onnxruntime.pinned { "pypi" } else { "generic" };
        format!("pkg:{kind}/onnxruntime@{}", escape(&self.onnxruntime.version))
    }

    fn wheel_purl(name: &str, version: &str) -> String {
        format!("pkg:pypi/{}@{}", escape(name), escape(version))
    }

    fn package_purl(&self, package: &Package) -> String {
        let distribution = self.distribution.as_deref().unwrap_or("debian");
        let (name, version) = (escape(&package.name), escape(&package.version));
        format!("pkg:deb/{distribution}/{name}@{version}?arch={}", escape(&package.architecture))
    }
}

/// Percent-encodes what a package URL gives a meaning.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A document's text: indented, with a line break at its end, the same from the same value.
pub fn to_text(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("a document has text keys only");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
