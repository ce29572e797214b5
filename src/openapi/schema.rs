//! The schema of one value of a model, as `/v1/predict` writes it in JSON.

use nimify_runtime::narrow;
use nimify_runtime::signature::{Dim, ElementType, Shape, ValueSpec, ValueType};
use utoipa::openapi::extensions::{Extensions, ExtensionsBuilder};
use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, AnyOfBuilder, ArrayBuilder, Components, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};

/// Which way an object goes: a request may leave an absent optional out, an answer says null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Answer,
}

/// An object with one property a value.
pub(super) fn object(
    specs: &[ValueSpec],
    direction: Direction,
    description: &str,
    components: &mut Components,
) -> Schema {
    let mut object = ObjectBuilder::new()
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for spec in specs {
        object = object.property(&spec.name, value(&spec.value_type, components));
        if direction == Direction::Answer || !matches!(spec.value_type, ValueType::Optional { .. }) {
            object = object.required(&spec.name);
        }
    }
    object.build().into()
}

/// The schema of a value. Schemas that several values share go to `components`.
pub(super) fn value(value_type: &ValueType, components: &mut Components) -> RefOr<Schema> {
    let description = value_type.to_string();
    match value_type {
        ValueType::Tensor { element_type, shape } | ValueType::SparseTensor { element_type, shape } => {
            tensor(*element_type, shape, description, components)
        }
        ValueType::Sequence { element } => {
            ArrayBuilder::new().items(value(element, components)).description(Some(description)).into()
        }
        ValueType::Map { key, value: inner, labels } => {
            let values = map_value(inner, components);
            if !labels.is_empty() {
                return labelled(labels, values, description);
            }
            let mut map = ObjectBuilder::new()
                .description(Some(description))
                .additional_properties(Some(AdditionalProperties::RefOr(values)));
            if *key != ElementType::String {
                map = map
                    .property_names(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^-?[0-9]+$"))));
            }
            map.into()
        }
        ValueType::Optional { element } => {
            let absent = ObjectBuilder::new().schema_type(Type::Null);
            AnyOfBuilder::new().item(value(element, components)).item(absent).description(Some(description)).into()
        }
    }
}

/// A map's value: ONNX Runtime's maps hold scalars alone, whatever shape the file gives them.
fn map_value(value_type: &ValueType, components: &mut Components) -> RefOr<Schema> {
    match value_type {
        ValueType::Tensor { element_type, .. } => {
            Ref::from_schema_name(element_schema(*element_type, components)).into()
        }
        other => value(other, components),
    }
}

/// A map of which all labels are known.
fn labelled(labels: &[String], values: RefOr<Schema>, description: String) -> RefOr<Schema> {
    let map = ObjectBuilder::new()
        .description(Some(description))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    labels.iter().fold(map, |map, label| map.property(label, values.clone()).required(label)).into()
}

/// Nested arrays, outermost dimension first; the element itself for a scalar, any nesting for an unknown rank.
fn tensor(element: ElementType, shape: &Shape, description: String, components: &mut Components) -> RefOr<Schema> {
    let element = element_schema(element, components);
    let Some(dims) = shape.dims() else {
        let nested = format!("nested-{element}");
        let inner = Ref::from_schema_name(&nested);
        let schema = OneOfBuilder::new().item(Ref::from_schema_name(&element)).item(ArrayBuilder::new().items(inner));
        components.schemas.entry(nested.clone()).or_insert_with(|| Schema::from(schema).into());
        return described(&nested, description, shape);
    };
    let Some((outermost, inner)) = dims.split_first() else {
        return described(&element, description, shape);
    };
    let items = inner.iter().rfold(RefOr::Ref(Ref::from_schema_name(&element)), |items, dim| array(items, dim).into());
    array(items, outermost).description(Some(description)).extensions(Some(shape_extension(shape))).into()
}

fn array(items: RefOr<Schema>, dim: &Dim) -> ArrayBuilder {
    let size = match dim {
        Dim::Fixed(size) => usize::try_from(*size).ok(),
        Dim::Symbolic(_) | Dim::Unknown => None,
    };
    ArrayBuilder::new().items(items).min_items(size).max_items(size)
}

/// A reference with a description and a shape of its own.
fn described(component: &str, description: String, shape: &Shape) -> RefOr<Schema> {
    AllOfBuilder::new()
        .item(Ref::from_schema_name(component))
        .description(Some(description))
        .extensions(Some(shape_extension(shape)))
        .into()
}

/// The shape with the names of its dimensions. One extension a schema: utoipa keeps them in a hash map.
fn shape_extension(shape: &Shape) -> Extensions {
    let shape = serde_json::to_value(shape).expect("a shape is a list of numbers, strings and nulls");
    ExtensionsBuilder::new().add("x-nimify-shape", shape).build()
}

/// Puts the schema of an element among the components and gives its name.
fn element_schema(element: ElementType, components: &mut Components) -> String {
    let name = element.name().to_string();
    components.schemas.entry(name.clone()).or_insert_with(|| RefOr::T(element_type(element)));
    name
}

fn element_type(element: ElementType) -> Schema {
    use ElementType as E;
    let integer = |minimum: i64, maximum: u64| {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::Custom(element.name().into())))
            .minimum(Some(minimum))
            .maximum(Some(maximum))
            .into()
    };
    match element {
        // The bound is half a step above the greatest value: what is below it is rounded, what isn't is refused. In 17
        // digits that of singles reads as a little less, and what is written so is a single yet.
        E::Float32 => float(Some("float"), Some((2f64.powi(128) - 2f64.powi(103)).next_up())),
        E::Float64 => float(Some("double"), None),
        E::Float16 => float(None, Some(65520.0)),
        E::Bfloat16 => float(None, Some(2f64.powi(128) - 2f64.powi(119))),
        E::Int8 => integer(i8::MIN.into(), i8::MAX as u64),
        E::Int16 => integer(i16::MIN.into(), i16::MAX as u64),
        E::Int32 => integer(i32::MIN.into(), i32::MAX as u64),
        E::Int64 => integer(i64::MIN, i64::MAX as u64),
        E::Uint8 => integer(0, u8::MAX.into()),
        E::Uint16 => integer(0, u16::MAX.into()),
        E::Uint32 => integer(0, u32::MAX.into()),
        E::Uint64 => integer(0, u64::MAX),
        E::Bool => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        E::String => string(),
        narrow if narrow::range(narrow).is_some() => narrow_type(narrow),
        // No service is made for these: the plan refuses them. The document stays true by promising nothing.
        _ => ObjectBuilder::new().schema_type(SchemaType::AnyValue).into(),
    }
}

/// JSON has no non-finite numbers: they are written as strings. Finite ones stay between `bound` and its negative.
fn float(format: Option<&str>, bound: Option<f64>) -> Schema {
    let number = ObjectBuilder::new()
        .schema_type(Type::Number)
        .format(format.map(|name| SchemaFormat::Custom(name.into())))
        .exclusive_minimum(bound.map(|bound| -bound))
        .exclusive_maximum(bound);
    let other = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["NaN", "Infinity", "-Infinity"]));
    OneOfBuilder::new().item(number).item(other).into()
}

/// A number of a narrow type: those floats that it has words for as strings.
fn narrow_type(element: ElementType) -> Schema {
    let Some(range) = narrow::range(element) else {
        return ObjectBuilder::new().schema_type(SchemaType::AnyValue).into();
    };
    let words = [("NaN", range.nan), ("Infinity", range.infinity), ("-Infinity", range.infinity)];
    let words: Vec<_> = words.into_iter().filter(|(_, has)| *has).map(|(word, _)| word).collect();
    let whole = element.carrier() != Some(ElementType::Float32);
    let number = ObjectBuilder::new()
        .schema_type(if whole { Type::Integer } else { Type::Number })
        .format(Some(SchemaFormat::Custom(element.name().into())))
        .minimum(Some(range.least))
        .maximum(Some(range.greatest));
    if words.is_empty() {
        return number.into();
    }
    let other = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    OneOfBuilder::new().item(number).item(other).into()
}

/// Base64 with its padding, and no bits set that stand for nothing: `contentEncoding` alone refuses no text.
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// A string; bytes that are not UTF-8 are an object.
fn string() -> Schema {
    let base64 = ObjectBuilder::new().schema_type(Type::String).content_encoding("base64").pattern(Some(BASE64));
    let bytes = ObjectBuilder::new()
        .description(Some("bytes that are not UTF-8"))
        .property("b64", base64)
        .required("b64")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::String)).item(bytes).into()
}
