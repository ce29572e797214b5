//! A key that an environment trusts: where it is, and until when.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::words::{KeyReference, Moment};

/// A public key that is believed. In the file a text, or a mapping where its time is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Where it is.
    pub key: KeyReference,
    /// Until when it is trusted; `None` for as long as the list is.
    pub not_after: Option<Moment>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
struct Bounded {
    /// A path, `env://NAME` or `exec://COMMAND`.
    key: KeyReference,
    /// Until when it is trusted.
    not_after: Moment,
}

impl Serialize for TrustedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.not_after {
            None => self.key.serialize(serializer),
            Some(not_after) => Bounded { key: self.key.clone(), not_after: not_after.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not by an untagged enum, which forgets what was wrong.
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = TrustedKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key's place, or `{ key, notAfter }`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TrustedKey, E> {
        Ok(TrustedKey { key: text.parse().map_err(E::custom)?, not_after: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TrustedKey, A::Error> {
        let Bounded { key, not_after } = Bounded::deserialize(MapAccessDeserializer::new(map))?;
        Ok(TrustedKey { key, not_after: Some(not_after) })
    }
}

impl JsonSchema for TrustedKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TrustedKey".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (text, bounded) = (KeyReference::json_schema(generator), Bounded::json_schema(generator));
        json_schema!({ "anyOf": [text, bounded] })
    }
}
