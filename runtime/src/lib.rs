//! The serving library behind every service that nimify makes.
//!
//! A request goes one way through it: bytes → [`codec`] → values → [`batching`] → [`engine`] → values → [`codec`] →
//! bytes. [`http`] and [`lifecycle`] carry it; [`service`] is where a generated crate joins in.

pub mod error;
pub mod service;
pub mod settings;
pub mod signature;
pub mod tensor;
