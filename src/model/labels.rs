//! What the graph says about the labels of its maps: the classes of a `ZipMap`, with which converters end classifiers.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{ElementType, ValueSpec, ValueType};

use super::graph::{Graph, Node};
use super::opset::domain_name;

/// Most labels that are kept of one map: documents and types with more help nobody.
pub(super) const MOST_LABELS: usize = 256;
/// Bytes of the longest label that is kept.
const LONGEST_LABEL: usize = 256;

/// Writes the labels into the types of the outputs that are sequences of maps, where the graph names them all.
pub(super) fn add(graph: &Graph<'_>, outputs: &mut [ValueSpec]) {
    let makers: BTreeMap<&str, &Node<'_>> =
        graph.nodes.iter().flat_map(|node| node.outputs.iter().map(move |output| (*output, node))).collect();
    for output in outputs {
        let ValueType::Sequence { element } = &mut output.value_type else { continue };
        let ValueType::Map { key, labels, .. } = &mut **element else { continue };
        if let Some(known) = origin(&makers, &output.name).and_then(|node| classes(node, *key)) {
            *labels = known;
        }
    }
}

/// The node that made what an output hands through.
fn origin<'g, 'a>(makers: &BTreeMap<&str, &'g Node<'a>>, output: &str) -> Option<&'g Node<'a>> {
    let mut node = *makers.get(output)?;
    // A cycle, which no valid graph has, ends here.
    for _ in 0..makers.len() {
        if (domain_name(node.domain), node.op) != ("ai.onnx", "Identity") {
            return Some(node);
        }
        node = makers.get(node.input(0)?)?;
    }
    None
}

/// The classes of a `ZipMap`, in their order; `None` where they are too many, or are no text, or are there twice.
fn classes(node: &Node<'_>, key: ElementType) -> Option<Vec<String>> {
    if (domain_name(node.domain), node.op) != ("ai.onnx.ml", "ZipMap") {
        return None;
    }
    let labels: Vec<String> = match key {
        ElementType::Int64 => {
            node.attribute("classlabels_int64s")?.ints(MOST_LABELS + 1).iter().map(i64::to_string).collect()
        }
        ElementType::String => {
            let texts = node.attribute("classlabels_strings")?.every_text(MOST_LABELS)?;
            texts.into_iter().map(String::from).collect()
        }
        _ => return None,
    };
    fit(labels)
}

/// The labels, if they are few, short, and each there once.
pub(super) fn fit(labels: Vec<String>) -> Option<Vec<String>> {
    let distinct: BTreeSet<&String> = labels.iter().collect();
    let fit = distinct.len() == labels.len() && labels.len() <= MOST_LABELS;
    (fit && labels.iter().all(|label| label.len() <= LONGEST_LABEL)).then_some(labels)
}
