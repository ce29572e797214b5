//! The output of the README's first command: the page shows what the command prints, but for numbers and paths.

use std::fs;

use super::page::Page;

const BEGIN: &str = "<!-- table:begin -->\n";
const END: &str = "<!-- table:end -->";

/// Compares the page with what the first command printed; `NIMIFY_UPDATE_GOLDEN=1` writes it anew.
pub(super) fn check(page: &Page, stdout: &str) {
    let printed = report(stdout);
    let (before, rest) = page.text.split_once(BEGIN).unwrap();
    let (held, after) = rest.split_once(END).unwrap();
    if std::env::var_os("NIMIFY_UPDATE_GOLDEN").is_some() {
        let shown: String = printed.lines().map(|line| shown(line) + "\n").collect();
        fs::write(&page.path, format!("{before}{BEGIN}```text\n{shown}```\n{END}{after}")).unwrap();
        return;
    }
    let held: Vec<String> = held.lines().filter(|line| !line.starts_with("```")).map(structure).collect();
    let printed: Vec<String> = printed.lines().map(structure).collect();
    assert_eq!(held, printed, "README.md (NIMIFY_UPDATE_GOLDEN=1 writes it anew)");
}

/// The first report in what the page printed: to the last of the next commands.
fn report(stdout: &str) -> String {
    let mut lines = stdout.lines().skip_while(|line| !line.starts_with("digits:"));
    let head: Vec<&str> = lines.by_ref().take_while(|line| *line != "next").collect();
    let next: Vec<&str> = lines.take_while(|line| line.starts_with("  ")).collect();
    assert!(!head.is_empty() && !next.is_empty(), "no report in:\n{stdout}");
    format!("{}\nnext\n{}\n", head.join("\n"), next.join("\n"))
}

/// A line with the scratch folder as a reader's own.
fn shown(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(String::from).collect();
    for word in words.iter_mut().filter(|word| word.starts_with('/')) {
        *word = match word.split_once("/digits") {
            Some((_, rest)) => format!("/home/you/digits{rest}"),
            None => word.clone(),
        };
    }
    words.join(" ")
}

/// A line's words, with `#` for a number, its unit or a digest, and `/` for a path.
fn structure(line: &str) -> String {
    let word = |word: &str| match word {
        "B" | "kB" | "MB" | "GB" | "ms" | "s" => "#".to_string(),
        word if word.starts_with('/') => "/".into(),
        word if word.starts_with("sha256:") || word.starts_with(|c: char| c.is_ascii_digit()) => "#".into(),
        word => word.into(),
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn numbers_and_paths_may_differ_and_words_may_not() {
    assert_eq!(structure("base     2.4 MB     5.9 MB"), structure("base  980.0 kB  5 B"));
    assert_eq!(structure("a, in /tmp/x"), structure("a, in /home/you"));
    assert_ne!(structure("base 2.4 MB"), structure("model 2.4 MB"));
}
