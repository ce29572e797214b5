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
mod rewrite;
mod rope;
#[cfg(test)]
mod tests;
mod whole;
mod wiring;

use std::collections::BTreeMap;
use std::io::Write;

pub use error::JoinError;
use rope::Rope;
use whole::{Part, Whole};
use wiring::Faces;

use super::contents::{given, outputs, values};
use super::fault::Fault;
use super::graph::Node;
use super::limits::Limits;
use super::onnx::{Model, check_functions, walk};
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
    let of = |step: &JoinStep<'_>| {
        let step = step.name.clone();
        move |fault| JoinError::Model { step, fault }
    };
    let budgets: Vec<Budget> = request.steps.iter().map(|_| Budget::new(limits)).collect();
    let (mut models, mut faces) = (Vec::new(), Vec::new());
    for (step, budget) in request.steps.iter().zip(&budgets) {
        let model = read(step, budget, limits)?;
        let own = self::faces(&model, limits).map_err(of(step))?;
        wiring::check_maps(step, &own)?;
        models.push(model);
        faces.push(own);
    }
    let order = wiring::order(request)?;
    let tensors = wiring::tensors(request, &faces);
    wiring::check_types(request, &tensors)?;
    let opsets = opsets(request, &models)?;
    let names = naming::names(request, &models, &faces, &tensors);

    let budgets: Vec<Budget> = request.steps.iter().map(|_| Budget::new(limits)).collect();
    let mut whole = Whole { limits, graph: Rope::default(), functions: Rope::default() };
    for &at in &order {
        let step = &request.steps[at];
        let part = Part { step, model: &models[at], names: &names[at], budget: &budgets[at] };
        whole.add(&part).map_err(of(step))?;
    }
    whole.graph.text(2, &request.name);
    for name in &request.inputs {
        let wire = Wire { scope: 0, name: name.clone() };
        if let Some(ends) = tensors.get(&wire) {
            whole.graph.message(11, face::input(name, ends, &models, &names, limits).map_err(of(&request.steps[0]))?);
        }
    }
    for name in &request.outputs {
        let wire = Wire { scope: 0, name: name.clone() };
        if let Some((at, spec)) = tensors.get(&wire).and_then(|ends| ends.writer) {
            let outputs = &models[at].graph.outputs;
            let own = outputs.iter().find(|info| info.name == spec.name).and_then(|info| info.value_type);
            whole.graph.message(12, face::info(name, own, &names[at], limits).map_err(of(&request.steps[at]))?);
        }
    }
    whole::write(request, &models, whole, opsets, limits, to)
}

fn read<'a>(step: &JoinStep<'a>, budget: &'a Budget, limits: &Limits) -> Result<Model<'a>, JoinError> {
    let fault = |fault| JoinError::Model { step: step.name.clone(), fault };
    let wrong = |why| JoinError::Step { step: step.name.clone(), why };
    let model = walk(step.bytes, budget, limits).map_err(fault)?;
    opset::check(model.ir_version, &model.opsets).map_err(fault)?;
    check_functions(&model, limits).map_err(fault)?;
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
    Ok(Faces { inputs, asked, outputs: outputs(&model.graph, limits)? })
}

/// The version of each domain's operators, which has to be one.
fn opsets(request: &JoinRequest<'_>, models: &[Model<'_>]) -> Result<BTreeMap<String, i64>, JoinError> {
    let mut all: BTreeMap<&String, (i64, usize)> = BTreeMap::new();
    for (at, model) in models.iter().enumerate() {
        for (domain, version) in &model.opsets {
            let (known, first) = *all.entry(domain).or_insert((*version, at));
            if known != *version {
                return Err(JoinError::Opset {
                    domain: domain.clone(),
                    first: request.steps[first].name.clone(),
                    first_version: known,
                    second: request.steps[at].name.clone(),
                    second_version: *version,
                });
            }
        }
    }
    Ok(all.into_iter().map(|(domain, (version, _))| (domain.clone(), version)).collect())
}
