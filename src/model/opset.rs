//! Which operator sets ONNX Runtime brings, and which operators keep requests from being joined.

use std::collections::BTreeMap;

use super::fault::Fault;

/// The release of ONNX Runtime that the figures here belong to: the one that is pinned.
pub const ONNX_RUNTIME: &str = "1.31";

/// The newest IR version that it loads.
pub(super) const NEWEST_IR: i64 = 13;

/// The standard domain, which files write as an empty text too.
pub(super) const STANDARD: &str = "ai.onnx";

/// Each domain that ONNX Runtime has operators of, and the newest version that it loads: tried one by one on the
/// library itself.
const DOMAINS: [(&str, i64); 9] = [
    (STANDARD, 26),
    ("ai.onnx.ml", 5),
    ("ai.onnx.preview", 1),
    ("ai.onnx.preview.training", 1),
    ("ai.onnx.training", 1),
    ("com.microsoft", 1),
    ("com.microsoft.experimental", 1),
    ("com.microsoft.nchwc", 1),
    ("com.ms.internal.nhwc", 26),
];

/// The oldest version of the standard operators that ONNX Runtime promises to run right.
pub(super) const OLDEST_PROMISED: i64 = 7;

/// Spells a domain as it is shown: the empty one is `ai.onnx`.
pub(super) fn domain_name(domain: &str) -> &str {
    if domain.is_empty() { STANDARD } else { domain }
}

/// Whether ONNX Runtime brings operators of this domain.
pub(super) fn is_built_in(domain: &str) -> bool {
    DOMAINS.iter().any(|(name, _)| *name == domain)
}

/// Refuses versions that ONNX Runtime does not load.
pub(super) fn check(ir_version: i64, opsets: &BTreeMap<String, i64>) -> Result<(), Fault> {
    if ir_version > NEWEST_IR {
        return Err(Fault::IrTooNew { model: ir_version, supported: NEWEST_IR });
    }
    for (name, supported) in DOMAINS {
        if let Some(&model) = opsets.get(name).filter(|&&model| model > supported) {
            return Err(Fault::OpsetTooNew { domain: name.into(), model, supported });
        }
    }
    Ok(())
}

/// Why an operator couples the rows of a batch whatever its attributes say, `None` for one that doesn't.
pub(super) fn couples_rows(domain: &str, op: &str) -> Option<&'static str> {
    const SCALE: &str = "takes its scale from all rows of the batch together";
    const RANDOM: &str = "gives other values each time, so that rows can't be compared";
    const COUNT: &str = "gives rows for the whole batch, not for each request";
    match (domain, op) {
        (STANDARD, "DynamicQuantizeLinear") => Some(SCALE),
        ("com.microsoft", "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM") => Some(SCALE),
        (
            STANDARD,
            "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Multinomial" | "Bernoulli",
        ) => Some(RANDOM),
        (STANDARD, "NonMaxSuppression" | "Unique") => Some(COUNT),
        ("ai.onnx.preview.training" | "ai.onnx.training", _) => Some("is an operator of training"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_are_refused_with_both_numbers() {
        let opsets = |name: &str, version| BTreeMap::from([(name.to_string(), version)]);
        assert_eq!(check(13, &opsets("ai.onnx", 26)), Ok(()));
        assert_eq!(check(8, &opsets("my.own", 1000)), Ok(()));
        let error = check(8, &opsets("ai.onnx.ml", 6)).unwrap_err();
        assert_eq!(error.to_string(), "the model uses opset 6 of `ai.onnx.ml`, and ONNX Runtime 1.31 knows it up to 5");
        assert_eq!(check(14, &opsets("ai.onnx", 20)), Err(Fault::IrTooNew { model: 14, supported: 13 }));
    }
}
