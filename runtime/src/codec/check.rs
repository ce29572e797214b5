//! Values against the signature: kind, element type, rank, fixed sizes, one size for each symbolic name, and of the
//! narrow types the range.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::narrow;
use crate::signature::{Dim, ElementType, ModelSignature, Shape, ValueSpec, ValueType};
use crate::tensor::{Tensor, Value};

/// Checks one value an input, in the signature's order. The first that doesn't fit is a [`Error::BadRequest`] that names
/// the tensor, what it should be and what came.
pub fn check(inputs: &[Value], signature: &ModelSignature) -> Result<(), Error> {
    let (wanted, given) = (signature.inputs.len(), inputs.len());
    if wanted != given {
        return Err(Error::BadRequest(format!("the model takes {wanted} inputs and {given} came")));
    }
    let mut sizes = Sizes::default();
    for (value, spec) in inputs.iter().zip(&signature.inputs) {
        fits(value, &spec.value_type, spec, &mut sizes)?;
    }
    Ok(())
}

/// What each symbolic name stands for in one request, and the tensor and axis that said so.
#[derive(Default)]
struct Sizes<'s>(BTreeMap<&'s str, (usize, &'s str, usize)>);

fn fits<'s>(value: &Value, wanted: &'s ValueType, spec: &'s ValueSpec, sizes: &mut Sizes<'s>) -> Result<(), Error> {
    match (wanted, value) {
        (ValueType::Tensor { element_type, shape }, Value::Tensor(tensor)) => {
            tensor_fits(tensor, *element_type, shape, spec, sizes)
        }
        (ValueType::Sequence { element }, Value::Sequence(values)) => {
            // A symbolic name ties the elements of a sequence together no more than those of two requests.
            values.iter().try_for_each(|value| fits(value, element, spec, &mut Sizes::default()))
        }
        (ValueType::Map { key, value: element, .. }, Value::Map(pairs)) => {
            pairs.iter().try_for_each(|(name, value)| {
                if Some(name.element_type()) != key.carrier() {
                    return Err(unfit(spec, &format!("a key of type {}", name.element_type())));
                }
                fits(value, element, spec, &mut Sizes::default())
            })
        }
        (ValueType::Optional { .. }, Value::Absent) => Ok(()),
        (ValueType::Optional { element }, value) => fits(value, element, spec, sizes),
        (_, Value::Tensor(tensor)) => {
            Err(unfit(spec, &format!("a {} tensor of shape {:?}", tensor.element_type(), tensor.shape)))
        }
        (_, Value::Sequence(_)) => Err(unfit(spec, "a sequence")),
        (_, Value::Map(_)) => Err(unfit(spec, "a map")),
        (_, Value::Absent) => Err(unfit(spec, "nothing")),
    }
}

fn tensor_fits<'s>(
    tensor: &Tensor,
    element_type: ElementType,
    shape: &'s Shape,
    spec: &'s ValueSpec,
    sizes: &mut Sizes<'s>,
) -> Result<(), Error> {
    if Some(tensor.element_type()) != element_type.carrier() {
        return Err(unfit(spec, &format!("elements of type {}", tensor.element_type())));
    }
    if let Some(narrow::Unfit { index, value }) = narrow::unfit(element_type, &tensor.data) {
        return Err(unfit(spec, &format!("the element {value} at {index}, which {element_type} doesn't have")));
    }
    let Some(dims) = shape.dims() else { return Ok(()) };
    let came = || format!("shape {:?}", tensor.shape);
    if dims.len() != tensor.shape.len() {
        return Err(unfit(spec, &format!("{}, of rank {} instead of {}", came(), tensor.shape.len(), dims.len())));
    }
    for (axis, (dim, &size)) in dims.iter().zip(&tensor.shape).enumerate() {
        match dim {
            Dim::Fixed(fixed) if usize::try_from(*fixed) != Ok(size) => {
                return Err(unfit(spec, &format!("{}, which is {size} instead of {fixed} on axis {axis}", came())));
            }
            Dim::Symbolic(name) => {
                let (known, other, at) = *sizes.0.entry(name).or_insert((size, &spec.name, axis));
                if known != size {
                    let text = format!(
                        "{}, which makes `{name}` {size} on axis {axis} when it is {known} on axis {at} of `{other}`",
                        came()
                    );
                    return Err(unfit(spec, &text));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn unfit(spec: &ValueSpec, came: &str) -> Error {
    Error::BadRequest(format!("`{}` should be {}; what came has {came}", spec.name, spec.value_type))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::signature::Batching;
    use crate::tensor::TensorData;

    /// A signature of tensors alone, from rows of name, element type and shape as JSON.
    pub(in crate::codec) fn signature(inputs: &[(&str, &str, &str)], outputs: &[(&str, &str, &str)]) -> ModelSignature {
        let specs = |rows: &[(&str, &str, &str)]| -> Vec<ValueSpec> {
            let spec = |(name, ty, shape): &(&str, &str, &str)| {
                let json = format!(r#"{{"name":{name:?},"kind":"tensor","elementType":{ty:?},"shape":{shape}}}"#);
                serde_json::from_str(&json).expect("a test's signature")
            };
            rows.iter().map(spec).collect()
        };
        let batching = Batching::Unproved { reason: "a test".into() };
        ModelSignature { inputs: specs(inputs), outputs: specs(outputs), batching }
    }

    fn floats(shape: &[usize]) -> Value {
        let count = shape.iter().product();
        Value::Tensor(Tensor { shape: shape.to_vec(), data: TensorData::Float32(vec![0.0; count]) })
    }

    fn fault(inputs: &[Value], signature: &ModelSignature) -> String {
        check(inputs, signature).unwrap_err().to_string()
    }

    #[test]
    fn what_fits_passes_and_what_does_not_is_named() {
        let s = signature(&[("x", "float32", r#"["N",3]"#), ("y", "float32", r#"["N"]"#)], &[]);
        assert_eq!(check(&[floats(&[2, 3]), floats(&[2])], &s), Ok(()));
        let text = "`x` should be float32 [N, 3]; what came has shape [2, 4], which is 4 instead of 3 on axis 1";
        assert_eq!(fault(&[floats(&[2, 4]), floats(&[2])], &s), text);
        let text = "`x` should be float32 [N, 3]; what came has shape [3], of rank 1 instead of 2";
        assert_eq!(fault(&[floats(&[3]), floats(&[2])], &s), text);
        let text = "`y` should be float32 [N]; what came has shape [5], which makes `N` 5 on axis 0 when it is 2 on axis 0 of `x`";
        assert_eq!(fault(&[floats(&[2, 3]), floats(&[5])], &s), text);
        assert_eq!(fault(&[floats(&[2, 3])], &s), "the model takes 2 inputs and 1 came");
        let bools = Value::Tensor(Tensor { shape: vec![0, 3], data: TensorData::Bool(vec![]) });
        let text = "`x` should be float32 [N, 3]; what came has elements of type bool";
        assert_eq!(fault(&[bools, floats(&[0])], &s), text);
        assert!(fault(&[Value::Absent, floats(&[0])], &s).ends_with("has nothing"));
    }

    #[test]
    fn an_unknown_rank_takes_any_and_a_scalar_only_a_scalar() {
        let s = signature(&[("x", "float32", "null")], &[]);
        assert_eq!(check(&[floats(&[])], &s), Ok(()));
        assert_eq!(check(&[floats(&[1, 2, 0])], &s), Ok(()));
        let s = signature(&[("x", "float32", "[]")], &[]);
        assert_eq!(check(&[floats(&[])], &s), Ok(()));
        assert!(fault(&[floats(&[1])], &s).contains("rank 1 instead of 0"));
    }
}
