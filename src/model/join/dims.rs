//! What the sizes that have names are called in the joined graph.
//!
//! A name means one size within a model, and nothing in another: two steps may both say `N` and mean different things. A
//! tensor that goes from one to the other makes two names one size. What of this shows in the whole's inputs and outputs
//! keeps the name that it has there, made different where two sizes would have one; the rest gets the step's prefix.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{Dim, ValueSpec, ValueType};

use super::wiring::{self, Ends};
use super::{JoinRequest, Wire};

/// A named size of one step.
type Named<'f> = (usize, &'f str);

/// For each step the names of its sizes that are called something else than prefix and name.
pub(super) fn names<'f>(
    request: &JoinRequest<'_>,
    tensors: &BTreeMap<Wire, Ends<'f>>,
    prefixes: &[String],
) -> Vec<BTreeMap<&'f str, String>> {
    let mut groups = Groups::default();
    for ends in tensors.values() {
        // By axis the name that was met last: not each end has one.
        let mut last: Vec<Option<Named<'f>>> = Vec::new();
        for (at, spec) in ends.all() {
            let dims = dims(spec);
            last.resize(last.len().max(dims.len()), None);
            for (last, dim) in last.iter_mut().zip(dims) {
                let Dim::Symbolic(name) = dim else { continue };
                if let Some(other) = last.replace((*at, name)) {
                    groups.unite(other, (*at, name));
                }
            }
        }
    }
    let (mut taken, mut called) = (BTreeSet::new(), BTreeMap::new());
    let whole = |name: &String| tensors.get(&wiring::whole(name));
    let inputs = request.inputs.iter().filter_map(whole).flat_map(|ends| &ends.readers);
    let outputs = request.outputs.iter().filter_map(whole).filter_map(|ends| ends.writer.as_ref());
    for (at, spec) in inputs.chain(outputs) {
        for dim in dims(spec) {
            let Dim::Symbolic(name) = dim else { continue };
            called.entry(groups.root((*at, name))).or_insert_with(|| {
                let plain = name.clone();
                let own = if taken.contains(&plain) { format!("{}{name}", prefixes[*at]) } else { plain };
                taken.insert(own.clone());
                own
            });
        }
    }
    let mut steps = vec![BTreeMap::new(); request.steps.len()];
    let all: BTreeSet<Named<'f>> = tensors
        .values()
        .flat_map(Ends::all)
        .flat_map(|(at, spec)| dims(spec).iter().map(move |dim| (*at, dim)))
        .filter_map(|(at, dim)| if let Dim::Symbolic(name) = dim { Some((at, name.as_str())) } else { None })
        .collect();
    for (at, name) in all {
        let root = groups.root((at, name));
        // Sizes between the steps: one name for both sides of a tensor.
        let own = called.get(&root).cloned().unwrap_or_else(|| format!("{}{}", prefixes[root.0], root.1));
        steps[at].insert(name, own);
    }
    steps
}

/// A tensor's sizes; none of what has no shape.
fn dims(spec: &ValueSpec) -> &[Dim] {
    match &spec.value_type {
        ValueType::Tensor { shape, .. } => shape.dims().unwrap_or_default(),
        _ => &[],
    }
}

/// Which named sizes are the same.
#[derive(Debug, Default)]
struct Groups<'f>(BTreeMap<Named<'f>, Named<'f>>);

impl<'f> Groups<'f> {
    fn root(&mut self, named: Named<'f>) -> Named<'f> {
        let mut root = named;
        while let Some(up) = self.0.get(&root) {
            root = *up;
        }
        // The whole way leads there at once from now on, so that no chain grows long.
        let mut named = named;
        while let Some(up) = self.0.get_mut(&named) {
            named = std::mem::replace(up, root);
        }
        root
    }

    fn unite(&mut self, one: Named<'f>, other: Named<'f>) {
        let (one, other) = (self.root(one), self.root(other));
        // The smaller is the root, so that a group has one whatever the order.
        if one != other {
            self.0.insert(one.max(other), one.min(other));
        }
    }
}
