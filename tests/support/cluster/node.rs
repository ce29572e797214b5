//! A node: containerd, the network of its pods, kubelet, and kube-proxy.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::enclosure::{Enclosure, Running};
use super::plane::{self, Plane};

/// The image of the process that keeps a pod's namespaces: made here, since nothing is fetched.
const PAUSE: &str = "registry.example.com/pause:1";

pub(crate) struct Node {
    pub(crate) name: &'static str,
    /// The socket of its containerd.
    pub(crate) socket: PathBuf,
    home: PathBuf,
    _running: Vec<Running>,
}

impl Node {
    /// Starts the node `name`, the `number`th: it tells the API server of itself then, and is ready a little later.
    pub(crate) fn start(enclosure: &Enclosure, plane: &Plane, program: &Path, name: &'static str, number: u8) -> Self {
        let home = enclosure.home.join(name);
        std::fs::create_dir(&home).expect("a folder for the node");
        let socket = home.join("containerd.sock");
        let mut this = Node { name, socket, home, _running: Vec::new() };
        this.write_network(number);
        this.write("containerd.toml", &this.containerd());
        let mut containerd = enclosure.command(Some(name), "containerd");
        let mut running = enclosure
            .start(&format!("{name}-containerd"), containerd.arg("--config").arg(this.home.join("containerd.toml")));
        running.until("a socket", || this.ctr(&["version"]).output().is_ok_and(|output| output.status.success()));
        this._running.push(running);
        this.load_pause();
        let kubelet = this.kubelet(&format!("/{}/{name}", enclosure.name), number);
        this.write("kubelet.json", &kubelet.to_string());
        this.write("kube-proxy.json", &this.proxy(plane, number).to_string());
        let at = |file: &str| this.home.join(file).display().to_string();
        let as_kubelet = plane.client(&format!("system:node:{name}")).display().to_string();
        let kubelet = vec![
            format!("--config={}", at("kubelet.json")),
            format!("--kubeconfig={as_kubelet}"),
            format!("--hostname-override={name}"),
            format!("--node-ip={}", address(number)),
            format!("--root-dir={}", at("kubelet")),
            format!("--cert-dir={}", at("kubelet/pki")),
        ];
        let proxy = vec![format!("--config={}", at("kube-proxy.json"))];
        for (agent, flags) in [("kubelet", kubelet), ("kube-proxy", proxy)] {
            let mut command = enclosure.command(Some(name), &program.display().to_string());
            let running = enclosure.start(&format!("{name}-{agent}"), command.arg(agent).args(flags));
            this._running.push(running);
        }
        this
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.join(name), text).expect("a file of the node is written");
    }

    /// A bridge for the node's pods: they reach each other, services and the control plane, and nothing else.
    fn write_network(&self, number: u8) {
        let network = json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [{
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": format!("10.244.{number}.0/24") }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                    "dataDir": self.home.join("addresses"),
                },
            }],
        });
        std::fs::create_dir(self.home.join("network")).expect("a folder for the network");
        self.write("network/pods.conflist", &network.to_string());
    }

    /// Its settings. `restrict_oom_score_adj`: in a virtual machine or a container even root may lack the right to spare
    /// a process from running out of memory.
    fn containerd(&self) -> String {
        let at = |name: &str| self.home.join(name).display().to_string();
        let plugins = ["/usr/lib/cni", "/opt/cni/bin"].into_iter().find(|path| Path::new(path).join("bridge").exists());
        let plugins = plugins.expect("the bridge plugin for containers' networks: run `tools/setup`");
        format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {PAUSE:?}\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {plugins:?}\nconf_dir = {:?}\n",
            at("containerd"),
            at("containerd-state"),
            self.socket,
            at("network"),
        )
    }

    /// Sizes and times are Kubernetes' own, but for what a small and full disk would set off.
    fn kubelet(&self, group: &str, number: u8) -> serde_json::Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": address(number),
            "authentication": { "anonymous": { "enabled": true }, "webhook": { "enabled": false } },
            "authorization": { "mode": "AlwaysAllow" },
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": group,
            "failCgroupV1": false,
            "failSwapOn": false,
            "makeIPTablesUtilChains": false,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket.display()),
            "podLogsDir": self.home.join("pods"),
            "volumePluginDir": self.home.join("plugins"),
            "clusterDNS": [plane::NAMES],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "imageGCHighThresholdPercent": 100,
            // One test's nodes pull an image from its registry that another's have loaded under other names: with any
            // other policy kubelet would have who runs it prove to that registry that they may.
            "imagePullCredentialsVerificationPolicy": "NeverVerify",
            "evictionHard": { "memory.available": "50Mi" },
        })
    }

    fn proxy(&self, plane: &Plane, number: u8) -> serde_json::Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": self.name,
            "clusterCIDR": "10.244.0.0/16",
            "clientConnection": { "kubeconfig": plane.client("system:kube-proxy") },
            "healthzBindAddress": format!("{}:10256", address(number)),
            // These limits are the whole machine's.
            "conntrack": { "maxPerCore": 0, "min": 0 },
        })
    }

    /// `ctr` at the node's containerd, among the images that kubelet sees.
    fn ctr(&self, args: &[&str]) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&self.socket).args(["--namespace", "k8s.io"]).args(args);
        ctr
    }

    /// The same; the test fails unless it succeeds.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let output = self.ctr(args).output().expect("this test needs `ctr`: run `tools/setup`");
        assert!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn load_pause(&self) {
        let source = self.home.join("pause.c");
        std::fs::write(&source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n").expect("it is written");
        let program = self.home.join("pause");
        let status = Command::new("cc").args(["-static", "-s", "-o"]).args([&program, &source]).status();
        assert!(status.is_ok_and(|status| status.success()), "this test needs a C compiler and a static C library");
        let archive = self.home.join("pause.tar");
        write_archive(&std::fs::read(program).expect("it was made"), &archive);
        self.must(&["images", "import", &archive.display().to_string()]);
    }
}

fn address(number: u8) -> String {
    format!("10.0.0.1{number}")
}

/// An image of one program, as `docker save` would write it.
fn write_archive(program: &[u8], path: &Path) {
    let layer = archive(&[("pause", program)]);
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "config": { "Entrypoint": ["/pause"], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [PAUSE], "Layers": ["layer.tar"] }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let image =
        archive(&[("layer.tar", &layer), ("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())]);
    let mut file = std::fs::File::create(path).expect("the archive is made");
    file.write_all(&image).expect("the archive is written");
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, *bytes).expect("memory takes it");
    }
    builder.into_inner().expect("memory takes it")
}
