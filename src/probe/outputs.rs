//! What a model's answers say of the shapes that its file declares for them. Pure.
//!
//! ONNX Runtime holds no output to its declared shape, and converters get some wrong: one label for any number of rows,
//! say. What an answer contradicts is taken back, so that the documents, the types and the clients that trust them are
//! told no size that isn't so. Nothing is added: sizes that happened to be the same mean little.

use std::collections::BTreeMap;

use nimify_runtime::signature::{Dim, ModelSignature, Shape, ValueSpec, ValueType};
use nimify_runtime::tensor::Value;

use super::ladder::Rung;
use super::rows::join;
use super::sample::{Found, Origin};
use super::values::{Known, Spread, request};

/// A request that ran, and its answer.
pub(super) type Exchange = (Vec<Value>, Vec<Value>);

/// Requests like the sample in other sizes: of two rows, and longer where something but rows is free.
pub(super) fn others(known: Known<'_>, found: &Found) -> Vec<Vec<Value>> {
    match &found.origin {
        Origin::User => {
            let twice: Option<Vec<_>> = found.request.iter().map(|value| join([value, value])).collect();
            twice.into_iter().collect()
        }
        Origin::Ladder(rung) => {
            let several = Rung { rows: rung.rows + 1, ..rung.clone() };
            let longer = Rung { size: rung.size * 2, ..several.clone() };
            let mut made: Vec<_> =
                [several, longer].iter().filter_map(|rung| request(known, rung, Spread::Unit, 0).ok()).collect();
            made.dedup();
            made
        }
    }
}

/// The outputs with the sizes that the exchanges contradict taken back, and a sentence on each that changed.
pub(super) fn corrected(signature: &ModelSignature, exchanges: &[Exchange]) -> (Vec<ValueSpec>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut outputs = signature.outputs.clone();
    for (k, spec) in outputs.iter_mut().enumerate() {
        let ValueType::Tensor { shape, .. } = &mut spec.value_type else { continue };
        let declared = shape.clone();
        let mut witness = None;
        for (inputs, answer) in exchanges {
            let Some(tensor) = answer.get(k).and_then(Value::as_tensor) else { continue };
            let sizes = sizes(&signature.inputs, inputs);
            let left = agreeing(shape, &tensor.shape, &sizes);
            if left != *shape {
                *shape = left;
                witness = Some(tensor.shape.clone());
            }
        }
        if let Some(came) = witness {
            warnings.push(format!(
                "the output `{}` is declared with the shape {declared} and came with {came:?}: it is served as {shape}",
                spec.name
            ));
        }
    }
    (outputs, warnings)
}

/// What of a declared shape is left after an answer of the shape `came`.
fn agreeing(declared: &Shape, came: &[usize], sizes: &BTreeMap<&str, usize>) -> Shape {
    let Some(dims) = declared.dims() else { return Shape(None) };
    if dims.len() != came.len() {
        return Shape(None);
    }
    let left = dims.iter().zip(came).map(|(dim, &size)| match dim {
        Dim::Fixed(fixed) if usize::try_from(*fixed) != Ok(size) => Dim::Unknown,
        Dim::Symbolic(name) if sizes.get(name.as_str()).is_some_and(|known| *known != size) => Dim::Unknown,
        dim => dim.clone(),
    });
    Shape(Some(left.collect()))
}

/// What each name stands for in a request.
fn sizes<'s>(specs: &'s [ValueSpec], inputs: &[Value]) -> BTreeMap<&'s str, usize> {
    let mut sizes = BTreeMap::new();
    for (spec, value) in specs.iter().zip(inputs) {
        let dims = spec.tensor().and_then(|(_, shape)| shape.dims()).unwrap_or_default();
        let came = value.as_tensor().map(|tensor| &tensor.shape[..]).unwrap_or_default();
        for (dim, &size) in dims.iter().zip(came) {
            if let Dim::Symbolic(name) = dim {
                sizes.insert(name.as_str(), size);
            }
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::ElementType::{Float32, Int64};
    use nimify_runtime::tensor::{Tensor, TensorData};

    use super::super::testing::{known, signature, tensor};
    use super::*;

    fn value(shape: &[usize]) -> Value {
        let count = shape.iter().product();
        Tensor::new(shape.to_vec(), TensorData::Float32(vec![0.0; count])).unwrap().into()
    }

    /// What is left of an output `declared` so, of which one and two rows gave these shapes.
    fn left(declared: &str, one: &[usize], two: &[usize]) -> (String, usize) {
        let signature = signature([tensor("x", Float32, "N,4")], [tensor("y", Float32, declared)]);
        let exchanges = [(vec![value(&[1, 4])], vec![value(one)]), (vec![value(&[2, 4])], vec![value(two)])];
        let (outputs, warnings) = corrected(&signature, &exchanges);
        (outputs[0].tensor().unwrap().1.to_string(), warnings.len())
    }

    #[test]
    fn what_the_answers_contradict_is_taken_back_and_nothing_else() {
        for (declared, one, two, expected) in [
            ("N,3", &[1, 3][..], &[2, 3][..], ("[N, 3]", 0)),
            ("?,3", &[1, 3], &[2, 3], ("[?, 3]", 0)),
            // Of LightGBM's converter.
            ("1", &[1], &[2], ("[?]", 1)),
            ("1,3", &[1, 3], &[1, 3], ("[1, 3]", 0)),
            ("N", &[1], &[7], ("[?]", 1)),
            // A name that no input has says nothing about its size.
            ("M", &[1], &[7], ("[M]", 0)),
            ("N,3", &[3], &[6], ("[...]", 1)),
            ("", &[], &[2], ("[...]", 1)),
            ("...", &[], &[2], ("[...]", 0)),
        ] {
            let (shape, warnings) = left(declared, one, two);
            assert_eq!((shape.as_str(), warnings), expected, "{declared}");
        }
    }

    #[test]
    fn other_sizes_are_made_of_the_sample_that_ran() {
        let model = signature([tensor("ids", Int64, "N,T")], []);
        let rung = super::super::ladder::rungs(&model).remove(0);
        let sample = request(known(&model), &rung, Spread::Unit, 0).unwrap();
        let found = |origin| Found { request: sample.clone(), answer: vec![], origin };
        let shapes = |made: Vec<Vec<Value>>| -> Vec<Vec<usize>> {
            made.iter().map(|request| request[0].as_tensor().unwrap().shape.clone()).collect()
        };
        assert_eq!(shapes(others(known(&model), &found(Origin::Ladder(rung)))), [[2, 8], [2, 16]]);
        assert_eq!(shapes(others(known(&model), &found(Origin::User))), [[2, 8]]);
    }
}
