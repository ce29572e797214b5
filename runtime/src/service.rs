//! The seam between the runtime and a generated crate: an object-safe trait, values in and values out.
//!
//! A generated crate may name what this module exports and nothing else, so that the rest of the runtime can change
//! without regenerating anything. The trait is object-safe on purpose: were the runtime generic over the service, each
//! new model would compile the whole server again (13.6 s instead of 0.6 s, at equal throughput).

pub use crate::error::Error;
pub use crate::rows::{Pairs, Row, Rows, give_labels, take_labels};
pub use crate::tensor::{Element, Tensor, TensorData, Value};
pub use half::{bf16, f16};

/// What a generated crate adds to the runtime.
pub trait Service: Send + Sync + 'static {
    /// The signature that the crate was generated from, as JSON. The service refuses to start beside a
    /// `signature.json` that says something else. `None` takes whatever `signature.json` says.
    fn signature(&self) -> Option<&'static str>;

    /// Runs on each request, on every protocol, before batching: one value an input, in the signature's order.
    fn before(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error>;

    /// Runs on each answer, after splitting: one value an output, in the signature's order.
    fn after(&self, outputs: Vec<Value>) -> Result<Vec<Value>, Error>;
}

/// The service of `nimify-serve`: any model, no hooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Generic;

impl Service for Generic {
    fn signature(&self) -> Option<&'static str> {
        None
    }

    fn before(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        Ok(inputs)
    }

    fn after(&self, outputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        Ok(outputs)
    }
}

/// Splits values into as many as a generated message has fields.
pub fn take<const N: usize>(values: Vec<Value>) -> Result<[Value; N], Error> {
    let count = values.len();
    values.try_into().map_err(|_| Error::Internal(format!("{count} values came where the signature has {N}")))
}

/// A tensor whose element type is known to the compiler: the typed view that generated requests and responses hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Size of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<T>,
}

impl<T: Element> Array<T> {
    /// Takes the buffer of `value` without copying it. `name` is the tensor's, for the error.
    pub fn from_value(name: &str, value: Value) -> Result<Self, Error> {
        let wrong = |what: String| Error::Internal(format!("`{name}` should be a {} tensor and is {what}", T::TYPE));
        match value {
            Value::Tensor(Tensor { shape, data }) => match T::unwrap(data) {
                Ok(data) => Ok(Array { shape, data }),
                Err(data) => Err(wrong(format!("one of {}", data.element_type()))),
            },
            _ => Err(wrong("none".into())),
        }
    }

    /// Gives the buffer back. `name` is the tensor's, for the error when a hook left a shape that doesn't fit.
    pub fn into_value(self, name: &str) -> Result<Value, Error> {
        let (count, shape) = (self.data.len(), self.shape);
        Tensor::new(shape.clone(), T::wrap(self.data)).map(Value::Tensor).ok_or_else(|| {
            Error::Internal(format!("a hook left `{name}` with {count} elements in the shape {shape:?}"))
        })
    }
}
