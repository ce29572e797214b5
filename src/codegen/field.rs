//! A value of the signature as a field of a generated struct.

use std::collections::BTreeSet;

use nimify_runtime::signature::{ElementType, ValueSpec};
use serde::Serialize;

use super::name::identifiers;
use super::row::{RowStruct, row};

/// What the templates print of one value.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    /// The Rust identifier.
    pub name: String,
    /// The name in the graph, as a Rust literal.
    pub literal: String,
    /// Documentation, as a Rust literal.
    pub doc: String,
    /// The Rust type.
    pub rust_type: String,
    /// The type of the runtime that converts it, where it isn't a `Value`: `Array` or `Rows`.
    pub view: Option<&'static str>,
    /// The struct of its rows, if it has rows and their labels are known.
    #[serde(skip)]
    pub row: Option<RowStruct>,
}

impl Field {
    /// Whether it is an `Array`.
    pub(super) fn is_array(&self) -> bool {
        self.view == Some("Array")
    }
}

/// The fields of a message, in the signature's order.
pub(super) fn fields(specs: &[ValueSpec]) -> Vec<Field> {
    let names = identifiers(specs.iter().map(|spec| spec.name.as_str()));
    let mut fields: Vec<Field> = names.into_iter().zip(specs).map(|(name, spec)| field(name, spec)).collect();
    // Identifiers that differ in their underscores alone, as `a_1` and `a1`, have rows of the same name.
    let mut taken = BTreeSet::new();
    for field in &mut fields {
        if let Some(row) = &mut field.row {
            while !taken.insert(row.name.clone()) {
                row.name.push('s');
            }
            field.rust_type = format!("Rows<{}>", row.name);
        }
    }
    fields
}

fn field(name: String, spec: &ValueSpec) -> Field {
    let element = spec.tensor().and_then(|(element_type, _)| rust_element(element_type));
    let (rust_type, view, row) = match (element, row(&name, spec)) {
        (Some(element), _) => (format!("Array<{element}>"), Some("Array"), None),
        (None, Some((of, row))) => (format!("Rows<{of}>"), Some("Rows"), row),
        (None, None) => ("Value".into(), None, None),
    };
    Field {
        name,
        literal: literal(&spec.name),
        doc: literal(&format!(" {}: {}", code(&spec.name), code(&spec.value_type.to_string()))),
        rust_type,
        view,
        row,
    }
}

/// The Rust type that the runtime holds elements of this type in, that of the carrier; `None` for those it doesn't serve.
pub(super) fn rust_element(element_type: ElementType) -> Option<&'static str> {
    use ElementType as E;
    Some(match element_type.carrier()? {
        E::Float32 => "f32",
        E::Float64 => "f64",
        E::Float16 => "f16",
        E::Bfloat16 => "bf16",
        E::Int8 => "i8",
        E::Int16 => "i16",
        E::Int32 => "i32",
        E::Int64 => "i64",
        E::Uint8 => "u8",
        E::Uint16 => "u16",
        E::Uint32 => "u32",
        E::Uint64 => "u64",
        E::Bool => "bool",
        E::String => "Vec<u8>",
        _ => return None,
    })
}

/// A text as a Rust string literal.
pub(super) fn literal(text: &str) -> String {
    format!("{text:?}")
}

/// A text as a code span in one line of Markdown: what can't be seen, or would turn the line around, is escaped.
pub(super) fn code(text: &str) -> String {
    let shown: String = text
        .chars()
        .flat_map(|c| {
            let escaped = if matches!(c, '"' | '\'' | '\\') { None } else { Some(c.escape_debug()) };
            escaped.map_or_else(|| c.to_string(), |escaped| escaped.to_string()).chars().collect::<Vec<_>>()
        })
        .collect();
    let fence = if shown.contains('`') { "``" } else { "`" };
    let space = if shown.contains('`') || shown.is_empty() { " " } else { "" };
    format!("{fence}{space}{shown}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_stay_in_their_line() {
        assert_eq!(code("float32 [N, 64]"), "`float32 [N, 64]`");
        assert_eq!(code("a`b\n\u{202e}\"c"), "`` a`b\\n\\u{202e}\"c ``");
    }

    #[test]
    fn every_type_that_the_runtime_holds_has_a_rust_type() {
        for number in 1..=26 {
            let element_type = ElementType::from_onnx(number).unwrap();
            let held = element_type.carrier().is_some();
            assert_eq!(rust_element(element_type).is_some(), held, "{element_type}");
        }
    }
}
