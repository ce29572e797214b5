//! The single values of a config, each checked where it is read, each with its JSON Schema.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nimify_runtime::settings::Providers;
use nimify_runtime::signature::ValueSpec;
use nimify_runtime::trace::Endpoint;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::repository;
use crate::digest::Digest;
use crate::files;
use crate::model::{self, ComputeCapability};
use crate::plan::ServiceName;
use crate::sign::{Expiry, KeySource};
use crate::source::Source;

/// A text that is not what it should be; the message says what that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAWord(String);

/// A newtype over a text: `FromStr` by a check, Serde as a text, and a schema with a pattern.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $pattern:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAWord;

            fn from_str(text: &str) -> Result<Self, NotAWord> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(text).map(|()| $name(text.into())).map_err(NotAWord)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAWord;

            fn try_from(text: String) -> Result<Self, NotAWord> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

word! {
    /// The model's name in the protocols, from which the service's DNS name can be derived.
    ModelName, r"^[^\s/\\]*[A-Za-z0-9][^\s/\\]*$",
    |text| {
        // It stands in URLs as one segment.
        if text.len() > 253 || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/' || c == '\\') {
            return Err(format!("`{text}` can't be a model's name: no spaces and no slashes, at most 253 bytes"));
        }
        ServiceName::derive(text).map(drop).map_err(|error| error.to_string())
    }
}

word! {
    /// Execution providers, the best first: `auto`, `cuda`, `tensorrt,cuda`.
    ProviderList, Providers::PATTERN,
    |text| text.parse::<Providers>().map(drop)
}

impl ProviderList {
    /// As the runtime has them.
    pub fn providers(&self) -> Providers {
        self.0.parse().expect("it was checked as it was read")
    }
}

word! {
    /// An input or output of an engine: `images:float32[batch,3,640,640]`.
    TensorText, r"^.+:[A-Za-z0-9_]+\[[^\[\]]*\]$",
    |text| model::parse_tensor(text).map(drop).map_err(|error| error.to_string())
}

impl TensorText {
    /// As the model's reader has it.
    pub fn spec(&self) -> ValueSpec {
        model::parse_tensor(&self.0).expect("it was checked as it was read")
    }
}

word! {
    /// A GPU's compute capability: `8.6`.
    GpuCapability, r"^[1-9][0-9]?\.[0-9]{1,2}$",
    |text| text.parse::<ComputeCapability>().map(drop)
}

impl GpuCapability {
    /// As the model's reader has it.
    pub fn capability(&self) -> ComputeCapability {
        self.0.parse().expect("it was checked as it was read")
    }
}

word! {
    /// The model's version: part of tags and labels, so 1 to 63 letters, digits, `.`, `_` and `-`, with a letter or a
    /// digit at both ends.
    ModelVersion, "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
    |text| {
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if text.len() <= 63 && outer(text.chars().next()) && outer(text.chars().last()) && text.bytes().all(inner) {
            return Ok(());
        }
        Err(format!(
            "`{text}` can't be a version: it is part of tags and labels, so it takes 1 to 63 letters, digits, `.`, `_` \
             and `-`, with a letter or a digit at both ends"
        ))
    }
}

word! {
    /// An image's repository without tag and digest, by the grammar of OCI references: `registry.example.com/ml/digits`.
    Repository,
    "^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$",
    |text| repository::check(text).map_err(|what| format!("`{text}` can't be an image's repository: {what}"))
}

word! {
    /// What an image stands on: `closure`, the shared libraries that the service needs and nothing else; `debian-packages`,
    /// packages of Debian by this machine's apt, without programs; an image, such as `debian:12-slim`; or `oci:PATH` for an OCI image layout on this machine.
    ImageBase, r"^(closure|debian-packages|oci:.+|[^\s]+[/:@][^\s]+)$",
    |text| {
        let what = |what: &str| Err(format!("`{text}` can't be a base: {what}"));
        if ["closure", "debian-packages"].contains(&text) || text.strip_prefix("oci:").is_some_and(|path| !path.is_empty()) {
            return Ok(());
        }
        if !text.contains(['/', ':', '@']) {
            return what("it should be `closure`, `debian-packages`, or an image with its tag, such as `debian:12-slim`");
        }
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        if digest.is_some_and(|digest| digest.parse::<Digest>().is_err()) {
            return what("its digest should be `sha256:` and 64 lower-case hex digits");
        }
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(plain)) {
            return what("its tag should be letters, digits, `_`, `.` and `-`");
        }
        repository::check(repository).or_else(|why| what(&why))
    }
}

/// What an image is to stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The shared libraries that the service needs.
    Closure,
    /// Packages of Debian.
    DebianPackages,
    /// An image layout on this machine.
    Layout {
        /// Its folder.
        folder: PathBuf,
        /// As it is written: `oci:PATH`.
        name: String,
    },
    /// An image in a registry.
    Image(String),
}

impl Default for ImageBase {
    fn default() -> Self {
        ImageBase("closure".into())
    }
}

impl ImageBase {
    /// What it stands for; a relative path is taken from `folder`.
    pub fn base(&self, folder: &Path) -> Base {
        match (self.0.as_str(), self.0.strip_prefix("oci:")) {
            ("closure", _) => Base::Closure,
            ("debian-packages", _) => Base::DebianPackages,
            (_, Some(path)) => Base::Layout { folder: files::plain(&folder.join(path)), name: self.0.clone() },
            (reference, None) => Base::Image(reference.into()),
        }
    }
}

word! {
    /// A registry: its host, with a port where it has one of its own.
    Registry, "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?$",
    |text| {
        let what = |what: String| format!("`{text}` can't be a registry: {what}");
        if !text.contains(['.', ':']) && text != "localhost" {
            return Err(what("it should be a host, such as `localhost:5000` or `registry.example.com`".into()));
        }
        repository::check(&format!("{text}/a")).map_err(what)
    }
}

word! {
    /// A DNS label (RFC 1123): the name of an environment or a namespace.
    DnsLabel, "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    |text| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.len() <= 63 && edge(text.chars().next()) && edge(text.chars().last()) && text.bytes().all(inner) {
            return Ok(());
        }
        Err(format!(
            "`{text}` can't be a name here: it takes 1 to 63 lower-case letters, digits and `-`, with a letter or a \
             digit at both ends"
        ))
    }
}

word! {
    /// The platform of the image: `linux/amd64` or `linux/arm64`.
    Platform, "^linux/(amd64|arm64)$",
    |text| match text {
        "linux/amd64" | "linux/arm64" => Ok(()),
        _ => Err(format!("`{text}` is no platform that images are made for: write `linux/amd64` or `linux/arm64`")),
    }
}

word! {
    /// Where a key is: a path, `env://NAME` for an environment variable that holds its text, or `exec://COMMAND` for a
    /// command that signs with it.
    KeyReference, r"^(env://[A-Za-z0-9_]+|exec://\s*\S.*|(?!.*://).+)$",
    |text| {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        match text.split_once("://") {
            Some(("env", variable)) if !variable.is_empty() && variable.chars().all(name) => Ok(()),
            Some(("env", _)) => Err(format!("`{text}` names no environment variable")),
            Some(("exec", line)) if !line.trim().is_empty() => Ok(()),
            Some(_) => Err(format!("`{text}` is not supported: give a path, `env://NAME` or `exec://COMMAND`")),
            None if text.is_empty() || text.contains("-----BEGIN") => {
                Err("a key is named by its path or by `env://NAME`, never written here".into())
            }
            None => Ok(()),
        }
    }
}

impl KeyReference {
    /// The key's source, a relative path taken from `folder`.
    pub fn source(&self, folder: &Path) -> KeySource {
        match KeySource::from_str(&self.0) {
            Ok(KeySource::File(path)) => KeySource::File(files::plain(&folder.join(path))),
            Ok(elsewhere) => elsewhere,
            Err(never) => match never {},
        }
    }
}

word! {
    /// The last moment of something, in UTC: `2026-12-31` or `2026-12-31T12:00:00Z`.
    Moment, "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$",
    |text| text.parse::<Expiry>().map(drop).map_err(|error| error.to_string())
}

impl Moment {
    /// As it is compared.
    pub fn expiry(&self) -> Expiry {
        self.0.parse().expect("it was checked when it was made")
    }
}

word! {
    /// Where a collector of traces is.
    CollectorUrl, r"^https?://[^\s@/]+(/\S*)?$",
    |text| text.parse::<Endpoint>().map(drop).map_err(|what| format!("`{text}` can't be a collector's URL: {what}"))
}

impl CollectorUrl {
    /// As the runtime has it.
    pub fn endpoint(&self) -> Endpoint {
        self.0.parse().expect("it was checked when it was made")
    }
}

word! {
    /// Where the model is: a path, or a source such as `oci://REGISTRY/REPOSITORY[:TAG]`.
    ModelReference, r"^((https?|hf|s3|gs|az|mlflow|oci|triton)://.+|(?!.*://).+)$",
    |text| text.parse::<Source>().map(drop).map_err(|error| error.to_string())
}

impl ModelReference {
    /// The model's source, a relative path taken from `folder`.
    pub fn source(&self, folder: &Path) -> Source {
        self.0.parse::<Source>().expect("it was checked when it was made").from_folder(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = NotAWord>>(text: &str) -> String {
        match text.parse::<T>() {
            Ok(_) => panic!("`{text}` should be refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn versions_fit_into_tags_and_labels() {
        for good in ["1", "0.1.0", "2026-11-20", "v1.0_rc.1"] {
            assert!(good.parse::<ModelVersion>().is_ok(), "{good}");
        }
        for bad in ["", ".1", "1.", "1.0+build", "a b", "größe", &"1".repeat(64)] {
            refused::<ModelVersion>(bad);
        }
    }

    #[test]
    fn models_and_keys_are_named_by_where_they_are() {
        assert!("./digits.onnx".parse::<ModelReference>().is_ok());
        let error = refused::<ModelReference>("gopher://org/repo/file");
        assert!(error.starts_with("a model from `gopher://` is not supported"), "{error}");
        let model = |text: &str| text.parse::<ModelReference>().unwrap().source(Path::new("/home")).to_string();
        assert_eq!(model("./digits.onnx"), "/home/digits.onnx");
        assert_eq!(model("oci://r.example.com/digits:1"), "oci://r.example.com/digits:1");
        let folder = Path::new("/home");
        let source = |text: &str| text.parse::<KeyReference>().unwrap().source(folder);
        assert_eq!(source("env://KEY"), KeySource::Variable("KEY".into()));
        assert_eq!(source("cosign.key"), KeySource::File("/home/cosign.key".into()));
        for bad in ["", "env://", "env://A B", "exec://", "exec:// ", "kms://x", "-----BEGIN PRIVATE KEY-----"] {
            refused::<KeyReference>(bad);
        }
    }

    #[test]
    fn names_can_become_dns_names() {
        for good in ["digits", "Silero_VAD.v5", "größe"] {
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        for bad in ["", "---", "模型", "a/b", "a b", "a\n"] {
            refused::<ModelName>(bad);
        }
        for bad in ["", "A", "a-", "-a", "a.b", &"a".repeat(64)] {
            refused::<DnsLabel>(bad);
        }
    }

    #[test]
    fn a_base_is_the_closure_or_an_image() {
        let base = |text: &str| text.parse::<ImageBase>().map(|base| base.base(Path::new("/f")));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(base("closure").unwrap(), Base::Closure);
        assert_eq!(base("debian-packages").unwrap(), Base::DebianPackages);
        let layout = Base::Layout { folder: "/f/b/image".into(), name: "oci:./b/image".into() };
        assert_eq!(base("oci:./b/image").unwrap(), layout);
        for image in ["debian:12-slim", "localhost:5000/a", "r.example.com/a/b:1", &format!("a/b@{digest}")] {
            assert_eq!(base(image).unwrap(), Base::Image(image.into()));
        }
        for bad in ["debian", "", "oci:", "a b:1", "A/b:1", "a/b:", "a/b@sha256:12", "https://r.example.com/a:1"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
