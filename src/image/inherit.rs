//! What an image's configuration keeps of the one that it is put on: environment, labels, and how its layers came to be.
//!
//! All else is the service's own: its user, what is started and how it is stopped. The base's `Cmd` would become
//! arguments of the service, and its `Volumes` would be folders that nobody asked for.

use serde_json::{Map, Value, json};

/// The kept parts of a base's configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Inherited {
    /// `NAME=value`, in their order.
    environment: Vec<String>,
    labels: Map<String, Value>,
    history: Vec<Value>,
    /// How many layers it has.
    pub(super) layers: usize,
}

impl Inherited {
    /// Reads a configuration.
    pub(super) fn read(config: &[u8]) -> serde_json::Result<Self> {
        let config: Value = serde_json::from_slice(config)?;
        let list = |pointer: &str| config.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let environment = list("/config/Env").iter().filter_map(|one| one.as_str().map(String::from)).collect();
        let labels = config.pointer("/config/Labels").and_then(Value::as_object).cloned().unwrap_or_default();
        let layers = list("/rootfs/diff_ids").len();
        let mut history = list("/history");
        let told = history.iter().filter(|entry| entry["empty_layer"] != json!(true)).count();
        // Where it doesn't tell of each layer, what it tells can't be matched to them.
        if told != layers {
            history = vec![json!({ "created_by": "the base image" }); layers];
        }
        Ok(Inherited { environment, labels, history, layers })
    }

    /// Puts what was kept before and beside what `config` says itself.
    pub(super) fn join(self, config: &mut Value) {
        let name = |entry: &Value| entry.as_str().map(|text| text.split('=').next().unwrap_or_default().to_string());
        let ours = config.pointer("/config/Env").and_then(Value::as_array).cloned().unwrap_or_default();
        let theirs = self.environment.into_iter().map(Value::from);
        let kept = theirs.filter(|entry| !ours.iter().any(|own| name(own) == name(entry)));
        let environment: Vec<Value> = kept.chain(ours.iter().cloned()).collect();
        config["config"]["Env"] = environment.into();
        if !self.labels.is_empty() {
            let mut labels = self.labels;
            labels.extend(config.pointer("/config/Labels").and_then(Value::as_object).cloned().unwrap_or_default());
            config["config"]["Labels"] = labels.into();
        }
        let ours = config["history"].as_array().cloned().unwrap_or_default();
        config["history"] = self.history.into_iter().chain(ours).collect::<Vec<_>>().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_labels_and_history_are_kept_and_nothing_else() {
        let base = json!({
            "config": {
                "Env": ["PATH=/bin", "A=theirs"], "Labels": { "a": "theirs", "b": "theirs" }, "Cmd": ["sh"],
                "User": "root", "Volumes": { "/data": {} },
            },
            "rootfs": { "diff_ids": ["one"] },
            "history": [{ "created_by": "x" }, { "created_by": "ENV", "empty_layer": true }],
        });
        let mut config = json!({
            "config": { "Env": ["A=ours"], "Labels": { "a": "ours" }, "User": "65532" },
            "history": [{ "created_by": "nimify" }],
        });
        Inherited::read(base.to_string().as_bytes()).unwrap().join(&mut config);
        let expected = json!({
            "config": {
                "Env": ["PATH=/bin", "A=ours"], "Labels": { "a": "ours", "b": "theirs" }, "User": "65532",
            },
            "history": [
                { "created_by": "x" }, { "created_by": "ENV", "empty_layer": true }, { "created_by": "nimify" },
            ],
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn odd_configurations_give_what_can_be_used() {
        let odd = json!({ "config": { "Env": [1, "B=2"], "Labels": [] }, "rootfs": { "diff_ids": ["a", "b"] } });
        let read = Inherited::read(odd.to_string().as_bytes()).unwrap();
        assert_eq!((read.environment, read.labels.len(), read.history.len()), (vec!["B=2".to_string()], 0, 2));
        assert!(Inherited::read(b"[").is_err());
        assert_eq!(Inherited::read(b"null").unwrap(), Inherited::default());
        let mut config = json!({ "config": { "Env": ["A=1"] }, "history": [] });
        let before = config.clone();
        Inherited::default().join(&mut config);
        assert_eq!(config, before);
    }
}
