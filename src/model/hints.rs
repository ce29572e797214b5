//! What the graph reveals about the values that an input takes: enough to make a sample that the model accepts.
//!
//! A hint is a help, never a rule: the graph is followed through operators that keep the values as they are, names are
//! taken to be unique in graph and subgraphs as ONNX demands, and functions are not looked into.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::graph::{Graph, Node};
use super::opset::domain_name;
use super::tensor::Tensor;

/// Most known values that one hint keeps of each kind.
pub const MOST_VALUES: usize = 64;

/// What is known about the values of one input.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hint {
    /// Integers must lie from 0 to below this: the length of the table that they look up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub below: Option<u64>,
    /// Integers that the model knows: categories, or constants that the input is compared with.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub integers: BTreeSet<i64>,
    /// Strings that the model knows.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub strings: BTreeSet<String>,
    /// The operators that say so.
    pub operators: BTreeSet<String>,
}

/// Hints by the name of the input.
pub(super) fn hints(graph: &Graph<'_>, inputs: &[&str]) -> BTreeMap<String, Hint> {
    let mut flow = Flow::new(graph, inputs);
    graph.each_node(&mut |node| flow.pass(node));
    flow.hints
}

/// Most inputs that one value is followed back to: `Concat` joins them.
const MOST_ORIGINS: usize = 32;

struct Flow<'g> {
    /// The inputs whose values a name carries.
    origins: BTreeMap<&'g str, BTreeSet<&'g str>>,
    constants: BTreeMap<&'g str, Constant<'g>>,
    hints: BTreeMap<String, Hint>,
}

/// A table whose shape is that of a tensor in the file.
#[derive(Clone, Copy)]
struct Constant<'g> {
    dims: &'g [u64],
    /// The tensor, where its values are the table's: not after dequantizing or casting.
    tensor: Option<&'g Tensor<'g>>,
}

impl<'g> Flow<'g> {
    fn new(graph: &'g Graph<'_>, inputs: &[&'g str]) -> Self {
        let constant = |tensor: &'g Tensor<'_>| (tensor.name, Constant { dims: &tensor.dims, tensor: Some(tensor) });
        Flow {
            origins: inputs.iter().map(|input| (*input, BTreeSet::from([*input]))).collect(),
            constants: graph.initializers.iter().map(constant).collect(),
            hints: BTreeMap::new(),
        }
    }

    fn pass(&mut self, node: &'g Node<'_>) {
        let domain = domain_name(node.domain);
        match (domain, node.op) {
            ("ai.onnx", "Constant") => self.constant(node),
            (
                "ai.onnx",
                "Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Transpose" | "Expand"
                | "Slice" | "Split" | "Tile" | "DequantizeLinear" | "StringNormalizer" | "Optional"
                | "OptionalGetElement",
            )
            | ("ai.onnx.ml", "ArrayFeatureExtractor") => self.carry(node, 1),
            ("ai.onnx", "Concat") | ("ai.onnx.ml", "FeatureVectorizer") => self.carry(node, node.inputs.len()),
            ("ai.onnx", "Gather") => {
                self.table(node, 1, 0, node.int("axis").unwrap_or(0));
                self.carry(node, 1);
            }
            ("com.microsoft", "GatherBlockQuantized") => {
                self.table(node, 1, 0, node.int("gather_axis").unwrap_or(0));
            }
            ("com.microsoft", "EmbedLayerNormalization") => {
                self.table(node, 0, 2, 0);
                self.table(node, 1, 4, 0);
            }
            ("ai.onnx", "OneHot") => self.depth(node),
            ("ai.onnx", "Equal") => {
                self.compared(node, 0, 1);
                self.compared(node, 1, 0);
            }
            ("ai.onnx" | "ai.onnx.ml", "TfIdfVectorizer" | "LabelEncoder" | "CategoryMapper" | "OneHotEncoder")
            | ("ai.onnx.ml", "DictVectorizer") => self.categories(node),
            _ => {}
        }
    }

    /// `Constant` gives its `value`.
    fn constant(&mut self, node: &'g Node<'_>) {
        let tensor = node.attribute("value").and_then(|value| value.tensors.first());
        if let (Some(tensor), Some(output)) = (tensor, node.outputs.first()) {
            self.constants.insert(output, Constant { dims: &tensor.dims, tensor: Some(tensor) });
        }
    }

    /// The outputs carry the values of the first `inputs` inputs.
    fn carry(&mut self, node: &'g Node<'_>, inputs: usize) {
        let mut origins = BTreeSet::new();
        for input in node.inputs.iter().take(inputs) {
            origins.extend(self.origins.get(input).into_iter().flatten().take(MOST_ORIGINS));
        }
        if !origins.is_empty() && origins.len() <= MOST_ORIGINS {
            for output in &node.outputs {
                self.origins.insert(output, origins.clone());
            }
        }
        // A dequantized or cast table is as long as before.
        let source = node.input(0).and_then(|input| self.constants.get(input)).copied();
        if let (Some(source), "Identity" | "Cast" | "DequantizeLinear", Some(output)) =
            (source, node.op, node.outputs.first())
        {
            let tensor = source.tensor.filter(|_| node.op == "Identity");
            self.constants.insert(output, Constant { tensor, ..source });
        }
    }

    /// Input `indices` looks up the table in input `table` along `axis`.
    fn table(&mut self, node: &'g Node<'_>, indices: usize, table: usize, axis: i64) {
        let Some(constant) = node.input(table).and_then(|name| self.constants.get(name)) else { return };
        let rank = constant.dims.len() as i64;
        let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
        let Some(&length) = usize::try_from(axis).ok().and_then(|axis| constant.dims.get(axis)) else { return };
        self.below(node, indices, length);
    }

    /// `OneHot` takes indices below its depth.
    fn depth(&mut self, node: &'g Node<'_>) {
        let depth = node.input(1).and_then(|name| self.constants.get(name)?.tensor?.ints(1)?.first().copied());
        if let Some(depth) = depth.and_then(|depth| u64::try_from(depth).ok()) {
            self.below(node, 0, depth);
        }
    }

    fn below(&mut self, node: &'g Node<'_>, input: usize, below: u64) {
        self.learn(node, input, &|hint| hint.below = Some(hint.below.map_or(below, |known| known.min(below))));
    }

    /// `input` is compared with the constant `other`.
    fn compared(&mut self, node: &'g Node<'_>, input: usize, other: usize) {
        let Some(tensor) = node.input(other).and_then(|name| self.constants.get(name)?.tensor) else { return };
        let (ints, texts) = (tensor.ints(MOST_VALUES).unwrap_or_default(), tensor.texts(MOST_VALUES));
        if !ints.is_empty() || !texts.is_empty() {
            self.learn(node, input, &|hint| hint.add(&ints, &texts));
        }
    }

    /// Categories that stand in the operator's attributes.
    fn categories(&mut self, node: &'g Node<'_>) {
        let (mut ints, mut texts) = (Vec::new(), Vec::new());
        for attribute in &node.attributes {
            match attribute.name {
                "keys_strings" | "cats_strings" | "pool_strings" | "string_vocabulary" | "classes_strings" => {
                    texts.extend(attribute.texts(MOST_VALUES));
                }
                "keys_int64s" | "cats_int64s" | "pool_int64s" | "int64_vocabulary" => {
                    ints.extend(attribute.ints(MOST_VALUES));
                }
                "keys_tensor" => {
                    for tensor in &attribute.tensors {
                        texts.extend(tensor.texts(MOST_VALUES));
                        ints.extend(tensor.ints(MOST_VALUES).unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
        if !ints.is_empty() || !texts.is_empty() {
            self.learn(node, 0, &|hint| hint.add(&ints, &texts));
        }
    }

    /// Adds what `change` says to the hints of all graph inputs that reach `input` of the node.
    fn learn(&mut self, node: &'g Node<'_>, input: usize, change: &dyn Fn(&mut Hint)) {
        let origins = node.input(input).and_then(|name| self.origins.get(name));
        for origin in origins.into_iter().flatten() {
            let hint = self.hints.entry((*origin).into()).or_default();
            change(hint);
            hint.operators.insert(node.op.into());
        }
    }
}

impl Hint {
    fn add(&mut self, integers: &[i64], strings: &[&str]) {
        for integer in integers {
            if self.integers.len() < MOST_VALUES {
                self.integers.insert(*integer);
            }
        }
        for string in strings {
            if self.strings.len() < MOST_VALUES {
                self.strings.insert((*string).into());
            }
        }
    }
}
