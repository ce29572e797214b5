//! Models of `fixtures/` → a service folder and a binary, by the library's own arrows.

use std::path::{Path, PathBuf};

use nimify::cache::Cache;
use nimify::compile::{self, CompileRequest, ServiceSources};
use nimify::config::Config;
use nimify::files::FileTree;
use nimify::model::{self, ModelDescription};
use nimify::pipeline::{self, ServeRequest};
use nimify::plan::{self, ServicePlan};
use nimify::probe::{self, ProbeReport, ProbeRequest};
use nimify::{codegen, openapi};
use tempfile::TempDir;

pub(crate) fn onnxruntime() -> PathBuf {
    let path = std::env::var_os("NIMIFY_ONNXRUNTIME");
    path.expect("set NIMIFY_ONNXRUNTIME to ONNX Runtime's library: CONTRIBUTING says how to install it").into()
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A model with what is known of it.
pub(crate) struct Made {
    pub(crate) plan: ServicePlan,
    config: Config,
    description: ModelDescription,
    probe: ProbeReport,
}

impl Made {
    pub(crate) fn of(model: &str) -> Made {
        let description = model::inspect(&fixture(model), &model::Limits::default()).unwrap();
        let request = ProbeRequest::new(&description, env!("CARGO_BIN_EXE_nimify").into(), onnxruntime());
        let probe = probe::probe(&request).unwrap();
        let name = Path::new(model).file_stem().unwrap().to_str().unwrap();
        let config = Config::new(name.parse().unwrap(), "model.onnx".parse().unwrap());
        let plan = plan::plan(&config, &description, Some(&probe)).unwrap();
        Made { plan, config, description, probe }
    }

    /// `service.json` and what it names.
    pub(crate) fn folder(&self) -> TempDir {
        let request = ServeRequest {
            config: &self.config,
            description: &self.description,
            derived: None,
            probe: Some(&self.probe),
            onnxruntime: &onnxruntime(),
            operators: &[],
            port: 0,
            grpc_port: 0,
        };
        pipeline::service_folder(&request).unwrap()
    }

    /// The binary of the generated crate, its hooks replaced where others are given.
    pub(crate) fn generated(&self, hooks: Option<&str>) -> PathBuf {
        let mut sources = codegen::render(&self.plan, &openapi::describe(&self.plan)).unwrap();
        if let Some(hooks) = hooks {
            let old = sources.insert(codegen::HOOKS.parse().unwrap(), hooks.into());
            assert!(old.is_some());
        }
        compiled(&sources)
    }
}

/// The generic binary.
pub(crate) fn generic() -> PathBuf {
    compiled(&codegen::generic())
}

fn compiled(sources: &FileTree) -> PathBuf {
    let cache = Cache::from_environment().unwrap();
    let request = CompileRequest { cache: cache.root(), offline: false, target: None };
    let sources = ServiceSources { files: sources, folder: Path::new("service") };
    compile::compile(&request, &sources, &mut |_| {}).unwrap().path
}
