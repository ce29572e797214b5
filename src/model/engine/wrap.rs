//! An engine → an ONNX model of one node, which has ONNX Runtime's TensorRT provider run the engine beside it.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use nimify_runtime::signature::{Dim, ValueSpec};

use super::{ComputeCapability, Engine};
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::interrupt::Stoppable;
use crate::model::derived::{Derived, DerivedFile};
use crate::model::message::{Message, build};
use crate::model::{Error, ModelDescription};

/// The form of the file, and the operators' version: the oldest that have all that is needed, so that any ONNX Runtime
/// reads them.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;

/// Makes the model that runs the engine. `None` for a model that is none.
///
/// # Errors
/// The file can't be read or written, or nobody says what the engine takes and gives.
pub fn wrap(description: &ModelDescription) -> Result<Option<Derived>, Error> {
    let Some(engine) = &description.engine else { return Ok(None) };
    description.told()?;
    let source = &description.path;
    let failed = |error| Error::reading(source, error);
    let folder = tempfile::Builder::new().prefix("nimify-engine-").tempdir().map_err(failed)?;
    let plan = served_name(&description.file_name);
    let graph = format!("{plan}.onnx");
    let plan_digest = place(source, engine.offset, &folder.path().join(&plan)).map_err(failed)?;
    let signature = &description.contents.signature;
    let bytes = model(engine, &plan, &signature.inputs, &signature.outputs);
    fs::write(folder.path().join(&graph), bytes.bytes()).map_err(failed)?;
    let file = |name: &str, digest| DerivedFile { name: relative(name), path: folder.path().join(name), digest };
    let files = vec![file(&plan, plan_digest.unwrap_or(description.digest)), file(&graph, Digest::of(bytes.bytes()))];
    let how = match engine.offset {
        0 => "an ONNX model of one node that runs the engine",
        _ => "an ONNX model of one node that runs the engine, without the description before the engine",
    };
    Ok(Some(Derived::new(relative(&graph), files, how.into(), folder)))
}

/// The engine's name in the image. ONNX Runtime takes two dots in a row for a way out of the folder.
fn served_name(file_name: &str) -> String {
    let mut name = file_name.to_string();
    while name.contains("..") {
        name = name.replace("..", ".");
    }
    name
}

fn relative(name: &str) -> RelativePath {
    name.parse().expect("a file's name is one part of a path")
}

/// Puts the engine at `to`: as a link where the file is one from its first byte on, and copied from `offset` on
/// otherwise, then with the digest of what was copied.
fn place(source: &Path, offset: u64, to: &Path) -> io::Result<Option<Digest>> {
    if offset == 0 {
        std::os::unix::fs::symlink(source.canonicalize()?, to)?;
        return Ok(None);
    }
    let mut file = File::open(source)?;
    file.seek(SeekFrom::Start(offset))?;
    io::copy(&mut Stoppable(file), &mut File::create(to)?)?;
    Digest::of_file(to).map(|(digest, _)| Some(digest))
}

/// `ModelProto`.
fn model(engine: &Engine, plan: &str, inputs: &[ValueSpec], outputs: &[ValueSpec]) -> Message {
    let graph = build(|m| {
        m.message(1, &node(engine, plan, inputs, outputs)).data(2, "engine");
        for (field, specs) in [(11, inputs), (12, outputs)] {
            for spec in specs {
                m.message(field, &value(spec));
            }
        }
    });
    build(|m| {
        m.int(1, IR_VERSION).data(2, "nimify").message(7, &graph);
        for (domain, version) in [("", OPSET), ("com.microsoft", 1)] {
            let mut opset = Message::default();
            opset.data(1, domain).int(2, version);
            m.message(8, &opset);
        }
    })
}

/// `NodeProto`: the engine's bindings are found by the names of the node's inputs and outputs.
fn node(engine: &Engine, plan: &str, inputs: &[ValueSpec], outputs: &[ValueSpec]) -> Message {
    let text = |name: &str, value: &str| {
        build(|m| {
            m.data(1, name).data(4, value).int(20, 3);
        })
    };
    let int = |name: &str, value: i64| {
        build(|m| {
            m.data(1, name).int(3, value).int(20, 2);
        })
    };
    let gpu = engine.compute_capability.map(ComputeCapability::joined).unwrap_or_default();
    let mut attributes = vec![
        int("main_context", 1),
        int("embed_mode", 0),
        text("ep_cache_context", plan),
        text("onnx_model_filename", ""),
        text("source", "TensorrtExecutionProvider"),
        text("hardware_architecture", &gpu),
    ];
    attributes.extend(engine.tensorrt.map(|version| text("ep_sdk_version", &version.to_string())));
    build(|m| {
        for (field, specs) in [(1, inputs), (2, outputs)] {
            for spec in specs {
                m.data(field, &spec.name);
            }
        }
        m.data(3, "engine").data(4, "EPContext");
        for attribute in &attributes {
            m.message(5, attribute);
        }
        m.data(7, "com.microsoft");
    })
}

/// `ValueInfoProto` of a tensor.
fn value(spec: &ValueSpec) -> Message {
    let (element_type, shape) =
        spec.tensor().expect("an engine's values are tensors: that is checked as they are read");
    let mut sizes = Message::default();
    for dim in shape.dims().into_iter().flatten() {
        let mut size = Message::default();
        match dim {
            Dim::Fixed(number) => {
                size.int(1, i64::try_from(*number).unwrap_or(i64::MAX));
            }
            Dim::Symbolic(name) => {
                size.data(2, name);
            }
            Dim::Unknown => {}
        }
        sizes.message(1, &size);
    }
    let (mut tensor, mut kind, mut value) = (Message::default(), Message::default(), Message::default());
    tensor.int(1, element_type.onnx().into());
    if shape.dims().is_some() {
        tensor.message(2, &sizes);
    }
    kind.message(1, &tensor);
    value.data(1, &spec.name).message(2, &kind);
    value
}
