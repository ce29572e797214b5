//! `TypeProto` → [`ValueType`]: rank unknown, scalar, unknown dimension and named dimension kept apart.

use nimify_runtime::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};

use super::fault::Fault;
use super::graph::ValueInfo;
use super::limits::Limits;
use super::wire::Message;

/// Reads one `kind` of the graph's values: `input` or `output`.
pub(super) fn value_spec(kind: &'static str, info: &ValueInfo<'_>, limits: &Limits) -> Result<ValueSpec, Fault> {
    let no_type = |problem: &str| Fault::NoType { what: kind, name: info.name.into(), problem: problem.into() };
    let message = info.value_type.ok_or_else(|| no_type("no type"))?;
    match value_type(message, limits)? {
        Ok(value_type) => Ok(ValueSpec { name: info.name.into(), value_type }),
        Err(problem) => Err(no_type(&problem)),
    }
}

/// A type, or what is wrong with it.
type TypeOrProblem = Result<ValueType, String>;

fn value_type(message: Message<'_>, limits: &Limits) -> Result<TypeOrProblem, Fault> {
    let mut found = None;
    for field in message.fields() {
        let field = field?;
        let value = match field.number {
            1 => tensor(field.message("TypeProto.Tensor")?, limits)?
                .map(|(element_type, shape)| ValueType::Tensor { element_type, shape }),
            8 => tensor(field.message("TypeProto.SparseTensor")?, limits)?
                .map(|(element_type, shape)| ValueType::SparseTensor { element_type, shape }),
            4 => element(field.message("TypeProto.Sequence")?, limits)?
                .map(|element| ValueType::Sequence { element: Box::new(element) }),
            9 => element(field.message("TypeProto.Optional")?, limits)?
                .map(|element| ValueType::Optional { element: Box::new(element) }),
            5 => map(field.message("TypeProto.Map")?, limits)?,
            7 => Err("an opaque type, which only the program that made it understands".into()),
            _ => continue,
        };
        if found.replace(value).is_some() {
            return Err(message.fault(field.offset, "two types are given"));
        }
    }
    Ok(found.unwrap_or_else(|| Err("no type".into())))
}

/// The type of a sequence's or an optional's value.
fn element(message: Message<'_>, limits: &Limits) -> Result<TypeOrProblem, Fault> {
    let mut found = Err("no element type".into());
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            found = value_type(field.message("TypeProto")?, limits)?;
        }
    }
    Ok(found)
}

fn map(message: Message<'_>, limits: &Limits) -> Result<TypeOrProblem, Fault> {
    let (mut key, mut value) = (0, Err("no value type".into()));
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => key = field.int()?,
            2 => value = value_type(field.message("TypeProto")?, limits)?,
            _ => {}
        }
    }
    Ok(element_type(key).and_then(|key| Ok(ValueType::Map { key, value: Box::new(value?), labels: Vec::new() })))
}

fn tensor(message: Message<'_>, limits: &Limits) -> Result<Result<(ElementType, Shape), String>, Fault> {
    let (mut number, mut dims) = (0, None);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => number = field.int()?,
            2 if dims.is_some() => return Err(message.fault(field.offset, "its shape is there twice")),
            2 => dims = Some(shape(field.message("TensorShapeProto")?, limits)?),
            _ => {}
        }
    }
    Ok(element_type(number).map(|element_type| (element_type, Shape(dims))))
}

fn shape(message: Message<'_>, limits: &Limits) -> Result<Vec<Dim>, Fault> {
    let mut dims = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        if dims.len() == limits.rank {
            return Err(Fault::Limit { what: "dimensions of a tensor", limit: limits.rank as u64 });
        }
        dims.push(dim(field.message("TensorShapeProto.Dimension")?, limits)?);
    }
    Ok(dims)
}

/// What exporters write as a name where they know none: two such dimensions need not have the same size.
const NO_NAMES: [&str; 4] = ["", "?", "-1", "None"];

/// A dimension that the file gives a name.
pub(super) fn named_dim(name: &str) -> Dim {
    if NO_NAMES.contains(&name) { Dim::Unknown } else { Dim::Symbolic(name.into()) }
}

/// The last member of the oneof wins. Negative sizes and empty names are unknown sizes, as ONNX Runtime takes them.
fn dim(message: Message<'_>, limits: &Limits) -> Result<Dim, Fault> {
    let mut dim = Dim::Unknown;
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => dim = u64::try_from(field.int()?).map_or(Dim::Unknown, Dim::Fixed),
            2 => dim = named_dim(field.name(limits.name_bytes)?),
            _ => {}
        }
    }
    Ok(dim)
}

fn element_type(number: i64) -> Result<ElementType, String> {
    let known = i32::try_from(number).ok().and_then(ElementType::from_onnx);
    known.ok_or_else(|| format!("the unknown element type {number}"))
}
