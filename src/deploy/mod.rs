//! Chart + environment → a release that runs, and what follows from it: status, rollback, promotion, difference, history.
//!
//! ```text
//! nimify.yaml ─targets→ Target ─┐
//! chart/ + values ──────────────┼─→ Prepared ─verify→ trusted ─lock→ helm upgrade ─follow→ ready ─sample→ Release
//! dist/release.json ────────────┘                                        └─ failed: reasons read, then rolled back
//! ```
//!
//! helm is the engine and is called as a program ([`helm`]); what happens in the cluster is followed by
//! [`cluster`](crate::cluster). What is decided here is decided by pure functions over what both answer.

mod aim;
pub mod canary;
mod diff;
mod error;
mod health;
mod helm;
mod history;
mod objects;
mod prepare;
mod record;
mod release;
mod rollback;
mod sample;
mod target;
mod trust;
mod values;

pub use aim::{Aim, Aimed};
pub use diff::{Change, ObjectDiff, diff};
pub use error::Error;
pub use health::Health;
pub use helm::{Call, Helm, Upgrade, values_file};
pub use history::{History, Note, Revision, Start, Status};
pub use objects::{Endpoint, Objects};
pub use prepare::{Overlay, Prepared, check_runs, prepare};
pub use record::{PushedTo, ReleaseRecord};
pub use release::{Failed, Manner, Observer, Released, Site, Trouble, Undone, Wanted};
pub use rollback::RolledBack;
pub use sample::Sample;
pub use target::{Target, targets};
pub use trust::{Look, verify};
pub use values::{ImageName, Values, image_of, parse_set};

pub(crate) use error::interrupted;
