//! When two answers count as the same: what proofs of batching and of padding compare with.

use crate::tensor::{TensorData, Value};

/// Whether two answers are the same: whole numbers, truth values and strings to the bit, floats to what the order of
/// additions explains. On a difference says where and what.
pub fn same_answer(alone: &Value, joined: &Value) -> Result<(), String> {
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
    use super::same_answer as compare;
    use super::*;
    use crate::tensor::Tensor;

    fn floats(shape: &[usize], data: &[f32]) -> Value {
        Tensor::new(shape.to_vec(), TensorData::Float32(data.to_vec())).unwrap().into()
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
