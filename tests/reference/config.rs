//! `nimify.yaml`, from its JSON Schema.

use std::collections::BTreeSet;

use nimify::config::{self, Accelerator, Compression, ImageBase, Overrides, schema};
use serde_json::Value;

use super::runtime::{default_of, defaults};
use super::{code, table};

/// A file that uses every key.
const EXAMPLE: &str = include_str!("nimify.yaml");

/// One key of the file.
struct Key {
    /// Its path, such as `server.port`; a name that the user chooses is `NAME`.
    path: String,
    kind: String,
    required: bool,
    default: Option<String>,
    meaning: String,
}

pub(super) fn keys() -> String {
    let keys = all();
    let settings = defaults();
    let rows = keys.iter().map(|key| {
        let default = key.default.clone().unwrap_or_else(|| match default_of(&settings, &key.path) {
            none if none.is_empty() => String::new(),
            given => code(&given),
        });
        let default = if key.required { "required".into() } else { default };
        vec![code(&key.path), key.kind.clone(), default, key.meaning.clone()]
    });
    table(&["key", "type", "default", "what it says"], rows)
}

pub(super) fn example() -> String {
    format!("```yaml\n{EXAMPLE}```\n")
}

/// Defaults that neither the schema nor the runtime's settings hold.
fn stated(path: &str) -> Option<String> {
    let word = |value: Value| Some(code(value.as_str().unwrap()));
    match path {
        "image.base" => word(serde_json::to_value(ImageBase::default()).unwrap()),
        "image.accelerator" => word(serde_json::to_value(Accelerator::default()).unwrap()),
        "image.compression" => word(serde_json::to_value(Compression::default()).unwrap()),
        "image.modelCompression" => word(serde_json::to_value(Compression::None).unwrap()),
        "sideFiles" => Some(code("true")),
        "service" => Some("`generated` where cargo is there".into()),
        _ => None,
    }
}

fn all() -> Vec<Key> {
    let schema = schema();
    let mut keys = Vec::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

/// Appends the properties of an object's schema, each before those inside it.
fn walk(root: &Value, object: &Value, above: &str, keys: &mut Vec<Key>) {
    let properties = object["properties"].as_object().unwrap();
    // The struct's order, which the map has lost, stands in the example.
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| position(above, name));
    for name in names {
        let written = &properties[name];
        let value = resolved(root, written);
        let path = format!("{above}{name}");
        let meaning = written["description"].as_str().or(value["description"].as_str()).unwrap_or_default();
        let default =
            written.get("default").or(value.get("default")).filter(|value| value.is_string() || value.is_number());
        keys.push(Key {
            kind: kind(root, value),
            required: object["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name)),
            default: stated(&path).or(default.map(|value| code(value.as_str().unwrap_or(&value.to_string())))),
            meaning: meaning.replace('\n', " ").trim_end_matches('.').into(),
            path: path.clone(),
        });
        if value.get("properties").is_some() {
            walk(root, value, &format!("{path}."), keys);
        } else if let Some(inner) = chosen(root, value) {
            walk(root, inner, &format!("{path}.NAME."), keys);
        }
    }
}

/// Where a key stands in the example: after the section that it belongs to.
fn position(above: &str, name: &str) -> usize {
    let at = |from: usize, text: &str| EXAMPLE[from..].find(text).map(|found| from + found);
    let section = above.split('.').next().filter(|top| !top.is_empty());
    let from = section.and_then(|top| at(0, &format!("\n{top}:"))).unwrap_or_default();
    let line = if above.is_empty() { format!("\n{name}:") } else { format!("{name}:") };
    at(from, &line).or(at(0, &format!("{name}:"))).unwrap_or_else(|| panic!("the example lacks `{above}{name}`"))
}

/// What a schema refers to, without the null of an optional and the text of a variable.
fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return resolved(root, root.pointer(reference.trim_start_matches('#')).unwrap());
    }
    for alternatives in ["anyOf", "oneOf"] {
        let Some(list) = schema[alternatives].as_array() else { continue };
        let real: Vec<&Value> = list.iter().filter(|value| !is_null(value) && !is_variable(value)).collect();
        if let [one] = real.as_slice() {
            return resolved(root, one);
        }
    }
    schema
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null"
        || schema["anyOf"].as_array().is_some_and(|list| list.iter().all(|v| is_null(v) || is_variable(v)))
}

fn is_variable(schema: &Value) -> bool {
    schema["pattern"] == "\\$\\{"
}

/// The schema of the objects under names that the user chooses.
fn chosen<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    let inner = schema.get("additionalProperties").filter(|inner| inner.is_object());
    let inner = inner.or_else(|| schema["patternProperties"].as_object()?.values().next())?;
    Some(resolved(root, inner)).filter(|inner| inner.get("properties").is_some())
}

/// A type in words.
fn kind(root: &Value, schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(code).collect::<Vec<_>>().join(" or ");
    }
    if let Some(word) = schema["const"].as_str() {
        return code(word);
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(list) = schema[alternatives].as_array() {
            let real = list.iter().filter(|value| !is_null(value) && !is_variable(value));
            return real.map(|value| kind(root, resolved(root, value))).collect::<Vec<_>>().join(" or ");
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().filter_map(Value::as_str).filter(|word| *word != "null").collect(),
        other => panic!("no type in {schema}: {other}"),
    };
    match types.as_slice() {
        ["integer"] => "number".into(),
        ["string"] if schema["pattern"] == "^[0-9]+(us|ms|s|m|h)$" => "duration".into(),
        ["string"] if schema["pattern"] == "^[0-9]+([kMGT]B|[KMGT]iB|B)?$" => "size".into(),
        ["string"] => "text".into(),
        ["array"] => format!("list of {}", kind(root, resolved(root, &schema["items"]))),
        ["object"] => "section".into(),
        other => other.join(" or "),
    }
}

#[test]
fn the_example_uses_every_key_and_is_read() {
    let config = config::parse(EXAMPLE, &Overrides::default(), &|_| Some("registry.example.com".into()));
    let config = config.unwrap_or_else(|fault| panic!("tests/reference/nimify.yaml:{fault}"));
    assert_eq!(config.environments.len(), 2);
    let tree: Value = serde_yaml::from_str(EXAMPLE).unwrap();
    let mut used = BTreeSet::new();
    collect(&tree, "", &mut used);
    for key in all() {
        assert!(used.contains(&key.path), "the example lacks `{}`", key.path);
    }
}

fn collect(value: &Value, above: &str, used: &mut BTreeSet<String>) {
    let Value::Object(entries) = value else { return };
    for (name, value) in entries {
        let name = if above == "environments." { "NAME" } else { name };
        let path = format!("{above}{name}");
        used.insert(path.clone());
        collect(value, &format!("{path}."), used);
    }
}
