//! What somebody without a key can change in a layout whose format they know, with every digest put right again.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Replaces the blob whose SHA-256 is `hex`, and everything that names it.
pub(crate) fn forge(layout: &Path, hex: &str, change: &dyn Fn(&str) -> String) {
    let blob = |hex: &str| layout.join("blobs/sha256").join(hex);
    let old = String::from_utf8_lossy(&fs::read(blob(hex)).unwrap()).into_owned();
    let new = change(&old);
    assert_ne!(new, old);
    fs::remove_file(blob(hex)).unwrap();
    let to: String = Sha256::digest(&new).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(blob(&to), &new).unwrap();
    let size = |size: usize| format!(r#"","size":{size}"#);
    let rename = |text: &str| {
        let sized = text.replace(&(hex.to_string() + &size(old.len())), &(to.clone() + &size(new.len())));
        sized.replace(hex, &to)
    };
    loop {
        let files = walkdir::WalkDir::new(layout).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let naming = files.map(|entry| entry.into_path()).find_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            text.contains(hex).then_some((path, text))
        });
        match naming {
            None => return,
            Some((path, text)) if path.ends_with("index.json") => fs::write(path, rename(&text)).unwrap(),
            Some((path, _)) => forge(layout, path.file_name().unwrap().to_str().unwrap(), &rename),
        }
    }
}

/// Another signature in the place of the one in `text` that begins after `mark`.
pub(crate) fn resign(text: &str, mark: &str) -> String {
    let begin = text.find(mark).unwrap() + mark.len();
    let old = &text[begin..begin + text[begin..].find('"').unwrap()];
    let mut bytes = STANDARD.decode(old).unwrap();
    bytes[17] ^= 1;
    text.replace(old, &STANDARD.encode(bytes))
}

/// Swaps the payload of an envelope for one in which `from` is `to`, the signature staying what it is.
pub(crate) fn restate(text: &str, from: &str, to: &str) -> String {
    let begin = text.find("\"payload\":\"").unwrap() + 11;
    let old = &text[begin..begin + text[begin..].find('"').unwrap()];
    let statement = String::from_utf8(STANDARD.decode(old).unwrap()).unwrap();
    assert!(statement.contains(from), "{statement}");
    text.replace(old, &STANDARD.encode(statement.replace(from, to)))
}
