//! The values of a canary: the stable part as it runs, and what is different in the canary's pods. Pure.

use serde_json::{Value, json};

use crate::{chart, config};

/// Whether merged values have a canary.
pub fn is_running(values: &Value) -> bool {
    values["canary"]["enabled"] == json!(true)
}

/// What runs now, with a canary that gets `weight` percent of the requests and runs by `new` values.
pub fn begun(running: &Value, new: &Value, weight: u8) -> Value {
    let mut values = running.clone();
    let own = chart::difference(running, new);
    let canary = new["canary"].as_object().cloned().unwrap_or_default();
    values["canary"] = Value::Object(canary);
    values["canary"]["enabled"] = json!(true);
    values["canary"]["weight"] = json!(weight);
    values["canary"]["values"] = own;
    values
}

/// What runs now with what was the canary's in the stable part's place, and no canary.
pub fn promoted(running: &Value) -> Value {
    let mut values = running.clone();
    let own = values["canary"]["values"].take();
    config::overlay(&mut values, &if own.is_object() { own } else { json!({}) });
    ended(&values)
}

/// The values by which the canary's own pods run.
pub fn of_canary(running: &Value) -> Value {
    let mut values = running.clone();
    chart::merge_values(&mut values, &running["canary"]["values"]);
    ended(&values)
}

/// The values without a canary.
pub fn ended(running: &Value) -> Value {
    let mut values = running.clone();
    if let Some(canary) = values.get_mut("canary").and_then(Value::as_object_mut) {
        canary.insert("enabled".into(), json!(false));
        canary.insert("values".into(), json!({}));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Value {
        json!({
            "image": {"repository": "r", "digest": "old"}, "replicaCount": 3, "env": [1],
            "nodeSelector": {"a": "1"}, "canary": {"enabled": false, "weight": 10, "replicaCount": 1, "values": {}},
        })
    }

    #[test]
    fn a_canary_has_what_differs_and_the_stable_part_what_ran() {
        let mut new = running();
        new["image"]["digest"] = json!("new");
        new["replicaCount"] = json!(5);
        new["nodeSelector"] = json!({"b": "2"});
        new["canary"]["replicaCount"] = json!(2);
        let begun = begun(&running(), &new, 25);
        assert!(is_running(&begun) && !is_running(&running()));
        assert_eq!(begun["image"]["digest"], "old");
        let own = json!({"image": {"digest": "new"}, "nodeSelector": {"a": null, "b": "2"}});
        assert_eq!(begun["canary"], json!({"enabled": true, "weight": 25, "replicaCount": 2, "values": own}));
        assert_eq!(of_canary(&begun)["nodeSelector"], json!({"b": "2"}));
        let promoted = promoted(&begun);
        assert_eq!(promoted["image"], json!({"repository": "r", "digest": "new"}));
        assert_eq!((&promoted["replicaCount"], is_running(&promoted)), (&json!(3), false));
        assert_eq!(promoted["canary"]["values"], json!({}));
    }

    #[test]
    fn values_that_know_no_canary_stay_what_they_are() {
        let old = json!({"image": {"digest": "x"}});
        assert_eq!((promoted(&old)["image"].clone(), is_running(&old)), (old["image"].clone(), false));
    }
}
