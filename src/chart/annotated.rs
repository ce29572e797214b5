//! The commented `values.yaml` of the template, read line by line: YAML libraries drop comments.
//!
//! The file keeps to a plain form: block mappings of two spaces a level, each key below a comment of its own. Keys inside
//! lists are values, not keys of the chart, and aren't looked at.

use serde_json::Value;

use super::yaml;

/// Ends the line of a scalar that the model's own value replaces.
const MARK: &str = " # set by nimify";

/// One key of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path, as helm's `--set` spells it.
    pub(super) path: String,
    /// The comment above it, in one line; empty where there is none.
    pub(super) comment: String,
    /// Whether its scalar carries the mark.
    pub(super) marked: bool,
    /// Which line of the text it is.
    line: usize,
}

/// Every key of the file, in its order.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // Indentation of the list that the line may be in.
    let mut list = usize::MAX;
    for (line, content) in text.lines().enumerate() {
        let trimmed = content.trim_start();
        let indent = content.len() - trimmed.len();
        if let Some(words) = trimmed.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        if trimmed.starts_with("- ") {
            list = list.min(indent);
        } else if !trimmed.is_empty() && indent <= list {
            list = usize::MAX;
            if let Some((key, _)) = trimmed.split_once(':') {
                parents.retain(|(parent, _)| *parent < indent);
                parents.push((indent, key));
                let path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
                let (path, comment) = (path.join("."), comment.join(" "));
                entries.push(Entry { path, comment, marked: trimmed.ends_with(MARK), line });
            }
        }
        comment.clear();
    }
    entries
}

/// The text with every marked scalar replaced. A mark without a value, and a value without a mark, is an error.
pub(super) fn replace(text: &str, values: &[(&str, Value)]) -> Result<String, String> {
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    let entries = entries(text);
    for entry in entries.iter().filter(|entry| entry.marked) {
        let (_, value) = values
            .iter()
            .find(|(path, _)| *path == entry.path)
            .ok_or_else(|| format!("`{}` carries a mark, but nothing replaces it", entry.path))?;
        let line = &mut lines[entry.line];
        let key = line.find(':').expect("the line of a key has a colon");
        line.truncate(key + 1);
        line.push(' ');
        line.push_str(&yaml::scalar(value));
    }
    if let Some((path, _)) = values.iter().find(|(path, _)| !entries.iter().any(|e| e.marked && e.path == *path)) {
        return Err(format!("`{path}` is to be replaced, but carries no mark"));
    }
    Ok(lines.join("\n") + "\n")
}

/// The text with the scalar of one key replaced by `scalar`; `None` where the key has no line of its own.
pub(super) fn with_scalar(text: &str, path: &str, scalar: &str) -> Option<String> {
    let entry = entries(text).into_iter().find(|entry| entry.path == path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let line = lines[entry.line];
    let replaced = format!("{} {scalar}", &line[..=line.find(':')?]);
    lines[entry.line] = &replaced;
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "\
# About the file.

# The first.
# In two lines.
a: 1 # set by nimify
b:
  # Below.
  c: x # set by nimify
  list:
    - d: 1
      e: 2
  # After the list.
  f: []
";

    #[test]
    fn keys_have_paths_comments_and_marks() {
        let entries: Vec<_> = entries(TEXT).into_iter().map(|e| (e.path, e.comment, e.marked)).collect();
        let entry = |path: &str, comment: &str, marked| (path.to_string(), comment.to_string(), marked);
        assert_eq!(
            entries,
            [
                entry("a", "The first. In two lines.", true),
                entry("b", "", false),
                entry("b.c", "Below.", true),
                entry("b.list", "", false),
                entry("b.f", "After the list.", false),
            ]
        );
    }

    #[test]
    fn marked_scalars_are_replaced_and_nothing_else_is() {
        let replaced = replace(TEXT, &[("a", json!(2)), ("b.c", json!("{{ \"y\" }}\n# z"))]).unwrap();
        let expected =
            TEXT.replace("a: 1 # set by nimify", "a: 2").replace("c: x # set by nimify", r#"c: "{{ \"y\" }}\n# z""#);
        assert_eq!(replaced, expected);
    }

    #[test]
    fn marks_and_values_have_to_match() {
        let one = replace(TEXT, &[("a", json!(2))]).unwrap_err();
        assert_eq!(one, "`b.c` carries a mark, but nothing replaces it");
        let three = replace(TEXT, &[("a", json!(2)), ("b.c", json!(2)), ("b.f", json!(2))]).unwrap_err();
        assert_eq!(three, "`b.f` is to be replaced, but carries no mark");
    }
}
