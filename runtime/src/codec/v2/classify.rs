//! The classification extension: of a tensor of scores, the largest and where they stand.

use std::cmp::Ordering;

use super::super::write;
use crate::signature::{ElementType, ModelSignature, ValueSpec, ValueType};
use crate::tensor::{Tensor, TensorData, each_type};

/// Whether the values of an output can be ranked: numbers in a dense tensor.
pub(super) fn can_rank(spec: &ValueSpec) -> bool {
    let unranked = [ElementType::String, ElementType::Bool];
    matches!(spec.present(), ValueType::Tensor { element_type, .. } if !unranked.contains(element_type))
}

/// The `classes` largest elements of `tensor`, each as the text `VALUE:INDEX`, largest first and equal ones in their
/// order: of each row where the model's first dim is a batch's, otherwise of all elements. A tensor that can't be
/// ranked has none.
pub fn classify(tensor: &Tensor, classes: usize, signature: &ModelSignature) -> Tensor {
    let batched = crate::model_config::batch_axis(signature).is_some();
    let rows = if batched { tensor.shape.first().copied() } else { None };
    let per_row = tensor.data.len() / rows.unwrap_or(1).max(1);
    let kept = classes.min(per_row);
    let mut shape = vec![kept];
    shape.splice(0..0, rows);
    let mut texts = Vec::with_capacity(kept.saturating_mul(rows.unwrap_or(1)));
    if kept > 0 {
        each_type!(&tensor.data, elements => elements.chunks_exact(per_row).for_each(|row| rank(row, kept, &mut texts)));
    }
    Tensor::new(shape, TensorData::String(texts)).expect("each row gives as many texts as it keeps")
}

/// An element that has an order, in which what is no number comes last.
trait Score {
    fn descending(&self, other: &Self) -> Ordering;
}

macro_rules! scores {
    ($($rust:ty),+) => {
        $(impl Score for $rust {
            fn descending(&self, other: &Self) -> Ordering {
                other.partial_cmp(self).unwrap_or_else(|| (self != self).cmp(&(other != other)))
            }
        })+
    };
}
scores!(f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool, Vec<u8>);

fn rank<T: Score + write::ToJson>(row: &[T], kept: usize, texts: &mut Vec<Vec<u8>>) {
    let mut order: Vec<usize> = (0..row.len()).collect();
    let by_score = |a: &usize, b: &usize| row[*a].descending(&row[*b]).then(a.cmp(b));
    if kept < order.len() {
        order.select_nth_unstable_by(kept, by_score);
        order.truncate(kept);
    }
    order.sort_unstable_by(by_score);
    texts.extend(order.into_iter().map(|index| {
        let mut text = Vec::new();
        row[index].to_json(&mut text);
        // What isn't finite is a string in JSON; here it is text anyway.
        text.retain(|byte| *byte != b'"');
        text.extend_from_slice(format!(":{index}").as_bytes());
        text
    }));
}

#[cfg(test)]
mod tests {
    use super::super::super::check::tests::signature;
    use super::*;
    use crate::signature::Batching;

    fn ranked(shape: &[usize], data: TensorData, classes: usize, batched: bool) -> (Vec<usize>, Vec<String>) {
        let mut s = signature(&[], &[]);
        if batched {
            s.batching = Batching::Proved { axis: 0, reason: "-".into() };
        }
        let tensor = classify(&Tensor::new(shape.to_vec(), data).unwrap(), classes, &s);
        let TensorData::String(texts) = tensor.data else { panic!("strings") };
        (tensor.shape, texts.into_iter().map(|text| String::from_utf8(text).unwrap()).collect())
    }

    #[test]
    fn the_largest_come_first_with_their_place_row_by_row_where_there_are_rows() {
        let scores = || TensorData::Float32(vec![0.25, 0.5, f32::NAN, 0.5, 1e-7, f32::INFINITY]);
        assert_eq!(
            ranked(&[2, 3], scores(), 2, true),
            (vec![2, 2], ["0.5:1", "0.25:0", "Infinity:2", "0.5:0"].map(String::from).to_vec())
        );
        assert_eq!(
            ranked(&[2, 3], scores(), 3, false),
            (vec![3], ["Infinity:5", "0.5:1", "0.5:3"].map(String::from).to_vec())
        );
        let all = ranked(&[6], scores(), 99, false).1;
        assert_eq!((all.len(), &*all[4], &*all[5]), (6, "1e-7:4", "NaN:2"));
        assert_eq!(ranked(&[3], TensorData::Int64(vec![i64::MIN, i64::MAX, 0]), 1, false).1, ["9223372036854775807:1"]);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(ranked(&[0, 3], TensorData::Int8(vec![]), 2, true), (vec![0, 0], vec![]));
        assert_eq!(ranked(&[2, 0], TensorData::Int8(vec![]), 2, true), (vec![2, 0], vec![]));
        assert_eq!(ranked(&[2], TensorData::Int8(vec![1, 2]), 1, true), (vec![2, 1], vec!["1:0".into(), "2:0".into()]));
        assert_eq!(ranked(&[], TensorData::Int8(vec![7]), 5, true), (vec![1], vec!["7:0".into()]));
    }
}
