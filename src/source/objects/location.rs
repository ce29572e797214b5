//! How an object, or what is below a prefix, is written: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`.

use std::fmt;

use crate::source::NotASource;

/// Whose interface a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Amazon S3, or what speaks as it does.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

impl StoreKind {
    /// What stands before `://`.
    pub fn scheme(self) -> &'static str {
        match self {
            StoreKind::S3 => "s3",
            StoreKind::Gs => "gs",
            StoreKind::Az => "az",
        }
    }

    /// Of the scheme that is called so.
    pub fn of(scheme: &str) -> Option<Self> {
        [StoreKind::S3, StoreKind::Gs, StoreKind::Az].into_iter().find(|kind| kind.scheme() == scheme)
    }

    /// What separates a key from the version of its object: `gs` writes a generation as Google's own tools do.
    fn before_version(self) -> &'static str {
        match self {
            StoreKind::Gs => "#",
            StoreKind::S3 | StoreKind::Az => "?versionId=",
        }
    }
}

/// An object, or all that are below a prefix, in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Whose interface.
    pub kind: StoreKind,
    /// The bucket; Azure calls it a container.
    pub bucket: String,
    /// Azure's account, where the source names it.
    pub account: Option<String>,
    /// The key of an object; a prefix where it ends in `/` or is empty.
    pub key: String,
    /// One version of the object, as the store calls it.
    pub version: Option<String>,
}

impl Location {
    /// From what follows `kind`'s scheme and `://`.
    pub fn parse(kind: StoreKind, rest: &str) -> Result<Self, NotASource> {
        let wrong = |reason: &str| {
            // Neither what may be a secret link's part nor keys before a bucket.
            let shown = rest.split(['?', '#']).next().unwrap_or_default();
            let bucket = shown.split('/').next().unwrap_or_default();
            let shown = if kind == StoreKind::Az { shown } else { &shown[bucket.rfind('@').map_or(0, |at| at + 1)..] };
            NotASource::Form { text: format!("{}://{shown}", kind.scheme()), reason: reason.into() }
        };
        let (rest, version) = match rest.split_once(kind.before_version()) {
            Some((_, "")) => return Err(wrong("no version follows its key")),
            Some((rest, version)) => (rest, Some(version.to_string())),
            None => (rest, None),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, account) = match bucket.split_once('@') {
            // `ACCOUNT.blob.core.windows.net` is as good as `ACCOUNT`.
            Some((bucket, host)) if kind == StoreKind::Az => {
                (bucket, Some(host.split_once('.').map_or(host, |(account, _)| account)))
            }
            _ => (bucket, None),
        };
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$'))
        };
        if !plain(bucket) {
            return Err(wrong("it should begin with the name of a bucket, such as `models` in `models/digits.onnx`"));
        }
        if account.is_some_and(|account| !plain(account)) {
            return Err(wrong("an account should follow the `@`, such as `acme` in `models@acme/digits.onnx`"));
        }
        let key = key.trim_start_matches('/');
        if version.is_some() && (key.is_empty() || key.ends_with('/')) {
            return Err(wrong("a folder has no version"));
        }
        // As `object_store` has it.
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(|c| c.is_ascii_control());
        let inside = key.strip_suffix('/').unwrap_or(key);
        if !inside.is_empty() && !inside.split('/').all(plain) {
            return Err(wrong("its key has empty parts, one that is `.` or `..`, or control characters"));
        }
        Ok(Location { kind, bucket: bucket.into(), account: account.map(Into::into), key: key.into(), version })
    }

    /// Whether all below [`Location::key`] is meant, and no object of that name.
    pub(super) fn is_folder(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.bucket)?;
        if let Some(account) = &self.account {
            write!(f, "@{account}")?;
        }
        write!(f, "/{}", self.key)?;
        match &self.version {
            Some(version) => write!(f, "{}{version}", self.kind.before_version()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "s3://models/digits/1/model.onnx",
            "s3://models/digits.onnx?versionId=3HL4kqtJlcpXroDTDmJ",
            "gs://models/digits.onnx#1700000000000000",
            "az://models@account/digits/",
            "az://models/",
        ] {
            let (scheme, rest) = text.split_once("://").unwrap();
            let location = Location::parse(StoreKind::of(scheme).unwrap(), rest).unwrap();
            assert_eq!(location.to_string(), text);
        }
        let long = Location::parse(StoreKind::Az, "models@account.blob.core.windows.net/a.onnx").unwrap();
        assert_eq!(long.account.as_deref(), Some("account"));
        assert!(Location::parse(StoreKind::S3, "models").unwrap().is_folder());
    }

    #[test]
    fn what_is_no_location_says_why() {
        let refused = |text: &str| {
            let (scheme, rest) = text.split_once("://").unwrap();
            Location::parse(StoreKind::of(scheme).unwrap(), rest).unwrap_err().to_string()
        };
        assert!(refused("s3:///a.onnx").contains("the name of a bucket"));
        let error = refused("s3://key:secret@models/a.onnx");
        assert!(error.starts_with("`s3://models/a.onnx` can't") && error.contains("the name of a bucket"), "{error}");
        assert!(refused("az://models@.blob.core.windows.net/a.onnx").contains("an account should follow the `@`"));
        assert!(refused("s3://models/../a.onnx").contains("`..`"));
        assert!(refused("s3://models/a/?versionId=1").contains("a folder has no version"));
        assert!(refused("gs://models/a.onnx#").contains("no version follows"));
    }
}
