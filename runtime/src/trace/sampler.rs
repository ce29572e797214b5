//! Which requests are recorded, and the numbers that name them.

use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::context::{Parent, SpanId, TraceId, written};
use crate::numbers::{Numbers, mixed};

/// A part of all requests: 0 none, 1 each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Default for Ratio {
    fn default() -> Self {
        Ratio(1.0)
    }
}

impl TryFrom<f64> for Ratio {
    type Error = String;

    fn try_from(ratio: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&ratio) { Ok(Ratio(ratio)) } else { Err(format!("`{ratio}` is not between 0 and 1")) }
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        ratio.0
    }
}

impl std::str::FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| format!("`{text}` is not a number from 0 to 1"))?.try_into()
    }
}

/// Decides as OpenTelemetry's samplers of the same words do, so that services with the same ratio agree on a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampler {
    /// A caller that sends its place decides.
    by_parent: bool,
    /// Other traces are recorded whose number is below this.
    below: u64,
}

impl Sampler {
    /// What the caller says (`by_parent`), else this part of the traces.
    pub(crate) fn new(by_parent: bool, Ratio(ratio): Ratio) -> Sampler {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a ratio is between 0 and 1")]
        let below = (ratio * (1u64 << 63) as f64) as u64;
        Sampler { by_parent, below }
    }

    /// Whether a request of this trace is recorded.
    fn records(self, trace: TraceId, parent: Option<&Parent>) -> bool {
        match parent {
            Some(parent) if self.by_parent => parent.sampled,
            _ => {
                let [.., a, b, c, d, e, f, g, h] = trace.0;
                u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.below
            }
        }
    }
}

/// Makes the numbers of traces and spans: distinct in this process, and in all likelihood between processes.
pub(crate) struct Ids(Numbers<3>);

/// A recorded request's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// The caller's span.
    pub(crate) parent: Option<SpanId>,
    /// Whether the trace's number was made at random.
    pub(crate) random: bool,
}

impl Ids {
    /// Begins at random places.
    pub(crate) fn new() -> Ids {
        Ids(Numbers::new())
    }

    /// A place for the next request, if it is to be recorded.
    pub(crate) fn place(&self, sampler: Sampler, parent: Option<&Parent>) -> Option<Place> {
        let [high, low, span] = self.0.next();
        let trace = match parent {
            Some(parent) => parent.trace,
            // All zeros would be no number.
            None => TraceId((u128::from(high.max(1)) << 64 | u128::from(low)).to_be_bytes()),
        };
        let place = Place {
            trace,
            span: SpanId(span.max(1).to_be_bytes()),
            parent: parent.map(|parent| parent.span),
            random: parent.is_none_or(|parent| parent.random),
        };
        sampler.records(trace, parent).then_some(place)
    }
}

impl Place {
    /// The value of `traceresponse`.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = written(self.trace, self.span, self.random);
        HeaderValue::try_from(text).expect("hexadecimal digits and dashes are a valid header value")
    }

    /// The number of a span below this one.
    pub(crate) fn child(&self, which: u64) -> SpanId {
        SpanId(mixed(u64::from_be_bytes(self.span.0).wrapping_add(which << 56 | 1)).max(1).to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sampler(by_parent: bool, ratio: f64) -> Sampler {
        Sampler::new(by_parent, ratio.try_into().unwrap())
    }

    fn parent(sampled: bool) -> Parent {
        Parent { trace: TraceId([7; 16]), span: SpanId([8; 8]), sampled, random: false }
    }

    #[test]
    fn a_caller_decides_where_it_may() {
        let ids = Ids::new();
        for ratio in [0.0, 1.0] {
            let place = ids.place(sampler(true, ratio), Some(&parent(true))).unwrap();
            assert_eq!((place.trace, place.parent), (TraceId([7; 16]), Some(SpanId([8; 8]))));
            assert_eq!(ids.place(sampler(true, ratio), Some(&parent(false))), None);
            assert_eq!(ids.place(sampler(false, ratio), Some(&parent(true))).is_some(), ratio == 1.0);
            assert_eq!(ids.place(sampler(true, ratio), None).is_some(), ratio == 1.0);
        }
    }

    #[test]
    fn a_ratio_takes_its_part_of_the_traces() {
        let (ids, quarter) = (Ids::new(), sampler(true, 0.25));
        let taken = (0..10_000).filter(|_| ids.place(quarter, None).is_some()).count();
        assert!((2200..2800).contains(&taken), "{taken}");
    }

    #[test]
    fn the_lower_half_of_a_trace_decides_as_everywhere() {
        let trace = |low: u64| TraceId(u128::from(low).to_be_bytes());
        let half = sampler(false, 0.5);
        assert!(half.records(trace((1 << 63) - 1), None));
        assert!(!half.records(trace(1 << 63), None));
        assert!(sampler(false, 1.0).records(trace(u64::MAX), None));
        assert!(!sampler(false, 0.0).records(trace(0), None));
    }

    #[test]
    fn numbers_differ_and_none_is_zero() {
        let ids = Ids::new();
        let places: Vec<Place> = (0..1000).map(|_| ids.place(sampler(true, 1.0), None).unwrap()).collect();
        let traces: BTreeSet<_> = places.iter().map(|place| place.trace.0).collect();
        let spans: BTreeSet<_> =
            places.iter().flat_map(|place| [place.span, place.child(0), place.child(1)]).map(|span| span.0).collect();
        assert_eq!((traces.len(), spans.len()), (1000, 3000));
        assert!(!spans.contains(&[0; 8]));
    }

    #[test]
    fn a_ratio_is_between_0_and_1() {
        assert_eq!("0.5".parse(), Ok(Ratio(0.5)));
        for text in ["", "x", "-0.1", "1.1", "NaN", "inf"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Ratio>("2").is_err());
    }
}
