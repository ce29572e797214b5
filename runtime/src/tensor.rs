//! Values on their way through the service: owned, typed, row-major, without copies between the stages.

use half::{bf16, f16};

use crate::signature::ElementType;

/// Declares [`TensorData`] and what is the same for each of its variants, so that an element type is added in one row.
macro_rules! tensor_data {
    ($($variant:ident($rust:ty)),+ $(,)?) => {
        /// The elements of a tensor, row-major.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the element type of its own name")]
        pub enum TensorData {
            $($variant(Vec<$rust>),)+
        }

        impl TensorData {
            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(TensorData::$variant(v) => v.len(),)+ }
            }

            /// The type of the elements.
            pub fn element_type(&self) -> ElementType {
                match self { $(TensorData::$variant(_) => ElementType::$variant,)+ }
            }

            /// An empty buffer of this type with room for `capacity` elements; `None` for types that can't be served.
            pub fn with_capacity(element_type: ElementType, capacity: usize) -> Option<Self> {
                match element_type {
                    $(ElementType::$variant => Some(TensorData::$variant(Vec::with_capacity(capacity))),)+
                    _ => None,
                }
            }
        }

        $(impl Element for $rust {
            const TYPE: ElementType = ElementType::$variant;
            fn wrap(data: Vec<Self>) -> TensorData {
                TensorData::$variant(data)
            }
            fn unwrap(data: TensorData) -> Result<Vec<Self>, TensorData> {
                match data {
                    TensorData::$variant(v) => Ok(v),
                    other => Err(other),
                }
            }
            fn as_slice(data: &TensorData) -> Option<&[Self]> {
                match data {
                    TensorData::$variant(v) => Some(v),
                    _ => None,
                }
            }
        })+
    };
}

/// A Rust type that stands for an [`ElementType`].
pub trait Element: Sized + Clone + Send + Sync + 'static {
    /// The element type that it stands for.
    const TYPE: ElementType;
    /// Moves a buffer in.
    fn wrap(data: Vec<Self>) -> TensorData;
    /// Moves the buffer out; gives the data back if it is of another type.
    fn unwrap(data: TensorData) -> Result<Vec<Self>, TensorData>;
    /// Lends the buffer; `None` if it is of another type.
    fn as_slice(data: &TensorData) -> Option<&[Self]>;
}

/// The element of a string tensor: ONNX Runtime's strings are bytes, mostly UTF-8 but not always.
pub type Bytes = Vec<u8>;

tensor_data! {
    Float32(f32), Float64(f64), Float16(f16), Bfloat16(bf16),
    Int8(i8), Int16(i16), Int32(i32), Int64(i64),
    Uint8(u8), Uint16(u16), Uint32(u32), Uint64(u64),
    Bool(bool), String(Bytes),
}

/// Runs `$body` with `$elements` bound to the buffer inside `$data`, whatever its element type.
macro_rules! each_type {
    ($data:expr, $elements:ident => $body:expr) => {
        match $data {
            $crate::tensor::TensorData::Float32($elements) => $body,
            $crate::tensor::TensorData::Float64($elements) => $body,
            $crate::tensor::TensorData::Float16($elements) => $body,
            $crate::tensor::TensorData::Bfloat16($elements) => $body,
            $crate::tensor::TensorData::Int8($elements) => $body,
            $crate::tensor::TensorData::Int16($elements) => $body,
            $crate::tensor::TensorData::Int32($elements) => $body,
            $crate::tensor::TensorData::Int64($elements) => $body,
            $crate::tensor::TensorData::Uint8($elements) => $body,
            $crate::tensor::TensorData::Uint16($elements) => $body,
            $crate::tensor::TensorData::Uint32($elements) => $body,
            $crate::tensor::TensorData::Uint64($elements) => $body,
            $crate::tensor::TensorData::Bool($elements) => $body,
            $crate::tensor::TensorData::String($elements) => $body,
        }
    };
}
pub(crate) use each_type;

impl TensorData {
    /// Bytes that the elements take in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            TensorData::String(texts) => texts.iter().map(|text| size_of::<Bytes>() + text.len()).sum(),
            data => each_type!(data, elements => size_of_val(elements.as_slice())),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adds the elements of `more` to `all`; `None`, and nothing added, if they are of another type.
pub(crate) fn append(all: &mut TensorData, more: &TensorData) -> Option<()> {
    fn each<T: Element>(all: &mut Vec<T>, more: &TensorData) -> Option<()> {
        all.extend_from_slice(T::as_slice(more)?);
        Some(())
    }
    each_type!(all, elements => each(elements, more))
}

/// A dense tensor: elements row-major, as many as the product of its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Size of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: TensorData,
}

impl Tensor {
    /// Joins a shape and its elements; `None` if the count differs or overflows.
    pub fn new(shape: Vec<usize>, data: TensorData) -> Option<Self> {
        (element_count(&shape)? == data.len()).then_some(Tensor { shape, data })
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.data.element_type()
    }
}

/// The product of the sizes; 1 for a scalar, `None` on overflow.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Any value that a model takes or gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A dense tensor.
    Tensor(Tensor),
    /// Values of one type.
    Sequence(Vec<Value>),
    /// Pairs of a scalar key and a value, in the model's order.
    Map(Vec<(Tensor, Value)>),
    /// An optional that is absent.
    Absent,
}

impl Value {
    /// The tensor inside, if it is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Moves the tensor out, if it is one.
    pub fn into_tensor(self) -> Option<Tensor> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

/// Elements in values: of all tensors, and of a map its pairs.
pub(crate) fn elements(values: &[Value]) -> usize {
    let one = |value: &Value| match value {
        Value::Tensor(tensor) => tensor.data.len(),
        Value::Sequence(values) => elements(values),
        Value::Map(pairs) => pairs.len(),
        Value::Absent => 0,
    };
    values.iter().map(one).sum()
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Value::Tensor(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_holds_as_many_elements_as_its_shape_says() {
        let data = || TensorData::Float32(vec![0.0; 6]);
        assert!(Tensor::new(vec![2, 3], data()).is_some());
        assert!(Tensor::new(vec![2, 2], data()).is_none());
        assert!(Tensor::new(vec![usize::MAX, 2], data()).is_none());
        assert!(Tensor::new(vec![], TensorData::Int64(vec![1])).is_some());
    }
}
