//! `ServicePlan` → OpenAPI 3.1: every route that the service answers, with the schemas of its model.
//!
//! Pure: the same plan gives the same text, byte for byte. The recorded answer stays out of the document: it holds
//! measured floats, and the document goes into the image, whose digest depends on named inputs alone.

mod errors;
mod example;
mod extensions;
mod inference;
mod management;
mod predict;
mod schema;
mod session;

use utoipa::openapi::info::LicenseBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder};
use utoipa::openapi::schema::Components;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Paths, Ref, Response};

use crate::plan::ServicePlan;

/// Describes the service that `plan` makes.
pub fn describe(plan: &ServicePlan) -> OpenApi {
    let mut document = Document::default();
    predict::add(&mut document, plan);
    management::add(&mut document, plan);
    inference::add(&mut document, plan);
    errors::add(&mut document);

    let license = plan.settings.license.as_ref().map(|license| LicenseBuilder::new().name(&license.name).build());
    let info = InfoBuilder::new()
        .title(&plan.settings.name)
        .version(&plan.settings.version)
        .description(Some(&plan.description))
        .license(license)
        .build();
    let tags = TAGS.map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build());
    OpenApiBuilder::new()
        .info(info)
        .paths(document.paths)
        .components(Some(document.components))
        .tags(Some(tags))
        .build()
}

/// The document as `openapi.json`, served by the service as it is.
pub fn to_json(document: &OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(document).expect("the document has string keys and finite numbers");
    text.push('\n');
    text
}

/// The document as `openapi.yaml`, for people.
pub fn to_yaml(document: &OpenApi) -> String {
    serde_yaml::to_string(document).expect("the document has string keys and finite numbers")
}

const TAGS: [(&str, &str); 3] = [
    (PREDICT, "The model, by plain JSON."),
    (MANAGEMENT, "Health, metrics and metadata."),
    (INFERENCE, "The Open Inference Protocol, version 2."),
];
const PREDICT: &str = "predict";
const MANAGEMENT: &str = "management";
const INFERENCE: &str = "open inference protocol";

const JSON: &str = "application/json";

/// What the parts of the description add to.
#[derive(Default)]
struct Document {
    paths: Paths,
    components: Components,
}

impl Document {
    fn route(&mut self, path: impl Into<String>, method: HttpMethod, operation: impl Into<Operation>) {
        let item = PathItem::new(method, operation);
        let previous = self.paths.paths.insert(path.into(), item);
        debug_assert!(previous.is_none(), "each route is described once");
    }
}

/// An operation with the fields that all of them have.
fn operation(tag: &str, id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().tag(tag).operation_id(Some(id)).summary(Some(summary))
}

/// An answer in JSON of a schema of the components.
fn json_answer(description: &str, schema: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    Response::builder().description(description).content(JSON, content).build()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use nimify_runtime::settings::{ModelFile, ServiceSettings, SideFile, SideKind};
    use nimify_runtime::signature::ModelSignature;
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Resources;

    /// A plan around a signature, with nothing special in it.
    pub(crate) fn plan(signature: ModelSignature) -> ServicePlan {
        ServicePlan {
            name: "golden".parse().unwrap(),
            description: "A model of the tests.".into(),
            signature,
            settings: ServiceSettings {
                name: "golden".into(),
                version: "0.1.0".into(),
                model: ModelFile {
                    path: "m.onnx".into(),
                    sha256: "0".repeat(64),
                    source: "m.onnx".into(),
                    derived: None,
                    files: Default::default(),
                    tensorrt: None,
                    side_files: Vec::new(),
                    labels: Default::default(),
                },
                signature: "signature.json".into(),
                openapi: "openapi.json".into(),
                sample: None,
                license: None,
                server: Default::default(),
                batching: Default::default(),
                engine: Default::default(),
                state: Default::default(),
                tracing: Default::default(),
            },
            sample: None,
            repository: "golden".into(),
            resources: Resources { cpu_millis: 100, memory_mib: 64, startup_seconds: 30, gpus: 0 },
            environments: BTreeMap::new(),
        }
    }

    /// A judge of the values of one schema of the document.
    fn judge(document: &OpenApi, name: &str) -> jsonschema::Validator {
        let mut schema = serde_json::to_value(document).unwrap();
        schema["$ref"] = json!(format!("#/components/schemas/{name}"));
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        jsonschema::draft202012::new(&schema).unwrap()
    }

    fn tensor(name: &str, element_type: &str, shape: Value) -> Value {
        json!({"name": name, "kind": "tensor", "elementType": element_type, "shape": shape})
    }

    fn described(inputs: Value) -> OpenApi {
        let signature = json!({"inputs": inputs, "outputs": [], "batching": {"verdict": "unproved", "reason": "-"}});
        describe(&plan(serde_json::from_value(signature).unwrap()))
    }

    #[test]
    fn a_request_schema_takes_what_the_service_takes_and_refuses_the_rest() {
        let cases = [
            (tensor("x", "float32", json!(["N", 2])), json!([[1, 2.5], ["NaN", "-Infinity"]]), json!([[1, 2, 3]])),
            (tensor("x", "float32", json!(["N", 2])), json!([]), json!([["nan", 1]])),
            (tensor("x", "float64", json!([])), json!(1e300), json!([1])),
            (tensor("x", "float32", json!([1])), json!([3.4028235677973366e38]), json!([3.402823567797337e38])),
            (tensor("x", "bfloat16", json!([1])), json!([-3.39e38]), json!([-3.39617752923046e38])),
            (tensor("x", "float16", json!([2])), json!([65519.9, -65504]), json!([0, 65520])),
            (tensor("x", "uint8", json!([null])), json!([0, 255]), json!([256])),
            (tensor("x", "int8", json!([2])), json!([-128, 127]), json!([1])),
            (tensor("x", "int64", json!([1])), json!([i64::MIN]), json!([9223372036854775808_u64])),
            (tensor("x", "uint64", json!([1])), json!([u64::MAX]), json!([-1])),
            (tensor("x", "int32", json!([1])), json!([7]), json!([7.5])),
            (tensor("x", "bool", json!([])), json!(true), json!("true")),
            (tensor("x", "string", json!([2])), json!(["a", {"b64": "/w=="}]), json!([1, "a"])),
            (tensor("x", "string", json!([2])), json!([{"b64": ""}, {"b64": "AAEC/w8="}]), json!(["a", {"b64": "/w"}])),
            (tensor("x", "string", json!([1])), json!([{"b64": "AAEC"}]), json!([{"b64": "/x=="}])),
            (tensor("x", "float32", json!(null)), json!([[1], [2]]), json!({"a": 1})),
            (tensor("x", "float32", json!([0, 3])), json!([]), json!([[1, 2, 3]])),
            (
                json!({"name": "x", "kind": "sequence", "element": {
                    "kind": "map", "key": "int64", "value": {"kind": "tensor", "elementType": "float32", "shape": []}}}),
                json!([{"0": 0.5}, {"-1": "NaN"}]),
                json!([{"a": 0.5}]),
            ),
            (
                json!({"name": "x", "kind": "optional",
                    "element": {"kind": "tensor", "elementType": "int32", "shape": [1]}}),
                json!(null),
                json!([1, 2]),
            ),
        ];
        for (input, good, bad) in cases {
            let judge = judge(&described(json!([input])), "PredictRequest");
            assert!(judge.is_valid(&json!({"x": good})), "{input} takes {good}");
            assert!(!judge.is_valid(&json!({"x": bad})), "{input} refuses {bad}");
            assert!(!judge.is_valid(&json!({"x": good, "y": 1})), "{input} refuses an unknown name");
        }
    }

    #[test]
    fn what_is_no_tensor_is_bytes_in_the_inference_protocol() {
        let map =
            json!({"kind": "map", "key": "int64", "value": {"kind": "tensor", "elementType": "float32", "shape": []}});
        let optional = json!({"name": "o", "kind": "optional",
            "element": {"kind": "tensor", "elementType": "int32", "shape": [1]}});
        let sequence = json!({"name": "s", "kind": "sequence", "element": map});
        let document = described(json!([tensor("x", "float32", json!([1])), sequence, optional]));
        let judge = judge(&document, "InferInput");
        let input = |name: &str, datatype: &str| json!({"name": name, "shape": [1], "datatype": datatype, "data": []});
        for (name, datatype) in [("x", "FP32"), ("s", "BYTES"), ("o", "INT32")] {
            assert!(judge.is_valid(&input(name, datatype)), "{name} {datatype}");
        }
        assert!(!judge.is_valid(&input("x", "INT64")));
    }

    #[test]
    fn the_inference_protocol_takes_bare_scalars_and_asks_for_inputs_that_are_needed() {
        let scalar = described(json!([tensor("x", "float32", json!([]))]));
        let input = json!({"name": "x", "shape": [], "datatype": "FP32", "data": 0.5});
        assert!(judge(&scalar, "InferInput").is_valid(&input));
        assert!(!judge(&scalar, "InferRequest").is_valid(&json!({})));
        let optional = json!({"name": "x", "kind": "optional",
            "element": {"kind": "tensor", "elementType": "int32", "shape": [1]}});
        for inputs in [json!([]), json!([optional])] {
            assert!(judge(&described(inputs), "InferRequest").is_valid(&json!({})));
        }
    }

    #[test]
    fn an_example_made_from_a_signature_is_valid() {
        for element_type in ["float16", "float32", "float64", "bfloat16", "int8", "uint64", "bool", "string"] {
            for shape in [json!(null), json!([]), json!(["N", 3]), json!([null, "N", 2, 0])] {
                let document = described(json!([tensor("a/b", element_type, shape), tensor("c", "int64", json!([2]))]));
                let value = serde_json::to_value(&document).unwrap();
                let example = &value["paths"]["/v1/predict"]["post"]["requestBody"]["content"][JSON]["example"];
                assert!(example.is_object(), "{example}");
                assert!(judge(&document, "PredictRequest").is_valid(example), "{example}");
                let infer = &value["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"][JSON];
                assert!(judge(&document, "InferRequest").is_valid(&infer["example"]), "{infer}");
            }
        }
    }

    #[test]
    fn a_huge_example_is_left_out_and_a_recorded_request_is_taken() {
        let mut plan = plan(
            serde_json::from_value(json!({
                "inputs": [tensor("x", "float32", json!([3, 224, 224]))], "outputs": [],
                "batching": {"verdict": "unproved", "reason": "-"}}))
            .unwrap(),
        );
        assert!(!to_json(&describe(&plan)).contains("\"example\""));
        plan.sample = Some(crate::plan::Sample { request: r#"{"x": 123456789}"#.into(), response: "{}".into() });
        assert!(to_json(&describe(&plan)).contains("123456789"));
        plan.sample = Some(crate::plan::Sample { request: "not JSON".into(), response: "{}".into() });
        assert!(!to_json(&describe(&plan)).contains("\"example\""));
    }

    #[test]
    fn labels_with_commas_are_told_apart() {
        let signature = json!({"inputs": [], "outputs": [], "batching": {"verdict": "unproved", "reason": "-"}});
        let mut plan = plan(serde_json::from_value(signature).unwrap());
        let labels = ["tench, Tinca tinca", "a \"cat\"", "dog"].map(String::from).to_vec();
        plan.settings.model.labels = [("scores".to_string(), labels)].into();
        let document: Value = serde_json::from_str(&to_json(&describe(&plan))).unwrap();
        let told = document["paths"]["/v1/predict"]["post"]["description"].as_str().unwrap();
        let wanted = r#"The 3 classes of `scores`, in order: "tench, Tinca tinca", "a \"cat\"", "dog""#;
        assert!(told.ends_with(wanted), "{told}");
    }

    /// What the service answers, said by the service itself.
    #[test]
    fn every_route_of_the_runtime_is_described_and_no_other() {
        use nimify_runtime::http::route::Route;
        let signature = json!({"inputs": [], "outputs": [], "batching": {"verdict": "unproved", "reason": "-"}});
        let mut plan = plan(serde_json::from_value(signature).unwrap());
        plan.settings.model.side_files = vec![SideFile {
            name: "vocab.txt".into(),
            kind: SideKind::Vocabulary,
            path: "../models/vocab.txt".into(),
            size: 1,
            sha256: "0".repeat(64),
        }];
        let document = describe(&plan);
        let mut described: Vec<_> = document
            .paths
            .paths
            .iter()
            .flat_map(|(path, item)| [("GET", path, &item.get), ("POST", path, &item.post)])
            .filter(|(_, path, operation)| operation.is_some() && !path.contains("{version}"))
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect();
        // The parts of a page are the page's own affair.
        let part = |label: &str| label.starts_with("/docs/") || label.starts_with("/debug/");
        let served = Route::ALL.iter().filter(|route| !part(route.label()));
        let mut served: Vec<_> = served
            .filter(|&&route| route != Route::Unknown)
            .map(|route| format!("{} {}", route.method(), route.label()))
            .collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
    }

    #[test]
    fn the_text_is_the_same_each_time_and_both_forms_agree() {
        let document = described(json!([tensor("yes", "float32", json!(["N", "NaN", null]))]));
        assert_eq!(to_json(&document), to_json(&document.clone()));
        let from_yaml: Value = serde_yaml::from_str(&to_yaml(&document)).unwrap();
        assert_eq!(from_yaml, serde_json::from_str::<Value>(&to_json(&document)).unwrap());
        assert_eq!(from_yaml["openapi"], "3.1.0");
    }
}
