//! A sequence of maps as a type of the generated crate: a struct with a field a label, where the labels are known.

use nimify_runtime::signature::{ElementType, ValueSpec, ValueType};
use serde::Serialize;

use super::field::{code, literal, rust_element};
use super::name::identifiers;

/// Most labels that become fields: beyond, a row is its pairs.
const MOST_FIELDS: usize = 100;

/// What the templates print of one struct.
#[derive(Debug, Serialize)]
pub(super) struct RowStruct {
    /// Its name.
    pub name: String,
    /// Its documentation, as a Rust literal.
    pub doc: String,
    /// The type of each field.
    pub value: &'static str,
    /// A field a label.
    pub fields: Vec<LabelField>,
}

/// A label as a field.
#[derive(Debug, Serialize)]
pub(super) struct LabelField {
    /// The Rust identifier.
    pub name: String,
    /// The label, as a Rust literal.
    pub label: String,
    /// Documentation, as a Rust literal.
    pub doc: String,
}

/// What a row of the value is: a struct that is generated with it, or pairs. `None` where the value is no sequence of
/// maps. `identifier` is that of the field which holds the rows.
pub(super) fn row(identifier: &str, spec: &ValueSpec) -> Option<(String, Option<RowStruct>)> {
    let ValueType::Sequence { element } = &spec.value_type else { return None };
    let ValueType::Map { key, value, labels } = &**element else { return None };
    let ValueType::Tensor { element_type, .. } = &**value else { return None };
    let (key_type, value) = (rust_element(*key)?, rust_element(*element_type)?);
    let literals: Option<Vec<String>> = labels.iter().map(|label| label_literal(*key, label)).collect();
    let literals = literals.filter(|literals| (1..=MOST_FIELDS).contains(&literals.len()));
    let Some(literals) = literals else { return Some((format!("Vec<({key_type}, {value})>"), None)) };
    let name = format!("{}Row", identifier.split('_').map(capitalised).collect::<String>());
    let names = identifiers(labels.iter().map(|label| readable(label)).collect::<Vec<_>>().iter().map(String::as_str));
    let fields = names.into_iter().zip(labels).zip(literals);
    let fields = fields.map(|((name, label), literal_of)| LabelField {
        name,
        doc: literal(&format!(" {}", code(label))),
        label: literal_of,
    });
    let doc = literal(&format!(" A row of {}: a value for each label.", code(&spec.name)));
    Some((name.clone(), Some(RowStruct { name, doc, value, fields: fields.collect() })))
}

fn label_literal(key: ElementType, label: &str) -> Option<String> {
    match key {
        ElementType::Int64 => label.parse::<i64>().ok().map(|number| format!("{number}_i64")),
        ElementType::String => Some(literal(label)),
        _ => None,
    }
}

/// A label that begins with a digit, or has none and no letter, says that it is one.
fn readable(label: &str) -> String {
    let begins = label.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().next();
    match begins {
        Some('a'..='z' | 'A'..='Z') => label.into(),
        _ => format!("label_{label}"),
    }
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::Shape;

    use super::*;

    fn scores(key: ElementType, labels: &[&str]) -> ValueSpec {
        let value = Box::new(ValueType::Tensor { element_type: ElementType::Float32, shape: Shape(None) });
        let labels = labels.iter().map(ToString::to_string).collect();
        let element = Box::new(ValueType::Map { key, value, labels });
        ValueSpec { name: "scores".into(), value_type: ValueType::Sequence { element } }
    }

    #[test]
    fn labels_become_fields_and_without_them_a_row_is_pairs() {
        let (name, row) = row("output_probability", &scores(ElementType::String, &["a b", "10", "-", "type"])).unwrap();
        assert_eq!(name, "OutputProbabilityRow");
        let fields: Vec<_> = row.unwrap().fields.into_iter().map(|field| (field.name, field.label)).collect();
        let expected = [("a_b", "\"a b\""), ("label_10", "\"10\""), ("label", "\"-\""), ("type_", "\"type\"")];
        assert_eq!(fields, expected.map(|(name, label)| (name.to_string(), label.to_string())));
        let whole = super::row("p", &scores(ElementType::Int64, &["-1", "1"])).unwrap().1.unwrap();
        let labels: Vec<_> = whole.fields.iter().map(|field| (&field.name[..], &field.label[..])).collect();
        assert_eq!(labels, [("label_1", "-1_i64"), ("label_1_2", "1_i64")]);
        let pairs = super::row("p", &scores(ElementType::Int64, &[])).unwrap();
        assert!(pairs.0 == "Vec<(i64, f32)>" && pairs.1.is_none());
    }
}
