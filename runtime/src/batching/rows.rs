//! Rows along the batch axis: counted, joined into one tensor, and split again.

use super::padding::Padding;
use crate::tensor::{Element, Tensor, TensorData, Value, append, each_type, element_count};

/// How many rows the values have along `axis`: `None` where they have no such axis, or not the same number of rows.
pub(super) fn count<'v>(values: impl IntoIterator<Item = &'v Value>, axis: usize) -> Option<usize> {
    let mut sizes =
        values.into_iter().map(|value| value.as_tensor().and_then(|tensor| tensor.shape.get(axis)).copied());
    let first = sizes.next()??;
    sizes.all(|size| size == Some(first)).then_some(first)
}

/// Whether two requests can be one: same element types, and the same sizes but along `axis` and what `padding` makes
/// equal.
pub(super) fn joinable(one: &[Value], other: &[Value], axis: usize, padding: Option<&Padding>) -> bool {
    let free = |input, k| k == axis || padding.is_some_and(|padding| padding.is_length(input, k));
    let alike = |(input, (one, other)): (usize, (&Value, &Value))| match (one, other) {
        (Value::Tensor(one), Value::Tensor(other)) => {
            one.element_type() == other.element_type()
                && one.shape.len() == other.shape.len()
                && axis < one.shape.len()
                && one.shape.iter().zip(&other.shape).enumerate().all(|(k, (a, b))| a == b || free(input, k))
        }
        _ => false,
    };
    one.len() == other.len() && one.iter().zip(other).enumerate().all(alike)
}

/// Joins requests, each [`joinable`] with the first, along `axis`. `None` if they aren't.
pub(super) fn join(requests: &[&[Value]], axis: usize) -> Option<Vec<Value>> {
    let first = requests.first()?;
    (0..first.len())
        .map(|k| {
            let tensors = requests.iter().map(|values| values.get(k)?.as_tensor()).collect::<Option<Vec<_>>>()?;
            join_tensors(&tensors, axis).map(Value::Tensor)
        })
        .collect()
}

fn join_tensors(tensors: &[&Tensor], axis: usize) -> Option<Tensor> {
    let mut shape = tensors.first()?.shape.clone();
    *shape.get_mut(axis)? = tensors.iter().map(|tensor| tensor.shape.get(axis)).sum::<Option<usize>>()?;
    let mut data = TensorData::with_capacity(tensors[0].element_type(), element_count(&shape)?)?;
    match axis {
        0 => tensors.iter().try_for_each(|tensor| append(&mut data, &tensor.data))?,
        _ => each_type!(&mut data, joined => interleave(joined, tensors, axis))?,
    }
    Tensor::new(shape, data)
}

/// Beyond the first axis a tensor's rows don't lie together: block by block, each tensor's in turn.
fn interleave<T: Element>(joined: &mut Vec<T>, tensors: &[&Tensor], axis: usize) -> Option<()> {
    for outer in 0..element_count(&tensors[0].shape[..axis])? {
        for tensor in tensors {
            let block = element_count(&tensor.shape[axis..])?;
            joined.extend_from_slice(T::as_slice(&tensor.data)?.get(outer * block..(outer + 1) * block)?);
        }
    }
    Some(())
}

/// Splits outputs into those of each request, which had so many `rows`. `None` where an output hasn't exactly the rows
/// that went in. A sequence counts as rows along the first axis: a classifier's list of scores.
pub(super) fn split(outputs: Vec<Value>, axis: usize, rows: &[usize]) -> Option<Vec<Vec<Value>>> {
    let total: usize = rows.iter().sum();
    let mut answers: Vec<Vec<Value>> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for output in outputs {
        match output {
            Value::Tensor(tensor) if tensor.shape.get(axis) == Some(&total) => {
                for (answer, part) in answers.iter_mut().zip(split_tensor(&tensor, axis, rows)?) {
                    answer.push(Value::Tensor(part));
                }
            }
            Value::Sequence(values) if axis == 0 && values.len() == total => {
                let mut values = values.into_iter();
                for (answer, &count) in answers.iter_mut().zip(rows) {
                    answer.push(Value::Sequence(values.by_ref().take(count).collect()));
                }
            }
            _ => return None,
        }
    }
    Some(answers)
}

fn split_tensor(tensor: &Tensor, axis: usize, rows: &[usize]) -> Option<Vec<Tensor>> {
    let outer = element_count(&tensor.shape[..axis])?;
    let inner = element_count(&tensor.shape[axis + 1..])?;
    let line = tensor.shape[axis] * inner;
    let mut before = 0;
    rows.iter()
        .map(|&count| {
            let mut shape = tensor.shape.clone();
            shape[axis] = count;
            let start = before * inner;
            let blocks = (0..outer).map(|k| (k * line + start, count * inner));
            before += count;
            let data = each_type!(&tensor.data, elements => gather(elements, blocks));
            Tensor::new(shape, data?)
        })
        .collect()
}

fn gather<T: Element>(elements: &[T], blocks: impl Iterator<Item = (usize, usize)>) -> Option<TensorData> {
    let mut out = Vec::new();
    for (start, length) in blocks {
        out.extend_from_slice(elements.get(start..start + length)?);
    }
    Some(T::wrap(out))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensor(shape: &[usize], from: i64) -> Value {
        let count = element_count(shape).unwrap() as i64;
        Value::Tensor(Tensor { shape: shape.to_vec(), data: TensorData::Int64((from..from + count).collect()) })
    }

    #[test]
    fn rows_are_counted_where_every_value_has_as_many() {
        assert_eq!(count(&[tensor(&[3, 2], 0), tensor(&[3], 0)], 0), Some(3));
        assert_eq!(count(&[tensor(&[3, 2], 0), tensor(&[2], 0)], 0), None);
        assert_eq!(count(&[tensor(&[3, 2], 0), tensor(&[3], 0)], 1), None);
        assert_eq!(count(&[], 0), None);
        assert_eq!(count(&[Value::Absent], 0), None);
    }

    #[test]
    fn what_differs_beside_the_axis_is_not_joined() {
        let x = |shape: &[usize]| [tensor(shape, 0)];
        assert!(joinable(&x(&[3, 2]), &x(&[1, 2]), 0, None));
        assert!(!joinable(&x(&[3, 2]), &x(&[3, 1]), 0, None));
        assert!(joinable(&x(&[3, 2]), &x(&[3, 1]), 1, None));
        assert!(!joinable(&x(&[3, 2]), &x(&[3]), 0, None));
        let floats = [Value::Tensor(Tensor { shape: vec![1, 2], data: TensorData::Float32(vec![0.0; 2]) })];
        assert!(!joinable(&x(&[1, 2]), &floats, 0, None));
        assert!(!joinable(&x(&[1]), &[Value::Absent], 0, None));
    }

    #[test]
    fn outputs_with_other_rows_are_not_split() {
        assert_eq!(split(vec![tensor(&[3], 0)], 0, &[1, 1]), None);
        assert_eq!(split(vec![tensor(&[], 0)], 0, &[1]), None);
        assert_eq!(split(vec![Value::Absent], 0, &[1]), None);
        let sequence = |n: i64| Value::Sequence((0..n).map(|k| tensor(&[], k)).collect());
        assert_eq!(split(vec![sequence(2)], 0, &[2]), Some(vec![vec![sequence(2)]]));
        assert_eq!(split(vec![sequence(2)], 1, &[2]), None);
    }

    proptest! {
        #[test]
        fn what_is_joined_splits_into_what_it_was(rank in 1usize..4, axis in 0usize..3, other in 1usize..4,
                                                   rows in prop::collection::vec(0usize..4, 1..5)) {
            prop_assume!(axis < rank);
            let shape = |count: usize| (0..rank).map(|k| if k == axis { count } else { other }).collect::<Vec<_>>();
            let requests: Vec<Vec<Value>> =
                rows.iter().enumerate().map(|(k, &n)| vec![tensor(&shape(n), k as i64 * 1000), tensor(&shape(n), -5)]).collect();
            let lent: Vec<&[Value]> = requests.iter().map(Vec::as_slice).collect();
            for other in &requests {
                prop_assert!(joinable(&requests[0], other, axis, None));
            }
            let joined = join(&lent, axis).unwrap();
            prop_assert_eq!(count(&joined, axis), Some(rows.iter().sum()));
            prop_assert_eq!(split(joined, axis, &rows), Some(requests));
        }
    }
}
