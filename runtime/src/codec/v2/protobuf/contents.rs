//! Typed elements: each type has its own field, in which small whole numbers share a wider one.

use super::Head;
use super::wire::{Field, Fields, broken};
use crate::error::Error;
use crate::signature::{ElementType, ValueSpec};
use crate::tensor::{Bytes, Element, TensorData, element_count};

/// An element type with a field of its own in `InferTensorContents`.
trait Typed: Element {
    /// The field's number and name.
    const FIELD: (u32, &'static str);

    /// Appends what stands in the field: one element, or many packed.
    fn read(field: Field<'_>, elements: &mut Vec<Self>) -> Result<(), Fault>;
}

enum Fault {
    /// Not what the field holds.
    Broken,
    /// A number that its type can't hold.
    Range(i64, String),
}

impl From<Error> for Fault {
    fn from(_: Error) -> Fault {
        Fault::Broken
    }
}

macro_rules! whole_numbers {
    ($($rust:ty as $wire:ty, $field:literal $name:literal;)+) => {
        $(impl Typed for $rust {
            const FIELD: (u32, &'static str) = ($field, $name);

            fn read(field: Field<'_>, elements: &mut Vec<Self>) -> Result<(), Fault> {
                let one = |number: u64| {
                    // Protobuf keeps as many of the low bits as its type has.
                    let wire = number as $wire;
                    <$rust>::try_from(wire).map_err(|_| {
                        Fault::Range(wire as i64, format!("{} ({} to {})", <$rust>::TYPE, <$rust>::MIN, <$rust>::MAX))
                    })
                };
                match field {
                    Field::Varint(number) => elements.push(one(number)?),
                    Field::Bytes(packed) => {
                        let mut packed = Fields(packed);
                        while !packed.0.is_empty() {
                            elements.push(one(packed.varint()?)?);
                        }
                    }
                    _ => return Err(Fault::Broken),
                }
                Ok(())
            }
        })+
    };
}
whole_numbers! {
    i8 as i32, 2 "int_contents";
    i16 as i32, 2 "int_contents";
    i32 as i32, 2 "int_contents";
    i64 as i64, 3 "int64_contents";
    u8 as u32, 4 "uint_contents";
    u16 as u32, 4 "uint_contents";
    u32 as u32, 4 "uint_contents";
    u64 as u64, 5 "uint64_contents";
}

impl Typed for bool {
    const FIELD: (u32, &'static str) = (1, "bool_contents");

    fn read(field: Field<'_>, elements: &mut Vec<Self>) -> Result<(), Fault> {
        match field {
            Field::Varint(number) => elements.push(number != 0),
            Field::Bytes(packed) => {
                let mut packed = Fields(packed);
                while !packed.0.is_empty() {
                    elements.push(packed.varint()? != 0);
                }
            }
            _ => return Err(Fault::Broken),
        }
        Ok(())
    }
}

macro_rules! floats {
    ($($rust:ty, $one:ident, $field:literal $name:literal;)+) => {
        $(impl Typed for $rust {
            const FIELD: (u32, &'static str) = ($field, $name);

            fn read(field: Field<'_>, elements: &mut Vec<Self>) -> Result<(), Fault> {
                match field {
                    Field::$one(bytes) => elements.push(<$rust>::from_le_bytes(bytes)),
                    Field::Bytes(packed) => {
                        let (numbers, rest) = packed.as_chunks();
                        if !rest.is_empty() {
                            return Err(Fault::Broken);
                        }
                        elements.extend(numbers.iter().map(|&bytes| <$rust>::from_le_bytes(bytes)));
                    }
                    _ => return Err(Fault::Broken),
                }
                Ok(())
            }
        })+
    };
}
floats! {
    f32, Fixed32, 6 "fp32_contents";
    f64, Fixed64, 7 "fp64_contents";
}

impl Typed for Bytes {
    const FIELD: (u32, &'static str) = (8, "bytes_contents");

    fn read(field: Field<'_>, elements: &mut Vec<Self>) -> Result<(), Fault> {
        elements.push(field.bytes()?.to_vec());
        Ok(())
    }
}

/// The elements of an input that has no raw ones.
pub(super) fn read(spec: &ValueSpec, element_type: ElementType, head: &Head<'_>) -> Result<TensorData, Error> {
    match element_type {
        ElementType::Float32 => gather::<f32>(spec, head),
        ElementType::Float64 => gather::<f64>(spec, head),
        ElementType::Int8 => gather::<i8>(spec, head),
        ElementType::Int16 => gather::<i16>(spec, head),
        ElementType::Int32 => gather::<i32>(spec, head),
        ElementType::Int64 => gather::<i64>(spec, head),
        ElementType::Uint8 => gather::<u8>(spec, head),
        ElementType::Uint16 => gather::<u16>(spec, head),
        ElementType::Uint32 => gather::<u32>(spec, head),
        ElementType::Uint64 => gather::<u64>(spec, head),
        ElementType::Bool => gather::<bool>(spec, head),
        ElementType::String => gather::<Bytes>(spec, head),
        // The protocol has no field for half floats; no elements need none.
        _ => TensorData::with_capacity(element_type, 0).filter(|_| !head.has_contents).ok_or_else(|| {
            let datatype = element_type.datatype().unwrap_or("of no such type");
            let text = format!("the input `{}` is {datatype}", spec.name);
            Error::BadRequest(format!("{text}, whose elements travel in `raw_input_contents` alone"))
        }),
    }
}

fn gather<T: Typed>(spec: &ValueSpec, head: &Head<'_>) -> Result<TensorData, Error> {
    // Every element takes a byte at least, whatever the shape promises.
    let room = element_count(&head.shape).unwrap_or(0).min(head.message.len());
    let (mut elements, mut fields) = (Vec::<T>::with_capacity(room), Fields(head.message));
    while let Some((number, field)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let mut contents = Fields(field.bytes()?);
        while let Some((number, field)) = contents.next()? {
            if number != T::FIELD.0 {
                let (name, datatype) = (&spec.name, T::TYPE.datatype().unwrap_or_default());
                let text = format!("the input `{name}` is {datatype}: its elements belong into `{}`", T::FIELD.1);
                return Err(Error::BadRequest(text));
            }
            T::read(field, &mut elements).map_err(|fault| match fault {
                Fault::Broken => broken(),
                Fault::Range(number, range) => {
                    let (name, k) = (&spec.name, elements.len());
                    Error::BadRequest(format!("`{name}`[{k}]: {number} is out of range for {range}"))
                }
            })?;
        }
    }
    Ok(T::wrap(elements))
}
