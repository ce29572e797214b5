//! `ModelProto`: the top of an ONNX file, and its functions.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::Fault;
use super::graph::{Graph, Node, Reader};
use super::limits::{Limits, Meter};
use super::opset;
use super::wire::{Budget, Field, Message};

/// A model as it stands in its file, borrowing names and data from it.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) ir_version: i64,
    /// Version by domain, the standard domain under its full name.
    pub(super) opsets: BTreeMap<String, i64>,
    pub(super) producer: Producer,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) graph: Graph<'a>,
    pub(super) functions: Vec<Function<'a>>,
    /// Whether it carries graphs for training, which nothing here runs.
    pub(super) training: bool,
}

/// Who made the model, in their own words.
#[derive(Debug, Default)]
pub(super) struct Producer {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) domain: String,
    pub(super) model_version: i64,
    pub(super) doc: String,
}

/// An operator that the model itself defines.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) domain: &'a str,
    pub(super) name: &'a str,
    pub(super) overload: &'a str,
    pub(super) nodes: Vec<Node<'a>>,
}

/// What tells functions apart: domain, name, overload.
pub(super) type FunctionKey<'a> = (&'a str, &'a str, &'a str);

impl<'a> Function<'a> {
    pub(super) fn key(&self) -> FunctionKey<'a> {
        (opset::domain_name(self.domain), self.name, self.overload)
    }
}

/// The function that a node would call if the model has it.
pub(super) fn called<'a>(node: &Node<'a>) -> FunctionKey<'a> {
    (opset::domain_name(node.domain), node.op, node.overload)
}

/// What was found at the top level so far.
#[derive(Default)]
struct Parts<'a> {
    ir_version: Option<i64>,
    opsets: BTreeMap<String, i64>,
    producer: Producer,
    metadata: BTreeMap<String, String>,
    graph: Option<Graph<'a>>,
    functions: Vec<Function<'a>>,
    training: bool,
}

/// What is shared by all files that are read together: how much may still be kept of them.
#[derive(Debug)]
pub(super) struct Bounds<'l> {
    reader: Reader<'l>,
    texts: Meter,
}

impl<'l> Bounds<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Bounds { reader: Reader::new(limits), texts: Meter::new("bytes of texts", limits.text_bytes) }
    }
}

/// Walks the whole file once.
pub(super) fn walk<'a>(bytes: &'a [u8], budget: &'a Budget, bounds: &Bounds<'_>) -> Result<Model<'a>, Fault> {
    let Bounds { reader, texts } = bounds;
    let mut parts = Parts::default();
    for field in Message::root(bytes, "ModelProto", budget).fields() {
        let read = field.and_then(|field| parts.take(&field, reader, texts));
        match read {
            Err(Fault::Malformed { offset, what, .. }) if parts.ir_version.is_none() => {
                return Err(Fault::NotOnnx(format!("byte {offset} is no part of one: {what}")));
            }
            read => read?,
        }
    }
    let missing = |what: &str| Fault::NotOnnx(format!("it has no {what}"));
    Ok(Model {
        ir_version: parts.ir_version.filter(|&version| version > 0).ok_or_else(|| missing("IR version"))?,
        graph: parts.graph.ok_or_else(|| missing("graph"))?,
        opsets: Some(parts.opsets).filter(|opsets| !opsets.is_empty()).ok_or_else(|| missing("operator set"))?,
        producer: parts.producer,
        metadata: parts.metadata,
        functions: parts.functions,
        training: parts.training,
    })
}

impl<'a> Parts<'a> {
    fn take(&mut self, field: &Field<'a>, reader: &Reader<'_>, texts: &Meter) -> Result<(), Fault> {
        match field.number {
            1 => self.ir_version = Some(field.int()?),
            2 => self.producer.name = text(field, texts)?,
            3 => self.producer.version = text(field, texts)?,
            4 => self.producer.domain = text(field, texts)?,
            5 => self.producer.model_version = field.int()?,
            6 => self.producer.doc = text(field, texts)?,
            7 if self.graph.is_some() => return Err(field.twice("graph")),
            7 => self.graph = Some(reader.graph(field.message("GraphProto")?)?),
            8 => {
                let (domain, version) = opset(field.message("OperatorSetIdProto")?, reader)?;
                let known = self.opsets.entry(domain).or_insert(version);
                *known = version.max(*known);
            }
            14 => {
                let (key, value) = entry(field.message("StringStringEntryProto")?, texts)?;
                self.metadata.insert(key, value);
            }
            20 => self.training = true,
            25 => self.functions.push(function(field.message("FunctionProto")?, reader)?),
            _ => {}
        }
        Ok(())
    }
}

/// A text for people. What is not UTF-8 in it is shown so: ONNX Runtime does not mind it either.
fn text(field: &Field<'_>, texts: &Meter) -> Result<String, Fault> {
    let bytes = field.bytes()?;
    texts.take(bytes.len() as u64)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn opset(message: Message<'_>, reader: &Reader<'_>) -> Result<(String, i64), Fault> {
    let (mut domain, mut version) = ("", 0);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => domain = reader.name(&field)?,
            2 => version = field.int()?,
            _ => {}
        }
    }
    Ok((opset::domain_name(domain).into(), version))
}

fn entry(message: Message<'_>, texts: &Meter) -> Result<(String, String), Fault> {
    // Counted even when empty, so that their number is bounded too.
    texts.take(64)?;
    let (mut key, mut value) = (String::new(), String::new());
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => key = text(&field, texts)?,
            2 => value = text(&field, texts)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn function<'a>(message: Message<'a>, reader: &Reader<'_>) -> Result<Function<'a>, Fault> {
    reader.keep::<Function<'_>>()?;
    let mut function = Function { domain: "", name: "", overload: "", nodes: Vec::new() };
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => function.name = reader.name(&field)?,
            7 => function.nodes.push(reader.node(field.message("NodeProto")?)?),
            10 => function.domain = reader.name(&field)?,
            13 => function.overload = reader.name(&field)?,
            _ => {}
        }
    }
    Ok(function)
}

/// Refuses functions that call themselves, and those that expand to more nodes than the limit: a few lines of calls
/// that each call the next ten times grow without end.
pub(super) fn check_functions(model: &Model<'_>, limits: &Limits) -> Result<(), Fault> {
    let mut functions = BTreeMap::new();
    for (position, function) in model.functions.iter().enumerate() {
        if function.name.is_empty() {
            return Err(Fault::NoName { what: "function", position });
        }
        if functions.insert(function.key(), function).is_some() {
            return Err(Fault::Duplicate { what: "function", name: label(&function.key()) });
        }
    }
    let mut calls: BTreeMap<FunctionKey<'_>, Calls<'_>> = BTreeMap::new();
    for (key, function) in &functions {
        let mut found = Calls::default();
        for node in &function.nodes {
            node.each_node(&mut |node| found.count(called(node), &functions));
        }
        calls.insert(*key, found);
    }
    let sizes = expanded_sizes(&calls)?;
    let mut main = Calls::default();
    model.graph.each_node(&mut |node| main.count(called(node), &functions));
    let too_many = Fault::Limit { what: "nodes once functions are expanded", limit: limits.nodes };
    if main.size(&sizes).is_none_or(|size| size > limits.nodes) { Err(too_many) } else { Ok(()) }
}

/// What one body of nodes has: operators, and calls of functions with their number.
#[derive(Default)]
struct Calls<'a> {
    operators: u64,
    functions: BTreeMap<FunctionKey<'a>, u64>,
}

impl<'a> Calls<'a> {
    fn count(&mut self, key: FunctionKey<'a>, functions: &BTreeMap<FunctionKey<'a>, &Function<'a>>) {
        match functions.contains_key(&key) {
            true => *self.functions.entry(key).or_default() += 1,
            false => self.operators += 1,
        }
    }

    /// Nodes once the calls are expanded. The expanded size of every function called has to be known.
    fn size(&self, sizes: &BTreeMap<FunctionKey<'a>, u64>) -> Option<u64> {
        self.functions.iter().try_fold(self.operators, |sum, (key, times)| {
            Some(sum.saturating_add(times.saturating_mul(*sizes.get(key)?)))
        })
    }
}

/// The expanded size of each function, callees first; what remains when no more can be settled calls itself.
fn expanded_sizes<'a>(calls: &BTreeMap<FunctionKey<'a>, Calls<'a>>) -> Result<BTreeMap<FunctionKey<'a>, u64>, Fault> {
    let mut callers: BTreeMap<FunctionKey<'_>, Vec<FunctionKey<'_>>> = BTreeMap::new();
    let mut open: BTreeMap<FunctionKey<'_>, usize> = BTreeMap::new();
    for (caller, body) in calls {
        open.insert(*caller, body.functions.len());
        for callee in body.functions.keys() {
            callers.entry(*callee).or_default().push(*caller);
        }
    }
    let mut ready: Vec<_> = open.iter().filter(|(_, open)| **open == 0).map(|(key, _)| *key).collect();
    let mut sizes = BTreeMap::new();
    while let Some(key) = ready.pop() {
        let size = calls[&key].size(&sizes).unwrap_or(u64::MAX);
        sizes.insert(key, size);
        for caller in callers.remove(&key).unwrap_or_default() {
            if let Some(left) = open.get_mut(&caller) {
                *left -= 1;
                if *left == 0 {
                    ready.push(caller);
                }
            }
        }
    }
    match calls.keys().find(|key| !sizes.contains_key(*key)) {
        Some(key) => Err(Fault::CyclicFunction(label(&on_a_cycle(*key, calls, &sizes)))),
        None => Ok(sizes),
    }
}

/// Follows calls of unsettled functions until one comes again: each has such a call, or it would be settled.
fn on_a_cycle<'a>(
    start: FunctionKey<'a>,
    calls: &BTreeMap<FunctionKey<'a>, Calls<'a>>,
    sizes: &BTreeMap<FunctionKey<'a>, u64>,
) -> FunctionKey<'a> {
    let (mut seen, mut key) = (BTreeSet::new(), start);
    while seen.insert(key) {
        let callee = calls[&key].functions.keys().find(|callee| !sizes.contains_key(*callee));
        key = callee.copied().unwrap_or(key);
    }
    key
}

fn label((domain, name, overload): &FunctionKey<'_>) -> String {
    let colon = if overload.is_empty() { "" } else { ":" };
    format!("{domain}:{name}{colon}{overload}")
}
