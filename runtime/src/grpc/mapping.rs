//! The model's configuration and statistics, field by field into the protocol's messages.

use crate::codec::v2::protobuf::messages as proto;
use crate::codec::v2::protobuf::messages::model_config::SchedulingChoice;
use crate::codec::v2::protobuf::messages::model_instance_group::Kind;
use crate::codec::v2::protobuf::messages::model_queue_policy::TimeoutAction;
use crate::codec::v2::protobuf::messages::model_version_policy::{Latest, PolicyChoice};
use crate::model_config::{DynamicBatching, InputConfig, InstanceGroup, ModelConfig, OutputConfig};
use crate::statistics::{BatchStatistics, InferenceStatistics, MemoryUsage, ModelStatistics, StatisticDuration};

/// The protocol's counts are smaller than some settings may be.
fn count<T: TryFrom<u64> + Bounded>(number: u64) -> T {
    T::try_from(number).unwrap_or(T::MOST)
}

trait Bounded {
    const MOST: Self;
}

impl Bounded for i32 {
    const MOST: i32 = i32::MAX;
}

impl Bounded for u32 {
    const MOST: u32 = u32::MAX;
}

impl From<ModelConfig> for proto::ModelConfig {
    fn from(config: ModelConfig) -> Self {
        let latest = Latest { num_versions: config.version_policy.latest.num_versions };
        let policy_choice = Some(PolicyChoice::Latest(latest));
        let parameters = config.parameters.into_iter();
        proto::ModelConfig {
            name: config.name,
            platform: config.platform.into(),
            version_policy: Some(proto::ModelVersionPolicy { policy_choice }),
            max_batch_size: count(config.max_batch_size),
            input: config.input.into_iter().map(Into::into).collect(),
            output: config.output.into_iter().map(Into::into).collect(),
            instance_group: config.instance_group.into_iter().map(Into::into).collect(),
            default_model_filename: config.default_model_filename,
            parameters: parameters
                .map(|(name, value)| (name.into(), proto::ModelParameter { string_value: value.string_value }))
                .collect(),
            backend: config.backend.into(),
            model_transaction_policy: Some(proto::ModelTransactionPolicy {
                decoupled: config.model_transaction_policy.decoupled,
            }),
            runtime: String::new(),
            scheduling_choice: config
                .dynamic_batching
                .map(|batching| SchedulingChoice::DynamicBatching(batching.into())),
        }
    }
}

impl From<InputConfig> for proto::ModelInput {
    fn from(input: InputConfig) -> Self {
        let InputConfig { name, data_type, dims, optional, .. } = input;
        proto::ModelInput { name, data_type: data_type as i32, dims, optional }
    }
}

impl From<OutputConfig> for proto::ModelOutput {
    fn from(output: OutputConfig) -> Self {
        let OutputConfig { name, data_type, dims, .. } = output;
        proto::ModelOutput { name, data_type: data_type as i32, dims }
    }
}

impl From<InstanceGroup> for proto::ModelInstanceGroup {
    fn from(group: InstanceGroup) -> Self {
        let kind = Kind::from_str_name(group.kind).unwrap_or(Kind::Auto);
        proto::ModelInstanceGroup { name: group.name, count: count(group.count), gpus: Vec::new(), kind: kind.into() }
    }
}

impl From<DynamicBatching> for proto::ModelDynamicBatching {
    fn from(batching: DynamicBatching) -> Self {
        let policy = batching.default_queue_policy;
        proto::ModelDynamicBatching {
            preferred_batch_size: batching.preferred_batch_size.into_iter().map(|size| count(size.into())).collect(),
            max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
            preserve_ordering: batching.preserve_ordering,
            priority_levels: batching.priority_levels,
            default_priority_level: batching.default_priority_level,
            default_queue_policy: Some(proto::ModelQueuePolicy {
                timeout_action: TimeoutAction::from_str_name(policy.timeout_action).unwrap_or_default().into(),
                default_timeout_microseconds: policy.default_timeout_microseconds,
                allow_timeout_override: policy.allow_timeout_override,
                max_queue_size: count(policy.max_queue_size),
            }),
        }
    }
}

impl From<ModelStatistics> for proto::ModelStatistics {
    fn from(statistics: ModelStatistics) -> Self {
        proto::ModelStatistics {
            name: statistics.name,
            version: statistics.version,
            last_inference: statistics.last_inference,
            inference_count: statistics.inference_count,
            execution_count: statistics.execution_count,
            inference_stats: Some(statistics.inference_stats.into()),
            batch_stats: statistics.batch_stats.into_iter().map(Into::into).collect(),
            memory_usage: statistics.memory_usage.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<InferenceStatistics> for proto::InferStatistics {
    fn from(statistics: InferenceStatistics) -> Self {
        proto::InferStatistics {
            success: duration(statistics.success),
            fail: duration(statistics.fail),
            queue: duration(statistics.queue),
            compute_input: duration(statistics.compute_input),
            compute_infer: duration(statistics.compute_infer),
            compute_output: duration(statistics.compute_output),
            cache_hit: duration(statistics.cache_hit),
            cache_miss: duration(statistics.cache_miss),
        }
    }
}

impl From<BatchStatistics> for proto::InferBatchStatistics {
    fn from(batch: BatchStatistics) -> Self {
        proto::InferBatchStatistics {
            batch_size: batch.batch_size,
            compute_input: duration(batch.compute_input),
            compute_infer: duration(batch.compute_infer),
            compute_output: duration(batch.compute_output),
        }
    }
}

impl From<MemoryUsage> for proto::MemoryUsage {
    fn from(memory: MemoryUsage) -> Self {
        proto::MemoryUsage { r#type: memory.kind, id: memory.id, byte_size: memory.byte_size }
    }
}

/// Written even where nothing has been counted: clients read into it without a look.
fn duration(StatisticDuration { count, ns }: StatisticDuration) -> Option<proto::StatisticDuration> {
    Some(proto::StatisticDuration { count, ns })
}
