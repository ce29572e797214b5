//! The first bytes of an engine: what the file says without any library.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::fault::Fault;

/// The marks of an engine: of TensorRT 8.5 and later, and of those before.
const MARK: &[u8] = b"ftrt";
const OLD_MARK: &[u8] = b"ptrt";

/// Largest description that an exporter puts before the engine, bytes.
const LARGEST_METADATA: usize = 1 << 24;
/// Most entries of it that are kept, and the longest of each.
const MOST_ENTRIES: usize = 100;
const LONGEST_ENTRY: usize = 16 << 10;

/// Bytes of an engine's head that say something.
const HEAD: usize = 28;

/// A version of TensorRT: `10.3.0.26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TensorRtVersion(pub [u8; 4]);

impl fmt::Display for TensorRtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, build] = self.0;
        write!(f, "{major}.{minor}.{patch}.{build}")
    }
}

impl From<TensorRtVersion> for String {
    fn from(version: TensorRtVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for TensorRtVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        let parts = parts.and_then(|parts| <[u8; 4]>::try_from(parts).ok());
        parts.map(TensorRtVersion).ok_or_else(|| format!("`{text}` is no version of TensorRT, such as `10.3.0.26`"))
    }
}

/// What the head of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// First byte of the engine.
    pub offset: u64,
    /// What built it.
    pub tensorrt: Option<TensorRtVersion>,
    /// The exporter's description, its values as texts.
    pub metadata: BTreeMap<String, String>,
}

/// Whether these are the first bytes of an engine, with an exporter's description before it or without.
pub(in crate::model) fn is_engine(bytes: &[u8]) -> bool {
    let marked = |bytes: &[u8]| bytes.starts_with(MARK) || bytes.starts_with(OLD_MARK);
    marked(bytes) || description(bytes).is_some_and(|(_, engine)| marked(engine))
}

/// The description before the engine, and what follows it: a length, and as many bytes of JSON.
fn description(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let rest = bytes.get(4..).filter(|rest| rest.first() == Some(&b'{') && length <= LARGEST_METADATA)?;
    rest.split_at_checked(length)
}

/// Reads the head of an engine's file of `size` bytes, of which these are the first.
pub fn header(bytes: &[u8], size: u64) -> Result<Header, Fault> {
    let (metadata, engine) = match description(bytes) {
        Some((json, engine)) => (entries(json)?, engine),
        None => (BTreeMap::new(), bytes),
    };
    let offset = (bytes.len() - engine.len()) as u64;
    let fault = |what: String| Fault::Engine(what);
    let Some(head) = engine.first_chunk::<HEAD>() else {
        return Err(fault(format!("it ends after {} bytes, within its header", size - offset)));
    };
    if head.starts_with(OLD_MARK) {
        return Ok(Header { offset, tensorrt: None, metadata });
    }
    let serialization = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if serialization != 0 {
        return Err(fault(format!("its header is of the form {serialization}, and the form 0 alone is known")));
    }
    let version = TensorRtVersion([head[24], head[25], head[26], head[27]]);
    if version.0[0] == 0 {
        return Err(fault(format!("its header names TensorRT {version}, which there never was")));
    }
    Ok(Header { offset, tensorrt: Some(version), metadata })
}

fn entries(json: &[u8]) -> Result<BTreeMap<String, String>, Fault> {
    let wrong = |what: String| Fault::Engine(format!("the description before it is no JSON: {what}"));
    let map: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    let entries = map.into_iter().map(|(key, value)| (key, text(value)));
    Ok(entries.filter(|(key, text)| key.len().max(text.len()) <= LONGEST_ENTRY).take(MOST_ENTRIES).collect())
}
