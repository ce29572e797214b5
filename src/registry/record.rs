//! Which repositories of a registry were given a blob: they are asked to lend it to others.
//!
//! A note for each blob in the cache, `pushed/<hash of the registry's name>/<hex>`, with a repository a line. It may be
//! wrong or gone: then the blob is sent.

use std::path::PathBuf;

use super::Repository;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::write_atomically;

/// Most repositories that are noted, and so asked, for one blob.
const MOST: usize = 3;

fn note(cache: &Cache, repository: &Repository, blob: &Digest) -> PathBuf {
    let registry = Digest::of(repository.registry()).hex();
    cache.root().join("pushed").join(registry).join(blob.hex())
}

fn read(cache: &Cache, repository: &Repository, blob: &Digest) -> Vec<String> {
    let text = std::fs::read_to_string(note(cache, repository, blob)).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty()).take(MOST).map(String::from).collect()
}

/// Other repositories of the same registry that should have the blob.
pub(super) fn neighbours(cache: &Cache, repository: &Repository, blob: &Digest) -> Vec<String> {
    read(cache, repository, blob).into_iter().filter(|path| path != repository.path()).collect()
}

/// Notes that the repository has the blob, the latest first.
pub(super) fn add(cache: &Cache, repository: &Repository, blob: &Digest) {
    let known = read(cache, repository, blob);
    if known.iter().any(|path| path == repository.path()) {
        return;
    }
    let all: Vec<String> = [repository.path().to_string()].into_iter().chain(known).take(MOST).collect();
    let path = note(cache, repository, blob);
    // A note that can't be written is one that isn't read: no reason to fail.
    _ = std::fs::create_dir_all(path.parent().expect("a note stands in a folder"))
        .and_then(|()| write_atomically(&path, format!("{}\n", all.join("\n")).as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_repositories_of_the_same_registry_are_neighbours() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().into()).unwrap();
        let repository = |text: &str| text.parse::<super::super::Reference>().unwrap().repository;
        let blob = Digest::of("blob");
        for name in ["r.example.com/a", "r.example.com/b", "r.example.com/b", "s.example.com/c", "r.example.com/d"] {
            add(&cache, &repository(name), &blob);
        }
        assert_eq!(neighbours(&cache, &repository("r.example.com/b"), &blob), ["d", "a"]);
        assert_eq!(neighbours(&cache, &repository("r.example.com/b"), &Digest::of("other")), Vec::<String>::new());
        add(&cache, &repository("r.example.com/e"), &blob);
        assert_eq!(neighbours(&cache, &repository("r.example.com/x"), &blob), ["e", "d", "b"]);
    }
}
