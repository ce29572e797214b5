//! Rows of tensors: joined along axis 0, taken apart again, compared. Pure.

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

/// Whether two answers are the same: whole numbers, truth values and strings to the bit, floats to what the order of
/// additions explains. On a difference says where and what.
pub(super) fn compare(alone: &Value, joined: &Value) -> Result<(), String> {
    match (alone, joined) {
        (Value::Tensor(a), Value::Tensor(b)) => {
            if a.shape != b.shape {
                return Err(format!("has the shape {:?} and not {:?}", b.shape, a.shape));
            }
            compare_data(&a.data, &b.data)
        }
        (a, b) if a == b => Ok(()),
        _ => Err("is of another form".into()),
    }
}

fn compare_data(alone: &TensorData, joined: &TensorData) -> Result<(), String> {
    // Relative, and absolute in units of the tensor's largest value: rounding grows with the terms that were added.
    match (alone, joined) {
        (TensorData::Float32(a), TensorData::Float32(b)) => close(a, b, |v| f64::from(*v), 1e-4, 1e-5),
        (TensorData::Float64(a), TensorData::Float64(b)) => close(a, b, |v| *v, 1e-4, 1e-5),
        (TensorData::Float16(a), TensorData::Float16(b)) => close(a, b, |v| v.to_f64(), 1e-2, 1e-3),
        (TensorData::Bfloat16(a), TensorData::Bfloat16(b)) => close(a, b, |v| v.to_f64(), 4e-2, 8e-3),
        (a, b) if a == b => Ok(()),
        (a, b) if a.element_type() != b.element_type() => {
            Err(format!("is of type {} and not {}", b.element_type(), a.element_type()))
        }
        _ => Err("differs".into()),
    }
}

fn close<T>(alone: &[T], joined: &[T], number: impl Fn(&T) -> f64, relative: f64, absolute: f64) -> Result<(), String> {
    let scale = alone.iter().map(|v| number(v).abs()).filter(|v| v.is_finite()).fold(1.0, f64::max);
    for (k, (a, b)) in alone.iter().zip(joined).enumerate() {
        let (a, b) = (number(a), number(b));
        let same = a == b || (a.is_nan() && b.is_nan());
        let near = a.is_finite() && b.is_finite() && (a - b).abs() <= absolute * scale + relative * a.abs();
        if !same && !near {
            // Without the numbers: they depend on the processor, and the reason goes into `signature.json`.
            return Err(format!("differs at element {k}"));
        }
    }
    Ok(())
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

    #[test]
    fn floats_may_differ_by_rounding_and_by_no_more() {
        let one = floats(&[2], &[1.0, 1000.0]);
        assert_eq!(compare(&one, &floats(&[2], &[1.00001, 1000.05])), Ok(()));
        assert_eq!(compare(&one, &floats(&[2], &[1.0, 1001.0])), Err("differs at element 1".into()));
        assert!(compare(&one, &floats(&[1, 2], &[1.0, 1000.0])).is_err());
        let odd = floats(&[2], &[f32::NAN, f32::INFINITY]);
        assert_eq!(compare(&odd, &odd.clone()), Ok(()));
        assert!(compare(&odd, &floats(&[2], &[0.0, f32::INFINITY])).is_err());
        assert!(compare(&floats(&[1], &[0.0]), &floats(&[1], &[f32::NAN])).is_err());
        assert!(compare(&odd, &floats(&[2], &[f32::NAN, f32::NEG_INFINITY])).is_err());
    }

    #[test]
    fn whole_numbers_and_strings_are_compared_to_the_bit() {
        let whole = |v: i64| Value::from(Tensor::new(vec![1], TensorData::Int64(vec![v])).unwrap());
        let text = |v: &str| Value::from(Tensor::new(vec![1], TensorData::String(vec![v.into()])).unwrap());
        assert_eq!(compare(&whole(i64::MAX), &whole(i64::MAX)), Ok(()));
        assert!(compare(&whole(i64::MAX), &whole(i64::MAX - 1)).is_err());
        assert!(compare(&text("a"), &text("b")).is_err());
        assert!(compare(&text("a"), &whole(1)).is_err());
    }
}
