//! Which module may use which: the table in `docs/architecture.md`, held against the sources.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Module → what it may use, from the table; `None` stands for "every stage".
fn table() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    let table =
        page.split("<!-- boundaries:begin -->").nth(1).unwrap().split("<!-- boundaries:end -->").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(String::from).collect::<BTreeSet<_>>();
    let rows = table.trim().lines().skip(2).map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    rows.map(|row| {
        let module = names(row[1]).pop_first().unwrap();
        (module, if row[3].contains("every stage") { None } else { Some(names(row[3])) })
    })
    .collect()
}

/// The modules of this crate that the files of `module` name in code: `crate::a::…` and `crate::{a, b::…}`.
fn used(module: &str) -> BTreeSet<String> {
    let folder = Path::new("src").join(module);
    let mut files = vec![Path::new("src").join(format!("{module}.rs"))];
    files.extend(walkdir::WalkDir::new(folder).into_iter().flatten().map(|entry| entry.into_path()));
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for rest in code.split("crate::").skip(1) {
            let group = rest.strip_prefix('{').and_then(|rest| rest.split("};").next());
            for item in group.map_or(vec![rest], |group| group.split(',').map(str::trim).collect()) {
                used.insert(item.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    used
}

#[test]
fn no_module_uses_one_that_its_row_does_not_list() {
    let table = table();
    let mut wrong = Vec::new();
    for (module, allowed) in &table {
        let Some(allowed) = allowed else { continue };
        for other in used(module).into_iter().filter(|other| table.contains_key(other) && other != module) {
            if !allowed.contains(&other) {
                wrong.push(format!("`{module}` uses `{other}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_row() {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<_> = modules.filter(|module| !table().contains_key(*module)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn the_runtime_knows_nothing_of_the_tool() {
    for entry in walkdir::WalkDir::new("runtime/src").into_iter().flatten() {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(!text.contains("nimify::"), "{}", entry.path().display());
        }
    }
}
