//! How a call ends, in gRPC's words: `grpc-status`, `grpc-message`, and when to come again.

use std::fmt::Write as _;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use crate::error::{Code, Error};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The trailers of a call that ended so.
pub(super) fn trailers(error: Option<&Error>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    insert(&mut trailers, error);
    trailers
}

/// Says how a call ended: well, where there is no error.
pub(super) fn insert(headers: &mut HeaderMap, error: Option<&Error>) {
    let code = error.map_or(Code::Ok, Error::code);
    headers.insert(STATUS, HeaderValue::from(code as u16));
    if let Some(error) = error {
        let message = HeaderValue::try_from(percent_encoded(&error.to_string()));
        headers.insert(MESSAGE, message.expect("what is left are printable characters"));
        if let Error::QueueFull(_) = error {
            // As HTTP's `Retry-After`.
            headers.insert(PUSHBACK, HeaderValue::from_static("1000"));
        }
    }
}

/// Printable ASCII stays as it is, but for the percent sign.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                let _infallible = write!(encoded, "%{byte:02X}");
            }
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

/// The header `grpc-timeout`: up to eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let wrong = || Error::BadRequest("the header `grpc-timeout` should be up to eight digits and a unit".into());
    let (unit, digits) = value.as_bytes().split_last().ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    let duration = match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return Err(wrong()),
    };
    Ok(Some(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_printable_characters() {
        let said = trailers(Some(&Error::QueueFull("100 % – \"full\"\n".into())));
        assert_eq!((&said[STATUS], &said[PUSHBACK]), (&HeaderValue::from(14), &HeaderValue::from(1000)));
        assert_eq!(said[MESSAGE], "100 %25 %E2%80%93 \"full\"%0A");
        let said = trailers(None);
        assert_eq!((said.len(), &said[STATUS]), (1, &HeaderValue::from(0)));
    }

    #[test]
    fn timeouts_have_a_number_and_a_unit() {
        let read = |text: &str| timeout(&HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_str(text).unwrap())]));
        for (text, micros) in
            [("2H", 7_200_000_000), ("1M", 60_000_000), ("3S", 3_000_000), ("4m", 4000), ("5u", 5), ("6000n", 6)]
        {
            assert_eq!(read(text), Ok(Some(Duration::from_micros(micros))), "{text}");
        }
        assert_eq!(read("99999999H").unwrap().unwrap().as_secs(), 99_999_999 * 3600);
        for text in ["", "S", "5", "5s", "-5S", "123456789S", "1.5S", "5 S"] {
            assert!(matches!(read(text), Err(Error::BadRequest(_))), "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
