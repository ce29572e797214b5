//! Texts of PromQL about the metrics of the runtime's table. A metric is named by its constant, so that a query for one
//! that isn't there doesn't compile.

use std::fmt::Write;

use nimify_runtime::grpc::method::Method;
use nimify_runtime::http::route::Route;
use nimify_runtime::metrics::Metric;

/// A histogram's buckets.
pub(super) const BUCKET: &str = "_bucket";
/// The sum of all that a histogram has seen.
pub(super) const SUM: &str = "_sum";
/// How much that was.
pub(super) const COUNT: &str = "_count";

/// Who asks: which series are meant, and over which time rates are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    /// Matchers that every selector has.
    pub(super) scope: &'a str,
    /// The window of rates and of what is asked over time.
    pub(super) window: &'a str,
}

impl Query<'_> {
    /// The series of a metric, or of one part of a histogram, that some more matchers choose.
    pub(super) fn of(&self, metric: &Metric, part: &str, matchers: &[&str]) -> String {
        self.named(&format!("{}{part}", metric.name), matchers)
    }

    /// The series of a name that no metric of the runtime has: `up`, or what a rule records.
    pub(super) fn named(&self, name: &str, matchers: &[&str]) -> String {
        let mut text = format!("{name}{{{}", self.scope);
        for matcher in matchers {
            // A `String` takes whatever is written.
            let _ = write!(text, ",{matcher}");
        }
        text + "}"
    }

    /// How much a counter grows in a second.
    pub(super) fn rate(&self, metric: &Metric, part: &str, matchers: &[&str]) -> String {
        self.over("rate", metric, part, matchers)
    }

    /// A function of a metric over the window.
    pub(super) fn over(&self, function: &str, metric: &Metric, part: &str, matchers: &[&str]) -> String {
        format!("{function}({}[{}])", self.of(metric, part, matchers), self.window)
    }

    /// A sum of rates, by some labels or, where `by` is empty, of all.
    pub(super) fn sum(&self, by: &str, metric: &Metric, part: &str, matchers: &[&str]) -> String {
        let by = if by.is_empty() { String::new() } else { format!(" by ({by}) ") };
        format!("sum{by}({})", self.rate(metric, part, matchers))
    }

    /// A quantile of a histogram, by some labels.
    pub(super) fn quantile(&self, quantile: &str, by: &str, histogram: &Metric, matchers: &[&str]) -> String {
        let by = if by.is_empty() { "le".into() } else { format!("{by}, le") };
        format!("histogram_quantile({quantile}, {})", self.sum(&by, histogram, BUCKET, matchers))
    }
}

/// `part / whole`, where `part` counts as nothing while no series of it is there yet.
pub(super) fn share(part: &str, whole: &str) -> String {
    format!("({part} or 0 * {whole}) / {whole}")
}

/// The matcher of the label `route` for what runs the model, over every protocol.
pub(super) fn inference() -> String {
    let routes = Route::ALL.iter().filter(|route| route.is_inference()).map(|route| route.label());
    let methods = Method::ALL.iter().filter(|method| method.is_inference()).map(|method| method.label());
    let labels: Vec<String> = routes.chain(methods).map(literal).collect();
    format!("route=~\"{}\"", labels.join("|"))
}

/// A regular expression for one text: where it would need a backslash, which a string needs twice, any character fits.
fn literal(text: &str) -> String {
    text.chars().map(|c| if ".{}".contains(c) { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use nimify_runtime::metrics::table::NIMIFY_STAGE_DURATION_SECONDS;

    use super::*;

    #[test]
    fn queries_are_written_out() {
        let query = Query { scope: "job=\"digits\"", window: "5m" };
        assert_eq!(query.named("up", &[]), "up{job=\"digits\"}");
        assert_eq!(
            query.quantile("0.99", "stage", &NIMIFY_STAGE_DURATION_SECONDS, &["stage!=\"queue\""]),
            "histogram_quantile(0.99, sum by (stage, le) (rate(nimify_stage_duration_seconds_bucket{job=\"digits\",stage!=\"queue\"}[5m])))"
        );
        assert_eq!(share("a", "b"), "(a or 0 * b) / b");
    }

    #[test]
    fn what_runs_the_model_is_asked_for_over_every_protocol() {
        assert_eq!(
            inference(),
            "route=~\"/v1/predict|/v1/infer|/v2/models/.model./infer\
             |/inference.GRPCInferenceService/ModelInfer|/inference.GRPCInferenceService/ModelStreamInfer\""
        );
    }
}
