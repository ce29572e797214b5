//! Any text as Triton's `config.pbtxt`: read to its end, or refused with its place.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::triton::read;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(fault) = read(text) {
        assert!(!fault.to_string().is_empty());
    }
});
