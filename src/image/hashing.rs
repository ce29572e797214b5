//! Digest and size of bytes on their way.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Hashes and counts what passes through.
pub(super) struct Hashing<T> {
    inner: T,
    hash: Sha256,
    size: u64,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Hashing { inner, hash: Sha256::new(), size: 0 }
    }

    /// Digest and count of what has passed.
    pub(super) fn finish(self) -> (Digest, u64) {
        let (_, digest, size) = self.take_apart();
        (digest, size)
    }

    /// What it stands around, too.
    pub(super) fn take_apart(self) -> (T, Digest, u64) {
        (self.inner, Digest::from_bytes(self.hash.finalize().into()), self.size)
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.count(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count(&buffer[..n]);
        Ok(n)
    }
}
