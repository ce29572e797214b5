//! What a canary may have that the stable part hasn't: which of the chart's values are of the pods.

use serde_json::{Map, Value, json};

/// Where they stand in the values.
pub(super) const VALUES: [&str; 2] = ["canary", "values"];

/// Keys of the chart's values that both parts have in common: names, ways in, what is there once a release.
const COMMON: [&str; 22] = [
    "autoscaling",
    "canary",
    "commonAnnotations",
    "commonLabels",
    "extraObjects",
    "fullnameOverride",
    "gateway",
    "global",
    "ingress",
    "istio",
    "metrics",
    "nameOverride",
    "networkPolicy",
    "persistence",
    "podDisruptionBudget",
    "replicaCount",
    "secrets",
    "service",
    "serviceAccount",
    "test",
    "tls",
    "updateStrategy",
];

/// Gives `canary.values` its schema, in that of all values: any of them that is a pod's, and nothing has to be there.
pub(super) fn narrow(schema: &mut Value) {
    let Some(Value::Object(all)) = schema.get("properties").cloned() else { return };
    let own = all.into_iter().filter(|(key, _)| !COMMON.contains(&key.as_str()));
    let properties: Map<String, Value> = own.map(|(key, schema)| (key, optional(schema))).collect();
    let narrowed = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(place) = schema.pointer_mut("/properties/canary/properties/values") {
        *place = narrowed;
    }
}

/// A schema without the properties that it requires, at any depth; and whatever is in a mapping can be null, which takes
/// it away. Lists are replaced as a whole, and what is in them stays as it is.
fn optional(mut schema: Value) -> Value {
    let Value::Object(parts) = &mut schema else { return schema };
    parts.remove("required");
    if let Some(Value::Object(properties)) = parts.get_mut("properties") {
        properties.values_mut().for_each(|property| *property = optional(property.take()));
    } else if let Some(any @ Value::Object(_)) = parts.get_mut("additionalProperties") {
        *any = json!({ "anyOf": [any.take(), { "type": "null" }] });
    }
    schema
}

/// What `canary.values` has to hold so that pods of `stable` become those of `wanted`: both are whole values of the chart,
/// as `helm get values --all` gives them. What isn't of the pods is left out.
pub fn difference(stable: &Value, wanted: &Value) -> Value {
    let own = |values: &Value| {
        let mut values = values.clone();
        if let Value::Object(map) = &mut values {
            map.retain(|key, _| !COMMON.contains(&key.as_str()));
        }
        values
    };
    changes(&own(stable), &own(wanted)).unwrap_or_else(|| json!({}))
}

/// The changes that lead from one value to another, if there are any.
fn changes(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| match old.get(key) {
        Some(before) => Some((key.clone(), changes(before, value)?)),
        None => Some((key.clone(), value.clone())),
    });
    let changed: Map<String, Value> = gone.chain(changed).collect();
    (!changed.is_empty()).then_some(Value::Object(changed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::environment::merge_values;
    use super::*;

    #[test]
    fn the_difference_is_of_the_pods_alone() {
        let stable = json!({
            "image": {"digest": "old", "repository": "r"}, "env": [], "nodeSelector": {"disk": "ssd"}, "replicaCount": 3,
        });
        let wanted = json!({
            "image": {"digest": "new", "repository": "r"}, "env": [{"name": "A"}], "nodeSelector": {}, "replicaCount": 9,
            "canary": {"enabled": false},
        });
        let meant = json!({"image": {"digest": "new"}, "env": [{"name": "A"}], "nodeSelector": {"disk": null}});
        assert_eq!(difference(&stable, &wanted), meant);
        assert_eq!(difference(&wanted, &wanted), json!({}));
    }

    #[test]
    fn nothing_has_to_be_there_and_what_is_in_mappings_can_be_taken_away() {
        let mut schema = json!({"required": ["image"], "properties": {
            "image": {"required": ["tag"], "properties": {"tag": {"type": "string"}}},
            "labels": {"additionalProperties": {"type": "string"}},
            "service": {},
            "canary": {"properties": {"values": {}}},
        }});
        narrow(&mut schema);
        let narrowed = json!({"type": "object", "additionalProperties": false, "properties": {
            "image": {"properties": {"tag": {"type": "string"}}},
            "labels": {"additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        }});
        assert_eq!(schema.pointer("/properties/canary/properties/values"), Some(&narrowed));
    }

    fn any_values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), "[ab]{0,2}".prop_map(Value::from)];
        let leaf = leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        });
        prop::collection::btree_map("[abc]", leaf, 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn laid_over_the_stable_part_the_difference_makes_the_wanted_one(stable in any_values(), wanted in any_values()) {
            let mut laid = stable.clone();
            merge_values(&mut laid, &difference(&stable, &wanted));
            prop_assert_eq!(laid, wanted);
        }
    }
}
