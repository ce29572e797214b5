//! The protocol's inference messages as gRPC carries them: protobuf → values → protobuf, without a tree in between.
//!
//! Elements come as raw bytes (`raw_input_contents`, one for each input) or typed (`contents`), one way for all inputs
//! of a request; FP16 and BF16 have no typed form. Answers are raw, as Triton's are.

mod answer;
mod contents;
#[allow(missing_docs, reason = "generated: `runtime/proto` has the words")]
#[rustfmt::skip]
pub mod messages;
mod wire;

pub use answer::{Answer, In};
use wire::{Field, Fields};

use super::InferRequest;
use super::parts::{self, Asked, Parts};
use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::{ModelSignature, ValueSpec};
use crate::state::Sequence;
use crate::tensor::Value;

/// More dimensions than this are nobody's tensor.
const MOST_DIMS: usize = 64;

/// A request whose tensors haven't been read yet, borrowed from its bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Envelope<'b> {
    /// The model that is asked.
    pub model: &'b str,
    /// The version that is asked; empty for any.
    pub version: &'b str,
    /// To be said again in the answer; empty for none.
    pub id: &'b str,
    /// The parameters `priority` and `timeout` (microseconds) of the schedule extension; 0 says nothing.
    priority: u64,
    timeout: u64,
    /// The parameters `sequence_id`, `sequence_start` and `sequence_end`.
    sequence: Sequence,
    inputs: Vec<&'b [u8]>,
    outputs: Vec<&'b [u8]>,
    raw: Vec<&'b [u8]>,
}

impl<'b> Envelope<'b> {
    /// Reads the message, which is one to a model of this signature. Whatever is wrong is an [`Error::BadRequest`].
    pub fn read(message: &'b [u8], signature: &ModelSignature) -> Result<Envelope<'b>, Error> {
        let (mut envelope, mut fields) = (Envelope::default(), Fields(message));
        // One more than there can be is a fault by its name or by its number; more would only take room.
        let (inputs, outputs) = (signature.inputs.len() + 1, signature.outputs.len() + 1);
        let keep = |list: &mut Vec<&'b [u8]>, most, part| {
            if list.len() < most {
                list.push(part);
            }
        };
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => envelope.model = field.text()?,
                2 => envelope.version = field.text()?,
                3 => envelope.id = field.text()?,
                4 => envelope.parameter(field.bytes()?)?,
                5 => keep(&mut envelope.inputs, inputs, field.bytes()?),
                6 => keep(&mut envelope.outputs, outputs, field.bytes()?),
                7 => keep(&mut envelope.raw, inputs, field.bytes()?),
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn parameter(&mut self, entry: &[u8]) -> Result<(), Error> {
        let (name, value) = parameter(entry)?;
        match name {
            "timeout" => self.timeout = whole("`timeout` should be microseconds", value)?,
            "priority" => self.priority = whole("`priority` should be a level", value)?,
            "sequence_id" => match value {
                Some(Field::Bytes(text)) => self.sequence.named(Field::Bytes(text).text()?)?,
                value => {
                    let id = whole("`sequence_id` should be a string or a whole number", value)?;
                    self.sequence.named(&id.to_string())?;
                }
            },
            "sequence_start" => self.sequence.start = whole("`sequence_start` should be true or false", value)? != 0,
            "sequence_end" => self.sequence.end = whole("`sequence_end` should be true or false", value)? != 0,
            other => parts::check_parameter(other)?,
        }
        Ok(())
    }

    /// Reads the tensors: values that fit the signature, and the outputs that are asked for.
    ///
    /// Whatever is wrong is an [`Error::BadRequest`] that names the tensor, in the words of the protocol's other forms,
    /// and an [`Error::Unsupported`] where something is asked for that isn't built in.
    pub fn decode(&self, signature: &ModelSignature) -> Result<InferRequest, Error> {
        let mut found = Parts { sequence: self.sequence.clone(), ..Parts::default() };
        for (k, input) in self.inputs.iter().enumerate() {
            let head = Head::read(input)?;
            let index = found.input(head.name, signature)?;
            let value = self.value(&signature.inputs[index], k, head)?;
            found.inputs.push((index, value));
        }
        if self.raw.len() > self.inputs.len() {
            return Err(self.uneven());
        }
        for output in &self.outputs {
            let (name, classes) = requested_output(output)?;
            found.ask(name, Asked { binary: None, classes }, signature)?;
        }
        let id = (!self.id.is_empty()).then(|| self.id.to_owned());
        found.whole(id, Urgency::of_parameters(self.priority, self.timeout), true, signature)
    }

    /// The value of input number `k`.
    fn value(&self, spec: &ValueSpec, k: usize, head: Head<'b>) -> Result<Value, Error> {
        let element_type = parts::wire_type(spec, head.datatype)?;
        let data = match self.raw.get(k) {
            Some(_) if head.has_contents => {
                let text = format!("the input `{}` has `contents` beside `raw_input_contents`", spec.name);
                return Err(Error::BadRequest(format!("{text}: one of them is too many")));
            }
            Some(raw) => parts::raw(spec, element_type, raw)?,
            None if !self.raw.is_empty() => return Err(self.uneven()),
            None => contents::read(spec, element_type, &head)?,
        };
        parts::value(spec, head.shape, data)
    }

    #[cold]
    fn uneven(&self) -> Error {
        let (inputs, raw) = (self.inputs.len(), self.raw.len());
        Error::BadRequest(format!("the request has {inputs} `inputs` and {raw} `raw_input_contents`"))
    }
}

/// An input but for its elements.
struct Head<'b> {
    name: &'b str,
    datatype: &'b str,
    shape: Vec<usize>,
    has_contents: bool,
    /// The whole of it, to read the elements from.
    message: &'b [u8],
}

impl<'b> Head<'b> {
    fn read(message: &'b [u8]) -> Result<Head<'b>, Error> {
        let mut head = Head { name: "", datatype: "", shape: Vec::new(), has_contents: false, message };
        let mut fields = Fields(message);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (1, field) => head.name = field.text()?,
                (2, field) => head.datatype = field.text()?,
                (3, Field::Varint(size)) => head.size(size)?,
                (3, field) => {
                    let mut sizes = Fields(field.bytes()?);
                    while !sizes.0.is_empty() {
                        head.size(sizes.varint()?)?;
                    }
                }
                (4, field) => parts::check_parameter(parameter(field.bytes()?)?.0)?,
                // An empty message is how some clients write that there is none.
                (5, field) => head.has_contents |= !field.bytes()?.is_empty(),
                _ => {}
            }
        }
        Ok(head)
    }

    fn size(&mut self, size: u64) -> Result<(), Error> {
        let wrong =
            |what: String| Error::BadRequest(format!("the input `{}` has {what}", super::super::shown(self.name)));
        if self.shape.len() == MOST_DIMS {
            return Err(wrong(format!("more than {MOST_DIMS} dimensions")));
        }
        // Sizes are signed in the protocol.
        let known = i64::try_from(size).ok().and_then(|size| usize::try_from(size).ok());
        self.shape.push(known.ok_or_else(|| wrong(format!("a size of {} in its shape", size.cast_signed())))?);
        Ok(())
    }
}

/// The name of an output that is asked for, and how many of its classes.
fn requested_output(message: &[u8]) -> Result<(&str, usize), Error> {
    let (mut name, mut classes, mut fields) = ("", 0, Fields(message));
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text()?,
            2 => match parameter(field.bytes()?)? {
                ("classification", value) => {
                    let wanted = whole("`classification` should be a number of classes", value)?;
                    classes = usize::try_from(wanted).unwrap_or(usize::MAX);
                }
                (other, _) => parts::check_parameter(other)?,
            },
            _ => {}
        }
    }
    Ok((name, classes))
}

/// The number that a parameter is.
fn whole(what: &str, value: Option<Field<'_>>) -> Result<u64, Error> {
    match value {
        Some(Field::Varint(number)) if number.cast_signed() >= 0 => Ok(number),
        _ => Err(Error::BadRequest(format!("the request can't be read: {what}, a whole number from 0"))),
    }
}

/// The name of a parameter and what it says, whatever its type.
fn parameter(entry: &[u8]) -> Result<(&str, Option<Field<'_>>), Error> {
    let (mut name, mut value, mut fields) = ("", None, Fields(entry));
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => name = field.text()?,
            2 => {
                let mut choice = Fields(field.bytes()?);
                while let Some((number, field)) = choice.next()? {
                    // The choices of `InferParameter`; later ones may mean anything.
                    if (1..=5).contains(&number) {
                        value = Some(field);
                    }
                }
            }
            _ => {}
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests;
