//! Layers → image configuration, manifest and index, as the bytes that are stored.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::{
    Arch, Config, ConfigBuilder, Descriptor, DescriptorBuilder, History, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder, Sha256Digest,
};
use serde::Serialize;

use super::base::USER;
use super::error::{Architecture, Error};
use super::inherit::Inherited;
use super::layer::Layer;
use crate::digest::Digest;

/// Of the image's descriptor in `index.json`: NAME:VERSION.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What the configuration and the manifest say besides the layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description<'a> {
    pub(super) architecture: Architecture,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The ports that the service listens on.
    pub(super) ports: &'a [Option<u16>],
    /// How long the model may take to load before failed health checks count.
    pub(super) startup_seconds: u32,
    /// More variables of the environment, `NAME=value`.
    pub(super) environment: &'a [&'a str],
    /// Labels of the configuration and annotations of the manifest.
    pub(super) annotations: &'a BTreeMap<String, String>,
    /// The configuration of the image that this one is put on.
    pub(super) base: Option<&'a [u8]>,
}

/// The image's configuration.
pub(super) fn config(description: &Description<'_>, layers: &[Layer]) -> Result<Vec<u8>, Error> {
    let created = rfc3339(description.created);
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let inherited = description.base.map(Inherited::read).transpose().map_err(wrong)?.unwrap_or_default();
    let own = &layers[inherited.layers.min(layers.len())..];
    let history = own.iter().map(|layer| history(&created, &layer.title)).collect::<Result<Vec<_>, _>>()?;
    let config = ImageConfigurationBuilder::default()
        .created(created)
        .architecture(Arch::from(description.architecture.oci()))
        .os(Os::Linux)
        .config(execution(description)?)
        .rootfs(RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().map_err(wrong)?)
        .history(history)
        .build()
        .map_err(wrong)?;
    let mut config = serde_json::to_value(config).map_err(wrong)?;
    // Docker's own field: OCI has none for it, and asks readers to ignore what they don't know.
    config["config"]["Healthcheck"] = serde_json::json!({
        "Test": ["CMD", "/nimify/service", "healthcheck"],
        "Interval": seconds(10),
        "Timeout": seconds(5),
        "StartPeriod": seconds(u64::from(description.startup_seconds)),
        "Retries": 3,
    });
    inherited.join(&mut config);
    canonical(&config)
}

/// Docker counts in nanoseconds.
fn seconds(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

fn execution(description: &Description<'_>) -> Result<Config, Error> {
    let labels: HashMap<String, String> =
        description.annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    ConfigBuilder::default()
        .user(format!("{USER}:{USER}"))
        .working_dir("/nimify")
        .entrypoint(vec!["/nimify/service".to_string()])
        // The service says so itself; whatever else is started in the image hears it here.
        .env(
            ["ORT_DISABLE_TELEMETRY=1"]
                .iter()
                .chain(description.environment)
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        )
        .exposed_ports(description.ports.iter().flatten().map(|port| format!("{port}/tcp")).collect::<Vec<_>>())
        .stop_signal("SIGTERM")
        .labels(labels)
        .build()
        .map_err(wrong)
}

fn history(created: &str, title: &str) -> Result<History, Error> {
    HistoryBuilder::default().created(created).created_by(format!("nimify: {title}")).build().map_err(wrong)
}

/// The manifest of the image with this configuration.
pub(super) fn manifest(description: &Description<'_>, config: &[u8], layers: &[Layer]) -> Result<Vec<u8>, Error> {
    let layers = layers.iter().map(|layer| descriptor(layer.compression.media_type(), &layer.digest, layer.size));
    let annotations: HashMap<String, String> =
        description.annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, &Digest::of(config), config.len() as u64))
        .layers(layers.collect::<Vec<_>>())
        .annotations(annotations)
        .build()
        .map_err(wrong)?;
    canonical(&manifest)
}

/// The index that names the image, and nothing else.
pub(super) fn index(architecture: Architecture, manifest: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let platform = PlatformBuilder::default().architecture(Arch::from(architecture.oci())).os(Os::Linux).build();
    let image = DescriptorBuilder::default()
        .media_type(MediaType::ImageManifest)
        .digest(oci_digest(&Digest::of(manifest)))
        .size(manifest.len() as u64)
        .platform(platform.map_err(wrong)?)
        .annotations(HashMap::from([(REF_NAME.to_string(), name.to_string())]))
        .build()
        .map_err(wrong)?;
    index_of(image)
}

/// An index with one descriptor.
pub(super) fn index_of(image: Descriptor) -> Result<Vec<u8>, Error> {
    let index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![image])
        .build()
        .map_err(wrong)?;
    canonical(&index)
}

fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Descriptor {
    Descriptor::new(media_type, size, oci_digest(digest))
}

fn oci_digest(digest: &Digest) -> Sha256Digest {
    digest.hex().parse().expect("64 hex digits are a SHA-256 digest")
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Describe(error.to_string())
}

/// Compact JSON with sorted keys: the hash maps of the OCI types have no order of their own.
pub(super) fn canonical(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut value = serde_json::to_value(value).map_err(wrong)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(wrong)
}

/// `NAME:VERSION` as a reference to an image: what a tag can't hold becomes `_`.
pub fn reference(name: &str, version: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    let mut tag: String = version.chars().map(plain).take(128).collect();
    if tag.starts_with(['.', '-']) || tag.is_empty() {
        tag = format!("_{tag}").chars().take(128).collect();
    }
    format!("{name}:{tag}")
}

/// Seconds since 1970 as an RFC 3339 time, up to the last second of the year 9999.
pub fn rfc3339(seconds: u64) -> String {
    let seconds = seconds.min(253_402_300_799);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from 0000-03-01, in eras of 400 years: the leap day comes last in each year.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn versions_become_tags() {
        for (version, tag) in [("1.2.3", "1.2.3"), ("1.0.0+b/1", "1.0.0_b_1"), ("", "_"), ("-x", "_-x"), ("é", "_")] {
            assert_eq!(reference("n", version), format!("n:{tag}"));
        }
        assert_eq!(reference("n", &"9".repeat(200)).len(), 2 + 128);
    }
}
