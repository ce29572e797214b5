//! Tensor names → Rust identifiers: valid, unique, and the same each time.

use std::collections::BTreeSet;

/// One identifier a name, in order: snake case, ASCII, no keyword, no two alike.
///
/// `input.1` becomes `input_1`, `a/b:0` `a_b_0`, `inputIds` `input_ids`, `type` `type_`, `1` `tensor_1`, and what has
/// no letter or digit at all `tensor`. The second of two that would be alike gets `_2`.
pub(super) fn identifiers<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    names
        .into_iter()
        .map(|name| {
            let plain = identifier(name);
            let mut unique = plain.clone();
            let mut number = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{}_{number}", plain.trim_end_matches('_'));
                number += 1;
            }
            unique
        })
        .collect()
}

fn identifier(name: &str) -> String {
    let mut text = String::new();
    let mut previous = ' ';
    for c in name.chars() {
        let begins_word = c.is_ascii_uppercase() && (previous.is_ascii_lowercase() || previous.is_ascii_digit());
        if (begins_word || !c.is_ascii_alphanumeric()) && !text.is_empty() && !text.ends_with('_') {
            text.push('_');
        }
        if c.is_ascii_alphanumeric() {
            text.push(c.to_ascii_lowercase());
        }
        previous = c;
    }
    let text = text.trim_end_matches('_');
    match text.chars().next() {
        None => "tensor".into(),
        Some('0'..='9') => format!("tensor_{text}"),
        // The parser knows every keyword but the one that edition 2024 reserved.
        Some(_) if text == "gen" || syn::parse_str::<syn::Ident>(text).is_err() => format!("{text}_"),
        Some(_) => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_identifiers() {
        for (name, identifier) in [
            ("input.1", "input_1"),
            ("a/b:0", "a_b_0"),
            ("inputIds", "input_ids"),
            ("Conv2D", "conv2_d"),
            ("NMS", "nms"),
            ("type", "type_"),
            ("self", "self_"),
            ("gen", "gen_"),
            ("Self", "self_"),
            ("1", "tensor_1"),
            ("", "tensor"),
            ("_", "tensor"),
            ("__x__", "x"),
            ("größe", "gr_e"),
            ("模型", "tensor"),
        ] {
            assert_eq!(identifiers([name]), [identifier], "{name}");
        }
        assert_eq!(identifiers(["a.b", "a:b", "a_b_2", "a b"]), ["a_b", "a_b_2", "a_b_2_2", "a_b_3"]);
        assert_eq!(identifiers(["type", "Type"]), ["type_", "type_2"]);
    }

    proptest! {
        #[test]
        fn identifiers_are_valid_and_unique(names in prop::collection::vec("\\PC{0,8}|[a-c_.]{0,3}", 0..12)) {
            let identifiers = identifiers(names.iter().map(String::as_str));
            prop_assert_eq!(identifiers.iter().collect::<BTreeSet<_>>().len(), names.len());
            for identifier in &identifiers {
                prop_assert!(syn::parse_str::<syn::Ident>(identifier).is_ok(), "{}", identifier);
            }
        }
    }
}
