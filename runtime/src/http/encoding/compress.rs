//! Answers → smaller answers, for clients that ask for it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};

use super::{Coding, Wanted};
use crate::http::respond::Response;
use crate::inference::aside_if_large;
use crate::settings::ServerSettings;

/// What is tried of numbers in binary, which shrink seldom.
const TRIED: usize = 16 << 10;

/// The fastest levels: an answer is read once.
const LEVEL: u32 = 1;
const WINDOW_BITS: i32 = 18;

/// The answer as the client wants it, where that is worth it.
pub(in crate::http) fn encoded(mut response: Response, wanted: Option<Wanted>, settings: &ServerSettings) -> Response {
    let Some(body) = response.body().whole() else { return response };
    let large = body.len() >= settings.compression_min_bytes;
    if !settings.compression || body.is_empty() || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let smaller = match wanted {
        Some(wanted) if large || wanted.only => {
            let binary = response.headers().get(CONTENT_TYPE).is_some_and(|t| t == "application/octet-stream");
            aside_if_large(body.len(), || shrunk(body, wanted, binary)).map(|smaller| (wanted.coding, smaller))
        }
        _ => None,
    };
    if large {
        // Whoever keeps this answer for others has to know that it depends.
        response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some((coding, smaller)) = smaller {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        *response.body_mut() = smaller.into();
    }
    response
}

/// `None` where it isn't worth it.
fn shrunk(body: &[u8], wanted: Wanted, binary: bool) -> Option<Vec<u8>> {
    let worth = |before: usize, after: usize| after < before - before / 8;
    if binary && !wanted.only {
        let tried = &body[..body.len().min(TRIED)];
        if !worth(tried.len(), compress(wanted.coding, tried).ok()?.len()) {
            return None;
        }
    }
    // Writing into memory can't fail but for want of it.
    let smaller = compress(wanted.coding, body).ok()?;
    (wanted.only || smaller.len() < body.len()).then_some(smaller)
}

/// `body` in a coding.
pub(crate) fn compress(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
    let room = || Vec::with_capacity(body.len() / 2 + 64);
    match coding {
        Coding::Zstd => zstd::bulk::compress(body, LEVEL as i32),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(room(), Compression::new(LEVEL));
            encoder.write_all(body)?;
            encoder.finish()
        }
        Coding::Deflate => {
            let mut encoder = ZlibEncoder::new(room(), Compression::new(LEVEL));
            encoder.write_all(body)?;
            encoder.finish()
        }
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: LEVEL as i32,
                lgwin: WINDOW_BITS,
                size_hint: body.len(),
                ..Default::default()
            };
            let (mut input, mut output) = (body, room());
            brotli::BrotliCompress(&mut input, &mut output, &parameters)?;
            Ok(output)
        }
    }
}
