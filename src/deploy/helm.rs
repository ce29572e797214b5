//! The way to helm: which one, which calls, and what it answers.
//!
//! A call is a plain value, so that its arguments can be looked at. None carries a value of the chart: those go by a file
//! that its owner alone can read. helm runs in a process group of its own: Ctrl-C in a terminal doesn't reach it, and a
//! call that changes something is let end, so that no release is left pending.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::history::History;
use super::target::Target;
use super::{Error, interrupted};
use crate::interrupt::{self, OwnedChild};

/// The oldest helm that has all that is asked of it.
const OLDEST: [u32; 3] = [3, 13, 0];
/// Revisions of a release that are read.
const REVISIONS: &str = "64";
/// Most bytes of an answer that are kept.
const LARGEST: u64 = 64 << 20;
/// How long an answer to a question may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The helm of this machine.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    /// Its version: `3.22.0`.
    pub version: String,
}

/// One call of helm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is done, for messages: `upgrade`.
    pub verb: &'static str,
    /// All arguments.
    pub args: Vec<String>,
    /// Whether it changes something: then it is not broken off.
    pub changes: bool,
    /// How long it may take.
    pub patience: Duration,
}

/// What an upgrade is given.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade<'a> {
    /// The chart's folder.
    pub chart: &'a Path,
    /// The file of values.
    pub values: &'a Path,
    /// What is noted with the revision.
    pub description: &'a str,
    /// How many revisions are kept.
    pub history_max: u32,
    /// How long helm may take.
    pub patience: Duration,
    /// Whether a missing namespace is made.
    pub create_namespace: bool,
}

impl Call {
    fn of(target: &Target, verb: &'static str, args: &[&str]) -> Self {
        let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
        args.extend(target.flags());
        Call { verb, args, changes: false, patience: PATIENCE }
    }

    fn changing(self, patience: Duration) -> Self {
        Call { changes: true, patience, ..self }
    }

    /// The revisions of a release.
    pub fn history(target: &Target) -> Self {
        Call::of(target, "history", &["history", &target.release, "--output", "json", "--max", REVISIONS])
    }

    /// All values by which a revision runs; the last one's where none is given.
    pub fn values(target: &Target, revision: Option<u32>) -> Self {
        Call::of(target, "get values", &["get", "values", &target.release, "--all", "--output", "json"]).at(revision)
    }

    /// The objects of a revision.
    pub fn manifest(target: &Target, revision: Option<u32>) -> Self {
        Call::of(target, "get manifest", &["get", "manifest", &target.release]).at(revision)
    }

    fn at(mut self, revision: Option<u32>) -> Self {
        self.args.extend(revision.iter().flat_map(|revision| ["--revision".into(), revision.to_string()]));
        self
    }

    /// What an upgrade would make, as the cluster sees it; nothing changes.
    pub fn render(target: &Target, upgrade: &Upgrade<'_>) -> Self {
        let mut call = Call::upgrade(target, upgrade);
        call.args.extend(["--dry-run=server", "--output", "json"].map(String::from));
        Call { verb: "upgrade --dry-run", changes: false, patience: PATIENCE, ..call }
    }

    /// Installs or upgrades. It doesn't wait for pods: the rollout is followed from outside, so that a failed pod's
    /// reasons are read before anything is undone.
    pub fn upgrade(target: &Target, upgrade: &Upgrade<'_>) -> Self {
        let (chart, values) = (upgrade.chart.display().to_string(), upgrade.values.display().to_string());
        let timeout = seconds(upgrade.patience);
        let args = ["upgrade", &target.release, &chart, "--install", "--values", &values, "--timeout", &timeout];
        let mut call = Call::of(target, "upgrade", &args).changing(upgrade.patience);
        let history = upgrade.history_max.to_string();
        call.args.extend(["--history-max".into(), history, "--description".into(), upgrade.description.into()]);
        if upgrade.create_namespace {
            call.args.push("--create-namespace".into());
        }
        call
    }

    /// Goes back to a revision.
    pub fn rollback(target: &Target, revision: u32, patience: Duration) -> Self {
        let (revision, timeout) = (revision.to_string(), seconds(patience));
        let args = ["rollback", &target.release, &revision, "--timeout", &timeout];
        Call::of(target, "rollback", &args).changing(patience)
    }

    /// Removes a release and what was known of it.
    pub fn uninstall(target: &Target, patience: Duration) -> Self {
        let args = ["uninstall", &target.release, "--timeout", &seconds(patience)];
        Call::of(target, "uninstall", &args).changing(patience)
    }
}

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs().max(1))
}

/// How a call ended.
#[derive(Debug)]
struct Ended {
    good: bool,
    stdout: Vec<u8>,
    stderr: String,
}

impl Helm {
    /// The helm in `NIMIFY_HELM`, else in `PATH`, if it is new enough.
    pub fn find() -> Result<Self, Error> {
        let named = std::env::var_os("NIMIFY_HELM").filter(|name| !name.is_empty());
        let program = PathBuf::from(named.unwrap_or_else(|| "helm".into()));
        let mut helm = Helm { program, version: String::new() };
        let call = Call {
            verb: "version",
            args: ["version", "--template", "{{.Version}}"].map(String::from).to_vec(),
            changes: false,
            patience: PATIENCE,
        };
        let ended = helm.run(&call)?;
        let said = String::from_utf8_lossy(&ended.stdout).trim().to_string();
        let version = version(&said).filter(|_| ended.good);
        let version = version.ok_or_else(|| Error::HelmOdd { program: helm.program.clone(), said: said.clone() })?;
        helm.version = version.map(|part| part.to_string()).join(".");
        if version < OLDEST {
            let oldest = OLDEST.map(|part| part.to_string()).join(".");
            return Err(Error::HelmOld { program: helm.program, found: helm.version, oldest });
        }
        Ok(helm)
    }

    /// The revisions of a release; none where there is no such release.
    pub fn history(&self, target: &Target) -> Result<History, Error> {
        let call = Call::history(target);
        let ended = self.run(&call)?;
        if !ended.good && ended.stderr.contains("release: not found") {
            return Ok(History::default());
        }
        let stdout = good(&call, ended)?;
        History::parse(&stdout).map_err(|error| not_understood(&call, &error))
    }

    /// All values by which a revision runs.
    pub fn values(&self, target: &Target, revision: Option<u32>) -> Result<Value, Error> {
        let call = Call::values(target, revision);
        let stdout = good(&call, self.run(&call)?)?;
        serde_json::from_slice(&stdout).map_err(|error| not_understood(&call, &error))
    }

    /// The objects of a revision, as YAML.
    pub fn manifest(&self, target: &Target, revision: Option<u32>) -> Result<String, Error> {
        let call = Call::manifest(target, revision);
        Ok(String::from_utf8_lossy(&good(&call, self.run(&call)?)?).into_owned())
    }

    /// The objects that an upgrade would make, as YAML.
    pub fn render(&self, target: &Target, upgrade: &Upgrade<'_>) -> Result<String, Error> {
        let call = Call::render(target, upgrade);
        let stdout = good(&call, self.run(&call)?)?;
        let release: Value = serde_json::from_slice(&stdout).map_err(|error| not_understood(&call, &error))?;
        Ok(release["manifest"].as_str().unwrap_or_default().to_string())
    }

    /// Makes a call that changes something.
    pub fn change(&self, call: &Call) -> Result<(), Error> {
        good(call, self.run(call)?).map(drop)
    }

    fn run(&self, call: &Call) -> Result<Ended, Error> {
        let started = Command::new(&self.program)
            .args(&call.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let child = started.map_err(|source| Error::HelmMissing { program: self.program.clone(), source })?;
        let mut child = OwnedChild(child);
        let stdout = child.0.stdout.take().map(collect);
        let stderr = child.0.stderr.take().map(collect);
        // Some more than helm was told: its own message is the better one.
        let end = Instant::now() + call.patience + Duration::from_secs(15);
        let status = loop {
            let waited =
                child.0.try_wait().map_err(|source| Error::HelmMissing { program: self.program.clone(), source });
            if let Some(status) = waited? {
                break status;
            }
            if !call.changes {
                interrupt::check().map_err(interrupted)?;
            }
            if Instant::now() >= end {
                return Err(Error::HelmSlow { verb: call.verb, seconds: call.patience.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let read = |pipe: Option<JoinHandle<Vec<u8>>>| pipe.and_then(|pipe| pipe.join().ok()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&read(stderr)).into_owned();
        Ok(Ended { good: status.success(), stdout: read(stdout), stderr })
    }
}

fn collect(pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut bytes, mut pipe) = (Vec::new(), pipe);
        _ = pipe.by_ref().take(LARGEST).read_to_end(&mut bytes);
        // A full pipe would hold helm up.
        _ = std::io::copy(&mut pipe, &mut std::io::sink());
        bytes
    })
}

fn not_understood(call: &Call, error: &serde_json::Error) -> Error {
    Error::Helm { verb: call.verb, words: format!("what it printed can't be read: {error}") }
}

/// What a call printed, or why it failed.
fn good(call: &Call, ended: Ended) -> Result<Vec<u8>, Error> {
    if ended.good {
        return Ok(ended.stdout);
    }
    let words = words(&ended.stderr);
    if ended.stderr.contains("don't meet the specifications of the schema") {
        return Err(Error::Schema { words });
    }
    if ended.stderr.contains("another operation (install/upgrade/rollback) is in progress") {
        return Err(Error::Busy { verb: call.verb });
    }
    Err(Error::Helm { verb: call.verb, words })
}

/// helm's message without its logs: lines of warnings and of what it does meanwhile.
fn words(stderr: &str) -> String {
    let logged = |line: &str| line.starts_with("level=") || line.starts_with("WARNING:") || line.starts_with("time=");
    let lines = stderr.lines().filter(|line| !logged(line) && !line.trim().is_empty());
    let text = lines.map(|line| line.strip_prefix("Error: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(4000).collect();
    if text.is_empty() { "it gave no reason".into() } else { text }
}

/// `v3.22.0+g1234` → its three numbers.
fn version(text: &str) -> Option<[u32; 3]> {
    let text = text.strip_prefix('v')?;
    let text = text.split(['+', '-']).next()?;
    let parts: Vec<u32> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.try_into().ok()
}

/// Writes values into a file that its owner alone can read, gone when it is dropped.
pub fn values_file(values: &Value) -> Result<tempfile::NamedTempFile, Error> {
    let failed = |source| Error::Files { attempt: "write values in", path: std::env::temp_dir(), source };
    let file = tempfile::Builder::new().prefix("nimify-values-").suffix(".json").tempfile().map_err(failed)?;
    let mut open: &File = file.as_file();
    open.write_all(values.to_string().as_bytes()).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            environment: "prod".into(),
            context: Some("eu".into()),
            namespace: Some("ml".into()),
            release: "digits".into(),
        }
    }

    #[test]
    fn versions_are_read_as_helm_prints_them() {
        assert_eq!(version("v3.22.0"), Some([3, 22, 0]));
        assert_eq!(version("v4.0.1+gabc"), Some([4, 0, 1]));
        assert_eq!(version("v3.9.0-rc.1"), Some([3, 9, 0]));
        for odd in ["", "3.22.0", "v3.22", "vx.y.z", "version.BuildInfo{}"] {
            assert_eq!(version(odd), None, "{odd}");
        }
        assert!([3, 12, 9] < OLDEST && [4, 0, 0] > OLDEST);
    }

    #[test]
    fn an_upgrade_waits_for_nothing_and_carries_no_values() {
        let upgrade = Upgrade {
            chart: Path::new("/made/chart"),
            values: Path::new("/tmp/v.json"),
            description: "deployed sha256:1",
            history_max: 10,
            patience: Duration::from_secs(300),
            create_namespace: false,
        };
        let call = Call::upgrade(&target(), &upgrade);
        let text = call.args.join(" ");
        assert_eq!(
            text,
            "upgrade digits /made/chart --install --values /tmp/v.json --timeout 300s --namespace ml --kube-context eu \
             --history-max 10 --description deployed sha256:1"
        );
        assert!(call.changes && !["--wait", "--atomic", "--set"].iter().any(|flag| text.contains(flag)));
        let render = Call::render(&target(), &Upgrade { create_namespace: true, ..upgrade });
        assert!(
            !render.changes && render.args.ends_with(&["--dry-run=server".into(), "--output".into(), "json".into()])
        );
        assert_eq!(
            Call::rollback(&target(), 3, Duration::from_secs(60)).args[..3],
            ["rollback".to_string(), "digits".into(), "3".into()]
        );
        assert_eq!(Call::manifest(&target(), Some(2)).args.last().unwrap(), "2");
    }

    #[test]
    fn helms_words_come_without_its_logs() {
        assert_eq!(words("level=WARN msg=x\nError: UPGRADE FAILED: no\n\n"), "UPGRADE FAILED: no");
        assert_eq!(words(""), "it gave no reason");
    }

    #[test]
    fn values_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = values_file(&serde_json::json!({"a": 1})).unwrap();
        assert_eq!(file.as_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), r#"{"a":1}"#);
    }
}
