//! Content codings: which of them a client wants, and bodies in them, both ways. Pure: bytes → bytes.

mod compress;
mod decompress;

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue};

pub(crate) use self::compress::compress;
pub(super) use self::compress::encoded;
pub(crate) use self::decompress::decode;
use crate::error::Error;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// zlib's format, RFC 1950; bare deflate data is read too, since some send it.
    Deflate,
}

/// What answers are written in and requests read in, for the header that says so.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("zstd, gzip, br, deflate");

/// Codings one over the other; nobody means more than two.
const DEEPEST: usize = 3;

impl Coding {
    /// The cheapest first: between two that a client likes alike, it is taken.
    const ALL: [Coding; 4] = [Coding::Zstd, Coding::Gzip, Coding::Brotli, Coding::Deflate];

    /// Its name in headers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Deflate => "deflate",
        }
    }

    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<Coding> {
        let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
        Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name()))
    }
}

/// What a client would have an answer written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    coding: Coding,
    /// It doesn't take the answer as it is.
    only: bool,
}

/// What the client asks for; `None` where it takes answers as they are, or likes them best so.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Wanted> {
    // Most machines don't ask.
    headers.get(ACCEPT_ENCODING)?;
    let mut weights = [None; 4];
    let (mut any, mut identity) = (None, None);
    let texts = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for item in texts.flat_map(|text| text.split(',')) {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let (name, weight) = (name.trim(), weight(parameters));
        match Coding::find(name) {
            Some(coding) => weights[coding as usize] = Some(weight),
            None if name == "*" => any = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None => {}
        }
    }
    let mut best: Option<(Coding, u16)> = None;
    for coding in Coding::ALL {
        let weight = weights[coding as usize].or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((coding, weight));
        }
    }
    let (coding, weight) = best?;
    let only = identity.or(any) == Some(0);
    (identity.is_none_or(|identity| weight >= identity)).then_some(Wanted { coding, only })
}

/// `q=0.5` in thousandths; 1 where nothing is said, and none where it is nonsense.
fn weight(parameters: &str) -> u16 {
    let Some(text) = parameters.split(';').map(str::trim).find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")))
    else {
        return 1000;
    };
    match text.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

/// The codings of a request's body, the outermost first; empty for most. 415 for one that nobody knows.
pub(super) fn sent(headers: &HeaderMap) -> Result<Vec<Coding>, Error> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim) {
            if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                continue;
            }
            let coding = Coding::find(name).filter(|_| codings.len() < DEEPEST);
            codings.push(coding.ok_or_else(|| {
                Error::UnsupportedMediaType(format!(
                    "the content encoding `{}` is not supported: send the body as it is, or in one of `{}`",
                    String::from_utf8_lossy(value.as_bytes()).escape_default(),
                    ACCEPTED.to_str().unwrap_or_default(),
                ))
            })?);
        }
    }
    codings.reverse();
    Ok(codings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(text: &str) -> Option<(Coding, bool)> {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(text).unwrap())]);
        wanted(&headers).map(|wanted| (wanted.coding, wanted.only))
    }

    #[test]
    fn the_best_of_what_a_client_takes_is_chosen() {
        use Coding::{Brotli, Deflate, Gzip, Zstd};
        for (text, expected) in [
            ("", None),
            ("identity", None),
            ("gzip", Some((Gzip, false))),
            ("X-GZip", Some((Gzip, false))),
            ("gzip, deflate, br, zstd", Some((Zstd, false))),
            ("gzip, deflate, br", Some((Gzip, false))),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some((Brotli, false))),
            ("deflate;q=0.5, gzip;q=0", Some((Deflate, false))),
            ("*", Some((Zstd, false))),
            ("*;q=0", None),
            ("zstd;q=0, *", Some((Gzip, false))),
            ("gzip;q=0.5, identity", None),
            ("gzip, identity;q=0.5", Some((Gzip, false))),
            ("gzip, identity;q=0", Some((Gzip, true))),
            ("gzip;q=0.001, *;q=0", Some((Gzip, true))),
            ("gzip;q=2", None),
            ("gzip;q=x", None),
            ("compress, snappy", None),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
        let several = [(ACCEPT_ENCODING, HeaderValue::from_static("br;q=0.5"))];
        let mut headers = HeaderMap::from_iter(several);
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(wanted(&headers).map(|wanted| wanted.coding), Some(Gzip));
        assert_eq!(wanted(&HeaderMap::new()), None);
    }

    #[test]
    fn codings_are_taken_off_in_turn() {
        let of = |text: &str| {
            sent(&HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_bytes(text.as_bytes()).unwrap())]))
        };
        assert_eq!(sent(&HeaderMap::new()), Ok(vec![]));
        assert_eq!(of("Identity, "), Ok(vec![]));
        assert_eq!(of("gzip, br"), Ok(vec![Coding::Brotli, Coding::Gzip]));
        for text in ["compress", "gzip, snappy", "gzip,gzip,gzip,gzip", "gz\u{e9}"] {
            assert!(of(text).unwrap_err().to_string().contains("zstd, gzip, br, deflate"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[a-z*;=,. 0-9qQ]{0,60}") {
            asked(&text);
        }
    }
}
