//! Any bytes as a caller's `traceparent` and `tracestate`, a line break between them: what is read is written alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::trace::context::{Parent, parse_state, written};

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (parent, state) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    if let Some(read) = Parent::parse(parent) {
        let again = written(read.trace, read.span, read.random);
        // All but the version, which may be a later one, and the flags, of which two are known.
        assert_eq!(&parent[2..53], &again.as_bytes()[2..53]);
        assert_eq!(Parent::parse(again.as_bytes()), Some(Parent { sampled: true, ..read }));
    }
    if let Ok(text) = std::str::from_utf8(state)
        && let Some(kept) = parse_state(text)
    {
        assert!(kept.len() <= text.len());
        assert_eq!(parse_state(&kept).as_deref(), Some(&*kept));
    }
});
