//! Requests and answers of the Open Inference Protocol, well-formed and not.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::super::check::tests::signature;
use super::super::json::Reader;
use super::*;
use crate::signature::Shape;
use crate::signature::{ElementType, ValueSpec, ValueType};
use crate::tensor::{Tensor, TensorData};

const MODEL: ModelName<'_> = ModelName { name: "m", version: "1.2.0" };

fn one(element_type: &str, shape: &str) -> ModelSignature {
    signature(&[("x", element_type, shape)], &[("x", element_type, shape)])
}

fn tensor(shape: &[usize], data: TensorData) -> Value {
    Tensor::new(shape.to_vec(), data).unwrap().into()
}

fn read(body: &serde_json::Value, signature: &ModelSignature) -> InferRequest {
    decode(body.to_string().as_bytes(), None, signature).unwrap_or_else(|e| panic!("{body}: {e}"))
}

fn fault(body: &serde_json::Value, signature: &ModelSignature) -> String {
    match decode(body.to_string().as_bytes(), None, signature) {
        Err(Error::BadRequest(text)) => text,
        other => panic!("{body}: {other:?}"),
    }
}

fn answer(request: &InferRequest, outputs: &[Value], signature: &ModelSignature) -> serde_json::Value {
    let (out, length) = encode(MODEL, request, outputs, signature);
    assert_eq!(length, None);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn data_may_be_flat_or_nested_and_come_before_its_type() {
    let s = one("float32", r#"["N",2]"#);
    let want = vec![tensor(&[2, 2], TensorData::Float32(vec![1.0, 2.0, 3.0, 4.5]))];
    for body in [
        r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3,4.5]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4.5]]}]}"#,
        r#"{"inputs":[{"data":[[1,2],[3,4.5]],"datatype":"FP32","shape":[2,2],"name":"x","more":{"a":[{}]}}],"zzz":null}"#,
    ] {
        assert_eq!(decode(body.as_bytes(), None, &s).unwrap().inputs, want, "{body}");
    }
    let body = json!({"inputs":[{"name":"x","shape":[0,2],"datatype":"FP32","data":[]}]});
    assert_eq!(read(&body, &s).inputs, [tensor(&[0, 2], TensorData::Float32(vec![]))]);
    let body = json!({"inputs":[{"name":"x","shape":[],"datatype":"INT64","data":[7]}]});
    assert_eq!(read(&body, &one("int64", "[]")).inputs, [tensor(&[], TensorData::Int64(vec![7]))]);
}

#[test]
fn an_answer_says_the_id_the_model_and_what_was_asked_for() {
    let rows = [("a", "int64", "[1]"), ("b", "float16", "[1]")];
    let s = signature(&[], &rows);
    let outputs = [
        tensor(&[1], TensorData::Int64(vec![i64::MAX])),
        tensor(&[1], TensorData::Float16(vec![half::f16::from_f32(0.5)])),
    ];
    let all = read(&json!({"id":"7\"","inputs":[]}), &s);
    let want = json!({"model_name":"m","model_version":"1.2.0","id":"7\"","outputs":[
        {"name":"a","datatype":"INT64","shape":[1],"data":[i64::MAX]},
        {"name":"b","datatype":"FP16","shape":[1],"data":[0.5]}]});
    assert_eq!(answer(&all, &outputs, &s), want);
    let some = read(&json!({"inputs":[],"outputs":[{"name":"b"}]}), &s);
    let want = json!({"model_name":"m","model_version":"1.2.0","outputs":[
        {"name":"b","datatype":"FP16","shape":[1],"data":[0.5]}]});
    assert_eq!(answer(&some, &outputs, &s), want);
    assert_eq!(fault(&json!({"outputs":[{"name":"B"}]}), &s), "the model has no output `B` (did you mean `b`?)");
    assert!(fault(&json!({"outputs":[{"name":"b"},{"name":"b"}]}), &s).contains("asked for twice"));
    assert!(fault(&json!({"outputs":[{}]}), &s).contains("has no `name`"));
}

#[test]
fn classes_are_asked_for_output_by_output_and_come_as_texts() {
    let s = one("float32", r#"["N",3]"#);
    let body = json!({"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[0.5,2,-1]}],
        "outputs":[{"name":"x","parameters":{"classification":2}}]});
    let request = read(&body, &s);
    let output = &answer(&request, &request.inputs, &s)["outputs"][0];
    assert_eq!(output, &json!({"name":"x","datatype":"BYTES","shape":[2],"data":["2.0:1","0.5:0"]}));
    let body = json!({"inputs":body["inputs"],
        "outputs":[{"name":"x","parameters":{"classification":1,"binary_data":true}}]});
    let request = read(&body, &s);
    let (out, length) = encode(MODEL, &request, &request.inputs, &s);
    assert_eq!(&out[length.unwrap()..], [5, 0, 0, 0, b'2', b'.', b'0', b':', b'1']);
}

#[test]
fn priority_and_timeout_are_the_request_s_own() {
    let s = signature(&[], &[]);
    let urgency = |parameters: &str| {
        let body = format!(r#"{{"parameters":{parameters},"inputs":[]}}"#);
        decode(body.as_bytes(), None, &s).map(|request| request.urgency)
    };
    let of = |priority, timeout: u64| Urgency { priority, timeout: Some(Duration::from_micros(timeout)) };
    assert_eq!(urgency(r#"{"priority":2,"timeout":1500}"#), Ok(of(2, 1500)));
    assert_eq!(
        urgency(r#"{"timeout":18446744073709551615,"priority":18446744073709551615}"#),
        Ok(of(u32::MAX, u64::MAX))
    );
    for nothing in ["{}", r#"{"priority":0,"timeout":0}"#] {
        assert_eq!(urgency(nothing), Ok(Urgency::default()));
    }
    for (wrong, word) in [
        (r#"{"priority":"1"}"#, "`priority` should be a level, a whole number from 0 (line 1, column 27)"),
        (r#"{"priority":-1}"#, "`priority`"),
        (r#"{"timeout":1.5}"#, "`timeout` should be microseconds, a whole number from 0"),
        (r#"{"timeout":null}"#, "`timeout`"),
        (r#"{"timeout":18446744073709551616}"#, "`timeout`"),
        (r#"{"priority":[1]}"#, "`priority`"),
    ] {
        let Err(Error::BadRequest(text)) = urgency(wrong) else { panic!("{wrong}") };
        assert!(text.contains(word), "{text}");
    }
    // A tensor's parameters of these names are the client's own affair.
    let s = one("int64", "[]");
    let body = json!({"inputs":[{"name":"x","shape":[],"datatype":"INT64","data":[7],"parameters":{"timeout":"-"}}]});
    assert_eq!(read(&body, &s).urgency, Urgency::default());
}

#[test]
fn strings_that_are_no_text_travel_as_base64() {
    let s = one("string", r#"["N"]"#);
    let body = json!({"inputs":[{"name":"x","shape":[2],"datatype":"BYTES","data":["/wA=",""],
        "parameters":{"content_type":"base64"}}]});
    let request = read(&body, &s);
    assert_eq!(request.inputs, [tensor(&[2], TensorData::String(vec![vec![0xff, 0], vec![]]))]);
    let out = &answer(&request, &request.inputs, &s)["outputs"][0];
    assert_eq!(out["data"], json!(["/wA=", ""]));
    assert_eq!(out["parameters"], json!({"content_type":"base64"}));
    let text = [tensor(&[1], TensorData::String(vec!["é".into()]))];
    let out = &answer(&request, &text, &s)["outputs"][0];
    assert_eq!((&out["data"], out.get("parameters")), (&json!(["é"]), None));
}

#[test]
fn binary_tensors_follow_the_json_in_order() {
    let rows = [("x", "float32", r#"["N"]"#), ("s", "string", "[2]"), ("b", "bool", "[]")];
    let s = signature(&rows, &rows);
    let values = vec![
        tensor(&[2], TensorData::Float32(vec![0.5, f32::NAN])),
        tensor(&[2], TensorData::String(vec![b"ab".to_vec(), vec![0xff]])),
        tensor(&[], TensorData::Bool(vec![true])),
    ];
    let json = json!({"parameters":{"binary_data_output":true},"inputs":[
        {"name":"s","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}},
        {"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
        {"name":"b","shape":[],"datatype":"BOOL","data":[true]}],
        "outputs":[{"name":"b","parameters":{"binary_data":false}},{"name":"x"},{"name":"s"}]})
    .to_string();
    let mut body = json.clone().into_bytes();
    body.extend_from_slice(b"\x02\0\0\0ab\x01\0\0\0\xff");
    body.extend_from_slice(&[0, 0, 0, 0x3f, 0, 0, 0xc0, 0x7f]);
    let request = decode(&body, Some(json.len()), &s).unwrap();
    assert_eq!(format!("{:?}", request.inputs), format!("{values:?}"));
    let (out, length) = encode(MODEL, &request, &values, &s);
    let (head, blobs) = out.split_at(length.unwrap());
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    assert_eq!(
        head["outputs"],
        json!([
        {"name":"b","datatype":"BOOL","shape":[],"data":[true]},
        {"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},
        {"name":"s","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}}])
    );
    assert_eq!(blobs, [&body[json.len() + 11..], &body[json.len()..json.len() + 11]].concat());
    let cut = decode(&body[..body.len() - 1], Some(json.len()), &s).unwrap_err().to_string();
    assert_eq!(cut, "the input `x` says 8 bytes of binary data, and 7 are left in the body");
    body.push(0);
    let more = decode(&body, Some(json.len()), &s).unwrap_err().to_string();
    assert_eq!(more, "1 bytes follow the last input's binary data");
    assert!(decode(&body, Some(1 << 40), &s).unwrap_err().to_string().contains("bytes of JSON in"));
}

#[test]
fn a_raw_body_is_the_one_input() {
    let s = one("int16", r#"["N",2]"#);
    let request = decode(&[1, 0, 2, 0, 3, 0, 4, 0], Some(0), &s).unwrap();
    assert_eq!(request.inputs, [tensor(&[2, 2], TensorData::Int16(vec![1, 2, 3, 4]))]);
    assert!(request.outputs.iter().all(|output| output.binary));
    assert!(decode(&[1, 0, 2], Some(0), &s).unwrap_err().to_string().contains("3 bytes of binary data hold no whole"));
    assert!(decode(&[1, 0], Some(0), &s).unwrap_err().to_string().contains("leaves the shape of `x` open"));
    assert!(decode(&[1, 0], Some(0), &one("int16", r#"["N","M"]"#)).is_ok());
    assert!(decode(&[1, 0, 2, 0], Some(0), &one("int16", r#"["N","M"]"#)).is_err());
    assert!(decode(&[1, 0], Some(0), &signature(&[], &[])).unwrap_err().to_string().contains("models of one input"));
    let request = decode(b"\xffjpeg", Some(0), &one("string", r#"["N",1]"#)).unwrap();
    assert_eq!(request.inputs, [tensor(&[1, 1], TensorData::String(vec![b"\xffjpeg".to_vec()]))]);
    assert!(decode(&[], Some(0), &one("int16", "[0,5]")).is_ok());
    assert!(decode(&[], Some(0), &one("int16", r#"["N",0]"#)).is_err(), "0 / 0 rows");
}

#[test]
fn values_that_are_no_tensors_travel_as_json_texts() {
    let mut s = signature(&[], &[]);
    let number = |element_type| ValueType::Tensor { element_type, shape: Shape(Some(vec![])) };
    let map = ValueType::Map { key: ElementType::Int64, value: Box::new(number(ElementType::Float32)), labels: vec![] };
    let spec = |name: &str, value_type| ValueSpec { name: name.into(), value_type };
    s.inputs = vec![
        spec("maps", ValueType::Sequence { element: Box::new(map.clone()) }),
        spec("map", map),
        spec("maybe", ValueType::Optional { element: Box::new(number(ElementType::Int8)) }),
    ];
    s.outputs = s.inputs.clone();
    let body = json!({"inputs":[
        {"name":"maps","shape":[2],"datatype":"BYTES","data":["{\"1\":0.5}","{}"]},
        {"name":"map","shape":[1],"datatype":"BYTES","data":["{\"-2\":1.0}"]}]});
    let request = read(&body, &s);
    assert_eq!(request.inputs[2], Value::Absent);
    let outputs = &answer(&request, &request.inputs, &s)["outputs"];
    assert_eq!(outputs[0]["data"], json!(["{\"1\":0.5}", "{}"]));
    assert_eq!(outputs[1]["parameters"], json!({"content_type":"application/json"}));
    assert_eq!(outputs[2]["data"], json!(["null"]));
    let two = json!({"inputs":[{"name":"map","shape":[2],"datatype":"BYTES","data":["{}","{}"]}]});
    assert!(fault(&two, &s).contains("should be one JSON text"));
    let bad = json!({"inputs":[{"name":"map","shape":[1],"datatype":"BYTES","data":["{} x"]}]});
    assert!(fault(&bad, &s).contains("the end of the body is expected"));
}

#[test]
fn every_fault_names_the_tensor_and_what_it_should_be() {
    let s = one("int32", r#"["N",2]"#);
    let input =
        |shape, datatype: &str, data| json!({"inputs":[{"name":"x","shape":shape,"datatype":datatype,"data":data}]});
    for (body, want) in [
        (input(json!([1, 2]), "FP32", json!([1, 2])), "the input `x` is INT32 in the model and FP32 in the request"),
        (input(json!([1, 2]), "INT32", json!([1])), "the input `x` holds 1 elements where its shape [1, 2] says 2"),
        (
            input(json!([1, 2]), "INT32", json!([[1], [2]])),
            "the input `x` holds arrays of shape [2, 1] and says [1, 2]",
        ),
        (
            input(json!([2]), "INT32", json!([1, 2])),
            "`x` should be int32 [N, 2]; what came has shape [2], of rank 1 instead of 2",
        ),
        (
            input(json!([u64::MAX, u64::MAX]), "INT32", json!([])),
            "the input `x` holds 0 elements where its shape [18446744073709551615, 18446744073709551615] says too many",
        ),
        (
            input(json!([-1, 2]), "INT32", json!([])),
            "the request can't be read: `shape` should be an array of sizes: -1 is out of range",
        ),
        (input(json!([1, 2]), "INT32", json!([1, 1.5])), "`x`[1]: 1.5 is not a whole number, as int32 needs"),
        (input(json!([1, 2]), "INT32", json!([1, 3_000_000_000u64])), "`x`[1]: 3000000000 is out of range for int32"),
        (
            json!({"inputs":[{"name":"x","shape":[1,2],"datatype":"INT32"}]}),
            "the input `x` has neither `data` nor a `binary_data_size`",
        ),
        (json!({"inputs":[{"name":"x","data":[]}]}), "the input `x` needs a `shape` and a `datatype`"),
        (json!({"inputs":[{"shape":[]}]}), "one of `inputs` has no `name`"),
        (json!({"inputs":[{"name":"xx"}]}), "the model has no input `xx` (did you mean `x`?)"),
        (json!({"inputs":[]}), "the input `x` is missing: it should be int32 [N, 2]"),
        (
            json!({"inputs":{}}),
            "the request can't be read: an array as `inputs` is expected and `{` came (line 1, column 11)",
        ),
        (json!({"id":7}), "the request can't be read: a string as `id` is expected and `7` came"),
        (
            json!({"parameters":{"binary_data_output":1}}),
            "the request can't be read: `binary_data_output` should be true or false",
        ),
        (json!([]), "the request can't be read: an object with `inputs` is expected and `[` came"),
    ] {
        let text = fault(&body, &s);
        assert!(text.starts_with(want), "{body}\n{text}\n{want}");
    }
    let twice = json!({"name":"x","shape":[0,2],"datatype":"INT32","data":[]});
    assert!(fault(&json!({"inputs":[twice.clone(), twice]}), &s).contains("`x` is there twice"));
    let asked = |parameters| json!({"inputs":[],"outputs":[{"name":"x","parameters":parameters}]});
    let shared = asked(json!({"shared_memory_region":"r"})).to_string();
    assert!(matches!(decode(shared.as_bytes(), None, &s), Err(Error::Unsupported(_))));
    for classes in [json!(-1), json!("3"), json!(null), json!(1.5)] {
        let text = fault(&asked(json!({"classification":classes})), &s);
        assert!(text.contains("`classification` should be a number of classes"), "{text}");
    }
    let text = fault(&asked(json!({"classification":1})), &one("string", "[1]"));
    assert!(text.starts_with("the output `x` is string [1], of which no classes can be told"), "{text}");
    let deep = format!(r#"{{"zzz":{}"#, "[".repeat(10_000));
    assert!(decode(deep.as_bytes(), None, &s).unwrap_err().to_string().contains("more than 128 deep"));
    assert!(decode(b"{\"id\":\"\xff\"}", None, &s).unwrap_err().to_string().contains("isn't UTF-8"));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer_or_a_fault_and_never_a_panic(body: Vec<u8>, length: Option<u8>) {
        let _ = decode(&body, length.map(usize::from), &one("float32", "null"));
        let _ = decode(&body, Some(0), &one("string", "null"));
    }

    /// What is skipped over has to be JSON as serde_json understands it.
    #[test]
    fn pieces_of_json_are_skipped_just_when_they_are_json(pieces in prop::collection::vec(
        prop::sample::select(vec!["[", "]", "{", "}", ",", ":", "1", "-0.5e3", "01", "\"a\"", "\"\\u00e9\"", "null", "tru", "true", " "]), 0..10)) {
        let text = pieces.concat();
        let mut reader = Reader::of(&text);
        let skipped = reader.skip().and_then(|_| reader.end()).is_ok();
        prop_assert_eq!(skipped, serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }
}
