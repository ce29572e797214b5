//! What Kubernetes' objects say, read from JSON of any form: what isn't there is empty, nothing panics.

use serde_json::Value;

/// The elements of an array; none of anything else.
pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; empty where it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A count; 0 where it is none.
pub(super) fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The object's name.
pub(super) fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// Whether `owner` made the object.
pub(super) fn is_owned_by(object: &Value, owner: &Value) -> bool {
    let uid = text(&owner["metadata"]["uid"]);
    !uid.is_empty() && items(&object["metadata"]["ownerReferences"]).iter().any(|o| o["uid"] == uid)
}

/// The condition of this type, if the object has it.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == kind)
}

/// Whether the condition of this type holds.
pub(super) fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Whether the object is on its way out.
pub(super) fn is_ending(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Foreign words made fit for a terminal: in one line, no control characters, at most `most` characters.
pub(super) fn plain(words: &str, most: usize) -> String {
    let mut plain = String::new();
    for word in words.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.push_str(word);
    }
    match plain.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_words_become_one_short_line() {
        assert_eq!(plain(" a\tb\n\u{1b}[31mc  ", 80), "a b [31mc");
        assert_eq!(plain("añb", 2), "añ…");
        assert_eq!(plain("", 2), "");
    }

    #[test]
    fn an_object_without_a_uid_owns_nothing() {
        let orphan = json!({"metadata": {"ownerReferences": [{"uid": ""}]}});
        assert!(!is_owned_by(&orphan, &json!({"metadata": {}})));
    }
}
