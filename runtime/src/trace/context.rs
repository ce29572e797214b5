//! W3C Trace Context: `traceparent` and `tracestate` as a caller sends them, `traceresponse` as it gets it back. Pure.
//!
//! Read as Level 2 of the specification says: what is wrong is ignored, and a later version's additions too.

use std::fmt;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The caller's place in its trace.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems on the way have added.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The place of the answered request, in the editors' draft of Trace Context and OpenTelemetry's propagators.
pub(crate) const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Length of what version 00 writes.
const LENGTH: usize = 55;
/// Longer than this, a `tracestate` needn't be kept.
const LONGEST_STATE: usize = 512;
/// Members that a `tracestate` may have.
const MOST_MEMBERS: usize = 32;

/// A trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A span. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// What `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace that the caller is in.
    pub trace: TraceId,
    /// The caller's span.
    pub span: SpanId,
    /// Whether the caller's span is recorded.
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`; `None` for one that the specification tells to ignore.
    pub fn parse(text: &[u8]) -> Option<Parent> {
        let head = text.get(..LENGTH)?;
        let [version] = hex::<1>(&head[..2])?;
        match version {
            0xff => return None,
            0 if text.len() != LENGTH => return None,
            // A later version may go on, after another dash.
            _ if text.get(LENGTH).is_some_and(|next| *next != b'-') => return None,
            _ => {}
        }
        if [head[2], head[35], head[52]] != [b'-'; 3] {
            return None;
        }
        let (trace, span, [flags]) = (hex(&head[3..35])?, hex(&head[36..52])?, hex(&head[53..])?);
        let parent = Parent { trace: TraceId(trace), span: SpanId(span), sampled: flags & 1 == 1 };
        (trace != [0; 16] && span != [0; 8]).then_some(parent)
    }

    /// The caller's place, if it sent exactly one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Parent> {
        let first = headers.get(TRACEPARENT)?;
        let alone = headers.get_all(TRACEPARENT).iter().nth(1).is_none();
        alone.then(|| Parent::parse(first.as_bytes())).flatten()
    }
}

/// Digits of lower case, as the specification has them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

/// The place of a recorded span in the form that `traceparent` and `traceresponse` share.
pub fn written(trace: TraceId, span: SpanId) -> String {
    format!("00-{trace}-{span}-01")
}

/// `traceresponse`'s value for a recorded span.
pub(crate) fn header(trace: TraceId, span: SpanId) -> HeaderValue {
    HeaderValue::try_from(written(trace, span)).expect("hexadecimal digits and dashes are a valid header value")
}

/// All `tracestate` headers as one; `None` where there is none, or one that is to be discarded.
pub(crate) fn state(headers: &HeaderMap) -> Option<Box<str>> {
    let mut texts = headers.get_all(TRACESTATE).iter();
    let mut whole = texts.next()?.to_str().ok()?.to_string();
    for more in texts {
        whole = whole + "," + more.to_str().ok()?;
        if whole.len() > LONGEST_STATE {
            return None;
        }
    }
    parse_state(&whole)
}

/// The members of a `tracestate` without the spaces and commas that say nothing; `None` for what is to be discarded.
pub fn parse_state(text: &str) -> Option<Box<str>> {
    if text.len() > LONGEST_STATE {
        return None;
    }
    let mut members: Vec<(&str, &str)> = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let fits = is_key(key) && is_value(value) && members.len() < MOST_MEMBERS;
        if !fits || members.iter().any(|(other, _)| *other == key) {
            return None;
        }
        members.push((key, value));
    }
    let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!members.is_empty()).then(|| members.join(",").into())
}

fn is_key(key: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=256).contains(&key.len())
        && key.bytes().next().is_some_and(first)
        && key.bytes().all(|byte| first(byte) || b"_-*/@".contains(&byte))
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_place_is_read_and_written_alike() {
        let parent = Parent::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span.to_string(), "b7ad6b7169203331");
        assert!(parent.sampled);
        assert_eq!(written(parent.trace, parent.span), EXAMPLE);
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("{}{flags}", &EXAMPLE[..53]);
            assert_eq!(Parent::parse(text.as_bytes()).unwrap().sampled, sampled, "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for text in [format!("01{}", &EXAMPLE[2..]), format!("cc{}-what-the-future-brings", &EXAMPLE[2..])] {
            assert_eq!(Parent::parse(text.as_bytes()), Parent::parse(EXAMPLE.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_ignored() {
        let rest = &EXAMPLE[2..];
        for text in [
            String::new(),
            EXAMPLE[..54].into(),
            format!("{EXAMPLE}-"),
            format!("{EXAMPLE}x"),
            format!("ff{rest}"),
            format!("0x{rest}"),
            format!("01{rest}x"),
            format!(" {EXAMPLE}"),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replace('a', "g"),
            EXAMPLE.replace("-b7", "_b7"),
            EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            EXAMPLE.replace("b7ad6b7169203331", &"0".repeat(16)),
            format!("{}é", &EXAMPLE[..53]),
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn two_places_are_none() {
        let value = HeaderValue::from_static(EXAMPLE);
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::of(&headers), None);
        headers.append(TRACEPARENT, value.clone());
        assert_eq!(Parent::of(&headers), Parent::parse(EXAMPLE.as_bytes()));
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None);
    }

    #[test]
    fn a_state_is_kept_or_discarded_as_a_whole() {
        for (text, kept) in [
            ("congo=t61rcWkgMzE", Some("congo=t61rcWkgMzE")),
            (" a=1 ,\t, 0b@c=2 3!", Some("a=1,0b@c=2 3!")),
            ("", None),
            (",", None),
            ("a", None),
            ("a=", None),
            ("=1", None),
            ("A=1", None),
            ("a=1,a=2", None),
            ("a=b=c", None),
            ("a=é", None),
        ] {
            assert_eq!(parse_state(text).as_deref(), kept, "{text}");
        }
        let many = |count: usize| (0..count).map(|k| format!("k{k}=1")).collect::<Vec<_>>().join(",");
        assert!(parse_state(&many(32)).is_some());
        assert!(parse_state(&many(33)).is_none());
        assert!(parse_state(&format!("a={}", "1".repeat(511))).is_none());
    }

    #[test]
    fn several_states_are_one() {
        let header = |text: &'static str| (TRACESTATE, HeaderValue::from_static(text));
        let mut headers = HeaderMap::new();
        assert_eq!(state(&headers), None);
        for (name, value) in [header("a=1"), header("b=2, c=3")] {
            headers.append(name, value);
        }
        assert_eq!(state(&headers).as_deref(), Some("a=1,b=2,c=3"));
        headers.append(TRACESTATE, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(state(&headers), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_in_it(
            text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?|\\PC{0,60}|[0-9a-fA-F-]{50,60}"
        ) {
            if let Some(parent) = Parent::parse(text.as_bytes()) {
                let written = written(parent.trace, parent.span);
                prop_assert_eq!(&text[2..52], &written[2..52]);
                prop_assert_eq!(Parent::parse(written.as_bytes()), Some(Parent { sampled: true, ..parent }));
            }
        }

        #[test]
        fn what_is_kept_of_a_state_is_kept_again(text in "([a-c0@*]{0,3}=?[ -~]{0,4}[, \t]?){0,9}|\\PC{0,60}") {
            if let Some(state) = parse_state(&text) {
                prop_assert_eq!(parse_state(&state), Some(state.clone()));
                prop_assert!(state.len() <= text.len());
            }
        }
    }
}
