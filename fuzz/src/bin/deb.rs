//! Any bytes as a Debian package: refused with words, or read to entries that stay in their places.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::deb::{self, Entry, Limits};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { unpacked: 1 << 20, entries: 1000 };
    let Ok(package) = deb::read(bytes, limits) else { return };
    assert!(package.entries.len() <= limits.entries);
    let mut unpacked = 0;
    for (path, entry) in &package.entries {
        assert!(!path.as_str().starts_with('/') && path.as_str().split('/').all(|part| part != ".."), "{path:?}");
        if let Entry::File { mode, bytes } = entry {
            assert!(mode & !0o1777 == 0);
            unpacked += bytes.len();
        }
    }
    // A second name of a file is the file once more.
    assert!(unpacked as u64 <= limits.unpacked * limits.entries as u64);
});
