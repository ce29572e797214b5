//! Which of the files that stand with a model go with it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which of the files that stand with a model go with it: all that are known, none, or those of these names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SideFiles {
    /// `true`.
    #[default]
    All,
    /// `false`.
    None,
    /// A list.
    Named(BTreeSet<String>),
}

impl SideFiles {
    /// Whether the file of this name goes with the model.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            SideFiles::All => true,
            SideFiles::None => false,
            SideFiles::Named(names) => names.contains(name),
        }
    }
}

impl Serialize for SideFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SideFiles::All => serializer.serialize_bool(true),
            SideFiles::None => serializer.serialize_bool(false),
            SideFiles::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SideFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not by an untagged enum, which forgets what was wrong.
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = SideFiles;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`true`, `false` or a list of file names")
    }

    fn visit_bool<E>(self, all: bool) -> Result<SideFiles, E> {
        Ok(if all { SideFiles::All } else { SideFiles::None })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SideFiles, E> {
        // As a variable puts it in.
        match text {
            "true" => Ok(SideFiles::All),
            "false" => Ok(SideFiles::None),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut names: A) -> Result<SideFiles, A::Error> {
        let mut named = BTreeSet::new();
        while let Some(name) = names.next_element()? {
            named.insert(name);
        }
        Ok(SideFiles::Named(named))
    }
}

impl JsonSchema for SideFiles {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SideFiles".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
