//! Bytes to values and back, for each protocol that HTTP carries; and the check of values against the signature that
//! every protocol shares.
//!
//! Requests are read straight into typed buffers: no tree of JSON values is built, and what a body can make the service
//! allocate is bounded by the body's own length.

mod binary;
mod check;
mod json;
mod number;
pub mod predict;
mod read;
pub mod v2;
mod write;

pub use check::check;

/// ` (did you mean `…`?)` where one of `known` is near to `name`, and nothing where none is.
pub(crate) fn did_you_mean<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    // Longer names are nobody's slip of the finger, and comparing them would cost the square of their length.
    if name.len() > 128 {
        return String::new();
    }
    let near = known.filter(|other| other.len() <= 128).map(|other| (distance(name, other), other)).min();
    match near {
        Some((far, other)) if far <= 1 + name.len() / 4 => format!(" (did you mean `{other}`?)"),
        _ => String::new(),
    }
}

/// Levenshtein's distance over bytes, case aside.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Something a client sent, short enough to be shown back to it.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = || ["input_ids", "attention_mask"].into_iter();
        assert_eq!(did_you_mean("input_id", known()), " (did you mean `input_ids`?)");
        assert_eq!(did_you_mean("Attention-Mask", known()), " (did you mean `attention_mask`?)");
        assert_eq!(did_you_mean("pixels", known()), "");
        assert_eq!(did_you_mean(&"x".repeat(10_000), known()), "");
        assert_eq!(did_you_mean("x", std::iter::empty()), "");
    }
}
