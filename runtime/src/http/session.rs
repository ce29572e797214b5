//! The headers that say to which session a request over HTTP belongs.

use hyper::HeaderMap;

use crate::error::Error;
use crate::state::Sequence;

/// The session's name.
const SESSION: &str = "nimify-session";
/// Whether the request is its first, or its last.
const START: &str = "nimify-session-start";
const END: &str = "nimify-session-end";

/// What the headers say.
pub(super) fn of(headers: &HeaderMap) -> Result<Sequence, Error> {
    let mut sequence = Sequence::default();
    if let Some(id) = text(headers, SESSION)? {
        sequence.named(id)?;
    }
    (sequence.start, sequence.end) = (flag(headers, START)?, flag(headers, END)?);
    Ok(sequence)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Error> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose()
        .map_err(|_| Error::BadRequest(format!("the header `{name}` should be of visible ASCII characters")))
}

fn flag(headers: &HeaderMap, name: &str) -> Result<bool, Error> {
    match text(headers, name)? {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Error::BadRequest(format!("the header `{name}` should be true or false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Sequence, Error> {
        of(&headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn a_session_is_named_in_headers() {
        assert_eq!(read(&[]), Ok(Sequence::default()));
        let begun = Sequence { id: Some("a".into()), start: true, end: false };
        assert_eq!(read(&[(SESSION, "a"), (START, "true"), (END, "0")]), Ok(begun));
        assert_eq!(read(&[(SESSION, "0")]).unwrap().id, None);
        assert!(matches!(read(&[(SESSION, "a"), (END, "yes")]), Err(Error::BadRequest(text)) if text.contains(END)));
    }
}
