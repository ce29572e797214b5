//! What can be said about joining requests without running the model: a refusal, or that it was not tried.

use nimify_runtime::signature::{Batching, Dim, ValueSpec, ValueType};
use serde::{Deserialize, Serialize};

use super::graph::Node;
use super::opset::{couples_rows, domain_name};

/// An operator because of which the rows of a batch are not independent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RowCoupling {
    /// The operator, as `domain:op`.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// Why this node couples rows, as far as its type and attributes say so for certain.
pub(super) fn row_coupling(node: &Node<'_>) -> Option<RowCoupling> {
    let domain = domain_name(node.domain);
    let reason = match (domain, node.op) {
        // Before opset 14 the extra outputs, since then an attribute, ask for statistics over the batch.
        ("ai.onnx", "BatchNormalization")
            if node.int("training_mode").unwrap_or(0) != 0
                || node.outputs.iter().filter(|name| !name.is_empty()).count() > 1 =>
        {
            Some("normalises over the batch, as in training")
        }
        ("ai.onnx", "MeanVarianceNormalization")
            if node.attribute("axes").is_none_or(|axes| axes.ints(64).contains(&0)) =>
        {
            Some("normalises over the batch")
        }
        _ => couples_rows(domain, node.op),
    };
    reason.map(|reason| RowCoupling { operator: format!("{domain}:{}", node.op), reason: reason.into() })
}

/// The verdict on the signature: refused where it is certain, unproved otherwise.
pub fn verdict(inputs: &[ValueSpec], outputs: &[ValueSpec], coupling: &[RowCoupling]) -> Batching {
    match refusal(inputs, outputs, coupling) {
        Some(reason) => Batching::Refused { reason },
        None => Batching::Unproved { reason: "not tried: the model was read, not run".into() },
    }
}

fn refusal(inputs: &[ValueSpec], outputs: &[ValueSpec], coupling: &[RowCoupling]) -> Option<String> {
    if let Some(RowCoupling { operator, reason }) = coupling.first() {
        return Some(format!("`{operator}` {reason}"));
    }
    if inputs.is_empty() {
        return Some("the model has no inputs".into());
    }
    // Axes that every value seen so far leaves free; `None` while every rank was unknown.
    let mut shared: Option<Vec<usize>> = None;
    let named = inputs.iter().map(|spec| ("input", spec)).chain(outputs.iter().map(|spec| ("output", spec)));
    for (what, spec) in named {
        let free = match free_axes(&spec.value_type) {
            Ok(Some(free)) => free,
            Ok(None) => continue,
            Err(problem) => return Some(format!("{what} `{}` {problem}", spec.name)),
        };
        let left = match shared {
            None => free,
            Some(axes) => axes.into_iter().filter(|axis| free.contains(axis)).collect(),
        };
        if left.is_empty() {
            return Some(format!(
                "{what} `{}`, {}, has no free dimension where the others have one",
                spec.name, spec.value_type
            ));
        }
        shared = Some(left);
    }
    None
}

/// The axes whose size is not fixed, `None` where even the rank is free, or why there can be none.
fn free_axes(value_type: &ValueType) -> Result<Option<Vec<usize>>, String> {
    let ValueType::Tensor { shape, .. } = value_type else {
        return Err(format!("is no tensor but {value_type}"));
    };
    let Some(dims) = shape.dims() else { return Ok(None) };
    let free = |(axis, dim): (usize, &Dim)| (!matches!(dim, Dim::Fixed(_))).then_some(axis);
    match dims.iter().enumerate().filter_map(free).collect::<Vec<_>>() {
        _ if dims.is_empty() => Err("is a scalar: it has no dimension to join along".into()),
        axes if axes.is_empty() => Err(format!("has the fixed shape {shape}")),
        axes => Ok(Some(axes)),
    }
}

#[cfg(test)]
mod tests {
    use nimify_runtime::signature::{ElementType, Shape};

    use super::*;

    fn tensor(name: &str, dims: &[&str]) -> ValueSpec {
        let dim = |text: &&str| match (text.parse(), *text) {
            (Ok(size), _) => Dim::Fixed(size),
            (_, "?") => Dim::Unknown,
            (_, name) => Dim::Symbolic(name.into()),
        };
        let dims = (dims != ["..."]).then(|| dims.iter().map(dim).collect());
        ValueSpec {
            name: name.into(),
            value_type: ValueType::Tensor { element_type: ElementType::Float32, shape: Shape(dims) },
        }
    }

    #[test]
    fn what_certainly_cannot_be_joined_is_refused_by_name() {
        let (x, y) = (tensor("x", &["N", "4"]), tensor("y", &["N"]));
        let cases = [
            (vec![x.clone()], vec![y.clone()], None),
            (vec![x.clone()], vec![tensor("y", &["..."])], None),
            (vec![tensor("x", &["2", "?"])], vec![tensor("y", &["?", "?"])], None),
            (vec![], vec![y.clone()], Some("the model has no inputs")),
            (vec![x.clone(), tensor("sr", &[])], vec![y.clone()], Some("input `sr` is a scalar")),
            (vec![x.clone()], vec![tensor("y", &["1", "9"])], Some("output `y` has the fixed shape [1, 9]")),
            (
                vec![x.clone(), tensor("state", &["2", "N"])],
                vec![y],
                Some("input `state`, float32 [2, N], has no free dimension where the others have one"),
            ),
        ];
        for (inputs, outputs, reason) in cases {
            match (verdict(&inputs, &outputs, &[]), reason) {
                (Batching::Unproved { reason }, None) => assert!(reason.starts_with("not tried: "), "{reason}"),
                (Batching::Refused { reason }, Some(start)) => assert!(reason.starts_with(start), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        let coupling = [RowCoupling { operator: "ai.onnx:Unique".into(), reason: "does so".into() }];
        let refused = Batching::Refused { reason: "`ai.onnx:Unique` does so".into() };
        assert_eq!(verdict(&[x], &[], &coupling), refused);
    }
}
