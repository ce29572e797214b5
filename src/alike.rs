//! Whether two answers to one request are the same but for rounding: the one comparison of answers, for graphs that were
//! rewritten and for services that were deployed.

use nimify_runtime::tensor::{Tensor, TensorData, Value};

/// What additions in another order may change, relative to the larger value of a tensor.
const RELATIVE: f64 = 1e-4;
/// Half precision carries three digits.
const RELATIVE_OF_HALVES: f64 = 1e-2;

/// What differs, in a clause; `None` where nothing does.
pub fn difference(was: &Value, is: &Value) -> Option<String> {
    match (was, is) {
        (Value::Tensor(was), Value::Tensor(is)) => of_tensors(was, is),
        (Value::Sequence(was), Value::Sequence(is)) if was.len() == is.len() => {
            was.iter().zip(is).find_map(|(was, is)| difference(was, is))
        }
        (Value::Map(was), Value::Map(is)) if was.len() == is.len() => was.iter().zip(is).find_map(|(was, is)| {
            if was.0 == is.0 { difference(&was.1, &is.1) } else { Some("its keys differ".into()) }
        }),
        (Value::Absent, Value::Absent) => None,
        _ => Some("it is of another form".into()),
    }
}

fn of_tensors(was: &Tensor, is: &Tensor) -> Option<String> {
    if was.shape != is.shape {
        return Some(format!("its shape is {:?} and was {:?}", is.shape, was.shape));
    }
    let (a, b, relative) = match (&was.data, &is.data) {
        (TensorData::Float32(a), TensorData::Float32(b)) => (doubles(a), doubles(b), RELATIVE),
        (TensorData::Float64(a), TensorData::Float64(b)) => (a.clone(), b.clone(), RELATIVE),
        (TensorData::Float16(a), TensorData::Float16(b)) => (doubles(a), doubles(b), RELATIVE_OF_HALVES),
        (TensorData::Bfloat16(a), TensorData::Bfloat16(b)) => (doubles(a), doubles(b), RELATIVE_OF_HALVES),
        (was, is) if was == is => return None,
        _ => return Some("its elements differ".into()),
    };
    let largest = a.iter().filter(|x| x.is_finite()).fold(0.0_f64, |most, x| most.max(x.abs()));
    let alike = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= relative * largest;
    a.iter().zip(&b).find(|pair| !alike(*pair)).map(|(a, b)| format!("{b} where it was {a}"))
}

fn doubles<T: Copy + Into<f64>>(elements: &[T]) -> Vec<f64> {
    elements.iter().map(|&x| x.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(data: &[f32]) -> Value {
        Tensor { shape: vec![data.len()], data: TensorData::Float32(data.to_vec()) }.into()
    }

    #[test]
    fn rounding_is_no_difference_and_anything_else_is() {
        let was = floats(&[1.0, -200.0, f32::NAN, f32::INFINITY, 0.0]);
        assert_eq!(difference(&was, &was), None);
        assert_eq!(difference(&was, &floats(&[1.001, -200.01, f32::NAN, f32::INFINITY, 1e-9])), None);
        for other in [
            floats(&[1.0, -201.0, f32::NAN, f32::INFINITY, 0.0]),
            floats(&[f32::NAN, -200.0, f32::NAN, f32::INFINITY, 0.0]),
            floats(&[1.0, -200.0, 0.0, f32::INFINITY, 0.0]),
            floats(&[1.0, -200.0, f32::NAN, f32::NEG_INFINITY, 0.0]),
            floats(&[1.0, -200.0, f32::NAN, f32::INFINITY]),
            Value::Sequence(vec![was.clone()]),
            Value::Absent,
        ] {
            assert!(difference(&was, &other).is_some(), "{other:?}");
        }
        let whole = |x: i64| Value::from(Tensor { shape: vec![], data: TensorData::Int64(vec![x]) });
        assert_eq!(difference(&whole(3), &whole(3)), None);
        assert_eq!(difference(&whole(3), &whole(4)).unwrap(), "its elements differ");
        assert_eq!(difference(&floats(&[0.0]), &floats(&[0.0])), None);
        assert!(difference(&floats(&[0.0]), &floats(&[1e-9])).is_some());
        assert_eq!(difference(&Value::Sequence(vec![was.clone()]), &Value::Sequence(vec![was])), None);
    }
}
