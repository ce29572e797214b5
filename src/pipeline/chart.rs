//! The chart in a folder → a registry, as helm pulls it, pointed at the image where that was pushed.

use std::path::{Path, PathBuf};

use super::Error;
use super::error::files;
use crate::chart::{self, Package};
use crate::digest::Digest;
use crate::files::{self as tree, FileTree};
use crate::image::{self, Artifact, ArtifactBlob};
use crate::registry::{self, CHUNK, PushReport, PushRequest, Reference, Repository, Signing, Watch};
use crate::sign::{self, SigningKey};

/// The media types of helm.
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A chart that is ready to be pushed: everything that can be wrong with it is known before anything is sent.
#[derive(Debug)]
pub(super) struct ChartToPush {
    package: Package,
    to: Reference,
    warnings: Vec<String>,
}

/// Where the chart of an output folder is.
pub fn chart_in(folder: &Path) -> PathBuf {
    folder.join("chart")
}

/// Reads the files of the chart in an output folder.
pub(super) fn read(folder: &Path) -> Result<FileTree, Error> {
    let folder = chart_in(folder);
    if !folder.join("Chart.yaml").is_file() {
        return Err(Error::NoChart(folder));
    }
    tree::read_tree(&folder).map_err(files("read the chart in", &folder))
}

impl ChartToPush {
    /// The chart of these files for `oci://REGISTRY/PATH`, running the image `digest` from `repository`.
    pub(super) fn new(files: &FileTree, to: &str, repository: &Repository, digest: &Digest) -> Result<Self, Error> {
        let (_, runs) = chart::image_of(files)?;
        let package = chart::package(&chart::pointed_at(files, &repository.to_string())?)?;
        let place = to.strip_prefix("oci://").unwrap_or(to).trim_end_matches('/');
        let to = Reference::with_registry(&format!("{place}/{}:{}", package.name, package.tag()))?;
        let mut warnings = Vec::new();
        if runs != digest.to_string() {
            warnings.push(format!("the chart runs the image {runs}, which is not the one that was pushed"));
        }
        Ok(ChartToPush { package, to, warnings })
    }

    /// Pushes it, signed with each of these keys.
    pub(super) fn push(self, keys: &[SigningKey], plain_http: bool, watch: &dyn Watch) -> Result<PushReport, Error> {
        let scratch = tempfile::tempdir().map_err(files("write in", &std::env::temp_dir()))?;
        image::write_artifact(&artifact(self.package), scratch.path())?;
        for key in keys {
            sign::sign_layout(scratch.path(), key, &self.to.repository.to_string())?;
        }
        let request = PushRequest {
            layout: scratch.path(),
            to: &self.to,
            plain_http,
            signing: Signing::Nobody,
            cache: None,
            chunk: CHUNK,
        };
        let mut report = registry::push(&request, watch)?;
        report.warnings.extend(self.warnings);
        Ok(report)
    }
}

/// A chart as registries keep it. Helm's own push adds the time; a chart that is the same has the same digest here.
fn artifact(package: Package) -> Artifact {
    let said = |key: &str| package.metadata[key].as_str().map(String::from);
    let annotations = [("title", said("name")), ("version", said("version")), ("description", said("description"))];
    let annotations = annotations.into_iter().filter_map(|(name, value)| {
        Some((format!("org.opencontainers.image.{name}"), value.filter(|value| !value.is_empty())?))
    });
    Artifact {
        reference: format!("{}:{}", package.name, package.tag()),
        artifact_type: None,
        config: ArtifactBlob::of(CONFIG, package.metadata.to_string().into_bytes()),
        annotations: annotations.collect(),
        layers: vec![ArtifactBlob::of(CONTENT, package.archive)],
    }
}
