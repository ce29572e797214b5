//! Ctrl-C at every stage: exit code 130, no folder half written, no process left.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Ended, Place, files_below, wait_until};
use crate::{fake, made};

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(signal: Signal, child: &Child) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// Stops it once `begun` holds. It has to come back soon, in the words of someone who stops in good order.
#[track_caller]
fn stopped(place: &Place, mut child: Child, signal: Signal, mut begun: impl FnMut(u32) -> bool) -> Ended {
    let id = child.id();
    let came = wait_until(|| begun(id) || child.try_wait().unwrap().is_some());
    assert!(came && child.try_wait().unwrap().is_none(), "it ended before: {:?}", place.wait(child));
    send(signal, &child);
    let since = Instant::now();
    let ended = place.wait(child).with(130);
    assert_eq!(ended.stderr, "error: interrupted; nothing is left half written\n");
    assert!(since.elapsed() < Duration::from_secs(60), "after {:?}", since.elapsed());
    ended
}

/// A place with an empty cache of its own beside it.
struct Bare {
    place: Place,
    cache: PathBuf,
}

impl Bare {
    fn new() -> Self {
        let place = Place::new();
        place.take("digits/digits.onnx");
        let cache = place.at("../cache");
        Bare { place, cache }
    }

    fn create(&self, path: Option<OsString>) -> Command {
        let mut command = self.place.nimify();
        command.args(["create", "digits.onnx", "--yes"]).env("NIMIFY_CACHE", &self.cache);
        command.env("NIMIFY_ONNXRUNTIME", made::onnxruntime()).envs(path.map(|path| ("PATH", path)));
        command
    }

    /// Stops a `create` in which the program `name` takes for ever.
    fn while_sleeping(&self, name: &str, signal: Signal, change: impl Fn(&mut Command)) {
        let mark = self.place.at("../mark");
        let bin = fake::sleeper(self.place.work.parent().unwrap(), name, &mark);
        let mut command = self.create(Some(fake::path_with(&bin)));
        change(&mut command);
        stopped(&self.place, start(&mut command), signal, |_| mark.exists());
        let pid = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
        assert!(wait_until(|| !fake::runs(pid)), "`{name}` goes on alone");
        assert_eq!(self.place.entries(), ["digits.onnx"], "something is left behind");
    }
}

#[test]
fn while_onnx_runtime_is_looked_for() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let bare = Bare::new();
        bare.while_sleeping("python3", signal, |command| {
            command.env_remove("NIMIFY_ONNXRUNTIME");
        });
        let left = files_below(&bare.cache);
        assert!(left.keys().all(|name| !name.contains(".making")), "{:?}", left.keys());
    }
}

#[test]
fn while_pip_fetches() {
    let bare = Bare::new();
    let mark = bare.place.at("../mark");
    // No package, and then a wheel that never comes.
    let script =
        format!("case $2 in pip) echo $$ > {0}.new; mv {0}.new {0}; sleep 600;; *) exit 1;; esac", mark.display());
    let bin = fake::program(bare.place.work.parent().unwrap(), "python3", &script);
    let temporary = bare.place.at("../tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = bare.create(Some(fake::path_with(&bin)));
    command.env_remove("NIMIFY_ONNXRUNTIME").env("TMPDIR", &temporary);
    stopped(&bare.place, start(&mut command), Signal::INT, |_| mark.exists());
    let pid = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
    assert!(wait_until(|| !fake::runs(pid)));
    assert!(crate::command::names(&temporary).is_empty());
}

#[test]
fn while_the_model_is_probed() {
    let place = Place::new();
    place.take("broken/endless.onnx");
    let mut command = place.nimify();
    let child = start(command.args(["create", "endless.onnx", "--yes"]));
    let mut probe = None;
    stopped(&place, child, Signal::INT, |id| {
        // The one child that lasts: the others look for libraries.
        let children = fake::children(id).into_iter();
        probe = children.into_iter().find(|child| {
            std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default().contains("probe-child")
        });
        probe.is_some()
    });
    assert!(wait_until(|| !fake::runs(probe.unwrap())), "the probe goes on alone");
    assert_eq!(place.entries(), ["endless.onnx"]);
}

#[test]
fn while_cargo_compiles() {
    Bare::new().while_sleeping("cargo", Signal::INT, |_| {});
    Bare::new().while_sleeping("rustc", Signal::TERM, |_| {});
}

#[test]
fn while_another_run_compiles() {
    let bare = Bare::new();
    let mark = bare.place.at("../mark");
    let bin = fake::sleeper(bare.place.work.parent().unwrap(), "cargo", &mark);
    let path = fake::path_with(&bin);
    let first = start(&mut bare.create(Some(path.clone())));
    assert!(wait_until(|| mark.exists()));
    let waiting = start(bare.create(Some(path)).args(["--output", "other"]));
    let lock = bare.cache.join("build").canonicalize().unwrap();
    // It waits once it has the lock's file open.
    stopped(&bare.place, waiting, Signal::INT, |id| {
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|path| path.starts_with(&lock))
    });
    stopped(&bare.place, first, Signal::INT, |_| true);
    assert_eq!(bare.place.entries(), ["digits.onnx"]);
}

#[test]
fn while_layers_are_packed() {
    let bare = Bare::new();
    made::cache_with_binaries(&bare.cache);
    let layers = bare.cache.join("layers");
    // Of ONNX Runtime's library alone that takes seconds.
    let packing = |_| {
        std::fs::read_dir(&layers).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".making-")))
        })
    };
    let mut command = bare.create(None);
    stopped(&bare.place, start(command.args(["--output", "deep/out"])), Signal::INT, packing);
    assert_eq!(bare.place.entries(), ["digits.onnx"]);
    let left: Vec<_> = crate::command::names(&layers).into_iter().filter(|name| name.starts_with(".making-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn whenever_it_comes_all_or_nothing_is_written() {
    let place = made::digits();
    let before = files_below(&place.work);
    // Two states of one folder: whichever is there has to be there wholly.
    let mut ends = [0, 0];
    for step in 0..16 {
        std::fs::write(place.at("digits/service/src/hooks.rs"), &before["digits/service/src/hooks.rs"]).unwrap();
        let mut command = place.nimify();
        let mut child = start(command.args(["create", "digits.onnx", "--yes", "--quiet", "--archive"]));
        std::thread::sleep(Duration::from_millis(60 * step));
        if child.try_wait().unwrap().is_none() {
            send(Signal::INT, &child);
        }
        let ended = place.wait(child);
        let after = files_below(&place.work);
        match ended.code {
            Some(0) => ends[1] += 1,
            // Before the program listens, a signal ends it as it does any other.
            Some(130) | None => ends[0] += 1,
            _ => panic!("{ended:?}"),
        }
        assert!(after.keys().all(|name| !name.contains(".nimify-")), "{:?}", after.keys());
        let archive = after.contains_key("digits/dist/image.tar");
        assert!(archive || ended.code != Some(0));
        let same = |(name, bytes): (&String, &Vec<u8>)| name.ends_with("report.json") || after.get(name) == Some(bytes);
        assert!(before.iter().all(same), "step {step}");
        if archive {
            place.run(["build", "--config", "digits/nimify.yaml", "--quiet"]).with(0);
        }
    }
    assert!(ends[0] > 0, "none was stopped");
}

#[test]
fn while_an_engine_takes_its_time() {
    let place = made::digits();
    let socket = place.at("docker.sock");
    // An engine that takes every connection and never answers.
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut command = place.nimify();
    command.args(["load", "digits"]).env("DOCKER_HOST", format!("unix://{}", socket.display()));
    let child = start(&mut command);
    let (connection, _) = listener.accept().unwrap();
    stopped(&place, child, Signal::INT, |_| true);
    drop(connection);
}
