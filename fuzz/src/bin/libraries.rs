//! Any bytes as a program or library, or behind a `c` as a loader's cache: of a base image both are a stranger's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::image::{cached, needed};

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((b'c', cache)) => {
            for (name, path) in cached(cache).into_iter().flatten() {
                assert!(!name.contains('\0') && !path.as_os_str().as_encoded_bytes().contains(&0));
            }
        }
        _ => drop(needed(bytes)),
    }
});
