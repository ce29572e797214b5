//! What a service costs over ONNX Runtime itself, as ratios within one run: start-up, memory, requests a second.
//!
//!     source tools/env
//!     cargo bench --bench serving -- fixtures/digits/digits.onnx [MODEL…]
//!
//! For each model: the bare side loads it and runs the recorded sample in a loop, in this process, on as many threads as
//! there are, one after another and in the best of batches; the served side is the generic service, driven by `wrk` over
//! HTTP/1.1 with JSON. The client shares the machine's cores with the service, so the ratio is a lower bound.
//!
//! Between the two stands a bare server: hyper, the same parse, the same session, the same answer, and nothing else of
//! what a service does. It is for models that run in microseconds, where the transport is all there is.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use nimify::cache::Cache;
use nimify::compile::{self, CompileRequest};
use nimify::config::Config;
use nimify::model::{self, Limits, ModelDescription};
use nimify::pipeline::{self, ServeRequest};
use nimify::probe;
use nimify_runtime::cgroup;
use nimify_runtime::codec::predict;
use nimify_runtime::engine::{self, Engine, LoadOptions};
use nimify_runtime::signature::ModelSignature;
use nimify_runtime::tensor::{Tensor, Value};

type Failed = Box<dyn Error>;

/// Runs a second from which on a service runs the model where the request is, on a session for each thread.
const QUICK: f64 = 1e9 / 150_000.0;
/// How long each window of load lasts.
const WINDOW: Duration = Duration::from_secs(3);
/// Starts that a median is taken of.
const STARTS: usize = 9;
/// Rounds of load that a median is taken of.
const ROUNDS: usize = 3;
/// Rows in one run, of which the best is the limit.
const BATCHES: [usize; 5] = [1, 2, 4, 8, 32];
/// Connections of `wrk`.
const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// This program again, as a process that loads a model and does nothing else.
const BARE: &str = "--bare-load";
/// This program again, as a server that is hyper, the codec and a session.
const BARE_SERVER: &str = "--bare-server";

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        // The benchmark starts itself again for the commands that it measures.
        [command, ..] if command == probe::SUBCOMMAND => {
            probe::child_main(std::io::stdin(), std::io::stdout());
            Ok(())
        }
        [command, library, model] if command == BARE => {
            engine::init(Path::new(library))?;
            Engine::load(Path::new(model), &options(1, 1))?;
            println!("loaded {}", resident_kib("self")?);
            Ok(())
        }
        [command, library, model, signature, instances, port] if command == BARE_SERVER => {
            let engine = options(cgroup::cpu_quota(), instances.parse()?);
            bare_server(Path::new(library), Path::new(model), Path::new(signature), engine, port.parse()?)
        }
        [] => Err("name the models to serve".into()),
        models => models.iter().try_for_each(|model| measure(Path::new(model))),
    }
}

fn measure(model: &Path) -> Result<(), Failed> {
    let subject = Subject::prepare(model)?;
    println!("\n{}", subject.description.file_name);
    subject.starts()?;
    let limit = subject.in_process()?;
    println!("{:<30}{:>14}{:>12}{:>12}{:>12}{:>12}", "", "requests/s", "of limit", "of bare", "p50 ms", "p99 ms");
    println!("{:<30}{:>14.0}", "in process, one after another", limit.alone);
    println!("{:<30}{:>14.0}", format!("in process, {}", limit.how), limit.most);
    for connections in CONNECTIONS {
        let [mut bare, mut served] = [Vec::new(), Vec::new()];
        // In turn, so that what else the machine does falls on both.
        for _ in 0..ROUNDS {
            bare.push(wrk(&Server::bare(&subject, &limit)?.url("/v1/predict"), &subject.body, connections, None)?);
            served.push(wrk(&Server::start(&subject, &[])?.url("/v1/predict"), &subject.body, connections, None)?);
        }
        let (bare, served) = (middle(bare), middle(served));
        for (label, load) in [("bare hyper", &bare), ("/v1/predict", &served)] {
            let label = format!("{label}, {connections} connections");
            let limit = if connections == 1 { limit.alone } else { limit.most };
            let (limit, bare) = (load.rate / limit, load.rate / bare.rate);
            println!("{label:<30}{:>14.0}{limit:>12.2}{bare:>12.2}{:>12.3}{:>12.3}", load.rate, load.p50, load.p99);
        }
    }
    features(&subject)?;
    let server = Server::start(&subject, &[])?;
    wrk(&server.url("/v1/predict"), &subject.body, CONNECTIONS[1], None)?;
    println!("resident after load: {} MiB", resident_kib(&server.child.id().to_string())? / 1024);
    Ok(())
}

/// What a feature costs, as a part of what the service does without it.
fn features(subject: &Subject) -> Result<(), Failed> {
    let collector = format!("http://127.0.0.1:{}", collector()?);
    let endpoint = ("NIMIFY_TRACING_ENDPOINT", collector.as_str());
    let plain = Way { name: "plain", environment: &[], accepts: None, scraped: false };
    let coded = |name, coding| Way { name, accepts: Some(coding), ..plain };
    let ways = [
        plain,
        Way { name: "traces sampled out", environment: &[endpoint, ("NIMIFY_TRACING_SAMPLE_RATIO", "0")], ..plain },
        Way {
            name: "traces, one in a hundred",
            environment: &[endpoint, ("NIMIFY_TRACING_SAMPLE_RATIO", "0.01")],
            ..plain
        },
        Way { name: "traces, all", environment: &[endpoint], ..plain },
        Way {
            name: "a line a request",
            environment: &[("NIMIFY_ACCESS_LOG", "error"), ("NIMIFY_LOG_FORMAT", "json")],
            ..plain
        },
        Way { name: "scraped ten times a second", scraped: true, ..plain },
        coded("answers in gzip", "gzip"),
        coded("answers in zstd", "zstd"),
        coded("answers in br", "br"),
    ];
    let mut loads = ways.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (loads, way) in loads.iter_mut().zip(ways) {
            let server = Server::start(subject, way.environment)?;
            let _scraper = way.scraped.then(|| Scraper::start(server.url("/metrics")));
            loads.push(wrk(&server.url("/v1/predict"), &subject.body, CONNECTIONS[1], way.accepts)?);
        }
    }
    let loads = loads.map(middle);
    println!("{:<30}{:>14}{:>12}", format!("features, {} connections", CONNECTIONS[1]), "requests/s", "of plain");
    for (load, way) in loads.iter().zip(ways) {
        println!("{:<30}{:>14.0}{:>12.2}", way.name, load.rate, load.rate / loads[0].rate);
    }
    Ok(())
}

/// How a service is run and asked.
#[derive(Clone, Copy)]
struct Way<'a> {
    name: &'a str,
    environment: &'a [(&'a str, &'a str)],
    /// What codings the client takes. An answer that is too short for one comes without.
    accepts: Option<&'a str>,
    scraped: bool,
}

/// Asks for the metrics until it is dropped.
struct Scraper(Arc<AtomicBool>);

impl Scraper {
    fn start(url: String) -> Scraper {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let page = ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
                assert!(page.is_ok_and(|page| page.contains("nimify_")), "the metrics can be had under load");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Scraper(stop)
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The port of a collector that takes all and keeps nothing, until this process ends.
fn collector() -> Result<u16, Failed> {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let take = |stream: std::net::TcpStream| -> std::io::Result<()> {
        let (mut reader, mut length) = (BufReader::new(&stream), 0);
        for line in reader.by_ref().lines() {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length: ").and_then(|text| text.parse().ok()).unwrap_or(length);
        }
        std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(take(stream))));
    Ok(port)
}

/// The load in the middle of several.
fn middle(mut loads: Vec<Load>) -> Load {
    loads.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    loads.swap_remove(loads.len() / 2)
}

/// What is left of a service when everything is taken away that an answer doesn't need.
fn bare_server(library: &Path, model: &Path, signature: &Path, engine: LoadOptions, port: u16) -> Result<(), Failed> {
    let signature: ModelSignature = serde_json::from_slice(&std::fs::read(signature)?)?;
    engine::init(library)?;
    let engine = Engine::load(model, &engine)?.bind(&signature)?;
    let state = Arc::new((engine, signature));
    let workers = cgroup::cpu_quota().max(2);
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let state = state.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let state = state.clone();
                async move {
                    if request.method() == Method::GET {
                        return Ok(Response::new(Full::default()));
                    }
                    let body = request.into_body().collect().await?.to_bytes();
                    let inputs = predict::decode(&body, &state.1).expect("the sample fits");
                    let outputs = state.0.run(inputs).expect("the sample runs");
                    let mut answer = Vec::new();
                    predict::encode(&outputs, &state.1, &mut answer);
                    let mut response = Response::new(Full::new(Bytes::from(answer)));
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// A model with all that both sides need of it.
struct Subject {
    description: ModelDescription,
    signature: ModelSignature,
    library: PathBuf,
    binary: PathBuf,
    folder: tempfile::TempDir,
    body: PathBuf,
    request: Vec<Value>,
}

impl Subject {
    fn prepare(model: &Path) -> Result<Self, Failed> {
        let cache = Cache::from_environment()?;
        let description = model::inspect(model, &Limits::default())?;
        let library = pipeline::locate_onnxruntime(&cache, false)?.path;
        let report = probe::probe(&pipeline::probe_request(&description, &library, &[], None)?)?;
        let sample = report.sample.as_ref().ok_or("no sample was found")?.request.clone();
        let mut signature = description.contents.signature.clone();
        signature.batching = report.batching.clone();
        let config = Config::new("bench".parse()?, description.path.to_string_lossy().parse()?);
        let request = ServeRequest {
            config: &config,
            description: &description,
            derived: None,
            probe: Some(&report),
            onnxruntime: &library,
            operators: &[],
            port: 0,
            grpc_port: 0,
        };
        let folder = pipeline::service_folder(&request)?;
        let body = folder.path().join("body.json");
        // One line, as a client would send it.
        std::fs::write(&body, serde_json::to_string(&serde_json::from_str::<serde_json::Value>(&sample)?)?)?;
        let ask = CompileRequest { cache: cache.root(), offline: false, target: None };
        let binary = compile::generic(&ask, Path::new("/nonexistent"), &mut |_| {})?.path;
        let request = predict::decode(sample.as_bytes(), &signature)?;
        Ok(Subject { description, signature, library, binary, folder, body, request })
    }

    /// From the start of a process to a loaded session, bare; and to ready, served.
    fn starts(&self) -> Result<(), Failed> {
        let (mut bare, mut served, mut memory) = (Vec::new(), Vec::new(), 0);
        for _ in 0..STARTS {
            let began = Instant::now();
            let output = Command::new(std::env::current_exe()?)
                .arg(BARE)
                .args([&self.library, &self.description.path])
                .env("ORT_DISABLE_TELEMETRY", "1")
                .output()?;
            bare.push(began.elapsed());
            let text = String::from_utf8(output.stdout)?;
            memory = text.trim().trim_start_matches("loaded ").parse::<u64>()?;
            served.push(Server::start(self, &[])?.ready_after);
        }
        let (bare, served) = (median(&mut bare), median(&mut served));
        println!("bare load, whole process:    {:>7.1} ms   {} MiB", ms(bare), memory / 1024);
        println!("service, process to ready:   {:>7.1} ms", ms(served));
        Ok(())
    }

    /// What this process does with the sample: nothing that a service does can be quicker.
    fn in_process(&self) -> Result<Limit, Failed> {
        let cores = cgroup::cpu_quota();
        engine::init(&self.library)?;
        let alone = rate(&self.engine(cores, 1)?, &self.request, 1);
        let (mut most, mut how) = (alone, "one after another".to_string());
        for instances in [1, cores] {
            let engine = self.engine(cores, instances)?;
            for rows in BATCHES {
                let Some(batch) = self.batch(rows)? else { continue };
                let rate = rows as f64 * rate(&engine, &batch, instances);
                if rate > most {
                    (most, how) = (rate, format!("{instances} at a time, {rows} rows each"));
                }
            }
        }
        Ok(Limit { alone, most, how })
    }

    /// The sample so many times in one, where the model's rows may be joined.
    fn batch(&self, rows: usize) -> Result<Option<Vec<Value>>, Failed> {
        if rows == 1 {
            return Ok(Some(self.request.clone()));
        }
        let Some(axis) = self.signature.batching.axis() else { return Ok(None) };
        let batch: Option<Vec<Value>> = self.request.iter().map(|value| repeated(value, axis, rows)).collect();
        Ok(Some(batch.ok_or("a proved axis is that of a tensor")?))
    }

    fn engine(&self, threads: usize, instances: usize) -> Result<Engine, Failed> {
        Ok(Engine::load(&self.description.path, &options(threads, instances))?.bind(&self.signature)?)
    }
}

/// Rows a second that this process reaches without a server.
struct Limit {
    /// Each as soon as the one before it is done, on all threads: nobody who sends one at a time can be answered quicker.
    alone: f64,
    /// Joined and side by side, whatever is best...
    most: f64,
    /// ... and what that is.
    how: String,
}

fn options(threads: usize, instances: usize) -> LoadOptions {
    LoadOptions { threads, instances, ..LoadOptions::default() }
}

/// `value` with its rows along axis 0 repeated.
fn repeated(value: &Value, axis: usize, times: usize) -> Option<Value> {
    let tensor = value.as_tensor().filter(|_| axis == 0)?;
    let mut shape = tensor.shape.clone();
    *shape.first_mut()? *= times;
    let mut data = tensor.data.clone();
    macro_rules! repeat {
        ($($variant:ident),+) => {
            match &mut data { $(nimify_runtime::tensor::TensorData::$variant(v) => *v = v.repeat(times),)+ _ => return None }
        };
    }
    repeat!(Float32, Float64, Int32, Int64, Uint8, Bool);
    Tensor::new(shape, data).map(Value::Tensor)
}

/// Runs a second on so many threads at once.
fn rate(engine: &Engine, request: &[Value], threads: usize) -> f64 {
    engine.run(request.to_vec()).expect("the sample ran before");
    let began = Instant::now();
    let runs: usize = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut runs = 0;
                    while began.elapsed() < WINDOW {
                        engine.run(request.to_vec()).expect("the sample ran before");
                        runs += 1;
                    }
                    runs
                })
            })
            .collect();
        loops.into_iter().map(|handle| handle.join().expect("the loop doesn't panic")).sum()
    });
    runs as f64 / began.elapsed().as_secs_f64()
}

struct Server {
    child: Child,
    port: u16,
    ready_after: Duration,
}

impl Server {
    fn start(subject: &Subject, environment: &[(&str, &str)]) -> Result<Self, Failed> {
        let port = free_port()?;
        let mut command = Command::new(&subject.binary);
        command.arg("--config").arg(subject.folder.path().join("service.json"));
        command.env("NIMIFY_HOST", "127.0.0.1").env("NIMIFY_PORT", port.to_string()).env("NIMIFY_GRPC_PORT", "0");
        command.env("NIMIFY_LOG_LEVEL", "error").envs(environment.iter().copied());
        if !environment.is_empty() {
            command.stderr(Stdio::null());
        }
        Self::ready(command, port)
    }

    /// The bare server, whose callers have as many sessions as the service's would.
    fn bare(subject: &Subject, limit: &Limit) -> Result<Self, Failed> {
        let port = free_port()?;
        let signature = subject.folder.path().join("bare-signature.json");
        std::fs::write(&signature, serde_json::to_vec(&subject.signature)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        let instances = if limit.alone > QUICK { cgroup::cpu_quota() } else { 1 };
        command.arg(BARE_SERVER).args([&subject.library, &subject.description.path, &signature]);
        command.args([instances.to_string(), port.to_string()]);
        command.env("ORT_DISABLE_TELEMETRY", "1");
        Self::ready(command, port)
    }

    /// Starts a server and waits until it is ready.
    fn ready(mut command: Command, port: u16) -> Result<Self, Failed> {
        let began = Instant::now();
        let child = command.stdout(Stdio::null()).spawn()?;
        let mut server = Server { child, port, ready_after: Duration::ZERO };
        while !server.is_ready() {
            if began.elapsed() > Duration::from_secs(60) || server.child.try_wait()?.is_some() {
                return Err("the service did not become ready".into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        server.ready_after = began.elapsed();
        Ok(server)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn is_ready(&self) -> bool {
        use std::io::{Read, Write};
        let ask = || -> std::io::Result<Vec<u8>> {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
            stream.write_all(b"GET /v1/health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Load {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// One window of load, of a client that takes answers in the content coding `accepts`. The script makes `wrk` post the
/// body and print its figures on one line.
fn wrk(url: &str, body: &Path, connections: usize, accepts: Option<&str>) -> Result<Load, Failed> {
    let script = body.with_extension("lua");
    std::fs::write(
        &script,
        format!(
            "local f = io.open({:?}); wrk.body = f:read('*a'); f:close()\nwrk.method = 'POST'\n\
             wrk.headers['content-type'] = 'application/json'\n\
             function done(s, l) print(string.format('FIGURES %d %d %d %d %d', s.requests, s.duration, l:percentile(50), \
             l:percentile(99), s.errors.status + s.errors.read + s.errors.connect + s.errors.timeout)) end\n",
            body.display().to_string()
        ),
    )?;
    let seconds = WINDOW.as_secs().to_string();
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "-s"])
        .arg(&script)
        .args(accepts.map(|coding| format!("-Haccept-encoding: {coding}")))
        .arg(url)
        .output()
        .map_err(|error| format!("`wrk` can't be started ({error}): `tools/setup` installs it"))?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("FIGURES ")).ok_or("wrk printed no figures")?;
    let figures = line.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [requests, micros, p50, p99, errors] = figures[..] else { return Err("wrk printed other figures".into()) };
    if errors > 0.0 {
        return Err(format!("{errors} requests failed").into());
    }
    Ok(Load { rate: requests / micros * 1e6, p50: p50 / 1e3, p99: p99 / 1e3 })
}

fn resident_kib(process: &str) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
