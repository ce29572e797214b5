//! The chart's values → those of one deployment: the environment's, then files, then flags, each over the one before, as
//! helm merges them.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Error;
use crate::chart::{self, ValueFault};
use crate::config;
use crate::digest::Digest;
use crate::registry::{Reference, Repository};

/// Largest file of values that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// The values of one deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// The chart's own.
    pub base: Value,
    /// What helm is given over them; a null takes a value of the chart away.
    pub overlay: Value,
}

/// The image that values name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// Its repository, with the registry.
    pub repository: Repository,
    /// Its manifest.
    pub digest: Digest,
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

impl Values {
    /// Those of the chart alone.
    pub fn new(base: Value) -> Self {
        Values { base, overlay: json!({}) }
    }

    /// Puts these over what is there.
    pub fn put(&mut self, changes: &Value) {
        config::overlay(&mut self.overlay, changes);
    }

    /// What the templates see.
    pub fn merged(&self) -> Value {
        let mut merged = self.base.clone();
        chart::merge_values(&mut merged, &self.overlay);
        merged
    }
}

/// The image that merged values name.
pub fn image_of(values: &Value) -> Result<ImageName, Error> {
    let text = |key: &str| values["image"][key].as_str().unwrap_or_default().to_string();
    let digest: Digest = text("digest").parse().map_err(|_| Error::NoDigest { found: text("digest") })?;
    let repository = text("repository");
    match Reference::with_registry(&repository) {
        Ok(reference) if reference.tag.is_none() && reference.digest.is_none() => {
            Ok(ImageName { repository: reference.repository, digest })
        }
        Ok(_) => Err(Error::OddRepository { repository }),
        Err(_) => Err(Error::NoRegistry { repository, digest }),
    }
}

/// The image that holds the model by merged values, where Kubernetes is to mount one.
pub(super) fn model_image_of(values: &Value) -> Result<Option<ImageName>, Error> {
    let model = &values["model"];
    if model["source"] != "imageVolume" {
        return Ok(None);
    }
    let text = model["image"].as_str().unwrap_or_default();
    let reference = Reference::with_registry(text).ok();
    let named = reference.and_then(|reference| Some((reference.repository, reference.digest?)));
    let (repository, digest) = named.ok_or_else(|| Error::NoModelDigest { found: text.into() })?;
    Ok(Some(ImageName { repository, digest }))
}

/// Reads a file of values: a mapping in YAML or JSON.
pub(super) fn read(path: &Path) -> Result<Value, Error> {
    let wrong = |reason: String| Error::ValuesFile { path: path.into(), reason };
    let data = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if data.len() > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match value {
        Value::Null => Ok(json!({})),
        Value::Object(_) => Ok(value),
        _ => Err(wrong("it holds no mapping".into())),
    }
}

/// One `--set`: a path with dots, where `\.` is a dot of a name, and a value as YAML writes it.
pub fn parse_set(text: &str) -> Result<Value, Error> {
    let wrong = |reason: &str| Error::Set { text: text.into(), reason: reason.into() };
    let (path, value) = text.split_once('=').ok_or_else(|| wrong("it should be PATH=VALUE"))?;
    let mut keys = vec![String::new()];
    let mut rest = path.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => keys.last_mut().expect("there is one").push(rest.next().ok_or_else(|| wrong("it ends in `\\`"))?),
            '.' => keys.push(String::new()),
            c => keys.last_mut().expect("there is one").push(c),
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err(wrong("a part of its path is empty"));
    }
    if keys.len() > 32 {
        return Err(wrong("its path has more than 32 parts"));
    }
    let value: Value = serde_yaml::from_str(value).map_err(|error| wrong(&error.to_string()))?;
    Ok(keys.into_iter().rev().fold(value, |value, key| Value::Object(Map::from_iter([(key, value)]))))
}

/// Refuses values that the chart doesn't have. `origin` is where they stand.
pub(super) fn check(schema: &Value, base: &Value, changes: &Value, origin: &str) -> Result<(), Error> {
    chart::check_values(schema, base, changes)
        .map_err(|fault: ValueFault| Error::Values { origin: origin.into(), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_last_wins_and_null_takes_away() {
        let mut values = Values::new(json!({"a": 1, "b": {"c": 1, "d": 2}}));
        values.put(&json!({"b": {"c": 2}}));
        values.put(&parse_set("b.c=3").unwrap());
        values.put(&parse_set("b.d=null").unwrap());
        assert_eq!(values.overlay, json!({"b": {"c": 3, "d": null}}));
        assert_eq!(values.merged(), json!({"a": 1, "b": {"c": 3}}));
    }

    #[test]
    fn a_set_is_a_path_and_a_yaml_value() {
        let set = |text: &str| parse_set(text).unwrap();
        assert_eq!(set("replicaCount=3"), json!({"replicaCount": 3}));
        assert_eq!(set(r"podLabels.example\.com/team=ml"), json!({"podLabels": {"example.com/team": "ml"}}));
        assert_eq!(set("a.b={cpu: 1, x: [y]}"), json!({"a": {"b": {"cpu": 1, "x": ["y"]}}}));
        assert_eq!(set("a=x=y"), json!({"a": "x=y"}));
        assert_eq!(set("a="), json!({"a": null}));
        for wrong in ["a", "=1", "a..b=1", "a.=1", "a\\", "a=[", &format!("{}=1", "a.".repeat(99))] {
            assert!(parse_set(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_image_is_named_by_registry_and_digest() {
        let values = |repository: &str, digest: &str| json!({"image": {"repository": repository, "digest": digest}});
        let digest = Digest::of("x").to_string();
        let image = image_of(&values("r.example.com/ml/digits", &digest)).unwrap();
        assert_eq!(image.to_string(), format!("r.example.com/ml/digits@{digest}"));
        assert!(matches!(image_of(&values("digits", &digest)), Err(Error::NoRegistry { .. })));
        assert!(matches!(image_of(&values("r.example.com/a:1", &digest)), Err(Error::OddRepository { .. })));
        for none in ["", "latest", "sha256:0"] {
            assert!(matches!(image_of(&values("r.example.com/a", none)), Err(Error::NoDigest { .. })));
        }
        assert!(image_of(&json!(null)).is_err());
    }

    #[test]
    fn a_file_of_values_is_a_mapping() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("v.yaml");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            super::read(&path)
        };
        assert_eq!(read("a: 1").unwrap(), json!({"a": 1}));
        assert_eq!(read("").unwrap(), json!({}));
        for wrong in ["- 1", "a: [", "x"] {
            assert!(matches!(read(wrong), Err(Error::ValuesFile { .. })), "{wrong}");
        }
        assert!(super::read(Path::new("/no/such")).is_err());
    }
}
