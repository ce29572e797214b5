//! `Chart.yaml`.

use serde::Serialize;

use super::yaml;
use crate::plan::ServiceName;

/// What `Chart.yaml` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    api_version: &'static str,
    name: String,
    description: String,
    #[serde(rename = "type")]
    kind: &'static str,
    version: String,
    app_version: String,
    kube_version: &'static str,
    keywords: [&'static str; 3],
}

impl Metadata {
    /// The metadata of the chart of one model's version.
    pub(super) fn new(name: &ServiceName, description: &str, model_version: &str) -> Self {
        Metadata {
            api_version: "v2",
            name: name.to_string(),
            description: description.into(),
            kind: "application",
            version: chart_version(model_version),
            app_version: model_version.into(),
            // The oldest with all that the templates use: `autoscaling/v2`, `policy/v1`, and pod eviction by health.
            kube_version: ">=1.27.0-0",
            keywords: ["inference", "model", "onnx"],
        }
    }

    pub(super) fn to_yaml(&self) -> String {
        yaml::write(&serde_json::to_value(self).expect("plain text can be written as JSON"))
    }
}

/// The semantic version that helm wants, made from a model's version, which can be any text: the version itself where
/// it is one already, `1.2.0` of `v1.2`, and a pre-release of `0.0.0` of anything else.
fn chart_version(model_version: &str) -> String {
    let bare = model_version.strip_prefix('v').unwrap_or(model_version);
    let (core, rest) = bare.split_at(bare.find(['-', '+']).unwrap_or(bare.len()));
    let numbers: Vec<&str> = core.split('.').collect();
    if numbers.len() <= 3 && numbers.iter().all(|number| is_number(number)) && is_suffix(rest) {
        let missing = ".0".repeat(3 - numbers.len());
        return format!("{core}{missing}{rest}");
    }
    let clean: String = model_version.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("0.0.0-m{}", clean.chars().take(40).collect::<String>())
}

/// A whole number without leading zeros that fits in 64 bits.
fn is_number(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) && text.parse::<u64>().is_ok()
}

/// `-PRERELEASE+BUILD`, both optional.
fn is_suffix(text: &str) -> bool {
    let (pre, build) = text.split_once('+').map_or((text, None), |(pre, build)| (pre, Some(build)));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let whole = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let pre_fits = match pre.strip_prefix('-') {
        Some(pre) => pre.split('.').all(|part| word(part) && (!whole(part) || is_number(part))),
        None => pre.is_empty(),
    };
    pre_fits && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_of_a_model_makes_a_semantic_version() {
        for (model, chart) in [
            ("1.2.3", "1.2.3"),
            ("v1.2", "1.2.0"),
            ("7", "7.0.0"),
            ("1.0.0-rc.1+a.01", "1.0.0-rc.1+a.01"),
            ("1.0.0-01", "0.0.0-m1-0-0-01"),
            ("01.2.3", "0.0.0-m01-2-3"),
            ("2026-11-21", "2026.0.0-11-21"),
            ("2026_11", "0.0.0-m2026-11"),
            ("1.2.3.4", "0.0.0-m1-2-3-4"),
            ("99999999999999999999", "0.0.0-m99999999999999999999"),
            ("größe {{", "0.0.0-mgr--e---"),
            ("", "0.0.0-m"),
        ] {
            assert_eq!(chart_version(model), chart, "{model:?}");
        }
    }
}
