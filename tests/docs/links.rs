//! Links within the repository: the file is there, and so is the heading.

use std::path::{Path, PathBuf};

use super::page::Page;
use super::pages;

#[test]
fn every_link_leads_somewhere() {
    let more = ["CONTRIBUTING.md", "CHANGELOG.md"].map(|path| Page::read(path.into()));
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(more) {
        for target in targets(&page.text).filter(|target| !target.contains("://")) {
            if let Err(why) = follow(&page, target) {
                broken.push(format!("{}: {target}: {why}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_index_names_every_page() {
    let index = Page::read("docs/README.md".into());
    for page in pages().iter().filter(|page| page.path.starts_with("docs") && page.path != index.path) {
        let name = page.path.strip_prefix("docs").unwrap().display().to_string();
        assert!(targets(&index.text).any(|target| target == name), "docs/README.md lacks {name}");
    }
}

/// What stands in `](…)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn follow(page: &Page, target: &str) -> Result<(), String> {
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap_or(Path::new("")).join(file) };
    if !path.exists() {
        return Err("no such file".into());
    }
    match heading {
        Some(heading) if !headings(&path).iter().any(|other| other == heading) => Err("no such heading".into()),
        _ => Ok(()),
    }
}

/// The headings of a page as links name them.
fn headings(path: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let titles = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    titles.map(slug).collect()
}
