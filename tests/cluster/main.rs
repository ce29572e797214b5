//! Services in a real Kubernetes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/command.rs"]
#[expect(dead_code, reason = "the tests of the command line use the rest")]
mod command;
#[path = "../support/judges.rs"]
mod judges;
#[path = "../support/made.rs"]
#[expect(dead_code, reason = "the tests of the command line use the rest")]
mod made;
#[path = "../registry/server.rs"]
#[expect(dead_code, reason = "the tests of registries use the rest")]
mod registry;

mod admission;
mod deploy;
mod following;
mod load;
mod parts;
mod rolling;
mod site;
mod stands;
mod undone;
