//! The one place that touches ONNX Runtime: a library opened, a model loaded, values run through it.
//!
//! [`init`] opens the library that the settings name, [`Engine::load`] makes a pool of sessions, [`Engine::run`] takes
//! values in and gives values out. What a request looked like on the wire and how requests are joined is not known here.

mod arena;
mod assignment;
mod convert;
mod empty;
mod error;
mod library;
mod message;
mod native;
mod provider;
mod rewrite;
mod session;
mod telemetry;
pub mod tensorrt;
mod types;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use ort::session::Session;

pub use arena::Memory;
pub use error::EngineError;
pub use library::init;
pub use provider::{Provider, Providers, Refusal, Share, Taken};
pub use rewrite::{Extent, accelerators, rewrite};
pub use telemetry::turn_off_telemetry;

use self::arena::Watermark;
use self::session::load_error;
use crate::error::Error;
use crate::signature::{ModelSignature, ValueSpec, ValueType};
use crate::tensor::{Value, elements};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads in all, at least 1: shared out among the instances.
    pub threads: usize,
    /// Runs that go on side by side, at least 1.
    pub instances: usize,
    /// Which execution providers may run the model.
    pub providers: Providers,
    /// Whether another provider than those is an error.
    pub require: bool,
    /// Whether ONNX Runtime may rewrite the graph.
    pub optimize: bool,
    /// Whether every request has the same shapes: memory is then planned once.
    pub fixed_shapes: bool,
    /// Libraries of custom operators: native code, which is loaded and run.
    pub custom_ops: Vec<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        let providers = Providers::Named(vec![Provider::Cpu]);
        LoadOptions {
            threads: 1,
            instances: 1,
            providers,
            require: false,
            optimize: true,
            fixed_shapes: false,
            custom_ops: Vec::new(),
        }
    }
}

/// A loaded model: sessions that many threads may ask to run.
pub struct Engine {
    sessions: Vec<Arc<Session>>,
    /// The right to run, once for each instance.
    slots: Vec<Mutex<Slot>>,
    /// Where the next caller that finds every slot taken lines up.
    turn: AtomicUsize,
    /// Runs that are wanted side by side: as many as there are slots, or fewer.
    instances: usize,
    taken: Taken,
    inputs: Ports,
    outputs: Ports,
}

/// The right to run a session, which one caller has at a time.
struct Slot {
    /// Other slots may have the same: ONNX Runtime lets several threads run one session.
    session: Arc<Session>,
    watermark: Watermark,
}

/// Inputs or outputs in the order in which values come and go.
struct Ports {
    specs: Vec<ValueSpec>,
    names: native::Names,
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
        Ok(Ports { specs, names: native::Names::new(names) })
    }
}

impl Engine {
    /// Loads the model at `model` once for each instance. External data is found relative to it.
    pub fn load(model: &Path, options: &LoadOptions) -> Result<Engine, EngineError> {
        if !model.is_file() {
            return Err(EngineError::MissingModel { path: model.into() });
        }
        let (sessions, taken) = session::open(model, options)?;
        let inputs = types::inputs(&sessions[0]).map_err(|reason| load_error(model, &reason))?;
        let outputs = types::outputs(&sessions[0]).map_err(|reason| load_error(model, &reason))?;
        for spec in inputs.iter().chain(&outputs) {
            if !types::served(&spec.value_type) {
                let (name, value_type) = (spec.name.clone(), spec.value_type.to_string());
                return Err(EngineError::UnservedType { name, value_type });
            }
        }
        let instances = options.instances.max(1);
        Ok(Engine {
            slots: (0..instances).map(|k| Mutex::new(Slot::new(&sessions[k % sessions.len()]))).collect(),
            sessions,
            turn: AtomicUsize::new(0),
            instances,
            taken,
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

    /// Runs that should go on side by side.
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// Sessions of ONNX Runtime. Fewer than instances where those share one; more where callers have their own.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The same engine, of which only so many runs should go on side by side. More of them still may: callers that have
    /// the model run where they are don't wait for one another.
    pub fn with_instances(self, instances: usize) -> Engine {
        Engine { instances: instances.clamp(1, self.slots.len()), ..self }
    }

    /// What runs the model, as ONNX Runtime says.
    pub fn provider(&self) -> &Taken {
        &self.taken
    }

    /// What the sessions' arenas hold: asked of ONNX Runtime, in a few microseconds, while runs go on.
    pub fn memory(&self) -> Memory {
        let each = self.sessions.iter().map(|session| arena::stats(session).unwrap_or_default());
        each.fold(Memory::default(), std::ops::Add::add)
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
        let mut values = Vec::with_capacity(given);
        for (value, spec) in inputs.iter().zip(&self.inputs.specs) {
            // ONNX Runtime is told of an absent optional by not being told of it.
            values.push(convert::to_native(value, &spec.value_type).map_err(|e| refused(&spec.name, &e))?);
        }
        let size = elements(&inputs);
        let outputs = native::given(&self.inputs.names, values, |given| {
            let mut slot = self.checkout();
            let shrink = slot.watermark.runs(size);
            native::run(&slot.session, &given, &self.outputs.names, shrink)
        });
        let outputs = outputs.map_err(|e| Error::Refused(message::clean(e.message())))?;
        let specs = self.outputs.specs.iter();
        outputs.into_iter().zip(specs).map(|(out, spec)| convert::from_native(out, &spec.name)).collect()
    }

    /// Takes a free slot, or lines up for one.
    fn checkout(&self) -> MutexGuard<'_, Slot> {
        for slot in &self.slots {
            match slot.try_lock() {
                Ok(guard) => return guard,
                // A slot holds nothing that a panic could leave half written.
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        self.slots[turn].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn new(session: &Arc<Session>) -> Slot {
        Slot { session: session.clone(), watermark: Watermark::default() }
    }
}

fn refused(name: &str, reason: &ort::Error) -> Error {
    Error::Refused(format!("`{name}`: {}", message::clean(reason.message())))
}
