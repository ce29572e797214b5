//! A real Kubernetes for tests: a control plane and two nodes whose pods run, from the program that
//! `tools/setup cluster` builds.
//!
//! ```ignore
//! let cluster = Cluster::get();                     // one a process; the first caller waits for it
//! let namespace = cluster.namespace(&[]);           // a new one; gone in the end
//! cluster.load(&layout, &["registry.example.com/digits:1"]);
//! command.env("KUBECONFIG", &cluster.kubeconfig);   // from the test's own network
//! cluster.must(&["get", "pods", "--namespace", &namespace.name]);
//! cluster.on_node(|| ureq::get("http://10.96.1.2/v2/health/ready").call());
//! ```
//!
//! Everything of it runs in namespaces of its own, with fixed addresses there, and ends with the process: see
//! `cluster/enclosure.sh`. It needs root. In pods, names of services are known, and no others. Nothing is fetched: an image has to be loaded, or lie in a registry of the test's own, for
//! which see [`Cluster::let_reach`]. Volumes of images need a newer containerd than Debian has.

#[path = "cluster/enclosure.rs"]
mod enclosure;
#[path = "cluster/forward.rs"]
mod forward;
#[path = "cluster/node.rs"]
mod node;
#[path = "cluster/plane.rs"]
mod plane;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use enclosure::Enclosure;
use forward::Network;
use node::Node;
use plane::Plane;

/// The nodes by their names.
pub(crate) const NODES: [&str; 2] = ["node1", "node2"];

pub(crate) struct Cluster {
    /// For who may do everything, by an address that the test reaches.
    pub(crate) kubeconfig: PathBuf,
    program: PathBuf,
    nodes: Vec<Node>,
    _plane: Plane,
    enclosure: Enclosure,
}

/// A namespace for one test.
pub(crate) struct Namespace {
    pub(crate) name: String,
    cluster: &'static Cluster,
    _turn: Turn,
}

/// Tests share the nodes, but for one that takes a node away.
static NODES_IN_USE: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Cluster {
    /// The one of this process, whose nodes are ready.
    pub(crate) fn get() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let program = program();
        let enclosure = Enclosure::new(&NODES);
        let plane = Plane::start(&enclosure, &program, &NODES);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = plane::ADDRESS.parse().expect("an address");
        let address = forward::forward(Network::of_the_machine(), local, enclosure.network(None), server);
        let kubeconfig = plane.administrator_at(&address.to_string());
        let node = |(name, number)| Node::start(&enclosure, &plane, &program, name, number);
        let nodes = NODES.into_iter().zip(1..).map(node).collect();
        let this = Cluster { kubeconfig, program, nodes, _plane: plane, enclosure };
        for node in NODES {
            this.must(&["wait", "--for=create", &format!("node/{node}"), "--timeout=120s"]);
        }
        this.must(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"]);
        this
    }

    /// `kubectl`, for who may do everything.
    pub(crate) fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("kubectl").env("KUBECONFIG", &self.kubeconfig).stdin(std::process::Stdio::null());
        command
    }

    /// Runs `kubectl` with these arguments; the test fails unless it succeeds. Its trimmed output.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        text(self.kubectl().args(args).output().expect("kubectl starts"), &args)
    }

    /// A new namespace with these labels, each `KEY=VALUE`, with its default service account.
    pub(crate) fn namespace(&'static self, labels: &[&str]) -> Namespace {
        let turn = NODES_IN_USE.read().unwrap_or_else(PoisonError::into_inner);
        self.namespace_in(labels, Turn::Together(turn))
    }

    /// The same, while no other test has one: for a test that does something to a node.
    pub(crate) fn namespace_alone(&'static self, labels: &[&str]) -> Namespace {
        let turn = NODES_IN_USE.write().unwrap_or_else(PoisonError::into_inner);
        self.namespace_in(labels, Turn::Alone(turn))
    }

    fn namespace_in(&'static self, labels: &[&str], turn: Turn) -> Namespace {
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let name = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.must(&["create", "namespace", &name]);
        if !labels.is_empty() {
            self.must(&[&["label", "namespace", &name][..], labels].concat());
        }
        self.must(&["wait", "--for=create", "serviceaccount/default", "--namespace", &name, "--timeout=120s"]);
        Namespace { name, cluster: self, _turn: turn }
    }

    /// Puts the image in `folder`, as `nimify create` made it, into every node: under its name, by tag and by digest,
    /// and under these references too.
    pub(crate) fn load(&self, folder: &Path, references: &[&str]) {
        // `ctr` puts a name in another's place in two steps: two tests at once would find it taken.
        static LOADING: Mutex<()> = Mutex::new(());
        let _turn = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
        for node in &self.nodes {
            let mut nimify = Command::new(env!("CARGO_BIN_EXE_nimify"));
            nimify.arg("load").arg(folder).args(["--engine", "containerd", "--address"]).arg(&node.socket);
            let said = text(nimify.output().expect("nimify starts"), &"nimify load");
            let name = said.lines().find_map(|line| line.strip_prefix("loaded ")).expect("it says a name");
            let listed = node.must(&["images", "list", &format!("name=={name}")]);
            let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:")).expect("it has a digest");
            let pinned = format!("{}@{digest}", name.rsplit_once(':').expect("a tag").0);
            for reference in references.iter().copied().chain([pinned.as_str()]) {
                node.must(&["images", "tag", "--force", name, reference]);
            }
        }
    }

    /// Lets every node reach `127.0.0.1:PORT` of the machine by that same address: a registry of the test's.
    pub(crate) fn let_reach(&self, port: u16) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for node in NODES {
            forward::forward(self.enclosure.network(Some(node)), address, Network::of_the_machine(), address);
        }
    }

    /// Runs `work` where the addresses of pods and services are reached, in the network of the first node. Threads that
    /// it starts stand there too.
    pub(crate) fn on_node<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = self.enclosure.network(Some(NODES[0]));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                network.enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Kills the process of a pod's first container, as a node that runs out of memory would.
    pub(crate) fn kill(&self, namespace: &str, pod: &str) {
        let path = "jsonpath={.spec.nodeName} {.status.containerStatuses[0].containerID}";
        let where_ = self.must(&["get", "pod", pod, "--namespace", namespace, "--output", path]);
        let (node, container) = where_.split_once(" containerd://").expect("it runs");
        let node = self.nodes.iter().find(|this| this.name == node).expect("a node of ours");
        node.must(&["tasks", "kill", "--signal", "SIGKILL", container]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl().args(["delete", "namespace", &self.name, "--wait=false"]).output();
    }
}

fn text(output: Output, command: &dyn Debug) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What `tools/setup cluster` built.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("kubernetes")).find(|path| path.is_file());
    found.expect("this test needs Kubernetes: run `tools/setup cluster`, then `source tools/env`")
}
