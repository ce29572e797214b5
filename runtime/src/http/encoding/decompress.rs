//! A request's body in a coding → as it was, within limits that are looked at as it grows.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::Coding;
use crate::error::Error;

/// So much is decoded between two looks at the limits.
const CHUNK: usize = 64 << 10;

/// zstd's window, which a frame may ask for in memory whatever its length: 8 MiB, as RFC 9659 has it for HTTP.
const WINDOW_LOG: u32 = 23;

/// Told how many bytes there are so far; an error ends the decoding.
pub(crate) type Step<'a> = &'a mut dyn FnMut(usize) -> Result<(), Error>;

/// `body` without the coding; 400 for what is broken, cut off or followed by something else, or as `step` says.
pub(crate) fn decode(coding: Coding, body: &[u8], step: Step<'_>) -> Result<Vec<u8>, Error> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let wrong =
        |error: io::Error| Error::BadRequest(format!("the request body can't be read as `{}`: {error}", coding.name()));
    let mut rest = body;
    let mut decoded = Vec::new();
    match coding {
        Coding::Gzip => drain(MultiGzDecoder::new(&mut rest), &mut decoded, step, &wrong)?,
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut rest).map_err(wrong)?;
            decoder.window_log_max(WINDOW_LOG).map_err(wrong)?;
            drain(decoder, &mut decoded, step, &wrong)?;
        }
        Coding::Brotli => drain(brotli::Decompressor::new(&mut rest, 4096), &mut decoded, step, &wrong)?,
        Coding::Deflate => inflate(&mut rest, &mut decoded, step, &wrong)?,
    }
    if !rest.is_empty() {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidData, "something follows its end")));
    }
    Ok(decoded)
}

fn drain(
    mut decoder: impl Read,
    decoded: &mut Vec<u8>,
    step: Step<'_>,
    wrong: &dyn Fn(io::Error) -> Error,
) -> Result<(), Error> {
    loop {
        let read = decoder.by_ref().take(CHUNK as u64).read_to_end(decoded).map_err(wrong)?;
        step(decoded.len())?;
        if read < CHUNK {
            return Ok(());
        }
    }
}

/// flate2's readers take the end of the input for the end of the data.
fn inflate(
    body: &mut &[u8],
    decoded: &mut Vec<u8>,
    step: Step<'_>,
    wrong: &dyn Fn(io::Error) -> Error,
) -> Result<(), Error> {
    // zlib's two bytes: its method, and a check that makes them a multiple of 31.
    let zlib = matches!(body, [first, second, ..]
        if first & 15 == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut decoder = Decompress::new(zlib);
    let broken = |text: &str| wrong(io::Error::new(io::ErrorKind::InvalidData, text));
    let mut part = vec![0; CHUNK];
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(body, &mut part, FlushDecompress::None);
        body.consume((decoder.total_in() - read) as usize);
        decoded.extend_from_slice(&part[..(decoder.total_out() - written) as usize]);
        step(decoded.len())?;
        match status.map_err(|error| broken(&error.to_string()))? {
            Status::StreamEnd => return Ok(()),
            _ if decoder.total_in() == read && decoder.total_out() == written => {
                return Err(broken("it is cut off"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compress::compress;
    use super::*;
    use proptest::prelude::*;

    fn decoded(coding: Coding, body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
        let too_large = Error::TooLarge { limit: limit as u64, setting: "maxBodyBytes" };
        decode(coding, body, &mut |length| if length > limit { Err(too_large.clone()) } else { Ok(()) })
    }

    #[test]
    fn bombs_end_at_the_limit() {
        let zeros = vec![0; 8 << 20];
        for coding in Coding::ALL {
            let bomb = compress(coding, &zeros).unwrap();
            let mut most = 0;
            let stopped = decode(coding, &bomb, &mut |length| {
                most = length;
                if length > 1 << 20 { Err(Error::BadRequest("too long".into())) } else { Ok(()) }
            });
            assert_eq!(stopped, Err(Error::BadRequest("too long".into())), "{coding:?}");
            assert!(most <= (1 << 20) + 4 * CHUNK, "{coding:?}: {most}");
        }
    }

    #[test]
    fn what_is_cut_off_or_followed_by_something_is_refused() {
        let text = b"a text that is a little longer than the head of any coding, to be cut anywhere".repeat(9);
        for coding in Coding::ALL {
            let whole = compress(coding, &text).unwrap();
            assert_eq!(decoded(coding, &whole, 1 << 20).as_deref(), Ok(&text[..]), "{coding:?}");
            for length in 1..whole.len() {
                let cut = decoded(coding, &whole[..length], 1 << 20);
                assert!(matches!(cut, Err(Error::BadRequest(_))), "{coding:?} {length}: {cut:?}");
            }
            if coding != Coding::Brotli {
                let more = [&whole[..], b"more"].concat();
                assert!(matches!(decoded(coding, &more, 1 << 20), Err(Error::BadRequest(_))), "{coding:?}");
            }
        }
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut bare, &text).unwrap();
        assert_eq!(decoded(Coding::Deflate, &bare.finish().unwrap(), 1 << 20).as_deref(), Ok(&text[..]));
    }

    proptest! {
        #[test]
        fn anything_comes_back(body: Vec<u8>, chosen in 0usize..4) {
            let coding = Coding::ALL[chosen];
            let there = compress(coding, &body).unwrap();
            prop_assert_eq!(decoded(coding, &there, 1 << 20), Ok(body));
        }

        #[test]
        fn no_garbage_panics(body: Vec<u8>, chosen in 0usize..4) {
            drop(decoded(Coding::ALL[chosen], &body, 1 << 16));
        }
    }
}
