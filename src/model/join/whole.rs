//! The joined model as it is put together: a step's graph and functions, one after another, then the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::rewrite::{Names, Rewriter};
use super::rope::{Rope, build};
use super::{JoinError, JoinRequest, JoinStep, OLDEST_IR, step_folder};
use crate::model::contents::given;
use crate::model::fault::Fault;
use crate::model::limits::Limits;
use crate::model::onnx::Model;
use crate::model::opset;
use crate::model::tensor::SparseTensor;
use crate::model::wire::{Budget, Field, Message};

/// The version of the standard operators for a node that is added where no step names any.
pub(super) const IDENTITY_OPSET: i64 = 13;

/// One step on its way into the whole.
pub(super) struct Part<'p, 'a> {
    pub(super) step: &'p JoinStep<'a>,
    pub(super) model: &'p Model<'a>,
    pub(super) names: &'p Names<'p>,
    pub(super) budget: &'a Budget,
}

/// The joined model as far as it has come.
pub(super) struct Whole<'a, 'l> {
    pub(super) limits: &'l Limits,
    pub(super) graph: Rope<'a>,
    pub(super) functions: Rope<'a>,
}

impl<'a> Whole<'a, '_> {
    pub(super) fn add(&mut self, part: &Part<'_, 'a>) -> Result<(), Fault> {
        let rewriter = Rewriter::new(part.names, self.limits);
        for field in Message::root(part.step.bytes, "ModelProto", part.budget).fields() {
            let field = field?;
            match field.number {
                7 => self.add_graph(part, &rewriter, field.message("GraphProto")?)?,
                25 => {
                    self.functions.message(25, rewriter.function(field.message("FunctionProto")?)?);
                }
                _ => {}
            }
        }
        for (from, to) in &part.names.passed {
            let from = part.names.value(from);
            self.graph.message(
                1,
                build(|node| {
                    node.text(1, &from).text(2, to).text(3, &part.names.own(to)).text(4, "Identity");
                }),
            );
        }
        Ok(())
    }

    fn add_graph(&mut self, part: &Part<'_, 'a>, rewriter: &Rewriter<'_>, graph: Message<'a>) -> Result<(), Fault> {
        // What other steps give takes the place of a weight of that name.
        let replaced: BTreeSet<&str> =
            given(&part.model.graph).into_iter().filter(|name| part.step.inputs.contains_key(*name)).collect();
        let mut dense = part.model.graph.initializers.iter().map(|tensor| tensor.name);
        let values = |sparse: &SparseTensor<'a>| sparse.values.as_ref().map_or("", |values| values.name);
        let mut sparse = part.model.graph.sparse.iter().map(values);
        for field in graph.fields() {
            let field = field?;
            let kept = match field.number {
                1 | 14 => true,
                5 => dense.next().is_none_or(|name| !replaced.contains(name)),
                15 => sparse.next().is_none_or(|name| !replaced.contains(name)),
                13 => !self.is_wired(part, &field)?,
                _ => false,
            };
            if kept && !rewriter.part(&field, &mut self.graph)? {
                self.graph.raw(field.raw);
            }
        }
        Ok(())
    }

    /// Whether a value's type is told where the tensors of the whole and those between steps are.
    fn is_wired(&self, part: &Part<'_, 'a>, field: &Field<'a>) -> Result<bool, Fault> {
        for field in field.message("ValueInfoProto")?.fields() {
            let field = field?;
            if field.number == 1 && part.names.values.contains_key(field.name(self.limits.name_bytes)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `ModelProto`.
pub(super) fn write(
    request: &JoinRequest<'_>,
    models: &[&Model<'_>],
    whole: Whole<'_, '_>,
    mut opsets: BTreeMap<String, i64>,
    limits: &Limits,
    to: &mut dyn Write,
) -> Result<(), JoinError> {
    let standard = opset::domain_name("").to_string();
    opsets.entry(standard.clone()).or_insert(IDENTITY_OPSET);
    let mut model = Rope::default();
    let ir_version = models.iter().map(|model| model.ir_version).fold(OLDEST_IR, i64::max);
    model.int(1, ir_version).text(2, "nimify").message(7, whole.graph);
    for (domain, version) in &opsets {
        let domain = if *domain == standard { "" } else { domain };
        let mut opset = Rope::default();
        opset.text(1, domain).int(2, *version);
        model.message(8, opset);
    }
    let of_steps = models.iter().zip(&request.steps).enumerate().flat_map(|(at, (model, step))| {
        let prefix = format!("{}.{}/", step_folder(at), step.name);
        model.metadata.iter().map(move |(key, value)| (format!("{prefix}{key}"), value.clone()))
    });
    let own = request.metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let licence = licences(models).map(|licence| ("license".to_string(), licence));
    for (key, value) in own.chain(licence).chain(of_steps) {
        let mut entry = Rope::default();
        entry.text(1, &key).text(2, &value);
        model.message(14, entry);
    }
    model.append(whole.functions);
    check_size(model.length(), limits)?;
    Ok(model.write(to)?)
}

/// Refuses a file that would be too large.
pub(super) fn check_size(size: u64, limits: &Limits) -> Result<(), JoinError> {
    let limit = limits.file_bytes;
    if size > limit { Err(JoinError::TooLarge { size, limit }) } else { Ok(()) }
}

/// The licences that the steps name, as an expression of SPDX's; nothing where no step names one.
fn licences(models: &[&Model<'_>]) -> Option<String> {
    let is_licence = |key: &String| ["license", "licence"].contains(&key.to_lowercase().as_str());
    let of = |model: &&Model<'_>| {
        let named = model.metadata.iter().find(|(key, value)| is_licence(key) && !value.trim().is_empty());
        // What SPDX writes where nobody says anything: the others' licences aren't that step's.
        named.map_or("NOASSERTION".to_string(), |(_, value)| value.trim().to_string())
    };
    let all: BTreeSet<String> = models.iter().map(of).collect();
    if all.iter().all(|licence| licence == "NOASSERTION") {
        return None;
    }
    let alone = all.len() == 1;
    let term = |licence: String| if alone || !licence.contains(' ') { licence } else { format!("({licence})") };
    Some(all.into_iter().map(term).collect::<Vec<_>>().join(" AND "))
}
