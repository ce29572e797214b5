//! Which tensor goes from where to where: the order of the steps, what can't be, and what dimensions are called.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{Dim, Shape, ValueSpec, ValueType};

use super::{JoinError, JoinRequest, JoinStep, Wire};

/// What a step's model takes and gives.
#[derive(Debug)]
pub(super) struct Faces {
    /// All of its graph's inputs by name, with those that an initializer gives.
    pub(super) inputs: BTreeMap<String, ValueSpec>,
    /// Which of them have to be given.
    pub(super) asked: BTreeSet<String>,
    /// Its outputs by name.
    pub(super) outputs: BTreeMap<String, ValueSpec>,
}

/// Refuses maps that don't fit the models.
pub(super) fn check_maps(step: &JoinStep<'_>, faces: &Faces) -> Result<(), JoinError> {
    let unknown = |what: &'static str, name: &String, specs: &BTreeMap<String, ValueSpec>| {
        let known: Vec<String> = specs.keys().take(20).map(|name| format!("`{name}`")).collect();
        JoinError::Unknown { step: step.name.clone(), what, name: name.clone(), known: known.join(", ") }
    };
    if let Some(name) = step.inputs.keys().find(|name| !faces.inputs.contains_key(*name)) {
        return Err(unknown("input", name, &faces.inputs));
    }
    if let Some(name) = step.outputs.keys().find(|name| !faces.outputs.contains_key(*name)) {
        return Err(unknown("output", name, &faces.outputs));
    }
    match faces.asked.iter().find(|name| !step.inputs.contains_key(*name)) {
        Some(name) => Err(JoinError::Unfed { step: step.name.clone(), name: name.clone() }),
        None => Ok(()),
    }
}

/// Refuses a name that the whole would have for two inputs or two outputs.
pub(super) fn check_names(request: &JoinRequest<'_>) -> Result<(), JoinError> {
    for (what, names) in [("inputs", &request.inputs), ("outputs", &request.outputs)] {
        let mut seen = BTreeSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(JoinError::Duplicate { what, name: name.clone() });
        }
    }
    Ok(())
}

/// The steps in an order in which each has what it takes, by their places in the request.
pub(super) fn order(request: &JoinRequest<'_>) -> Result<Vec<usize>, JoinError> {
    let inputs: BTreeSet<Wire> = request.inputs.iter().map(|name| whole(name)).collect();
    let writers = writers(request, &inputs)?;
    let mut waits: Vec<BTreeSet<usize>> = Vec::new();
    for step in &request.steps {
        let mut before = BTreeSet::new();
        for wire in step.inputs.values().filter(|wire| !inputs.contains(wire)) {
            let unwritten =
                || JoinError::Unwritten { tensor: wire.name.clone(), reader: format!("the step `{}`", step.name) };
            before.insert(*writers.get(wire).ok_or_else(unwritten)?);
        }
        waits.push(before);
    }
    for output in &request.outputs {
        let output_wire = whole(output);
        if !writers.contains_key(&output_wire) && !inputs.contains(&output_wire) {
            return Err(JoinError::Unwritten { tensor: output.clone(), reader: "the answer".into() });
        }
    }
    let read: BTreeSet<&Wire> = request.steps.iter().flat_map(|step| step.inputs.values()).collect();
    if let Some(unread) = request.inputs.iter().find(|name| !read.contains(&whole(name))) {
        return Err(JoinError::Unread(unread.clone()));
    }
    let (mut done, mut order) = (BTreeSet::new(), Vec::new());
    while let Some(next) = (0..waits.len()).find(|step| !done.contains(step) && waits[*step].is_subset(&done)) {
        done.insert(next);
        order.push(next);
    }
    if order.len() < waits.len() {
        let open = request.steps.iter().enumerate().filter(|(at, _)| !done.contains(at));
        let names: Vec<String> = open.map(|(_, step)| format!("`{}`", step.name)).collect();
        return Err(JoinError::Cycle(names.join(", ")));
    }
    Ok(order)
}

/// The step that writes each tensor.
fn writers<'r>(request: &'r JoinRequest<'_>, inputs: &BTreeSet<Wire>) -> Result<BTreeMap<&'r Wire, usize>, JoinError> {
    let mut writers: BTreeMap<&Wire, usize> = BTreeMap::new();
    for (at, step) in request.steps.iter().enumerate() {
        for wire in step.outputs.values() {
            let own = format!("the step `{}`", step.name);
            if inputs.contains(wire) {
                return Err(JoinError::Twice { tensor: wire.name.clone(), first: "the request".into(), second: own });
            }
            if let Some(other) = writers.insert(wire, at) {
                let first = format!("the step `{}`", request.steps[other].name);
                return Err(JoinError::Twice { tensor: wire.name.clone(), first, second: own });
            }
        }
    }
    Ok(writers)
}

/// A tensor of the whole.
pub(super) fn whole(name: &str) -> Wire {
    Wire { scope: 0, name: name.into() }
}

/// Where one tensor stands in a step: the step's place, and what it is there.
pub(super) type End<'f> = (usize, &'f ValueSpec);

/// All places of one tensor: who writes it, unless it is an input of the whole, and who reads it.
#[derive(Debug, Default)]
pub(super) struct Ends<'f> {
    pub(super) writer: Option<End<'f>>,
    pub(super) readers: Vec<End<'f>>,
}

impl<'f> Ends<'f> {
    /// The writer first.
    pub(super) fn all(&self) -> impl Iterator<Item = &End<'f>> {
        self.writer.iter().chain(&self.readers)
    }
}

/// The tensors that go between steps. The maps fit the models already.
pub(super) fn tensors<'f>(request: &JoinRequest<'_>, faces: &'f [Faces]) -> BTreeMap<Wire, Ends<'f>> {
    let mut tensors: BTreeMap<Wire, Ends<'f>> = BTreeMap::new();
    for (at, (step, faces)) in request.steps.iter().zip(faces).enumerate() {
        for (name, wire) in &step.inputs {
            tensors.entry(wire.clone()).or_default().readers.extend(faces.inputs.get(name).map(|spec| (at, spec)));
        }
        for (name, wire) in &step.outputs {
            tensors.entry(wire.clone()).or_default().writer = faces.outputs.get(name).map(|spec| (at, spec));
        }
    }
    tensors
}

/// Refuses a tensor that is one thing where it is written and another where it is read.
pub(super) fn check_types(request: &JoinRequest<'_>, tensors: &BTreeMap<Wire, Ends<'_>>) -> Result<(), JoinError> {
    let label = |(at, _): &End<'_>| format!("the step `{}`", request.steps[*at].name);
    for (wire, ends) in tensors {
        let mut known: Option<ValueType> = None;
        for other in ends.all() {
            let value_type = &other.1.value_type;
            match &mut known {
                None => known = Some(value_type.clone()),
                Some(known) if fits(known, value_type) => narrow(known, value_type.clone()),
                Some(_) => {
                    // All that is known comes from one of them: that one doesn't fit.
                    let Some(one) = ends.all().find(|one| !fits(&one.1.value_type, value_type)) else { continue };
                    return Err(JoinError::Type {
                        tensor: wire.name.clone(),
                        writer: label(one),
                        written: one.1.value_type.to_string(),
                        reader: label(other),
                        read: value_type.to_string(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Whether one value can be of both types.
fn fits(one: &ValueType, other: &ValueType) -> bool {
    match (one, other) {
        (ValueType::Tensor { element_type: a, shape: one }, ValueType::Tensor { element_type: b, shape: other })
        | (
            ValueType::SparseTensor { element_type: a, shape: one },
            ValueType::SparseTensor { element_type: b, shape: other },
        ) => a == b && shapes_fit(one, other),
        (ValueType::Sequence { element: one }, ValueType::Sequence { element: other })
        | (ValueType::Optional { element: one }, ValueType::Optional { element: other }) => fits(one, other),
        (ValueType::Map { key: a, value: one, .. }, ValueType::Map { key: b, value: other, .. }) => {
            a == b && fits(one, other)
        }
        _ => false,
    }
}

fn shapes_fit(one: &Shape, other: &Shape) -> bool {
    let (Some(one), Some(other)) = (one.dims(), other.dims()) else { return true };
    let clash = |(a, b): (&Dim, &Dim)| matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b);
    one.len() == other.len() && !one.iter().zip(other).any(clash)
}

/// Adds to a type what another that fits says beyond it: a number where there was none, else a name.
pub(super) fn narrow(known: &mut ValueType, other: ValueType) {
    match (known, other) {
        (ValueType::Tensor { shape: known, .. }, ValueType::Tensor { shape: other, .. })
        | (ValueType::SparseTensor { shape: known, .. }, ValueType::SparseTensor { shape: other, .. }) => {
            narrow_shape(known, other);
        }
        (ValueType::Sequence { element: known }, ValueType::Sequence { element: other })
        | (ValueType::Optional { element: known }, ValueType::Optional { element: other })
        | (ValueType::Map { value: known, .. }, ValueType::Map { value: other, .. }) => narrow(known, *other),
        _ => {}
    }
}

fn narrow_shape(known: &mut Shape, other: Shape) {
    let rank = |dim: &Dim| match dim {
        Dim::Fixed(_) => 2,
        Dim::Symbolic(_) => 1,
        Dim::Unknown => 0,
    };
    match (&mut known.0, other.0) {
        (Some(known), Some(other)) => {
            for (known, other) in known.iter_mut().zip(other) {
                if rank(&other) > rank(known) {
                    *known = other;
                }
            }
        }
        (known @ None, other) => *known = other,
        _ => {}
    }
}
