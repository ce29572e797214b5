//! Two manifests → what differs, an object at a time, as people read it. Pure.
//!
//! What is in a Secret is never shown: whether it differs is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Lines around a change.
const CONTEXT: usize = 3;
/// Most lines of an object that are compared one by one; larger ones are shown as replaced.
const MOST_LINES: usize = 4000;
/// Most objects and most bytes that are read.
const MOST_OBJECTS: usize = 2000;
const LARGEST: usize = 64 << 20;

/// What differs in one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectDiff {
    /// `Deployment ml/digits`.
    pub object: String,
    /// What happens to it.
    pub change: Change,
    /// The lines that differ with those around them, as `diff -u` has them.
    pub diff: String,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It changes.
    Changed,
}

/// A manifest that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("a manifest can't be read: {0}")]
pub struct Unread(String);

/// What is different in `after`, sorted by object. Objects of hooks, such as tests, are left out.
pub fn diff(before: &str, after: &str, namespace: &str) -> Result<Vec<ObjectDiff>, Unread> {
    let (before, after) = (objects(before, namespace)?, objects(after, namespace)?);
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let one = |name: &String| {
        let (old, new) = (before.get(name), after.get(name));
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (old, new) if old == new => return None,
            _ => Change::Changed,
        };
        let [old, new] = shown(old, new);
        Some(ObjectDiff { object: name.clone(), change, diff: unified(&old, &new) })
    };
    Ok(names.into_iter().filter_map(one).collect())
}

/// The objects of a manifest by kind, namespace and name.
pub(super) fn objects(manifest: &str, namespace: &str) -> Result<BTreeMap<String, Value>, Unread> {
    if manifest.len() > LARGEST {
        return Err(Unread(format!("it is larger than {LARGEST} bytes")));
    }
    let mut all = BTreeMap::new();
    for document in serde_yaml::Deserializer::from_str(manifest) {
        let object = Value::deserialize(document).map_err(|error| Unread(error.to_string()))?;
        let Some(kind) = object["kind"].as_str() else { continue };
        let metadata = &object["metadata"];
        if metadata["annotations"].get("helm.sh/hook").is_some() {
            continue;
        }
        let name = metadata["name"].as_str().unwrap_or("(unnamed)");
        let place = metadata["namespace"].as_str().unwrap_or(namespace);
        all.insert(format!("{kind} {place}/{name}"), object);
        if all.len() > MOST_OBJECTS {
            return Err(Unread(format!("it has more than {MOST_OBJECTS} objects")));
        }
    }
    Ok(all)
}

/// Both states as texts, those of Secrets with their data hidden.
fn shown(old: Option<&Value>, new: Option<&Value>) -> [Vec<String>; 2] {
    let secret = old.or(new).is_some_and(|object| object["kind"] == "Secret");
    let (old, new) = if secret { hidden(old, new) } else { (old.cloned(), new.cloned()) };
    [old, new].map(|object| {
        let text = object.map(|object| serde_yaml::to_string(&object).unwrap_or_default()).unwrap_or_default();
        text.lines().map(String::from).collect()
    })
}

/// Secrets with a mark in the place of each value: another one where it changes.
fn hidden(old: Option<&Value>, new: Option<&Value>) -> (Option<Value>, Option<Value>) {
    let hide = |object: Option<&Value>, other: Option<&Value>, is_new: bool| {
        let mut object = object?.clone();
        for part in ["data", "stringData"] {
            let Some(values) = object.get_mut(part).and_then(Value::as_object_mut) else { continue };
            let there = other.and_then(|other| other[part].as_object());
            *values = values
                .iter()
                .map(|(key, value)| {
                    let same = there.is_none_or(|there| there.get(key).is_none_or(|other| other == value));
                    let mark = if same || !is_new { "(hidden)" } else { "(hidden, changed)" };
                    (key.clone(), Value::from(mark))
                })
                .collect::<Map<String, Value>>();
        }
        // An applied configuration would quote what is hidden above.
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        Some(object)
    };
    (hide(old, new, false), hide(new, old, true))
}

/// A line of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The lines of both texts in one order, as few of them changed as can be.
fn align<'a>(old: &'a [String], new: &'a [String]) -> Vec<Line<'a>> {
    let same = |pair: &(&String, &String)| pair.0 == pair.1;
    let head = old.iter().zip(new).take_while(same).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(same).count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut lines: Vec<Line<'_>> = old[..head].iter().map(|line| Line::Both(line)).collect();
    if a.len() > MOST_LINES || b.len() > MOST_LINES {
        lines.extend(a.iter().map(|line| Line::Old(line)).chain(b.iter().map(|line| Line::New(line))));
    } else {
        middle(a, b, &mut lines);
    }
    lines.extend(old[old.len() - tail..].iter().map(|line| Line::Both(line)));
    lines
}

/// By the longest common subsequence.
fn middle<'a>(a: &'a [String], b: &'a [String], lines: &mut Vec<Line<'a>>) {
    let width = b.len() + 1;
    let mut longest = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i * width + j] = if a[i] == b[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            lines.push(Line::Both(&a[i]));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            lines.push(Line::Old(&a[i]));
            i += 1;
        } else {
            lines.push(Line::New(&b[j]));
            j += 1;
        }
    }
    lines.extend(a[i..].iter().map(|line| Line::Old(line)));
    lines.extend(b[j..].iter().map(|line| Line::New(line)));
}

/// The changed lines with those around them.
fn unified(old: &[String], new: &[String]) -> String {
    let lines = align(old, new);
    let changed: Vec<usize> = (0..lines.len()).filter(|&k| !matches!(lines[k], Line::Both(_))).collect();
    let near = |k: usize| {
        let at = changed.partition_point(|&change| change + CONTEXT < k);
        changed.get(at).is_some_and(|&change| change <= k + CONTEXT)
    };
    let (mut text, mut gap) = (String::new(), false);
    for (k, line) in lines.iter().enumerate() {
        if !near(k) {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) {
            text.push_str("  …\n");
        }
        let (mark, line) = match line {
            Line::Both(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        let _ = writeln!(text, "{mark} {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BEFORE: &str = "---\n# Source: a\nkind: Service\nmetadata:\n  name: digits\nspec:\n  a: 1\n  b: 2\n  c: 3\n  \
                          d: 4\n  e: 5\n---\nkind: ConfigMap\nmetadata: {name: old}\n";

    #[test]
    fn objects_are_compared_one_by_one() {
        let after = BEFORE.replace("e: 5", "e: 6").replace("ConfigMap", "Job").replace("# Source: a", "# Source: b");
        let all = diff(BEFORE, &after, "ml").unwrap();
        let told: Vec<_> = all.iter().map(|one| (one.object.as_str(), one.change)).collect();
        let expected = [
            ("ConfigMap ml/old", Change::Removed),
            ("Job ml/old", Change::Added),
            ("Service ml/digits", Change::Changed),
        ];
        assert_eq!(told, expected);
        assert_eq!(all[2].diff, "  …\n    b: 2\n    c: 3\n    d: 4\n-   e: 5\n+   e: 6\n");
        assert_eq!(diff(BEFORE, BEFORE, "ml").unwrap(), []);
        assert!(diff("a: [", "", "ml").is_err());
    }

    #[test]
    fn hooks_are_no_part_of_it() {
        let test = "kind: Pod\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n";
        assert_eq!(diff("", test, "ml").unwrap(), []);
    }

    #[test]
    fn what_is_in_a_secret_is_never_shown() {
        let secret = |token: &str, more: &str| {
            format!(
                "kind: Secret\nmetadata: {{name: s}}\ndata: {{token: {token}, same: c2FtZQ}}\nstringData: {{x: {more}}}\n"
            )
        };
        let all = diff(&secret("b2xk", "plain"), &secret("bmV3", "plain"), "ml").unwrap();
        assert!(all[0].diff.contains("+   token: (hidden, changed)"), "{}", all[0].diff);
        for (before, after) in [(secret("b2xk", "plain"), String::new()), (String::new(), secret("b2xk", "plain"))] {
            let text = format!("{all:?}{:?}", diff(&before, &after, "ml").unwrap());
            for word in ["b2xk", "bmV3", "c2FtZQ", "plain"] {
                assert!(!text.contains(word), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_comparison_holds_both_texts(old in prop::collection::vec("[abc]", 0..30), new in prop::collection::vec("[abc]", 0..30)) {
            let lines = align(&old, &new);
            let side = |other: fn(&Line<'_>) -> bool| -> Vec<String> {
                lines.iter().filter(|line| !other(line)).map(|line| match line {
                    Line::Both(text) | Line::Old(text) | Line::New(text) => text.to_string(),
                }).collect()
            };
            prop_assert_eq!(side(|line| matches!(line, Line::New(_))), old.clone());
            prop_assert_eq!(side(|line| matches!(line, Line::Old(_))), new.clone());
        }

        #[test]
        fn no_text_makes_it_panic(before in ".{0,200}", after in ".{0,200}") {
            _ = diff(&before, &after, "ml");
        }
    }
}
