//! The layers of an image, one over the other → the part of its file system that says what a program would find there:
//! folders, symbolic links, and the few files that are asked for.
//!
//! Layers are foreign: nothing is written where an entry says, but only where the finished tree has folders, and what
//! is unpacked has limits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use super::entries::{self, Entry};
use super::error::{Error, files};
use super::hashing::Hashing;
use super::validate::Limits;
use crate::digest::Digest;

/// Largest file that is kept, bytes.
const LARGEST_FILE: u64 = 256 << 20;
/// Most bytes kept of all layers.
const MOST_BYTES: u64 = 2 << 30;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    Link(PathBuf),
    /// A file; where it is kept, if it was asked for.
    File(Option<PathBuf>),
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    content: Content,
    /// Which layer put it there.
    layer: usize,
}

/// A file system that layers are put into, from the lowest up. Paths have no `/` before them.
pub(super) struct Rootfs<'a> {
    nodes: BTreeMap<PathBuf, Node>,
    layers: usize,
    /// Files that are kept, and their bytes.
    kept: (usize, u64),
    /// Which files are kept.
    wanted: &'a dyn Fn(&Path) -> bool,
    /// The folder for them.
    store: &'a Path,
}

impl<'a> Rootfs<'a> {
    pub(super) fn new(store: &'a Path, wanted: &'a dyn Fn(&Path) -> bool) -> Self {
        Rootfs { nodes: BTreeMap::new(), layers: 0, kept: (0, 0), wanted, store }
    }

    /// Puts a layer over what is there; gives digest and size of the tar.
    pub(super) fn apply(&mut self, tar: impl Read, limits: &Limits) -> io::Result<(Digest, u64)> {
        self.layers += 1;
        let mut tar = Hashing::new(tar.take(limits.layer_bytes.saturating_add(1)));
        let whole = entries::walk(&mut tar, limits.entries, &mut |entry| self.put(entry).map(|()| true))?;
        // What follows the end of the tar belongs to the digest too.
        io::copy(&mut tar, &mut io::sink())?;
        let (digest, size) = tar.finish();
        if !whole || size > limits.layer_bytes || self.nodes.len() as u64 > limits.entries {
            return Err(io::Error::other("it has more entries or bytes than are looked at"));
        }
        Ok((digest, size))
    }

    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let Some(path) = plain(entry.path)? else { return Ok(()) };
        let parent = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == ".wh..wh..opq" {
            self.remove_below(&parent);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = parent.join(hidden);
            self.remove_below(&hidden);
            if self.nodes.get(&hidden).is_some_and(|node| node.layer < self.layers) {
                self.nodes.remove(&hidden);
            }
            return Ok(());
        }
        let content = match entry.kind {
            kind if kind.is_dir() => Content::Folder,
            kind if kind.is_symlink() => Content::Link(entry.link.unwrap_or_default().into()),
            // A second name of a file that came before.
            kind if kind.is_hard_link() => match plain(entry.link.unwrap_or_default())? {
                Some(target) => self.nodes.get(&target).map_or(Content::Other, |node| node.content.clone()),
                None => Content::Other,
            },
            kind if kind.is_file() && (self.wanted)(&path) => Content::File(Some(self.keep(entry.content)?)),
            kind if kind.is_file() => Content::File(None),
            _ => Content::Other,
        };
        self.set(path, content);
        Ok(())
    }

    fn keep(&mut self, content: &mut dyn Read) -> io::Result<PathBuf> {
        let place = self.store.join(self.kept.0.to_string());
        let mut file = File::create(&place)?;
        let size = io::copy(&mut content.take(LARGEST_FILE + 1), &mut file)?;
        self.kept = (self.kept.0 + 1, self.kept.1 + size);
        if size > LARGEST_FILE || self.kept.1 > MOST_BYTES {
            return Err(io::Error::other("it has larger libraries than are looked at"));
        }
        Ok(place)
    }

    fn set(&mut self, path: PathBuf, content: Content) {
        // A folder of this layer takes the place of a link below it, as where each layer is unpacked into its own folder.
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let folder = Node { content: Content::Folder, layer: self.layers };
            match self.nodes.get_mut(above) {
                // It is this layer's too: what the layer hides of those below is not the way to its own files.
                Some(node) if node.content == Content::Folder => node.layer = self.layers,
                _ => drop(self.nodes.insert(above.into(), folder)),
            }
        }
        let layer = self.layers;
        if content != Content::Folder {
            self.remove_all_below(&path, |_| true);
        }
        self.nodes.insert(path, Node { content, layer });
    }

    /// Removes what lower layers have below a folder.
    fn remove_below(&mut self, folder: &Path) {
        let layer = self.layers;
        self.remove_all_below(folder, |node| node.layer < layer);
    }

    fn remove_all_below(&mut self, folder: &Path, which: impl Fn(&Node) -> bool) {
        let range = (Bound::Excluded(folder.to_path_buf()), Bound::Unbounded);
        let below = self.nodes.range(range).take_while(|(path, _)| path.starts_with(folder));
        let gone: Vec<PathBuf> = below.filter(|(_, node)| which(node)).map(|(path, _)| path.clone()).collect();
        gone.iter().for_each(|path| drop(self.nodes.remove(path)));
    }

    /// Writes folders, links and the kept files below `root`, which is empty; gives the digests of the files.
    pub(super) fn write(&self, root: &Path) -> Result<BTreeMap<PathBuf, Digest>, Error> {
        let mut written = BTreeMap::new();
        for (path, node) in &self.nodes {
            let place = root.join(path);
            // What stands above is a folder in the tree, and so on the disk: nothing is written through a link.
            match &node.content {
                Content::Folder => fs::create_dir_all(&place).map_err(files("make", &place))?,
                Content::Link(target) => {
                    if !target.as_os_str().is_empty() {
                        std::os::unix::fs::symlink(target, &place).map_err(files("make", &place))?;
                    }
                }
                Content::File(Some(kept)) => {
                    fs::copy(kept, &place).map_err(files("write", &place))?;
                    let (digest, _) = Digest::of_file(&place).map_err(files("read", &place))?;
                    written.insert(path.clone(), digest);
                }
                Content::File(None) | Content::Other => {}
            }
        }
        Ok(written)
    }
}

/// An entry's path without what means nothing; `None` for the root itself. One that leads out is refused.
fn plain(path: &str) -> io::Result<Option<PathBuf>> {
    let mut plain = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => return Err(io::Error::other(format!("its entry `{path}` leads out of it"))),
            _ => {}
        }
    }
    Ok((!plain.as_os_str().is_empty()).then_some(plain))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, what) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            let raw = header.as_gnu_mut().unwrap();
            raw.name[..path.len()].copy_from_slice(path.as_bytes());
            match what.split_once(' ') {
                _ if *what == "folder" => header.set_entry_type(tar::EntryType::Directory),
                Some(("link", target)) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_link_name_literal(target).unwrap();
                }
                Some(("same", target)) => {
                    header.set_entry_type(tar::EntryType::Link);
                    header.set_link_name_literal(target).unwrap();
                }
                _ => header.set_size(what.len() as u64),
            }
            header.set_cksum();
            let body = if header.entry_type().is_file() { *what } else { "" };
            builder.append(&header, body.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// What is there after these layers: path → contents or kind.
    fn stacked(layers: &[&[(&str, &str)]]) -> io::Result<Vec<(String, String)>> {
        let home = tempfile::tempdir().unwrap();
        let (store, root) = (home.path().join("store"), home.path().join("root"));
        [&store, &root].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let wanted = |path: &Path| path.to_string_lossy().contains("keep");
        let mut rootfs = Rootfs::new(&store, &wanted);
        for layer in layers {
            let bytes = tar(layer);
            assert_eq!(rootfs.apply(&bytes[..], &Limits::default())?.0, Digest::of(&bytes));
        }
        rootfs.write(&root).unwrap();
        let entry = |entry: walkdir::DirEntry| {
            let data = entry.path().symlink_metadata().unwrap();
            let what = match () {
                () if data.is_symlink() => format!("link {}", fs::read_link(entry.path()).unwrap().display()),
                () if data.is_dir() => "folder".into(),
                () => fs::read_to_string(entry.path()).unwrap(),
            };
            (entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_string(), what)
        };
        let all = walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name().into_iter();
        Ok(all.map(|found| entry(found.unwrap())).collect())
    }

    fn list(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(path, what)| (path.to_string(), what.to_string())).collect()
    }

    #[test]
    fn layers_cover_hide_and_replace() {
        let first: &[_] = &[
            ("./", "folder"),
            ("./usr/lib/keep.so", "one"),
            ("lib", "link usr/lib"),
            ("a/keep1", "x"),
            ("a/b/keep2", "y"),
            ("a/plain", "z"),
            ("c/keep3", "same a/keep1"),
        ];
        let all = [
            ("a", "folder"),
            ("a/b", "folder"),
            ("a/b/keep2", "y"),
            ("a/keep1", "x"),
            ("c", "folder"),
            ("c/keep3", "x"),
            ("lib", "link usr/lib"),
            ("usr", "folder"),
            ("usr/lib", "folder"),
            ("usr/lib/keep.so", "one"),
        ];
        assert_eq!(stacked(&[first]).unwrap(), list(&all));
        let second: &[_] =
            &[("a/.wh..wh..opq", ""), ("a/keep4", "new"), ("c/.wh.keep3", ""), ("usr/lib/keep.so", "two")];
        let after = [
            ("a", "folder"),
            ("a/keep4", "new"),
            ("c", "folder"),
            ("lib", "link usr/lib"),
            ("usr", "folder"),
            ("usr/lib", "folder"),
            ("usr/lib/keep.so", "two"),
        ];
        assert_eq!(stacked(&[first, second]).unwrap(), list(&after));
        let third: &[_] = &[("a", "link c"), ("lib/keep5", "breaks a merged /usr")];
        let after = stacked(&[first, second, third]).unwrap();
        assert!(after.contains(&("lib".into(), "folder".into())), "{after:?}");
        assert!(after.contains(&("a".into(), "link c".into())), "{after:?}");
    }

    #[test]
    fn what_a_layer_hides_is_not_the_way_to_its_own_files() {
        let second: &[_] = &[("a/b/keep", "x"), ("a/.wh..wh..opq", "")];
        let after = [("a", "folder"), ("a/b", "folder"), ("a/b/keep", "x")];
        assert_eq!(stacked(&[&[("a/b", "folder"), ("a/c", "folder")], second]).unwrap(), list(&after));
    }

    #[test]
    fn a_layer_that_goes_on_without_end_is_cut_short() {
        let home = tempfile::tempdir().unwrap();
        let zeros = "0".repeat(1 << 20);
        let (file, many) = (tar(&[("keep", &zeros)]), tar(&[("a", ""), ("b", ""), ("c", "")]));
        let limits = |layer_bytes, entries| Limits { layer_bytes, entries, ..Limits::default() };
        for (bytes, limits) in [(&file, limits(1 << 19, 10)), (&many, limits(1 << 20, 2))] {
            let mut rootfs = Rootfs::new(home.path(), &|_| true);
            assert!(rootfs.apply(&bytes[..], &limits).is_err());
            let kept = home.path().join("0").metadata().map_or(0, |data| data.len());
            assert!(kept <= limits.layer_bytes, "{kept}");
        }
    }

    #[test]
    fn nothing_leads_out_or_is_written_through_a_link() {
        let error = stacked(&[&[("a/../../keep", "x")]]).unwrap_err().to_string();
        assert!(error.contains("leads out of it"), "{error}");
        let outside = tempfile::tempdir().unwrap();
        symlink("x", outside.path().join("x")).unwrap();
        let link = format!("link {}", outside.path().display());
        let found = stacked(&[&[("out", &link), ("out/keep", "inside")]]).unwrap();
        assert_eq!(found, list(&[("out", "folder"), ("out/keep", "inside")]));
        assert!(!outside.path().join("keep").exists());
    }

    proptest! {
        #[test]
        fn whatever_layers_hold_stays_below_the_root(
            layers in prop::collection::vec(
                prop::collection::vec(
                    (
                        "(\\.?/)?[ab]{1,2}(/(\\.wh\\.)?[abc]|/\\.wh\\.\\.wh\\.\\.opq|/keep){0,3}",
                        prop_oneof![
                            Just("folder".to_string()),
                            Just("bytes".to_string()),
                            "(link|same) (/|\\.\\./)?[ab](/[abc]){0,2}",
                        ],
                    ),
                    0..8,
                ),
                0..4,
            )
        ) {
            let layers: Vec<Vec<(&str, &str)>> = layers
                .iter()
                .map(|layer| layer.iter().map(|(path, what)| (path.as_str(), what.as_str())).collect())
                .collect();
            let layers: Vec<&[(&str, &str)]> = layers.iter().map(Vec::as_slice).collect();
            // A link's target may lead out, and then it isn't followed; a hard link's may not.
            if let Ok(found) = stacked(&layers) {
                for (path, what) in &found {
                    let below = Path::new(path).parent().filter(|above| !above.as_os_str().is_empty());
                    let above = below.and_then(|above| found.iter().find(|(path, _)| Path::new(path) == above));
                    prop_assert!(below.is_none() || above.is_some_and(|(_, kind)| kind == "folder"), "{path}: {what}");
                }
            }
        }

        #[test]
        fn bytes_that_are_no_tar_are_an_error_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let home = tempfile::tempdir().unwrap();
            let mut rootfs = Rootfs::new(home.path(), &|_| true);
            let _ = rootfs.apply(&bytes[..], &Limits::default());
        }
    }
}
