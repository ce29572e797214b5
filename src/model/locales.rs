//! Locales of the system that a model names.
//!
//! ONNX Runtime's `StringNormalizer` is the one operator that asks the system for a locale, as it loads a model, and
//! refuses the model where the system doesn't know it. What is not asked for is not looked up: a node that neither changes
//! nor ignores the case of letters needs none.

use std::collections::BTreeSet;

use super::graph::Node;
use super::onnx::Model;
use super::opset::{STANDARD, domain_name};

/// What ONNX Runtime takes, except on Windows, where a node names none.
const DEFAULT: &[u8] = b"en_US.UTF-8";
/// Locales that every C library brings: they know the letters of ASCII. The name without letters is whatever the process
/// runs in.
const ALWAYS_THERE: [&[u8]; 3] = [b"", b"C", b"POSIX"];
/// Longest name that a C library looks up, bytes; and most names that are kept: a pipeline has one.
const LONGEST: usize = 255;
const MOST: usize = 16;
/// The operator.
pub(super) const OPERATOR: &str = "StringNormalizer";

/// What a node says that decides on its locale.
#[derive(Default)]
pub(super) struct Asked<'a> {
    /// `case_change_action`.
    pub(super) action: Option<&'a [u8]>,
    /// `is_case_sensitive`.
    pub(super) sensitive: Option<i64>,
    /// Whether there are `stopwords`.
    pub(super) stopwords: bool,
    /// `locale`.
    pub(super) locale: Option<&'a [u8]>,
}

impl Asked<'_> {
    /// The locale that ONNX Runtime looks up; `None` where it looks for none, or has it at any rate.
    pub(super) fn locale(&self) -> Option<String> {
        let changes = matches!(self.action, Some(b"LOWER" | b"UPPER"));
        let ignores = self.stopwords && self.sensitive.unwrap_or(0) == 0;
        let locale = self.locale.unwrap_or(DEFAULT);
        let looked_up = (changes || ignores) && !ALWAYS_THERE.contains(&locale) && locale.len() <= LONGEST;
        looked_up.then(|| String::from_utf8_lossy(locale).into_owned())
    }

    /// Adds it to those that were found.
    pub(super) fn keep(&self, found: &mut BTreeSet<String>) {
        if found.len() < MOST {
            found.extend(self.locale());
        }
    }
}

/// Those that the nodes of a model ask for, in its subgraphs and functions too.
pub(super) fn locales(model: &Model<'_>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut look = |node: &Node<'_>| {
        if domain_name(node.domain) == STANDARD && node.op == OPERATOR {
            asked(node).keep(&mut found);
        }
    };
    model.graph.each_node(&mut look);
    model.functions.iter().flat_map(|function| &function.nodes).for_each(|node| node.each_node(&mut look));
    found
}

fn asked<'a>(node: &Node<'a>) -> Asked<'a> {
    let text = |name| node.attribute(name).and_then(|attribute| attribute.text());
    Asked {
        action: text("case_change_action"),
        sensitive: node.int("is_case_sensitive"),
        stopwords: node.attribute("stopwords").is_some_and(|words| !words.texts(1).is_empty()),
        locale: text("locale"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_asked_for_where_case_counts() {
        let lower = Asked { action: Some(b"LOWER"), ..Asked::default() };
        assert_eq!(lower.locale().as_deref(), Some("en_US.UTF-8"));
        let named = |locale| Asked { locale: Some(locale), action: Some(b"UPPER"), ..Asked::default() };
        assert_eq!(named(b"tr_TR").locale().as_deref(), Some("tr_TR"));
        assert_eq!(named(b"C").locale(), None);
        assert_eq!(named(b"").locale(), None);
        let words = |sensitive| Asked { sensitive, stopwords: true, ..Asked::default() };
        assert!(words(None).locale().is_some() && words(Some(0)).locale().is_some());
        assert_eq!(words(Some(1)).locale(), None);
        assert_eq!(Asked { action: Some(b"NONE"), ..Asked::default() }.locale(), None);
    }
}
