//! Every route of a service that is well, and what unknown routes, methods and models get.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use serde_json::{Value, json};
use support::{Made, constant, identity, rows};

#[test]
fn predict_and_infer_answer_alike_in_full_precision() {
    let service = rows().ready();
    for path in ["/v1/predict", "/v1/infer"] {
        let answer = service.post(path, br#"{"b":[[0.5],[1e3]],"x":[[1,2,3],[4,5,6]]}"#);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json(), json!({"y": [[2.5, 4.5, 6.5], [1008., 1010., 1012.]], "sum": [13.5, 3030.]}));
    }
}

#[test]
fn every_element_type_passes_through() {
    let service = identity().ready();
    let request = json!({
        "float32": [[0.1, "NaN"]], "float64": [[0.1, "-Infinity"]], "float16": [[0.5, 2]], "bfloat16": [[0.5, 2]],
        "int8": [[-128, 127]], "int16": [[-32768, 32767]], "int32": [[-2147483648i64, 1]],
        "int64": [[i64::MIN, i64::MAX]], "uint8": [[0, 255]], "uint16": [[0, 65535]], "uint32": [[0, u32::MAX]],
        "uint64": [[0, u64::MAX]], "bool": [[true, false]], "string": [["ä\u{0}\"", {"b64": "/w=="}]],
    });
    let answer = service.predict(&request).json();
    for (name, value) in request.as_object().unwrap() {
        let got = &answer[format!("{name}_out")];
        // `2` and `2.0` are one number.
        let same = |a: &Value, b: &Value| a == b || a.as_f64().is_some() && a.as_f64() == b.as_f64();
        let pairs = value[0].as_array().unwrap().iter().zip(got[0].as_array().unwrap());
        assert!(pairs.clone().count() == 2 && pairs.clone().all(|(a, b)| same(a, b)), "{name}: {value} {got}");
    }
}

#[test]
fn a_model_without_inputs_is_served() {
    let service = constant().ready();
    assert_eq!(service.predict(&json!({})).json(), json!({"answer": 42}));
}

#[test]
fn nims_management_routes() {
    let service = Made { license: true, ..rows() }.ready();
    let live = service.get("/v1/health/live").json();
    assert_eq!(live, json!({"object": "health.response", "message": "Service is live.", "status": "live"}));
    assert_eq!(service.get("/v1/health/ready").json()["message"], "Service is ready.");
    let models = service.get("/v1/models").json();
    let model = &models["data"][0];
    assert_eq!((&models["object"], &model["id"], &model["root"]), (&json!("list"), &json!("tiny"), &json!("tiny")));
    for field in ["object", "created", "owned_by", "parent", "max_model_len", "permission"] {
        assert!(model.get(field).is_some(), "{field}");
    }
    let metadata = service.get("/v1/metadata").json();
    assert_eq!(metadata["modelInfo"], json!([{"shortName": "tiny:1.2.0", "modelUrl": "./tiny.onnx"}]));
    assert_eq!(metadata["licenseInfo"]["sha"], "9ce4c0dd205a79b4993d3a0c95c6c60b7e524b1b");
    assert_eq!((&metadata["version"], &metadata["selectedModelProfileId"]), (&json!("1.2.0"), &json!("ab12")));
    let license = service.get("/v1/license").json();
    assert_eq!(
        license,
        json!({"name": "Free", "path": "LICENSE", "size": 18, "url": "", "type": "file",
            "content": "Do what you like.\n", "sha": metadata["licenseInfo"]["sha"]})
    );
    let manifest = service.get("/v1/manifest").json();
    let text: Value = serde_json::from_str(manifest["manifest_file"].as_str().unwrap()).unwrap();
    assert_eq!(text["model"]["sha256"], "ab12");
    assert_eq!(manifest["repository_override"], "");
    assert_eq!(service.get("/v1/version").json()["release"], "1.2.0");
}

#[test]
fn without_a_license_there_is_none_and_metadata_says_so_in_empty_fields() {
    let service = rows().ready();
    assert!(service.get("/v1/license").v1_error(404).contains("licence"));
    assert_eq!(service.get("/v1/metadata").json()["licenseInfo"]["name"], "");
}

#[test]
fn files_that_came_with_the_model_are_told_and_given() {
    // Several blocks, of which none is like another.
    let vocabulary: Vec<u8> = (0..50_000).flat_map(|word: u32| format!("word{word}\n").into_bytes()).collect();
    let sides = vec![("tokenizer.json", b"{}".to_vec()), ("vocab.txt", vocabulary.clone())];
    let service = Made { sides, ..rows() }.ready();
    let digest = format!("sha256:{}", "ab".repeat(32));
    let told = |name: &str, size: usize| json!({"name": name, "kind": "tokenizer", "size": size, "digest": digest});
    let listed = service.get("/v1/metadata").json()["sideFiles"].clone();
    assert_eq!(listed, json!([told("tokenizer.json", 2), told("vocab.txt", vocabulary.len())]));

    let path = "/v1/metadata/files/vocab.txt";
    let whole = service.get(path);
    let (length, etag) = (vocabulary.len().to_string(), format!("\"{digest}\""));
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!((whole.header("content-length"), whole.header("etag")), (Some(&*length), Some(&*etag)));
    assert!(whole.body == vocabulary);
    let json = service.get("/v1/metadata/files/tokenizer%2Ejson");
    assert_eq!((json.header("content-type"), json.body.as_slice()), (Some("application/json"), &b"{}"[..]));
    let known = service.send("GET", path, &[("if-none-match", &etag)], b"");
    assert_eq!((known.status, known.header("etag"), known.body.len()), (304, Some(&*etag), 0));
    let curl = |flags: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--fail"]).args(flags).arg(format!("http://{}{path}", service.address));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert!(curl(&["--http2-prior-knowledge"]) == vocabulary);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let head = String::from_utf8(curl(&["--head", version])).unwrap();
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
    }

    for name in ["LICENSE", "service.json", "..%2fservice.json", "%2e%2e/vocab.txt", "vocab.txt/", "", "{file}"] {
        assert_eq!(service.get(&format!("/v1/metadata/files/{name}")).status, 404, "{name}");
    }
    assert_eq!(service.send("POST", path, &[], b"{}").status, 405);
    let metrics = service.get("/metrics").text();
    assert!(metrics.contains("/v1/metadata/files/{file}"), "{metrics}");
}

#[test]
fn open_inference_health_and_metadata() {
    let service = rows().ready();
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1.2.0/ready"]
    {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    for path in ["/v2", "/v2/"] {
        assert_eq!(service.get(path).json()["name"], "nimify");
    }
    for path in ["/v2/models/tiny", "/v2/models/tiny/versions/1.2.0", "/v2/models/tin%79"] {
        assert_eq!(
            service.get(path).json(),
            json!({
                "name": "tiny", "versions": ["1.2.0"], "platform": "onnxruntime_onnx",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}, {"name": "b", "datatype": "FP32", "shape": [-1, 1]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}, {"name": "sum", "datatype": "FP32", "shape": [-1]}],
            })
        );
    }
}

#[test]
fn open_inference_in_json() {
    let service = rows().ready();
    let request = json!({"id": "7", "inputs": [
        {"name": "b", "shape": [1, 1], "datatype": "FP32", "data": [0.5]},
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [[1, 2, 3]]},
    ]});
    for path in ["/v2/models/tiny/infer", "/v2/models/tiny/versions/1.2.0/infer"] {
        let answer = service.post(path, request.to_string().as_bytes()).json();
        assert_eq!(
            (&answer["model_name"], &answer["model_version"], &answer["id"]),
            (&json!("tiny"), &json!("1.2.0"), &json!("7"))
        );
        let y = answer["outputs"].as_array().unwrap().iter().find(|o| o["name"] == "y").unwrap();
        assert_eq!(y, &json!({"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.5, 4.5, 6.5]}));
    }
}

#[test]
fn open_inference_in_binary() {
    let service = rows().ready();
    let json = json!({"parameters": {"binary_data_output": true}, "outputs": [{"name": "sum"}], "inputs": [
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}},
        {"name": "b", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
    ]})
    .to_string();
    let mut body = json.clone().into_bytes();
    for number in [1f32, 2., 3., 0.5] {
        body.extend(number.to_le_bytes());
    }
    let headers =
        [("content-type", "application/octet-stream"), ("Inference-Header-Content-Length", &json.len().to_string())];
    let answer = service.send("POST", "/v2/models/tiny/infer", &headers, &body);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/octet-stream")),
        "{}",
        answer.text()
    );
    let json_length: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let head: Value = serde_json::from_slice(&answer.body[..json_length]).unwrap();
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 4);
    assert_eq!(answer.body[json_length..], 13.5f32.to_le_bytes());
}

#[test]
fn statistics_count_requests_rows_and_runs() {
    let service = rows().ready();
    let predict = json!({"x": [[1, 2, 3], [4, 5, 6]], "b": [[0], [0]]});
    (0..3).for_each(|_| assert_eq!(service.predict(&predict).status, 200));
    assert_eq!(service.predict(&json!({})).status, 400);
    for (path, version) in [
        ("/v2/models/stats", "1"),
        ("/v2/models/tiny/stats", "1"),
        ("/v2/models/tiny/versions/1/stats", "1"),
        ("/v2/models/tiny/versions/1.2.0/stats", "1.2.0"),
    ] {
        let all = service.get(path).json();
        let stats = &all["model_stats"][0];
        assert_eq!((&stats["name"], &stats["version"]), (&json!("tiny"), &json!(version)), "{path}");
        assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(6), &json!(3)));
        assert!(stats["last_inference"].as_u64() > Some(1_700_000_000_000), "{stats}");
        let times = stats["inference_stats"].as_object().unwrap();
        assert_eq!((&times["success"]["count"], &times["fail"]["count"]), (&json!(3), &json!(1)));
        let ns = |name: &str| times[name]["ns"].as_u64().unwrap();
        assert!(ns("success") >= ["queue", "compute_input", "compute_infer", "compute_output"].map(ns).iter().sum());
        assert!(ns("compute_input") > 0 && ns("compute_infer") > 0 && ns("compute_output") > 0, "{stats}");
        assert_eq!(times["cache_hit"], json!({"count": 0, "ns": 0}));
        let batches = stats["batch_stats"].as_array().unwrap();
        assert_eq!((batches.len(), &batches[0]["batch_size"]), (1, &json!(2)));
        assert_eq!(batches[0]["compute_infer"]["count"], 3);
    }
    for path in ["/v2/models/other/stats", "/v2/models/tiny/versions/2/stats"] {
        assert_eq!(service.get(path).status, 404, "{path}");
    }
}

#[test]
fn the_configuration_is_what_triton_would_say() {
    let made = rows();
    let service =
        Made { batching: json!({"maxBatchSize": 8, "maxQueueDelay": "2ms", "priorityLevels": 3}), ..made }.ready();
    let config = service.get("/v2/models/tiny/config").json();
    assert_eq!(config, service.get("/v2/models/tiny/versions/1.2.0/config").json());
    assert_eq!((&config["platform"], &config["backend"]), (&json!("onnxruntime_onnx"), &json!("onnxruntime")));
    assert_eq!((&config["max_batch_size"], &config["default_model_filename"]), (&json!(8), &json!("rows.onnx")));
    let x = json!({"name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [3], "is_shape_tensor": false,
        "allow_ragged_batch": false, "optional": false});
    assert_eq!(config["input"][0], x);
    assert_eq!(config["output"][1]["dims"], json!([]));
    let batching = &config["dynamic_batching"];
    assert_eq!(batching["max_queue_delay_microseconds"], 2000);
    assert_eq!((&batching["priority_levels"], &batching["default_priority_level"]), (&json!(3), &json!(3)));
    assert_eq!(config["instance_group"][0]["count"], 1);
    let service = identity().ready();
    let config = service.get("/v2/models/tiny/config").json();
    assert_eq!((&config["max_batch_size"], config.get("dynamic_batching")), (&json!(0), None));
    let types: Vec<&str> =
        config["input"].as_array().unwrap().iter().map(|input| input["data_type"].as_str().unwrap()).collect();
    let want = "FP32 FP64 FP16 BF16 INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL STRING";
    assert_eq!(types.join(" "), want.split(' ').map(|t| format!("TYPE_{t}")).collect::<Vec<_>>().join(" "));
    assert_eq!(config["input"][0]["dims"], json!([-1, -1]));
    assert_eq!(service.get("/v2/models/other/config").status, 404);
}

#[test]
fn the_repository_has_one_model_which_stays() {
    let service = rows().ready();
    let entry = json!([{"name": "tiny", "version": "1.2.0", "state": "READY", "reason": ""}]);
    for body in ["", "{}", r#"{"ready":true}"#, r#"{"ready":false,"more":[]}"#] {
        let answer = service.post("/v2/repository/index", body.as_bytes());
        assert_eq!((answer.status, answer.json()), (200, entry.clone()), "{body}");
    }
    for body in ["[", "7", r#"{"ready":1}"#] {
        let answer = service.post("/v2/repository/index", body.as_bytes());
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["error"].as_str().unwrap().contains("can't be read"));
    }
    for control in ["load", "unload"] {
        let answer = service.post(&format!("/v2/repository/models/tiny/{control}"), b"{}");
        assert_eq!(answer.status, 501);
        assert!(answer.json()["error"].as_str().unwrap().contains("when the service starts"));
        assert_eq!(service.post(&format!("/v2/repository/models/other/{control}"), b"").status, 404);
    }
}

#[test]
fn unknown_routes_models_and_methods_are_told_in_the_style_of_their_family() {
    let service = rows().ready();
    assert!(service.get("/nothing").v1_error(404).contains("/nothing"));
    assert!(service.get("/").v1_error(404).contains("`/`"));
    for path in ["/v2/nothing", "/v2/models/other", "/v2/models/tiny/versions/9", "/v2/models/other/ready"] {
        let answer = service.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].is_string(), "{}", answer.text());
    }
    assert_eq!(service.post("/v2/models/other/infer", b"{}").status, 404);
    let answer = service.get("/v1/predict");
    assert!(answer.v1_error(405).contains("POST"));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = service.post("/v2/health/ready", b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert!(answer.json()["error"].is_string());
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let service = rows().ready();
    let mut stream = service.connect();
    std::io::Write::write_all(&mut stream, b"HEAD /v1/version HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("content-length: ") && text.ends_with("\r\n\r\n"));
}

#[test]
fn the_docs_page_and_what_it_reads() {
    let service = rows().ready();
    for (path, content_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/style.css", "text/css; charset=utf-8"),
        ("/docs/script.js", "text/javascript; charset=utf-8"),
        ("/docs/model.json", "application/json"),
        ("/docs/sample.json", "application/json"),
    ] {
        let answer = service.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
    assert_eq!(service.get("/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(service.predict(&service.get("/docs/sample.json").json()).status, 200);
    let without = Made { sample: None, ..rows() }.ready();
    assert_eq!(without.get("/docs/sample.json").status, 404);
    assert_eq!(without.get("/docs/model.json").json()["hasSample"], false);
}

#[test]
fn the_debug_page_and_the_counters_that_it_draws() {
    let service = rows().ready();
    assert_eq!(service.predict(&json!({"x": [[1, 2, 3], [4, 5, 6]], "b": [[0], [0]]})).status, 200);
    for (path, content_type) in [
        ("/debug", "text/html; charset=utf-8"),
        ("/debug/style.css", "text/css; charset=utf-8"),
        ("/debug/script.js", "text/javascript; charset=utf-8"),
        ("/debug/data.json", "application/json"),
    ] {
        let answer = service.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)), "{path}");
        assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
    let picture = service.get("/debug/data.json").json();
    let sum = |of: &Value| of.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    for times in ["all", "decode", "queue", "compute", "encode"] {
        let buckets = &picture["times"][times]["buckets"];
        assert_eq!((sum(buckets), buckets.as_array().unwrap().len()), (1, 21), "{times}");
    }
    assert_eq!(picture["bounds_ns"].as_array().unwrap().len(), 20);
    assert_eq!(picture["batches"], json!([{"size": 2, "count": 1, "rows": 2}]));
    assert_eq!((&picture["ready"], &picture["doing"], &picture["model"]), (&json!(true), &Value::Null, &json!("tiny")));
    assert!(picture["at_ms"].as_u64() > picture["started_ms"].as_u64());
    assert_eq!(service.get("/docs/model.json").json()["hasDebug"], true);
    let without = Made { server: json!({"debugPage": false}), ..rows() }.ready();
    for path in ["/debug", "/debug/script.js", "/debug/data.json"] {
        assert_eq!(without.get(path).status, 404, "{path}");
    }
    assert_eq!(
        (without.get("/metrics").status, &without.get("/docs/model.json").json()["hasDebug"]),
        (200, &json!(false))
    );
}

#[test]
fn request_ids_are_kept_or_made_and_logged() {
    let service = rows().ready();
    let answer = service.send("GET", "/v1/version", &[("x-request-id", "abc-1")], b"");
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
    let answer = service.send("POST", "/v1/predict", &[("x-request-id", "my-own")], b"secret");
    assert_eq!((answer.status, answer.header("x-request-id")), (400, Some("my-own")));
    let line = service.log.wait_for("request refused");
    assert_eq!(
        (&line["request_id"], &line["route"], &line["status"]),
        (&json!("my-own"), &json!("/v1/predict"), &json!(400))
    );
    let made = service.send("GET", "/v1/version", &[("x-request-id", "no good")], b"");
    assert_eq!(made.header("x-request-id").unwrap().len(), 16);
    assert!(!format!("{:?}", service.log.lines()).contains("secret"), "a payload is in the log");
}
