//! The one place that touches ONNX Runtime: a library opened, a model loaded, values run through it.
//!
//! [`init`] opens the library that the settings name, [`Engine::load`] makes a pool of sessions, [`Engine::run`] takes
//! values in and gives values out. What a request looked like on the wire and how requests are joined is not known here.

mod convert;
mod empty;
mod library;
mod message;
mod native;
mod telemetry;
mod types;

use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

pub use library::init;
pub use telemetry::turn_off_telemetry;

use crate::error::Error;
use crate::settings::Provider;
use crate::signature::{ModelSignature, ValueSpec, ValueType};
use crate::tensor::Value;

/// Why ONNX Runtime or a model can't be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no file where the library should be.
    #[error("there is no ONNX Runtime library at `{}`", path.display())]
    MissingLibrary {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file can't be opened as a shared library, or isn't ONNX Runtime.
    #[error("`{}` is not an ONNX Runtime library: {reason}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The library is of a release before the oldest that is accepted.
    #[error("ONNX Runtime {found} at `{}` is too old: at least 1.{} is needed", path.display(), ort::MINOR_VERSION)]
    LibraryTooOld {
        /// The file.
        path: PathBuf,
        /// The version that it says.
        found: String,
    },
    /// A process can open one ONNX Runtime, and another is open already.
    #[error("ONNX Runtime at `{}` can't be opened beside the one at `{}`", asked.display(), open.display())]
    OtherLibraryOpen {
        /// The library in use.
        open: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// ONNX Runtime opened but didn't start.
    #[error("ONNX Runtime didn't start: {reason}")]
    Start {
        /// What it said.
        reason: String,
    },
    /// [`init`] hasn't been called.
    #[error("ONNX Runtime isn't open yet")]
    NotOpen,
    /// There is no model file.
    #[error("there is no model at `{}`", path.display())]
    MissingModel {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime can't load `{}`: {reason}", path.display())]
    Load {
        /// The model.
        path: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// An input or output has a type that no request or answer can carry.
    #[error("the model's tensor `{name}` is of type {value_type}, which can't be served")]
    UnservedType {
        /// The tensor.
        name: String,
        /// Its type.
        value_type: String,
    },
    /// The signature is not this model's.
    #[error("the signature doesn't fit the model: {reason}")]
    Signature {
        /// The tensor and what is wrong about it.
        reason: String,
    },
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads in all, at least 1: shared out among the sessions.
    pub threads: usize,
    /// Sessions that run side by side, at least 1.
    pub instances: usize,
    /// Execution provider.
    pub provider: Provider,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { threads: 1, instances: 1, provider: Provider::Cpu }
    }
}

/// A loaded model: sessions that many threads may ask to run.
pub struct Engine {
    sessions: Vec<Mutex<Session>>,
    /// Where the next caller that finds every session taken lines up.
    turn: AtomicUsize,
    inputs: Ports,
    outputs: Ports,
}

/// Inputs or outputs in the order in which values come and go.
struct Ports {
    specs: Vec<ValueSpec>,
    names: Vec<CString>,
}

impl Ports {
    fn new(specs: Vec<ValueSpec>) -> Result<Ports, EngineError> {
        let names = specs
            .iter()
            .map(|spec| {
                CString::new(spec.name.as_str()).map_err(|_| EngineError::Signature {
                    reason: format!("the name {:?} has a zero byte in it", spec.name),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Ports { specs, names })
    }
}

impl Engine {
    /// Loads the model at `model` once for each instance. External data is found relative to it.
    pub fn load(model: &Path, options: &LoadOptions) -> Result<Engine, EngineError> {
        if !model.is_file() {
            return Err(EngineError::MissingModel { path: model.into() });
        }
        let instances = options.instances.max(1);
        let threads = (options.threads / instances).max(1);
        let sessions = (0..instances).map(|_| open_session(model, threads)).collect::<Result<Vec<_>, _>>()?;
        let inputs = types::inputs(&sessions[0]).map_err(|reason| load_error(model, &reason))?;
        let outputs = types::outputs(&sessions[0]).map_err(|reason| load_error(model, &reason))?;
        for spec in inputs.iter().chain(&outputs) {
            if !types::served(&spec.value_type) {
                let (name, value_type) = (spec.name.clone(), spec.value_type.to_string());
                return Err(EngineError::UnservedType { name, value_type });
            }
        }
        Ok(Engine {
            sessions: sessions.into_iter().map(Mutex::new).collect(),
            turn: AtomicUsize::new(0),
            inputs: Ports::new(inputs)?,
            outputs: Ports::new(outputs)?,
        })
    }

    /// What the model takes, as ONNX Runtime reports it, or in the signature's order once bound.
    pub fn inputs(&self) -> &[ValueSpec] {
        &self.inputs.specs
    }

    /// What the model gives, as ONNX Runtime reports it, or in the signature's order once bound.
    pub fn outputs(&self) -> &[ValueSpec] {
        &self.outputs.specs
    }

    /// Sessions that run side by side.
    pub fn instances(&self) -> usize {
        self.sessions.len()
    }

    /// Makes values come and go in the order of `signature`, and outputs that it leaves out aren't computed.
    pub fn bind(self, signature: &ModelSignature) -> Result<Engine, EngineError> {
        let mismatch = |reason: String| Err(EngineError::Signature { reason });
        for (kind, wanted, there) in
            [("input", &signature.inputs, self.inputs()), ("output", &signature.outputs, self.outputs())]
        {
            for spec in wanted {
                match there.iter().find(|other| other.name == spec.name) {
                    None => return mismatch(format!("the model has no {kind} `{}`", spec.name)),
                    Some(other) if !types::agree(&spec.value_type, &other.value_type) => {
                        let (name, says, is) = (&spec.name, &spec.value_type, &other.value_type);
                        return mismatch(format!("{kind} `{name}` is {is} in the model and {says} in the signature"));
                    }
                    Some(_) => {}
                }
            }
        }
        let optional = |spec: &ValueSpec| matches!(spec.value_type, ValueType::Optional { .. });
        let given = |spec: &ValueSpec| signature.inputs.iter().any(|other| other.name == spec.name);
        if let Some(spec) = self.inputs().iter().find(|spec| !optional(spec) && !given(spec)) {
            return mismatch(format!("the model needs an input `{}` that the signature leaves out", spec.name));
        }
        let (inputs, outputs) = (Ports::new(signature.inputs.clone())?, Ports::new(signature.outputs.clone())?);
        Ok(Engine { inputs, outputs, ..self })
    }

    /// Runs the model: one value an input in the order of [`Engine::inputs`], and one an output in that of
    /// [`Engine::outputs`]. Blocks until a session is free and the run is over.
    ///
    /// What the model can't do with these values is [`Error::Refused`].
    pub fn run(&self, inputs: Vec<Value>) -> Result<Vec<Value>, Error> {
        let (wanted, given) = (self.inputs.specs.len(), inputs.len());
        if wanted != given {
            return Err(Error::Internal(format!("{given} values were handed to a model of {wanted} inputs")));
        }
        let (mut names, mut values) = (Vec::with_capacity(given), Vec::with_capacity(given));
        for (k, value) in inputs.iter().enumerate() {
            let spec = &self.inputs.specs[k];
            // ONNX Runtime is told of an absent optional by not being told of it.
            if let Some(native) = convert::to_native(value, &spec.value_type).map_err(|e| refused(&spec.name, &e))? {
                names.push(self.inputs.names[k].as_c_str());
                values.push(native);
            }
        }
        let session = self.checkout();
        let outputs = native::run(&session, &names, &values, &self.outputs.names)
            .map_err(|e| Error::Refused(message::clean(e.message())))?;
        drop(session);
        let specs = self.outputs.specs.iter();
        outputs.into_iter().zip(specs).map(|(out, spec)| convert::from_native(out, &spec.name)).collect()
    }

    /// Takes a free session, or lines up for one.
    fn checkout(&self) -> MutexGuard<'_, Session> {
        for session in &self.sessions {
            match session.try_lock() {
                Ok(guard) => return guard,
                // A session holds no state of ours that a panic could leave half written.
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.sessions.len();
        self.sessions[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(name: &str, reason: &ort::Error) -> Error {
    Error::Refused(format!("`{name}`: {}", message::clean(reason.message())))
}

fn load_error(path: &Path, reason: &ort::Error) -> EngineError {
    EngineError::Load { path: path.into(), reason: message::clean(reason.message()) }
}

fn open_session(model: &Path, threads: usize) -> Result<Session, EngineError> {
    let environment = library::environment()?;
    // `ort` panics on types that it has no name for, such as a sequence of sequences.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        Session::builder(environment)?
            // Nothing optimised is saved, so that what this machine's CPU can do may be used in full.
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Spinning burns every core for a few percent of latency.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .commit_from_file(model)
    }));
    match opened {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(reason)) => Err(load_error(model, &reason)),
        Err(_) => {
            let reason = "an input or output is of a type that can't be served".into();
            Err(EngineError::Load { path: model.into(), reason })
        }
    }
}
