//! `TensorProto`: name, type, shape, and where its data is. The data itself stays in the file.

use nimify_runtime::signature::ElementType;

use super::fault::Fault;
use super::limits::Limits;
use super::wire::Message;

/// One tensor of the file.
#[derive(Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) element_type: ElementType,
    pub(super) dims: Vec<u64>,
    /// Number of elements.
    pub(super) count: u64,
    pub(super) external: Option<ExternalEntry<'a>>,
    raw: Option<&'a [u8]>,
    message: Message<'a>,
}

/// The entries of `external_data`, as texts.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ExternalEntry<'a> {
    pub(super) location: Option<&'a str>,
    pub(super) offset: Option<&'a str>,
    pub(super) length: Option<&'a str>,
}

/// A sparse tensor: the values that are not zero and where they stand.
#[derive(Debug)]
pub(super) struct SparseTensor<'a> {
    pub(super) values: Option<Tensor<'a>>,
    pub(super) indices: Option<Tensor<'a>>,
}

impl<'a> SparseTensor<'a> {
    pub(super) fn read(message: Message<'a>, limits: &Limits) -> Result<Self, Fault> {
        let mut sparse = SparseTensor { values: None, indices: None };
        for field in message.fields() {
            let field = field?;
            let part = match field.number {
                1 => &mut sparse.values,
                2 => &mut sparse.indices,
                _ => continue,
            };
            if part.is_some() {
                return Err(message.fault(field.offset, "its values or indices are there twice"));
            }
            *part = Some(Tensor::read(field.message("TensorProto")?, limits)?);
        }
        Ok(sparse)
    }

    /// Values and indices, those that are there.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Tensor<'a>> {
        self.values.iter().chain(&self.indices)
    }
}

impl<'a> Tensor<'a> {
    pub(super) fn read(message: Message<'a>, limits: &Limits) -> Result<Self, Fault> {
        let (mut name, mut number, mut dims, mut raw) = ("", 0, Vec::<i64>::new(), None);
        let (mut entry, mut is_external) = (ExternalEntry::default(), false);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => {
                    dims.extend(field.ints(limits.rank + 1)?);
                    if dims.len() > limits.rank {
                        return Err(Fault::Limit { what: "dimensions of a tensor", limit: limits.rank as u64 });
                    }
                }
                2 => number = field.int()?,
                8 => name = field.name(limits.name_bytes)?,
                9 => raw = Some(field.bytes()?),
                13 => entry.read(field.message("StringStringEntryProto")?, limits)?,
                14 => is_external = field.int()? == 1,
                _ => {}
            }
        }
        let fault = |problem: String| {
            let tensor = if name.is_empty() { format!("at byte {}", message.offset()) } else { name.into() };
            Fault::Tensor { tensor, problem }
        };
        let element_type = i32::try_from(number).ok().and_then(ElementType::from_onnx);
        let element_type = element_type.ok_or_else(|| fault(format!("has the unknown element type {number}")))?;
        let count = checked_count(&dims).map_err(fault)?;
        let dims = dims.iter().map(|dim| dim.cast_unsigned()).collect();
        let external = is_external.then_some(entry);
        let tensor = Tensor { name, element_type, dims, count, external, raw, message };
        match (raw, tensor.bytes()) {
            (Some(raw), Some(bytes)) if !is_external && raw.len() as u64 != bytes => {
                Err(fault(format!("has {} bytes of data where its shape asks for {bytes}", raw.len())))
            }
            _ => Ok(tensor),
        }
    }

    /// What to call it in messages.
    pub(super) fn label(&self) -> String {
        if self.name.is_empty() { format!("at byte {}", self.message.offset()) } else { self.name.into() }
    }

    /// Bytes of its data, packed; `None` for strings, which have no fixed size.
    pub(super) fn bytes(&self) -> Option<u64> {
        let bits = u64::from(self.element_type.bits());
        // `count` leaves room for 128 bits an element.
        (bits > 0).then(|| (self.count * bits).div_ceil(8))
    }

    /// Its integers, if it is of int32 or int64, lies in the file itself and has at most `most` elements.
    pub(super) fn ints(&self, most: usize) -> Option<Vec<i64>> {
        if self.count > most as u64 || self.external.is_some() {
            return None;
        }
        let ints: Vec<i64> = match (self.element_type, self.raw) {
            (ElementType::Int64, Some(raw)) => {
                raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
            }
            (ElementType::Int32, Some(raw)) => {
                raw.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
            }
            (ElementType::Int64, None) => self.listed(7, most),
            (ElementType::Int32, None) => self.listed(5, most),
            _ => return None,
        };
        (ints.len() as u64 == self.count).then_some(ints)
    }

    fn listed(&self, number: u32, most: usize) -> Vec<i64> {
        let fields = self.message.fields().flatten().filter(|field| field.number == number);
        fields.flat_map(|field| field.ints(most + 1).unwrap_or_default()).take(most + 1).collect()
    }

    /// Its first `most` texts, if it is of strings; those that are not UTF-8 are left out.
    pub(super) fn texts(&self, most: usize) -> Vec<&'a str> {
        if self.element_type != ElementType::String {
            return Vec::new();
        }
        let texts = self.message.fields().flatten().filter(|field| field.number == 6);
        texts.filter_map(|field| std::str::from_utf8(field.bytes().ok()?).ok()).take(most).collect()
    }
}

impl<'a> ExternalEntry<'a> {
    fn read(&mut self, message: Message<'a>, limits: &Limits) -> Result<(), Fault> {
        let (mut key, mut value) = ("", "");
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => key = field.name(limits.name_bytes)?,
                2 => value = field.name(limits.name_bytes)?,
                _ => {}
            }
        }
        match key {
            "location" => self.location = Some(value),
            "offset" => self.offset = Some(value),
            "length" => self.length = Some(value),
            _ => {}
        }
        Ok(())
    }
}

/// The number of elements that the dimensions make, or what is wrong with them.
pub(super) fn checked_count(dims: &[i64]) -> Result<u64, String> {
    let sizes: Option<Vec<u64>> = dims.iter().map(|&dim| u64::try_from(dim).ok()).collect();
    let sizes = sizes.ok_or("has a negative dimension")?;
    count(&sizes).ok_or_else(|| format!("has more elements than can be counted: {dims:?}"))
}

/// The product of the dimensions, `None` where the bits of so many elements of any type overflow 64 bits.
fn count(dims: &[u64]) -> Option<u64> {
    if dims.contains(&0) {
        return Some(0);
    }
    let count = dims.iter().try_fold(1u64, |count, &dim| count.checked_mul(dim))?;
    count.checked_mul(128).map(|_| count)
}
