//! The model's part of a start: ONNX Runtime opened, the model loaded, warmed up, and given to a scheduler.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{StartError, digests};
use crate::app::App;
use crate::batching::{Padding, SHORT_RUN, Scheduler};
use crate::cgroup;
use crate::codec::predict;
use crate::engine::{self, Engine, LoadOptions, Provider, Providers, Taken};
use crate::error::Error;
use crate::metrics::{ArenaBytes, ModelInfo};
use crate::progress::LoadPhase;
use crate::settings::Optimize;
use crate::signature::ValueSpec;
use crate::tensor::Value;

/// Loads on a thread of its own, so that health is answered meanwhile.
pub(super) fn start(app: Arc<App>) -> oneshot::Receiver<Result<Scheduler, StartError>> {
    let (done, loaded) = oneshot::channel();
    tokio::task::spawn_blocking(move || drop(done.send(load(&app))));
    loaded
}

fn load(app: &App) -> Result<Scheduler, StartError> {
    let begun = Instant::now();
    if let Ok(file) = std::fs::metadata(&app.settings.model.path) {
        app.loading.model_is(file.len());
    }
    let settings = &app.settings.engine;
    let library = settings.onnxruntime.clone().or_else(beside_executable).ok_or(StartError::NoOnnxRuntime)?;
    let library = std::path::absolute(&library).unwrap_or(library);
    let version = engine::init(&library).map_err(StartError::OnnxRuntime)?;
    if settings.verify_model {
        verify(app)?;
    }
    let threads = settings.threads.unwrap_or_else(cgroup::cpu_quota);
    let misfits = app.settings.model.tensorrt.as_ref().map(|engine| engine::tensorrt::misfits(engine, &library));
    let misfits = misfits.unwrap_or_default();
    let engine = choose(app, threads).map_err(|error| because(&misfits, error))?;
    // It was built to bear them, or they come to light with the first request.
    misfits.iter().for_each(|misfit| tracing::warn!(misfit, "the engine was loaded in spite of a difference"));
    let engine = Arc::new(engine);
    watch(app, &engine, &version);
    told(&settings.provider, engine.provider());
    tracing::info!(
        onnxruntime = version,
        provider = engine.provider().provider.word(),
        threads,
        instances = engine.instances(),
        sessions = engine.sessions(),
        arena_bytes = engine.memory().held,
        took_ms = begun.elapsed().as_millis() as u64,
        "model loaded"
    );
    let padding = padding(app, &engine);
    app.loading.enter(LoadPhase::Done);
    Ok(Scheduler::start_with(engine, &app.signature, &app.settings.batching, padding, app.metrics.clone()))
}

/// What failed, with what explains it.
fn because(misfits: &[String], error: StartError) -> StartError {
    match error {
        StartError::Model(source) if !misfits.is_empty() => StartError::Engine { misfits: misfits.join("; "), source },
        other => other,
    }
}

/// The image's own library: a model that is mounted beside it doesn't know what that is called.
fn beside_executable() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.join("lib");
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    names.into_iter().find(|path| path.to_string_lossy().contains("/libonnxruntime.so"))
}

/// Holds the model's files against their digests, before anything reads them for another purpose.
fn verify(app: &App) -> Result<(), StartError> {
    app.loading.enter(LoadPhase::VerifyModel);
    let begun = Instant::now();
    let bytes = digests::check(&app.settings.model)?;
    let took_ms = begun.elapsed().as_millis() as u64;
    tracing::info!(bytes, took_ms, "the model's files are those that the service was built with");
    Ok(())
}

/// Lets the metrics tell what runs the model, and the memory that this takes.
fn watch(app: &App, engine: &Arc<Engine>, onnxruntime: &str) {
    let (provider, instances) = (engine.provider().provider, engine.instances());
    app.metrics.loaded(ModelInfo { provider: provider.word().into(), onnxruntime: onnxruntime.into(), instances });
    let watched = engine.clone();
    app.metrics.watch_arena(move || {
        let memory = watched.memory();
        ArenaBytes { held: memory.held, used: memory.used, peak: memory.peak }
    });
    if matches!(provider, Provider::Cuda | Provider::TensorRt) {
        app.metrics.watch_gpus();
    }
}

/// How rows of different lengths are joined: `None` where the settings don't ask for it, or the model doesn't bear it.
fn padding(app: &App, engine: &Engine) -> Option<Padding> {
    let settings = &app.settings.batching.padding;
    if settings.is_off() {
        return None;
    }
    let proved = match sample(app) {
        None => Err("no sample was recorded to prove it with".into()),
        Some(inputs) => inputs
            .map_err(|error| format!("the recorded sample failed: {error}"))
            .and_then(|inputs| Padding::prove(engine, &app.signature, settings, &inputs)),
    };
    match proved {
        Ok(padding) => {
            tracing::info!("rows of different lengths gave the same answers alone and padded: they are joined");
            Some(padding)
        }
        Err(reason) => {
            tracing::warn!(reason, "padding is asked for and stays off");
            None
        }
    }
}

/// Says what runs the model where that is not simply what was asked for.
fn told(asked: &Providers, taken: &Taken) {
    for refusal in &taken.refused {
        let (provider, reason) = (refusal.provider.word(), &refusal.reason);
        // What `auto` looked for and didn't find was nobody's wish.
        match asked {
            Providers::Auto => tracing::info!(provider, reason, "an execution provider can't be had here"),
            Providers::Named(_) => {
                tracing::warn!(provider, reason, "an execution provider that was asked for can't be had")
            }
        }
    }
    if let Some(share) = taken.operators {
        let provider = taken.provider.word();
        tracing::info!(
            provider,
            operators = share.taken,
            of = share.of,
            "operators of the model that the provider runs"
        );
    }
}

/// Loads and warms up with as many instances as the settings say; `auto` tries one with all threads against one for
/// each thread, and keeps the one that answers more requests. A model whose runs are so short that they happen where
/// the request is gets a session for each thread in any case, so that these don't line up for one.
fn choose(app: &App, threads: usize) -> Result<Engine, StartError> {
    let open = |instances| {
        app.loading.enter(LoadPhase::LoadModel);
        let settings = &app.settings.engine;
        let options = LoadOptions {
            threads,
            instances,
            providers: settings.provider.clone(),
            require: settings.require,
            optimize: settings.optimize != Optimize::Never,
            fixed_shapes: app.signature.inputs.iter().all(ValueSpec::is_fixed),
            custom_ops: settings.custom_ops.clone(),
        };
        let engine = Engine::load(&app.settings.model.path, &options)
            .and_then(|engine| engine.bind(&app.signature))
            .map_err(StartError::Model)?;
        app.loading.enter(LoadPhase::WarmUp);
        warm_up(app, &engine);
        Ok(engine)
    };
    if let Some(instances) = app.settings.engine.instances {
        let engine = open(instances)?;
        let spread = instances < threads && is_quick(app, &engine);
        return if spread { Ok(open(threads)?.with_instances(instances)) } else { Ok(engine) };
    }
    let Some(Ok(sample)) = sample(app).filter(|_| threads > 1) else { return open(1) };
    let (one, many) = (open(1)?, open(threads)?);
    let (one_runs, many_runs) = (runs(&sample, &one, threads), runs(&sample, &many, threads));
    tracing::info!(one_instance = one_runs, an_instance_a_thread = many_runs, "instances measured");
    Ok(match many_runs > one_runs {
        true => many,
        false if is_quick(app, &one) => many.with_instances(1),
        false => one,
    })
}

/// The recorded sample as the model takes it, if there is one.
fn sample(app: &App) -> Option<Result<Vec<Value>, Error>> {
    let read = |sample| predict::decode(sample, &app.signature).and_then(|inputs| app.service.before(inputs));
    app.sample().map(read)
}

/// One run of the recorded sample, hooks included, so that the first request finds everything in place.
fn warm_up(app: &App, engine: &Engine) {
    let Some(inputs) = sample(app) else {
        tracing::info!("no sample was recorded: the first request warms the model up");
        return;
    };
    let warmed = inputs.and_then(|inputs| engine.run(inputs)).and_then(|outputs| app.service.after(outputs));
    if let Err(error) = warmed {
        tracing::warn!(%error, "the recorded sample failed: the first request warms the model up");
    }
}

/// Whether the model runs the sample in so short a time that it will run where the request is.
fn is_quick(app: &App, engine: &Engine) -> bool {
    let Some(Ok(sample)) = sample(app) else { return false };
    let run = || {
        let (inputs, begun) = (sample.clone(), Instant::now());
        engine.run(inputs).ok().map(|_| begun.elapsed())
    };
    // The quickest of a few: whatever else the machine does makes a run longer, and nothing makes it shorter.
    (0..3).filter_map(|_| run()).min().is_some_and(|quickest| quickest < SHORT_RUN)
}

/// How long `auto` measures each candidate.
const MEASURED: Duration = Duration::from_millis(150);

/// Runs of the sample that `threads` callers get done in [`MEASURED`].
fn runs(sample: &[Value], engine: &Engine, threads: usize) -> usize {
    let end = Instant::now() + MEASURED;
    let caller = || {
        let mut done = 0;
        while Instant::now() < end && engine.run(sample.to_vec()).is_ok() {
            done += 1;
        }
        done
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..threads).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap_or(0)).sum()
    })
}
