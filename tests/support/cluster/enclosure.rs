//! The place that a cluster runs in: namespaces of its own, and the programs started in them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::forward::Network;

/// No part of a cluster takes so long to come up, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Ends, with everything that runs in it, with the process that made it.
pub(crate) struct Enclosure {
    /// Everything that the cluster writes; gone in the end.
    pub(crate) home: PathBuf,
    /// Of its control groups.
    pub(crate) name: String,
    /// The process that its namespaces are entered by.
    leader: String,
    /// When this is closed, all ends.
    _alive: ChildStdin,
}

/// A program in the enclosure, with a log of its own.
pub(crate) struct Running {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Enclosure {
    /// One with a network for the control plane and one for each of `nodes`.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        // Paths of sockets are short: below the folder for builds they would not be.
        let home = tempfile::Builder::new().prefix("nimify-").tempdir_in("/tmp").expect("a folder for the cluster");
        // The script removes it, after the last process that writes there.
        let home = home.keep();
        let name = format!("nimify-cluster-{}", std::process::id());
        let script = home.join("enclosure.sh");
        std::fs::write(&script, include_str!("enclosure.sh")).expect("the script is written");
        std::fs::create_dir(home.join("logs")).expect("a folder for logs");
        let log = home.join("logs/enclosure");
        let mut command = Command::new("sh");
        command.arg(&script).arg(&home).arg(&name).args(nodes).current_dir("/").process_group(0);
        let mut process = spawn("enclosure", &log, command.stdin(Stdio::piped()));
        let alive = process.child.stdin.take().expect("a pipe");
        let mut leader = String::new();
        process.until("namespaces of its own, for which tests are run by root", || {
            leader = std::fs::read_to_string(home.join("ready")).unwrap_or_default().trim().into();
            !leader.is_empty()
        });
        Enclosure { home, name, leader, _alive: alive }
    }

    /// The file of a network: a node's, or else the control plane's.
    fn network_file(&self, node: Option<&str>) -> PathBuf {
        match node {
            Some(node) => format!("/proc/{}/root/run/netns/{node}", self.leader).into(),
            None => format!("/proc/{}/ns/net", self.leader).into(),
        }
    }

    pub(crate) fn network(&self, node: Option<&str>) -> Network {
        Network::at(&self.network_file(node))
    }

    /// `program`, to be run inside: with a node's network, or else with the control plane's.
    pub(crate) fn command(&self, node: Option<&str>, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader, "--mount", "--pid", "--ipc", "--uts"]);
        command.arg(format!("--net={}", self.network_file(node).display())).arg("--").arg(program).current_dir("/");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
        command
    }

    /// Starts `command` as `name`, that of its log.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Running {
        spawn(name, &self.home.join("logs").join(name), command.process_group(0))
    }
}

fn spawn(name: &str, log: &Path, command: &mut Command) -> Running {
    let file = File::create(log).expect("a log");
    let child = command.stdout(file.try_clone().expect("a second handle")).stderr(file).spawn();
    let child = child.unwrap_or_else(|error| panic!("{name}: {command:?}: {error}; run `tools/setup`"));
    Running { name: name.into(), log: log.into(), child }
}

impl Running {
    /// Waits until it is `ready`. Otherwise the test fails, with the last words of its log.
    pub(crate) fn until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !ready() {
            let ended = self.child.try_wait().expect("its state");
            if ended.is_some() || begin.elapsed() > PATIENCE {
                panic!("{} doesn't give {what} ({ended:?}); its log ends:\n{}", self.name, self.last_words());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn last_words(&self) -> String {
        let log = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}
