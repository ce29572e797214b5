//! `SignedImage` → a registry, with its signatures; by the OCI distribution protocol.
//!
//! - [`Reference`], [`Repository`]: what an image is called there.
//! - [`fetch()`]: an image with its signatures, into a layout that can be verified.
//! - [`pull()`]: an image that others are put on, by digest, into the cache.
//! - [`push()`]: blobs that are there are not sent, neighbours' blobs are mounted, large ones go in chunks and go on where
//!   they were broken off; the tag comes last, so that whoever follows it finds everything.
//!
//! The client is nimify's own, on `ureq`: the OCI client library for Rust, `oci-client`, sends a registry's credentials
//! to whatever host a `Location` names, never asks how far an upload came, and can't rewind what it streams. Grammar and
//! documents are those of `oci-spec`.
//!
//! Sources of other kinds ask their hosts by the same rules: [`place`], [`retry`], [`answer`], [`transport`].
//!
//! Not here: who signs with what (`sign`), what an image consists of (`image`).

pub(crate) mod answer;
mod artifacts;
mod challenge;
mod client;
pub(crate) mod credentials;
mod download;
mod error;
mod fetch;
mod helper;
mod host_error;
mod link;
pub(crate) mod place;
mod pull;
mod push;
mod record;
mod reference;
mod referrers;
pub(crate) mod retry;
pub(crate) mod transport;
mod upload;

pub use error::Error;
pub use fetch::{FetchRequest, fetch, resolve};
pub use host_error::{Fault, HostError};
pub use pull::{Origin, PullRequest, Remote, pull};
pub use push::{BlobRow, CHUNK, PushReport, PushRequest, Signing, push};
pub use reference::{Reference, Repository};

/// Is told how a transfer goes, by several threads at once.
pub trait Watch: Sync {
    /// So many bytes are to be moved, in all that is known by now.
    fn expects(&self, bytes: u64);
    /// So many more have been moved; fewer, where some have to be moved again.
    fn moved(&self, bytes: i64);
}

/// Nobody watches.
impl Watch for () {
    fn expects(&self, _: u64) {}

    fn moved(&self, _: i64) {}
}
