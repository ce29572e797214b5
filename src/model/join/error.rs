//! Why models can't be joined into one.

use std::io;

use crate::model::fault::Fault;
use crate::model::opset::STANDARD;

/// Why models can't be joined into one. Steps are called what the request calls them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A step's bytes are no model.
    #[error("its step `{step}`: {fault}")]
    Model {
        /// The step.
        step: String,
        /// What is wrong in it.
        fault: Fault,
    },
    /// A step that can't be part of a graph.
    #[error("its step `{step}` {why}")]
    Step {
        /// The step.
        step: String,
        /// Why, as the rest of a sentence.
        why: &'static str,
    },
    /// There are none, or too many.
    #[error("it has {count} steps: there should be 1 to {most}")]
    Count {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Two steps use different versions of the same operators.
    #[error(
        "its steps `{first}` and `{second}` use the versions {first_version} and {second_version} of the operators \
         `{domain}`, and one graph has one: {}",
        same_version(domain)
    )]
    Opset {
        /// The operators.
        domain: String,
        /// A step.
        first: String,
        /// What it uses.
        first_version: i64,
        /// Another.
        second: String,
        /// What that uses.
        second_version: i64,
    },
    /// A map names an input or output that the step's model doesn't have.
    #[error("its step `{step}` has no {what} `{name}`: it has {known}")]
    Unknown {
        /// The step.
        step: String,
        /// `input` or `output`.
        what: &'static str,
        /// What was named.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// An input of a step that nothing is given to.
    #[error("its step `{step}` gets nothing for its input `{name}`")]
    Unfed {
        /// The step.
        step: String,
        /// The input.
        name: String,
    },
    /// Two write the same tensor.
    #[error("the tensor `{tensor}` is written by {first} and by {second}")]
    Twice {
        /// The tensor.
        tensor: String,
        /// Who writes it.
        first: String,
        /// Who writes it too.
        second: String,
    },
    /// A tensor that is read and that nothing writes.
    #[error("the tensor `{tensor}`, which {reader} takes, is neither an input nor written by a step")]
    Unwritten {
        /// The tensor.
        tensor: String,
        /// Who reads it.
        reader: String,
    },
    /// Two inputs, or two outputs, of the whole have one name.
    #[error("two of its {what} are named `{name}`")]
    Duplicate {
        /// `inputs` or `outputs`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An output that is an input, of a type that no operator passes on.
    #[error(
        "its step `{step}` gives its input as the output `{name}`, which is {value_type}, and no operator of the version \
         {version} passes that on: take the output out of the step, and give the tensor to whoever takes it"
    )]
    Passed {
        /// The step.
        step: String,
        /// The output.
        name: String,
        /// Its type.
        value_type: String,
        /// The version of the standard operators.
        version: i64,
    },
    /// An input of the whole that nothing reads.
    #[error("no step takes its input `{0}`")]
    Unread(String),
    /// Steps that wait for each other.
    #[error("its steps {0} wait for each other's tensors")]
    Cycle(String),
    /// A tensor that one gives and the other can't take.
    #[error("the tensor `{tensor}` is {written} as {writer} has it, and {read} as {reader} does")]
    Type {
        /// The tensor.
        tensor: String,
        /// Who writes it.
        writer: String,
        /// Its type there.
        written: String,
        /// Who reads it.
        reader: String,
        /// Its type there.
        read: String,
    },
    /// The joined model is too large for one file.
    #[error(
        "joined it would have {size} bytes, more than the {limit} that an ONNX file can have: keep the steps' weights as \
         external data, by `onnx.save_model(model, path, save_as_external_data=True)`"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// It can't be written.
    #[error("the joined model can't be written")]
    Write(#[from] io::Error),
}

/// How two models come to use one version of these operators.
fn same_version(domain: &str) -> &'static str {
    match domain {
        STANDARD => {
            "bring both to the same with `onnx.version_converter.convert_version(model, VERSION)`, or export one again"
        }
        _ => "export one again, for the other's version",
    }
}
