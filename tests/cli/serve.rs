//! `run` serves at once; `inspect` looks.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Place, names, wait_until};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A service in the foreground, killed with the test.
struct Served {
    child: Child,
    port: u16,
}

impl Served {
    fn start(place: &Place, args: &[&str]) -> Self {
        let port = free_port();
        let temporary = place.at("../tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let mut command = place.nimify();
        command.args(["run", "--port", &port.to_string(), "--grpc-port", "0"]).args(args).env("TMPDIR", &temporary);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut served = Served { child, port };
        let up = wait_until(|| served.ready() || served.child.try_wait().unwrap().is_some());
        assert!(up && served.child.try_wait().unwrap().is_none(), "it doesn't start");
        served
    }

    fn ready(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok() && ureq::get(self.url("/v1/health/ready")).call().is_ok()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn stop(mut self, signal: Signal) -> (Option<i32>, Vec<String>) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
        let lines = BufReader::new(self.child.stderr.take().unwrap()).lines().map_while(Result::ok).collect();
        (self.child.wait().unwrap().code(), lines)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_model_is_served_until_a_signal_ends_it() {
    let place = Place::without_key();
    place.take("digits/digits.onnx");
    for signal in [Signal::TERM, Signal::INT] {
        let served = Served::start(&place, &["digits.onnx", "--name", "Numbers"]);
        let sample = std::fs::read_to_string(crate::command::fixture("digits/samples/request.json"));
        let pixels = vec![vec![0.0; 64]; 2];
        let request = sample.ok().and_then(|text| serde_json::from_str(&text).ok());
        let request = request.unwrap_or_else(|| serde_json::json!({ "pixels": pixels }));
        let mut answer = ureq::post(served.url("/v1/predict")).send_json(request).unwrap();
        let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
        assert!(answer["label"].is_array() && answer["probabilities"].is_array(), "{answer}");
        let mut metadata = ureq::get(served.url("/v2/models/Numbers")).call().unwrap();
        let metadata: serde_json::Value = metadata.body_mut().read_json().unwrap();
        assert_eq!(metadata["name"], "Numbers");
        assert_eq!(names(&place.at("../tmp")).len(), 1);
        let (code, _) = served.stop(signal);
        assert_eq!(code, Some(0));
        assert!(names(&place.at("../tmp")).is_empty(), "its folder is gone");
        assert_eq!(place.entries(), ["digits.onnx"]);
    }
}

#[test]
fn a_model_without_a_proof_is_served_with_a_warning_or_without_a_probe() {
    let place = Place::without_key();
    place.take("models/empty.onnx").take("models/scalar.onnx");
    for args in [&["scalar.onnx"][..], &["scalar.onnx", "--no-probe"]] {
        let (code, _) = Served::start(&place, args).stop(Signal::TERM);
        assert_eq!(code, Some(0));
    }
}

#[test]
fn files_that_go_along_are_named() {
    let place = Place::without_key();
    place.take("models/scalar.onnx").write("model/config.json", "{}").write("model/notes.txt", "mine");
    std::fs::rename(place.at("scalar.onnx"), place.at("model/scalar.onnx")).unwrap();
    let (code, said) = Served::start(&place, &["model", "--no-probe"]).stop(Signal::TERM);
    assert_eq!(code, Some(0));
    let wanted = "side files go along and are given to clients: `config.json`";
    assert!(said.iter().any(|line| line == wanted), "{said:?}");
}

#[test]
fn a_port_in_use_is_told() {
    let place = Place::without_key();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let temporary = place.at("../tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = place.take("digits/digits.onnx").nimify();
    let ended = place
        .finish(command.args(["run", "digits.onnx", "--port", &port, "--grpc-port", "0"]).env("TMPDIR", &temporary))
        .with(4);
    // After the time of the log's line.
    let stderr = ended.stderr.replace(&port, "<port>");
    let stderr = stderr.split_once(' ').unwrap().1;
    assert_snapshot!(stderr, @"ERROR the service can't start error=can't listen on `127.0.0.1:<port>` (`server.port`): Address already in use (os error 98)");
    assert!(names(&temporary).is_empty());
}

#[test]
fn run_refuses_what_create_refuses() {
    let place = Place::without_key();
    place.take("digits/digits.onnx").take("broken/future_opset.onnx").take("broken/custom_operator.onnx");
    let run = |args: &[&str]| place.run([&["run"][..], args].concat());
    assert!(run(&["nowhere.onnx"]).refused(3).starts_with("error: there is no model at `nowhere.onnx`\n"));
    assert!(run(&["future_opset.onnx"]).refused(3).contains("opset 999"));
    assert!(run(&["custom_operator.onnx"]).refused(3).contains("com.example:Frobnicate"));
    assert_snapshot!(run(&["digits.onnx", "--host", "localhost"]).refused(4), @"error: `server.host`: should be an IP address to bind, such as `0.0.0.0` or `::`");
    assert_snapshot!(run(&["digits.onnx", "--name", "a/b"]).refused(4), @"error: `--name`: `a/b` can't be a model's name: no spaces and no slashes, at most 253 bytes");
    assert_snapshot!(run(&["digits.onnx", "--sample", "nowhere.json"]).refused(10), @"
    error: could not read the sample `nowhere.json`
    cause: No such file or directory (os error 2)
    ");
}

#[test]
fn inspect_as_text() {
    let place = Place::without_key();
    place.take("digits/digits.onnx");
    let ended = place.run(["inspect", "digits.onnx"]).with(0);
    assert_eq!(ended.stderr, "");
    assert_snapshot!(ended.stdout, @"
    digits.onnx  ONNX, 4.7 kB
    sha256:b64d3f12d4c915ac1e5bb78ef8da9c27966675b978b93a68e8298d41e71f03e3
      about       Which digit is written in an image of 8 by 8 pixels, each 0 to 16, row by row.
      producer    skl2onnx 1.20.0 (ai.onnx)
      IR version  8
      opsets      ai.onnx 17, ai.onnx.ml 1
      parameters  778, 3.1 kB
      operators   ai.onnx.ml:LinearClassifier 1, ai.onnx.ml:Normalizer 1, ai.onnx.ml:Scaler 1

    inputs
      pixels  float32  [N, 64]

    outputs
      label          int64    [N]
      probabilities  float32  [N, 10]

    batching
      unproved, not tried: the model was read, not run

    metadata
      accuracy: 0.9711 on 450 images that it was not trained on
      author: The nimify authors
      license: Apache-2.0; training data CC BY 4.0 (see LICENSE.md)
      training_data: Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak)
    ");
    for model in
        ["models/unknown_rank.onnx", "models/names.onnx", "models/sequence_output.onnx", "models/external.onnx"]
    {
        let path = crate::command::fixture(model);
        let text = place.run(["inspect".as_ref(), path.as_os_str()]).with(0).stdout;
        assert!(text.contains("\ninputs\n") && text.contains("\noutputs\n"), "{text}");
    }
}

#[test]
fn inspect_as_json_and_with_a_probe() {
    let place = Place::without_key();
    place.take("digits/digits.onnx").take("models/coupled_mean.onnx");
    let plain = place.run(["inspect", "digits.onnx", "--format", "json"]).with(0).json();
    assert!(plain.get("probe").is_none());
    let probed = place.run(["inspect", "digits.onnx", "--format", "json", "--probe", "--offline"]).with(0).json();
    assert!(probed["probe"]["measured"].is_object() && probed["probe"]["sample"].is_string(), "{probed}");
    assert_eq!(probed["digest"], plain["digest"]);
    let text = place.run(["inspect", "coupled_mean.onnx", "--probe"]).with(0).stdout;
    assert!(text.contains("a row's answer changes") && text.contains("\nProbed with ONNX Runtime "), "{text}");
    place.write("sample.json", r#"{"pixels": "no"}"#);
    assert_snapshot!(place.run(["inspect", "digits.onnx", "--probe", "--sample", "sample.json"]).refused(2), @r#"
    error: the sample given for `digits.onnx` doesn't work: `pixels`: an array is expected and a string came (line 1, column 12); `pixels` should be float32 [N, 64]
     hint: `--sample` takes a request as `/v1/predict` does: {"input": [[…]], …}
    "#);
    assert_eq!(place.entries(), ["coupled_mean.onnx", "digits.onnx", "sample.json"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::without_key();
    let mut command = place.command("sh");
    command.args(["-c", "\"$0\" schema | head -c 10; exit 0", env!("CARGO_BIN_EXE_nimify")]);
    let ended = place.finish(&mut command).with(0);
    assert_eq!(ended.stderr, "");
    let mut full = place.command("sh");
    full.args(["-c", "\"$0\" schema > /dev/full", env!("CARGO_BIN_EXE_nimify")]);
    assert_snapshot!(place.finish(&mut full).refused(10), @"error: could not write to standard output: No space left on device (os error 28)");
}
