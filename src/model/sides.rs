//! Files that stand with a model and say what its numbers mean: configuration, tokenizer, labels.
//!
//! They are found by their names where more than one file was given, carried along as they are, and only the labels are
//! read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use nimify_runtime::settings::SideKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file;
use super::foreign::{self, Foreign};
use crate::digest::Digest;
use crate::files::RelativePath;

/// The names that are known, as exporters and hubs write them.
const KNOWN: [(&str, SideKind); 26] = [
    ("config.json", SideKind::Configuration),
    ("config_sentence_transformers.json", SideKind::Configuration),
    ("generation_config.json", SideKind::Configuration),
    ("sentence_bert_config.json", SideKind::Configuration),
    ("added_tokens.json", SideKind::Tokenizer),
    ("chat_template.jinja", SideKind::Tokenizer),
    ("chat_template.json", SideKind::Tokenizer),
    ("normalizer.json", SideKind::Tokenizer),
    ("sentencepiece.bpe.model", SideKind::Tokenizer),
    ("special_tokens_map.json", SideKind::Tokenizer),
    ("spiece.model", SideKind::Tokenizer),
    ("tokenizer.json", SideKind::Tokenizer),
    ("tokenizer.model", SideKind::Tokenizer),
    ("tokenizer_config.json", SideKind::Tokenizer),
    ("merges.txt", SideKind::Vocabulary),
    ("vocab.json", SideKind::Vocabulary),
    ("vocab.txt", SideKind::Vocabulary),
    ("feature_extractor_config.json", SideKind::Preprocessor),
    ("image_processor_config.json", SideKind::Preprocessor),
    ("preprocessor_config.json", SideKind::Preprocessor),
    ("processor_config.json", SideKind::Preprocessor),
    ("video_preprocessor_config.json", SideKind::Preprocessor),
    ("classes.txt", SideKind::Labels),
    ("id2label.json", SideKind::Labels),
    ("label_encoder.json", SideKind::Labels),
    ("labels.txt", SideKind::Labels),
];
/// Largest file that is carried along, and most bytes of all of them. The tokenizers of the largest vocabularies have a
/// little over 30 MiB.
const LARGEST: u64 = 64 << 20;
const MOST_BYTES: u64 = 256 << 20;
/// Bytes by which a file is recognised as what it should not be.
const HEAD: u64 = 512;
/// Largest file that labels are read from, bytes.
const LARGEST_READ: u64 = 4 << 20;
/// What editors of Windows begin a text with.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// Most labels, and the longest of them in bytes.
const MOST_LABELS: usize = 100_000;
const LONGEST_LABEL: usize = 1_000;

/// A file that belongs to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SideFile {
    /// Its name, which it keeps in the image.
    pub name: RelativePath,
    /// What it is for.
    pub kind: SideKind,
    /// Where it is. Never written out: it is the host's.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// What is found with a model.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Sorted by name.
    pub(super) files: Vec<SideFile>,
    /// What is left out, by name, and why: a sentence each.
    pub(super) left_out: BTreeMap<String, String>,
}

/// Whether a file of this name, beside a model, belongs to it.
pub fn is_side_file(name: &str) -> bool {
    kind_of(name).is_some()
}

fn kind_of(name: &str) -> Option<SideKind> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The rule for every source: of the files at `paths`, those that belong to the `model` among them, sorted by name. They
/// stand beside it or, which is where hubs have them, at the top; of two of one name the one beside it is meant.
pub fn side_files<'a>(paths: &'a [RelativePath], model: &RelativePath) -> Vec<(&'a RelativePath, SideKind)> {
    let (folder, _) = model.split();
    let mut found = BTreeMap::new();
    for path in paths {
        let (place, name) = path.split();
        let Some(kind) = kind_of(name) else { continue };
        if place == folder || (place.is_empty() && !found.contains_key(name)) {
            found.insert(name, (path, kind));
        }
    }
    found.into_values().collect()
}

/// The files that belong to the model at `model`, which was found in `folder`.
pub(super) fn find(folder: &Path, model: &Path) -> std::io::Result<Found> {
    let beside = file::folder(model);
    // A hub's cache is links into one folder of blobs, the model among them.
    let own = [folder.canonicalize()?, beside.canonicalize()?, file::folder(&model.canonicalize()?).to_path_buf()];
    let name = |text: String| text.parse::<RelativePath>().expect("plain names make a plain path");
    let there = |place: &Path| {
        let names = KNOWN.iter().map(|(known, _)| *known);
        names.filter(|known| place.join(known).symlink_metadata().is_ok()).collect::<Vec<_>>()
    };
    // However deep and oddly named the model's folder is, what counts is that it is another one.
    let near = if beside == folder { "" } else { "beside/" };
    let listing = there(folder).into_iter().map(|known| name(known.into()));
    let listing: Vec<_> =
        listing.chain(there(beside).into_iter().map(|known| name(format!("{near}{known}")))).collect();
    let (mut found, mut bytes) = (Found::default(), 0);
    for (path, kind) in side_files(&listing, &name(format!("{near}model"))) {
        let (place, name) = path.split();
        let path = if place.is_empty() { folder.join(name) } else { beside.join(name) };
        match take(&path, kind, &own, MOST_BYTES - bytes) {
            Ok(side) => {
                bytes += side.size;
                found.files.push(side);
            }
            Err(why) => {
                found.left_out.insert(name.into(), format!("`{}` {why}: it is left out", path.display()));
            }
        }
    }
    Ok(found)
}

/// Looks at one file; why it is left out, as the rest of a sentence.
fn take(path: &Path, kind: SideKind, own: &[PathBuf], room: u64) -> Result<SideFile, String> {
    let unreadable = |error: std::io::Error| format!("can't be read: {error}");
    let resolved = path.canonicalize().map_err(unreadable)?;
    if !own.iter().any(|own| resolved.starts_with(own)) {
        return Err("leads out of the model's folder".into());
    }
    let file::Open { mut file, size } = file::open(path).map_err(|error| error.to_string())?;
    if size > LARGEST {
        return Err(format!("has {} MiB, more than {} MiB", size >> 20, LARGEST >> 20));
    }
    if size > room {
        return Err(format!("is more than the {} MiB that such files may have together", MOST_BYTES >> 20));
    }
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
    if matches!(foreign::recognise(&head), Some(Foreign::LfsPointer)) {
        return Err("is a Git LFS pointer in place of the file".into());
    }
    // Not parsed: what writes such files writes `NaN` too, and what reads them takes it.
    let text = head.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(&head);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if path.extension().is_some_and(|end| end == "json") && !matches!(first, Some(b'{' | b'[')) {
        return Err("is no JSON".into());
    }
    file.rewind().map_err(unreadable)?;
    // It may have grown since it was looked at.
    let (digest, read) = Digest::of_reader(file.take(size)).map_err(unreadable)?;
    if read != size {
        return Err("changes while it is read".into());
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    Ok(SideFile { name: name.expect("it is a name that is known"), kind, path: path.into(), size, digest })
}

/// The names of the classes, in order: by `id2label` of `config.json`, else by `id2label.json`, else the lines of
/// `labels.txt` or `classes.txt`. None where nothing tells them all.
pub(super) fn labels(files: &[SideFile]) -> Vec<String> {
    let text = |name: &str| {
        let side = files.iter().find(|side| side.name.as_str() == name && side.size <= LARGEST_READ)?;
        let mut text = String::new();
        File::open(&side.path).ok()?.take(LARGEST_READ).read_to_string(&mut text).ok()?;
        Some(text.strip_prefix(BYTE_ORDER_MARK).map(String::from).unwrap_or(text))
    };
    let parsed = |name: &str| serde_json::from_str::<Value>(&text(name)?).ok();
    let of_config = parsed("config.json").and_then(|config| id2label(config.get("id2label")?));
    of_config
        .or_else(|| id2label(&parsed("id2label.json")?))
        .or_else(|| lines(&text("labels.txt")?))
        .or_else(|| lines(&text("classes.txt")?))
        .unwrap_or_default()
}

/// `id2label`: an object from each number to its label, without gaps.
fn id2label(value: &Value) -> Option<Vec<String>> {
    let object = value.as_object().filter(|object| object.len() <= MOST_LABELS)?;
    let mut labels = BTreeMap::new();
    for (id, label) in object {
        labels.insert(id.parse::<usize>().ok()?, label.as_str()?.to_string());
    }
    let whole = !labels.is_empty() && labels.keys().copied().eq(0..labels.len());
    plain(whole.then(|| labels.into_values().collect())?)
}

/// A label a line.
fn lines(text: &str) -> Option<Vec<String>> {
    let labels: Vec<String> = text.trim_end().lines().map(|line| line.trim().to_string()).collect();
    plain(labels).filter(|labels| !labels.is_empty())
}

fn plain(labels: Vec<String>) -> Option<Vec<String>> {
    let good = |label: &String| !label.is_empty() && label.len() <= LONGEST_LABEL && !label.contains(char::is_control);
    (labels.len() <= MOST_LABELS && labels.iter().all(good)).then_some(labels)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_come_in_the_order_of_their_numbers_or_not_at_all() {
        let ten: Vec<String> = (0..11).map(|id| format!("\"{id}\":\"l{id}\"")).collect();
        let read = |text: &str| id2label(&serde_json::from_str(text).unwrap());
        let labels = read(&format!("{{{}}}", ten.join(","))).unwrap();
        assert_eq!((labels[2].as_str(), labels[10].as_str()), ("l2", "l10"));
        for bad in [r#"{"0":"a","2":"b"}"#, r#"{"x":"a"}"#, r#"{"0":1}"#, "{}", "[]", "1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(lines("cat\n dog \n\n"), Some(vec!["cat".into(), "dog".into()]));
        assert_eq!(lines("cat\n\ndog"), None);
    }

    #[test]
    fn the_rule_is_by_names_and_places_alone() {
        let paths =
            ["README.md", "config.json", "onnx/config.json", "onnx/vocab.txt", "other/labels.txt", "tokenizer.json"];
        let paths = paths.map(|path| path.parse::<RelativePath>().unwrap());
        let of = |model: &str| {
            let found = side_files(&paths, &model.parse().unwrap());
            found.into_iter().map(|(path, kind)| (path.as_str(), kind)).collect::<Vec<_>>()
        };
        let (configuration, tokenizer) = (SideKind::Configuration, SideKind::Tokenizer);
        let vocabulary = ("onnx/vocab.txt", SideKind::Vocabulary);
        assert_eq!(
            of("onnx/model.onnx"),
            [("onnx/config.json", configuration), ("tokenizer.json", tokenizer), vocabulary]
        );
        assert_eq!(of("model.onnx"), [("config.json", configuration), ("tokenizer.json", tokenizer)]);
        assert!(KNOWN.iter().all(|(name, _)| name.parse::<RelativePath>().is_ok()));
    }

    #[test]
    fn files_beside_the_model_come_before_those_of_the_folder_and_odd_ones_are_left_out() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("onnx")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
        write("config.json", r#"{"id2label":{"0":"far"}}"#);
        write("onnx/config.json", r#"{"id2label":{"0":"near"}}"#);
        write("tokenizer.json", " {}");
        write("vocab.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:00");
        write("vocab.json", "<html>");
        write("notes.txt", "");
        write("onnx/model.onnx", "");
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("labels.txt")).unwrap();
        std::fs::create_dir(home.path().join("merges.txt")).unwrap();
        File::create(home.path().join("onnx/tokenizer.model")).unwrap().set_len(LARGEST + 1).unwrap();
        let Found { files, left_out } = find(home.path(), &home.path().join("onnx/model.onnx")).unwrap();
        let names: Vec<&str> = files.iter().map(|side| side.name.as_str()).collect();
        assert_eq!(names, ["config.json", "tokenizer.json"]);
        assert_eq!((files[1].size, files[1].digest), (3, Digest::of(" {}")));
        assert_eq!(labels(&files), ["near"]);
        let wanted = [
            "labels.txt` leads out of the model's folder: it is left out",
            "merges.txt` is a folder, not a regular file: it is left out",
            "tokenizer.model` has 64 MiB, more than 64 MiB: it is left out",
            "vocab.json` is no JSON: it is left out",
            "vocab.txt` is a Git LFS pointer in place of the file: it is left out",
        ];
        assert_eq!(left_out.len(), wanted.len(), "{left_out:?}");
        assert!(left_out.values().zip(wanted).all(|(why, end)| why.ends_with(end)), "{left_out:?}");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        let home = tempfile::tempdir().unwrap();
        let (labels_file, config) = (home.path().join("labels.txt"), home.path().join("config.json"));
        std::fs::write(home.path().join("model.onnx"), "").unwrap();
        let found = || find(home.path(), &home.path().join("model.onnx")).unwrap();
        std::fs::write(labels_file, "\u{feff}cat\r\ndog\r\n").unwrap();
        assert_eq!(labels(&found().files), ["cat", "dog"]);
        std::fs::write(config, "\u{feff}{\"id2label\":{\"0\":\"one\"}}").unwrap();
        let found = found();
        assert_eq!((labels(&found.files), found.left_out), (vec!["one".to_string()], BTreeMap::new()));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic(text in "\\PC{0,60}", number in "[0-9]{0,25}") {
            _ = id2label(&serde_json::json!({ (text.as_str()): "a" }));
            _ = id2label(&serde_json::json!({ (number): "a" }));
            _ = lines(&text);
        }
    }
}
