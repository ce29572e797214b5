//! A message's fields as the types that they should have.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::text::{Fault, Field, Message, Value};

/// One message being read: which fields came already, and which nobody asked about.
pub(super) struct Fields<'a> {
    /// Where it stands, such as `dynamic_batching.`; empty at the top.
    path: String,
    seen: BTreeSet<&'a str>,
    /// The names of all fields that are not looked at, with their paths.
    left_out: &'a mut BTreeSet<String>,
}

/// Most names of fields that are kept of those that nobody looks at.
const MOST_LEFT_OUT: usize = 200;

impl<'a> Fields<'a> {
    pub(super) fn top(left_out: &'a mut BTreeSet<String>) -> Self {
        Fields { path: String::new(), seen: BTreeSet::new(), left_out }
    }

    /// Reads each field of `message` by `one`, which says whether it knows it.
    pub(super) fn each(
        &mut self,
        message: &'a Message,
        mut one: impl FnMut(&mut Self, &'a Field) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        for field in &message.fields {
            if !one(self, field)? && self.left_out.len() < MOST_LEFT_OUT {
                self.left_out.insert(format!("{}{}", self.path, field.name));
            }
        }
        Ok(())
    }

    /// Reads the message that a field holds, in the same way.
    pub(super) fn inside(
        &mut self,
        field: &'a Field,
        one: impl FnMut(&mut Fields<'a>, &'a Field) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let inner = message(field)?;
        let deeper = format!("{}{}.", self.path, field.name);
        let path = std::mem::replace(&mut self.path, deeper);
        let seen = std::mem::take(&mut self.seen);
        let read = self.each(inner, one);
        (self.path, self.seen) = (path, seen);
        read
    }

    /// Puts a value that may come once.
    pub(super) fn once<T>(&mut self, field: &'a Field, place: &mut T, value: T) -> Result<bool, Fault> {
        if !self.seen.insert(&field.name) {
            return Err(Fault::at(field.place, format!("`{}` is given twice", field.name)));
        }
        *place = value;
        Ok(true)
    }

    /// Adds an entry of a map, which is a message of `key` and `value`.
    pub(super) fn entry<T>(
        &mut self,
        field: &'a Field,
        map: &mut BTreeMap<String, T>,
        read: impl Fn(&'a Field) -> Result<T, Fault>,
    ) -> Result<bool, Fault> {
        let (mut key, mut value) = (String::new(), None);
        for part in &message(field)?.fields {
            match part.name.as_str() {
                "key" => key = text(part)?,
                "value" => value = Some(read(part)?),
                other => return Err(Fault::at(part.place, format!("`{}` has no `{other}`", field.name))),
            }
        }
        if let Some(value) = value {
            map.insert(key, value);
        }
        Ok(true)
    }
}

pub(super) fn message(field: &Field) -> Result<&Message, Fault> {
    match &field.value {
        Value::Message(inner) => Ok(inner),
        other => wrong(field, "a message in braces", other),
    }
}

pub(super) fn text(field: &Field) -> Result<String, Fault> {
    match &field.value {
        Value::Text(text) => Ok(text.clone()),
        other => wrong(field, "a text in quotes", other),
    }
}

pub(super) fn truth(field: &Field) -> Result<bool, Fault> {
    match &field.value {
        Value::Word(word) if ["true", "True", "t", "1"].contains(&word.as_str()) => Ok(true),
        Value::Word(word) if ["false", "False", "f", "0"].contains(&word.as_str()) => Ok(false),
        other => wrong(field, "`true` or `false`", other),
    }
}

/// A whole number: decimal, hexadecimal after `0x`, octal after `0`.
pub(super) fn integer<T: TryFrom<i128>>(field: &Field) -> Result<T, Fault> {
    let Value::Word(word) = &field.value else { return wrong(field, "a whole number", &field.value) };
    let (minus, digits) = word.strip_prefix('-').map_or((false, word.as_str()), |digits| (true, digits));
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    let number =
        i128::from_str_radix(digits, radix).ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_hexdigit()));
    let number = number.map(|number| if minus { -number } else { number });
    match number.and_then(|number| T::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => wrong(field, "a whole number in its range", &field.value),
    }
}

/// A member of an enum, as a word.
pub(super) fn member<T: FromStr>(field: &Field, members: &str) -> Result<T, Fault> {
    match &field.value {
        Value::Word(word) => word.parse().or_else(|_| wrong(field, members, &field.value)),
        other => wrong(field, members, other),
    }
}

fn wrong<T>(field: &Field, wanted: &str, found: &Value) -> Result<T, Fault> {
    let mut found = found.to_string();
    if found.chars().count() > 40 {
        found = found.chars().take(40).chain(['…']).collect();
    }
    Err(Fault::at(field.place, format!("`{}` should be {wanted}, and is {found}", field.name)))
}
