//! A blob → a file, on from where it broke off, and no byte more than it should have.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::error::files;
use super::retry::Trouble;
use super::transport::{Answer, host};
use super::{Error, HostError, Watch};
use crate::digest::Digest;
use crate::{image, interrupt};

const BUFFER: usize = 1 << 16;

/// A blob on its way to a file.
pub(super) struct Download {
    digest: Digest,
    size: u64,
    file: File,
    path: PathBuf,
    hash: Sha256,
    have: u64,
}

/// Why a blob's bytes ended.
enum Broken {
    /// The other side: it may go on.
    Off(String),
    /// There are more bytes than there should be.
    Long,
    /// Our own file, or the user.
    Here(Error),
}

impl Broken {
    fn lasting(self, from: &Path) -> Error {
        let reason = match self {
            Broken::Here(error) => return error,
            Broken::Off(reason) => reason,
            Broken::Long => "it has more bytes than its descriptor says".into(),
        };
        image::Error::Layout { path: from.into(), reason }.into()
    }
}

impl Download {
    pub(super) fn begin(digest: Digest, size: u64, path: PathBuf) -> Result<Self, Error> {
        let file = File::create(&path).map_err(files("write", &path))?;
        Ok(Download { digest, size, file, path, hash: Sha256::new(), have: 0 })
    }

    /// The digest of what came.
    pub(super) fn finish(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }

    /// Copies the blob from the file at `path`, which is open.
    pub(super) fn copy(&mut self, from: &mut File, path: &Path, watch: &dyn Watch) -> Result<(), Error> {
        self.take(from, watch).map_err(|broken| broken.lasting(path))
    }

    /// Fetches the blob, and goes on where it broke off.
    pub(super) fn fetch(&mut self, client: &Client, watch: &dyn Watch) -> Result<(), Error> {
        let mut tries = client.tries();
        loop {
            let before = self.have;
            let Err(trouble) = self.go_on(client, watch) else { return Ok(()) };
            if self.have > before {
                tries.reset();
            }
            tries.wait(trouble, &|| false)?;
        }
    }

    fn go_on(&mut self, client: &Client, watch: &dyn Watch) -> Result<(), Trouble> {
        let attempt = format!("pull the blob {} of `{}`", self.digest, client.repository);
        let mut request = client.request("GET", &format!("blobs/{}", self.digest), attempt.clone());
        if self.have > 0 {
            request.headers.push(("Range", format!("bytes={}-", self.have)));
        }
        let mut answer = client.send(request, &[200, 206])?;
        let host = host(&answer.url);
        let odd = |reason: &str| HostError::odd(&attempt, &host, reason);
        let begin = match answer.status {
            206 => begin(&answer).ok_or_else(|| odd("is a part that doesn't say where it begins"))?,
            _ => 0,
        };
        if begin > self.have {
            return Err(odd("is another part than was asked for").into());
        }
        let mut body = answer.body.as_reader();
        // What is there already, where the registry knows no parts.
        let skipped = io::copy(&mut (&mut body).take(self.have - begin), &mut io::sink());
        if skipped.is_ok_and(|skipped| skipped < self.have - begin) {
            return Err(Trouble::passing(odd("broke off")));
        }
        self.take(&mut body, watch).map_err(|broken| match broken {
            Broken::Here(error) => Trouble::Lasting(error),
            Broken::Long => odd("has more bytes than the manifest says").into(),
            Broken::Off(reason) => Trouble::passing(odd(&format!("broke off ({reason})"))),
        })
    }

    /// Takes the rest of the blob from `from`.
    fn take(&mut self, from: &mut dyn Read, watch: &dyn Watch) -> Result<(), Broken> {
        let mut buffer = vec![0; BUFFER];
        loop {
            interrupt::check().map_err(|stop| Broken::Here(stop.into()))?;
            let n = match from.read(&mut buffer) {
                Ok(0) if self.have == self.size => return Ok(()),
                Ok(0) => return Err(Broken::Off(format!("after {} of {} bytes", self.have, self.size))),
                Ok(n) => n,
                Err(error) => return Err(Broken::Off(error.to_string())),
            };
            if self.have + n as u64 > self.size {
                return Err(Broken::Long);
            }
            self.file.write_all(&buffer[..n]).map_err(files("write", &self.path)).map_err(Broken::Here)?;
            self.hash.update(&buffer[..n]);
            self.have += n as u64;
            watch.moved(n as i64);
        }
    }
}

/// Where a part of a blob begins: `bytes 100-199/200`.
fn begin(answer: &Answer) -> Option<u64> {
    let range = answer.header("content-range")?.trim().strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}
