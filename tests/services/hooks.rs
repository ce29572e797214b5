//! Edited hooks: they see each request and each answer on every protocol, and their refusals keep their status.

use nimify_runtime::signature::ValueSpec;
use nimify_runtime::tensor::{Tensor, TensorData};
use serde_json::{Value, json};

use crate::made::Made;
use crate::matrix::{binary, infer_path};
use crate::running::{Answer, Running};

/// The model gives a + b; with these hooks (a + 1 + b) × 10.
const HOOKS: &str = r#"
//! Adds one before the model, multiplies by ten after it, and refuses what begins with certain numbers.

use nimify_runtime::service::Error;

use crate::api::{Request, Response};

/// Before the model.
pub fn before(mut request: Request) -> Result<Request, Error> {
    let text = || String::from("as the hook says");
    match request.a.data.first().map_or(0, |first| *first as u16) {
        400 => return Err(Error::BadRequest(text())),
        404 => return Err(Error::NotFound(text())),
        415 => return Err(Error::UnsupportedMediaType(text())),
        422 => return Err(Error::Refused(text())),
        429 => return Err(Error::QueueFull(text())),
        501 => return Err(Error::Unsupported(text())),
        503 => return Err(Error::NotReady(text())),
        504 => return Err(Error::DeadlineExceeded(text())),
        // A shape that doesn't fit its elements.
        600 => request.a.shape.push(7),
        // A shape that the model doesn't take.
        601 => request.a = nimify_runtime::service::Array { shape: vec![1, 3], data: vec![1.0; 3] },
        602 => panic!("a hook's own fault"),
        _ => {}
    }
    request.a.data.iter_mut().for_each(|element| *element += 1.0);
    Ok(request)
}

/// After the model.
pub fn after(mut response: Response) -> Result<Response, Error> {
    response.sum.data.iter_mut().for_each(|element| *element *= 10.0);
    if response.sum.data.iter().any(|element| *element < 0.0) {
        return Err(Error::Refused("the sum is negative".into()));
    }
    Ok(response)
}
"#;

/// a and b, two elements each, by every protocol; the status, and the sums or the error's text.
fn ask(service: &Running, made: &Made, a: [f32; 2], b: [f32; 2]) -> Vec<(u16, Result<Vec<f64>, String>)> {
    let inputs: Vec<&ValueSpec> = made.plan.signature.inputs.iter().collect();
    let tensors = [a, b].map(|data| Tensor::new(vec![1, 2], TensorData::Float32(data.to_vec())).unwrap());
    let path = infer_path(&made.plan.settings.name);
    let v1 = json!({"a": [a], "b": [b]});
    let one = |name: &str, data: [f32; 2]| json!({"name": name, "shape": [1, 2], "datatype": "FP32", "data": data});
    let v2 = json!({"inputs": [one("a", a), one("b", b)]});
    let by_v1 = |answer: Answer| outcome(&answer, |json| json["sum"][0].clone());
    let by_v2 = |answer: Answer| outcome(&answer, |json| json["outputs"][0]["data"].clone());
    let pairs = [(inputs[0], &tensors[0]), (inputs[1], &tensors[1])];
    vec![
        by_v1(service.post("/v1/predict", &v1)),
        by_v1(service.post("/v1/infer", &v1)),
        by_v2(service.post(&path, &v2)),
        by_v2(service.send(&binary(&path, &pairs, false))),
        by_blob(&service.send(&binary(&path, &pairs, true))),
    ]
}

fn outcome(answer: &Answer, sums: impl Fn(&Value) -> Value) -> (u16, Result<Vec<f64>, String>) {
    let json = answer.json();
    let error = &json["error"];
    if answer.status != 200 {
        let text = error["message"].as_str().or(error.as_str());
        return (answer.status, Err(text.unwrap_or_else(|| panic!("{json}")).to_string()));
    }
    (200, Ok(sums(&json).as_array().unwrap().iter().map(|sum| sum.as_f64().unwrap()).collect()))
}

fn by_blob(answer: &Answer) -> (u16, Result<Vec<f64>, String>) {
    if answer.status != 200 {
        return outcome(answer, |_| Value::Null);
    }
    let length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let sums = answer.body[length..].chunks(4).map(|part| f64::from(f32::from_le_bytes(part.try_into().unwrap())));
    (200, Ok(sums.collect()))
}

#[test]
fn edited_hooks_change_and_refuse_requests_on_every_protocol() {
    let made = Made::of("models/shared_dim.onnx");
    let folder = made.folder();
    let service = Running::start(&made.generated(Some(HOOKS)), folder.path());
    for answer in ask(&service, &made, [1., 2.], [10., 20.]) {
        assert_eq!(answer, (200, Ok(vec![120., 230.])));
    }
    for status in [400, 404, 415, 422, 429, 501, 503, 504] {
        for (got, said) in ask(&service, &made, [f32::from(status), 0.], [0., 0.]) {
            let said = said.unwrap_err();
            assert!(got == status && said.contains("as the hook says"), "{status}: {got} {said}");
        }
    }
    for (got, said) in ask(&service, &made, [-5., 0.], [0., 0.]) {
        assert_eq!((got, said), (422, Err("the model refused the request: the sum is negative".into())));
    }
    for (number, status, words) in [(600., 500, "`a`"), (601., 422, "refused"), (602., 500, "its logs say more")] {
        for (got, said) in ask(&service, &made, [number, 0.], [0., 0.]) {
            let said = said.unwrap_err();
            assert!(got == status && said.contains(words), "{number}: {got} {said}");
        }
    }
    let later = service.post("/v1/predict", &json!({"a": [[429, 0]], "b": [[0, 0]]}));
    assert_eq!(later.header("retry-after"), Some("1"));
    assert_eq!(ask(&service, &made, [1., 2.], [10., 20.])[0], (200, Ok(vec![120., 230.])));
    assert!(service.get("/metrics").text().contains("nimify_panics_total 5\n"));
}

#[test]
fn hooks_run_on_each_request_alone_however_requests_are_joined() {
    let made = Made::of("models/shared_dim.onnx");
    assert!(made.plan.signature.batching.axis().is_some(), "its requests are joined");
    let folder = made.folder();
    let service = Running::start(&made.generated(Some(HOOKS)), folder.path());
    std::thread::scope(|scope| {
        for client in 0..8u16 {
            let service = &service;
            scope.spawn(move || {
                for request in 0..40u16 {
                    // Every fifth is refused by the hook, its neighbours in the batch are not.
                    let first = if request % 5 == 0 { 422. } else { f64::from(1000 + client * 40 + request) };
                    let answer = service.post("/v1/predict", &json!({"a": [[first, 1]], "b": [[2, 3]]}));
                    if first == 422. {
                        assert_eq!(answer.status, 422);
                    } else {
                        assert_eq!(answer.json(), json!({"sum": [[(first + 3.) * 10., 50.]]}));
                    }
                }
            });
        }
    });
}
