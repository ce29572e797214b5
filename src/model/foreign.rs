//! Files of other formats, known by their first bytes or their name, and the way from each to ONNX.

use std::fmt;
use std::path::Path;

/// A format that is not ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is the format of its own name; the text says more")]
pub enum Foreign {
    Encrypted,
    TensorRt,
    Gzip,
    Xz,
    Zstandard,
    Bzip2,
    Lz4,
    SevenZip,
    Tar,
    Zip,
    NumpyArchive,
    PyTorch,
    Keras,
    Pickle,
    Safetensors,
    Gguf,
    Hdf5,
    TfLite,
    TensorFlow,
    CoreMl,
    OpenVino,
    Paddle,
    LightGbm,
    Json,
    OnnxText,
    LfsPointer,
    WebPage,
}

use Foreign as F;

/// Bytes of the head of a file that [`recognise`] looks at.
pub(super) const HEAD: usize = 4096;

/// The formats with a mark of their own: where it stands, and what it is.
const MARKS: [(usize, &[u8], Foreign); 26] = [
    // It follows a FlatBuffers offset, whose upper half is 0: an ONNX producer's name can't stand there.
    (2, b"\0\0TFL3", F::TfLite),
    (0, b"\x1f\x8b\x08", F::Gzip),
    (0, b"\xfd7zXZ\0", F::Xz),
    (0, b"\x28\xb5\x2f\xfd", F::Zstandard),
    (0, b"BZh", F::Bzip2),
    (0, b"\x04\x22\x4d\x18", F::Lz4),
    (0, b"7z\xbc\xaf\x27\x1c", F::SevenZip),
    (257, b"ustar", F::Tar),
    (0, b"GGUF", F::Gguf),
    (0, b"\x89HDF\r\n\x1a\n", F::Hdf5),
    (0, b"version https://git-lfs.github.com/spec", F::LfsPointer),
    (0, b"<!DOCTYPE", F::WebPage),
    (0, b"<!doctype", F::WebPage),
    (0, b"<html", F::WebPage),
    (0, b"<?xml", F::OpenVino),
    (0, b"<net", F::OpenVino),
    (0, b"tree\nversion=", F::LightGbm),
    (0, b"age-encryption.org/", F::Encrypted),
    (0, b"-----BEGIN AGE ENCRYPTED FILE-----", F::Encrypted),
    (0, b"-----BEGIN PGP MESSAGE-----", F::Encrypted),
    (0, b"Salted__", F::Encrypted),
    (0, b"$ANSIBLE_VAULT;", F::Encrypted),
    // What GnuPG writes first for a key on a curve, and for a password. ONNX knows no field of these wire types.
    (0, b"\x84\x5e\x03", F::Encrypted),
    (0, b"\x8c\x0d\x04", F::Encrypted),
    (0, b"ir_version:", F::OnnxText),
    (0, b"<ir_version", F::OnnxText),
];

/// The format that the first bytes give away, `None` for what may be ONNX.
pub(super) fn recognise(head: &[u8]) -> Option<Foreign> {
    let at = |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    if let Some((_, _, format)) = MARKS.iter().find(|(offset, mark, _)| at(*offset, mark)) {
        return Some(*format);
    }
    if at(0, b"PK\x03\x04") {
        return Some(zip(head));
    }
    // And for an RSA key: a packet of two bytes' length, of version 3.
    if at(0, b"\x85") && at(3, b"\x03") {
        return Some(F::Encrypted);
    }
    // Pickle's protocol 2 and later: `PROTO`, its number, and an opcode that can follow. In ONNX 0x80 can't come first.
    if head.first() == Some(&0x80) && matches!(head.get(1), Some(2..=5)) {
        return Some(F::Pickle);
    }
    // A length of the header and then its JSON.
    if at(8, b"{\"") && head.first_chunk().is_some_and(|length| u64::from_le_bytes(*length) < 1 << 32) {
        return Some(F::Safetensors);
    }
    let text = head.trim_ascii_start();
    (text.starts_with(b"{\"") || text.starts_with(b"{\n") || text.starts_with(b"[{")).then_some(F::Json)
}

/// A zip archive by the names in it: several formats are one.
fn zip(head: &[u8]) -> Foreign {
    // The lowest bit of the first entry's flags.
    if head.get(6).is_some_and(|flags| flags & 1 == 1) {
        return F::Encrypted;
    }
    let holds = |name: &[u8]| head.windows(name.len()).any(|part| part == name);
    if holds(b"data.pkl") || holds(b"constants.pkl") {
        F::PyTorch
    } else if holds(b"model.weights.h5") || holds(b"metadata.json") && holds(b"config.json") {
        F::Keras
    } else if holds(b".npy") {
        F::NumpyArchive
    } else {
        F::Zip
    }
}

/// The format that a file's name stands for: asked when its bytes turned out not to be ONNX.
pub(super) fn by_name(path: &Path) -> Option<Foreign> {
    Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "engine" | "plan" | "trt" => F::TensorRt,
        "pt" | "pth" | "ckpt" => F::PyTorch,
        "pkl" | "pickle" | "joblib" => F::Pickle,
        "safetensors" => F::Safetensors,
        "gguf" | "ggml" => F::Gguf,
        "h5" | "hdf5" => F::Hdf5,
        "keras" => F::Keras,
        "tflite" => F::TfLite,
        "pb" => F::TensorFlow,
        "mlmodel" | "mlpackage" => F::CoreMl,
        "xml" => F::OpenVino,
        "pdmodel" | "pdiparams" => F::Paddle,
        "onnxtxt" | "textproto" | "pbtxt" => F::OnnxText,
        _ => return None,
    })
}

impl Foreign {
    fn row(self) -> (&'static str, &'static str) {
        const UNPACK: &str = "unpack it, and give the `.onnx` file that is inside";
        match self {
            F::Encrypted => (
                "an encrypted file",
                "decrypt it, and give the `.onnx` file; who may pull the image can then read the model, so that the \
                 registry has to keep it",
            ),
            F::TensorRt => (
                "called a TensorRT engine and doesn't begin like one",
                "the file is damaged or of another kind: build the engine again with `trtexec --saveEngine`, or give the \
                 `.onnx` file that it was built from",
            ),
            F::Gzip => ("a file compressed by gzip", UNPACK),
            F::Xz => ("a file compressed by xz", UNPACK),
            F::Zstandard => ("a file compressed by zstd", UNPACK),
            F::Bzip2 => ("a file compressed by bzip2", UNPACK),
            F::Lz4 => ("a file compressed by lz4", UNPACK),
            F::SevenZip => ("a 7z archive", UNPACK),
            F::Tar => ("a tar archive", UNPACK),
            F::Zip => ("a zip archive", UNPACK),
            F::NumpyArchive => {
                ("an archive of NumPy arrays", "arrays hold no graph: export the model that uses them to ONNX")
            }
            F::PyTorch => (
                "a PyTorch file",
                "load it in Python and export it: `torch.onnx.export(model, inputs, \"model.onnx\", dynamo=True)`",
            ),
            F::Keras => {
                ("a Keras model", "load it in Python and export it: `model.export(\"model.onnx\", format=\"onnx\")`")
            }
            F::Pickle => (
                "a Python pickle",
                "load it in Python, if you trust it (a pickle runs code), and export it: `skl2onnx.to_onnx(model, X)` \
                 for scikit-learn, `torch.onnx.export` for PyTorch",
            ),
            F::Safetensors => (
                "a safetensors file, which holds weights without a graph",
                "export the model that they belong to: `optimum-cli export onnx --model FOLDER OUTPUT`",
            ),
            F::Gguf => (
                "a GGUF file for llama.cpp",
                "export the original model instead: `optimum-cli export onnx --model FOLDER OUTPUT`",
            ),
            F::Hdf5 => (
                "an HDF5 file, of Keras perhaps",
                "load it with `keras.models.load_model` and export it: `model.export(\"model.onnx\", format=\"onnx\")`",
            ),
            F::TfLite => {
                ("a TensorFlow Lite model", "convert it: `python -m tf2onnx.convert --tflite FILE --output model.onnx`")
            }
            F::TensorFlow => (
                "a TensorFlow graph",
                "convert it: `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`",
            ),
            F::CoreMl => ("a Core ML model", "export the original model to ONNX instead"),
            F::OpenVino => ("an XML file, of OpenVINO perhaps", "give the `.onnx` file that it was converted from"),
            F::Paddle => (
                "a PaddlePaddle model",
                "convert it: `paddle2onnx --model_dir FOLDER --model_filename FILE.pdmodel --params_filename \
                 FILE.pdiparams --save_file model.onnx`",
            ),
            F::LightGbm => {
                ("a LightGBM model", "convert it in Python: `onnxmltools.convert_lightgbm(model, initial_types=…)`")
            }
            F::Json => (
                "a JSON file",
                "give the `.onnx` file; a tree model in JSON (XGBoost, CatBoost) is converted with `onnxmltools` in Python",
            ),
            F::OnnxText => (
                "a model in ONNX's text form",
                "write it as protobuf: `onnx.save(onnx.load(path, format=\"textproto\"), \"model.onnx\")`",
            ),
            F::LfsPointer => (
                "a Git LFS pointer in place of the file",
                "fetch the file itself: `git lfs pull` in the repository that it is from",
            ),
            F::WebPage => (
                "a web page",
                "the download gave a page (for a log-in, perhaps) in place of the file: fetch it again by its direct link",
            ),
        }
    }

    /// The way from this format to one that can be served.
    pub fn hint(self) -> String {
        self.row().1.into()
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}
