//! Tensors as raw little-endian bytes: the binary extension of the Open Inference Protocol.
//!
//! Row-major; a boolean is one byte, a string its length in four bytes and then its bytes.

use half::{bf16, f16};

use crate::signature::ElementType;
use crate::tensor::{Bytes, Element, TensorData, each_type};

/// An element type with a form in bytes.
trait Raw: Element {
    fn from_raw(bytes: &[u8]) -> Option<Vec<Self>>;
    fn raw_len(elements: &[Self]) -> usize;
    fn to_raw(elements: &[Self], out: &mut Vec<u8>);
}

macro_rules! fixed_size {
    ($($rust:ty),+) => {
        $(impl Raw for $rust {
            fn from_raw(bytes: &[u8]) -> Option<Vec<Self>> {
                let (elements, rest) = bytes.as_chunks();
                rest.is_empty().then(|| elements.iter().map(|&element| <$rust>::from_le_bytes(element)).collect())
            }

            fn raw_len(elements: &[Self]) -> usize {
                size_of_val(elements)
            }

            fn to_raw(elements: &[Self], out: &mut Vec<u8>) {
                let start = out.len();
                // Filled in one go: pushing element by element costs three times as much.
                out.resize(start + size_of_val(elements), 0);
                for (to, element) in out[start..].chunks_exact_mut(size_of::<$rust>()).zip(elements) {
                    to.copy_from_slice(&element.to_le_bytes());
                }
            }
        })+
    };
}
fixed_size!(f32, f64, f16, bf16, i8, i16, i32, i64, u8, u16, u32, u64);

impl Raw for bool {
    fn from_raw(bytes: &[u8]) -> Option<Vec<Self>> {
        Some(bytes.iter().map(|&byte| byte != 0).collect())
    }

    fn raw_len(elements: &[Self]) -> usize {
        elements.len()
    }

    fn to_raw(elements: &[Self], out: &mut Vec<u8>) {
        out.extend(elements.iter().map(|&element| u8::from(element)));
    }
}

impl Raw for Bytes {
    fn from_raw(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut strings = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_first_chunk()?;
            let (string, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            strings.push(string.to_vec());
            bytes = rest;
        }
        Some(strings)
    }

    fn raw_len(elements: &[Self]) -> usize {
        elements.iter().map(|string| 4 + string.len()).sum()
    }

    fn to_raw(elements: &[Self], out: &mut Vec<u8>) {
        for string in elements {
            // A model's string of 4 GiB would not have fitted into memory twice.
            let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&string[..string.len().min(u32::MAX as usize)]);
        }
    }
}

/// The elements that `bytes` hold; `None` where they don't come out even, or the type has no such form.
pub(super) fn decode(element_type: ElementType, bytes: &[u8]) -> Option<TensorData> {
    let mut data = TensorData::with_capacity(element_type, 0)?;
    fn fill<T: Raw>(elements: &mut Vec<T>, bytes: &[u8]) -> Option<()> {
        *elements = T::from_raw(bytes)?;
        Some(())
    }
    each_type!(&mut data, elements => fill(elements, bytes))?;
    Some(data)
}

/// How many bytes [`encode`] appends.
pub(super) fn encoded_len(data: &TensorData) -> usize {
    each_type!(data, elements => Raw::raw_len(elements))
}

/// Appends the bytes of `data`.
pub(super) fn encode(data: &TensorData, out: &mut Vec<u8>) {
    each_type!(data, elements => Raw::to_raw(elements, out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_there_and_back() {
        for data in [
            TensorData::Float32(vec![0.1, f32::INFINITY]),
            TensorData::Float16(vec![f16::ONE, f16::MIN]),
            TensorData::Bfloat16(vec![bf16::ONE]),
            TensorData::Int64(vec![i64::MIN, 1]),
            TensorData::Uint8(vec![]),
            TensorData::Bool(vec![true, false]),
            TensorData::String(vec![b"\xff\0".to_vec(), vec![]]),
        ] {
            let mut out = vec![9];
            encode(&data, &mut out);
            assert_eq!(out.len(), 1 + encoded_len(&data));
            assert_eq!(decode(data.element_type(), &out[1..]), Some(data));
        }
        assert_eq!(decode(ElementType::Int16, &[1, 2]), Some(TensorData::Int16(vec![0x0201])));
    }

    #[test]
    fn bytes_that_do_not_come_out_even_are_none() {
        assert_eq!(decode(ElementType::Int16, &[1]), None);
        assert_eq!(decode(ElementType::String, &[1, 0, 0]), None);
        assert_eq!(decode(ElementType::String, &[255, 255, 255, 255, 1]), None);
        assert_eq!(decode(ElementType::Int4, &[1]), None);
    }
}
