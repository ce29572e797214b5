//! The parts of a request against the signature, whatever they were written in.

use super::super::json::Reader;
use super::super::{binary, check, did_you_mean, read, shown};
use super::classify::can_rank;
use super::{InferRequest, RequestedOutput};
use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::{ElementType, ModelSignature, ValueSpec, ValueType};
use crate::state::Sequence;
use crate::tensor::{Tensor, TensorData, Value, element_count};

/// What has been read of a request: values and outputs by their index in the signature.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) inputs: Vec<(usize, Value)>,
    pub(super) sequence: Sequence,
    pub(super) outputs: Vec<(usize, Asked)>,
}

/// How an output is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// As raw bytes, where that is said.
    pub(super) binary: Option<bool>,
    /// So many of the largest elements of each row instead of all; 0 for all.
    pub(super) classes: usize,
}

impl Parts {
    /// Which input `name` is, if it is one and hasn't come yet.
    pub(super) fn input(&self, name: &str, signature: &ModelSignature) -> Result<usize, Error> {
        let index = position("input", name, &signature.inputs)?;
        if self.inputs.iter().any(|&(other, _)| other == index) {
            return Err(Error::BadRequest(format!("the input `{name}` is there twice")));
        }
        Ok(index)
    }

    /// Takes the output `name` as one that is asked for, if it is one and hasn't been asked for yet.
    pub(super) fn ask(&mut self, name: &str, asked: Asked, signature: &ModelSignature) -> Result<(), Error> {
        let index = position("output", name, &signature.outputs)?;
        if self.outputs.iter().any(|&(other, _)| other == index) {
            return Err(Error::BadRequest(format!("the output `{name}` is asked for twice")));
        }
        if asked.classes > 0 && !can_rank(&signature.outputs[index]) {
            let of = &signature.outputs[index].value_type;
            return Err(Error::BadRequest(format!("the output `{name}` is {of}, of which no classes can be told")));
        }
        self.outputs.push((index, asked));
        Ok(())
    }

    /// The request that these parts are: every input that the model needs, each of which fits, and at least one output.
    pub(super) fn whole(
        self,
        id: Option<String>,
        urgency: Urgency,
        binary: bool,
        signature: &ModelSignature,
    ) -> Result<InferRequest, Error> {
        let mut found: Vec<Option<Value>> = vec![None; signature.inputs.len()];
        for (index, value) in self.inputs {
            found[index] = Some(value);
        }
        let inputs = found.into_iter().zip(&signature.inputs).map(|(value, spec)| match (value, &spec.value_type) {
            (Some(value), _) => Ok(value),
            (None, ValueType::Optional { .. }) => Ok(Value::Absent),
            (None, wanted) => {
                Err(Error::BadRequest(format!("the input `{}` is missing: it should be {wanted}", spec.name)))
            }
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        check(&inputs, signature)?;
        let outputs = match self.outputs.as_slice() {
            [] => all_outputs(signature, binary),
            outputs => outputs
                .iter()
                .map(|&(index, asked)| RequestedOutput {
                    index,
                    binary: asked.binary.unwrap_or(binary),
                    classes: asked.classes,
                })
                .collect(),
        };
        Ok(InferRequest { id, inputs, outputs, urgency, sequence: self.sequence })
    }
}

fn position(kind: &str, name: &str, specs: &[ValueSpec]) -> Result<usize, Error> {
    specs.iter().position(|spec| spec.name == name).ok_or_else(|| {
        let meant = did_you_mean(name, specs.iter().map(|spec| spec.name.as_str()));
        Error::BadRequest(format!("the model has no {kind} `{}`{meant}", shown(name)))
    })
}

pub(super) fn all_outputs(signature: &ModelSignature, binary: bool) -> Vec<RequestedOutput> {
    (0..signature.outputs.len()).map(|index| RequestedOutput { index, binary, classes: 0 }).collect()
}

/// The type in which the input travels, which the request should call so.
pub(super) fn wire_type(spec: &ValueSpec, datatype: &str) -> Result<ElementType, Error> {
    let element_type = spec.wire_type();
    if element_type.datatype() != Some(datatype) {
        let wanted = element_type.datatype().unwrap_or("nothing that can be sent");
        let (name, came) = (&spec.name, shown(datatype));
        return Err(Error::BadRequest(format!(
            "the input `{name}` is {wanted} in the model and {came} in the request"
        )));
    }
    Ok(element_type)
}

/// The elements in an input's raw bytes.
pub(super) fn raw(spec: &ValueSpec, element_type: ElementType, bytes: &[u8]) -> Result<TensorData, Error> {
    binary::decode(element_type, bytes).ok_or_else(|| {
        let (datatype, size) = (element_type.datatype().unwrap_or("no such"), bytes.len());
        let text = format!("{size} bytes of binary data hold no whole number of {datatype} elements");
        Error::BadRequest(format!("the input `{}`: {text}", spec.name))
    })
}

/// The value that a shape and elements make.
pub(super) fn value(spec: &ValueSpec, shape: Vec<usize>, data: TensorData) -> Result<Value, Error> {
    let (count, said) = (data.len(), element_count(&shape));
    if said != Some(count) {
        let said = said.map_or("too many".into(), |said| said.to_string());
        let text = format!("holds {count} elements where its shape {shape:?} says {said}");
        return Err(Error::BadRequest(format!("the input `{}` {text}", spec.name)));
    }
    from_texts(spec, Tensor { shape, data })
}

/// A parameter that asks for what isn't built in.
pub(super) fn check_parameter(name: &str) -> Result<(), Error> {
    match name {
        "shared_memory_region" => Err(Error::Unsupported(format!("the parameter `{name}` can't be served"))),
        _ => Ok(()),
    }
}

/// The value that a tensor of JSON texts stands for, where the model takes none as such.
pub(super) fn from_texts(spec: &ValueSpec, tensor: Tensor) -> Result<Value, Error> {
    let value_type = spec.present();
    let texts = match (value_type, tensor.data) {
        (ValueType::Sequence { .. } | ValueType::Map { .. }, TensorData::String(texts)) => texts,
        (_, data) => return Ok(Value::Tensor(Tensor { shape: tensor.shape, data })),
    };
    let read = |text: &Vec<u8>, value_type: &ValueType| {
        let mut reader = Reader::new(text)?;
        let value = read::read_value(&mut reader, &spec.name, value_type)?;
        reader.end().map(|()| value).map_err(|e| read::bad_request(&reader, &spec.name, &[], value_type, &e))
    };
    match (value_type, texts.as_slice()) {
        (ValueType::Sequence { element }, texts) => {
            texts.iter().map(|text| read(text, element)).collect::<Result<_, _>>().map(Value::Sequence)
        }
        (_, [text]) => read(text, value_type),
        (_, texts) => {
            let text = format!("`{}` should be one JSON text of {value_type}; {} came", spec.name, texts.len());
            Err(Error::BadRequest(text))
        }
    }
}
