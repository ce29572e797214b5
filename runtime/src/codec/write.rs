//! Values to JSON, straight into the answer's buffer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tensor::{Bytes, Tensor, Value, each_type};

/// More empty arrays than this in one tensor are written as one: `[1000000000000, 0]` is a shape that a model can give.
const MOST_EMPTY: usize = 65_536;

/// An element type that JSON can hold.
pub(super) trait ToJson {
    /// Writes one element.
    fn to_json(&self, out: &mut Vec<u8>);
}

macro_rules! integers {
    ($($rust:ty),+) => {
        $(impl ToJson for $rust {
            #[inline]
            fn to_json(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
            }
        })+
    };
}
integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($rust:ty),+) => {
        $(impl ToJson for $rust {
            /// The shortest digits that are read back as the same number.
            #[inline]
            fn to_json(&self, out: &mut Vec<u8>) {
                if self.is_finite() {
                    out.extend_from_slice(zmij::Buffer::new().format_finite(*self).as_bytes());
                } else {
                    out.extend_from_slice(non_finite(self.is_nan(), self.is_sign_negative()));
                }
            }
        })+
    };
}
floats!(f32, f64);

#[cold]
fn non_finite(nan: bool, negative: bool) -> &'static [u8] {
    match (nan, negative) {
        (true, _) => b"\"NaN\"",
        (false, false) => b"\"Infinity\"",
        (false, true) => b"\"-Infinity\"",
    }
}

impl ToJson for half::f16 {
    fn to_json(&self, out: &mut Vec<u8>) {
        self.to_f32().to_json(out);
    }
}

impl ToJson for half::bf16 {
    fn to_json(&self, out: &mut Vec<u8>) {
        self.to_f32().to_json(out);
    }
}

impl ToJson for bool {
    fn to_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl ToJson for Bytes {
    fn to_json(&self, out: &mut Vec<u8>) {
        match std::str::from_utf8(self) {
            Ok(text) => string(out, text),
            Err(_) => {
                out.extend_from_slice(b"{\"b64\":");
                base64(out, self);
                out.push(b'}');
            }
        }
    }
}

/// A JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes any string");
}

/// A JSON string of the base64 of `bytes`.
pub(super) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// Elements with commas between them.
fn list<T: ToJson>(out: &mut Vec<u8>, data: &[T]) {
    for (k, element) in data.iter().enumerate() {
        if k > 0 {
            out.push(b',');
        }
        element.to_json(out);
    }
}

fn nested<T: ToJson>(out: &mut Vec<u8>, shape: &[usize], data: &[T]) {
    match shape {
        [] => list(out, data),
        [_] => {
            out.push(b'[');
            list(out, data);
            out.push(b']');
        }
        [outer, inner @ ..] => {
            out.push(b'[');
            let step = data.len().checked_div(*outer).unwrap_or(0);
            for k in 0..*outer {
                if k > 0 {
                    out.push(b',');
                }
                nested(out, inner, &data[k * step..(k + 1) * step]);
            }
            out.push(b']');
        }
    }
}

/// A tensor as nested arrays, row-major; a scalar as itself.
pub(super) fn tensor(out: &mut Vec<u8>, tensor: &Tensor) {
    let brackets = tensor.shape.iter().take_while(|&&size| size > 0).fold(1, |n: usize, &size| n.saturating_mul(size));
    if tensor.data.is_empty() && brackets > MOST_EMPTY {
        out.extend_from_slice(b"[]");
        return;
    }
    each_type!(&tensor.data, data => nested(out, &tensor.shape, data));
}

/// A tensor's elements as one flat array.
pub(super) fn flat(out: &mut Vec<u8>, tensor: &Tensor) {
    out.push(b'[');
    each_type!(&tensor.data, data => list(out, data));
    out.push(b']');
}

/// Any value: sequences are arrays, maps objects, an absent optional null.
pub(super) fn value(out: &mut Vec<u8>, value_: &Value) {
    match value_ {
        Value::Tensor(of) => tensor(out, of),
        Value::Sequence(values) => {
            out.push(b'[');
            for (k, part) in values.iter().enumerate() {
                if k > 0 {
                    out.push(b',');
                }
                value(out, part);
            }
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            for (k, (key, of)) in pairs.iter().enumerate() {
                if k > 0 {
                    out.push(b',');
                }
                property_name(out, key);
                out.push(b':');
                value(out, of);
            }
            out.push(b'}');
        }
        Value::Absent => out.extend_from_slice(b"null"),
    }
}

/// A map's key, which JSON has only as strings.
fn property_name(out: &mut Vec<u8>, key: &Tensor) {
    if let crate::tensor::TensorData::String(keys) = &key.data {
        let key = keys.first().map(Vec::as_slice).unwrap_or_default();
        return string(out, &String::from_utf8_lossy(key));
    }
    let start = out.len();
    tensor(out, key);
    if out.get(start) != Some(&b'"') {
        out.insert(start, b'"');
        out.push(b'"');
    }
}
