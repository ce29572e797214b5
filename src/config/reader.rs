//! The tree as Serde reads it: each refusal says at which line and column, at which key, and what should be there.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};

use super::Fault;
use super::document::{Content, Key, Node, Place, Scalar};

/// Reads a value out of a tree.
pub(super) fn from_node<T: de::DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(Reader { node, path: &Path::Root }).map_err(|refusal| Fault {
        place: refusal.place,
        key: refusal.key,
        message: refusal.message,
    })
}

/// Where a value stands, as a list from the inside out.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Why a value could not be read. The place is added by the innermost part that knows it.
#[derive(Debug)]
struct Refusal {
    place: Option<Place>,
    key: String,
    message: String,
}

impl Refusal {
    fn new(message: String) -> Self {
        Refusal { place: None, key: String::new(), message }
    }

    fn placed(mut self, place: Place, path: &Path<'_>) -> Self {
        if self.place.is_none() {
            (self.place, self.key) = (Some(place), path.to_string());
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Refusal::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Refusal::new(format!("should be {}, but is {}", in_words(&expected.to_string()), shown(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Refusal::new(format!("`{field}` is no known key{}", nearest(field, known)))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Refusal::new(format!("`{word}` is no known word here{}", nearest(word, known)))
    }

    fn missing_field(field: &'static str) -> Self {
        Refusal::new(format!("the key `{field}` is missing"))
    }
}

fn shown(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the text `{text}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{number}`"),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unit => "empty".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

/// Serde names the types of Rust; people write files.
fn in_words(expected: &str) -> String {
    match expected {
        "a nonzero u16" => "a whole number from 1 to 65535".into(),
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number of at least 1".into(),
        "a string" | "path string" => "a text".into(),
        "a map" => "a mapping".into(),
        "a sequence" => "a list".into(),
        other => other.into(),
    }
}

fn nearest(word: &str, known: &[&str]) -> String {
    match crate::nearest::nearest(word, known.iter().copied()) {
        Some(near) => format!(": did you mean `{near}`?"),
        None => format!(": known are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[derive(Clone, Copy)]
struct Reader<'a, 'p> {
    node: &'a Node,
    /// Lives as long as the call that made it, which is shorter than the tree.
    path: &'p Path<'p>,
}

impl<'a> Reader<'a, '_> {
    /// A newtype refuses a value after it was read: so the place is added out here too.
    fn read<T: de::DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Refusal> {
        seed.deserialize(self).map_err(|refusal| self.place(refusal))
    }

    /// Adds the place to a refusal, and shows what was written instead of what a variable held.
    fn place(&self, mut refusal: Refusal) -> Refusal {
        if let Content::Scalar(Scalar { text, written: Some(written), .. }) = &self.node.content
            && !text.is_empty()
        {
            refusal.message = refusal.message.replace(text.as_str(), written);
        }
        refusal.placed(self.node.place, self.path)
    }

    fn found(&self) -> Unexpected<'a> {
        match &self.node.content {
            Content::Sequence(_) => Unexpected::Seq,
            Content::Mapping(_) => Unexpected::Map,
            Content::Scalar(scalar) if is_null(scalar) => Unexpected::Unit,
            Content::Scalar(scalar) => Unexpected::Str(&scalar.text),
        }
    }

    fn unexpected<T>(&self, expected: &dyn Expected) -> Result<T, Refusal> {
        Err(self.place(de::Error::invalid_type(self.found(), expected)))
    }

    /// The text of a value that may be a number or a truth value: without quotes, or put in by a variable.
    fn literal(&self) -> Option<&'a str> {
        match &self.node.content {
            Content::Scalar(scalar) if scalar.plain || scalar.written.is_some() => Some(&scalar.text),
            _ => None,
        }
    }

    fn scalar<V: Visitor<'a>>(&self, scalar: &'a Scalar, visitor: V) -> Result<V::Value, Refusal> {
        let text = scalar.text.as_str();
        match () {
            () if !scalar.plain => visitor.visit_str(text),
            () if is_null(scalar) => visitor.visit_unit(),
            () => match (truth(text), whole(text), fraction(text)) {
                (Some(value), _, _) => visitor.visit_bool(value),
                (_, Some(Whole::Unsigned(number)), _) => visitor.visit_u64(number),
                (_, Some(Whole::Signed(number)), _) => visitor.visit_i64(number),
                (_, _, Some(number)) => visitor.visit_f64(number),
                _ => visitor.visit_str(text),
            },
        }
    }
}

fn is_null(scalar: &Scalar) -> bool {
    scalar.plain && scalar.written.is_none() && matches!(scalar.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

enum Whole {
    Unsigned(u64),
    Signed(i64),
}

/// A whole number as YAML 1.2 writes it.
fn whole(text: &str) -> Option<Whole> {
    let unsigned = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) if !digits.starts_with('+') => u64::from_str_radix(digits, 16).ok(),
        (_, Some(digits)) if !digits.starts_with('+') => u64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    };
    unsigned.map(Whole::Unsigned).or_else(|| text.parse().ok().map(Whole::Signed))
}

/// A number with a point or an exponent, finite: the others have no form in JSON.
fn fraction(text: &str) -> Option<f64> {
    let numeric = text.bytes().any(|c| c.is_ascii_digit()) && text.bytes().all(|c| b"0123456789+-.eE".contains(&c));
    text.parse().ok().filter(|number: &f64| numeric && number.is_finite())
}

macro_rules! whole_numbers {
    ($($method:ident $type:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
            let number = self.literal().and_then(whole).and_then(|number| match number {
                Whole::Unsigned(number) => <$type>::try_from(number).ok(),
                Whole::Signed(number) => <$type>::try_from(number).ok(),
            });
            match number {
                Some(number) => visitor.$visit(number).map_err(|refusal| self.place(refusal)),
                None => {
                    let words = format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX);
                    self.unexpected(&words.as_str())
                }
            }
        }
    )*};
}

impl<'a> Deserializer<'a> for Reader<'a, '_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let value = match &self.node.content {
            Content::Scalar(scalar) => self.scalar(scalar, visitor),
            Content::Sequence(nodes) => visitor.visit_seq(Items { nodes, index: 0, path: self.path }),
            Content::Mapping(entries) => visitor.visit_map(Entries { entries, value: None, path: self.path }),
        };
        value.map_err(|refusal| self.place(refusal))
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match self.literal().and_then(truth) {
            Some(value) => visitor.visit_bool(value).map_err(|refusal| self.place(refusal)),
            None => self.unexpected(&"`true` or `false`"),
        }
    }

    whole_numbers! {
        deserialize_i8 i8, visit_i8;
        deserialize_i16 i16, visit_i16;
        deserialize_i32 i32, visit_i32;
        deserialize_i64 i64, visit_i64;
        deserialize_u8 u8, visit_u8;
        deserialize_u16 u16, visit_u16;
        deserialize_u32 u32, visit_u32;
        deserialize_u64 u64, visit_u64;
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            // The text as it is written: a version such as 1.10 is no number.
            Content::Scalar(scalar) if !is_null(scalar) => {
                visitor.visit_str(&scalar.text).map_err(|refusal| self.place(refusal))
            }
            _ => self.unexpected(&"a text"),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Scalar(scalar) if is_null(scalar) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.node.content {
            // Serde would take a list too, and fill the keys in by their order.
            Content::Mapping(_) => self.deserialize_any(visitor),
            _ => self.unexpected(&"a mapping"),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        match &self.node.content {
            Content::Scalar(scalar) if !is_null(scalar) => {
                let word: StrDeserializer<'_, Refusal> = scalar.text.as_str().into_deserializer();
                visitor.visit_enum(word).map_err(|refusal| self.place(refusal))
            }
            _ => self.unexpected(&"a word"),
        }
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'a>>
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a, 'p> {
    nodes: &'a [Node],
    index: usize,
    path: &'p Path<'p>,
}

impl<'a> de::SeqAccess<'a> for Items<'a, '_> {
    type Error = Refusal;

    fn next_element_seed<T: de::DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let Some(node) = self.nodes.get(self.index) else { return Ok(None) };
        let path = Path::Index(self.path, self.index);
        self.index += 1;
        Reader { node, path: &path }.read(seed).map(Some)
    }
}

struct Entries<'a, 'p> {
    entries: &'a [(Key, Node)],
    value: Option<&'a (Key, Node)>,
    path: &'p Path<'p>,
}

impl<'a> de::MapAccess<'a> for Entries<'a, '_> {
    type Error = Refusal;

    fn next_key_seed<K: de::DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((first, rest)) = self.entries.split_first() else { return Ok(None) };
        (self.value, self.entries) = (Some(first), rest);
        let key: StrDeserializer<'_, Refusal> = first.0.text.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|refusal| refusal.placed(first.0.place, self.path))
    }

    fn next_value_seed<V: de::DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let (key, node) = self.value.expect("Serde asks for a key before its value");
        Reader { node, path: &Path::Key(self.path, &key.text) }.read(seed)
    }
}
