//! Every command in README.md and below `docs/` is run as it stands, page by page; every HTTP example is sent to a real
//! server; every link leads somewhere.
//!
//! A page is one script: its fenced `sh` blocks in their order, stopped at the first failure. Code that is only
//! indented is for what needs a reader's own registry or cluster, and is not run. A fenced block under
//! `<!-- file: PATH -->` is written to that file where it stands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http;
mod links;
mod machine;
mod page;
mod table;

use std::path::{Path, PathBuf};

use machine::Machine;
use page::Page;

/// README.md and every page below `docs/`, sorted.
fn pages() -> Vec<Page> {
    let docs = walkdir::WalkDir::new("docs").sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    [PathBuf::from("README.md")].into_iter().chain(docs).map(Page::read).collect()
}

#[test]
fn every_command_of_every_page_works() {
    let machine = Machine::start();
    let mut failed = Vec::new();
    for page in pages() {
        let script = page.script();
        if script.is_empty() {
            continue;
        }
        let folder = scratch();
        let begin = std::time::Instant::now();
        let ran = machine.run(&script, folder.path());
        let left = machine.left_behind();
        println!("{}: {:.1} s", page.path.display(), begin.elapsed().as_secs_f64());
        let fault = match (ran.status.success(), ran.outlived, left.is_empty()) {
            (false, ..) if ran.status.code() == Some(127) => {
                "a command is missing: run `tools/setup`, then `source tools/env`".into()
            }
            (false, ..) => format!("it ended with {}", ran.status),
            (_, true, _) => "it leaves processes running".into(),
            (_, _, false) => format!("it leaves the containers {left}"),
            _ => {
                if page.path == Path::new("README.md") {
                    table::check(&page, &ran.stdout);
                }
                continue;
            }
        };
        failed.push(format!("{}: {fault}\n{}\n{}", page.path.display(), ran.stdout, ran.stderr));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// A folder with the fixtures, as a clone has them.
fn scratch() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(std::path::absolute("fixtures").unwrap(), folder.path().join("fixtures")).unwrap();
    folder
}

#[test]
fn fences_are_of_a_kind_that_a_test_reads() {
    for page in pages() {
        for block in &page.blocks {
            let known = ["sh", "http", "json", "python", "rust", "text", "yaml"].contains(&block.language.as_str());
            assert!(known, "{}:{}: a fence of the language `{}`", page.path.display(), block.line, block.language);
        }
    }
}
