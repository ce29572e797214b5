//! Requests to a model, good and bad, on every route: made of its signature and its recorded sample.

use nimify::plan::ServicePlan;
use nimify_runtime::codec::predict;
use nimify_runtime::http::route::Route;
use nimify_runtime::signature::{ValueSpec, ValueType};
use nimify_runtime::tensor::{Tensor, TensorData, Value};
use serde_json::{Value as Json, json};

use crate::running::Request;

const JSON: &str = "application/json";

/// Every request, each with an id of its own.
pub(crate) fn requests(plan: &ServicePlan) -> Vec<Request> {
    let name = plan.settings.name.as_str();
    let mut all = management(plan);
    let posts = ["/v1/predict".to_string(), "/v1/infer".into(), infer_path(name)];
    for path in &posts {
        for body in bad_bodies(plan) {
            all.push(post(path, JSON, body));
        }
        for content_type in ["text/plain", "application/octet-stream", ""] {
            all.push(post(path, content_type, b"{}".to_vec()));
        }
        let mut gzip = post(path, JSON, b"{}".to_vec());
        gzip.headers.push(("content-encoding", "gzip".into()));
        all.push(gzip);
    }
    let sample = plan.sample.as_ref().unwrap().request.as_bytes();
    for path in &posts[..2] {
        all.push(post(path, JSON, sample.to_vec()));
        all.push(post(path, "application/json; charset=utf-8", sample.to_vec()));
    }
    all.extend(open_inference(plan));
    for (number, request) in all.iter_mut().enumerate() {
        request.headers.push(("x-request-id", format!("request-{number}")));
    }
    all
}

pub(crate) fn infer_path(name: &str) -> String {
    format!("/v2/models/{name}/infer")
}

fn post(path: &str, content_type: &str, body: Vec<u8>) -> Request {
    let headers = if content_type.is_empty() { vec![] } else { vec![("content-type", content_type.to_string())] };
    Request { method: "POST", path: path.into(), headers, body }
}

/// Every route with every method, and paths that nobody serves.
fn management(plan: &ServicePlan) -> Vec<Request> {
    let mut paths: Vec<String> = Route::ALL
        .iter()
        .filter(|route| !matches!(route, Route::Metrics | Route::NimMetrics | Route::Unknown))
        .map(|route| route.label().replace("{model}", &plan.settings.name))
        .collect();
    let versioned: Vec<String> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("/v2/models/"))
        .flat_map(|path| {
            let (model, rest) = path.split_once('/').map_or((path, String::new()), |(m, rest)| (m, format!("/{rest}")));
            [&plan.settings.version, "9"].map(|version| format!("/v2/models/{model}/versions/{version}{rest}"))
        })
        .collect();
    paths.extend(versioned);
    let unknown =
        ["/", "/v1", "/v1/predict/", "/v2/", "/v2/models", "/v2/models/other", "/v2/models/other/infer", "/%"];
    paths.extend(unknown.map(String::from));
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    let request = |(path, method): (&String, _)| Request { method, path: path.clone(), headers: vec![], body: vec![] };
    paths.iter().flat_map(|path| methods.map(|method| (path, method))).map(request).collect()
}

/// Bodies that no protocol takes, or only a model without inputs does.
fn bad_bodies(plan: &ServicePlan) -> Vec<Vec<u8>> {
    let sample: Json = serde_json::from_str(&plan.sample.as_ref().unwrap().request).unwrap();
    let mut bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{}".to_vec(),
        b"{} x".to_vec(),
        b"\xff".to_vec(),
        b"[".repeat(10_000),
        br#"{"inputs":[]}"#.to_vec(),
        br#"{"inputs":[{"name":"x"}]}"#.to_vec(),
        br#"{"inputs":[{"name":"none","shape":[1],"datatype":"FP32","data":[1]}]}"#.to_vec(),
    ];
    let mut put = |change: &dyn Fn(&mut serde_json::Map<String, Json>)| {
        let mut changed = sample.as_object().unwrap().clone();
        change(&mut changed);
        bodies.push(Json::Object(changed).to_string().into());
    };
    put(&|sample| _ = sample.insert("no such input".into(), json!(1)));
    for input in &plan.signature.inputs {
        put(&|sample| _ = sample.remove(&input.name));
        for wrong in [json!(null), json!("a"), json!(1), json!([]), json!([[1, 2], [3]]), json!([[[[[1]]]]]), json!({})]
        {
            put(&|sample| _ = sample.insert(input.name.clone(), wrong.clone()));
        }
    }
    bodies
}

/// The sample as Open Inference Protocol v2 has it: in JSON and in binary, with answers in either, and spoilt.
fn open_inference(plan: &ServicePlan) -> Vec<Request> {
    let (name, signature) = (&plan.settings.name, &plan.signature);
    let values = predict::decode(plan.sample.as_ref().unwrap().request.as_bytes(), signature).unwrap();
    let Some(tensors) = tensors(&signature.inputs, &values) else { return Vec::new() };
    let in_json: Vec<Json> = tensors.iter().map(|(spec, tensor)| json_input(spec, tensor)).collect();
    let wanted: Vec<Json> = signature.outputs.iter().map(|output| json!({"name": output.name})).collect();
    let path = infer_path(name);
    let mut all = Vec::new();
    for request in [
        json!({"inputs": in_json}),
        json!({"id": "7", "inputs": in_json, "outputs": wanted}),
        json!({"inputs": in_json, "outputs": [{"name": "no such output"}]}),
        json!({"inputs": in_json, "parameters": {"binary_data_output": true}}),
        json!({"inputs": in_json, "inputs2": 1}),
    ] {
        all.push(post(&path, JSON, request.to_string().into()));
    }
    for index in 0..in_json.len() {
        for (key, wrong) in
            [("shape", json!([-1])), ("datatype", json!("FP99")), ("data", json!([])), ("name", json!("other"))]
        {
            let mut inputs = in_json.clone();
            inputs[index][key] = wrong;
            all.push(post(&path, JSON, json!({"inputs": inputs}).to_string().into()));
        }
    }
    for binary_output in [false, true] {
        all.push(binary(&path, &tensors, binary_output));
    }
    let mut short = binary(&path, &tensors, true);
    short.body.pop();
    all.push(short);
    all
}

/// The inputs as tensors; `None` if one is something else, which has no form in this protocol's requests.
fn tensors<'a>(specs: &'a [ValueSpec], values: &'a [Value]) -> Option<Vec<(&'a ValueSpec, &'a Tensor)>> {
    let pair = |(spec, value): (&'a ValueSpec, &'a Value)| match (&spec.value_type, value) {
        (ValueType::Tensor { .. }, Value::Tensor(tensor)) => Some((spec, tensor)),
        _ => None,
    };
    specs.iter().zip(values).map(pair).collect()
}

fn datatype(spec: &ValueSpec) -> &'static str {
    match &spec.value_type {
        ValueType::Tensor { element_type, .. } => element_type.datatype().unwrap(),
        other => panic!("{other:?} is no tensor"),
    }
}

fn json_input(spec: &ValueSpec, tensor: &Tensor) -> Json {
    let data = match &tensor.data {
        TensorData::Float32(v) => json!(v),
        TensorData::Float64(v) => json!(v),
        TensorData::Float16(v) => v.iter().map(|x| x.to_f32()).collect(),
        TensorData::Bfloat16(v) => v.iter().map(|x| x.to_f32()).collect(),
        TensorData::Int8(v) => json!(v),
        TensorData::Int16(v) => json!(v),
        TensorData::Int32(v) => json!(v),
        TensorData::Int64(v) => json!(v),
        TensorData::Uint8(v) => json!(v),
        TensorData::Uint16(v) => json!(v),
        TensorData::Uint32(v) => json!(v),
        TensorData::Uint64(v) => json!(v),
        TensorData::Bool(v) => json!(v),
        TensorData::String(v) => v.iter().map(|text| String::from_utf8(text.clone()).unwrap()).collect(),
    };
    json!({"name": spec.name, "shape": tensor.shape, "datatype": datatype(spec), "data": data})
}

/// The inputs as blobs behind the JSON.
pub(crate) fn binary(path: &str, tensors: &[(&ValueSpec, &Tensor)], binary_output: bool) -> Request {
    let blobs: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| blob(&tensor.data)).collect();
    let input = |((spec, tensor), blob): (&(&ValueSpec, &Tensor), &Vec<u8>)| {
        json!({"name": spec.name, "shape": tensor.shape, "datatype": datatype(spec),
            "parameters": {"binary_data_size": blob.len()}})
    };
    let inputs: Vec<Json> = tensors.iter().zip(&blobs).map(input).collect();
    let head = json!({"inputs": inputs, "parameters": {"binary_data_output": binary_output}}).to_string();
    let mut request = post(path, "application/octet-stream", [head.as_bytes(), &blobs.concat()].concat());
    request.headers.push(("inference-header-content-length", head.len().to_string()));
    request
}

fn blob(data: &TensorData) -> Vec<u8> {
    fn each<T: Copy, const N: usize>(elements: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
        elements.iter().flat_map(|element| bytes(*element)).collect()
    }
    match data {
        TensorData::Float32(v) => each(v, f32::to_le_bytes),
        TensorData::Float64(v) => each(v, f64::to_le_bytes),
        TensorData::Float16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::Bfloat16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::Int8(v) => each(v, i8::to_le_bytes),
        TensorData::Int16(v) => each(v, i16::to_le_bytes),
        TensorData::Int32(v) => each(v, i32::to_le_bytes),
        TensorData::Int64(v) => each(v, i64::to_le_bytes),
        TensorData::Uint8(v) => each(v, u8::to_le_bytes),
        TensorData::Uint16(v) => each(v, u16::to_le_bytes),
        TensorData::Uint32(v) => each(v, u32::to_le_bytes),
        TensorData::Uint64(v) => each(v, u64::to_le_bytes),
        TensorData::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
        TensorData::String(v) => {
            let one = |text: &Vec<u8>| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text].concat();
            v.iter().flat_map(one).collect()
        }
    }
}
