//! Kinds of single values: each is checked as it is read, and says the same in the JSON Schema.

use std::borrow::Cow;
use std::num::{NonZeroU16, NonZeroU64};

use nimify_runtime::settings::{Providers, duration};
use nimify_runtime::trace::{Endpoint, Ratio};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::chart::monitoring;
use crate::digest::Digest;
use crate::plan::ServiceName;

/// A port: 1 to 65535.
pub(super) type Port = NonZeroU16;

/// Texts of one form: a name, what checks it, and the pattern that says the same in the schema.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $pattern:literal, $check:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let check: fn(&str) -> Result<(), String> = $check;
                check(&text).map(|()| $name(text))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )+};
}

texts! {
    /// A whole number and its unit.
    Duration, "^[0-9]+(us|ms|s|m|h)$", |text| duration::parse(text).map(drop);
    /// The same, or nothing.
    DurationOrEmpty, "^([0-9]+(us|ms|s|m|h))?$",
        |text| if text.is_empty() { Ok(()) } else { duration::parse(text).map(drop) };
    /// A digest, or nothing.
    DigestOrEmpty, "^(sha256:[0-9a-f]{64})?$",
        |text| if text.is_empty() { Ok(()) } else { text.parse::<Digest>().map(drop).map_err(|e| e.to_string()) };
    /// A name for objects, or nothing.
    NameOrEmpty, "^([a-z]([a-z0-9-]{0,50}[a-z0-9])?)?$",
        |text| if text.is_empty() { Ok(()) } else { text.parse::<ServiceName>().map(drop).map_err(|e| e.to_string()) };
    /// A name of a Kubernetes object.
    ObjectName, "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", |text| {
        let ends = text.starts_with(alphanumeric) && text.ends_with(alphanumeric);
        let inner = text.chars().all(|c| alphanumeric(c) || matches!(c, '.' | '-'));
        if ends && inner && text.len() <= 253 { Ok(()) } else { Err(format!("`{text}` can't name an object of Kubernetes")) }
    };
    /// A path from the root.
    AbsolutePath, "^/", |text| {
        if text.starts_with('/') { Ok(()) } else { Err(format!("`{text}` is not a path from the root")) }
    };
    /// A collector's URL, `none`, or nothing.
    EndpointOrEmpty, "^(none|https?://[^ @/]+(/[^ ]*)?)?$",
        |text| if ["", "none"].contains(&text) { Ok(()) } else { text.parse::<Endpoint>().map(drop) };
    /// A part of a whole, from 0 to 1.
    RatioText, "^(0(\\.[0-9]+)?|1(\\.0+)?)$", |text| text.parse::<Ratio>().map(drop);
    /// A share.
    Percent, "^[0-9]+%$", |text| {
        let number = text.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
        if number { Ok(()) } else { Err(format!("`{text}` is not a percentage such as `25%`")) }
    };
}

/// Words of which each stands for one thing: a name, what they are, and all of them.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $all:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(String);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let all: Vec<String> = $all;
                if all.contains(&text) {
                    return Ok($name(text));
                }
                Err(format!("`{text}` is no {}: there are {}", $what, all.join(", ")))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let all: Vec<String> = $all;
                json_schema!({ "type": "string", "enum": all })
            }
        }
    )+};
}

words! {
    /// The name of an alert.
    AlertName, "alert", monitoring::alert_names().into_iter().map(String::from).collect();
    /// A time that latency can be held against.
    LatencyBound, "bound of the histogram of latencies", monitoring::latency_bounds().into_iter().map(|(bound, _)| bound).collect();
}

fn alphanumeric(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// A count, or the word that leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it should be a number from 1, or `auto`")]
pub(super) enum CountOrAuto {
    Count(NonZeroU64),
    Word(Auto),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auto {
    Auto,
}

/// A part of a whole; as a text too, since helm's `--set` knows no other fraction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it should be a number from 0 to 1")]
pub(super) enum Fraction {
    Number(#[schemars(with = "f64", range(min = 0, max = 1))] Ratio),
    Text(RatioText),
}

/// A count of pods, or a share of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it should be a number, or a percentage such as `25%`")]
pub(super) enum CountOrPercent {
    Count(u32),
    Percent(Percent),
}

/// An amount of a resource, as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it should be a number, or a text such as `250m` or `1Gi`")]
pub(super) enum Quantity {
    Number(serde_json::Number),
    Text(String),
}

/// Execution providers, as the runtime reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ProviderList(Providers);

impl JsonSchema for ProviderList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ProviderList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": Providers::PATTERN })
    }
}

/// The words for [`nimify_runtime::settings::Optimize`], which knows no schema.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used; a test holds it against the runtime's own words")]
pub(super) enum OptimizeWord {
    Build,
    Load,
    Never,
}
