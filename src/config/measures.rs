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

/// A size as people write it: a whole number of at least 1, and `B`, `kB`, `MB`, `GB`, `TB` or `KiB`, `MiB`, `GiB`, `TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub std::num::NonZeroU64);

/// The units, those that people count in first.
const UNITS: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, bytes) =
            UNITS.into_iter().find(|(_, bytes)| self.0.get().is_multiple_of(*bytes)).expect("1 divides every number");
        write!(f, "{}{unit}", self.0.get() / bytes)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("should be a size such as `500MB` or `2GiB`, but is `{text}`");
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        // A number alone is one of bytes.
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, bytes) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(bytes).and_then(std::num::NonZeroU64::new).map(Size).ok_or_else(wrong)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text, so that a number that a variable put in is one too.
        scalar(deserializer, "a size such as `500MB`")?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let text = json_schema!({ "type": "string", "pattern": "^[0-9]+([kMGT]B|[KMGT]iB|B)?$" });
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, text] })
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
        let text = scalar(deserializer, "`auto` or a whole number of at least 1")?;
        let wrong = || de::Error::custom(format!("should be `auto` or a whole number of at least 1, but is `{text}`"));
        if text == "auto" { Ok(Count::Auto) } else { text.parse().map(Count::Of).map_err(|_| wrong()) }
    }
}

/// The text of a scalar, in formats too where a number is not a text.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<String, D::Error> {
    struct Visitor(&'static str);
    impl de::Visitor<'_> for Visitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.into())
        }

        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Visitor(expected))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_the_units_of_people() {
        for (text, bytes, written) in [
            ("1", 1, "1B"),
            ("512B", 512, "512B"),
            ("500MB", 500_000_000, "500MB"),
            ("1500MB", 1_500_000_000, "1500MB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("1000kB", 1_000_000, "1MB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.0.get(), size.to_string().as_str()), (bytes, written));
        }
        for wrong in ["", "0", "0MB", "MB", "-1", "1.5GB", "1mb", "1 GB", "20000000TB", "99999999999999999999"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn sizes_come_back(bytes in 1u64..) {
            let size = Size(bytes.try_into().unwrap());
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
