//! What a `config.pbtxt` asks of Triton → the same asked of nimify, and by name what nimify has no counterpart for.

use std::num::{NonZeroU32, NonZeroU64};
use std::time;

use nimify_runtime::settings::MOST_PRIORITY_LEVELS;
use nimify_runtime::signature::ModelSignature;

use super::measures::{Count, Duration};
use super::settings::{Accelerator, Batching, Config};
use super::triton_state;
use crate::triton::{DynamicBatching, InstanceKind, ModelConfig};

/// Parameters of Triton's ONNX Runtime backend that say how many threads there are.
const THREADS: &str = "intra_op_thread_count";

impl Config {
    /// Takes over what `triton` asks for a model of this signature, where this config says nothing yet. `engine` where it is
    /// a TensorRT engine. What could not be taken over comes back, a sentence each. Libraries of operators are files, which
    /// whoever has found the model looks for.
    pub fn carry_over(&mut self, triton: &ModelConfig, signature: &ModelSignature, engine: bool) -> Vec<String> {
        let mut left = Vec::new();
        batching(&mut self.batching, triton, &mut left);
        self.carry_instances(triton, engine, &mut left);
        if let Some(threads) = triton.parameters.get(THREADS) {
            let threads = threads.parse().ok().and_then(NonZeroU64::new);
            self.engine.threads = self.engine.threads.or(threads.map(Count::Of));
        }
        let parameters = triton.parameters.keys().filter(|name| *name != THREADS);
        left.extend(parameters.map(|name| format!("`parameters` `{name}` is not taken over")));
        let mut without = |there: bool, what: &str| left.extend(there.then(|| what.to_string()));
        without(triton.decoupled, "`model_transaction_policy.decoupled`: a request has one answer");
        let tensors = || triton.inputs.iter().chain(&triton.outputs);
        without(
            tensors().any(|tensor| tensor.reshape.is_some()),
            "`reshape`: requests and answers have the shapes that the model has",
        );
        without(triton.inputs.iter().any(|tensor| tensor.optional), "`optional`: a request brings every input");
        without(tensors().any(|tensor| tensor.label_filename.is_some()), "`label_filename`: answers carry no labels");
        left.extend(self.carry_state(triton, signature));
        left.extend(triton.left_out.iter().map(|field| format!("`{field}` is not taken over")));
        left
    }

    /// Takes over the state alone that `triton` keeps for a model of this signature, where this config keeps none. What
    /// clients have to do themselves comes back, a sentence each.
    pub fn carry_state(&mut self, triton: &ModelConfig, signature: &ModelSignature) -> Vec<String> {
        let mut left = Vec::new();
        triton_state::carry_over(&mut self.state, triton, signature, &mut left);
        left
    }

    fn carry_instances(&mut self, triton: &ModelConfig, engine: bool, left: &mut Vec<String>) {
        let groups = &triton.instance_groups;
        let runs = groups.iter().map(|group| u64::from(group.count)).sum();
        if runs > 1 {
            self.engine.instances = self.engine.instances.or(NonZeroU64::new(runs).map(Count::Of));
        }
        let gpus = groups.iter().map(|group| group.gpus.len()).max().unwrap_or(0);
        if gpus > 1 {
            left.push(format!("`instance_group.gpus` names {gpus}: a pod has one GPU, so let there be {gpus} pods"));
        }
        let kinds: Vec<InstanceKind> = groups.iter().map(|group| group.kind).collect();
        let (gpu, cpu) = (kinds.contains(&InstanceKind::Gpu), kinds.contains(&InstanceKind::Cpu));
        if gpu && cpu {
            left.push("`instance_group` has groups on GPUs and on CPUs: a service runs on one kind".into());
        }
        // An engine has one provider, which is not asked for.
        if engine || self.engine.provider.is_some() {
            return;
        }
        let (accelerators, known, plain) = match (gpu, cpu) {
            (true, _) => (&triton.gpu_accelerators, "tensorrt", "cuda"),
            (false, true) => (&triton.cpu_accelerators, "openvino", "cpu"),
            (false, false) => (&triton.gpu_accelerators, "tensorrt", "auto"),
        };
        let asked = accelerators.iter().any(|name| name == known);
        let others = accelerators.iter().filter(|name| *name != known);
        left.extend(others.map(|name| format!("the execution accelerator `{name}` is not taken over")));
        let provider = match (asked, plain) {
            (false, "auto") => return,
            (false, plain) => plain.to_string(),
            (true, "auto") => format!("{known},cuda,cpu"),
            (true, plain) => format!("{known},{plain}"),
        };
        self.engine.provider = Some(provider.parse().expect("these are providers"));
        if gpu {
            self.engine.require = self.engine.require.or(Some(true));
            let accelerator = if asked { Accelerator::TensorRt } else { Accelerator::Cuda };
            self.image.accelerator = self.image.accelerator.or(Some(accelerator));
        }
    }
}

fn batching(own: &mut Batching, triton: &ModelConfig, left: &mut Vec<String>) {
    let rows = NonZeroU32::new(triton.max_batch_size);
    let Some(dynamic) = &triton.dynamic_batching else {
        if rows.is_some() && own.max_batch_size.is_none() {
            own.max_batch_size = NonZeroU32::new(1);
            left.push(
                "there is no `dynamic_batching`, so that requests run one by one as they did: take out \
                 `batching.maxBatchSize` to have them joined"
                    .into(),
            );
        }
        return;
    };
    let DynamicBatching { preferred_batch_size, priority_levels, default_priority_level, .. } = dynamic;
    own.max_batch_size = own.max_batch_size.or(rows);
    if dynamic.max_queue_delay_us > 0 {
        let delay = Duration(time::Duration::from_micros(dynamic.max_queue_delay_us));
        own.max_queue_delay = own.max_queue_delay.or(Some(delay));
    }
    own.max_queue = own.max_queue.or(NonZeroU32::new(dynamic.max_queue_size));
    match u32::try_from(*priority_levels).ok().filter(|levels| *levels as usize <= MOST_PRIORITY_LEVELS) {
        Some(0) => {}
        Some(levels) => {
            own.priority_levels = own.priority_levels.or(NonZeroU32::new(levels));
            let default = NonZeroU64::new(*default_priority_level).map(Count::Of);
            own.default_priority = own.default_priority.or(default);
        }
        None => left.push(format!(
            "`dynamic_batching.priority_levels` is {priority_levels}, more than {MOST_PRIORITY_LEVELS}: there are none"
        )),
    }
    if !preferred_batch_size.is_empty() {
        left.push("`dynamic_batching.preferred_batch_size`: a batch is as large as what waits for it".into());
    }
    if dynamic.default_timeout_us > 0 {
        left.push(
            "`dynamic_batching.default_queue_policy.default_timeout_microseconds`: `batching.requestTimeout` counts from \
             a request's arrival to its answer"
                .into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::Batching;

    use super::*;

    fn carried(text: &str, engine: bool) -> (serde_json::Value, Vec<String>) {
        let triton = crate::triton::read(text).unwrap();
        let mut config = Config::new("m".parse().unwrap(), "m.onnx".parse().unwrap());
        let left = config.carry_over(&triton, &signature(), engine);
        config.check().unwrap();
        let mut json = serde_json::to_value(&config).unwrap();
        for known in ["apiVersion", "name", "model", "version"] {
            json.as_object_mut().unwrap().remove(known);
        }
        (json, left)
    }

    /// `h` [N, L, 4] and `c` [N, 4] → `hn`, `cn` of the same, and a text.
    fn signature() -> ModelSignature {
        let tensor = |name: &str, kind: &str, dims: &[&str]| {
            crate::model::parse_tensor(&format!("{name}:{kind}[{}]", dims.join(","))).unwrap()
        };
        let pair = |h: &str, c: &str| vec![tensor(h, "float32", &["N", "L", "4"]), tensor(c, "int64", &["N", "4"])];
        let mut outputs = pair("hn", "cn");
        outputs.push(tensor("text", "string", &["N"]));
        ModelSignature { inputs: pair("h", "c"), outputs, batching: Batching::Unproved { reason: String::new() } }
    }

    #[test]
    fn state_is_kept_where_sessions_can_and_the_rest_is_for_clients() {
        let (config, left) = carried(
            "max_batch_size: 4 dynamic_batching { } sequence_batching { max_sequence_idle_microseconds: 5000000
               control_input [ { name: 'START' control { kind: CONTROL_SEQUENCE_START } }, { name: 'id' control { kind: 3 } } ]
               state [ { input_name: 'h' output_name: 'hn' dims: [ -1, 4 ] }, { input_name: 'c' output_name: 'cn' dims: 4
                 initial_state { dims: 4 data_file: 'c.raw' } } ] }",
            false,
        );
        let pairs = serde_json::json!([
            { "output": "hn", "input": "h", "shape": ["N", 1, 4] }, { "output": "cn", "input": "c" }
        ]);
        assert_eq!(config["state"], serde_json::json!({ "pairs": pairs, "idleTimeout": "5s" }));
        let said = [
            "`START` (CONTROL_SEQUENCE_START): nobody fills it in: clients send it as an input, whether it is the sequence's first",
            "`id` (CONTROL_SEQUENCE_CORRID): nobody fills it in: clients send it as an input, the sequence's id",
            "begins with zeros and not with the file `c.raw`: clients send that as `c` with its first request",
        ];
        assert_eq!(left.len(), 3);
        assert!(said.iter().zip(&left).all(|(said, left)| left.contains(said)), "{left:#?}");
        let empty = "sequence_batching { state { input_name: 'h' output_name: 'hn' initial_state { dims: [ 1, 0, 4 ] zero_data: true } } }";
        assert_eq!(carried(empty, false).0["state"]["pairs"][0]["shape"], serde_json::json!([1, 0, 4]));
        let (config, left) = carried("sequence_batching { state { input_name: 'h' output_name: 'text' } }", false);
        assert_eq!(config, serde_json::json!({}));
        assert_eq!(
            left,
            [
                "`sequence_batching.state` (`text` to `h`) is not kept, since `text` is string and `h` float32: clients send it with each request"
            ]
        );
        assert!(carried("sequence_batching { oldest { } }", false).1[0].contains("nothing is kept between requests"));
    }

    #[test]
    fn batching_priorities_and_instances_are_taken_over() {
        let (config, left) = carried(
            "max_batch_size: 16 dynamic_batching { preferred_batch_size: 8 max_queue_delay_microseconds: 500
               priority_levels: 3 default_priority_level: 2 default_queue_policy { max_queue_size: 64 } }
             instance_group [ { count: 2 kind: KIND_CPU } ] parameters { key: 'intra_op_thread_count' value: { string_value: '4' } }",
            false,
        );
        let batching = serde_json::json!({
            "maxBatchSize": 16, "maxQueueDelay": "500us", "maxQueue": 64, "priorityLevels": 3, "defaultPriority": 2
        });
        let engine = serde_json::json!({ "provider": "cpu", "instances": 2, "threads": 4 });
        assert_eq!(config, serde_json::json!({ "batching": batching, "engine": engine }));
        assert_eq!(left, ["`dynamic_batching.preferred_batch_size`: a batch is as large as what waits for it"]);
        assert_eq!(carried("", false), (serde_json::json!({}), vec![]));
        let (config, left) = carried("max_batch_size: 4", false);
        assert_eq!(config, serde_json::json!({ "batching": { "maxBatchSize": 1 } }));
        assert!(left[0].starts_with("there is no `dynamic_batching`"));
    }

    #[test]
    fn gpus_become_a_provider_and_an_image_that_has_it() {
        let group = "instance_group [ { kind: KIND_GPU gpus: [ 0, 1 ] } ]";
        let accelerated = "optimization { execution_accelerators { gpu_execution_accelerator [ { name: 'tensorrt' }, { name: 'x' } ] } }";
        let (config, left) = carried(&format!("{group} {accelerated}"), false);
        let engine = serde_json::json!({ "provider": "tensorrt,cuda", "require": true });
        assert_eq!(config, serde_json::json!({ "engine": engine, "image": { "accelerator": "tensorrt" } }));
        assert_eq!(
            left,
            [
                "`instance_group.gpus` names 2: a pod has one GPU, so let there be 2 pods",
                "the execution accelerator `x` is not taken over",
            ]
        );
        assert_eq!(carried(group, true).0, serde_json::json!({}), "an engine has its provider");
    }

    #[test]
    fn what_has_no_counterpart_is_named() {
        let (_, left) = carried(
            "input { name: 'x' optional: true reshape { shape: [ ] } } output { name: 'y' label_filename: 'l' format: 1 }
             model_transaction_policy { decoupled: true } response_cache { enable: true }
             dynamic_batching { priority_levels: 900 default_queue_policy { default_timeout_microseconds: 1 } }
             parameters { key: 'a' value: { string_value: 'b' } } instance_group [ { kind: KIND_CPU }, { kind: KIND_GPU } ]",
            false,
        );
        for word in [
            "`parameters` `a`",
            "decoupled",
            "`reshape`",
            "`optional`",
            "`label_filename`",
            "`response_cache` is not",
            "`output.format` is not",
            "is 900, more than 64",
            "default_timeout_microseconds",
            "groups on GPUs and on CPUs",
        ] {
            assert!(left.iter().any(|line| line.contains(word)), "{word}: {left:#?}");
        }
    }
}
