//! Bytes → [`Contents`]: all that the bytes of a model say by themselves. Pure: no file is touched.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{ElementType, ModelSignature, ValueSpec, ValueType};
use serde::{Deserialize, Serialize};

use super::batching::{RowCoupling, row_coupling, verdict};
use super::external::Reference;
use super::fault::Fault;
use super::graph::{Graph, Node, ValueInfo};
use super::hints::{Hint, hints};
use super::labels;
use super::limits::Limits;
use super::locales::locales;
use super::onnx::{Bounds, Model, called, check_functions, walk};
use super::opset::{self, domain_name, is_built_in};
use super::tensor::Tensor;
use super::types::value_spec;
use super::warnings::warnings;
use super::wire::Budget;

/// What the bytes of a model say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    /// Version of the file format; 0 for what is no graph.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ir_version: i64,
    /// Operator set versions by domain; the standard domain is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// The tool that made the model.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// The model's own domain, such as `org.example`.
    pub domain: String,
    /// The model's own version.
    pub model_version: i64,
    /// What the model or its graph says about itself.
    pub doc: String,
    /// Free properties.
    pub metadata: BTreeMap<String, String>,
    /// Inputs and outputs, and what is certain about batching.
    pub signature: ModelSignature,
    /// How often each `domain:operator` stands in the graph, its subgraphs and the bodies of its functions.
    pub operators: BTreeMap<String, u64>,
    /// Operators of domains that ONNX Runtime does not bring and the model does not define, by domain.
    pub custom_operators: BTreeMap<String, BTreeSet<String>>,
    /// Elements of all initializers and constants, and numbers in the attributes of `ai.onnx.ml` operators.
    pub parameters: u64,
    /// Their bytes, packed; strings are not counted.
    pub parameter_bytes: u64,
    /// Element types of initializers and constants, with the number of tensors of each.
    pub parameter_types: BTreeMap<ElementType, u64>,
    /// Operators that keep requests from being joined, and why.
    pub row_coupling: BTreeSet<RowCoupling>,
    /// What the graph reveals about the values of its inputs, by input.
    pub input_hints: BTreeMap<String, Hint>,
    /// Locales of the system that the model needs to be loaded, such as `en_US.UTF-8`: by them letters change their case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub locales: BTreeSet<String>,
    /// What somebody who serves the model should know.
    pub warnings: Vec<String>,
    /// External data that tensors refer to, as it stands in the file: not checked yet.
    #[serde(skip)]
    pub external: Vec<Reference>,
}

fn is_zero(version: &i64) -> bool {
    *version == 0
}

/// Reads a model from its bytes. External data is listed, not looked at.
///
/// # Errors
/// A [`Fault`] that names the byte, the tensor, the operator set or the limit.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Contents, Fault> {
    let budget = Budget::new(limits);
    let model = walk(bytes, &budget, &Bounds::new(limits))?;
    opset::check(model.ir_version, &model.opsets)?;
    check_functions(&model, limits)?;
    contents(model, limits)
}

fn contents(model: Model<'_>, limits: &Limits) -> Result<Contents, Fault> {
    let (inputs, mut outputs) = (inputs(&model.graph, limits)?, outputs(&model.graph, limits)?);
    labels::add(&model.graph, &mut outputs);
    let counts = Counts::of(&model)?;
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let row_coupling = counts.row_coupling;
    let coupling: Vec<_> = row_coupling.iter().cloned().collect();
    let doc = [model.producer.doc.clone(), String::from_utf8_lossy(model.graph.doc).into_owned()];
    Ok(Contents {
        input_hints: hints(&model.graph, &names),
        locales: locales(&model),
        warnings: warnings(&model, &inputs, &outputs, &counts.custom),
        signature: ModelSignature { batching: verdict(&inputs, &outputs, &coupling), inputs, outputs },
        ir_version: model.ir_version,
        opsets: model.opsets,
        producer_name: model.producer.name,
        producer_version: model.producer.version,
        domain: model.producer.domain,
        model_version: model.producer.model_version,
        doc: doc.into_iter().find(|doc| !doc.is_empty()).unwrap_or_default(),
        metadata: model.metadata,
        operators: counts.operators,
        custom_operators: counts.custom,
        parameters: counts.parameters,
        parameter_bytes: counts.parameter_bytes,
        parameter_types: counts.types,
        row_coupling,
        external: counts.external,
    })
}

/// The graph's inputs without those that an initializer gives.
fn inputs(graph: &Graph<'_>, limits: &Limits) -> Result<Vec<ValueSpec>, Fault> {
    let given = given(graph);
    let asked = graph.inputs.iter().filter(|input| !given.contains(input.name));
    values("input", asked, limits)
}

/// Names of the graph's initializers, dense and sparse.
pub(super) fn given<'a>(graph: &Graph<'a>) -> BTreeSet<&'a str> {
    let sparse = graph.sparse.iter().filter_map(|sparse| sparse.values.as_ref());
    graph.initializers.iter().chain(sparse).map(|tensor| tensor.name).filter(|name| !name.is_empty()).collect()
}

pub(super) fn outputs(graph: &Graph<'_>, limits: &Limits) -> Result<Vec<ValueSpec>, Fault> {
    if graph.outputs.is_empty() {
        return Err(Fault::NoOutputs);
    }
    values("output", graph.outputs.iter(), limits)
}

pub(super) fn values<'g, 'a: 'g>(
    what: &'static str,
    infos: impl Iterator<Item = &'g ValueInfo<'a>>,
    limits: &Limits,
) -> Result<Vec<ValueSpec>, Fault> {
    let (mut seen, mut specs) = (BTreeSet::new(), Vec::new());
    for (position, info) in infos.enumerate() {
        if info.name.is_empty() {
            return Err(Fault::NoName { what, position });
        }
        if !seen.insert(info.name) {
            return Err(Fault::Duplicate { what, name: info.name.into() });
        }
        specs.push(value_spec(what, info, limits)?);
    }
    Ok(specs)
}

/// Sums over all nodes and tensors.
#[derive(Default)]
struct Counts {
    operators: BTreeMap<String, u64>,
    custom: BTreeMap<String, BTreeSet<String>>,
    parameters: u64,
    parameter_bytes: u64,
    types: BTreeMap<ElementType, u64>,
    row_coupling: BTreeSet<RowCoupling>,
    external: Vec<Reference>,
}

impl Counts {
    fn of(model: &Model<'_>) -> Result<Self, Fault> {
        let mut counts = Counts::default();
        let own: BTreeSet<_> = model.functions.iter().map(|function| function.key()).collect();
        let bodies = || model.functions.iter().flat_map(|function| &function.nodes);
        // The visitors can't stop half-way: the first fault is kept.
        let mut done = Ok(());
        let mut count = |node: &Node<'_>| {
            let counted = counts.node(node, own.contains(&called(node)));
            done = std::mem::replace(&mut done, Ok(())).and(counted);
        };
        model.graph.each_node(&mut count);
        bodies().for_each(|node| node.each_node(&mut count));
        let mut count = |tensor: &Tensor<'_>| {
            let counted = counts.tensor(tensor);
            done = std::mem::replace(&mut done, Ok(())).and(counted);
        };
        model.graph.each_tensor(&mut count);
        bodies().for_each(|node| node.each_tensor(&mut count));
        done.map(|()| counts)
    }

    fn node(&mut self, node: &Node<'_>, own: bool) -> Result<(), Fault> {
        let domain = domain_name(node.domain);
        *self.operators.entry(format!("{domain}:{}", node.op)).or_default() += 1;
        if !own && !is_built_in(domain) {
            self.custom.entry(domain.into()).or_default().insert(node.op.into());
        }
        if !own {
            self.row_coupling.extend(row_coupling(node));
        }
        if (domain, node.op) == ("com.microsoft", "EPContext") {
            self.external.extend(Reference::of_engine(node)?);
        }
        // Linear models and trees have no tensors: their numbers are attributes.
        if domain == "ai.onnx.ml" {
            let floats = node.attributes.iter().map(|attribute| attribute.floats).sum::<u64>();
            self.parameters = self.parameters.saturating_add(floats);
            self.parameter_bytes = self.parameter_bytes.saturating_add(floats.saturating_mul(4));
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &Tensor<'_>) -> Result<(), Fault> {
        *self.types.entry(tensor.element_type).or_default() += 1;
        self.parameters = self.parameters.saturating_add(tensor.count);
        self.parameter_bytes = self.parameter_bytes.saturating_add(tensor.bytes().unwrap_or(0));
        self.external.extend(Reference::of(tensor)?);
        Ok(())
    }
}

impl Contents {
    /// The first input or output that nothing can serve, and which of both it is.
    pub fn unserved(&self) -> Option<(&'static str, &ValueSpec)> {
        let inputs = self.signature.inputs.iter().map(|spec| ("input", spec));
        let mut all = inputs.chain(self.signature.outputs.iter().map(|spec| ("output", spec)));
        all.find(|(_, spec)| !can_be_served(&spec.value_type))
    }
}

/// Whether requests can carry this type.
pub(super) fn can_be_served(value_type: &ValueType) -> bool {
    match value_type {
        ValueType::Tensor { element_type, .. } => element_type.carrier().is_some(),
        ValueType::SparseTensor { .. } => false,
        ValueType::Sequence { element } | ValueType::Optional { element } => can_be_served(element),
        ValueType::Map { key, value, .. } => key.carrier().is_some() && can_be_served(value),
    }
}
