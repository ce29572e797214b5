//! `/v1/predict`: an object with one property an input, answered by one with one property an output.
//!
//! Tensors are row-major nested arrays, scalars bare values. What no JSON number can say is a string (`"NaN"`,
//! `"Infinity"`, `"-Infinity"`), bytes that aren't UTF-8 are `{"b64": "…"}`, sequences arrays, maps objects, and an
//! absent optional is null, or left out of a request.

use super::json::{Fault, Reader};
use super::{check, did_you_mean, read, shown, write};
use crate::error::Error;
use crate::signature::{ModelSignature, ValueType};
use crate::tensor::Value;

/// Reads a request: one value an input in the signature's order, each of which fits the signature.
///
/// Whatever is wrong is an [`Error::BadRequest`] that names the tensor, the place, what came and what it should be.
pub fn decode(body: &[u8], signature: &ModelSignature) -> Result<Vec<Value>, Error> {
    let mut reader = Reader::new(body)?;
    if !reader.take(b'{') {
        let text = format!("the body should be a JSON object {}", properties(signature));
        return Err(Error::BadRequest(text));
    }
    let bad = |reader: &Reader<'_>, fault: Box<Fault>| {
        Error::BadRequest(format!("the body is no JSON: {} ({})", fault.what, reader.place(fault.at)))
    };
    let mut found: Vec<Option<Value>> = vec![None; signature.inputs.len()];
    let mut first = true;
    while let Some(name) = reader.property(&mut first).map_err(|fault| bad(&reader, fault))? {
        let Some(k) = signature.inputs.iter().position(|spec| spec.name == name) else {
            return Err(unknown(&name, signature));
        };
        if found[k].is_some() {
            return Err(Error::BadRequest(format!("`{name}` is there twice ({})", reader.place(reader.at()))));
        }
        found[k] = Some(read::read_value(&mut reader, &name, &signature.inputs[k].value_type)?);
    }
    reader.end().map_err(|fault| bad(&reader, fault))?;
    let mut values = Vec::with_capacity(found.len());
    for (value, spec) in found.into_iter().zip(&signature.inputs) {
        match (value, &spec.value_type) {
            (Some(value), _) => values.push(value),
            (None, ValueType::Optional { .. }) => values.push(Value::Absent),
            (None, value_type) => {
                return Err(Error::BadRequest(format!("`{}` is missing: it should be {value_type}", spec.name)));
            }
        }
    }
    check(&values, signature)?;
    Ok(values)
}

/// Appends an answer: one value an output in the signature's order.
pub fn encode(outputs: &[Value], signature: &ModelSignature, out: &mut Vec<u8>) {
    out.push(b'{');
    for (k, (value, spec)) in outputs.iter().zip(&signature.outputs).enumerate() {
        if k > 0 {
            out.push(b',');
        }
        write::string(out, &spec.name);
        out.push(b':');
        write::value(out, value);
    }
    out.push(b'}');
}

fn unknown(name: &str, signature: &ModelSignature) -> Error {
    let meant = did_you_mean(name, signature.inputs.iter().map(|spec| spec.name.as_str()));
    Error::BadRequest(format!(
        "the model has no input `{}`{meant}; the body should be {}",
        shown(name),
        properties(signature)
    ))
}

/// What a body has to hold, in words.
fn properties(signature: &ModelSignature) -> String {
    let names: Vec<String> = signature.inputs.iter().take(16).map(|spec| format!("`{}`", spec.name)).collect();
    let more = if signature.inputs.len() > 16 { ", …" } else { "" };
    match names.as_slice() {
        [] => "without properties, `{}`, as the model has no inputs".into(),
        _ => format!("with the properties {}{more}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::tests::signature;
    use super::*;
    use crate::signature::{ElementType, Shape, ValueSpec};
    use crate::tensor::{Tensor, TensorData};

    fn one(element_type: &str, shape: &str) -> ModelSignature {
        signature(&[("x", element_type, shape)], &[("x", element_type, shape)])
    }

    fn read(body: &str, signature: &ModelSignature) -> Tensor {
        decode(body.as_bytes(), signature).unwrap_or_else(|e| panic!("{body}: {e}")).remove(0).into_tensor().unwrap()
    }

    fn fault(body: &str, signature: &ModelSignature) -> String {
        match decode(body.as_bytes(), signature) {
            Err(Error::BadRequest(text)) => text,
            other => panic!("{body}: {other:?}"),
        }
    }

    fn written(value: Value) -> String {
        let signature = one("float32", "null");
        let mut out = Vec::new();
        encode(&[value], &signature, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn tensor(shape: &[usize], data: TensorData) -> Value {
        Tensor::new(shape.to_vec(), data).unwrap().into()
    }

    #[test]
    fn nested_arrays_become_a_shape_and_a_buffer() {
        let s = one("float32", r#"["N",3]"#);
        let t = read(r#" { "x" : [ [1, 2.5,-3e1] , [4,5,6] ] } "#, &s);
        assert_eq!((t.shape, t.data), (vec![2, 3], TensorData::Float32(vec![1.0, 2.5, -30.0, 4.0, 5.0, 6.0])));
        assert_eq!(read(r#"{"x":7}"#, &one("int64", "[]")), Tensor::new(vec![], TensorData::Int64(vec![7])).unwrap());
        assert_eq!(read(r#"{"x":[[[1]]]}"#, &one("uint8", "null")).shape, [1, 1, 1]);
        assert_eq!(read(r#"{"x":true}"#, &one("bool", "null")).data, TensorData::Bool(vec![true]));
    }

    #[test]
    fn empty_arrays_get_the_sizes_that_the_model_fixes() {
        for (shape, body, want) in [
            (r#"["N",3]"#, "[]", vec![0, 3]),
            (r#"["N","T",4]"#, "[[],[]]", vec![2, 0, 4]),
            ("[2,0]", "[[],[]]", vec![2, 0]),
            (r#"["N"]"#, "[]", vec![0]),
            ("null", "[[]]", vec![1, 0]),
        ] {
            assert_eq!(read(&format!(r#"{{"x":{body}}}"#), &one("int32", shape)).shape, want, "{shape} {body}");
        }
    }

    #[test]
    fn what_json_numbers_cannot_say_is_said_in_words() {
        let t = read(r#"{"x":["NaN","Infinity","-Infinity"]}"#, &one("float16", r#"["N"]"#));
        let TensorData::Float16(v) = t.data else { panic!("float16 is wanted") };
        assert!(v[0].is_nan() && v[1].is_infinite() && v[2] == half::f16::NEG_INFINITY);
        assert!(fault(r#"{"x":["nan"]}"#, &one("float32", "[1]")).contains("\"nan\" is no float32"));
        assert!(
            fault(r#"{"x":["NaN"]}"#, &one("int32", "[1]")).contains("a number (int32) is expected and a string came")
        );
    }

    #[test]
    fn strings_are_text_or_tagged_base64() {
        let s = one("string", r#"["N"]"#);
        let t = read(r#"{"x":["a\"\u00e9\ud83d\ude00\n", {"b64":"/wA="}, ""]}"#, &s);
        assert_eq!(t.data, TensorData::String(vec!["a\"é😀\n".into(), vec![0xff, 0], vec![]]));
        for (body, want) in [
            (r#"["\ud800"]"#, "surrogate"),
            (r#"["\x"]"#, "escape"),
            ("[\"a\nb\"]", "control character"),
            (r#"[{"b64":"?"}]"#, "not base64"),
            (r#"[{"b65":""}]"#, "an object for bytes is"),
            (r#"[{"b64":"","c":1}]"#, "nothing else"),
            (r#"[1]"#, "a string is expected and a number came"),
        ] {
            assert!(fault(&format!(r#"{{"x":{body}}}"#), &s).contains(want), "{body}");
        }
    }

    #[test]
    fn every_fault_names_the_tensor_the_place_and_what_it_should_be() {
        let s = one("int8", r#"["N",2]"#);
        for (body, want) in [
            (
                r#"{"x":[[1,300]]}"#,
                "`x`[0][1]: 300 is out of range for int8 (-128 to 127) (line 1, column 10); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[1,2],[1]]}"#,
                "`x`[1]: a ragged array: it has 1 parts where the ones before it have 2 (line 1, column 15); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[1,2]}"#,
                "`x`[0]: an array is expected and a number came (line 1, column 7); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[[1,2]]]}"#,
                "`x`[0][0]: an array stands where a single value should (line 1, column 8); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[1,[2]]]}"#,
                "`x`[0][1]: an array stands where a single value should (line 1, column 10); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[1,null]]}"#,
                "`x`[0][1]: a number (int8) is expected and null came (line 1, column 10); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[1.5,2]]}"#,
                "`x`[0][0]: 1.5 is not a whole number, as int8 needs (line 1, column 8); `x` should be int8 [N, 2]",
            ),
            (
                r#"{"x":[[1,2,3]]}"#,
                "`x` should be int8 [N, 2]; what came has shape [1, 3], which is 3 instead of 2 on axis 1",
            ),
            (r#"{"x":[[1,2],]}"#, "`x`[1]: an array is expected and `]` came"),
            ("{\"x\":[[1,2]\n,[1 2]]}", "`x`[1][1]: `,` or `]` is expected and `2` came (line 2, column 5)"),
            (r#"{"x":[[1,2"#, "`x`[0][2]: the JSON ends where `,` or `]` is expected"),
            (r#"{}"#, "`x` is missing: it should be int8 [N, 2]"),
            (
                r#"{"X":1}"#,
                "the model has no input `X` (did you mean `x`?); the body should be with the properties `x`",
            ),
            (r#"{"x":[[1,2]],"x":[[1,2]]}"#, "`x` is there twice"),
            (
                r#"{"x":[[1,2]]} x"#,
                "the body is no JSON: the end of the body is expected and `x` came (line 1, column 15)",
            ),
            (r#"{"x":[[1,2]],}"#, "the body is no JSON: a property's name in double quotes is expected and `}` came"),
            (r#"{"x" [[1,2]]}"#, "the body is no JSON: `:` is expected and `[` came"),
            (r#"[]"#, "the body should be a JSON object with the properties `x`"),
            ("", "the body should be a JSON object"),
        ] {
            let text = fault(body, &s);
            assert!(text.starts_with(want), "{body}\n{text}\n{want}");
        }
        let invalid = decode(b"{\"x\":\xff}", &s).unwrap_err().to_string();
        assert_eq!(invalid, "the body isn't UTF-8: byte 5 fits no character");
    }

    #[test]
    fn brackets_without_end_are_refused_early() {
        let body = format!(r#"{{"x":{}"#, "[".repeat(10_000));
        assert!(fault(&body, &one("float32", "null")).contains("more than 64 deep"));
        assert!(fault(&body, &one("float32", r#"["N",2]"#)).contains("`x`[0][0]: an array stands where"));
        assert!(fault("{\"x\":{\"a\":", &one("float32", "[1]")).contains("an array is expected and an object came"));
    }

    #[test]
    fn a_model_without_inputs_takes_an_empty_object() {
        let s = signature(&[], &[]);
        assert_eq!(decode(b" {} ", &s), Ok(vec![]));
        assert!(fault(r#"{"a":1}"#, &s).contains("no inputs"));
    }

    #[test]
    fn sequences_maps_and_optionals_are_arrays_objects_and_null() {
        let of = |element_type, shape| ValueType::Tensor { element_type, shape: Shape(shape) };
        let row = || Box::new(of(ElementType::Float32, Some(vec![])));
        let spec = |name: &str, value_type| ValueSpec { name: name.into(), value_type };
        let mut s = signature(&[], &[]);
        s.inputs = vec![
            spec("m", ValueType::Map { key: ElementType::Int64, value: row(), labels: vec![] }),
            spec("s", ValueType::Sequence { element: Box::new(of(ElementType::Int64, None)) }),
            spec("o", ValueType::Optional { element: row() }),
            spec("p", ValueType::Optional { element: row() }),
        ];
        s.outputs = s.inputs.clone();
        let body = r#"{"m":{"-1":0.5,"2":1.0},"s":[[1],2],"o":null,"p":4.0}"#;
        let values = decode(body.as_bytes(), &s).unwrap();
        let mut out = Vec::new();
        encode(&values, &s, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), body);
        assert_eq!(decode(br#"{"m":{},"s":[]}"#, &s).unwrap()[2..], [Value::Absent, Value::Absent]);
        assert!(fault(r#"{"m":{"a":1},"s":[]}"#, &s).contains("the key `a` is no int64"));
        assert!(fault(r#"{"m":{},"s":[1,"a"]}"#, &s).contains("`s[1]`: a number (int64) is expected"));
        assert!(fault(r#"{"m":[],"s":[]}"#, &s).contains("an object is expected and an array came"));
        assert!(fault(r#"{"m":{},"s":3}"#, &s).contains("an array is expected and a number came"));
    }

    #[test]
    fn answers_are_nested_arrays_with_shortest_digits() {
        let floats = vec![0.1f32, -0.0, 1e-7, 1.0, f32::NAN, f32::NEG_INFINITY];
        let text = r#"{"x":[[0.1,-0.0,1e-7],[1.0,"NaN","-Infinity"]]}"#;
        assert_eq!(written(tensor(&[2, 3], TensorData::Float32(floats))), text);
        assert_eq!(written(tensor(&[], TensorData::Uint64(vec![u64::MAX]))), r#"{"x":18446744073709551615}"#);
        assert_eq!(written(tensor(&[2, 0], TensorData::Int8(vec![]))), r#"{"x":[[],[]]}"#);
        assert_eq!(written(tensor(&[0, 2], TensorData::Int8(vec![]))), r#"{"x":[]}"#);
        assert_eq!(written(tensor(&[1 << 40, 0], TensorData::Int8(vec![]))), r#"{"x":[]}"#);
        let strings = vec![b"a\"\n".to_vec(), vec![0xff, 0]];
        assert_eq!(written(tensor(&[2], TensorData::String(strings))), r#"{"x":["a\"\n",{"b64":"/wA="}]}"#);
        let key = |s: &str| Tensor { shape: vec![], data: TensorData::String(vec![s.into()]) };
        let map = Value::Map(vec![(key("a\""), tensor(&[], TensorData::Float32(vec![0.5])))]);
        assert_eq!(written(Value::Sequence(vec![map, Value::Absent])), r#"{"x":[{"a\"":0.5},null]}"#);
    }

    #[test]
    fn a_name_with_quotes_is_escaped() {
        let s = signature(&[("a\"b", "int64", "[]")], &[("a\"b", "int64", "[]")]);
        let values = decode(br#"{"a\"b":1}"#, &s).unwrap();
        let mut out = Vec::new();
        encode(&values, &s, &mut out);
        assert_eq!(out, br#"{"a\"b":1}"#);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_or_a_fault_and_never_a_panic(body: Vec<u8>, kind in 0usize..4) {
            let s = [one("float32", "null"), one("int64", "[2]"), one("string", r#"["N"]"#), one("bool", "[]")];
            let _ = decode(&body, &s[kind]);
        }

        /// Pieces of JSON in any order get much further in than any bytes do.
        #[test]
        fn pieces_of_json_are_taken_just_when_they_are_json(pieces in prop::collection::vec(
            prop::sample::select(vec!["[", "]", ",", "1", "0.5", "-", "\"a\"", "{\"b64\":\"\"}", " ", "null", "true", "NaN"]), 0..12)) {
            let body = format!("{{\"x\":{}}}", pieces.concat());
            for s in [one("float32", "null"), one("string", "null"), one("bool", "null"), one("int8", r#"["N","M"]"#)] {
                if decode(body.as_bytes(), &s).is_ok() {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{}", body);
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back(shape in prop::collection::vec(0usize..4, 0..4), seed: u64) {
            let count: usize = shape.iter().product();
            let at = |k: usize| seed.wrapping_mul(6_364_136_223_846_793_005).rotate_left(k as u32 * 7) ^ k as u64;
            let all = [
                TensorData::Float32((0..count).map(|k| f32::from_bits(at(k) as u32)).map(|v| if v.is_nan() { 0.0 } else { v }).collect()),
                TensorData::Float64((0..count).map(|k| f64::from_bits(at(k))).map(|v| if v.is_nan() { 0.0 } else { v }).collect()),
                TensorData::Float16((0..count).map(|k| half::f16::from_bits(at(k) as u16)).map(|v| if v.is_nan() { half::f16::ZERO } else { v }).collect()),
                TensorData::Bfloat16((0..count).map(|k| half::bf16::from_bits(at(k) as u16)).map(|v| if v.is_nan() { half::bf16::ZERO } else { v }).collect()),
                TensorData::Int64((0..count).map(|k| at(k) as i64).collect()),
                TensorData::Uint64((0..count).map(at).collect()),
                TensorData::Int8((0..count).map(|k| at(k) as i8).collect()),
                TensorData::Bool((0..count).map(|k| at(k) & 1 == 1).collect()),
                TensorData::String((0..count).map(|k| at(k).to_le_bytes()[..k % 9].to_vec()).collect()),
            ];
            // An empty array loses the sizes inside it, so that they have to be fixed.
            let dims = serde_json::to_string(&shape).unwrap();
            for data in all {
                let s = one(data.element_type().name(), &dims);
                let value = Value::Tensor(Tensor { shape: shape.clone(), data });
                let mut out = Vec::new();
                encode(std::slice::from_ref(&value), &s, &mut out);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                prop_assert_eq!(decode(&out, &s).unwrap(), vec![value]);
            }
        }
    }
}
