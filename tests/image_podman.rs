//! The image in Podman, through its Docker-like API and by its own command.

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

use nimify::image::{self, load::Engine};

/// Podman with a store of its own.
struct Podman {
    home: tempfile::TempDir,
    service: Option<Child>,
}

impl Podman {
    fn command(&self) -> Command {
        let mut podman = Command::new("podman");
        podman.arg("--root").arg(self.home.path().join("root")).arg("--runroot").arg(self.home.path().join("run"));
        podman.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file"]);
        podman
    }

    fn must(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("this test needs `podman`: run `tools/setup`");
        assert!(output.status.success(), "podman {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().into()
    }

    /// Starts the API on a socket.
    fn serve(&mut self) -> Engine {
        let socket = self.home.path().join("podman.sock");
        let address = format!("unix://{}", socket.display());
        let mut service = self.command();
        service.args(["system", "service", "--time=0", &address]).stdout(Stdio::null()).stderr(Stdio::null());
        self.service = Some(service.spawn().expect("this test needs `podman`: run `tools/setup`"));
        let begin = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "podman's service doesn't start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Engine::Unix(socket)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(service) = &mut self.service {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_takes_the_image_by_its_api_and_by_its_command() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let request = small_image::request(&binary, home.path(), &cache);
    let image = image::assemble(&request, &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();

    let mut podman = Podman { home: tempfile::tempdir().unwrap(), service: None };
    let engine = podman.serve();
    let loaded = image::load(&layout, &[], &engine).await.unwrap();
    let config = nimify::digest::Digest::of(&image.config).to_string();
    assert_eq!(loaded.id, config);
    the_image_is_known(&podman, &config);
    podman.must(&["rmi", "--force", config.trim_start_matches("sha256:")]);
    it_runs_from_an_archive(&podman, &layout, &config);
    podman.must(&["rmi", "--force", config.trim_start_matches("sha256:")]);

    let zstd = image::ImageRequest { compression: image::Compression::Zstd, ..request };
    let zstd = image::assemble(&zstd, &cache).unwrap();
    let layout = home.path().join("zstd");
    image::write_layout(&zstd, &layout).unwrap();
    it_runs_from_an_archive(&podman, &layout, &nimify::digest::Digest::of(&zstd.config).to_string());
}

fn it_runs_from_an_archive(podman: &Podman, layout: &Path, config: &str) {
    let tar = layout.with_extension("tar");
    image::archive(layout, &mut std::fs::File::create(&tar).unwrap()).unwrap();
    podman.must(&["load", "--input", path(&tar)]);
    the_image_is_known(podman, config);
    // Podman would set limits that are beyond those of a confined machine.
    let limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", "--network=host"];
    let confined = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let said = podman.must(&[&["run", "--rm"], &limits[..], &confined, &["localhost/small:1.2.3"]].concat());
    assert!(said.starts_with("uid=65532 cwd=/nimify ") && said.contains(" read-only=true "), "{said}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn the_image_is_known(podman: &Podman, config: &str) {
    let id = podman.must(&["image", "inspect", "--format={{.Id}}", "localhost/small:1.2.3"]);
    assert_eq!(format!("sha256:{id}"), config);
}
