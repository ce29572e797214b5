//! Services as they are made: the generated and the generic one over the same folder, hooks on every protocol, and the
//! licence from `nimify.yaml` to its route.
//!
//! The crates are compiled in the user's own cache, as `create` does: the runtime once, a model in a second or two.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod alike;
mod hooks;
mod made;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod other_processor;
mod running;
mod whole;
