//! The inputs and outputs of the whole, as the graph tells them.

use nimify_runtime::signature::{Dim, Shape, ValueType};

use super::rewrite::{Names, Rewriter};
use super::rope::{Rope, build};
use super::wiring::Ends;
use crate::model::fault::Fault;
use crate::model::limits::Limits;
use crate::model::onnx::Model;
use crate::model::wire::Message;

/// `ValueInfoProto` under another name.
pub(super) fn info<'a>(
    name: &str,
    own: Option<Message<'a>>,
    names: &Names<'_>,
    limits: &Limits,
) -> Result<Rope<'a>, Fault> {
    let rewriter = Rewriter { names, limits, in_function: false };
    let value_type = own.map(|own| rewriter.type_proto(own)).transpose()?;
    Ok(build(|info| {
        info.text(1, name);
        if let Some(value_type) = value_type {
            info.message(2, value_type);
        }
    }))
}

/// An input of the whole: what all that read it agree on.
pub(super) fn input<'a>(
    name: &str,
    ends: &Ends<'_>,
    models: &[Model<'a>],
    names: &[Names<'_>],
    limits: &Limits,
) -> Result<Rope<'a>, Fault> {
    let Some((first, spec)) = ends.readers.first() else { return Ok(Rope::default()) };
    if let ValueType::Tensor { element_type, .. } = &spec.value_type {
        let shape = agreed(ends, names);
        return Ok(build(|info| {
            let tensor = tensor_type(element_type.onnx(), &shape);
            info.text(1, name).message(2, Rope::of(1, tensor));
        }));
    }
    let inputs = &models[*first].graph.inputs;
    let own = inputs.iter().find(|info| info.name == spec.name).and_then(|info| info.value_type);
    info(name, own, &names[*first], limits)
}

/// The sizes that all readers of a tensor agree on: where one has a number, that; else a name.
fn agreed(ends: &Ends<'_>, names: &[Names<'_>]) -> Shape {
    let mut agreed: Option<Vec<Dim>> = None;
    for (at, spec) in &ends.readers {
        let Some(dims) = spec.tensor().and_then(|(_, shape)| shape.dims()) else { continue };
        let own = |dim: &Dim| match dim {
            Dim::Symbolic(name) => Dim::Symbolic(names[*at].dim(name)),
            other => other.clone(),
        };
        let own: Vec<Dim> = dims.iter().map(own).collect();
        let rank = |dim: &Dim| match dim {
            Dim::Fixed(_) => 2,
            Dim::Symbolic(_) => 1,
            Dim::Unknown => 0,
        };
        match &mut agreed {
            None => agreed = Some(own),
            Some(known) => {
                for (known, own) in known.iter_mut().zip(own) {
                    if rank(&own) > rank(known) {
                        *known = own;
                    }
                }
            }
        }
    }
    Shape(agreed)
}

/// `TypeProto.Tensor`.
fn tensor_type<'a>(element_type: i32, shape: &Shape) -> Rope<'a> {
    build(|tensor| {
        tensor.int(1, element_type.into());
        if let Some(dims) = shape.dims() {
            let mut sizes = Rope::default();
            for dim in dims {
                let size = build(|size| match dim {
                    Dim::Fixed(number) => {
                        size.int(1, i64::try_from(*number).unwrap_or(i64::MAX));
                    }
                    Dim::Symbolic(name) => {
                        size.text(2, name);
                    }
                    Dim::Unknown => {}
                });
                sizes.message(1, size);
            }
            tensor.message(2, sizes);
        }
    })
}
