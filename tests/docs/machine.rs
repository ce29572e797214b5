//! Where pages run: a network of its own, in which every port is free, with a Docker Engine that publishes ports there.
//!
//! Both need root. Without it, pages run on the machine as it is, with the engine that it has.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Longer than any page takes on a slow machine, seconds.
const TIME: &str = "900";

/// Without a layered file system and without rules in the kernel's tables: ports are published by Docker's own proxy.
const FLAGS: [&str; 5] =
    ["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--log-level=warn"];

pub(super) struct Machine {
    /// dockerd, which holds the network, and its folder.
    engine: Option<(Child, tempfile::TempDir)>,
    /// Key store and configuration of the pages' user.
    config: tempfile::TempDir,
}

/// How a script ended.
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Whether some of its processes went on; they were killed.
    pub(super) outlived: bool,
}

impl Machine {
    pub(super) fn start() -> Self {
        let config = tempfile::tempdir().unwrap();
        let mut machine = Machine { engine: None, config };
        machine.warm();
        if rustix::process::geteuid().is_root() {
            machine.start_engine();
        }
        machine
    }

    /// What cargo or pip fetch on a first use is fetched here, since the network of the pages leads nowhere.
    fn warm(&self) {
        let folder = super::scratch();
        let ran = self.run("nimify create fixtures/digits/digits.onnx --yes --quiet", folder.path());
        assert!(ran.status.success(), "{}", ran.stderr);
    }

    fn start_engine(&mut self) {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        let log = std::fs::File::create(at("log")).unwrap();
        // It goes when this process goes, however that ends.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "TERM",
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link set lo up && exec dockerd \"$@\"",
        ]);
        command.arg("dockerd").args(FLAGS);
        for (flag, place) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(at(place));
        }
        command.arg(format!("--host=unix://{}", at("docker.sock")));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let engine = command.spawn().expect("this test needs a Docker Engine: run `tools/setup`");
        self.engine = Some((engine, home));
        let begin = Instant::now();
        while self.docker(&["version"]).is_err() {
            let (engine, home) = self.engine.as_mut().unwrap();
            let ended = engine.try_wait().unwrap();
            if ended.is_some() || begin.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(home.path().join("log")).unwrap_or_default();
                panic!("dockerd doesn't start ({ended:?}); run `tools/setup` as root:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn socket(&self) -> Option<String> {
        self.engine.as_ref().map(|(_, home)| format!("unix://{}", home.path().join("docker.sock").display()))
    }

    /// What `docker` answers.
    fn docker(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        command.args(args).envs(self.socket().map(|socket| ("DOCKER_HOST", socket)));
        let output = command.output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Runs a script in `folder`, stopped at its first failure.
    pub(super) fn run(&self, script: &str, folder: &Path) -> Ran {
        let records = tempfile::tempdir().unwrap();
        let record = |name: &str| records.path().join(name);
        std::fs::write(record("script"), format!("set -eu\nset -x\n{script}")).unwrap();
        let mut command = match &self.engine {
            Some((engine, _)) => {
                let mut command = Command::new("nsenter");
                command.args([&format!("--net=/proc/{}/ns/net", engine.id()), "timeout"]);
                command
            }
            None => Command::new("timeout"),
        };
        command.args(["--kill-after=5", TIME, "bash"]).arg(record("script"));
        command.current_dir(folder).process_group(0);
        command.env("PATH", path()).env("XDG_CONFIG_HOME", self.config.path());
        command.envs(self.socket().map(|socket| ("DOCKER_HOST", socket)));
        command.stdin(Stdio::null());
        command.stdout(std::fs::File::create(record("stdout")).unwrap());
        command.stderr(std::fs::File::create(record("stderr")).unwrap());
        let mut child = command.spawn().expect("the script starts");
        let status = child.wait().unwrap();
        let read = |name: &str| String::from_utf8_lossy(&std::fs::read(record(name)).unwrap()).into_owned();
        let group = Pid::from_raw(child.id() as i32).unwrap();
        let outlived = test_kill_process_group(group).is_ok();
        let _ = kill_process_group(group, Signal::KILL);
        Ran { status, stdout: read("stdout"), stderr: read("stderr"), outlived }
    }

    /// Containers that a page did not remove; they are removed.
    pub(super) fn left_behind(&self) -> String {
        if self.engine.is_none() {
            return String::new();
        }
        let left = self.docker(&["ps", "--all", "--quiet"]).unwrap();
        for container in left.lines() {
            let _ = self.docker(&["rm", "--force", container]);
        }
        left
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some((engine, _)) = &mut self.engine else { return };
        if let Some(pid) = Pid::from_raw(engine.id() as i32) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let _ = engine.wait();
    }
}

/// The path with the nimify of this build first.
fn path() -> String {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_nimify"));
    format!("{}:{}", built.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default())
}
