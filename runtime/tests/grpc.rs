//! gRPC over real sockets, by tonic's client: every method, every element type, errors, streams, limits, the end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use nimify_runtime::codec::v2::protobuf::messages::infer_parameter::ParameterChoice;
use nimify_runtime::codec::v2::protobuf::messages::model_config::SchedulingChoice;
use nimify_runtime::codec::v2::protobuf::messages::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use nimify_runtime::codec::v2::protobuf::messages::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelConfigResponse, ModelInferRequest,
    ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
    ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, RepositoryModelLoadRequest, RepositoryModelLoadResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use prost::Message;
use serde_json::json;
use support::{PATIENCE, Service, gather, identity, rows, slow};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

const INFERENCE: &str = "/inference.GRPCInferenceService/";

const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The messages of the health protocol.
#[derive(Clone, PartialEq, Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[derive(Clone)]
struct Client(Grpc<Channel>);

impl Client {
    async fn to(service: &Service) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", service.grpc.unwrap())).unwrap();
        Client(Grpc::new(endpoint.connect().await.unwrap()).max_decoding_message_size(usize::MAX))
    }

    async fn call<Q, A>(&mut self, path: &str, request: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        self.0.unary(request, path, ProstCodec::<Q, A>::default()).await
    }

    /// A method of the inference service.
    async fn ask<Q, A>(&mut self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.call(&format!("{INFERENCE}{method}"), Request::new(request)).await.map(Response::into_inner)
    }

    async fn infer(&mut self, request: ModelInferRequest) -> Result<ModelInferResponse, Status> {
        self.ask("ModelInfer", request).await
    }

    async fn check(&mut self, service: &str) -> Result<i32, Status> {
        let request = Request::new(HealthRequest { service: service.into() });
        let response: Response<HealthResponse> = self.call("/grpc.health.v1.Health/Check", request).await?;
        Ok(response.into_inner().status)
    }

    async fn watch(&mut self, service: &str) -> Streaming<HealthResponse> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
        let request = Request::new(HealthRequest { service: service.into() });
        self.0.server_streaming(request, path, ProstCodec::default()).await.unwrap().into_inner()
    }

    /// A stream of inferences: what is sent, and what comes.
    async fn stream(&mut self) -> (mpsc::Sender<ModelInferRequest>, Streaming<ModelStreamInferResponse>) {
        self.stream_within(None).await
    }

    async fn stream_within(
        &mut self,
        timeout: Option<&str>,
    ) -> (mpsc::Sender<ModelInferRequest>, Streaming<ModelStreamInferResponse>) {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelStreamInfer");
        let (sender, receiver) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(receiver));
        if let Some(timeout) = timeout {
            request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        let answers = self.0.streaming(request, path, ProstCodec::default()).await.unwrap().into_inner();
        (sender, answers)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

fn tensor(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor { name: name.into(), datatype: datatype.into(), shape: shape.into(), ..Default::default() }
}

fn raw_floats(numbers: &[f32]) -> prost::bytes::Bytes {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into()
}

fn floats(raw: &[u8]) -> Vec<f32> {
    raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// y = 2x + b over so many rows.
fn rows_request(x: &[f32], b: &[f32]) -> ModelInferRequest {
    let count = b.len() as i64;
    ModelInferRequest {
        model_name: "tiny".into(),
        inputs: vec![tensor("x", "FP32", &[count, 3]), tensor("b", "FP32", &[count, 1])],
        raw_input_contents: vec![raw_floats(x), raw_floats(b)],
        ..Default::default()
    }
}

fn index_request(id: &str, index: i64) -> ModelInferRequest {
    let contents = InferTensorContents { int64_contents: vec![index], ..Default::default() };
    let input = InferInputTensor { contents: Some(contents), ..tensor("index", "INT64", &[1]) };
    ModelInferRequest { model_name: "tiny".into(), id: id.into(), inputs: vec![input], ..Default::default() }
}

fn slow_request(count: i64) -> ModelInferRequest {
    let input = tensor("count", "INT64", &[]);
    let raw_input_contents = vec![count.to_le_bytes().to_vec().into()];
    ModelInferRequest { model_name: "tiny".into(), inputs: vec![input], raw_input_contents, ..Default::default() }
}

/// Waits until a request runs.
async fn runs(service: &Service) {
    let end = Instant::now() + PATIENCE;
    while !service.get("/metrics").text().contains("num_requests_running 1\n") {
        assert!(Instant::now() < end, "nothing runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn every_method_answers() {
    let service = rows().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        assert!(client.ask::<_, ServerLiveResponse>("ServerLive", ServerLiveRequest {}).await.unwrap().live);
        assert!(client.ask::<_, ServerReadyResponse>("ServerReady", ServerReadyRequest {}).await.unwrap().ready);
        let named = |version: &str| ModelReadyRequest { name: "tiny".into(), version: version.into() };
        for version in ["", "1.2.0"] {
            let answer: ModelReadyResponse = client.ask("ModelReady", named(version)).await.unwrap();
            assert!(answer.ready);
        }
        let answer: ModelReadyResponse = client.ask("ModelReady", named("7")).await.unwrap();
        assert!(!answer.ready);
        let request = ModelMetadataRequest { name: "tiny".into(), version: "7".into() };
        let missing = client.ask::<_, ModelMetadataResponse>("ModelMetadata", request).await.unwrap_err();
        assert_eq!(
            (missing.code(), missing.message()),
            (Code::NotFound, "the version in the request is unknown: `tiny` is at `1.2.0`")
        );
        let server: ServerMetadataResponse = client.ask("ServerMetadata", ServerMetadataRequest {}).await.unwrap();
        assert_eq!(server.name, "nimify");
        let request = ModelMetadataRequest { name: "tiny".into(), version: String::new() };
        let model: ModelMetadataResponse = client.ask("ModelMetadata", request).await.unwrap();
        assert_eq!((model.name.as_str(), model.platform.as_str()), ("tiny", "onnxruntime_onnx"));
        let shapes: Vec<_> =
            model.inputs.iter().map(|i| (i.name.as_str(), i.datatype.as_str(), &i.shape[..])).collect();
        assert_eq!(shapes, [("x", "FP32", &[-1, 3][..]), ("b", "FP32", &[-1, 1])]);
        let load = RepositoryModelLoadRequest { model_name: "tiny".into(), ..Default::default() };
        let refused = client.ask::<_, RepositoryModelLoadResponse>("RepositoryModelLoad", load).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        for path in ["/inference.GRPCInferenceService/SystemSharedMemoryStatus", "/x.Y/Z"] {
            let refused =
                client.call::<_, ServerLiveResponse>(path, Request::new(ServerLiveRequest {})).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{path}");
            assert!(refused.message().contains(path), "{refused}");
        }
    });
    let page = service.get("/metrics").text();
    for (route, count) in
        [("ModelReady\",status=\"200", 3), ("ModelMetadata\",status=\"404", 1), ("ServerLive\",status=\"200", 1)]
    {
        let line = format!("nim_request_count_total{{route=\"{INFERENCE}{route}\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
}

#[test]
fn configuration_statistics_and_index_are_those_of_rest() {
    let service = rows().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        client.infer(rows_request(&[1., 2., 3., 4., 5., 6.], &[0.5, 1.])).await.unwrap();
        let request = ModelConfigRequest { name: "tiny".into(), version: String::new() };
        let answer: ModelConfigResponse = client.ask("ModelConfig", request).await.unwrap();
        let (config, rest) = (answer.config.unwrap(), service.get("/v2/models/tiny/config").json());
        assert_eq!(
            json!([config.name, config.platform, config.backend]),
            json!([rest["name"], rest["platform"], rest["backend"]])
        );
        assert_eq!(json!(config.max_batch_size), rest["max_batch_size"]);
        let inputs = rest["input"].as_array().unwrap();
        assert_eq!(config.input.len(), inputs.len());
        for (input, rest) in config.input.iter().zip(inputs) {
            assert_eq!(
                json!([input.name, input.data_type().as_str_name(), input.dims]),
                json!([rest["name"], rest["data_type"], rest["dims"]])
            );
        }
        let Some(SchedulingChoice::DynamicBatching(batching)) = config.scheduling_choice else {
            panic!("it is batched")
        };
        let policy = batching.default_queue_policy.unwrap();
        assert_eq!(json!(policy.max_queue_size), rest["dynamic_batching"]["default_queue_policy"]["max_queue_size"]);
        let answer: ModelStatisticsResponse =
            client.ask("ModelStatistics", ModelStatisticsRequest::default()).await.unwrap();
        let (statistics, rest) =
            (&answer.model_stats[0], &service.get("/v2/models/tiny/stats").json()["model_stats"][0]);
        assert_eq!((statistics.inference_count, statistics.execution_count), (2, 1));
        let stages = statistics.inference_stats.unwrap();
        assert_eq!(json!(stages.success.unwrap().ns), rest["inference_stats"]["success"]["ns"]);
        assert_eq!(json!(stages.compute_infer.unwrap().ns), rest["inference_stats"]["compute_infer"]["ns"]);
        assert_eq!(statistics.batch_stats[0].batch_size, 2);
        let answer: RepositoryIndexResponse =
            client.ask("RepositoryIndex", RepositoryIndexRequest::default()).await.unwrap();
        let model = &answer.models[0];
        assert_eq!([&model.name, &model.version, &model.state], ["tiny", "1.2.0", "READY"]);
    });
}

#[test]
fn what_failed_is_counted_as_such_and_not_as_a_run() {
    let service = gather().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        for (index, answers) in [(1, true), (99, false), (2, true), (-99, false), (77, false)] {
            assert_eq!(client.infer(index_request("", index)).await.is_ok(), answers, "{index}");
        }
        let answer: ModelStatisticsResponse =
            client.ask("ModelStatistics", ModelStatisticsRequest::default()).await.unwrap();
        let statistics = &answer.model_stats[0];
        assert_eq!((statistics.inference_count, statistics.execution_count), (2, 2));
        let requests = statistics.inference_stats.unwrap();
        let counts = [requests.success, requests.fail, requests.queue, requests.compute_infer];
        assert_eq!(counts.map(|counted| counted.unwrap().count), [2, 3, 2, 2]);
        assert!(requests.fail.unwrap().ns > 0);
        let [runs] = &statistics.batch_stats[..] else { panic!("{statistics:?}") };
        assert_eq!((runs.batch_size, runs.compute_infer.unwrap().count), (1, 2));
        let rest = &service.get("/v2/models/tiny/stats").json()["model_stats"][0];
        assert_eq!((&rest["execution_count"], &rest["inference_stats"]["fail"]["count"]), (&json!(2), &json!(3)));
    });
    let page = service.get("/metrics").text();
    let model = "model=\"tiny\",version=\"1.2.0\"";
    for line in [
        format!("nv_inference_exec_count{{{model}}} 2\n"),
        "nv_inference_request_failure{model=\"tiny\",reason=\"BACKEND\",version=\"1.2.0\"} 3\n".into(),
        "nim_batch_size_histogram_count 2\n".into(),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
}

#[test]
fn an_inference_answers_raw_and_echoes_the_id() {
    let service = rows().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let request = ModelInferRequest { id: "q-1".into(), ..rows_request(&[1., 2., 3., 4., 5., 6.], &[0.5, 1.]) };
        let mut metadata = Request::new(request);
        metadata.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
        let answer: Response<ModelInferResponse> = client.call(MODEL_INFER, metadata).await.unwrap();
        assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine");
        let answer = answer.into_inner();
        assert_eq!(
            (answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()),
            ("tiny", "1.2.0", "q-1")
        );
        let outputs: Vec<_> =
            answer.outputs.iter().map(|o| (o.name.as_str(), o.datatype.as_str(), &o.shape[..])).collect();
        assert_eq!(outputs, [("y", "FP32", &[2, 3][..]), ("sum", "FP32", &[2])]);
        assert_eq!(floats(&answer.raw_output_contents[0]), [2.5, 4.5, 6.5, 9., 11., 13.]);
        assert_eq!(floats(&answer.raw_output_contents[1]), [13.5, 33.]);
        // The largest of each row and where it stands, instead of all.
        let top = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
        let parameters = [("classification".to_string(), top)].into();
        let outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
        let request = ModelInferRequest { outputs, ..rows_request(&[1., 2., 3., 4., 5., 6.], &[0.5, 1.]) };
        let answer = client.infer(request).await.unwrap();
        assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape[..]), ("BYTES", &[2, 1][..]));
        assert_eq!(answer.raw_output_contents, [&b"\x05\0\0\x006.5:2\x06\0\0\x0013.0:2"[..]]);
        // Larger than any frame, and than what is set aside at once.
        let count = 200_000;
        let x: Vec<f32> = (0..3 * count).map(|k| k as f32).collect();
        let answer = client.infer(rows_request(&x, &vec![1.; count])).await.unwrap();
        let y = floats(&answer.raw_output_contents[0]);
        assert!(y.len() == x.len() && y.iter().zip(&x).all(|(y, x)| *y == 2. * x + 1.));
    });
    let page = service.get("/metrics").text();
    assert!(page.contains("nv_inference_request_success{model=\"tiny\",version=\"1.2.0\"} 3\n"), "{page}");
}

#[test]
fn every_element_type_goes_through() {
    let service = identity().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let types: [(&str, &str, &[u8]); 14] = [
            ("float32", "FP32", &[0, 0, 192, 127, 0, 0, 128, 63]),
            ("float64", "FP64", &[1, 2, 3, 4, 5, 6, 7, 64, 8, 7, 6, 5, 4, 3, 2, 64]),
            ("float16", "FP16", &[0, 60, 255, 251]),
            ("bfloat16", "BF16", &[128, 63, 129, 191]),
            ("int8", "INT8", &[128, 127]),
            ("int16", "INT16", &[1, 128, 2, 0]),
            ("int32", "INT32", &[1, 0, 0, 128, 2, 0, 0, 0]),
            ("int64", "INT64", &[1, 0, 0, 0, 0, 0, 0, 128, 2, 0, 0, 0, 0, 0, 0, 0]),
            ("uint8", "UINT8", &[255, 0]),
            ("uint16", "UINT16", &[255, 255, 0, 1]),
            ("uint32", "UINT32", &[255, 255, 255, 255, 1, 0, 0, 0]),
            ("uint64", "UINT64", &[255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0]),
            ("bool", "BOOL", &[1, 0]),
            ("string", "BYTES", &[2, 0, 0, 0, 255, 0, 0, 0, 0, 0]),
        ];
        let request = ModelInferRequest {
            model_name: "tiny".into(),
            inputs: types.iter().map(|(name, datatype, _)| tensor(name, datatype, &[1, 2])).collect(),
            raw_input_contents: types.iter().map(|(_, _, raw)| raw.to_vec().into()).collect(),
            ..Default::default()
        };
        let answer = client.infer(request).await.unwrap();
        for ((output, raw), (name, datatype, sent)) in answer.outputs.iter().zip(&answer.raw_output_contents).zip(types)
        {
            assert_eq!(output.name, format!("{name}_out"));
            assert_eq!((output.datatype.as_str(), &output.shape[..], &raw[..]), (datatype, &[1, 2][..], sent));
        }
    });
}

#[test]
fn what_is_wrong_is_told_with_its_code() {
    let service = rows().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let good = || rows_request(&[1., 2., 3.], &[0.]);
        let wrong = ModelInferRequest { model_name: "other".into(), ..good() };
        let status = client.infer(wrong).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "the model in the request is unknown: this service has `tiny`")
        );
        let mut wrong = good();
        wrong.inputs[1].shape = vec![2, 1];
        let status = client.infer(wrong).await.unwrap_err();
        let text = "the input `b` holds 1 elements where its shape [2, 1] says 2";
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
        let mut unsupported = good();
        let choice = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(3)) };
        unsupported.inputs[0].parameters.insert("shared_memory_region".into(), choice);
        assert_eq!(client.infer(unsupported).await.unwrap_err().code(), Code::Unimplemented);
        // A message that is none.
        #[derive(Clone, PartialEq, Message)]
        struct Bytes {
            #[prost(uint64, tag = "1")]
            number: u64,
        }
        let status = client.ask::<_, ModelInferResponse>("ModelInfer", Bytes { number: 7 }).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        // The model itself refuses.
        let service = gather().ready();
        let mut client = Client::to(&service).await;
        let status = client.infer(index_request("", 99)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("the model refused the request: "), "{status}");
    });
}

#[test]
fn a_stream_answers_each_request_in_its_turn_whatever_is_wrong_with_one() {
    let service = gather().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let (requests, mut answers) = client.stream().await;
        let send = async {
            for k in 0..60 {
                let request = match k % 6 {
                    5 => index_request(&k.to_string(), 99),
                    4 => ModelInferRequest { inputs: vec![], ..index_request(&k.to_string(), 0) },
                    index => index_request(&k.to_string(), index % 3),
                };
                requests.send(request).await.unwrap();
            }
            drop(requests);
        };
        let receive = async {
            for k in 0..60 {
                let answer = answers.message().await.unwrap().unwrap();
                let response = answer.infer_response.unwrap();
                assert_eq!(response.id, k.to_string());
                match k % 6 {
                    5 => assert!(answer.error_message.starts_with("the model refused the request: ")),
                    4 => assert_eq!(answer.error_message, "the input `index` is missing: it should be int64 [N]"),
                    _ => {
                        assert_eq!(answer.error_message, "");
                        assert_eq!(response.outputs[0].shape, [1, 2]);
                        let last = &response.parameters["triton_final_response"].parameter_choice;
                        assert_eq!(*last, Some(ParameterChoice::BoolParam(true)));
                    }
                }
            }
            assert!(answers.message().await.unwrap().is_none());
        };
        tokio::join!(send, receive);
    });
    let page = service.get("/metrics").text();
    let line = |status: u16, count| {
        format!("nim_request_count_total{{route=\"{INFERENCE}ModelStreamInfer\",status=\"{status}\"}} {count}\n")
    };
    for line in [line(200, 40), line(400, 10), line(422, 10)] {
        assert!(page.contains(&line), "{line}{page}");
    }
}

#[test]
fn each_inference_is_a_line_with_its_stages_if_that_is_wanted() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let access = [("NIMIFY_ACCESS_LOG", "info")];
    let service = gather().ready_with(&access);
    block_on(async {
        let mut client = Client::to(&service).await;
        let mut request = Request::new(index_request("", 1));
        request.metadata_mut().insert("x-request-id", "one".parse().unwrap());
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        client.call::<_, ModelInferResponse>(MODEL_INFER, request).await.unwrap();
        let (requests, mut answers) = client.stream().await;
        for index in [0, 99] {
            requests.send(index_request("", index)).await.unwrap();
            answers.message().await.unwrap().unwrap();
        }
        client.check("").await.unwrap();
    });
    let end = Instant::now() + PATIENCE;
    let lines = loop {
        let lines: Vec<_> = service.log.lines().into_iter().filter(|line| line["message"] == "answered").collect();
        if lines.len() >= 4 {
            break lines;
        }
        assert!(Instant::now() < end, "{lines:#?}");
        std::thread::sleep(Duration::from_millis(2));
    };
    let told: Vec<_> = lines.iter().map(|line| json!([line["route"], line["status"], line["batch_rows"]])).collect();
    let [infer, stream] = ["ModelInfer", "ModelStreamInfer"].map(|method| format!("{INFERENCE}{method}"));
    let check = "/grpc.health.v1.Health/Check";
    assert_eq!(json!(told), json!([[infer, 200, 1], [stream, 200, 1], [stream, 422, 0], [check, 200, null]]));
    assert_eq!((&lines[0]["request_id"], &lines[0]["trace_id"]), (&json!("one"), &json!(TRACE)));
    for stage in ["took_us", "decode_us", "queue_us", "compute_us", "encode_us"] {
        assert!(lines[..3].iter().all(|line| line[stage].is_u64()) && lines[1]["compute_us"] != 0, "{lines:#?}");
    }
    // A client that goes.
    let service = slow().ready_with(&access);
    block_on(async {
        let mut client = Client::to(&service).await;
        let mut left = client.clone();
        let call = tokio::spawn(async move { left.infer(slow_request(20_000)).await });
        runs(&service).await;
        call.abort();
        let end = Instant::now() + PATIENCE;
        let gone = |line: &serde_json::Value| line["route"] == infer && line["canceled"] == true;
        while !service.log.lines().iter().any(gone) {
            assert!(Instant::now() < end, "{:#?}", service.log.lines());
            client.check("").await.unwrap();
        }
    });
}

#[test]
fn deadlines_are_kept_wherever_they_come_from() {
    let service = slow().ready_with(&[("NIMIFY_REQUEST_TIMEOUT", "30s")]);
    block_on(async {
        let mut client = Client::to(&service).await;
        // Holds the one instance, so that the others wait.
        let mut busy = client.clone();
        let long = tokio::spawn(async move { busy.infer(slow_request(20_000)).await });
        runs(&service).await;
        let mut own = slow_request(1);
        let choice = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(50_000)) };
        own.parameters.insert("timeout".into(), choice);
        let begun = Instant::now();
        let status = client.infer(own).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        // Of one call, tonic itself would keep it; of a stream it is kept by the service.
        let (requests, mut answers) = client.stream_within(Some("200m")).await;
        requests.send(slow_request(1)).await.unwrap();
        let late = answers.message().await.unwrap().unwrap().error_message;
        assert!(late.starts_with("no answer within"), "{late}");
        let mut wrong = Request::new(slow_request(1));
        wrong.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
        let status = client.call::<_, ModelInferResponse>(MODEL_INFER, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        long.abort();
    });
}

#[test]
fn a_call_that_its_client_gives_up_is_dropped_before_it_runs() {
    let service = slow().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let mut busy = client.clone();
        let long = tokio::spawn(async move { busy.infer(slow_request(4000)).await });
        runs(&service).await;
        for _ in 0..5 {
            let given_up = tokio::time::timeout(Duration::from_millis(30), client.infer(slow_request(1))).await;
            assert!(given_up.is_err());
        }
        let canceled = "nv_inference_request_failure{model=\"tiny\",reason=\"CANCELED\",version=\"1.2.0\"} 5\n";
        let end = Instant::now() + PATIENCE;
        while !service.get("/metrics").text().contains(canceled) {
            assert!(Instant::now() < end, "{}", service.get("/metrics").text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        long.await.unwrap().unwrap();
        client.infer(slow_request(1)).await.unwrap();
    });
    let page = service.get("/metrics").text();
    assert!(page.contains("nv_inference_exec_count{model=\"tiny\",version=\"1.2.0\"} 2\n"), "{page}");
}

#[test]
fn limits_are_those_of_http() {
    let mut made = rows();
    made.server = json!({"maxBodyBytes": 10_000, "maxConcurrency": 1});
    let service = made.ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let status = client.infer(rows_request(&vec![1.; 3000], &vec![1.; 1000])).await.unwrap_err();
        let text = "the request body is larger than the limit of 10000 bytes (`maxBodyBytes`)";
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, text));
        client.infer(rows_request(&[1.; 3], &[1.])).await.unwrap();
        // A stream can't go on behind a message that is too large.
        let (requests, mut answers) = client.stream().await;
        requests.send(rows_request(&[1.; 3], &[1.])).await.unwrap();
        requests.send(rows_request(&vec![1.; 3000], &vec![1.; 1000])).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
        assert_eq!(answers.message().await.unwrap_err().code(), Code::ResourceExhausted);
    });
    let mut made = slow();
    made.server = json!({"maxConcurrency": 1});
    let service = made.ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        let mut busy = client.clone();
        let long = tokio::spawn(async move { busy.infer(slow_request(20_000)).await });
        runs(&service).await;
        let status = client.infer(slow_request(1)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
        assert!(status.message().contains("`maxConcurrency`"), "{status}");
        long.abort();
    });
}

#[test]
fn health_is_told_from_loading_to_the_end_and_streams_end_with_the_service() {
    let mut made = rows();
    made.server = json!({"drainDelay": "300ms", "drainTimeout": "8s"});
    let mut service = made.start();
    let begun = block_on(async {
        let mut client = Client::to(&service).await;
        let mut watched = client.watch("").await;
        let mut unknown = client.watch("nobody").await;
        assert_eq!(unknown.message().await.unwrap().unwrap().status, 3);
        let mut first = watched.message().await.unwrap().unwrap().status;
        if first == NOT_SERVING {
            first = watched.message().await.unwrap().unwrap().status;
        }
        assert_eq!(first, SERVING);
        for name in ["", "inference.GRPCInferenceService"] {
            assert_eq!(client.check(name).await.unwrap(), SERVING);
        }
        assert_eq!(client.check("nobody").await.unwrap_err().code(), Code::NotFound);
        let (requests, mut answers) = client.stream().await;
        requests.send(rows_request(&[1.; 3], &[1.])).await.unwrap();
        answers.message().await.unwrap().unwrap();
        service.signal("TERM");
        let begun = Instant::now();
        assert_eq!(watched.message().await.unwrap().unwrap().status, NOT_SERVING);
        assert_eq!(client.check("").await.unwrap(), NOT_SERVING);
        let answer: ServerReadyResponse = client.ask("ServerReady", ServerReadyRequest {}).await.unwrap();
        assert!(!answer.ready);
        // What comes while others learn of the end is still answered.
        requests.send(rows_request(&[1.; 3], &[1.])).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
        for status in [watched.message().await.unwrap_err(), answers.message().await.unwrap_err()] {
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "the service is stopping"));
        }
        begun
    });
    assert_eq!(service.exit().0, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(6), "nothing waits for the streams' clients");
}

/// The messages of the reflection protocol, as far as they are asked here.
mod reflection {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Question {
        #[prost(string, optional, tag = "3")]
        pub(super) file: Option<String>,
        #[prost(string, optional, tag = "4")]
        pub(super) symbol: Option<String>,
        #[prost(string, optional, tag = "7")]
        pub(super) list: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Answer {
        #[prost(message, optional, tag = "4")]
        pub(super) files: Option<Files>,
        #[prost(message, optional, tag = "6")]
        pub(super) services: Option<Services>,
        #[prost(message, optional, tag = "7")]
        pub(super) error: Option<Fault>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Files {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub(super) descriptors: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Services {
        #[prost(message, repeated, tag = "1")]
        pub(super) service: Vec<Named>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Fault {
        #[prost(int32, tag = "1")]
        pub(super) code: i32,
    }
}

#[test]
fn reflection_tells_the_services_and_their_messages() {
    use reflection::{Answer, Question};
    let service = rows().ready();
    block_on(async {
        let mut client = Client::to(&service).await;
        for version in ["v1", "v1alpha"] {
            client.0.ready().await.unwrap();
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let (questions, receiver) = mpsc::channel(4);
            let request = Request::new(ReceiverStream::new(receiver));
            let codec = ProstCodec::<Question, Answer>::default();
            let answers = client.0.streaming(request, PathAndQuery::try_from(path).unwrap(), codec).await;
            let mut answers = answers.unwrap().into_inner();
            let mut ask = async |question| {
                questions.send(question).await.unwrap();
                answers.message().await.unwrap().unwrap()
            };
            let listed = ask(Question { list: Some("*".into()), ..Default::default() }).await;
            let names: Vec<_> = listed.services.unwrap().service.into_iter().map(|service| service.name).collect();
            assert_eq!(
                names,
                [
                    "inference.GRPCInferenceService",
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection",
                ]
            );
            for symbol in [
                "inference.GRPCInferenceService",
                "inference.GRPCInferenceService.ModelInfer",
                "inference.ModelInferRequest",
            ] {
                let file = ask(Question { symbol: Some(symbol.into()), ..Default::default() }).await.files.unwrap();
                let text = String::from_utf8_lossy(&file.descriptors[0]).into_owned();
                assert!(text.contains("raw_input_contents"), "{symbol}");
                let by_name = Question { file: Some("inference.proto".into()), ..Default::default() };
                assert_eq!(ask(by_name).await.files.unwrap(), file);
            }
            let missing = ask(Question { symbol: Some("no.Such".into()), ..Default::default() }).await;
            assert_eq!(missing.error.unwrap().code, Code::NotFound as i32);
        }
    });
}

#[test]
fn what_is_no_grpc_is_told_so() {
    let service = rows().ready();
    let mut stream = std::net::TcpStream::connect(service.grpc.unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let answer = support::answer(&mut stream);
    assert_eq!(answer.status, 415);
    assert!(answer.text().contains("gRPC over HTTP/2"), "{}", answer.text());
}

#[test]
fn grpc_can_be_turned_off_and_a_port_that_is_taken_is_named_with_its_setting() {
    let service = rows().ready_with(&[("NIMIFY_GRPC_PORT", "none")]);
    assert_eq!((service.grpc, service.get("/v2/health/ready").status), (None, 200));
    let taken = service.address.port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let settings = rows().write(folder.path());
    let ended = support::command().arg("--config").arg(settings).env("NIM_GRPC_API_PORT", &taken).output().unwrap();
    assert_eq!(ended.status.code(), Some(4));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains(&format!("can't listen on `127.0.0.1:{taken}` (`server.grpcPort`)")), "{said}");
}
