//! Requests are written and answers read by the generated messages, so that the hand-written code has a judge.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::super::{ModelName, RequestedOutput};
use super::messages::infer_parameter::ParameterChoice;
use super::messages::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::messages::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse, ModelStreamInferResponse,
};
use super::*;
use crate::tensor::{Tensor, TensorData};

const MODEL: ModelName<'_> = ModelName { name: "m", version: "1" };

/// Two inputs and their like as outputs.
fn signature(element_type: &str) -> ModelSignature {
    let tensors = json!([
        {"name": "x", "kind": "tensor", "elementType": element_type, "shape": ["N", "M"]},
        {"name": "y", "kind": "tensor", "elementType": "int64", "shape": null},
    ]);
    let batching = json!({"verdict": "unproved", "reason": "a test"});
    serde_json::from_value(json!({"inputs": tensors, "outputs": tensors, "batching": batching})).unwrap()
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor { name: name.into(), datatype: datatype.into(), shape: shape.into(), ..Default::default() }
}

fn typed(name: &str, datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor { contents: Some(contents), ..tensor(name, datatype, shape) }
}

fn parameters(list: &[(&str, ParameterChoice)]) -> BTreeMap<String, InferParameter> {
    list.iter().map(|(k, v)| (k.to_string(), InferParameter { parameter_choice: Some(v.clone()) })).collect()
}

fn raw_request() -> ModelInferRequest {
    let raw = |numbers: &[i64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>().into();
    ModelInferRequest {
        model_name: "m".into(),
        id: "7".into(),
        inputs: vec![tensor("y", "INT64", &[1]), tensor("x", "INT64", &[2, 1])],
        raw_input_contents: vec![raw(&[-5]), raw(&[1, 2])],
        ..Default::default()
    }
}

fn decode(request: &ModelInferRequest, signature: &ModelSignature) -> Result<InferRequest, Error> {
    Envelope::read(&request.encode_to_vec(), signature)?.decode(signature)
}

fn fault(request: &ModelInferRequest, signature: &ModelSignature) -> String {
    match decode(request, signature) {
        Err(Error::BadRequest(text) | Error::Unsupported(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn value(shape: &[usize], data: TensorData) -> Value {
    Value::Tensor(Tensor::new(shape.to_vec(), data).unwrap())
}

#[test]
fn raw_inputs_follow_the_order_of_the_request_and_values_that_of_the_signature() {
    let s = signature("int64");
    let request = decode(&raw_request(), &s).unwrap();
    assert_eq!(request.id.as_deref(), Some("7"));
    let (x, y) = (value(&[2, 1], TensorData::Int64(vec![1, 2])), value(&[1], TensorData::Int64(vec![-5])));
    assert_eq!(request.inputs, [x, y]);
    assert_eq!(request.outputs, [0, 1].map(|index| RequestedOutput { index, binary: true, classes: 0 }));
    let output = |name: &str| InferRequestedOutputTensor { name: name.into(), ..Default::default() };
    let asked = decode(&ModelInferRequest { outputs: vec![output("y")], ..raw_request() }, &s).unwrap();
    assert_eq!(asked.outputs, [RequestedOutput { index: 1, binary: true, classes: 0 }]);
}

#[test]
fn every_typed_form_is_read() {
    let c = InferTensorContents::default;
    for (name, datatype, contents, data) in [
        (
            "float32",
            "FP32",
            InferTensorContents { fp32_contents: vec![0.5, f32::INFINITY], ..c() },
            TensorData::Float32(vec![0.5, f32::INFINITY]),
        ),
        (
            "float64",
            "FP64",
            InferTensorContents { fp64_contents: vec![0.5, -1.0], ..c() },
            TensorData::Float64(vec![0.5, -1.0]),
        ),
        (
            "int8",
            "INT8",
            InferTensorContents { int_contents: vec![-128, 127], ..c() },
            TensorData::Int8(vec![-128, 127]),
        ),
        ("int16", "INT16", InferTensorContents { int_contents: vec![-3, 4], ..c() }, TensorData::Int16(vec![-3, 4])),
        (
            "int32",
            "INT32",
            InferTensorContents { int_contents: vec![i32::MIN, 4], ..c() },
            TensorData::Int32(vec![i32::MIN, 4]),
        ),
        (
            "int64",
            "INT64",
            InferTensorContents { int64_contents: vec![i64::MIN, 4], ..c() },
            TensorData::Int64(vec![i64::MIN, 4]),
        ),
        ("uint8", "UINT8", InferTensorContents { uint_contents: vec![255, 4], ..c() }, TensorData::Uint8(vec![255, 4])),
        (
            "uint16",
            "UINT16",
            InferTensorContents { uint_contents: vec![65535, 4], ..c() },
            TensorData::Uint16(vec![65535, 4]),
        ),
        (
            "uint32",
            "UINT32",
            InferTensorContents { uint_contents: vec![u32::MAX, 4], ..c() },
            TensorData::Uint32(vec![u32::MAX, 4]),
        ),
        (
            "uint64",
            "UINT64",
            InferTensorContents { uint64_contents: vec![u64::MAX, 4], ..c() },
            TensorData::Uint64(vec![u64::MAX, 4]),
        ),
        (
            "bool",
            "BOOL",
            InferTensorContents { bool_contents: vec![true, false], ..c() },
            TensorData::Bool(vec![true, false]),
        ),
        (
            "string",
            "BYTES",
            InferTensorContents { bytes_contents: vec![vec![0xff], vec![]], ..c() },
            TensorData::String(vec![vec![0xff], vec![]]),
        ),
    ] {
        let y = typed("y", "INT64", &[0], c());
        let request =
            ModelInferRequest { inputs: vec![typed("x", datatype, &[1, 2], contents), y], ..Default::default() };
        let read = decode(&request, &signature(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read.inputs[0], value(&[1, 2], data), "{name}");
    }
    // Each number in a field of its own, as an old writer has it.
    let unpacked = b"\x0a\x01x\x12\x04INT8\x18\x01\x18\x02\x2a\x0d\x10\x01\x10\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let head = Head::read(unpacked).unwrap();
    let read = contents::read(&signature("int8").inputs[0], crate::signature::ElementType::Int8, &head);
    assert_eq!((head.shape, read), (vec![1, 2], Ok(TensorData::Int8(vec![1, -2]))));
}

#[test]
fn whatever_is_wrong_is_named() {
    let s = signature("int64");
    let with = |change: fn(&mut ModelInferRequest)| {
        let mut request = raw_request();
        change(&mut request);
        request
    };
    for (request, text) in [
        (with(|r| r.inputs[0].name = "z".into()), "the model has no input `z` (did you mean `x`?)"),
        (with(|r| r.inputs[0].name = "x".into()), "the input `x` is there twice"),
        (
            with(|r| r.inputs[0].datatype = "INT32".into()),
            "the input `y` is INT64 in the model and INT32 in the request",
        ),
        (with(|r| r.inputs[0].shape = vec![2]), "the input `y` holds 1 elements where its shape [2] says 2"),
        (with(|r| r.inputs[0].shape = vec![-1]), "the input `y` has a size of -1 in its shape"),
        (with(|r| r.inputs[0].shape = vec![1; 65]), "the input `y` has more than 64 dimensions"),
        (with(|r| drop(r.raw_input_contents.pop())), "the request has 2 `inputs` and 1 `raw_input_contents`"),
        (
            with(|r| r.raw_input_contents.push(Default::default())),
            "the request has 2 `inputs` and 3 `raw_input_contents`",
        ),
        (
            with(|r| r.raw_input_contents[0] = vec![1, 2].into()),
            "the input `y`: 2 bytes of binary data hold no whole number of INT64 elements",
        ),
        (
            with(|r| {
                r.inputs[0].contents = Some(InferTensorContents { int64_contents: vec![1], ..Default::default() })
            }),
            "the input `y` has `contents` beside `raw_input_contents`: one of them is too many",
        ),
        (
            with(|r| {
                r.inputs.pop();
                r.raw_input_contents.pop();
            }),
            "the input `x` is missing: it should be int64 [N, M]",
        ),
        (
            with(|r| r.outputs = vec![InferRequestedOutputTensor { name: "q".into(), ..Default::default() }]),
            "the model has no output `q` (did you mean `x`?)",
        ),
        (
            with(|r| r.parameters = parameters(&[("timeout", ParameterChoice::StringParam("1s".into()))])),
            "the request can't be read: `timeout` should be microseconds, a whole number from 0",
        ),
        (
            with(|r| {
                r.inputs[0].parameters = parameters(&[("shared_memory_region", ParameterChoice::BoolParam(true))])
            }),
            "the parameter `shared_memory_region` can't be served",
        ),
    ] {
        assert_eq!(fault(&request, &s), text);
    }
    let one = |datatype: &str, contents| ModelInferRequest {
        inputs: vec![typed("x", datatype, &[1, 1], contents), typed("y", "INT64", &[0], Default::default())],
        ..Default::default()
    };
    let ints = || InferTensorContents { int_contents: vec![300], ..Default::default() };
    let text = "`x`[0]: 300 is out of range for int8 (-128 to 127)";
    assert_eq!(fault(&one("INT8", ints()), &signature("int8")), text);
    let text = "the input `x` is FP32: its elements belong into `fp32_contents`";
    assert_eq!(fault(&one("FP32", ints()), &signature("float32")), text);
    let text = "the input `x` is FP16, whose elements travel in `raw_input_contents` alone";
    assert_eq!(fault(&one("FP16", ints()), &signature("float16")), text);
}

#[test]
fn urgency_is_in_the_parameters() {
    let request =
        |list: &[(&str, ParameterChoice)]| ModelInferRequest { parameters: parameters(list), ..raw_request() };
    let (s, read) = (signature("int64"), |r: ModelInferRequest| r.encode_to_vec());
    let bytes = read(request(&[
        ("timeout", ParameterChoice::Int64Param(250)),
        ("priority", ParameterChoice::Uint64Param(2)),
        ("else", ParameterChoice::DoubleParam(0.5)),
    ]));
    let urgency = |bytes: &[u8]| Envelope::read(bytes, &s).unwrap().decode(&s).unwrap().urgency;
    assert_eq!(urgency(&bytes), Urgency::of_parameters(2, 250));
    let bytes = read(request(&[("timeout", ParameterChoice::Int64Param(0))]));
    assert_eq!(urgency(&bytes).timeout, None);
    // A choice that this protocol doesn't have, beside one that it has.
    let bytes = [&read(raw_request())[..], b"\x22\x10\x0a\x07timeout\x12\x05\x10\xfa\x01\x30\x07"].concat();
    assert_eq!(urgency(&bytes), Urgency::of_parameters(0, 250));
}

#[test]
fn a_body_full_of_empty_parts_takes_no_room() {
    let s = signature("int64");
    let many = [0x2a, 0].repeat(100_000);
    let envelope = Envelope::read(&many, &s).unwrap();
    assert_eq!(envelope.inputs.len(), 3);
    assert!(envelope.decode(&s).is_err());
}

#[test]
fn what_is_no_tensor_is_marked_as_json_texts() {
    let s: ModelSignature = serde_json::from_value(json!({
        "inputs": [],
        "outputs": [{"name": "o", "kind": "sequence", "element": {"kind": "map", "key": "string",
            "value": {"kind": "tensor", "elementType": "float32", "shape": []}}}],
        "batching": {"verdict": "unproved", "reason": "-"},
    }))
    .unwrap();
    let key = Tensor { shape: vec![], data: TensorData::String(vec![b"k".to_vec()]) };
    let outputs = [Value::Sequence(vec![Value::Map(vec![(key, value(&[], TensorData::Float32(vec![0.5])))])])];
    let request = Envelope::default().decode(&s).unwrap();
    let mut out = Vec::new();
    Answer::new(MODEL, &request, &outputs, &s, In::Response).write(&mut out);
    let answer = ModelInferResponse::decode(&*out).unwrap();
    assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape), ("BYTES", &vec![1]));
    let texts = parameters(&[("content_type", ParameterChoice::StringParam("application/json".into()))]);
    assert_eq!(answer.outputs[0].parameters, texts);
    assert_eq!(answer.raw_output_contents, [&b"\x09\0\0\0{\"k\":0.5}"[..]]);
}

proptest! {
    #[test]
    fn answers_are_what_the_generated_messages_read(
        rows in 0usize..300, columns in 0usize..5, id in "\\PC{0,200}", number: i64, model in "\\PC{0,140}",
    ) {
        let s = signature("int64");
        let numbers = vec![number; rows * columns];
        let outputs =
            [value(&[rows, columns], TensorData::Int64(numbers.clone())), value(&[], TensorData::Int64(vec![number]))];
        let asked = (0..2).map(|index| RequestedOutput { index, binary: true, classes: 0 }).collect();
        let request = InferRequest { id: Some(id.clone()), inputs: vec![], outputs: asked, urgency: Urgency::default(), sequence: Default::default() };
        for kind in [In::Response, In::Stream] {
            let answer = Answer::new(ModelName { name: &model, version: "1.2" }, &request, &outputs, &s, kind);
            let mut out = vec![9];
            answer.write(&mut out);
            prop_assert_eq!(out.len(), 1 + answer.len());
            let read = match kind {
                In::Response => ModelInferResponse::decode(&out[1..]).unwrap(),
                In::Stream => {
                    let message = ModelStreamInferResponse::decode(&out[1..]).unwrap();
                    prop_assert_eq!(&message.error_message, "");
                    let read = message.infer_response.unwrap();
                    let last = parameters(&[("triton_final_response", ParameterChoice::BoolParam(true))]);
                    prop_assert_eq!(&read.parameters, &last);
                    read
                }
            };
            prop_assert_eq!((&read.model_name, &read.model_version, &read.id), (&model, &"1.2".to_string(), &id));
            prop_assert_eq!(&read.outputs[0].shape, &vec![rows as i64, columns as i64]);
            prop_assert_eq!((&read.outputs[1].name, &read.outputs[1].shape), (&"y".to_string(), &vec![]));
            let raw: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            prop_assert_eq!(&read.raw_output_contents[0][..], &raw[..]);
            // And in the other direction: what came out goes in.
            let input = |k: usize| tensor(["x", "y"][k], "INT64", &read.outputs[k].shape);
            let again = ModelInferRequest {
                inputs: vec![input(0), input(1)],
                raw_input_contents: read.raw_output_contents,
                ..Default::default()
            };
            prop_assert_eq!(decode(&again, &s).unwrap().inputs, outputs.to_vec());
        }
    }

    #[test]
    fn protobuf_and_json_are_the_same_request(
        x in proptest::collection::vec(any::<f32>().prop_filter("a number", |x| x.is_finite()), 0..20), y: i64,
    ) {
        let s = signature("float32");
        let columns = x.len() as i64;
        let y_contents = InferTensorContents { int64_contents: vec![y], ..Default::default() };
        let x_contents = InferTensorContents { fp32_contents: x.clone(), ..Default::default() };
        let request = ModelInferRequest {
            id: "q".into(),
            inputs: vec![typed("x", "FP32", &[1, columns], x_contents), typed("y", "INT64", &[], y_contents)],
            ..Default::default()
        };
        let body = json!({"id": "q", "parameters": {"binary_data_output": true}, "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, columns], "data": x},
            {"name": "y", "datatype": "INT64", "shape": [], "data": [y]},
        ]});
        prop_assert_eq!(decode(&request, &s), super::super::decode(body.to_string().as_bytes(), None, &s));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
        let s = signature("int64");
        for bytes in [&bytes[..], &raw_request().encode_to_vec()[cut.min(60)..]] {
            if let Ok(envelope) = Envelope::read(bytes, &s) {
                let _ = envelope.decode(&s);
            }
        }
    }
}
