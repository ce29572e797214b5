//! Any bytes as a bundle: refused, or read to their end, and then every entry is one that `bundle.json` names, within
//! its folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::bundle::{Contents, Reader};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(contents) = Contents::parse(bytes) {
        assert_eq!(contents.to_json(), bytes);
    }
    let Ok(reader) = Reader::open(bytes) else { return };
    let named = reader.contents.entries.clone();
    let mut seen = Vec::new();
    let read = reader.read(|entry, _| {
        let path = entry.path.as_str();
        assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
        seen.push(entry.clone());
        Ok(())
    });
    if let Ok((_, unpacked)) = read {
        assert_eq!(seen, named);
        assert_eq!(unpacked.size, bytes.len() as u64);
    }
});
