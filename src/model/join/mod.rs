//! Several ONNX models, and which tensor goes from where to where → one ONNX model.
//!
//! Pure: bytes in, bytes out. Each step's nodes, weights, subgraphs and functions come under names of its own
//! ([`rewrite`]); the tensors between steps and those of the whole get one name each ([`wiring`], [`dims`]). The same
//! request gives the same bytes. Weights in other files stay there: their locations move into a folder for each step,
//! [`step_folder`].

mod dims;
mod error;
mod face;
mod naming;
mod opsets;
mod rewrite;
mod rope;
#[cfg(test)]
mod tests;
mod whole;
mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

pub use error::JoinError;
use nimify_runtime::signature::{ValueSpec, ValueType};
use rewrite::Names;
use rope::Rope;
use whole::{Part, Whole};
use wiring::{Ends, Faces};

use super::contents::{given, outputs, values};
use super::fault::Fault;
use super::graph::Node;
use super::limits::Limits;
use super::onnx::{Bounds, Model, check_functions, walk};
use super::opset;
use super::wire::Budget;

/// Models to be joined.
#[derive(Debug)]
pub struct JoinRequest<'a> {
    /// What the graph is called.
    pub name: String,
    /// The models, in any order.
    pub steps: Vec<JoinStep<'a>>,
    /// The inputs of the whole, in order: tensors of scope 0.
    pub inputs: Vec<String>,
    /// Its outputs.
    pub outputs: Vec<String>,
    /// What the model says of itself, beside what the steps say.
    pub metadata: BTreeMap<String, String>,
}

/// One model of several.
#[derive(Debug)]
pub struct JoinStep<'a> {
    /// What messages and names call it.
    pub name: String,
    /// The model.
    pub bytes: &'a [u8],
    /// The tensors that its inputs are, by input.
    pub inputs: BTreeMap<String, Wire>,
    /// The tensors that its outputs become, by output.
    pub outputs: BTreeMap<String, Wire>,
}

/// A tensor that goes from one step to others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wire {
    /// Where the name counts: 0 for the whole, others for parts that have steps of their own.
    pub scope: usize,
    /// Its name there.
    pub name: String,
}

/// The oldest format in which weights need not be inputs too, and those that are can be given: a joined model has no older.
const OLDEST_IR: i64 = 4;

/// Most steps.
pub const MOST_STEPS: usize = 100;

/// The folder, beside the joined model, for the files of the request's step at this place.
pub fn step_folder(step: usize) -> String {
    format!("step{step}")
}

/// Joins the models, and writes what comes of it. Gives the inputs and outputs of the whole.
///
/// # Errors
/// What doesn't fit, by the names of steps and tensors. Nothing is written then, unless writing itself fails.
pub fn join(request: &JoinRequest<'_>, limits: &Limits, to: &mut dyn Write) -> Result<(), JoinError> {
    let count = request.steps.len();
    if !(1..=MOST_STEPS).contains(&count) {
        return Err(JoinError::Count { count, most: MOST_STEPS });
    }
    wiring::check_names(request)?;
    let (read, write) = (Budget::new(limits), Budget::new(limits));
    let (parsed, of) = parsed(request, &read, limits)?;
    let models: Vec<&Model<'_>> = of.iter().map(|at| &parsed[*at].model).collect();
    let used: Vec<_> = of.iter().map(|at| &parsed[*at].used).collect();
    let mut faces = Vec::new();
    for (step, model) in request.steps.iter().zip(&models) {
        let own = self::faces(model, limits).map_err(fault(step))?;
        wiring::check_maps(step, &own)?;
        faces.push(own);
    }
    let order = wiring::order(request)?;
    let tensors = wiring::tensors(request, &faces);
    wiring::check_types(request, &tensors)?;
    let opsets = opsets::agreed(request, &models, &used)?;
    let names = naming::names(request, &models, &faces, &tensors);
    check_passed(request, &faces, &names, &opsets)?;

    let mut whole = Whole { limits, graph: Rope::default(), functions: Rope::default() };
    for &at in &order {
        let step = &request.steps[at];
        let part = Part { step, model: models[at], names: &names[at], budget: &write };
        whole.add(&part).map_err(fault(step))?;
        whole::check_size(whole.graph.length() + whole.functions.length(), limits)?;
    }
    whole.graph.text(2, &request.name);
    add_values(request, &tensors, &names, &mut whole.graph);
    whole::write(request, &models, whole, opsets, limits, to)
}

/// Says what the tensors of the whole are, and those between steps.
fn add_values(
    request: &JoinRequest<'_>,
    tensors: &BTreeMap<Wire, Ends<'_>>,
    names: &[Names<'_>],
    graph: &mut Rope<'_>,
) {
    let of = |name: &String| tensors.get(&wiring::whole(name));
    for (name, ends) in request.inputs.iter().filter_map(|name| Some((name, of(name)?))) {
        graph.message(11, face::info(name, ends.readers.iter(), names));
    }
    for (name, ends) in request.outputs.iter().filter_map(|name| Some((name, of(name)?))) {
        // Without a writer it is an input of the whole too.
        let ends = if ends.writer.is_some() { ends.writer.as_slice() } else { &ends.readers };
        graph.message(12, face::info(name, ends.iter(), names));
    }
    let own: BTreeSet<Wire> = request.inputs.iter().chain(&request.outputs).map(|name| wiring::whole(name)).collect();
    for (_, ends) in tensors.iter().filter(|(wire, _)| !own.contains(wire)) {
        if let Some((reader, spec)) = ends.readers.first() {
            graph.message(13, face::info(&names[*reader].value(&spec.name), ends.all(), names));
        }
    }
}

/// A fault in a step's file, as this stage's error.
fn fault(step: &JoinStep<'_>) -> impl FnOnce(Fault) -> JoinError {
    let step = step.name.clone();
    move |fault| JoinError::Model { step, fault }
}

/// A file that is read.
struct Parsed<'a> {
    model: Model<'a>,
    /// The domains whose operators it uses.
    used: BTreeSet<&'a str>,
}

/// The models, each once, and which of them each step is. What may be kept of all together is what may be of one.
fn parsed<'a>(
    request: &JoinRequest<'a>,
    budget: &'a Budget,
    limits: &Limits,
) -> Result<(Vec<Parsed<'a>>, Vec<usize>), JoinError> {
    let bounds = Bounds::new(limits);
    let (mut parsed, mut of) = (Vec::new(), Vec::new());
    let mut known: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for step in &request.steps {
        let place = (step.bytes.as_ptr().addr(), step.bytes.len());
        let at = *known.entry(place).or_insert(parsed.len());
        if at == parsed.len() {
            let model = read(step, budget, &bounds, limits)?;
            let used = opsets::used(step.bytes, &model, budget, limits).map_err(fault(step))?;
            parsed.push(Parsed { model, used });
        }
        of.push(at);
    }
    Ok((parsed, of))
}

fn read<'a>(
    step: &JoinStep<'a>,
    budget: &'a Budget,
    bounds: &Bounds<'_>,
    limits: &Limits,
) -> Result<Model<'a>, JoinError> {
    let wrong = |why| JoinError::Step { step: step.name.clone(), why };
    let model = walk(step.bytes, budget, bounds).map_err(fault(step))?;
    opset::check(model.ir_version, &model.opsets).map_err(fault(step))?;
    check_functions(&model, limits).map_err(fault(step))?;
    let mut holds_engine = false;
    let mut look = |node: &Node<'_>| holds_engine |= node.op == "EPContext";
    model.graph.each_node(&mut look);
    model.functions.iter().flat_map(|function| &function.nodes).for_each(|node| node.each_node(&mut look));
    if holds_engine {
        return Err(wrong("holds a compiled engine, which is the only node that its graph may have"));
    }
    Ok(model)
}

fn faces(model: &Model<'_>, limits: &Limits) -> Result<Faces, Fault> {
    let given = given(&model.graph);
    // In old files weights are inputs too, and can't be given for all that.
    let is_input = |name: &str| model.ir_version >= OLDEST_IR || !given.contains(name);
    let inputs = model.graph.inputs.iter().filter(|info| is_input(info.name));
    let inputs = values("input", inputs, limits)?;
    let asked = inputs.iter().map(|spec| spec.name.clone()).filter(|name| !given.contains(name.as_str())).collect();
    let by_name = |specs: Vec<ValueSpec>| specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect();
    Ok(Faces { inputs: by_name(inputs), asked, outputs: by_name(outputs(&model.graph, limits)?) })
}

/// Refuses outputs that are inputs and that no node can pass on.
fn check_passed(
    request: &JoinRequest<'_>,
    faces: &[Faces],
    names: &[Names<'_>],
    opsets: &BTreeMap<String, i64>,
) -> Result<(), JoinError> {
    let version = opsets.get(opset::STANDARD).copied().unwrap_or(whole::IDENTITY_OPSET);
    for ((step, faces), names) in request.steps.iter().zip(faces).zip(names) {
        let mut passed = names.passed.iter().filter_map(|(name, _)| faces.outputs.get(*name));
        let is_stuck = |spec: &&ValueSpec| passed_since(&spec.value_type).is_none_or(|since| since > version);
        if let Some(spec) = passed.find(is_stuck) {
            let (step, name, value_type) = (step.name.clone(), spec.name.clone(), spec.value_type.to_string());
            return Err(JoinError::Passed { step, name, value_type, version });
        }
    }
    Ok(())
}

/// The version of the standard operators since which `Identity` passes on values of this type.
fn passed_since(value_type: &ValueType) -> Option<i64> {
    match value_type {
        ValueType::Tensor { .. } => Some(1),
        ValueType::Sequence { element } => matches!(**element, ValueType::Tensor { .. }).then_some(14),
        ValueType::Optional { element } => passed_since(element).map(|_| 16),
        ValueType::SparseTensor { .. } | ValueType::Map { .. } => None,
    }
}
