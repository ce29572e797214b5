//! The parsers under test, compiled from the two packages' own sources without the rest of their dependencies.
//!
//! `tools/fuzz` builds and runs the targets in `src/bin/`; `seeds/` holds where each begins.

#![allow(dead_code, unused_imports, reason = "a part of each package is compiled, and not all of that is called")]

// The sources of `nimify` name the runtime by its package.
extern crate self as nimify_runtime;

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/digest.rs"]
pub mod digest;
#[path = "../../src/files.rs"]
pub mod files;
#[path = "../../src/interrupt.rs"]
pub mod interrupt;
#[path = "../../src/model/mod.rs"]
pub mod model;

// What `config` uses of the plan and of signing.
#[path = "../../src/plan/name.rs"]
pub mod plan;
#[path = "../../src/sign/source.rs"]
pub mod sign;

#[path = "../../runtime/src/codec/mod.rs"]
pub mod codec;
#[path = "../../runtime/src/error.rs"]
pub mod error;
#[path = "../../runtime/src/model_config.rs"]
pub mod model_config;
#[path = "../../runtime/src/settings.rs"]
pub mod settings;
#[path = "../../runtime/src/signature.rs"]
pub mod signature;
#[path = "../../runtime/src/tensor.rs"]
pub mod tensor;

/// What the settings hold of the engine.
#[path = "../../runtime/src/engine"]
pub mod engine {
    mod provider;

    pub use provider::{Provider, Providers};
}

/// What a request asks for beside its values.
#[path = "../../runtime/src/inference"]
pub mod inference {
    mod urgency;

    pub use urgency::Urgency;
}

/// What the settings hold of traces, and what a caller sends.
#[path = "../../runtime/src/trace"]
pub mod trace {
    pub mod context;
    mod endpoint;
    mod sampler;

    pub use endpoint::Endpoint;
    pub use sampler::Ratio;
}
