//! A real Docker Engine for tests: the one that runs, or one started for the test with its own folders and socket.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An engine; one that was started here ends with it.
pub(crate) struct Engine {
    /// As `DOCKER_HOST` has it.
    pub(crate) host: String,
    started: Option<(Child, tempfile::TempDir)>,
}

/// Without these the engine would need a network of its own and a layered file system.
const FLAGS: [&str; 5] =
    ["--storage-driver=vfs", "--iptables=false", "--bridge=none", "--ip-forward=false", "--log-level=warn"];

impl Engine {
    /// The engine that `DOCKER_HOST` names, the machine's, or a new one.
    pub(crate) fn get() -> Self {
        let running = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
        if answers(&running) {
            return Engine { host: running, started: None };
        }
        Self::start()
    }

    fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder for the engine");
        let at = |name: &str| home.path().join(name);
        let host = format!("unix://{}", at("docker.sock").display());
        let log = std::fs::File::create(at("log")).expect("a log for the engine");
        // It goes when this process goes, however that ends.
        let engine = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd", "--host", &host])
            .args(FLAGS)
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        let engine = engine.expect("this test needs a Docker Engine: run `tools/setup`, or start one");
        let mut this = Engine { host, started: Some((engine, home)) };
        let begin = Instant::now();
        while !answers(&this.host) {
            let (engine, home) = this.started.as_mut().expect("just started");
            let ended = engine.try_wait().expect("the engine's state");
            if ended.is_some() || begin.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
                panic!("dockerd doesn't start ({ended:?}); run `tools/setup` as root, or start an engine:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    /// Runs `docker` with these arguments.
    pub(crate) fn docker(&self, args: &[&str]) -> Output {
        let output = Command::new("docker").args(["--host", &self.host]).args(args).output();
        output.expect("this test needs the `docker` command: run `tools/setup`")
    }

    /// The same; fails the test unless it succeeds, and gives its trimmed standard output.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        assert!(output.status.success(), "docker {args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// How the README says to run a service: without rights, on a root that can't be written.
    pub(crate) fn run_confined(&self, more: &[&str], image: &str, args: &[&str]) -> Output {
        let confined = ["run", "--rm", "--network=host", "--user=65532:65532", "--read-only", "--cap-drop=ALL"];
        let limits = ["--security-opt=no-new-privileges", "--pids-limit=64", "--memory=256m"];
        self.docker(&[&confined[..], &limits, more, &[image], args].concat())
    }
}

fn answers(host: &str) -> bool {
    let version = Command::new("docker").args(["--host", host, "version"]).output();
    version.is_ok_and(|output| output.status.success())
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some((engine, home)) = &mut self.started else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(engine.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = engine.wait();
        // It leaves this mounted, and then its folder can't be removed.
        let _ = Command::new("umount").arg(home.path().join("exec/netns/default")).stderr(Stdio::null()).status();
    }
}

/// Compiles `source`, a program without dependencies, into `folder`: to the same bytes in any folder.
pub(crate) fn compile(source: &str, folder: &Path) -> PathBuf {
    std::fs::write(folder.join("probe.rs"), source).expect("the source is written");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition=2024", "-Cstrip=symbols", "probe.rs"]).current_dir(folder);
    let status = rustc.arg(format!("--remap-path-prefix={}=/probe", folder.display())).status();
    assert!(status.expect("rustc is there: cargo is").success());
    folder.join("probe")
}
