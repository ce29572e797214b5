//! Services under load: `nimify run` of a model, asked without a pause; and a page that stands in for what can't be
//! brought about here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nimify_runtime::metrics::table::{
    GPU_MEMORY_TOTAL_BYTES, GPU_MEMORY_USED_BYTES, GPU_UTILIZATION, NIM_MODEL_LOADING_TIME_SECONDS, NIMIFY_READY,
    PROCESS_MAX_FDS, PROCESS_OPEN_FDS,
};

/// `nimify run` of a model.
pub(super) struct Service {
    process: Child,
    pub(super) address: String,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Service {
    pub(super) fn start(model: &str, settings: &[(&str, &str)]) -> Service {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
        let mut command = Command::new(env!("CARGO_BIN_EXE_nimify"));
        command.arg("run").arg(path).args(["--port", "0", "--grpc-port", "0"]).envs(settings.iter().copied());
        let mut process = command.env("NIMIFY_LOG_LEVEL", "info").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let (mut address, mut seen) = (None, String::new());
        while !seen.contains(" ready ") {
            let from = seen.len();
            assert!(log.read_line(&mut seen).unwrap() > 0, "`nimify run {model}` doesn't start:\n{seen}");
            let at = seen[from..].split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            address = address.or(at.map(String::from));
        }
        // Its log is read to the end, or it would wait for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Service { process, address: address.unwrap(), stop: Arc::default(), clients: Vec::new() }
    }

    /// Asks with these bodies in turn, by some clients at once, until the service is dropped.
    pub(super) fn load(mut self, clients: usize, bodies: &[&str]) -> Service {
        for _ in 0..clients {
            let (stop, url) = (self.stop.clone(), format!("http://{}/v1/predict", self.address));
            let bodies: Vec<String> = bodies.iter().map(ToString::to_string).collect();
            self.clients.push(std::thread::spawn(move || {
                let agent = ureq::Agent::new_with_config(ureq::config::Config::builder().build());
                for body in bodies.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    // Refusals are what it is about.
                    drop(agent.post(&url).content_type("application/json").send(body));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }));
        }
        self
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.process.kill());
        drop(self.process.wait());
        self.clients.drain(..).for_each(|client| drop(client.join()));
    }
}

/// A page of figures that a machine without a GPU, and a service that is well, don't have. Gives its address.
pub(super) fn stand_in() -> String {
    let page: String = [
        (GPU_UTILIZATION, "{gpu=\"0\"}", "0.5"),
        (GPU_MEMORY_USED_BYTES, "{gpu=\"0\"}", "99"),
        (GPU_MEMORY_TOTAL_BYTES, "{gpu=\"0\"}", "100"),
        (NIM_MODEL_LOADING_TIME_SECONDS, "", "1000"),
        (NIMIFY_READY, "", "0"),
        (PROCESS_OPEN_FDS, "", "99"),
        (PROCESS_MAX_FDS, "", "100"),
    ]
    .iter()
    .map(|(metric, labels, value)| format!("{}{labels} {value}\n", metric.name))
    .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = page.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close");
            drop(stream.read(&mut request).and_then(|_| write!(stream, "{head}\r\n\r\n{page}")));
        }
    });
    address
}
