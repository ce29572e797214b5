//! A tensor's elements in a smaller or larger box.

use half::{bf16, f16};

use crate::signature::ElementType;
use crate::tensor::{Bytes, Element, TensorData, element_count};

/// What fills a tensor up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fill(f64);

/// An element that a number can be.
trait FromNumber: Sized {
    /// `None` where the number is none of its values.
    fn from_number(number: f64) -> Option<Self>;
}

macro_rules! whole {
    ($($rust:ty),+) => {
        $(impl FromNumber for $rust {
            fn from_number(number: f64) -> Option<Self> {
                // The largest plus one is a power of two, which a double holds, if need be because it was one already.
                let fits = number >= <$rust>::MIN as f64 && number < <$rust>::MAX as f64 + 1.0;
                (fits && number.fract() == 0.0).then_some(number as $rust)
            }
        })+
    };
}

whole!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! float {
    ($($rust:ty: $from:expr),+) => {
        $(impl FromNumber for $rust {
            fn from_number(number: f64) -> Option<Self> {
                let element: $rust = $from(number);
                (element.is_finite() || !number.is_finite()).then_some(element)
            }
        })+
    };
}

float!(f32: |number| number as f32, f64: |number| number, f16: f16::from_f64, bf16: bf16::from_f64);

impl FromNumber for bool {
    fn from_number(number: f64) -> Option<Self> {
        [0.0, 1.0].iter().position(|bit| *bit == number).map(|bit| bit == 1)
    }
}

impl FromNumber for Bytes {
    fn from_number(_number: f64) -> Option<Self> {
        None
    }
}

/// Runs `$body` with `$elements` bound to the buffer in `$data`, and `$rust` naming its type.
macro_rules! fill_with {
    ($data:expr, $fill:expr, $from:expr, $to:expr, $($variant:ident),+) => {
        match $data {
            $(TensorData::$variant(elements) => {
                let fill = FromNumber::from_number($fill)?;
                resize(elements, $from, $to, fill).map(Element::wrap)
            })+
        }
    };
}

impl Fill {
    /// `None` where the number is no element of that type.
    pub(super) fn new(number: f64, element_type: ElementType) -> Option<Fill> {
        let fill = Fill(number);
        fill.resize(&TensorData::with_capacity(element_type, 0)?, &[0], &[0]).map(|_| fill)
    }

    /// The elements of a tensor of shape `from` in one of shape `to`. `None` where they are of another type than the
    /// filling, or the shapes not of one rank.
    pub(super) fn resize(self, data: &TensorData, from: &[usize], to: &[usize]) -> Option<TensorData> {
        fill_with!(
            data, self.0, from, to, Float32, Float64, Float16, Bfloat16, Int8, Int16, Int32, Int64, Uint8, Uint16,
            Uint32, Uint64, Bool, String
        )
    }
}

/// Row-major `elements` of shape `from` as ones of shape `to`: what is outside is left out, what is new is `fill`. `None`
/// where the shapes are of different ranks, or don't hold as many elements.
pub(super) fn resize<T: Clone>(elements: &[T], from: &[usize], to: &[usize], fill: T) -> Option<Vec<T>> {
    if from.len() != to.len() || element_count(from)? != elements.len() {
        return None;
    }
    let Some(last) = (0..from.len()).rev().find(|&k| from[k] != to[k]) else { return Some(elements.to_vec()) };
    let mut resized = vec![fill; element_count(to)?];
    // From the last axis that changes on, elements lie together in both.
    let inner = element_count(&from[last + 1..])?;
    let block = from[last].min(to[last]) * inner;
    let outer: Vec<usize> = from[..last].iter().zip(to).map(|(a, b)| *a.min(b)).collect();
    let (mut at, blocks) = (vec![0; last], element_count(&outer)?);
    for _ in 0..blocks {
        let place = |shape: &[usize]| at.iter().zip(shape).fold(0, |n, (k, size)| n * size + k) * shape[last] * inner;
        let (source, target) = (place(from), place(to));
        resized.get_mut(target..target + block)?.clone_from_slice(elements.get(source..source + block)?);
        for k in (0..last).rev() {
            at[k] += 1;
            if at[k] < outer[k] {
                break;
            }
            at[k] = 0;
        }
    }
    Some(resized)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn boxes_grow_and_shrink() {
        let square = [1, 2, 3, 4];
        assert_eq!(resize(&square, &[2, 2], &[2, 3], 0), Some(vec![1, 2, 0, 3, 4, 0]));
        assert_eq!(resize(&square, &[2, 2], &[3, 3], 9), Some(vec![1, 2, 9, 3, 4, 9, 9, 9, 9]));
        assert_eq!(resize(&square, &[2, 2], &[2, 1], 0), Some(vec![1, 3]));
        assert_eq!(resize(&square, &[2, 2, 1], &[2, 1, 1], 0), Some(vec![1, 3]));
        assert_eq!(resize(&square, &[4], &[0], 0), Some(vec![]));
        assert_eq!(resize(&square[..0], &[0], &[2], 7), Some(vec![7, 7]));
        assert_eq!(resize(&square, &[4], &[2, 2], 0), None);
        assert_eq!(resize(&square, &[3], &[4], 0), None);
    }

    #[test]
    fn a_filling_is_an_element_of_its_tensor() {
        for (number, element_type, fits) in [
            (0.0, ElementType::Int64, true),
            (-1.0, ElementType::Int64, true),
            (0.5, ElementType::Int64, false),
            (1e30, ElementType::Int64, false),
            (-1.0, ElementType::Uint8, false),
            (255.0, ElementType::Uint8, true),
            (256.0, ElementType::Uint8, false),
            (f64::NAN, ElementType::Int8, false),
            (4_294_967_295.0, ElementType::Uint32, true),
            (-3.4e38, ElementType::Float32, true),
            (1e39, ElementType::Float32, false),
            (f64::NEG_INFINITY, ElementType::Float16, true),
            (1.0, ElementType::Bool, true),
            (2.0, ElementType::Bool, false),
            (0.0, ElementType::String, false),
            (0.0, ElementType::Float8E4M3FN, false),
        ] {
            assert_eq!(Fill::new(number, element_type).is_some(), fits, "{number} as {element_type}");
        }
    }

    proptest! {
        #[test]
        fn what_grew_shrinks_to_what_it_was(sizes in prop::collection::vec((0usize..4, 0usize..3), 0..4)) {
            let from: Vec<usize> = sizes.iter().map(|(size, _)| *size).collect();
            let to: Vec<usize> = sizes.iter().map(|(size, more)| size + more).collect();
            let elements: Vec<usize> = (1..=element_count(&from).unwrap()).collect();
            let grown = resize(&elements, &from, &to, 0).unwrap();
            prop_assert_eq!(grown.iter().filter(|e| **e > 0).count(), elements.len());
            prop_assert_eq!(resize(&grown, &to, &from, 0), Some(elements));
        }
    }
}
