//! How a model's source is written.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::hf::HubModel;
use super::https::WebAddress;
use super::mlflow::MlflowModel;
use super::objects::{Location, StoreKind};

/// The schemes that models are fetched by, and how a source of each is written.
pub const SCHEMES: [(&str, &str); 8] = [
    ("https", "https://HOST/PATH[#sha256=HEX]"),
    ("hf", "hf://ORG/REPOSITORY[@REVISION][/FILE]"),
    ("oci", "oci://REGISTRY/REPOSITORY[:TAG]"),
    ("s3", "s3://BUCKET/KEY"),
    ("gs", "gs://BUCKET/KEY"),
    ("az", "az://CONTAINER/KEY"),
    ("mlflow", "mlflow://models/NAME/VERSION"),
    ("triton", "triton://PATH[@VERSION]"),
];

/// A model, by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder that holds one model.
    Path(PathBuf),
    /// An artifact or an image in a registry: what follows `oci://`, a `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
    Oci(String),
    /// A file of a web host.
    Web(WebAddress),
    /// A model of a model hub.
    Hub(HubModel),
    /// An object, or what is below a prefix, in an object store.
    Objects(Location),
    /// A model of an MLflow registry, or of a run.
    Mlflow(MlflowModel),
    /// A model in a model repository of Triton's on this machine.
    Triton {
        /// The model's folder, or a repository of one model.
        folder: PathBuf,
        /// The version; `None` for the newest that is served.
        version: Option<u64>,
    },
}

/// A source that can't be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASource {
    /// Models can't be fetched by this scheme.
    #[error("a model from `{0}://` is not supported: give a path or {known}", known = forms())]
    Scheme(String),
    /// It isn't written as its scheme asks.
    #[error("`{text}` can't be a source: {reason}")]
    Form {
        /// The source, without what may be secret.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing is fetched from Docker Hub because a host was left out.
    #[error("`oci://{0}` should begin with a registry, such as `oci://registry.example.com/ml/digits`")]
    NoRegistry(String),
    /// Nothing was given.
    #[error("the path of the model is empty")]
    Empty,
}

/// How sources are written, as the end of a sentence.
fn forms() -> String {
    SCHEMES.map(|(_, form)| format!("`{form}`")).join(" or ")
}

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        if let Some(model) = MlflowModel::own(text) {
            return model.map(Source::Mlflow);
        }
        match text.split_once("://") {
            Some(("oci", rest)) => {
                let registry = rest.split_once('/').map_or("", |(registry, _)| registry);
                if let Some(at) = registry.rfind('@') {
                    let reason = "a name and password have no place in it: `docker login` keeps them".into();
                    return Err(NotASource::Form { text: format!("oci://{}", &rest[at + 1..]), reason });
                }
                let is_host = registry.contains(['.', ':']) || registry == "localhost";
                if is_host { Ok(Source::Oci(rest.into())) } else { Err(NotASource::NoRegistry(rest.into())) }
            }
            Some(("https" | "http", _)) => Ok(Source::Web(text.parse()?)),
            Some(("hf", _)) => Ok(Source::Hub(text.parse()?)),
            Some(("mlflow", rest)) => Ok(Source::Mlflow(rest.parse()?)),
            Some(("triton", rest)) => triton(rest),
            Some((scheme, rest)) => match StoreKind::of(scheme) {
                Some(kind) => Ok(Source::Objects(Location::parse(kind, rest)?)),
                None => Err(NotASource::Scheme(scheme.into())),
            },
            None if text.is_empty() || text.contains('\0') => Err(NotASource::Empty),
            None => Ok(Source::Path(text.into())),
        }
    }
}

/// The path before a version, and the version, where there is one.
fn triton_version(text: &str) -> Option<(&str, u64)> {
    let (path, digits) = text.rsplit_once('@').filter(|(_, digits)| digits.bytes().all(|c| c.is_ascii_digit()))?;
    Some((path, digits.parse().ok()?))
}

/// `PATH[@VERSION]`.
fn triton(rest: &str) -> Result<Source, NotASource> {
    let (path, version) = triton_version(rest).map_or((rest, None), |(path, version)| (path, Some(version)));
    if path.is_empty() || path.contains('\0') {
        let reason = "it should name a model's folder, as in `triton://models/detector`".into();
        return Err(NotASource::Form { text: format!("triton://{rest}"), reason });
    }
    Ok(Source::Triton { folder: path.into(), version })
}

impl TryFrom<&OsStr> for Source {
    type Error = NotASource;

    /// What isn't UTF-8 can only be a path.
    fn try_from(text: &OsStr) -> Result<Self, NotASource> {
        text.to_str().map_or_else(|| Ok(Source::Path(text.into())), str::parse)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => path.display().fmt(f),
            Source::Oci(reference) => write!(f, "oci://{reference}"),
            Source::Web(address) => address.fmt(f),
            Source::Hub(model) => model.fmt(f),
            Source::Objects(location) => location.fmt(f),
            Source::Mlflow(model) => model.fmt(f),
            Source::Triton { folder, version: None } => {
                let folder = folder.display().to_string();
                // A folder whose own name ends as a version does.
                let end = if triton_version(&folder).is_some() { "/" } else { "" };
                write!(f, "triton://{folder}{end}")
            }
            Source::Triton { folder, version: Some(version) } => write!(f, "triton://{}@{version}", folder.display()),
        }
    }
}

impl Source {
    /// The same, a relative path taken from `folder`.
    pub fn from_folder(self, folder: &Path) -> Source {
        match self {
            Source::Path(path) => Source::Path(crate::files::plain(&folder.join(path))),
            Source::Triton { folder: own, version } => {
                Source::Triton { folder: crate::files::plain(&folder.join(own)), version }
            }
            elsewhere => elsewhere,
        }
    }

    /// The path of a model that is here already.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The host that may be asked for it without TLS, with its port, where the source names it.
    pub fn host(&self) -> Option<&str> {
        match self {
            Source::Path(_) | Source::Hub(_) | Source::Objects(_) | Source::Mlflow(_) | Source::Triton { .. } => None,
            Source::Oci(reference) => reference.split_once('/').map(|(registry, _)| registry),
            Source::Web(address) => address.plain_host(),
        }
    }

    /// What its owner calls the model there, where that isn't the name of its file.
    pub fn title(&self) -> Option<&str> {
        match self {
            Source::Hub(model) => Some(model.title()),
            _ => None,
        }
    }

    /// The source without the digest that it may name, and without what may be secret: for messages and documents.
    pub fn name(&self) -> String {
        let text = self.to_string();
        match self {
            Source::Oci(_) => text.split_once('@').map_or(text.clone(), |(name, _)| name.into()),
            Source::Web(address) => address.name(),
            Source::Path(_) | Source::Hub(_) | Source::Objects(_) | Source::Mlflow(_) | Source::Triton { .. } => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_in_a_registry() {
        assert_eq!("a/b.onnx".parse(), Ok(Source::Path("a/b.onnx".into())));
        let oci: Source = "oci://r.example.com/ml/digits:1".parse().unwrap();
        assert_eq!(oci, Source::Oci("r.example.com/ml/digits:1".into()));
        assert_eq!(oci.to_string(), "oci://r.example.com/ml/digits:1");
        assert_eq!(oci.clone().from_folder(Path::new("/x")), oci);
        assert_eq!((oci.path(), oci.host()), (None, Some("r.example.com")));
        assert_eq!(format!("{oci}@sha256:00").parse::<Source>().unwrap().name(), oci.to_string());
        let triton = |text: &str| text.parse::<Source>().unwrap().from_folder(Path::new("/x")).to_string();
        assert_eq!(triton("triton://models/a@3"), "triton:///x/models/a@3");
        assert_eq!(triton("triton:///models/a@b"), "triton:///models/a@b");
        assert_eq!(triton("triton:///models/a@3/"), "triton:///models/a@3/");
        assert_eq!("a@b".parse::<Source>().unwrap().name(), "a@b");
        assert_eq!(Source::Path("b".into()).from_folder(Path::new("/x/../y")), Source::Path("/y/b".into()));
    }

    #[test]
    fn what_is_no_source_says_why() {
        let refused = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert!(refused("gopher://org/repo").contains("`gopher://` is not supported"));
        for text in ["oci://digits", "oci://ml/digits", "oci://"] {
            assert!(refused(text).contains("should begin with a registry"));
        }
        let error = refused("oci://ada:hunter2@r.example.com/a");
        assert!(error.starts_with("`oci://r.example.com/a` can't") && error.contains("docker login"), "{error}");
        assert!(refused("triton://").ends_with("as in `triton://models/detector`"));
        assert_eq!(refused(""), "the path of the model is empty");
    }
}
