//! Triton's words for a model → plain values: `config.pbtxt`, in protobuf's text format.
//!
//! Nothing is fetched and nothing is decided here: [`read`] says what a config says, and which of its fields it does not
//! look at, by name. What a model repository on disk holds is `source`'s, what comes of it the command line's.

mod config;
mod fields;
mod sequence;
mod text;

pub use config::{
    DynamicBatching, EnsembleStep, InstanceGroup, InstanceKind, ModelConfig, TensorConfig, Unfit, VersionPolicy, read,
};
pub use sequence::{ControlInput, InitialState, SequenceBatching, StatePair};
pub use text::{Fault, LARGEST, Place};

/// What the file is called in a model's folder.
pub const CONFIG: &str = "config.pbtxt";
