//! A text whose first line is a model's source, and whose others are the files of a repository: a source that is read is
//! written so that it is read again, its name tells no secret, and what is chosen is among the files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::files::RelativePath;
use nimify_fuzz::source::{Source, choose};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if let Ok(source) = first.parse::<Source>() {
        let written = source.to_string();
        assert_eq!(written.parse::<Source>().as_ref(), Ok(&source), "{written}");
        // As it stands in a configuration, which names relative paths from its own folder.
        let placed = source.clone().from_folder("/models".as_ref());
        assert_eq!(placed.to_string().parse::<Source>().as_ref(), Ok(&placed), "{written}");
        if matches!(source, Source::Web(_)) {
            assert!(!source.name().trim_end_matches("?…").contains('?'), "{written}");
        }
    }
    let paths: Vec<RelativePath> = lines.filter_map(|line| line.parse().ok()).collect();
    let wanted = paths.last().filter(|_| text.len() % 2 == 0);
    match choose(&paths, wanted) {
        Ok((model, sides)) => assert!(paths.contains(&model) && sides.iter().all(|side| paths.contains(side))),
        Err(reason) => assert!(!reason.is_empty()),
    }
});
