//! The JSON Schema of `nimify.yaml`, for editors.

use serde_json::{Value, json};

use super::Config;

/// The schema (draft 2020-12). What it accepts is a little more than what [`super::parse`] does: a text with `${` may
/// stand for anything.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    schema["title"] = "nimify.yaml".into();
    allow_variables(&mut schema, true);
    schema
}

/// Lets a variable stand wherever a number, a truth value or a text of a certain form should.
fn allow_variables(schema: &mut Value, top: bool) {
    match schema {
        Value::Object(object) => {
            // A variable fits each of the alternatives, of which `oneOf` would allow a single one.
            if let Some(alternatives) = object.remove("oneOf") {
                object.insert("anyOf".into(), alternatives);
            }
            object.values_mut().for_each(|value| allow_variables(value, false));
            let strict = ["pattern", "enum", "const"].iter().any(|key| object.contains_key(*key))
                || object.get("type").is_some_and(|kind| kind != "object" && kind != "array" && kind != "string");
            if strict && !top {
                let description = object.remove("description");
                let mut wrapped = json!({ "anyOf": [object, { "type": "string", "pattern": "\\$\\{" }] });
                if let Some(description) = description {
                    wrapped["description"] = description;
                }
                *schema = wrapped;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| allow_variables(value, false)),
        _ => {}
    }
}
