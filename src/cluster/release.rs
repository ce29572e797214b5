//! What helm keeps of a release: a Secret a revision, whose newest says which chart runs and how its last change ended.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Serialize;
use serde_json::Value;

use super::objects::{count, plain, text};
use super::request::{Ask, segment};
use super::{Cluster, Error};

/// How much a record may be when it is unpacked.
const LIMIT: u64 = 32 << 20;
/// How many characters of each text are kept.
const WORDS: usize = 300;

/// The newest revision of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HelmRelease {
    /// Its number.
    pub revision: u64,
    /// How it is, in helm's words: `deployed`, `failed`, `pending-upgrade`.
    pub status: String,
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub chart_version: String,
    /// The version of what the chart installs.
    pub app_version: String,
    /// When it was changed, as helm writes it.
    pub changed: String,
    /// What was noted with it.
    pub description: String,
}

/// The record as helm packs it: base64 over gzip over JSON; what a Secret holds is base64 once more.
fn unpack(data: &str) -> Option<Value> {
    let packed = STANDARD.decode(STANDARD.decode(data).ok()?).ok()?;
    let mut json = Vec::new();
    let read = GzDecoder::new(packed.as_slice()).take(LIMIT + 1).read_to_end(&mut json).ok()?;
    if read as u64 > LIMIT { None } else { serde_json::from_slice(&json).ok() }
}

/// What is told of a record.
fn release(record: &Value) -> HelmRelease {
    let [info, chart] = [&record["info"], &record["chart"]["metadata"]];
    let word = |value: &Value| plain(text(value), WORDS);
    HelmRelease {
        revision: count(&record["version"]),
        status: word(&info["status"]),
        chart: word(&chart["name"]),
        chart_version: word(&chart["version"]),
        app_version: word(&chart["appVersion"]),
        changed: word(&info["last_deployed"]),
        description: word(&info["description"]),
    }
}

/// The number in the name of a record's Secret: `sh.helm.release.v1.digits.v12`.
fn revision(name: &str) -> Option<u64> {
    name.rsplit_once(".v").and_then(|(_, number)| number.parse().ok())
}

impl Cluster {
    /// What helm's newest record of a release says; `None` where helm has none.
    pub fn helm_release(&self, name: &str) -> Result<Option<HelmRelease>, Error> {
        let path = format!("/api/v1/namespaces/{}/secrets", segment(&self.namespace));
        let selector = segment(&format!("owner=helm,name={name}"));
        let listing = format!("list secrets in namespace {}", self.namespace);
        let ask = Ask {
            // Their names and labels are enough to find the newest; the records are large.
            accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            ..Ask::get(format!("{path}?labelSelector={selector}"), listing)
        };
        let list = self.object(&ask)?.unwrap_or_default();
        let names = super::objects::items(&list["items"]).iter().map(super::objects::name);
        let Some(newest) = names.max_by_key(|name| revision(name)) else { return Ok(None) };
        let action = format!("get secrets in namespace {}", self.namespace);
        let Some(secret) = self.object(&Ask::get(format!("{path}/{}", segment(newest)), &action))? else {
            return Ok(None);
        };
        let record = unpack(text(&secret["data"]["release"]));
        let words = || format!("`{newest}` is not a record of helm's that can be read");
        record.map(|record| Some(release(&record))).ok_or_else(|| Error::NotUnderstood { action, words: words() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn packed(json: &[u8]) -> String {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(json).unwrap();
        STANDARD.encode(STANDARD.encode(gzip.finish().unwrap()))
    }

    #[test]
    fn a_record_is_unpacked() {
        let record = json!({
            "name": "digits", "version": 3,
            "info": {"status": "deployed", "last_deployed": "2026-11-21T10:00:00Z", "description": "Upgrade complete"},
            "chart": {"metadata": {"name": "digits", "version": "0.2.0", "appVersion": "1.2.0"}},
        });
        let release = release(&unpack(&packed(record.to_string().as_bytes())).unwrap());
        assert_eq!(
            (release.revision, release.status.as_str(), release.chart_version.as_str()),
            (3, "deployed", "0.2.0")
        );
    }

    #[test]
    fn a_record_that_unpacks_to_too_much_is_refused() {
        let large = vec![b' '; LIMIT as usize + 1];
        assert!(unpack(&packed(&large)).is_none());
    }

    #[test]
    fn the_newest_is_the_one_with_the_highest_number() {
        let names = ["sh.helm.release.v1.digits.v9", "sh.helm.release.v1.digits.v12", "odd"];
        assert_eq!(names.into_iter().max_by_key(|name| revision(name)), Some(names[1]));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(data in any::<Vec<u8>>(), text in ".*") {
            unpack(&text);
            unpack(&STANDARD.encode(&data));
            unpack(&packed(&data));
            revision(&text);
        }
    }
}
