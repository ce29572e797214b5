//! JSON to values, typed by the signature: nested arrays into one flat buffer and the shape that they have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{Fault, Read, Reader};
use super::number::FromNumber;
use super::shown;
use crate::error::Error;
use crate::signature::{Dim, ElementType, Shape, ValueType};
use crate::tensor::{Bytes, Element, Tensor, TensorData, Value};

/// Deepest nesting of a tensor of unknown rank.
const DEEPEST: usize = 64;

/// An element type that JSON can hold.
trait FromJson: Element {
    /// Reads one element.
    fn from_json(reader: &mut Reader<'_>) -> Read<Self>;
}

/// Reads a number, or one of the words for what no number can say.
#[inline]
fn number<T: FromNumber>(reader: &mut Reader<'_>) -> Read<T> {
    match reader.peek() {
        Some(b'-' | b'0'..=b'9') => {
            let start = reader.at();
            let number = reader.number()?;
            T::from_number(number).map_or_else(|| reader.fault_at(start, T::fault(number)), Ok)
        }
        _ => word(reader),
    }
}

#[cold]
fn word<T: FromNumber>(reader: &mut Reader<'_>) -> Read<T> {
    let start = reader.at();
    if T::FLOAT && reader.peek() == Some(b'"') {
        let word = reader.string()?;
        let what = || {
            let word = shown(&word);
            format!("\"{word}\" is no {}: beside numbers there are \"NaN\", \"Infinity\" and \"-Infinity\"", T::NAME)
        };
        return T::from_word(&word).map_or_else(|| reader.fault_at(start, what()), Ok);
    }
    instead(reader, &format!("a number ({})", T::NAME))
}

/// A fault that says what came instead of `wanted`.
#[cold]
fn instead<T>(reader: &mut Reader<'_>, wanted: &str) -> Read<T> {
    let came = match reader.peek() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => return reader.expected(wanted),
    };
    reader.fault(format!("{wanted} is expected and {came} came"))
}

macro_rules! numbers {
    ($($rust:ty),+) => {
        $(impl FromJson for $rust {
            #[inline]
            fn from_json(reader: &mut Reader<'_>) -> Read<Self> {
                number(reader)
            }
        })+
    };
}
numbers!(f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64);

impl FromJson for bool {
    fn from_json(reader: &mut Reader<'_>) -> Read<Self> {
        match () {
            () if reader.literal("true") => Ok(true),
            () if reader.literal("false") => Ok(false),
            () => instead(reader, "`true` or `false`"),
        }
    }
}

impl FromJson for Bytes {
    fn from_json(reader: &mut Reader<'_>) -> Read<Self> {
        match reader.peek() {
            Some(b'"') => reader.string().map(|string| string.into_owned().into_bytes()),
            Some(b'{') => tagged_base64(reader),
            _ => instead(reader, "a string"),
        }
    }
}

/// `{"b64": "…"}`: bytes that aren't text.
fn tagged_base64(reader: &mut Reader<'_>) -> Read<Bytes> {
    let start = reader.at();
    reader.take(b'{');
    let mut first = true;
    let bytes = match reader.property(&mut first)? {
        Some(name) if name == "b64" && reader.peek() == Some(b'"') => {
            let text = reader.string()?;
            base64(&text).or_else(|what| reader.fault_at(start, what))?
        }
        _ => return reader.fault_at(start, "an object for bytes is `{\"b64\": \"…\"}`"),
    };
    match reader.property(&mut first)? {
        None => Ok(bytes),
        Some(_) => reader.fault_at(start, "an object for bytes is `{\"b64\": \"…\"}` and nothing else"),
    }
}

/// The bytes of a base64 text with its padding.
pub(super) fn base64(text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map_err(|e| format!("`{}` is not base64: {e}", shown(text)))
}

/// What nested arrays held: their sizes, outermost first, as far down as they could be told.
pub(super) struct Nested {
    /// Sizes; of an array that is empty all the way, fewer than the tensor's rank.
    pub(super) sizes: Vec<usize>,
    /// The elements, row-major.
    pub(super) data: TensorData,
}

/// A fault and the index of the element or array that it is about.
pub(super) struct NestedFault {
    pub(super) fault: Box<Fault>,
    pub(super) index: Vec<usize>,
}

/// Where a reader of nested arrays is.
struct Levels {
    /// How many arrays deep the elements stand, once known.
    depth: Option<usize>,
    /// Size of the arrays of each level, once one of them is over.
    sizes: Vec<Option<usize>>,
    /// How many parts of each open array are over.
    counts: Vec<usize>,
}

impl Levels {
    fn open(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let depth = self.counts.len();
        if self.depth == Some(depth) {
            return reader.fault("an array stands where a single value should");
        }
        if depth >= DEEPEST {
            return reader.fault(format!("arrays are nested more than {DEEPEST} deep"));
        }
        reader.take(b'[');
        self.counts.push(0);
        if self.sizes.len() <= depth {
            self.sizes.push(None);
        }
        Ok(())
    }

    fn close(&mut self, reader: &Reader<'_>) -> Read<()> {
        let Some(count) = self.counts.pop() else { return Ok(()) };
        match self.sizes[self.counts.len()].replace(count) {
            Some(size) if size != count => reader.fault_at(
                reader.at() - 1,
                format!("a ragged array: it has {count} parts where the ones before it have {size}"),
            ),
            _ => Ok(()),
        }
    }

    fn element(&mut self, reader: &mut Reader<'_>) -> Read<()> {
        let depth = self.counts.len();
        match self.depth.replace(depth) {
            Some(known) if known != depth => instead(reader, "an array"),
            // An empty array was over at this level: what follows can't have elements in it.
            _ if self.sizes.len() > depth => instead(reader, "an array"),
            _ => Ok(()),
        }
    }
}

fn nested<T: FromJson>(reader: &mut Reader<'_>, rank: Option<usize>, room: usize) -> Result<Nested, NestedFault> {
    let mut levels = Levels { depth: rank, sizes: Vec::new(), counts: Vec::new() };
    let mut data = Vec::with_capacity(room);
    match fill::<T>(reader, &mut levels, &mut data) {
        Ok(()) => {
            Ok(Nested { sizes: levels.sizes.into_iter().map(|size| size.unwrap_or(0)).collect(), data: T::wrap(data) })
        }
        Err(fault) => Err(NestedFault { fault, index: levels.counts }),
    }
}

fn fill<T: FromJson>(reader: &mut Reader<'_>, levels: &mut Levels, data: &mut Vec<T>) -> Read<()> {
    loop {
        // A part is due: an array, or an element.
        if reader.peek() == Some(b'[') {
            levels.open(reader)?;
            if !reader.take(b']') {
                continue;
            }
            levels.close(reader)?;
        } else {
            levels.element(reader)?;
            data.push(T::from_json(reader)?);
            // The elements after it in the same array, without asking at each where it stands.
            while let Some(count) = levels.counts.last_mut() {
                *count += 1;
                if reader.peek() != Some(b',') {
                    *count -= 1;
                    break;
                }
                reader.go_to(reader.at() + 1);
                if reader.peek() == Some(b'[') {
                    return reader.fault("an array stands where a single value should");
                }
                data.push(T::from_json(reader)?);
            }
        }
        // A part is over; so may be the arrays around it.
        loop {
            match levels.counts.last_mut() {
                None => return Ok(()),
                Some(count) => *count += 1,
            }
            if reader.take(b']') {
                levels.close(reader)?;
            } else if reader.take(b',') {
                break;
            } else {
                return reader.expected("`,` or `]`");
            }
        }
    }
}

/// Reads nested arrays of any type into its [carrier](ElementType::carrier). `rank` is how deep the elements stand, where that is known; `room` how many there
/// may well be. Types that can't be served are an internal error: no model with one is.
pub(super) fn read_nested(
    reader: &mut Reader<'_>,
    element_type: ElementType,
    rank: Option<usize>,
    room: usize,
) -> Result<Nested, NestedFault> {
    // However many elements the signature promises, two bytes are the least that each takes.
    let room = room.min((reader.text().len() - reader.at()) / 2 + 1);
    match element_type.carrier().unwrap_or(element_type) {
        ElementType::Float32 => nested::<f32>(reader, rank, room),
        ElementType::Float64 => nested::<f64>(reader, rank, room),
        ElementType::Float16 => nested::<half::f16>(reader, rank, room),
        ElementType::Bfloat16 => nested::<half::bf16>(reader, rank, room),
        ElementType::Int8 => nested::<i8>(reader, rank, room),
        ElementType::Int16 => nested::<i16>(reader, rank, room),
        ElementType::Int32 => nested::<i32>(reader, rank, room),
        ElementType::Int64 => nested::<i64>(reader, rank, room),
        ElementType::Uint8 => nested::<u8>(reader, rank, room),
        ElementType::Uint16 => nested::<u16>(reader, rank, room),
        ElementType::Uint32 => nested::<u32>(reader, rank, room),
        ElementType::Uint64 => nested::<u64>(reader, rank, room),
        ElementType::Bool => nested::<bool>(reader, rank, room),
        ElementType::String => nested::<Bytes>(reader, rank, room),
        other => {
            let fault = Fault { at: reader.at(), what: format!("elements of type {other} can't be sent") };
            Err(NestedFault { fault: Box::new(fault), index: Vec::new() })
        }
    }
}

/// Reads the value of the input `name`.
pub(super) fn read_value(reader: &mut Reader<'_>, name: &str, value_type: &ValueType) -> Result<Value, Error> {
    let bad = |reader: &Reader<'_>, fault: &Fault| bad_request(reader, name, &[], value_type, fault);
    match value_type {
        ValueType::Tensor { element_type, shape } => {
            let (rank, room) = (shape.dims().map(<[Dim]>::len), expected_elements(shape));
            let nested = read_nested(reader, *element_type, rank, room);
            let Nested { sizes, data } =
                nested.map_err(|e| bad_request(reader, name, &e.index, value_type, &e.fault))?;
            Ok(Value::Tensor(Tensor { shape: filled(sizes, shape), data }))
        }
        ValueType::Sequence { element } => {
            if !reader.take(b'[') {
                return Err(instead::<()>(reader, "an array").map_or_else(|e| bad(reader, &e), |()| internal(name)));
            }
            let mut values = Vec::new();
            if reader.take(b']') {
                return Ok(Value::Sequence(values));
            }
            loop {
                values.push(read_value(reader, &format!("{name}[{}]", values.len()), element)?);
                if reader.take(b']') {
                    return Ok(Value::Sequence(values));
                }
                if !reader.take(b',') {
                    let fault = reader.expected::<()>("`,` or `]`");
                    return Err(fault.map_or_else(|e| bad(reader, &e), |()| internal(name)));
                }
            }
        }
        ValueType::Map { key, value, .. } => read_map(reader, name, *key, value),
        ValueType::Optional { .. } if reader.literal("null") => Ok(Value::Absent),
        ValueType::Optional { element } => read_value(reader, name, element),
        ValueType::SparseTensor { .. } => Err(internal(name)),
    }
}

/// An object: each property a key, which JSON has only as strings, and its value.
fn read_map(reader: &mut Reader<'_>, name: &str, key_type: ElementType, value: &ValueType) -> Result<Value, Error> {
    let own = ValueType::Map { key: key_type, value: Box::new(value.clone()), labels: Vec::new() };
    if !reader.take(b'{') {
        let fault = instead::<()>(reader, "an object");
        return Err(fault.map_or_else(|e| bad_request(reader, name, &[], &own, &e), |()| internal(name)));
    }
    let (mut pairs, mut first) = (Vec::new(), true);
    loop {
        let start = reader.at();
        let key = reader.property(&mut first).map_err(|e| bad_request(reader, name, &[], &own, &e))?;
        let Some(key) = key else { return Ok(Value::Map(pairs)) };
        let data = if key_type == ElementType::String {
            TensorData::String(vec![key.as_bytes().to_vec()])
        } else {
            let mut number = Reader::of(&key);
            let nested = read_nested(&mut number, key_type, Some(0), 1);
            match nested.and_then(|n| number.end().map(|()| n).map_err(|fault| NestedFault { fault, index: vec![] })) {
                Ok(nested) => nested.data,
                Err(_) => {
                    let fault = Fault { at: start, what: format!("the key `{}` is no {key_type}", shown(&key)) };
                    return Err(bad_request(reader, name, &[], &own, &fault));
                }
            }
        };
        let of = read_value(reader, &format!("{name}[{:?}]", shown(&key)), value)?;
        pairs.push((Tensor { shape: Vec::new(), data }, of));
    }
}

fn internal(name: &str) -> Error {
    Error::Internal(format!("the input `{name}` is of a type that can't be read"))
}

/// How many elements the signature leads to expect: exact where every size is fixed.
fn expected_elements(shape: &Shape) -> usize {
    let dims = shape.dims().unwrap_or_default();
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => usize::try_from(*size).unwrap_or(usize::MAX),
        _ => 1,
    };
    dims.iter().fold(1, |n: usize, dim| n.saturating_mul(size(dim)))
}

/// An array that is empty loses the sizes of what it doesn't hold: those that the signature fixes are put back, the free
/// ones are 0.
fn filled(mut sizes: Vec<usize>, shape: &Shape) -> Vec<usize> {
    for dim in shape.dims().unwrap_or_default().iter().skip(sizes.len()) {
        sizes.push(match dim {
            Dim::Fixed(size) => usize::try_from(*size).unwrap_or(0),
            _ => 0,
        });
    }
    sizes
}

/// The error of a request whose input `name` can't be read.
#[cold]
pub(super) fn bad_request(
    reader: &Reader<'_>,
    name: &str,
    index: &[usize],
    wanted: &ValueType,
    fault: &Fault,
) -> Error {
    let index: String = index.iter().map(|k| format!("[{k}]")).collect();
    let (what, place) = (&fault.what, reader.place(fault.at));
    Error::BadRequest(format!("`{name}`{index}: {what} ({place}); `{name}` should be {wanted}"))
}
