//! Bytes that pass through, hashed and counted.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

pub(super) struct Summed<T> {
    inner: T,
    hash: Sha256,
    size: u64,
}

impl<T> Summed<T> {
    pub(super) fn new(inner: T) -> Self {
        Summed { inner, hash: Sha256::new(), size: 0 }
    }

    /// What passed, and what it passed through.
    pub(super) fn finish(self) -> (Digest, u64, T) {
        (Digest::from_bytes(self.hash.finalize().into()), self.size, self.inner)
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
