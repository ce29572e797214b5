//! The built `nimify`, run as people run it: in a folder of its own, with a key store of its own.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No step of any test takes so long, however busy the machine: what does is stuck. The longest is the first compilation of
/// a service, of all the crates that it is made of.
const PATIENCE: Duration = Duration::from_secs(900);

/// The file `name` of `fixtures/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A folder to work in: models are copied into it, output goes into it, and it is gone in the end.
pub(crate) struct Place {
    _home: Option<tempfile::TempDir>,
    /// The working folder.
    pub(crate) work: PathBuf,
    /// `XDG_CONFIG_HOME`: the key store is below it.
    pub(crate) config: PathBuf,
}

impl Place {
    /// An empty one, with a signing key.
    pub(crate) fn new() -> Self {
        let place = Self::without_key();
        place.with_key();
        place
    }

    /// Puts the key of all tests into its key store.
    pub(crate) fn with_key(&self) -> &Self {
        let store = self.config.join("nimify/keys");
        copy_tree(&crate::made::key_store(), &store);
        set_mode(&store, 0o700);
        self
    }

    /// An empty one, for a user who has never run nimify.
    pub(crate) fn without_key() -> Self {
        let home = tempfile::tempdir().expect("a folder for the test");
        let path = home.path().canonicalize().expect("it is there");
        Self::at_home(path, Some(home))
    }

    /// The same for what lasts as long as the process: below `target/tmp`, and there only once.
    pub(crate) fn lasting(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
            _ => std::fs::create_dir_all(&path).expect("a folder for all tests"),
        }
        Self::at_home(path, None)
    }

    fn at_home(path: PathBuf, home: Option<tempfile::TempDir>) -> Self {
        let (work, config) = (path.join("work"), path.join("config"));
        for folder in [&work, &config] {
            std::fs::create_dir(folder).expect("a folder in it");
        }
        Place { _home: home, work, config }
    }

    /// A path in the working folder.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.work.join(path)
    }

    /// Copies a fixture into the working folder, under its own name.
    pub(crate) fn take(&self, name: &str) -> &Self {
        let source = fixture(name);
        std::fs::copy(&source, self.at(source.file_name().expect("a file"))).expect("the fixture is copied");
        self
    }

    /// Writes a file in the working folder, and the folders above it.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("its folder");
        std::fs::write(path, text).expect("the file is written");
        self
    }

    /// Reads a text in the working folder.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.at(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `nimify`, to be run here. What a developer has set for themselves doesn't reach it.
    pub(crate) fn nimify(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_nimify"))
    }

    /// Another program, with the environment that `nimify` would have.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.work).env("XDG_CONFIG_HOME", &self.config).env("LC_ALL", "C.UTF-8");
        for name in ["DOCKER_HOST", "NIMIFY_KEY_PASSWORD", "SOURCE_DATE_EPOCH", "RUST_LOG", "NO_COLOR", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs `nimify` with these arguments to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ended {
        self.finish(self.nimify().args(args))
    }

    /// Runs a command to its end.
    pub(crate) fn finish(&self, command: &mut Command) -> Ended {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        self.wait(child)
    }

    /// Waits for a command that was started with pipes.
    pub(crate) fn wait(&self, child: Child) -> Ended {
        self.ended(end(child))
    }

    fn ended(&self, output: Output) -> Ended {
        Ended { code: output.status.code(), stdout: self.plain(&output.stdout), stderr: self.plain(&output.stderr) }
    }

    /// A text with the paths that differ from machine to machine taken out.
    fn plain(&self, bytes: &[u8]) -> String {
        let folder = |path: &Path| path.display().to_string();
        let text = String::from_utf8_lossy(bytes);
        text.replace(&folder(&self.work), "<work>")
            .replace(&folder(&self.config), "<config>")
            .replace(&folder(self.work.parent().expect("it has one")), "<home>")
            .replace(&folder(&fixture("")), "<fixtures>/")
    }

    /// The names in the working folder, hidden ones too, sorted.
    pub(crate) fn entries(&self) -> Vec<String> {
        names(&self.work)
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` where a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// What it wrote to standard error, having ended with this code and written nothing else.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        let ended = self.with(code);
        assert_eq!(ended.stdout, "", "a refusal is no data");
        ended.stderr
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Waits for a child's end, reading both pipes. One that is stuck is killed and fails the test.
fn end(mut child: Child) -> Output {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).expect("the pipe is read");
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let mut status = None;
    let done = wait_until(|| {
        status = child.try_wait().expect("the child's state");
        status.is_some()
    });
    if !done {
        child.kill().expect("it is there");
        panic!("stuck for {PATIENCE:?}: {}", String::from_utf8_lossy(&stderr.join().expect("no panic")));
    }
    Output {
        status: status.expect("it ended"),
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    }
}

/// Waits until something holds; `false` where it never does.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Copies a folder with all below it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("the folder is listed");
        let target = to.join(entry.path().strip_prefix(from).expect("below it"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).expect("a folder");
        } else {
            std::fs::copy(entry.path(), target).expect("a file");
        }
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode is set");
}

/// Every file below a folder with its bytes.
pub(crate) fn files_below(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("the folder is listed"));
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).expect("below it").to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("the file is read"))
        })
        .collect()
}
