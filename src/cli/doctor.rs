//! `nimify doctor`: what is there, what is missing, and how to get it.

use std::process::Command;

use serde::Serialize;

use crate::cache::{self, Cache};
use crate::image::Architecture;
use crate::image::load::Engine;
use crate::sign::KeyStore;
use crate::{compile, interrupt, pipeline};

use super::args::{DoctorArgs, Format};
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::report::size;

/// One thing that was looked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    /// What.
    name: &'static str,
    /// Whether it is there.
    found: bool,
    /// Whether nothing works without it.
    needed: bool,
    /// Its version or place, or why it isn't there.
    answer: String,
    /// What it is for and how to get it, where it is missing.
    advice: Option<&'static str>,
}

pub(super) fn run(args: &DoctorArgs) -> Outcome {
    let root = cache::root(|name| std::env::var_os(name))?;
    let pruned = if args.fix { Some(cache::prune(&root)?) } else { None };
    let findings = look()?;
    let cached: u64 = cache::contents(&root)?.iter().map(|entry| entry.bytes).sum();
    match args.format {
        Format::Json => super::print_json(&serde_json::json!({
            "findings": findings,
            "cache": { "path": root, "bytes": cached, "prunedBytes": pruned },
        }))?,
        Format::Text => {
            let mut text = String::new();
            for finding in &findings {
                let mark = if finding.found { "ok     " } else { "missing" };
                text += &format!(
                    "{mark}  {:<14} {}\n",
                    finding.name,
                    finding.answer.replace('\n', "\n                         ")
                );
                if let Some(advice) = finding.advice {
                    text += &format!("{:24} {advice}\n", "");
                }
            }
            text += &format!("         {:<14} {} in {}\n", "cache", size(cached), root.display());
            if let Some(pruned) = pruned {
                text += &format!("         {:<14} {}\n", "pruned", size(pruned));
            }
            super::print(&text)?;
        }
    }
    match findings.iter().find(|finding| finding.needed && !finding.found) {
        Some(finding) => {
            Err(Failure::say(Exit::Tool, format!("{} is missing", finding.name)).hint(finding.advice.map(String::from)))
        }
        None => Ok(()),
    }
}

fn look() -> Result<Vec<Finding>, Failure> {
    let tool = |name, program, args: &[&str], advice| finding(name, false, version(program, args), advice);
    Ok(vec![
        onnxruntime()?,
        tool(
            "cargo",
            "cargo",
            &["--version"],
            "compiles a service for your model; without it the generic one is packed",
        ),
        tool("rustc", "rustc", &["--version"], "install Rust 1.92 or newer"),
        tool("C linker", "cc", &["--version"], "install a C compiler, such as the package `gcc`"),
        cross_compiler(),
        tool(
            "apt",
            "apt-get",
            &["--version"],
            "`image.base: debian-packages` needs Debian's apt; the closure, the default, needs none",
        ),
        tool(
            "pip",
            "python3",
            &["-m", "pip", "--version"],
            "fetches ONNX Runtime when no Python package has it, and the wheels of `image.accelerator: cuda`",
        ),
        finding("engine", false, engine(), "`nimify load` needs Docker or Podman; nothing else does"),
        tool("helm", "helm", &["version", "--short"], "installs the chart; nimify itself does not need it"),
        finding(
            "signing key",
            false,
            key(),
            "`nimify create` makes one on its first use, `nimify keys generate` at once",
        ),
    ])
}

fn finding(name: &'static str, needed: bool, answer: Result<String, String>, advice: &'static str) -> Finding {
    let found = answer.is_ok();
    let answer = answer.unwrap_or_else(|reason| reason);
    Finding { name, found, needed, answer, advice: (!found).then_some(advice) }
}

fn onnxruntime() -> Result<Finding, Failure> {
    let cache = Cache::from_environment()?;
    // Offline: a doctor looks, and fetches nothing.
    let located = pipeline::locate_onnxruntime(&cache, true);
    let answer = located.map(|found| found.path.display().to_string()).map_err(|error| error.to_string());
    let answer = answer.or_else(|reason| {
        version("python3", &["-m", "pip", "--version"])
            .map(|_| "not here yet: pip will fetch it".into())
            .map_err(|_| reason)
    });
    Ok(finding(
        "ONNX Runtime",
        true,
        answer,
        "`pip install onnxruntime`, or name the library file in `NIMIFY_ONNXRUNTIME`",
    ))
}

/// The first line that a program prints.
fn version(program: &str, args: &[&str]) -> Result<String, String> {
    let output = interrupt::output(Command::new(program).args(args));
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("not on the path".into()),
        Err(error) => Err(error.to_string()),
        Ok(output) if !output.status.success() => {
            let words = String::from_utf8_lossy(&output.stderr);
            Err(words.lines().next().unwrap_or("it fails").to_string())
        }
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_string()),
    }
}

/// For images of the other processor.
fn cross_compiler() -> Finding {
    let target = match Architecture::host() {
        Some(Architecture::Arm64) => "x86_64-unknown-linux-gnu",
        _ => "aarch64-unknown-linux-gnu",
    };
    let found = compile::cross_linker(target);
    let advice = found.as_ref().err().and_then(compile::Error::hint).unwrap_or_default();
    let answer = found.map_err(|error| format!("{error}: only an image for that processor needs it"));
    finding("cross compiler", false, answer, advice)
}

fn engine() -> Result<String, String> {
    let found = Engine::find(|name| std::env::var(name).ok()).and_then(|engine| engine.answers().map(|()| engine));
    found.map(|engine| engine.to_string()).map_err(|error| error.to_string())
}

fn key() -> Result<String, String> {
    let store = KeyStore::of_user().map_err(|error| error.to_string())?;
    match store.public_key() {
        Ok(Some(key)) => Ok(format!("{} in {}", key.id(), store.folder().display())),
        Ok(None) => Err(format!("none in {}", store.folder().display())),
        Err(error) => Err(error.to_string()),
    }
}
