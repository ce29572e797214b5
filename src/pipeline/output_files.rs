//! What goes into the output folder besides `dist/`.

use super::Error;
use super::build::{BuildRequest, Generated};
use super::error::files;
use super::report::BuildReport;
use crate::codegen;
use crate::config::Lock;
use crate::files::{self as tree, FileTree, RelativePath};
use crate::output::{self, LOCK_FILE, Stage};
use crate::plan::ServicePlan;

/// All files but the lock and `dist/`, by their path in the output folder.
pub(super) struct OutputTree {
    /// Made by nimify, the same from the same inputs: the lock has their digests.
    pub(super) generated: FileTree,
    /// The user's own, carried over.
    pub(super) users: FileTree,
    /// Recorded on this machine.
    pub(super) recorded: FileTree,
}

pub(super) fn tree(
    request: &BuildRequest<'_>,
    plan: &ServicePlan,
    parts: &Generated,
    chart: FileTree,
    old: Option<&Lock>,
) -> Result<OutputTree, Error> {
    let mut generated = FileTree::new();
    let mut users = FileTree::new();
    for (path, bytes) in &parts.service {
        let own = parts.users.contains_key(path) || path.as_str() == codegen::HOOKS;
        let tree = if own { &mut users } else { &mut generated };
        tree.insert(below("service", path), bytes.clone());
    }
    generated.extend(chart.iter().map(|(path, bytes)| (below("chart", path), bytes.clone())));
    generated.insert(plain("signature.json"), codegen::signature_json(plan).into_bytes());
    generated.insert(plain("openapi.yaml"), parts.openapi_yaml.clone().into_bytes());
    for part in ["chart", "samples"] {
        users.extend(self::users(request, part, old)?.into_iter().map(|(path, bytes)| (below(part, &path), bytes)));
    }
    let mut recorded = FileTree::new();
    if let Some(sample) = &plan.sample {
        generated.insert(plain("samples/request.json"), sample.request.clone().into_bytes());
        recorded.insert(plain("samples/response.json"), sample.response.clone().into_bytes());
    }
    if let Some(text) = &request.config_text {
        recorded.insert(plain("nimify.yaml"), text.clone().into_bytes());
    }
    Ok(OutputTree { generated, users, recorded })
}

/// The user's own files below one folder of the output.
pub(super) fn users(request: &BuildRequest<'_>, part: &str, old: Option<&Lock>) -> Result<FileTree, Error> {
    let generated = old.map(|lock| lock.generated.clone()).unwrap_or_default();
    output::users_files(request.output, part, &generated).map_err(files("read the user's files in", request.output))
}

/// Writes everything but the image, which stands there already.
pub(super) fn write(stage: &Stage, tree: &OutputTree, lock: &Lock, report: &BuildReport) -> Result<(), Error> {
    let folder = stage.path();
    // What nimify makes beats what the user has under the same name.
    for part in [&tree.users, &tree.recorded, &tree.generated] {
        tree::write_tree(folder, part).map_err(files("write to", folder))?;
    }
    let mut json = serde_json::to_string_pretty(report).expect("a report is texts and numbers");
    json.push('\n');
    for (name, text) in [("dist/report.json", json), (LOCK_FILE, lock.to_yaml())] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(files("write", &path))?;
    }
    Ok(())
}

fn plain(path: &str) -> RelativePath {
    path.parse().expect("the output's own paths are relative")
}

/// `path` below the folder `part`.
pub(super) fn below(part: &str, path: &RelativePath) -> RelativePath {
    plain(&format!("{part}/{}", path.as_str()))
}
