//! The `nimify` command.

fn main() {}
