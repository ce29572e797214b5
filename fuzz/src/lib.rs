//! The parsers under test: the serving library as it is, and what `nimify` itself reads, compiled from its sources
//! without the rest of its dependencies.
//!
//! `tools/fuzz` builds and runs the targets in `src/bin/`; `seeds/` holds where each begins.

#![allow(dead_code, unused_imports, reason = "a part of each package is compiled, and not all of that is called")]

#[path = "../../src/bundle/mod.rs"]
pub mod bundle;
#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/image/debian/deb.rs"]
pub mod deb;
#[path = "../../src/digest.rs"]
pub mod digest;
#[path = "../../src/files.rs"]
pub mod files;
pub mod image;
#[path = "../../src/interrupt.rs"]
pub mod interrupt;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/nearest.rs"]
pub mod nearest;

// What `config` uses of the plan.
#[path = "../../src/plan/name.rs"]
pub mod plan;
pub mod registry;
#[path = "../../src/sign/mod.rs"]
pub mod sign;
pub mod source;
#[path = "../../src/triton/mod.rs"]
pub mod triton;

pub use nimify_runtime::{codec, grpc, signature, tensor, trace};
