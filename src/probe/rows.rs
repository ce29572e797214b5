//! Rows of tensors: joined along axis 0, taken apart again. Pure.

use nimify_runtime::tensor::{Tensor, TensorData, Value};

/// Runs `$body` with `$data` bound to the vector inside, whatever its type, and wraps what comes out in the same type.
macro_rules! map_data {
    ($value:expr, $data:ident => $body:expr) => {
        match $value {
            TensorData::Float32($data) => TensorData::Float32($body),
            TensorData::Float64($data) => TensorData::Float64($body),
            TensorData::Float16($data) => TensorData::Float16($body),
            TensorData::Bfloat16($data) => TensorData::Bfloat16($body),
            TensorData::Int8($data) => TensorData::Int8($body),
            TensorData::Int16($data) => TensorData::Int16($body),
            TensorData::Int32($data) => TensorData::Int32($body),
            TensorData::Int64($data) => TensorData::Int64($body),
            TensorData::Uint8($data) => TensorData::Uint8($body),
            TensorData::Uint16($data) => TensorData::Uint16($body),
            TensorData::Uint32($data) => TensorData::Uint32($body),
            TensorData::Uint64($data) => TensorData::Uint64($body),
            TensorData::Bool($data) => TensorData::Bool($body),
            TensorData::String($data) => TensorData::String($body),
        }
    };
}

/// Appends the elements of `more`; `false` where the types differ.
fn append(data: &mut TensorData, more: &TensorData) -> bool {
    macro_rules! pairs {
        ($($variant:ident),+) => {
            match (data, more) {
                $((TensorData::$variant(a), TensorData::$variant(b)) => {
                    a.extend_from_slice(b);
                    true
                })+
                _ => false,
            }
        };
    }
    pairs!(Float32, Float64, Float16, Bfloat16, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Bool, String)
}

/// Joins the values of one input or output along axis 0. `None` unless all are tensors that differ in axis 0 alone.
pub(super) fn join<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Value> {
    let mut values = values.into_iter();
    let mut joined = values.next()?.as_tensor().filter(|tensor| !tensor.shape.is_empty())?.clone();
    for value in values {
        let tensor = value.as_tensor()?;
        if tensor.shape.get(1..)? != &joined.shape[1..] || !append(&mut joined.data, &tensor.data) {
            return None;
        }
        joined.shape[0] += tensor.shape[0];
    }
    Some(Value::Tensor(joined))
}

/// Row `index` of a tensor, with axis 0 of size 1. `None` if it isn't there.
pub(super) fn row(value: &Value, index: usize) -> Option<Value> {
    let tensor = value.as_tensor()?;
    let rows = *tensor.shape.first()?;
    if index >= rows {
        return None;
    }
    let size = tensor.data.len() / rows;
    let data = map_data!(&tensor.data, all => all[index * size..(index + 1) * size].to_vec());
    let shape = std::iter::once(1).chain(tensor.shape[1..].iter().copied()).collect();
    Some(Value::Tensor(Tensor { shape, data }))
}

/// The same tensor with its elements moved on by `by` places: other values of which each is known to be valid.
pub(super) fn rotated(value: &Value, by: usize) -> Value {
    let Value::Tensor(Tensor { shape, data }) = value else { return value.clone() };
    let count = data.len().max(1);
    let data = map_data!(data, all => {
        let mut all = all.clone();
        all.rotate_left(by % count);
        all
    });
    Value::Tensor(Tensor { shape: shape.clone(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize], data: &[f32]) -> Value {
        Tensor::new(shape.to_vec(), TensorData::Float32(data.to_vec())).unwrap().into()
    }

    #[test]
    fn rows_are_joined_and_taken_apart_again() {
        let rows = [floats(&[1, 2], &[1.0, 2.0]), floats(&[1, 2], &[3.0, 4.0])];
        let both = join(&rows).unwrap();
        assert_eq!(both, floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        assert_eq!([row(&both, 0).unwrap(), row(&both, 1).unwrap()], rows);
        assert_eq!(row(&both, 2), None);
        assert_eq!(rotated(&both, 1), floats(&[2, 2], &[2.0, 3.0, 4.0, 1.0]));
    }

    #[test]
    fn what_has_no_rows_is_not_joined() {
        let scalar = floats(&[], &[1.0]);
        assert_eq!(join([&scalar, &scalar]), None);
        assert_eq!(row(&scalar, 0), None);
        assert_eq!(join([&floats(&[1, 2], &[1.0, 2.0]), &floats(&[1, 1], &[1.0])]), None);
        let integer = Value::from(Tensor::new(vec![1], TensorData::Int64(vec![1])).unwrap());
        assert_eq!(join([&floats(&[1], &[1.0]), &integer]), None);
        assert_eq!(join([&Value::Absent]), None);
        let empty = floats(&[2, 0], &[]);
        assert_eq!(row(&empty, 1), Some(floats(&[1, 0], &[])));
    }
}
