//! Sessions: how one is opened, with which provider, and when several callers share one.

use std::io::Read;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::arena;
use super::provider::{self, Provider, Refusal, Taken};
use super::{EngineError, LoadOptions, assignment, library, message};

/// Bytes that a session may hold and still be opened once for each instance. A session of its own makes a run of a tiny
/// model nearly three times as quick where callers would meet in one; a large model doesn't notice, but its weights, and
/// what ONNX Runtime makes of them for its kernels, would be in memory once for each.
const OWN_SESSIONS_UP_TO: u64 = 1 << 20;

/// Microseconds that a thread spins at most, for an operator that the others are left out of. As good as no limit where
/// each operator is shared out, and a bound on what is lost where few are.
const LONGEST_SPIN: &str = "100";

/// Opens the model with the first provider that takes it: one session for each instance, or one that all of them run.
pub(super) fn open(model: &Path, options: &LoadOptions) -> Result<(Vec<Arc<Session>>, Taken), EngineError> {
    let instances = options.instances.max(1);
    let threads = (options.threads / instances).max(1);
    let (first, taken) = open_first(model, threads, options)?;
    if instances == 1 {
        return Ok((vec![Arc::new(first)], taken));
    }
    let open = |threads| open_one(model, threads, taken.provider, options);
    if own_bytes(model, &first) <= OWN_SESSIONS_UP_TO {
        let rest = (1..instances).map(|_| open(threads)).collect::<Result<Vec<_>, _>>()?;
        return Ok(([first].into_iter().chain(rest).map(Arc::new).collect(), taken));
    }
    // A caller is a thread too: those of the pool are what is left of the budget.
    let pooled = options.threads.saturating_sub(instances) + 1;
    let shared = if pooled == threads {
        first
    } else {
        drop(first);
        open(pooled)?
    };
    Ok((vec![Arc::new(shared)], taken))
}

/// Bytes that another session might take again: what its arena holds, and the weights, in the model's file or in one
/// beside it whose name begins as its own does. Mapped weights are in memory once, but what is made of them is not.
fn own_bytes(model: &Path, session: &Session) -> u64 {
    let stem = model.file_stem().unwrap_or_default().as_encoded_bytes();
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let own = files.filter(|file| file.file_name().as_encoded_bytes().starts_with(stem));
    let bytes = own.filter_map(|file| std::fs::metadata(file.path()).ok()).map(|file| file.len()).sum::<u64>();
    arena::stats(session).map_or(u64::MAX, |stats| stats.held.max(bytes))
}

/// Tries the providers in their order.
fn open_first(model: &Path, threads: usize, options: &LoadOptions) -> Result<(Session, Taken), EngineError> {
    let start = |reason: ort::Error| EngineError::Start { reason: message::clean(reason.message()) };
    library::environment()?;
    let compiled_in = assignment::compiled_in().map_err(start)?;
    let to_try = options.providers.to_try(&compiled_in);
    let not_there = |&provider| Refusal { provider, reason: "the library is built without it".into() };
    let mut refused: Vec<Refusal> = to_try.missing.iter().map(not_there).collect();
    let mut opened = None;
    for provider in to_try.order {
        let unmet = options.require && !options.providers.is_met_by(provider);
        if unmet {
            let (wanted, reasons) = (options.providers.clone(), provider::text(&refused));
            let reasons = if reasons.is_empty() { "the library has no other than the CPU".into() } else { reasons };
            return Err(EngineError::Provider { wanted, reasons });
        }
        match attempt(model, threads, provider, options) {
            Ok((session, operators)) => {
                opened = Some((session, provider, operators));
                break;
            }
            // What the CPU can't load isn't to be had.
            Err(error) if provider == Provider::Cpu => return Err(error),
            Err(error) => refused.push(Refusal { provider, reason: with_advice(error.reason()) }),
        }
    }
    let (session, provider, operators) = opened.ok_or(EngineError::NotOpen)?;
    Ok((session, Taken { provider, operators, refused }))
}

/// Says what to do where it is the driver that is missing.
fn with_advice(reason: String) -> String {
    if !reason.contains("libcuda.so") {
        return reason;
    }
    let advice = "the driver is not in the container: run it with `--gpus all`, or ask Kubernetes for `nvidia.com/gpu`";
    format!("{reason} ({advice})")
}

/// Opens a session, and looks whether the provider runs any of the model.
fn attempt(
    model: &Path,
    threads: usize,
    provider: Provider,
    options: &LoadOptions,
) -> Result<(Session, Option<provider::Share>), EngineError> {
    let session = open_one(model, threads, provider, options)?;
    if provider == Provider::Cpu {
        return Ok((session, None));
    }
    let share = assignment::share(&session, provider).map_err(|reason| load_error(model, &reason))?;
    if share.taken == 0 {
        let reason = format!("it takes none of the model's {} operators", share.of);
        return Err(EngineError::Load { path: model.into(), reason });
    }
    Ok((session, Some(share)))
}

fn open_one(model: &Path, threads: usize, provider: Provider, options: &LoadOptions) -> Result<Session, EngineError> {
    // `ort` panics on types that it has no name for, such as a sequence of sequences.
    let failed = |reason: ort::Error| load_error(model, &reason);
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| -> Result<Session, EngineError> {
        let mut builder = builder(threads, provider, options).map_err(failed)?;
        if is_ort(model) {
            // By itself it goes by the file's name.
            let told = builder.with_config_entry("session.load_model_format", "ORT");
            builder = told.map_err(|reason| failed(reason.into()))?;
        }
        for library in &options.custom_ops {
            builder = register(builder, library)?;
        }
        builder.commit_from_file(model).map_err(failed)
    }));
    match opened {
        Ok(opened) => opened,
        Err(_) => {
            let reason = "an input or output is of a type that can't be served".into();
            Err(EngineError::Load { path: model.into(), reason })
        }
    }
}

/// Makes the operators of a library known to the session.
fn register(builder: SessionBuilder, library: &Path) -> Result<SessionBuilder, EngineError> {
    let refused = |reason: String| EngineError::CustomOps { path: library.into(), reason };
    if !library.is_file() {
        return Err(refused("there is no such file".into()));
    }
    // The loader looks a relative path up in its own search path, which nobody means here.
    let path = std::path::absolute(library).map_err(|error| refused(error.to_string()))?;
    let registered = builder.with_operator_library(path).map_err(ort::Error::from);
    registered.map_err(|reason: ort::Error| refused(message::clean(reason.message())))
}

/// Whether the file is in ONNX Runtime's own format. One that can't be read is said to be by whoever opens it.
fn is_ort(model: &Path) -> bool {
    let mut head = [0; 8];
    std::fs::File::open(model).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head.ends_with(b"ORTM")
}

fn builder(threads: usize, provider: Provider, options: &LoadOptions) -> ort::Result<SessionBuilder> {
    let environment = library::environment().map_err(|error| ort::Error::new(error.to_string()))?;
    let level = match options.optimize {
        // What this machine's CPU can do may be used in full: nothing of it is saved. A graph that was optimised
        // before goes through the same passes, finds little to do, and gains the layouts that were left out then.
        true => GraphOptimizationLevel::All,
        false => GraphOptimizationLevel::Disable,
    };
    let mut builder = Session::builder(environment)?
        .with_optimization_level(level)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // From one operator to the next a thread spins: waking it up again takes longer than most operators do, and a
        // lone run of a transformer takes a fifth less time. Between runs it sleeps, so that an idle service costs nothing.
        .with_intra_op_spinning(true)?
        .with_config_entry("session.intra_op.spin_duration_us", LONGEST_SPIN)?
        .with_config_entry("session.force_spinning_stop", "1")?
        .with_inter_op_spinning(false)?
        // A plan of memory is kept for each shape that ever came, for good: tens of kilobytes each.
        .with_memory_pattern(options.fixed_shapes)?;
    let registrations = provider.registrations();
    if !registrations.is_empty() {
        let (key, value) = assignment::RECORD;
        builder = builder.with_config_entry(key, value)?.with_execution_providers(registrations)?;
    }
    Ok(builder)
}

pub(super) fn load_error(path: &Path, reason: &ort::Error) -> EngineError {
    let said = message::clean(reason.message());
    let reason = match message::advice(&said) {
        Some(advice) => format!("{said}: {advice}"),
        None => said,
    };
    EngineError::Load { path: path.into(), reason }
}
