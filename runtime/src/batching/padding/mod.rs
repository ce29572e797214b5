//! Rows of different lengths made equal, so that they can be joined: filled up on the way in, cut back on the way out.
//!
//! Off unless the settings say what fills each input, and even then only after [`prove`](Padding::prove) has seen that
//! the model's answers don't change.

mod proof;
mod resize;

use self::resize::{Fill, resize};
use super::rows;
use crate::tensor::{Element, Tensor, TensorData, Value, each_type};

/// How the rows of a model are made equally long.
#[derive(Debug, Clone, PartialEq)]
pub struct Padding {
    /// For each input what fills it and along which axes; `None` for those without a length.
    inputs: Vec<Option<Filled>>,
    /// The input that is nothing but zero where there is no data.
    mask: Option<usize>,
    /// For each output the axes that are as long as the inputs.
    outputs: Vec<Vec<usize>>,
}

/// An input that has a length.
#[derive(Debug, Clone, PartialEq)]
struct Filled {
    axes: Vec<usize>,
    fill: Fill,
}

impl Padding {
    /// The length of a request that may be made longer: `None` where it has none or is empty, where its inputs aren't
    /// equally long, and where the mask of a row leaves nothing: such a row's answer may depend on its length.
    pub(super) fn length(&self, inputs: &[Value]) -> Option<usize> {
        let mut lengths = self.inputs.iter().zip(inputs).flat_map(|(filled, value)| {
            let axes = filled.as_ref().map(|filled| filled.axes.as_slice()).unwrap_or_default();
            axes.iter().map(|&axis| value.as_tensor().and_then(|tensor| tensor.shape.get(axis)).copied())
        });
        let first = lengths.next()??;
        let equal = first > 0 && lengths.all(|length| length == Some(first));
        let masked = self.mask.is_some_and(|mask| inputs.get(mask).is_none_or(hides_a_row));
        (equal && !masked).then_some(first)
    }

    /// Whether the sizes along that axis of that input may differ.
    pub(super) fn is_length(&self, input: usize, axis: usize) -> bool {
        self.inputs.get(input).and_then(Option::as_ref).is_some_and(|filled| filled.axes.contains(&axis))
    }

    /// Elements of a request of `rows` rows, shaped as `inputs` are, once it is `length` long.
    pub(super) fn elements(&self, inputs: &[Value], rows: usize, length: usize) -> usize {
        let of = |(k, value): (usize, &Value)| {
            let Some(tensor) = value.as_tensor() else { return 0 };
            let sizes = tensor.shape.iter().enumerate().skip(1);
            sizes.fold(rows, |n, (axis, &size)| n.saturating_mul(if self.is_length(k, axis) { length } else { size }))
        };
        inputs.iter().enumerate().map(of).fold(0, usize::saturating_add)
    }

    /// The inputs made `length` long. `None` where they are no such request.
    pub(super) fn pad(&self, inputs: &[Value], length: usize) -> Option<Vec<Value>> {
        let one = |(filled, value): (&Option<Filled>, &Value)| match filled {
            None => Some(value.clone()),
            Some(Filled { axes, fill }) => resized(value.as_tensor()?, axes, length, Some(*fill)),
        };
        self.inputs.iter().zip(inputs).map(one).collect()
    }

    /// The outputs of a run that was `from` long, made `length` long. `None` where an output isn't as long as the run.
    pub(super) fn cut(&self, outputs: Vec<Value>, from: usize, length: usize) -> Option<Vec<Value>> {
        let one = |(axes, value): (&Vec<usize>, Value)| {
            if axes.is_empty() {
                return Some(value);
            }
            let tensor = value.as_tensor()?;
            let whole = axes.iter().all(|&axis| tensor.shape.get(axis) == Some(&from));
            if whole { resized(tensor, axes, length, None) } else { None }
        };
        self.outputs.iter().zip(outputs).map(one).collect()
    }
}

/// Requests joined along axis 0, each first made as long as the longest. `None` if they can't be.
pub(super) fn join(requests: &[&[Value]], lengths: &[usize], padding: &Padding) -> Option<Vec<Value>> {
    let longest = *lengths.iter().max()?;
    let padded = requests.iter().zip(lengths).map(|(inputs, &length)| match length == longest {
        true => Some(None),
        false => padding.pad(inputs, longest).map(Some),
    });
    let padded = padded.collect::<Option<Vec<_>>>()?;
    let equal: Vec<&[Value]> =
        padded.iter().zip(requests).map(|(padded, inputs)| padded.as_deref().unwrap_or(inputs)).collect();
    rows::join(&equal, 0)
}

/// The way back from [`join`]: each request's rows, as long as it was. `None` where an output hasn't exactly the rows and
/// the length that went in.
pub(super) fn split(
    outputs: Vec<Value>,
    rows: &[usize],
    lengths: &[usize],
    padding: &Padding,
) -> Option<Vec<Vec<Value>>> {
    let longest = *lengths.iter().max()?;
    let parts = rows::split(outputs, 0, rows)?;
    parts.into_iter().zip(lengths).map(|(part, &length)| padding.cut(part, longest, length)).collect()
}

fn resized(tensor: &Tensor, axes: &[usize], length: usize, fill: Option<Fill>) -> Option<Value> {
    let mut shape = tensor.shape.clone();
    for &axis in axes {
        *shape.get_mut(axis)? = length;
    }
    let data = match fill {
        Some(fill) => fill.resize(&tensor.data, &tensor.shape, &shape)?,
        None => each_type!(&tensor.data, elements => cut(elements, &tensor.shape, &shape))?,
    };
    Tensor::new(shape, data).map(Value::Tensor)
}

/// Nothing is filled where everything gets shorter.
fn cut<T: Element + Default>(elements: &[T], from: &[usize], to: &[usize]) -> Option<TensorData> {
    resize(elements, from, to, T::default()).map(T::wrap)
}

/// Whether a mask is zero all over one of its rows, or no mask at all.
fn hides_a_row(mask: &Value) -> bool {
    fn each<T: Element + Default + PartialEq>(elements: &[T], rows: usize) -> bool {
        let row = elements.len() / rows.max(1);
        row > 0 && elements.chunks(row).any(|row| row.iter().all(|element| *element == T::default()))
    }
    match mask {
        Value::Tensor(Tensor { shape, data }) => {
            let rows = shape.first().copied().unwrap_or_default();
            each_type!(data, elements => each(elements, rows))
        }
        _ => true,
    }
}
