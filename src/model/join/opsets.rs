//! Which versions of the operators the joined graph uses: one of each domain.

use std::collections::{BTreeMap, BTreeSet};

use super::{JoinError, JoinRequest};
use crate::model::fault::Fault;
use crate::model::graph::Node;
use crate::model::limits::Limits;
use crate::model::onnx::{Function, FunctionKey, Model, called};
use crate::model::opset::domain_name;
use crate::model::wire::{Budget, Message};

/// The domains whose operators a model uses: not those of its own functions, which come along.
pub(super) fn used<'a>(
    bytes: &'a [u8],
    model: &Model<'a>,
    budget: &'a Budget,
    limits: &Limits,
) -> Result<BTreeSet<&'a str>, Fault> {
    let own: BTreeSet<FunctionKey<'a>> = model.functions.iter().map(Function::key).collect();
    let defined: BTreeSet<&str> = own.iter().map(|(domain, ..)| *domain).collect();
    // What a function's body says that it uses, though no node of it does, ONNX Runtime looks for as well.
    let mut used = if own.is_empty() { BTreeSet::new() } else { imports(bytes, budget, limits)? };
    used.retain(|domain| !defined.contains(domain));
    let mut look = |node: &Node<'a>| {
        if !own.contains(&called(node)) {
            used.insert(domain_name(node.domain));
        }
    };
    model.graph.each_node(&mut look);
    model.functions.iter().flat_map(|function| &function.nodes).for_each(|node| node.each_node(&mut look));
    Ok(used)
}

/// The domains that the bodies of functions name.
fn imports<'a>(bytes: &'a [u8], budget: &'a Budget, limits: &Limits) -> Result<BTreeSet<&'a str>, Fault> {
    let mut imports = BTreeSet::new();
    for field in Message::root(bytes, "ModelProto", budget).fields() {
        let field = field?;
        if field.number != 25 {
            continue;
        }
        for field in field.message("FunctionProto")?.fields() {
            let field = field?;
            if field.number == 9 {
                let mut domain = "";
                for field in field.message("OperatorSetIdProto")?.fields() {
                    let field = field?;
                    if field.number == 1 {
                        domain = field.name(limits.name_bytes)?;
                    }
                }
                imports.insert(domain_name(domain));
            }
        }
    }
    Ok(imports)
}

/// The version of each domain's operators, which has to be one where two steps use them.
pub(super) fn agreed(
    request: &JoinRequest<'_>,
    models: &[&Model<'_>],
    used: &[&BTreeSet<&str>],
) -> Result<BTreeMap<String, i64>, JoinError> {
    // By domain the version, and the step that uses it if one does.
    let mut all: BTreeMap<&String, (i64, Option<usize>)> = BTreeMap::new();
    for (at, (model, used)) in models.iter().zip(used).enumerate() {
        for (domain, version) in &model.opsets {
            let known = all.entry(domain).or_insert((*version, None));
            match known {
                (_, Some(_)) if !used.contains(domain.as_str()) => {}
                (first_version, Some(first)) if first_version != version => {
                    return Err(JoinError::Opset {
                        domain: domain.clone(),
                        first: request.steps[*first].name.clone(),
                        first_version: *first_version,
                        second: request.steps[at].name.clone(),
                        second_version: *version,
                    });
                }
                (_, Some(_)) => {}
                _ if used.contains(domain.as_str()) => *known = (*version, Some(at)),
                (highest, None) => *highest = (*highest).max(*version),
            }
        }
    }
    Ok(all.into_iter().map(|(domain, (version, _))| (domain.clone(), version)).collect())
}
