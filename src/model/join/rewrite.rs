//! The messages of one step, written again under the names that they have in the joined graph.
//!
//! Values, nodes, functions and dimensions of a step get its prefix, but for the tensors that go from step to step. What
//! names nothing is copied as it stands. The bodies of functions are scopes of their own: their values keep their names.

use std::collections::{BTreeMap, BTreeSet};

use super::rope::Rope;
use crate::model::external::below;
use crate::model::fault::Fault;
use crate::model::limits::Limits;
use crate::model::onnx::FunctionKey;
use crate::model::opset::domain_name;
use crate::model::types::named_dim;
use crate::model::wire::{Field, Message};

type Written<'a> = Result<Rope<'a>, Fault>;

/// What things of one step are called in the joined graph.
#[derive(Debug)]
pub(super) struct Names<'r> {
    /// What is put before the names of its own.
    pub(super) prefix: String,
    /// Its inputs and outputs that go to other steps or are the whole's.
    pub(super) values: BTreeMap<&'r str, String>,
    /// The dimensions of those by name.
    pub(super) dims: BTreeMap<&'r str, String>,
    /// The functions that it brings.
    pub(super) functions: BTreeSet<FunctionKey<'r>>,
    /// Where the files are that its weights are in.
    pub(super) folder: String,
    /// The outputs that no node of its makes, and the tensors that they become.
    pub(super) passed: Vec<(&'r str, String)>,
}

impl Names<'_> {
    /// A value; an empty name is a value that is left out.
    pub(super) fn value(&self, name: &str) -> String {
        match self.values.get(name) {
            _ if name.is_empty() => String::new(),
            Some(joined) => joined.clone(),
            None => self.own(name),
        }
    }

    pub(super) fn own(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn dim(&self, name: &str) -> String {
        self.dims.get(name).cloned().unwrap_or_else(|| self.own(name))
    }
}

/// Writes messages of one step.
pub(super) struct Rewriter<'r> {
    pub(super) names: &'r Names<'r>,
    pub(super) limits: &'r Limits,
    /// Whether this is a function's body.
    in_function: bool,
    /// The values of this graph whose names are asked for, and stay.
    kept: BTreeSet<String>,
    /// The same of the graph around it.
    around: Option<&'r Rewriter<'r>>,
}

impl<'r> Rewriter<'r> {
    /// For a step's own graph, and what stands beside it.
    pub(super) fn new(names: &'r Names<'r>, limits: &'r Limits) -> Self {
        Rewriter { names, limits, in_function: false, kept: BTreeSet::new(), around: None }
    }

    fn keeps(&self, name: &str) -> bool {
        self.kept.contains(name) || self.around.is_some_and(|around| around.keeps(name))
    }

    fn value<'a>(&self, field: &Field<'a>) -> Result<String, Fault> {
        let name = field.name(self.limits.name_bytes)?;
        if self.in_function || self.keeps(name) {
            return Ok(name.into());
        }
        let joined = self.names.value(name);
        if self.keeps(&joined) {
            let problem = format!(
                "becomes `{joined}`, and an operator's graph that takes it has another tensor of that name: call it \
                 something else in the ensemble"
            );
            return Err(Fault::Tensor { tensor: name.into(), problem });
        }
        Ok(joined)
    }

    /// For the graph of a node whose operator asks for the names of what that takes and gives.
    fn keeping(&self, graph: Message<'_>) -> Result<Rewriter<'_>, Fault> {
        let mut kept = BTreeSet::new();
        for field in graph.fields() {
            let field = field?;
            if !matches!(field.number, 11 | 12) {
                continue;
            }
            for field in field.message("ValueInfoProto")?.fields() {
                let field = field?;
                if field.number == 1 {
                    kept.insert(field.name(self.limits.name_bytes)?.into());
                }
            }
        }
        Ok(Rewriter { kept, around: Some(self), ..*self })
    }

    /// Writes each field of `message` by `one`, and as it stands where that gives nothing.
    fn each<'a>(
        &self,
        message: Message<'a>,
        one: impl Fn(&Field<'a>, &mut Rope<'a>) -> Result<bool, Fault>,
    ) -> Written<'a> {
        let mut rope = Rope::default();
        for field in message.fields() {
            let field = field?;
            if !one(&field, &mut rope)? {
                rope.raw(field.raw);
            }
        }
        Ok(rope)
    }

    /// The graph within an attribute.
    fn graph<'a>(&self, message: Message<'a>) -> Written<'a> {
        self.each(message, |field, rope| self.part(field, rope))
    }

    /// A field of a graph; `false` for one that names nothing.
    pub(super) fn part<'a>(&self, field: &Field<'a>, rope: &mut Rope<'a>) -> Result<bool, Fault> {
        let part = match field.number {
            1 => self.node(field.message("NodeProto")?)?,
            5 => self.tensor(field.message("TensorProto")?, true)?,
            11..=13 => self.value_info(field.message("ValueInfoProto")?)?,
            14 => self.annotation(field.message("TensorAnnotation")?)?,
            15 => self.sparse(field.message("SparseTensorProto")?, true)?,
            _ => return Ok(false),
        };
        rope.message(field.number, part);
        Ok(true)
    }

    fn node<'a>(&self, message: Message<'a>) -> Written<'a> {
        let (mut op, mut domain, mut overload) = ("", "", "");
        for field in message.fields() {
            let field = field?;
            let name = match field.number {
                4 => &mut op,
                7 => &mut domain,
                8 => &mut overload,
                _ => continue,
            };
            *name = field.name(self.limits.name_bytes)?;
        }
        let calls = self.names.functions.contains(&(domain_name(domain), op, overload));
        self.each(message, |field, rope| {
            match field.number {
                1 | 2 => rope.text(field.number, &self.value(field)?),
                3 if !self.in_function => rope.text(3, &self.names.own(field.name(self.limits.name_bytes)?)),
                4 if calls => rope.text(4, &self.names.own(op)),
                5 => rope.message(5, self.attribute(field.message("AttributeProto")?, asks_for_names(domain))?),
                // Which devices it is meant for: by the names of tensors, and only ever a hint.
                10 => rope,
                _ => return Ok(false),
            };
            Ok(true)
        })
    }

    /// An attribute of a node. `by_name` where that asks for the names in its graph.
    fn attribute<'a>(&self, message: Message<'a>, by_name: bool) -> Written<'a> {
        self.each(message, |field, rope| {
            let part = match field.number {
                5 | 10 => self.tensor(field.message("TensorProto")?, false)?,
                6 | 11 => {
                    let graph = field.message("GraphProto")?;
                    if by_name { self.keeping(graph)?.graph(graph)? } else { self.graph(graph)? }
                }
                14 | 15 => self.type_proto(field.message("TypeProto")?)?,
                22 | 23 => self.sparse(field.message("SparseTensorProto")?, false)?,
                _ => return Ok(false),
            };
            rope.message(field.number, part);
            Ok(true)
        })
    }

    /// A tensor; its name is a value's where it is an initializer.
    fn tensor<'a>(&self, message: Message<'a>, named: bool) -> Written<'a> {
        self.each(message, |field, rope| {
            match field.number {
                8 if named => rope.text(8, &self.value(field)?),
                13 => rope.message(13, self.external(field.message("StringStringEntryProto")?)?),
                _ => return Ok(false),
            };
            Ok(true)
        })
    }

    /// An entry of `external_data`: the location moves into the step's folder.
    fn external<'a>(&self, message: Message<'a>) -> Written<'a> {
        let (mut key, mut value) = ("", "");
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => key = field.name(self.limits.name_bytes)?,
                2 => value = field.name(self.limits.name_bytes)?,
                _ => {}
            }
        }
        let mut entry = Rope::default();
        entry.text(1, key);
        // One that leads out of the model's folder was refused as the model was read.
        match below(value).filter(|_| key == "location") {
            Some(location) => entry.text(2, &format!("{}/{}", self.names.folder, location.as_str())),
            None => entry.text(2, value),
        };
        Ok(entry)
    }

    fn sparse<'a>(&self, message: Message<'a>, named: bool) -> Written<'a> {
        self.each(message, |field, rope| {
            let named = match field.number {
                1 => named,
                2 => false,
                _ => return Ok(false),
            };
            rope.message(field.number, self.tensor(field.message("TensorProto")?, named)?);
            Ok(true)
        })
    }

    fn value_info<'a>(&self, message: Message<'a>) -> Written<'a> {
        self.each(message, |field, rope| {
            match field.number {
                1 => rope.text(1, &self.value(field)?),
                2 => rope.message(2, self.type_proto(field.message("TypeProto")?)?),
                _ => return Ok(false),
            };
            Ok(true)
        })
    }

    /// What a tensor was quantised by, as names of other tensors.
    fn annotation<'a>(&self, message: Message<'a>) -> Written<'a> {
        self.each(message, |field, rope| {
            match field.number {
                1 => rope.text(1, &self.value(field)?),
                2 => {
                    let entry = self.each(field.message("StringStringEntryProto")?, |field, rope| {
                        let named = field.number == 2;
                        if named {
                            rope.text(2, &self.value(field)?);
                        }
                        Ok(named)
                    })?;
                    rope.message(2, entry)
                }
                _ => return Ok(false),
            };
            Ok(true)
        })
    }

    /// A type, in which dimensions have names.
    pub(super) fn type_proto<'a>(&self, message: Message<'a>) -> Written<'a> {
        self.each(message, |field, rope| {
            let part = match field.number {
                1 | 8 => self.tensor_type(field.message("TypeProto.Tensor")?)?,
                4 | 9 => self.inner_type(field.message("TypeProto.Sequence")?, 1)?,
                5 => self.inner_type(field.message("TypeProto.Map")?, 2)?,
                _ => return Ok(false),
            };
            rope.message(field.number, part);
            Ok(true)
        })
    }

    fn inner_type<'a>(&self, message: Message<'a>, number: u32) -> Written<'a> {
        self.each(message, |field, rope| {
            let inner = field.number == number;
            if inner {
                rope.message(number, self.type_proto(field.message("TypeProto")?)?);
            }
            Ok(inner)
        })
    }

    fn tensor_type<'a>(&self, message: Message<'a>) -> Written<'a> {
        let shape = |message| {
            self.each(message, |field, rope| {
                let is_dim = field.number == 1;
                if is_dim {
                    rope.message(1, self.dim(field.message("TensorShapeProto.Dimension")?)?);
                }
                Ok(is_dim)
            })
        };
        self.each(message, |field, rope| {
            let is_shape = field.number == 2;
            if is_shape {
                rope.message(2, shape(field.message("TensorShapeProto")?)?);
            }
            Ok(is_shape)
        })
    }

    fn dim<'a>(&self, message: Message<'a>) -> Written<'a> {
        self.each(message, |field, rope| {
            let is_named = field.number == 2;
            if is_named {
                let name = field.name(self.limits.name_bytes)?;
                // What exporters write for a size without a name stays one.
                if matches!(named_dim(name), nimify_runtime::signature::Dim::Symbolic(_)) {
                    rope.text(2, &self.names.dim(name));
                }
            }
            Ok(is_named)
        })
    }

    /// A function, under the name of its own that calls of it have too.
    pub(super) fn function<'a>(&self, message: Message<'a>) -> Written<'a> {
        let body = Rewriter { in_function: true, ..Rewriter::new(self.names, self.limits) };
        self.each(message, |field, rope| {
            match field.number {
                1 => rope.text(1, &self.names.own(field.name(self.limits.name_bytes)?)),
                7 => rope.message(7, body.node(field.message("NodeProto")?)?),
                11 => rope.message(11, body.attribute(field.message("AttributeProto")?, false)?),
                12 => rope.message(12, body.value_info(field.message("ValueInfoProto")?)?),
                _ => return Ok(false),
            };
            Ok(true)
        })
    }
}

/// Whether operators of this domain ask for the names of what their graphs take and give: those that generate texts
/// (`BeamSearch`, `GreedySearch`, `Sampling`) do, and no other of the domain has a graph.
fn asks_for_names(domain: &str) -> bool {
    domain == "com.microsoft"
}
