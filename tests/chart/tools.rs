//! The real tools that judge a chart, from where `tools/setup` puts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nimify::files::{self, FileTree};

use crate::judges::tool;

/// Kubernetes versions that every render is judged for: the oldest that the chart accepts, one between, the newest.
pub(crate) const KUBERNETES: [&str; 3] = ["1.27.0", "1.32.0", "1.37.0"];

/// Helm 3 and helm 4, as `tools/setup` calls them.
pub(crate) const HELMS: [&str; 2] = ["helm", "helm4"];

/// A chart on disk.
pub(crate) struct Chart {
    folder: tempfile::TempDir,
}

impl Chart {
    pub(crate) fn write(tree: &FileTree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        files::write_tree(folder.path(), tree).unwrap();
        Chart { folder }
    }

    /// The one in `charts-template/`, where it stands, copied.
    pub(crate) fn template() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts-template");
        Self::write(&files::read_tree(&folder).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `helm COMMAND… CHART ARGUMENTS…`, as a helm 3 without any configuration runs.
    pub(crate) fn helm(&self, command: &[&str], arguments: &[&str]) -> Output {
        self.by(HELMS[0], command, arguments)
    }

    /// The same by one of [`HELMS`].
    pub(crate) fn by(&self, helm: &str, command: &[&str], arguments: &[&str]) -> Output {
        let home = self.folder.path().parent().unwrap();
        Command::new(tool(&format!("bin/{helm}")))
            .args(command)
            .arg(self.path())
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("KUBECONFIG", "/dev/null")
            .output()
            .unwrap()
    }

    /// What `helm template` gives for these arguments.
    pub(crate) fn render(&self, arguments: &[&str]) -> String {
        self.render_by(HELMS[0], arguments)
    }

    /// The same by one of [`HELMS`].
    pub(crate) fn render_by(&self, helm: &str, arguments: &[&str]) -> String {
        let output = self.by(helm, &["template", "release"], arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What helm says when it refuses these arguments.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.helm(&["template", "release"], arguments);
        assert!(!output.status.success(), "{arguments:?} is accepted");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// What kubeconform, in its strict mode, says against these objects for some version of Kubernetes.
pub(crate) fn kubeconform(renders: &[(String, String)]) -> Result<(), String> {
    kubeconform_for(renders, &KUBERNETES)
}

/// The same for some versions of Kubernetes alone.
pub(crate) fn kubeconform_for(renders: &[(String, String)], versions: &[&str]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in renders {
        fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    let schemas = tool("schemas");
    let location = |path: &str| format!("{}/{path}", schemas.display());
    for version in versions {
        let own = location("kubernetes/{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json");
        let custom = location("custom/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json");
        let output = Command::new(tool("bin/kubeconform"))
            .args(["-strict", "-summary", "-kubernetes-version", version])
            .args(["-schema-location", &own, "-schema-location", &custom])
            .arg(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !said.contains("Errors: 0, Skipped: 0") {
            return Err(format!("for Kubernetes {version}:\n{said}"));
        }
    }
    Ok(())
}
