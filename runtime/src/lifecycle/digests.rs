//! By choice: the model's files held against the digests that were noted when the image was built, before any is loaded.
//!
//! What it is for: models that come from elsewhere than the image, such as a volume. An image's own layers are checked by
//! whoever pulls it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use crate::settings::ModelFile;

/// How much is read at once, bytes: no file is held in memory.
const BLOCK: usize = 64 << 10;

/// Why a model is not the one that the service was built with.
#[derive(Debug, thiserror::Error)]
pub enum NotTheModel {
    /// Nothing says what the files should be.
    #[error("`engine.verifyModel` is set, but `model.files` names no digests to hold the model against")]
    NoDigests,
    /// A file can't be read.
    #[error("can't check the model file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is another one.
    #[error("the model file `{}` is not the one that this service was built with: its SHA-256 is {found}, but should be {wanted}", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Its digest, in hex.
        found: String,
        /// What it should be.
        wanted: String,
    },
}

/// Reads each file of the model once, the smallest cost there is, and gives the bytes that were read.
pub(super) fn check(model: &ModelFile) -> Result<u64, NotTheModel> {
    if model.files.is_empty() {
        return Err(NotTheModel::NoDigests);
    }
    let folder = model.path.parent().unwrap_or(Path::new(""));
    let files = model.files.iter().map(|(name, wanted)| (folder.join(name), wanted));
    let sides = model.side_files.iter().map(|side| (side.path.clone(), &side.sha256));
    let mut bytes = 0;
    for (path, wanted) in files.chain(sides) {
        let (found, size) = match sha256(&path) {
            Ok(found) => found,
            Err(source) => return Err(NotTheModel::Unreadable { path, source }),
        };
        if found != *wanted {
            return Err(NotTheModel::Differs { path, found, wanted: wanted.clone() });
        }
        bytes += size;
    }
    Ok(bytes)
}

/// The digest of a file in hex, and its size.
fn sha256(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let (mut context, mut size) = (Context::new(&SHA256), 0);
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => {
                context.update(&block[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in context.finish().as_ref() {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((hex, size))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    // SHA-256 of nothing and of `abc`: FIPS 180-4's examples.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn model(folder: &Path, files: &[(&str, &str)]) -> ModelFile {
        ModelFile {
            path: folder.join("m.onnx"),
            sha256: ABC.into(),
            source: "m.onnx".into(),
            derived: None,
            files: files.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect(),
            tensorrt: None,
            side_files: Vec::new(),
            labels: Default::default(),
        }
    }

    #[test]
    fn a_file_that_differs_is_named_with_both_digests() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("m.onnx"), "abc").unwrap();
        fs::write(folder.path().join("weights.bin"), "").unwrap();
        let files = [("m.onnx", ABC), ("weights.bin", EMPTY)];
        assert_eq!(check(&model(folder.path(), &files)).unwrap(), 3);
        fs::write(folder.path().join("weights.bin"), "abc").unwrap();
        let error = check(&model(folder.path(), &files)).unwrap_err().to_string();
        assert!(
            error.contains("weights.bin` is not the one") && error.contains(EMPTY) && error.contains(ABC),
            "{error}"
        );
        fs::remove_file(folder.path().join("weights.bin")).unwrap();
        let error = check(&model(folder.path(), &files)).unwrap_err().to_string();
        assert!(error.starts_with("can't check the model file `") && error.contains("weights.bin"), "{error}");
        assert!(matches!(check(&model(folder.path(), &[])), Err(NotTheModel::NoDigests)));
    }

    #[test]
    fn side_files_count_too() {
        use crate::settings::{SideFile, SideKind};

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("m.onnx"), "abc").unwrap();
        fs::write(folder.path().join("vocab.txt"), "xyz").unwrap();
        let path = folder.path().join("vocab.txt");
        let side = SideFile { name: "vocab.txt".into(), kind: SideKind::Vocabulary, path, size: 3, sha256: ABC.into() };
        let model = ModelFile { side_files: vec![side], ..model(folder.path(), &[("m.onnx", ABC)]) };
        assert!(check(&model).unwrap_err().to_string().contains("vocab.txt` is not the one"));
    }

    #[test]
    fn files_of_several_blocks_are_read_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = vec![7; 3 * BLOCK + 5];
        fs::write(folder.path().join("m.onnx"), &bytes).unwrap();
        let (whole, size) = sha256(&folder.path().join("m.onnx")).unwrap();
        assert_eq!(size, bytes.len() as u64);
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.path().join("m.onnx"), &bytes).unwrap();
        assert_ne!(sha256(&folder.path().join("m.onnx")).unwrap().0, whole, "the last byte counts");
    }
}
