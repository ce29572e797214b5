//! A compressed stream that goes on beyond all measure: it ends in an error, before it fills a disk.

use std::io::{self, Read};

/// So many bytes may come out of any stream; fewer in tests, which would write them.
const ALWAYS: u64 = if cfg!(test) { 1 << 20 } else { 1 << 30 };
/// Beyond, this many for each that is stored: weights shrink to a tenth at best, a text to a fiftieth, zeros to a
/// thousandth by gzip and to nearly nothing by Zstandard.
const FOR_EACH: u64 = 250;

/// What comes out of a stream, up to a bound.
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
    stored: u64,
}

impl<R> Bounded<R> {
    /// What comes out of a stream of `stored` bytes.
    pub(crate) fn new(inner: R, stored: u64) -> Self {
        Bounded { inner, left: stored.saturating_mul(FOR_EACH).max(ALWAYS), stored }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let bomb = || {
            let (stored, most) = (self.stored, self.stored.saturating_mul(FOR_EACH).max(ALWAYS));
            io::Error::other(format!("its {stored} bytes unpack to more than {most}, as no files of a model do"))
        };
        self.left = self.left.checked_sub(n as u64).ok_or_else(bomb)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_without_end_ends_in_an_error() {
        let read =
            |length: u64, stored| io::copy(&mut Bounded::new(io::repeat(0).take(length), stored), &mut io::sink());
        assert_eq!(read(ALWAYS, 0).unwrap(), ALWAYS);
        let error = read(ALWAYS + 1, 10).unwrap_err().to_string();
        assert_eq!(error, "its 10 bytes unpack to more than 1048576, as no files of a model do");
        assert_eq!(read(ALWAYS + 1, ALWAYS).unwrap(), ALWAYS + 1);
    }
}
