//! Any text as what a registry says in the heads of its answers: how it wants to be told who asks, and behind a `<` where
//! the next page is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::registry::{next_page, token_service};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some((realm, service)) = token_service(text) {
        // A quoted text loses its backslashes and nothing is made up.
        assert!(realm.len() + service.map_or(0, |service| service.len()) <= text.len());
    }
    if let Some(target) = next_page(text) {
        assert!(text.contains(target) && !target.contains('>'));
    }
});
