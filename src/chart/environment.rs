//! The values that an environment changes, checked before helm sees them: against the schema for unknown keys, and
//! against the Rust types for wrong ones.

use serde_json::{Value, json};

use super::values::Values;
use super::{ValueFault, canary};
use crate::nearest::nearest;

/// Checks `changes`, which are merged over the chart's own `values` as helm does it.
pub(super) fn check(values: &Value, schema: &Value, changes: &Value) -> Result<(), ValueFault> {
    if !changes.is_object() {
        return Err(ValueFault::NotAMapping { path: "values".into() });
    }
    let mut leaves = Vec::new();
    collect(changes, schema, &mut Vec::new(), &mut leaves)?;
    // One by one, so that the one that doesn't fit can be named.
    for (path, value) in leaves {
        let mut merged = values.clone();
        merge_values(&mut merged, &nested(path.strip_prefix(&canary::VALUES).unwrap_or(&path), value));
        serde_json::from_value::<Values>(merged).map_err(|error| ValueFault::Wrong {
            path: path.join("."),
            value: value.to_string(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

type Leaf<'a> = (Vec<&'a str>, &'a Value);

/// Collects what `changes` sets, down to where the schema has no properties of its own.
fn collect<'a>(
    changes: &'a Value,
    schema: &Value,
    path: &mut Vec<&'a str>,
    leaves: &mut Vec<Leaf<'a>>,
) -> Result<(), ValueFault> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        leaves.push((path.clone(), changes));
        return Ok(());
    };
    let Some(changes) = changes.as_object() else {
        return Err(ValueFault::NotAMapping { path: path.join(".") });
    };
    for (key, value) in changes {
        path.push(key);
        let Some(schema) = properties.get(key) else {
            let nearest = nearest(key, properties.keys().map(String::as_str)).map(|near| {
                let parents = path[..path.len() - 1].iter().copied();
                parents.chain([near]).collect::<Vec<_>>().join(".")
            });
            return Err(ValueFault::Unknown { path: path.join("."), nearest });
        };
        collect(value, schema, path, leaves)?;
        path.pop();
    }
    Ok(())
}

/// The mapping that sets one value.
fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |value, key| json!({ *key: value }))
}

/// Checks `changes` to a chart in a folder, which may be another version's: unknown values always, wrong ones where its
/// schema is that of this version. helm checks the rest.
pub fn check_values(schema: &Value, values: &Value, changes: &Value) -> Result<(), ValueFault> {
    if *schema == super::schema() {
        return check(values, schema, changes);
    }
    if !changes.is_object() {
        return Err(ValueFault::NotAMapping { path: "values".into() });
    }
    collect(changes, schema, &mut Vec::new(), &mut Vec::new())
}

/// Merges as helm does: mappings are merged, null takes a key away, all else is replaced.
pub fn merge_values(values: &mut Value, changes: &Value) {
    let (Value::Object(values), Value::Object(changes)) = (&mut *values, changes) else {
        *values = changes.clone();
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            values.remove(key);
        } else {
            merge_values(values.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_merged_as_helm_does() {
        let mut values = json!({"a": {"b": 1, "c": {"d": [1], "e": 2}}});
        merge_values(&mut values, &json!({"a": {"b": null, "c": {"d": [], "f": {}}}}));
        merge_values(&mut values, &nested(&["a", "c", "e"], &json!(null)));
        assert_eq!(values, json!({"a": {"c": {"d": [], "f": {}}}}));
    }
}
