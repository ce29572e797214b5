//! The reference pages: tables are written from the values that the program itself uses, and compared with the pages.
//!
//! A page is hand-written but for its generated parts, which stand between `<!-- NAME:begin -->` and
//! `<!-- NAME:end -->`. `NIMIFY_UPDATE_GOLDEN=1 cargo test --test reference` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod config;
mod grpc;
mod http;
mod runtime;

use std::fs;

use nimify::cli::exit::Exit;

/// A generated part: its page below `docs/reference`, its name, and what it should be.
type Part = (&'static str, &'static str, fn() -> String);

const PARTS: [Part; 13] = [
    ("commands.md", "commands", commands::commands),
    ("commands.md", "variables", commands::variables),
    ("exit-codes.md", "codes", codes),
    ("grpc.md", "codes", grpc::codes),
    ("grpc.md", "methods", grpc::methods),
    ("http.md", "routes", http::routes),
    ("http.md", "errors", http::errors),
    ("metrics.md", "metrics", runtime::metrics),
    ("nimify-yaml.md", "keys", config::keys),
    ("nimify-yaml.md", "example", config::example),
    ("settings.md", "opentelemetry", runtime::opentelemetry),
    ("settings.md", "usage", runtime::usage),
    ("settings.md", "variables", runtime::variables),
];

#[test]
fn the_pages_hold_what_the_program_says() {
    let update = std::env::var_os("NIMIFY_UPDATE_GOLDEN").is_some();
    for (file, name, made) in PARTS {
        let path = format!("docs/reference/{file}");
        let page = fs::read_to_string(&path).unwrap();
        let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
        let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{path} has no `{begin}`"));
        let (held, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{path} has no `{end}`"));
        let made = made();
        if update {
            fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
        } else {
            assert_eq!(held, made, "{path}, {name} (NIMIFY_UPDATE_GOLDEN=1 writes it anew)");
        }
    }
}

fn codes() -> String {
    let rows = Exit::ALL.iter().map(|exit| vec![exit.code().to_string(), exit.meaning().into(), exit.advice().into()]);
    table(&["code", "meaning", "what to do"], rows)
}

/// A Markdown table.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head_line = line(head.iter().map(ToString::to_string).collect());
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    let rows = rows.into_iter().map(|cells| line(cells.iter().map(|cell| cell.replace('|', "\\|")).collect()));
    head_line + &rule + &rows.collect::<String>()
}

/// As code, or nothing where there is none.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}
