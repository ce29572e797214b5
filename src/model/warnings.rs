//! What somebody who serves a model should know about it, in words.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{Dim, ValueSpec, ValueType};

use super::contents::{can_be_served, given};
use super::onnx::Model;
use super::opset::{OLDEST_PROMISED, STANDARD, domain_name};

/// All warnings, in a fixed order.
pub(super) fn warnings(
    model: &Model<'_>,
    inputs: &[ValueSpec],
    outputs: &[ValueSpec],
    custom: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut warnings = custom_operators(custom);
    warnings.extend(native_code(model));
    warnings.extend(values(inputs, outputs));
    warnings.extend(initializers(model));
    if model.training {
        warnings.push("the file carries graphs for training: they are not served".into());
    }
    match model.opsets.get(STANDARD) {
        Some(version) if *version < OLDEST_PROMISED => warnings.push(format!(
            "opset {version} of `{STANDARD}` is older than {OLDEST_PROMISED}, the oldest that ONNX Runtime promises \
             to run right"
        )),
        _ => {}
    }
    warnings
}

/// Operators that neither ONNX Runtime nor the model brings.
pub(super) fn custom_operators(custom: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let warning = |(domain, operators): (&String, &BTreeSet<String>)| {
        let operators: Vec<_> = operators.iter().map(|op| format!("`{op}`")).collect();
        format!(
            "operators of `{domain}` are not part of ONNX Runtime: {}; the model loads only with the library that \
             brings them",
            operators.join(", ")
        )
    };
    custom.iter().map(warning).collect()
}

/// What is to be said of inputs and outputs.
pub(super) fn values(inputs: &[ValueSpec], outputs: &[ValueSpec]) -> Vec<String> {
    let named = inputs.iter().map(|spec| ("input", spec)).chain(outputs.iter().map(|spec| ("output", spec)));
    named.flat_map(|(what, spec)| value(what, spec)).collect()
}

/// Said of a model with a compiled engine in it.
pub(super) const EMBEDDED_ENGINE: &str = "the file holds a compiled engine (`EPContext` with `embed_mode` 1): it is \
    native code, so trust it only as you would a program, and it runs on the hardware that it was compiled for alone";
/// Said of a model with a compiled engine beside it.
pub(super) const NAMED_ENGINE: &str = "the model runs a compiled engine from a file beside it (`EPContext`): it is \
    native code, so trust it only as you would a program, and it runs on the hardware that it was compiled for alone";

/// Compiled engines that ONNX Runtime hands to the hardware's own library.
fn native_code(model: &Model<'_>) -> Option<String> {
    let mut embedded = false;
    let mut named = false;
    model.graph.each_node(&mut |node| {
        if (domain_name(node.domain), node.op) == ("com.microsoft", "EPContext") {
            // The operator's default is 1.
            match node.int("embed_mode").unwrap_or(1) {
                0 => named = true,
                _ => embedded = true,
            }
        }
    });
    if embedded {
        return Some(EMBEDDED_ENGINE.into());
    }
    named.then(|| NAMED_ENGINE.into())
}

fn value(what: &str, spec: &ValueSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let name = &spec.name;
    if !can_be_served(&spec.value_type) {
        warnings.push(format!("{what} `{name}` is {}, which no request or answer can carry", spec.value_type));
    }
    let (ValueType::Tensor { shape, .. } | ValueType::SparseTensor { shape, .. }) = &spec.value_type else {
        return warnings;
    };
    for dim in shape.dims().into_iter().flatten() {
        match dim {
            Dim::Symbolic(size) if size.contains(['+', '-', '*', '/', '(', ' ']) => warnings.push(format!(
                "a dimension of {what} `{name}` is the expression `{size}`: no request is held to it but by the model"
            )),
            Dim::Fixed(0) => warnings.push(format!(
                "a dimension of {what} `{name}` is fixed to 0: no row fits in, and the exporter may have meant a free one"
            )),
            _ => {}
        }
    }
    warnings
}

/// Inputs that have an initializer, and initializers that are there twice.
fn initializers(model: &Model<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let given = given(&model.graph);
    let hidden: Vec<_> =
        model.graph.inputs.iter().map(|input| input.name).filter(|name| given.contains(name)).collect();
    if model.ir_version >= 4 && !hidden.is_empty() {
        let some: Vec<_> = hidden.iter().take(5).map(|name| format!("`{name}`")).collect();
        let more =
            if hidden.len() > some.len() { format!(" and {} more", hidden.len() - some.len()) } else { String::new() };
        warnings.push(format!(
            "inputs with a default value are not part of the service: {}{more}; the defaults in the file are used",
            some.join(", ")
        ));
    }
    let mut seen = BTreeSet::new();
    let twice = model.graph.initializers.iter().find(|tensor| !tensor.name.is_empty() && !seen.insert(tensor.name));
    warnings.extend(
        twice.map(|tensor| {
            format!("initializer `{}` is there more than once: ONNX Runtime takes the last", tensor.name)
        }),
    );
    warnings
}
