//! The image in containerd, by archive: every compression of layers.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

#[path = "support/docker.rs"]
#[expect(dead_code, reason = "only the compiler of probes is used here")]
mod docker;
#[path = "support/small_image.rs"]
mod small_image;

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nimify::image::{self, Compression};

/// containerd with folders and a socket of its own.
struct Containerd {
    home: tempfile::TempDir,
    daemon: Child,
}

impl Containerd {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket"),
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        // It goes when this process goes, however that ends.
        let mut daemon = Command::new("setpriv");
        daemon.args(["--pdeathsig", "TERM", "containerd", "--config", &at("config.toml")]);
        daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let daemon = daemon.spawn().expect("this test needs `containerd`: run `tools/setup`");
        let this = Containerd { home, daemon };
        let begin = Instant::now();
        while UnixStream::connect(this.home.path().join("socket")).is_err() {
            let log = || std::fs::read_to_string(this.home.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(60), "containerd doesn't start:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    fn must(&self, args: &[&str]) -> String {
        let socket = self.home.path().join("socket");
        let output = Command::new("ctr").arg("--address").arg(socket).args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().into()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.daemon.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerd_takes_and_unpacks_layers_of_every_compression() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let containerd = Containerd::start();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let mut request = small_image::request(&binary, home.path(), &cache);
        request.name = format!("registry.example.com/{compression:?}").to_lowercase();
        (request.compression, request.model_compression) = (compression, compression);
        let image = image::assemble(&request, &cache).unwrap();
        let layout = home.path().join("image");
        image::write_layout(&image, &layout).unwrap();
        let tar = home.path().join("image.tar");
        image::archive(&layout, &mut std::fs::File::create(&tar).unwrap()).unwrap();
        containerd.must(&["images", "import", "--snapshotter", "native", tar.to_str().unwrap()]);
        the_image_is_unpacked(&containerd, &image, home.path());
        std::fs::remove_dir_all(&layout).unwrap();
    }
}

#[test]
fn load_brings_an_image_into_the_kubelets_namespace() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let request = small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home.path(), &cache);
    let image = image::assemble(&request, &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    let containerd = Containerd::start();
    let load = |address: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nimify"));
        command.arg("load").arg(&layout).args(["--engine", "containerd", "--address"]).arg(address);
        command.env("CONTAINERD_SNAPSHOTTER", "native").output().unwrap()
    };
    let output = load(&containerd.home.path().join("socket"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [named, latest] = ["1.2.3", "latest"].map(|tag| format!("docker.io/library/small:{tag}"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("loaded {named}\nloaded {latest}\n"));
    let listed = containerd.must(&["--namespace", "k8s.io", "images", "list"]);
    for name in [&named, &latest] {
        let line =
            listed.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{listed}"));
        assert!(line.contains(&image.digest.to_string()), "{line}");
    }
    assert_eq!(containerd.must(&["images", "list", "--quiet"]), "", "and into no other");
    containerd.must(&["--namespace", "k8s.io", "images", "check"]);

    let output = load(&home.path().join("nobody"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(6) && stderr.contains("refused to load the image"), "{stderr}");
}

/// By its name, with the digest that it has here, and each layer with its files.
fn the_image_is_unpacked(containerd: &Containerd, image: &image::Image, home: &Path) {
    let listed = containerd.must(&["images", "list"]);
    let line = listed.lines().find(|line| line.contains(&image.reference)).unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains(&image.digest.to_string()), "{line}");
    let snapshots = containerd.must(&["snapshots", "--snapshotter", "native", "list"]);
    assert_eq!(snapshots.lines().filter(|line| line.contains("Committed")).count(), image.layers.len(), "{snapshots}");
    let mount = home.join("mount");
    std::fs::create_dir(&mount).unwrap();
    let mount_text = mount.to_str().unwrap();
    let name = line.split_whitespace().next().unwrap();
    containerd.must(&["images", "mount", "--snapshotter", "native", name, mount_text]);
    let model = std::fs::read_to_string(mount.join("models/model.onnx"));
    let library = std::fs::metadata(mount.join("nimify/lib").join(image::onnxruntime::FILE_NAME));
    containerd.must(&["images", "unmount", "--rm", "--snapshotter", "native", mount_text]);
    let _ = std::fs::remove_dir(&mount);
    assert_eq!((model.unwrap().as_str(), library.unwrap().len() > 20_000_000), ("weights", true));
}
