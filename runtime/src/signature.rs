//! What a model takes and gives: the values that every other part of nimify plans with.
//!
//! This module owns the types alone. Reading them out of a model file is `nimify`'s `model` module;
//! checking a request against them is [`crate::codec`].

use serde::{Deserialize, Serialize};

/// The element type of a tensor, as ONNX's `TensorProto.DataType` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each variant is the ONNX type of its own name")]
pub enum ElementType {
    Float32,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    String,
    Bool,
    Float16,
    Float64,
    Uint32,
    Uint64,
    Complex64,
    Complex128,
    Bfloat16,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
    Uint4,
    Int4,
    Float4E2M1,
    Float8E8M0,
    Uint2,
    Int2,
}

use ElementType as E;

/// One row an element type: ONNX's number, nimify's name, the Open Inference Protocol's datatype, bits.
const ELEMENT_TYPES: [(ElementType, i32, &str, Option<&str>, u32); 26] = [
    (E::Float32, 1, "float32", Some("FP32"), 32),
    (E::Uint8, 2, "uint8", Some("UINT8"), 8),
    (E::Int8, 3, "int8", Some("INT8"), 8),
    (E::Uint16, 4, "uint16", Some("UINT16"), 16),
    (E::Int16, 5, "int16", Some("INT16"), 16),
    (E::Int32, 6, "int32", Some("INT32"), 32),
    (E::Int64, 7, "int64", Some("INT64"), 64),
    (E::String, 8, "string", Some("BYTES"), 0),
    (E::Bool, 9, "bool", Some("BOOL"), 8),
    (E::Float16, 10, "float16", Some("FP16"), 16),
    (E::Float64, 11, "float64", Some("FP64"), 64),
    (E::Uint32, 12, "uint32", Some("UINT32"), 32),
    (E::Uint64, 13, "uint64", Some("UINT64"), 64),
    (E::Complex64, 14, "complex64", None, 64),
    (E::Complex128, 15, "complex128", None, 128),
    (E::Bfloat16, 16, "bfloat16", Some("BF16"), 16),
    (E::Float8E4M3FN, 17, "float8e4m3fn", None, 8),
    (E::Float8E4M3FNUZ, 18, "float8e4m3fnuz", None, 8),
    (E::Float8E5M2, 19, "float8e5m2", None, 8),
    (E::Float8E5M2FNUZ, 20, "float8e5m2fnuz", None, 8),
    (E::Uint4, 21, "uint4", None, 4),
    (E::Int4, 22, "int4", None, 4),
    (E::Float4E2M1, 23, "float4e2m1", None, 4),
    (E::Float8E8M0, 24, "float8e8m0", None, 8),
    (E::Uint2, 25, "uint2", None, 2),
    (E::Int2, 26, "int2", None, 2),
];

impl ElementType {
    fn row(self) -> &'static (ElementType, i32, &'static str, Option<&'static str>, u32) {
        ELEMENT_TYPES.iter().find(|row| row.0 == self).expect("every element type has a row")
    }

    /// The type that ONNX's `TensorProto.DataType` gives this number, if there is one.
    pub fn from_onnx(number: i32) -> Option<Self> {
        ELEMENT_TYPES.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The type that the Open Inference Protocol calls this, if there is one.
    pub fn from_datatype(datatype: &str) -> Option<Self> {
        ELEMENT_TYPES.iter().find(|row| row.3 == Some(datatype)).map(|row| row.0)
    }

    /// The number in ONNX's `TensorProto.DataType`.
    pub fn onnx(self) -> i32 {
        self.row().1
    }

    /// nimify's own name of the type, as it stands in `signature.json`.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The datatype of the Open Inference Protocol, `None` where the protocol has none.
    pub fn datatype(self) -> Option<&'static str> {
        self.row().3
    }

    /// The type in which requests, answers and hooks hold the elements: their own, or for those that no processor
    /// computes with the narrowest that has each of their values ([`crate::narrow`]). `None` for complex numbers, of
    /// which ONNX Runtime takes none.
    pub fn carrier(self) -> Option<ElementType> {
        match self {
            E::Complex64 | E::Complex128 => None,
            E::Int4 | E::Int2 => Some(E::Int8),
            E::Uint4 | E::Uint2 => Some(E::Uint8),
            E::Float8E4M3FN | E::Float8E4M3FNUZ | E::Float8E5M2 | E::Float8E5M2FNUZ | E::Float8E8M0 | E::Float4E2M1 => {
                Some(E::Float32)
            }
            other => Some(other),
        }
    }

    /// Bits of one element in a packed tensor; 0 for strings, which have no fixed size.
    pub fn bits(self) -> u32 {
        self.row().4
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One dimension of a shape.
///
/// In JSON a number, a string or null.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// The model fixes the size.
    Fixed(u64),
    /// The size is free; the same name in one signature means the same size.
    Symbolic(String),
    /// The size is free and has no name.
    Unknown,
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Symbolic(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// The shape of a tensor: `None` where not even the rank is known, `Some([])` for a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Option<Vec<Dim>>);

impl Shape {
    /// The dimensions, `None` where the rank is unknown.
    pub fn dims(&self) -> Option<&[Dim]> {
        self.0.as_deref()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("[...]"),
            Some(dims) => {
                f.write_str("[")?;
                for (k, dim) in dims.iter().enumerate() {
                    if k > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{dim}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What kind of value an input or an output is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ValueType {
    /// A dense tensor.
    Tensor {
        /// Type of its elements.
        element_type: ElementType,
        /// Its shape, row-major.
        shape: Shape,
    },
    /// A sparse tensor.
    SparseTensor {
        /// Type of its elements.
        element_type: ElementType,
        /// Its dense shape.
        shape: Shape,
    },
    /// A list of values of one type.
    Sequence {
        /// Type of each value.
        element: Box<ValueType>,
    },
    /// A map from an integer or a string to a value.
    Map {
        /// Type of the keys.
        key: ElementType,
        /// Type of the values.
        value: Box<ValueType>,
        /// The keys, as JSON writes them, where the model names them all; otherwise none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<String>,
    },
    /// A value that may be absent.
    Optional {
        /// Type of the value when it is there.
        element: Box<ValueType>,
    },
}

impl std::fmt::Display for ValueType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValueType::Tensor { element_type, shape } => write!(f, "{element_type} {shape}"),
            ValueType::SparseTensor { element_type, shape } => write!(f, "sparse {element_type} {shape}"),
            ValueType::Sequence { element } => write!(f, "sequence({element})"),
            ValueType::Map { key, value, .. } => write!(f, "map({key}, {value})"),
            ValueType::Optional { element } => write!(f, "optional({element})"),
        }
    }
}

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValueSpec {
    /// The name in the graph: any string that isn't empty.
    pub name: String,
    /// Its type and shape.
    #[serde(flatten)]
    pub value_type: ValueType,
}

impl ValueSpec {
    /// Element type and shape, where the value is a dense tensor.
    pub fn tensor(&self) -> Option<(ElementType, &Shape)> {
        match &self.value_type {
            ValueType::Tensor { element_type, shape } => Some((*element_type, shape)),
            _ => None,
        }
    }

    /// Whether it is a tensor of which every size is known.
    pub fn is_fixed(&self) -> bool {
        let fixed = |dims: &[Dim]| dims.iter().all(|dim| matches!(dim, Dim::Fixed(_)));
        self.tensor().and_then(|(_, shape)| shape.dims()).is_some_and(fixed)
    }

    /// Its type when it is there: what stands inside any [`ValueType::Optional`].
    pub fn present(&self) -> &ValueType {
        let mut value_type = &self.value_type;
        while let ValueType::Optional { element } = value_type {
            value_type = element;
        }
        value_type
    }

    /// The type of the elements in which the value travels where only tensors can: a tensor's own or its
    /// [carrier](ElementType::carrier), and strings, which are JSON texts, for what is no tensor.
    pub fn wire_type(&self) -> ElementType {
        match self.present() {
            ValueType::Tensor { element_type, .. } => element_type.carrier().unwrap_or(*element_type),
            _ => ElementType::String,
        }
    }
}

/// Whether requests can be joined into one run of the model, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Batching {
    /// Proved by running the model: every input and output carries one row a request along `axis`.
    Proved {
        /// The axis along which rows are joined, the same for every input and output.
        axis: usize,
        /// How it was proved.
        reason: String,
    },
    /// Not proved, since nothing here can run the model, but told by whoever made it: joined on that word.
    Stated {
        /// The axis of the rows, the same for every input and output.
        axis: usize,
        /// Who says it, and why it wasn't proved.
        reason: String,
    },
    /// The model couples rows, or has no axis that every input and output share.
    Refused {
        /// The tensor or operator that rules it out.
        reason: String,
    },
    /// Not tried, or no sample was found: served unbatched.
    Unproved {
        /// What was missing for a proof.
        reason: String,
    },
}

impl Batching {
    /// The axis to batch along, `None` where requests run alone.
    pub fn axis(&self) -> Option<usize> {
        match self {
            Batching::Proved { axis, .. } | Batching::Stated { axis, .. } => Some(*axis),
            _ => None,
        }
    }

    /// Why the verdict is what it is.
    pub fn reason(&self) -> &str {
        match self {
            Batching::Proved { reason, .. } | Batching::Stated { reason, .. } => reason,
            Batching::Refused { reason } | Batching::Unproved { reason } => reason,
        }
    }
}

/// Inputs and outputs of a model, in the graph's order, without the inputs that have an initializer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSignature {
    /// What a request has to bring.
    pub inputs: Vec<ValueSpec>,
    /// What an answer carries.
    pub outputs: Vec<ValueSpec>,
    /// Whether requests may be joined.
    pub batching: Batching,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_is_found_again_by_its_number_and_name() {
        for row in &ELEMENT_TYPES {
            assert_eq!(ElementType::from_onnx(row.1), Some(row.0));
            assert_eq!(serde_json::to_value(row.0).unwrap(), row.2);
            // Each protocol has a datatype for whatever can be served.
            assert_eq!(row.0.carrier().and_then(ElementType::datatype).is_some(), !row.2.starts_with("complex"));
        }
        assert_eq!(ElementType::from_onnx(0), None);
        assert_eq!(ElementType::from_datatype("BYTES"), Some(ElementType::String));
    }

    #[test]
    fn unknown_rank_scalar_unknown_dim_and_named_dim_stay_apart_in_json() {
        let spec = |shape| ValueSpec {
            name: "x".into(),
            value_type: ValueType::Tensor { element_type: ElementType::Float32, shape: Shape(shape) },
        };
        let dims = vec![Dim::Fixed(3), Dim::Symbolic("N".into()), Dim::Unknown];
        for (shape, json) in [
            (None, serde_json::json!(null)),
            (Some(vec![]), serde_json::json!([])),
            (Some(dims), serde_json::json!([3, "N", null])),
        ] {
            let value = serde_json::to_value(spec(shape.clone())).unwrap();
            assert_eq!(value, serde_json::json!({"name":"x","kind":"tensor","elementType":"float32","shape":json}));
            assert_eq!(serde_json::from_value::<ValueSpec>(value).unwrap(), spec(shape));
        }
    }

    #[test]
    fn what_is_no_tensor_travels_as_strings_and_an_optional_as_what_it_may_hold() {
        let row = || Box::new(ValueType::Tensor { element_type: ElementType::Float32, shape: Shape::default() });
        let wire = |value_type| ValueSpec { name: "x".into(), value_type }.wire_type();
        assert_eq!(wire(*row()), ElementType::Float32);
        assert_eq!(wire(ValueType::Optional { element: row() }), ElementType::Float32);
        assert_eq!(wire(ValueType::Sequence { element: row() }), ElementType::String);
        let map = ValueType::Map { key: ElementType::Int64, value: row(), labels: vec![] };
        assert_eq!(wire(ValueType::Optional { element: Box::new(map) }), ElementType::String);
    }
}
