//! The generic service: any model that a `service.json` names, without hooks.

fn main() {}
