//! Files that stand with a model and say what its numbers mean: configuration, tokenizer, labels.
//!
//! They are found by their names where a folder was given, carried along as they are, and only the labels are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::file;
use crate::digest::Digest;
use crate::files::RelativePath;

/// The names that are known, as exporters and hubs write them.
const NAMES: [&str; 20] = [
    "added_tokens.json",
    "config.json",
    "feature_extractor_config.json",
    "generation_config.json",
    "image_processor_config.json",
    "label_encoder.json",
    "labels.txt",
    "merges.txt",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "chat_template.jinja",
];
/// Largest file that is carried along, bytes.
const LARGEST: u64 = 256 << 20;
/// Largest file that labels are read from, bytes.
const LARGEST_READ: u64 = 4 << 20;
/// Most labels, and the longest of them in bytes.
const MOST_LABELS: usize = 100_000;
const LONGEST_LABEL: usize = 1_000;

/// A file that belongs to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SideFile {
    /// Its name, which it keeps in the image.
    pub name: RelativePath,
    /// Where it is. Never written out: it is the host's.
    #[serde(skip)]
    pub path: PathBuf,
    /// Its bytes.
    pub size: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Whether a file of this name belongs to a model that it stands with.
pub fn is_side_file(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The files that belong to the model at `model`, which was found in `folder`: beside it, or in `folder` itself, which is
/// where hubs have them. Sorted by name; and the paths that lead out of these folders, which are passed over.
pub(super) fn find(folder: &Path, model: &Path) -> std::io::Result<(Vec<SideFile>, Vec<PathBuf>)> {
    let beside = file::folder(model);
    // A hub's cache is links into one folder of blobs, the model among them.
    let own = [folder.canonicalize()?, beside.canonicalize()?, file::folder(&model.canonicalize()?).to_path_buf()];
    let (mut found, mut outside) = (Vec::new(), Vec::new());
    for name in NAMES {
        // The one beside the model is the nearer.
        for path in [beside, folder].map(|place| place.join(name)) {
            let Ok(open) = file::open(&path) else { continue };
            let Ok(resolved) = path.canonicalize() else { continue };
            if !own.iter().any(|own| resolved.starts_with(own)) {
                outside.push(path);
            } else if open.size <= LARGEST {
                let (digest, size) = Digest::of_reader(&open.file)?;
                found.push(SideFile { name: name.parse().expect("a plain name"), path, size, digest });
                break;
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((found, outside))
}

/// The names of the classes, in order: by `id2label` of `config.json`, else the lines of `labels.txt`. None where neither
/// tells them all.
pub(super) fn labels(files: &[SideFile]) -> Vec<String> {
    let text = |name: &str| {
        let side = files.iter().find(|side| side.name.as_str() == name && side.size <= LARGEST_READ)?;
        let mut text = String::new();
        File::open(&side.path).ok()?.take(LARGEST_READ).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let of_config = text("config.json").and_then(|text| id2label(&text));
    let lines = || text("labels.txt").and_then(|text| lines(&text));
    of_config.or_else(lines).unwrap_or_default()
}

/// `id2label`: an object from each number to its label, without gaps.
fn id2label(text: &str) -> Option<Vec<String>> {
    let config: Value = serde_json::from_str(text).ok()?;
    let object = config.get("id2label")?.as_object().filter(|object| object.len() <= MOST_LABELS)?;
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
        let labels = id2label(&format!("{{\"id2label\":{{{}}}}}", ten.join(","))).unwrap();
        assert_eq!((labels[2].as_str(), labels[10].as_str()), ("l2", "l10"));
        for bad in [r#"{"id2label":{"0":"a","2":"b"}}"#, r#"{"id2label":{"x":"a"}}"#, r#"{"id2label":{}}"#, "{}", "["] {
            assert_eq!(id2label(bad), None, "{bad}");
        }
        assert_eq!(lines("cat\n dog \n\n"), Some(vec!["cat".into(), "dog".into()]));
        assert_eq!(lines("cat\n\ndog"), None);
    }

    #[test]
    fn files_beside_the_model_come_before_those_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("onnx")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).unwrap();
        write("config.json", r#"{"id2label":{"0":"far"}}"#);
        write("onnx/config.json", r#"{"id2label":{"0":"near"}}"#);
        write("tokenizer.json", "{}");
        write("notes.txt", "");
        write("onnx/model.onnx", "");
        std::os::unix::fs::symlink("/etc/passwd", home.path().join("labels.txt")).unwrap();
        let (found, outside) = find(home.path(), &home.path().join("onnx/model.onnx")).unwrap();
        assert_eq!(outside, [home.path().join("labels.txt")]);
        let names: Vec<&str> = found.iter().map(|side| side.name.as_str()).collect();
        assert_eq!(names, ["config.json", "tokenizer.json"]);
        assert_eq!(labels(&found), ["near"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic(text in "\\PC{0,60}", number in "[0-9]{0,25}") {
            _ = id2label(&text);
            _ = id2label(&format!("{{\"id2label\":{{\"{number}\":\"a\"}}}}"));
            _ = lines(&text);
        }
    }
}
