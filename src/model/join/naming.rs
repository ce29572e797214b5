//! What the things of each step are called in the joined graph.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::Dim;

use super::rewrite::Names;
use super::wiring::{Ends, Faces};
use super::{JoinRequest, JoinStep, Wire, dims, step_folder};
use crate::model::onnx::{Function, Model};

/// What the things of each step are called. A prefix is none that a name of the whole begins with.
pub(super) fn names<'m>(
    request: &'m JoinRequest<'_>,
    models: &[&'m Model<'_>],
    faces: &'m [Faces],
    tensors: &BTreeMap<Wire, Ends<'m>>,
) -> Vec<Names<'m>> {
    let specs = faces.iter().flat_map(|faces| faces.inputs.values().chain(faces.outputs.values()));
    let dims = specs.filter_map(|spec| spec.tensor()?.1.dims()).flatten().filter_map(|dim| match dim {
        Dim::Symbolic(name) => Some(name),
        _ => None,
    });
    let taken = request.inputs.iter().chain(&request.outputs).chain(dims);
    let longest = taken.filter_map(|name| name.strip_prefix(ROOT)).map(|rest| leading(rest) + 1).max().unwrap_or(0);
    let root = format!("{ROOT}{}", "_".repeat(longest));
    let whole: BTreeSet<&String> = request.inputs.iter().chain(&request.outputs).collect();
    let prefix = |(at, step): (usize, &JoinStep<'_>)| format!("{root}{at}.{}/", step.name);
    let prefixes: Vec<String> = request.steps.iter().enumerate().map(prefix).collect();
    let dims = dims::names(request, tensors, &prefixes);
    let wire = |wire: &Wire| {
        let of_whole = wire.scope == 0 && whole.contains(&wire.name);
        if of_whole { wire.name.clone() } else { format!("{root}s.{}/{}", wire.scope, wire.name) }
    };
    let all = request.steps.iter().zip(models).zip(dims).zip(prefixes).enumerate();
    all.map(|(at, (((step, model), dims), prefix))| {
        // An output that is an input or a weight gets a node of its own, and its name is theirs.
        let made: BTreeSet<&str> = produced(model);
        let outputs = step.outputs.iter().filter(|(name, _)| made.contains(name.as_str()));
        let values = outputs.chain(&step.inputs).map(|(name, to)| (name.as_str(), wire(to))).collect();
        let functions = model.functions.iter().map(Function::key).collect();
        Names { prefix, values, dims, functions, folder: step_folder(at), passed: passed(step, &made, wire) }
    })
    .collect()
}

/// What names begin with that are not the whole's; `_` follows where one of the whole begins so too.
const ROOT: &str = "step";

/// How many `_` a text begins with.
fn leading(text: &str) -> usize {
    text.len() - text.trim_start_matches('_').len()
}

/// The values that a graph's nodes make.
fn produced<'a>(model: &Model<'a>) -> BTreeSet<&'a str> {
    model.graph.nodes.iter().flat_map(|node| node.outputs.iter().copied()).collect()
}

/// The outputs that no node makes, and the tensors that they become.
fn passed<'r>(step: &'r JoinStep<'_>, made: &BTreeSet<&str>, wire: impl Fn(&Wire) -> String) -> Vec<(&'r str, String)> {
    let passed = step.outputs.iter().filter(|(name, _)| !made.contains(name.as_str()));
    passed.map(|(name, to)| (name.as_str(), wire(to))).collect()
}
