//! Any text as `nimify.yaml` and as `nimify.lock`: it is refused with a place that the text has, or read, and what is
//! written again is read alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::config::{Lock, Overrides, parse};

fn variable(name: &str) -> Option<String> {
    match name {
        "A" => Some("a: ${B} b".into()),
        "N" => Some("9000".into()),
        "E" => Some(String::new()),
        _ => None,
    }
}

fuzz_target!(|text: &str| {
    match parse(text, &Overrides::default(), &variable) {
        Ok(config) => {
            let written = config.to_yaml();
            let again = parse(&written, &Overrides::default(), &|_| None);
            assert_eq!(again.as_ref().map_err(ToString::to_string), Ok(&config), "{written}");
        }
        Err(fault) => {
            // A carriage return breaks lines too, and the parser sees the end of a text on a line of its own.
            let lines = 2 + text.matches(['\n', '\r']).count();
            assert!(fault.place.is_none_or(|place| (1..=lines).contains(&place.line)), "{fault}");
        }
    }
    if let Ok(lock) = Lock::parse(text) {
        let written = lock.to_yaml();
        assert_eq!(Lock::parse(&written).as_ref().ok(), Some(&lock), "{written}");
    }
});
