//! Reading a request: JSON, and the raw tensors behind it.

use std::borrow::Cow;

use super::super::json::{Fault, Read, Reader};
use super::super::read::{self, Nested};
use super::InferRequest;
use super::parts::{self, Asked, Parts, check_parameter};
use crate::error::Error;
use crate::inference::Urgency;
use crate::signature::{ElementType, ModelSignature, ValueSpec};
use crate::state::Sequence;
use crate::tensor::{TensorData, Value, element_count};

/// A request while it is read.
pub(super) struct Request<'b, 's> {
    signature: &'s ModelSignature,
    /// Raw tensors not yet taken.
    blobs: &'b [u8],
    reader: Reader<'b>,
    parsed: Parsed,
}

#[derive(Default)]
struct Parsed {
    id: Option<String>,
    parts: Parts,
    binary_output: bool,
    urgency: Urgency,
}

/// One of the request's `inputs` while it is read.
#[derive(Default)]
struct Input<'b> {
    name: Option<Cow<'b, str>>,
    shape: Option<Vec<usize>>,
    datatype: Option<Cow<'b, str>>,
    data: Option<Data>,
    parameters: Parameters<'b>,
}

enum Data {
    /// Read as the type that its name and datatype say.
    Nested(Nested),
    /// Where it begins: it came before what says its type.
    At(usize),
}

/// The `parameters` that mean something here; others are the client's own affair.
#[derive(Default)]
struct Parameters<'b> {
    binary_data_size: Option<usize>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    content_type: Option<Cow<'b, str>>,
    classification: Option<usize>,
    /// Those of the schedule extension, which mean something for the whole request alone: where, and what.
    priority: Option<(usize, &'b str)>,
    timeout: Option<(usize, &'b str)>,
    /// Those of the sequence extension.
    sequence_id: Option<(usize, &'b str)>,
    sequence_start: Option<bool>,
    sequence_end: Option<bool>,
}

impl<'b, 's> Request<'b, 's> {
    /// Reads a request of which `json` is the JSON and `blobs` the raw tensors.
    pub(super) fn decode(
        json: &'b [u8],
        blobs: &'b [u8],
        signature: &'s ModelSignature,
    ) -> Result<InferRequest, Error> {
        let request = Request { signature, blobs, reader: Reader::new(json)?, parsed: Parsed::default() };
        request.read()
    }

    fn bad(&self, fault: &Fault) -> Error {
        Error::BadRequest(format!("the request can't be read: {} ({})", fault.what, self.reader.place(fault.at)))
    }

    /// The request's object and nothing after it.
    fn read(mut self) -> Result<InferRequest, Error> {
        self.open(b'{', "an object with `inputs`")?;
        let mut first = true;
        while let Some(name) = self.property(&mut first)? {
            match &*name {
                "id" => self.parsed.id = Some(self.string("a string as `id`")?.into_owned()),
                "parameters" => {
                    let parameters = self.parameters()?;
                    self.parsed.binary_output = parameters.binary_data_output.unwrap_or(false);
                    let priority = self.whole("`priority` should be a level", parameters.priority)?;
                    let timeout = self.whole("`timeout` should be microseconds", parameters.timeout)?;
                    self.parsed.urgency = Urgency::of_parameters(priority, timeout);
                    self.parsed.parts.sequence = self.sequence(&parameters)?;
                }
                "inputs" => self.list("an array as `inputs`", Self::read_input)?,
                "outputs" => self.list("an array as `outputs`", Self::read_output)?,
                _ => drop(self.reader.skip().map_err(|e| self.bad(&e))?),
            }
        }
        self.reader.end().map_err(|e| self.bad(&e))?;
        self.finish()
    }

    fn open(&mut self, bracket: u8, what: &str) -> Result<(), Error> {
        if self.reader.take(bracket) {
            return Ok(());
        }
        let fault: Read<()> = self.reader.expected(what);
        fault.map_err(|e| self.bad(&e))
    }

    fn property(&mut self, first: &mut bool) -> Result<Option<Cow<'b, str>>, Error> {
        self.reader.property(first).map_err(|e| self.bad(&e))
    }

    fn string(&mut self, what: &str) -> Result<Cow<'b, str>, Error> {
        let string = if self.reader.peek() == Some(b'"') { self.reader.string() } else { self.reader.expected(what) };
        string.map_err(|e| self.bad(&e))
    }

    /// An array, each part of which `read` reads.
    fn list(&mut self, what: &str, read: fn(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        self.open(b'[', what)?;
        if self.reader.take(b']') {
            return Ok(());
        }
        loop {
            read(self)?;
            if self.reader.take(b']') {
                return Ok(());
            }
            self.open(b',', "`,` or `]`")?;
        }
    }

    fn parameters(&mut self) -> Result<Parameters<'b>, Error> {
        self.open(b'{', "an object as `parameters`")?;
        let (mut parameters, mut first) = (Parameters::default(), true);
        while let Some(name) = self.property(&mut first)? {
            let at = self.reader.at();
            let text = self.reader.skip().map_err(|e| self.bad(&e))?;
            let flag = || match text {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(self.bad(&Fault { at, what: format!("`{name}` should be true or false") })),
            };
            match &*name {
                "binary_data" => parameters.binary_data = flag()?,
                "binary_data_output" => parameters.binary_data_output = flag()?,
                "binary_data_size" => {
                    let wrong =
                        || self.bad(&Fault { at, what: "`binary_data_size` should be a number of bytes".into() });
                    parameters.binary_data_size = Some(text.parse().map_err(|_| wrong())?);
                }
                "priority" => parameters.priority = Some((at, text)),
                "timeout" => parameters.timeout = Some((at, text)),
                "sequence_id" => parameters.sequence_id = Some((at, text)),
                "sequence_start" => parameters.sequence_start = flag()?,
                "sequence_end" => parameters.sequence_end = flag()?,
                "content_type" => parameters.content_type = Reader::of(text).string().ok(),
                "classification" => {
                    let wrong =
                        || self.bad(&Fault { at, what: "`classification` should be a number of classes".into() });
                    parameters.classification = Some(text.parse().map_err(|_| wrong())?);
                }
                other => check_parameter(other)?,
            }
        }
        Ok(parameters)
    }

    /// The number that a parameter of the schedule extension is; 0, which says nothing, where it isn't there.
    fn whole(&self, what: &str, parameter: Option<(usize, &str)>) -> Result<u64, Error> {
        let Some((at, text)) = parameter else { return Ok(0) };
        text.parse().map_err(|_| self.bad(&Fault { at, what: format!("{what}, a whole number from 0") }))
    }

    /// The session that the parameters name.
    fn sequence(&self, parameters: &Parameters<'_>) -> Result<Sequence, Error> {
        let mut sequence = Sequence {
            start: parameters.sequence_start.unwrap_or(false),
            end: parameters.sequence_end.unwrap_or(false),
            ..Sequence::default()
        };
        match parameters.sequence_id {
            None => {}
            Some((at, text)) if text.starts_with('"') => {
                let id = Reader::of(text).string().map_err(|fault| self.bad(&Fault { at, ..*fault }))?;
                sequence.named(&id)?;
            }
            // However a number is written, it is the same session.
            Some((at, text)) => {
                let what = "`sequence_id` should be a string or a whole number from 0".into();
                let id = text.parse::<u64>().map_err(|_| self.bad(&Fault { at, what }))?;
                sequence.named(&id.to_string())?;
            }
        }
        Ok(sequence)
    }

    fn read_output(&mut self) -> Result<(), Error> {
        self.open(b'{', "an object for each of `outputs`")?;
        let (mut name, mut parameters, mut first) = (None, Parameters::default(), true);
        while let Some(property) = self.property(&mut first)? {
            match &*property {
                "name" => name = Some(self.string("a string as the output's `name`")?),
                "parameters" => parameters = self.parameters()?,
                _ => drop(self.reader.skip().map_err(|e| self.bad(&e))?),
            }
        }
        let name = name.ok_or_else(|| Error::BadRequest("one of `outputs` has no `name`".into()))?;
        let classes = parameters.classification.unwrap_or(0);
        let asked = Asked { binary: parameters.binary_data, classes };
        self.parsed.parts.ask(&name, asked, self.signature)
    }

    fn read_input(&mut self) -> Result<(), Error> {
        self.open(b'{', "an object for each of `inputs`")?;
        let (mut input, mut first) = (Input::default(), true);
        while let Some(property) = self.property(&mut first)? {
            match &*property {
                "name" => input.name = Some(self.string("a string as the input's `name`")?),
                "datatype" => input.datatype = Some(self.string("a string as `datatype`")?),
                "shape" => input.shape = Some(self.read_shape()?),
                "parameters" => input.parameters = self.parameters()?,
                "data" => input.data = Some(self.read_data(&input)?),
                _ => drop(self.reader.skip().map_err(|e| self.bad(&e))?),
            }
        }
        let name = input.name.as_deref().ok_or_else(|| Error::BadRequest("one of `inputs` has no `name`".into()))?;
        let index = self.parsed.parts.input(name, self.signature)?;
        let value = self.value(&self.signature.inputs[index], input)?;
        self.parsed.parts.inputs.push((index, value));
        Ok(())
    }

    fn read_shape(&mut self) -> Result<Vec<usize>, Error> {
        let nested = read::read_nested(&mut self.reader, ElementType::Uint64, Some(1), 4);
        let nested = nested.map_err(|e| {
            let what = format!("`shape` should be an array of sizes: {}", e.fault.what);
            self.bad(&Fault { at: e.fault.at, what })
        })?;
        let TensorData::Uint64(sizes) = nested.data else { return Ok(Vec::new()) };
        let size =
            |size| usize::try_from(size).map_err(|_| Error::BadRequest(format!("a size of {size} is too large")));
        sizes.into_iter().map(size).collect()
    }

    /// The data of an input, at once where name and datatype have been said, as they mostly have.
    fn read_data(&mut self, input: &Input<'b>) -> Result<Data, Error> {
        let spec = input.name.as_deref().and_then(|name| self.signature.inputs.iter().find(|spec| spec.name == name));
        match (spec, spec.map(ValueSpec::wire_type), input.datatype.as_deref()) {
            // Whether strings are base64 may be said after them.
            (Some(spec), Some(element_type), Some(datatype))
                if element_type.datatype() == Some(datatype) && element_type != ElementType::String =>
            {
                let room = input.shape.as_deref().and_then(element_count).unwrap_or(0);
                self.read_nested(spec, element_type, room).map(Data::Nested)
            }
            _ => {
                self.reader.peek();
                let at = self.reader.at();
                self.reader.skip().map_err(|e| self.bad(&e))?;
                Ok(Data::At(at))
            }
        }
    }

    fn read_nested(&mut self, spec: &ValueSpec, element_type: ElementType, room: usize) -> Result<Nested, Error> {
        let nested = read::read_nested(&mut self.reader, element_type, None, room);
        nested.map_err(|e| read::bad_request(&self.reader, &spec.name, &e.index, &spec.value_type, &e.fault))
    }

    /// The value that an input's parts make.
    fn value(&mut self, spec: &ValueSpec, input: Input<'b>) -> Result<Value, Error> {
        let name = &spec.name;
        let (Some(shape), Some(datatype)) = (input.shape, input.datatype) else {
            return Err(Error::BadRequest(format!("the input `{name}` needs a `shape` and a `datatype`")));
        };
        let element_type = parts::wire_type(spec, &datatype)?;
        let data = match (input.parameters.binary_data_size, input.data) {
            (Some(_), Some(_)) => {
                let text = format!("the input `{name}` has `data` and a `binary_data_size`: one of them is too many");
                return Err(Error::BadRequest(text));
            }
            (Some(size), None) => self.take_blob(spec, element_type, size)?,
            (None, None) => {
                let text = format!("the input `{name}` has neither `data` nor a `binary_data_size`");
                return Err(Error::BadRequest(text));
            }
            (None, Some(data)) => {
                let nested = match data {
                    Data::Nested(nested) => nested,
                    Data::At(at) => {
                        let after = self.reader.at();
                        self.reader.go_to(at);
                        let nested = self.read_nested(spec, element_type, 0)?;
                        self.reader.go_to(after);
                        nested
                    }
                };
                let base64 = input.parameters.content_type.as_deref() == Some("base64");
                self.fitted(name, &shape, nested, base64)?
            }
        };
        parts::value(spec, shape, data)
    }

    /// The elements of nested arrays, which are flat or of the shape that the request says.
    fn fitted(&self, name: &str, shape: &[usize], nested: Nested, base64: bool) -> Result<TensorData, Error> {
        if nested.sizes.len() > 1 && nested.sizes != shape {
            let text = format!("the input `{name}` holds arrays of shape {:?} and says {shape:?}", nested.sizes);
            return Err(Error::BadRequest(text));
        }
        match nested.data {
            TensorData::String(strings) if base64 => {
                let bytes = |string: Vec<u8>| {
                    let text = String::from_utf8_lossy(&string);
                    read::base64(&text).map_err(|what| Error::BadRequest(format!("the input `{name}`: {what}")))
                };
                strings.into_iter().map(bytes).collect::<Result<_, _>>().map(TensorData::String)
            }
            data => Ok(data),
        }
    }

    fn take_blob(&mut self, spec: &ValueSpec, element_type: ElementType, size: usize) -> Result<TensorData, Error> {
        let Some((blob, rest)) = self.blobs.split_at_checked(size) else {
            let (name, left) = (&spec.name, self.blobs.len());
            let text = format!("the input `{name}` says {size} bytes of binary data, and {left} are left in the body");
            return Err(Error::BadRequest(text));
        };
        self.blobs = rest;
        parts::raw(spec, element_type, blob)
    }

    fn finish(self) -> Result<InferRequest, Error> {
        if !self.blobs.is_empty() {
            let text = format!("{} bytes follow the last input's binary data", self.blobs.len());
            return Err(Error::BadRequest(text));
        }
        self.parsed.parts.whole(self.parsed.id, self.parsed.urgency, self.parsed.binary_output, self.signature)
    }
}
