//! `x-request-id`: the client's if it is sane, else one of our own; on every answer and in the logs.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::numbers::Numbers;

/// The header, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids than this are replaced.
const LONGEST: usize = 128;

/// Makes ids: distinct in this process, and in all likelihood between processes.
pub(crate) struct RequestIds(Numbers<1>);

impl RequestIds {
    /// Begins at a random place.
    pub(crate) fn new() -> Self {
        RequestIds(Numbers::new())
    }

    /// The client's id, or a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(REQUEST_ID) {
            Some(id) if is_sane(id.as_bytes()) => id.clone(),
            _ => self.make(),
        }
    }

    fn make(&self) -> HeaderValue {
        let [mut id] = self.0.next();
        let mut text = [0; 16];
        for digit in &mut text {
            *digit = b"0123456789abcdef"[(id >> 60) as usize];
            id <<= 4;
        }
        HeaderValue::from_bytes(&text).expect("hexadecimal digits are a valid header value")
    }
}

/// An id as the logs have it.
pub(crate) fn text(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

/// Short, and nothing that breaks a log line, a shell or a query.
fn is_sane(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= LONGEST && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        for (sent, kept) in [
            ("abc-123_x.y:z/+=@", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
        ] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(sent).unwrap())]);
            assert_eq!(ids.of(&headers) == sent, kept, "{sent}");
        }
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(b"\xff").unwrap())]);
        assert_eq!(ids.of(&headers).len(), 16);
    }

    #[test]
    fn ids_differ() {
        let ids = RequestIds::new();
        let made: std::collections::BTreeSet<_> =
            (0..1000).map(|_| ids.of(&HeaderMap::new()).to_str().unwrap().to_string()).collect();
        assert_eq!(made.len(), 1000);
    }
}
