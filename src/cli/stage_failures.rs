//! Each stage's errors → exit code and hint, side by side.

use std::io::ErrorKind;

use crate::registry::{Fault, HostError};
use crate::{
    bundle, cache, chart, cluster, compile, config, deploy, image, interrupt, model, pipeline, probe, registry, sign,
    source,
};

use super::exit::Exit;
use super::failure::{Failure, interrupted};

/// The first I/O error in the chain below `error`, if there is one.
fn io_below<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut error = Some(error);
    while let Some(here) = error {
        if let Some(io) = here.downcast_ref() {
            return Some(io);
        }
        error = here.source();
    }
    None
}

/// What to do about the common troubles with files.
fn io_hint(error: &std::io::Error) -> Option<String> {
    let text = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space on that disk: `nimify doctor` shows how much the cache takes and prunes it with `--fix`"
        }
        ErrorKind::PermissionDenied => "check who owns the path and its permissions",
        ErrorKind::ReadOnlyFilesystem => "choose a folder that can be written with `--output`",
        _ => return None,
    };
    Some(text.into())
}

/// A failure whose hint is the stage's own, or that of the I/O error beneath.
fn failure(exit: Exit, error: &(dyn std::error::Error + 'static), hint: Option<String>) -> Failure {
    let io = io_below(error);
    if interrupt::check().is_err() {
        return interrupted();
    }
    Failure::new(exit, error).hint(hint.or_else(|| io.and_then(io_hint)))
}

impl From<pipeline::Error> for Failure {
    fn from(error: pipeline::Error) -> Self {
        use pipeline::Error;
        if interrupt::check().is_err() {
            return interrupted();
        }
        match &error {
            Error::Model(error) => from_model(error),
            Error::Source(error) => from_source(error),
            Error::Probe(error) => from_probe(error),
            Error::Compile(error) => from_compile(error),
            Error::Image(error) => from_image(error),
            Error::Load(error) => from_load(error),
            Error::Registry(error) => from_registry(error),
            Error::Sign(error) => from_sign(error),
            Error::Chart(error) => from_chart(error),
            Error::Cache(error) => from_cache(error),
            Error::Generate(inner) => failure(Exit::Internal, inner, None),
            Error::Interrupted(_) => interrupted(),
            Error::NotWhole { .. } => failure(Exit::Trust, &error, error.hint()),
            Error::Bundle { source, .. } => {
                let exit = if matches!(source, bundle::Error::Broken { .. }) { Exit::Trust } else { Exit::Files };
                failure(exit, &error, error.hint())
            }
            Error::FileInTheWay(_)
            | Error::Files { .. }
            | Error::Foreign(_)
            | Error::NoChart(_)
            | Error::NoModel(_)
            | Error::InTheWay { .. }
            | Error::OtherConfig(_) => failure(Exit::Files, &error, error.hint()),
            Error::Edited(_) | Error::HooksWithoutCompiler => failure(Exit::Build, &error, error.hint()),
            Error::ForeignBase { .. } | Error::ForeignOperators { .. } | Error::Architecture => {
                failure(Exit::Tool, &error, error.hint())
            }
            _ => failure(Exit::Config, &error, error.hint()),
        }
    }
}

fn from_model(error: &model::Error) -> Failure {
    let exit = match error {
        model::Error::Io { .. } => Exit::Files,
        _ => Exit::Model,
    };
    failure(exit, error, error.hint())
}

fn from_source(error: &source::Error) -> Failure {
    use source::Error;
    match error {
        Error::Registry(error) => from_registry(error),
        Error::Cache(error) => from_cache(error),
        Error::NotAModel { .. } => failure(Exit::Model, error, None),
        Error::Files { .. } => failure(Exit::Files, error, None),
        Error::Interrupted(_) => interrupted(),
        Error::Changed { .. } => failure(
            Exit::Trust,
            error,
            Some("build without `--locked` to take what is there now, if that is what you want".into()),
        ),
        Error::Mismatch { .. } => failure(Exit::Trust, error, None),
        Error::PlainHttp { .. } => {
            failure(Exit::Usage, error, Some("give `https://`, or say `--plain-http` if it is to be so".into()))
        }
        Error::Host { error: host, login } => {
            let hint = match host.fault {
                Fault::Unauthorized { .. } => Some((*login).into()),
                Fault::Untrusted(_) => Some("name its authority's certificate in `SSL_CERT_FILE` to trust it".into()),
                _ => None,
            };
            failure(Exit::Network, error, hint)
        }
        Error::Credentials { .. } => failure(Exit::Config, error, None),
        Error::NotCached { .. } => failure(Exit::Network, error, Some("fetch it once without `--offline`".into())),
    }
}

fn from_probe(error: &probe::Error) -> Failure {
    let exit = match error {
        probe::Error::OnnxRuntime { .. } => Exit::Tool,
        probe::Error::Sample { .. } => Exit::Usage,
        probe::Error::Start { .. } | probe::Error::NoReport { .. } => Exit::Internal,
        _ => Exit::Model,
    };
    failure(exit, error, error.hint().map(String::from))
}

fn from_compile(error: &compile::Error) -> Failure {
    use compile::Error;
    let exit = match error {
        Error::CargoMissing { .. }
        | Error::Toolchain { .. }
        | Error::RustTooOld { .. }
        | Error::CrossLibrary { .. }
        | Error::CrossLinker { .. }
        | Error::NoGeneric { .. } => Exit::Tool,
        Error::NotCached { .. } | Error::Network { .. } => Exit::Network,
        Error::Files { .. } | Error::NoSpace { .. } => Exit::Files,
        Error::Interrupted => return interrupted(),
        _ => Exit::Build,
    };
    failure(exit, error, error.hint().map(String::from))
}

fn from_image(error: &image::Error) -> Failure {
    use image::Error;
    let pip = || {
        let version = image::onnxruntime::VERSION;
        Some(format!("`pip install onnxruntime=={version}`, or name the library file in `NIMIFY_ONNXRUNTIME`"))
    };
    match error {
        Error::Cache(error) => from_cache(error),
        Error::Debian(error) => from_debian(error),
        Error::Base { .. } => failure(
            Exit::Build,
            error,
            Some("take a newer base image, or `image.base: closure`, which needs none".into()),
        ),
        Error::Cuda(error) => from_cuda(error),
        Error::OnnxRuntime { .. } => failure(Exit::Tool, error, pip()),
        Error::MissingLibrary { library, .. } => {
            failure(Exit::Tool, error, Some(format!("install the package that has `{library}`")))
        }
        Error::SameName { .. } => failure(Exit::Config, error, Some("rename one of them".into())),
        Error::Layout { .. } => failure(
            Exit::Files,
            error,
            Some("give a folder that `create` or `build` wrote, or an OCI image layout".into()),
        ),
        Error::Budget(_) => failure(
            Exit::Build,
            error,
            Some(
                "take a smaller model (quantised, or stored in half precision), compress it with \
                 `image.modelCompression: zstd`, or raise `image.budget`"
                    .into(),
            ),
        ),
        Error::Files { .. } | Error::Changed { .. } => failure(Exit::Files, error, None),
        _ => failure(Exit::Build, error, None),
    }
}

fn from_cuda(error: &image::cuda::Error) -> Failure {
    use image::cuda::Error;
    let (exit, hint) = match error {
        Error::Pip { words } if words.contains(image::cuda::TENSORRT) => {
            (Exit::Network, Some("TensorRT's wheel is in an index of NVIDIA's own: name that in `PIP_EXTRA_INDEX_URL`"))
        }
        Error::Pip { .. } => (
            Exit::Network,
            Some("`python3 -m pip download --no-deps nvidia-cuda-runtime` says whether pip reaches its index"),
        ),
        Error::Digest { .. } | Error::Wheel { .. } => (Exit::Trust, None),
        Error::NotCached { .. } => (Exit::Network, Some("build once without `--offline`")),
        Error::Files { .. } => (Exit::Files, None),
        _ => (Exit::Build, None),
    };
    failure(exit, error, hint.map(String::from))
}

fn from_debian(error: &image::debian::Error) -> Failure {
    use image::debian::Error;
    let (exit, hint) = match error {
        Error::NoApt { .. } => {
            (Exit::Tool, Some("build on a Debian, or in a container of one; `image.base: closure` needs no apt"))
        }
        Error::NoSources { .. } => (
            Exit::Tool,
            Some("add Debian's sources and its package `debian-archive-keyring`, or take `image.base: closure`"),
        ),
        Error::Unsigned { .. } => {
            (Exit::Trust, Some("name the key in `Signed-By` instead: a base is made of signed packages alone"))
        }
        Error::Untrusted { .. } => {
            (Exit::Trust, Some("the package `debian-archive-keyring` has the keys of Debian's releases"))
        }
        Error::Expired { .. } => {
            (Exit::Trust, Some("use a mirror that is up to date, and check this machine's clock with `date`"))
        }
        Error::Digest { .. } | Error::Package { .. } => (Exit::Trust, None),
        Error::Releases { .. } => (Exit::Config, Some("leave the sources of one release in apt's settings")),
        Error::NoPackage { version: Some(_), .. } => {
            (Exit::Network, Some("mirrors keep the newest versions alone: build without `--locked` to take these"))
        }
        Error::NotCached { .. } => (Exit::Network, Some("build once without `--offline`")),
        Error::Files { .. } => (Exit::Files, None),
        Error::Apt { .. } => (Exit::Network, Some("`apt-get update` says whether apt reaches its sources")),
        _ => (Exit::Build, None),
    };
    failure(exit, error, hint.map(String::from))
}

fn from_load(error: &image::load::Error) -> Failure {
    use image::load::Error;
    let (exit, hint) = match error {
        Error::Image(error) => return from_image(error),
        Error::NotRunning { .. } => {
            (Exit::Tool, Some("start Docker or Podman, or name the engine's socket in `DOCKER_HOST`"))
        }
        Error::NoPermission { .. } => {
            (Exit::Tool, Some("join the engine's group, use a rootless engine, or run as the user who may"))
        }
        Error::Address(_) => (Exit::Config, Some("`DOCKER_HOST` takes `unix:///path/to.sock` or `tcp://host:port`")),
        Error::NoProgram(_) => (Exit::Tool, Some("it comes with containerd; run this on the node itself")),
        Error::Nameless(_) => (Exit::Config, None),
        // What an engine says that takes Zstandard for a plain archive.
        Error::Refused { words, .. } if words.contains("invalid tar header") => {
            (Exit::Build, Some("Docker before 23 doesn't read Zstandard: build with `image.compression: gzip`"))
        }
        Error::Refused { .. } | Error::Lost { .. } => (Exit::Build, None),
    };
    failure(exit, error, hint.map(String::from))
}

fn from_registry(error: &registry::Error) -> Failure {
    use registry::Error;
    let (exit, hint) = match error {
        Error::Image(error) => return from_image(error),
        Error::Sign(error) => return from_sign(error),
        Error::Cache(error) => return from_cache(error),
        Error::Interrupted(_) => return interrupted(),
        Error::Reference { .. } => (Exit::Usage, None),
        Error::Files { .. } => (Exit::Files, None),
        Error::Credentials { .. } => (Exit::Config, Some("log in again with `docker login` or `podman login`".into())),
        Error::Helper { .. } => (
            Exit::Tool,
            Some("install the helper, or take its name out of that file and log in again with `docker login`".into()),
        ),
        Error::Certificate { .. } => (Exit::Config, None),
        Error::Host(error) => (Exit::Network, at_registry(error)),
        Error::Changed { .. } => (Exit::Trust, None),
        Error::Platform { .. } => (Exit::Config, None),
        Error::NotCached { .. } => (Exit::Network, Some("build once without `--offline`".into())),
        _ => (Exit::Network, None),
    };
    failure(exit, error, hint)
}

/// What to do about a registry's answer.
fn at_registry(HostError { host, fault, .. }: &HostError) -> Option<String> {
    match fault {
        Fault::Untrusted(_) => {
            Some(format!("put its authority's certificate into `/etc/docker/certs.d/{host}/ca.crt`"))
        }
        Fault::PlainHttp => Some("`--plain-http` speaks to it without TLS".into()),
        Fault::Unauthorized { .. } => {
            Some(format!("`docker login {host}` or `podman login {host}` stores credentials; check that they may push"))
        }
        Fault::Refused { words, .. } if words.contains("DIGEST_INVALID") => {
            Some("`nimify verify` says whether the image's files are whole".into())
        }
        _ => None,
    }
}

fn from_chart(error: &chart::Error) -> Failure {
    use chart::Error;
    let exit = match error {
        Error::Template(_) | Error::Mangled => Exit::Internal,
        _ => Exit::Config,
    };
    failure(exit, error, None)
}

fn from_cache(error: &cache::Error) -> Failure {
    let hint = matches!(error, cache::Error::NoPlace).then(|| "set `NIMIFY_CACHE` to a folder".to_string());
    failure(Exit::Files, error, hint)
}

fn from_sign(error: &sign::Error) -> Failure {
    use sign::{Error, KeyFault};
    if let Error::Readable { path, .. } = error {
        let hint = format!("`chmod go= {}`, and ask who may have read the key or changed it", path.display());
        return failure(Exit::Config, error, Some(hint));
    }
    let (exit, hint) = match error {
        Error::Io { .. } => (Exit::Files, None),
        Error::Key { fault: KeyFault::Password, .. } => {
            (Exit::Config, Some("`NIMIFY_KEY_PASSWORD` holds the password of an encrypted key"))
        }
        Error::Key { fault: KeyFault::Der(_), .. } => (
            Exit::Config,
            Some("`nimify keys generate` makes a key that can be used, and so does `cosign generate-key-pair`"),
        ),
        Error::Key { .. } => (Exit::Config, None),
        Error::NoKey { .. } => {
            (Exit::Config, Some("`nimify keys generate` makes one; `--key` names another; `--unsigned` does without"))
        }
        Error::Occupied { .. } => (Exit::Config, Some("move the key that is there away first: nothing is overwritten")),
        Error::NoHome => (Exit::Config, Some("set `XDG_CONFIG_HOME`, or name the key with `--key`")),
        Error::Random(_) => (Exit::Internal, None),
        _ => (Exit::Trust, None),
    };
    failure(exit, error, hint.map(String::from))
}

impl From<deploy::Error> for Failure {
    fn from(error: deploy::Error) -> Self {
        use deploy::Error;
        let exit = match &error {
            Error::Registry(error) => return from_registry(error),
            Error::Sign(error) => return from_sign(error),
            Error::Image(error) => return from_image(error),
            Error::Chart(error) => return from_chart(error),
            Error::Cluster(error) => return from_cluster(error),
            Error::Interrupted(_) => return interrupted(),
            Error::Files { .. } | Error::NoChart(_) => Exit::Files,
            Error::Set { .. } => Exit::Usage,
            Error::Name(_)
            | Error::Values { .. }
            | Error::ValuesFile { .. }
            | Error::Schema { .. }
            | Error::NoDigest { .. }
            | Error::NoModelDigest { .. }
            | Error::OddRepository { .. }
            | Error::OtherImage { .. }
            | Error::OtherChart { .. }
            | Error::OldChart
            | Error::Sample { .. } => Exit::Config,
            Error::RunsOther { .. } => Exit::Trust,
            Error::HelmMissing { .. } | Error::HelmOld { .. } | Error::HelmOdd { .. } => Exit::Tool,
            _ => Exit::Deployment,
        };
        failure(exit, &error, error.hint())
    }
}

fn from_cluster(error: &cluster::Error) -> Failure {
    use cluster::Error;
    let exit = match error {
        Error::Interrupted(_) => return interrupted(),
        Error::NoKubeconfig { .. }
        | Error::Kubeconfig { .. }
        | Error::UnknownContext { .. }
        | Error::NoContext { .. }
        | Error::NamespaceName(_) => Exit::Config,
        Error::LogIn { .. } => Exit::Tool,
        Error::Unreachable { .. } | Error::Certificate { .. } | Error::NotAuthorised { .. } => Exit::Network,
        _ => Exit::Deployment,
    };
    failure(exit, error, error.hint())
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        let missing = matches!(&error, config::Error::Io { source, .. } if source.kind() == ErrorKind::NotFound);
        let exit = if matches!(error, config::Error::Io { .. }) { Exit::Files } else { Exit::Config };
        let hint = if missing {
            Some("`nimify create MODEL` writes one; `--config FILE` names another")
        } else if exit == Exit::Config {
            Some("`nimify schema` prints what `nimify.yaml` can hold")
        } else {
            None
        };
        failure(exit, &error, hint.map(String::from))
    }
}

/// Stages that a command calls without the pipeline fail as they do within it.
macro_rules! by_way_of_the_pipeline {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                pipeline::Error::from(error).into()
            }
        })+
    };
}

by_way_of_the_pipeline!(
    model::Error,
    probe::Error,
    image::Error,
    image::load::Error,
    registry::Error,
    sign::Error,
    source::Error,
    cache::Error
);
