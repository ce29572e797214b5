//! Any entries as the layers of a base image: whatever they are called and wherever their links lead, what is written of
//! them stays below its root, and no link is written through. Behind a `t`, any bytes as the one layer.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use nimify_fuzz::digest::Digest;
use nimify_fuzz::image::stack;

/// Entries of layers, a line each: a letter for its kind, its path, a space, and where it leads or what it holds. A dash
/// begins the next layer. A tar's own sums would keep a fuzzer from getting anywhere.
fn layers(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![tar::Builder::new(Vec::new())];
    for line in text.split(|byte| *byte == b'\n').take(200) {
        let Some((kind, rest)) = line.split_first() else { continue };
        if *kind == b'-' && all.len() < 4 {
            all.push(tar::Builder::new(Vec::new()));
            continue;
        }
        let space = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (path, rest) = rest.split_at(space);
        let rest = rest.get(1..).unwrap_or_default();
        let mut header = tar::Header::new_gnu();
        let raw = header.as_gnu_mut().expect("it was made so");
        let length = path.len().min(raw.name.len());
        raw.name[..length].copy_from_slice(&path[..length]);
        let (kind, target) = match kind {
            b'd' => (tar::EntryType::Directory, true),
            b'l' => (tar::EntryType::Symlink, true),
            b'h' => (tar::EntryType::Link, true),
            b'p' => (tar::EntryType::Fifo, true),
            b'b' => (tar::EntryType::Block, true),
            b'L' => (tar::EntryType::GNULongName, false),
            b'K' => (tar::EntryType::GNULongLink, false),
            b'x' => (tar::EntryType::XHeader, false),
            _ => (tar::EntryType::Regular, false),
        };
        if target {
            let length = rest.len().min(raw.linkname.len());
            raw.linkname[..length].copy_from_slice(&rest[..length]);
        }
        let content = if target { &[][..] } else { rest };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let layer = all.last_mut().expect("there is one from the start");
        layer.append(&header, content).expect("memory takes it");
    }
    all.into_iter().map(|layer| layer.into_inner().expect("memory takes it")).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("it is ours").map(|entry| entry.expect("it is ours").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fuzz_target!(|bytes: &[u8]| {
    let layers = match bytes.split_first() {
        Some((b't', tar)) => vec![tar.to_vec()],
        _ => layers(bytes),
    };
    let home = tempfile::tempdir().expect("there is room");
    let [store, root] = ["store", "root"].map(|name| home.path().join(name));
    for folder in [&store, &root] {
        std::fs::create_dir(folder).expect("it is ours");
    }
    let kept = stack(&layers, &store, &root);
    assert_eq!(entries(home.path()), ["root", "store"]);
    for (path, digest) in kept.into_iter().flatten() {
        let place = root.join(path);
        assert_eq!(place.canonicalize().expect("it was written"), place.as_path(), "no link leads there");
        assert_eq!(Digest::of(std::fs::read(&place).expect("it was written")), digest);
    }
});
