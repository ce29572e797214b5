//! Lengths of time and counts, as people write them.

use std::borrow::Cow;
use std::fmt;

use nimify_runtime::settings::duration;
use nimify_runtime::trace::Ratio;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as people write it: a whole number and `us`, `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        duration::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        duration::deserialize(deserializer).map(Duration)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(us|ms|s|m|h)$" })
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share(pub Ratio);

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// A number of at least 1, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Decided where the service runs.
    Auto,
    /// This many.
    Of(std::num::NonZeroU64),
}

impl Count {
    /// The number; `None` for `auto`.
    pub fn number(self) -> Option<usize> {
        match self {
            Count::Auto => None,
            Count::Of(number) => Some(usize::try_from(number.get()).unwrap_or(usize::MAX)),
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Count::Auto => serializer.serialize_str("auto"),
            Count::Of(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text, so that a number that a variable put in is one too.
        let text = CountText::deserialize(deserializer)?.0;
        let wrong = || de::Error::custom(format!("should be `auto` or a whole number of at least 1, but is `{text}`"));
        if text == "auto" { Ok(Count::Auto) } else { text.parse().map(Count::Of).map_err(|_| wrong()) }
    }
}

/// The text of a scalar, in formats too where a number is not a text.
struct CountText(String);

impl<'de> Deserialize<'de> for CountText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = CountText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a whole number of at least 1")
            }

            fn visit_str<E>(self, text: &str) -> Result<CountText, E> {
                Ok(CountText(text.into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<CountText, E> {
                Ok(CountText(number.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "auto" }] })
    }
}
