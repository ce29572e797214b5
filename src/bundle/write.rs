//! Contents and where their bytes are → the file's bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::summed::Summed;
use super::{CONTENTS, Contents, END, Error, SIGNATURES, header, padding};
use crate::digest::Digest;
use crate::interrupt::Stoppable;

/// Where the bytes of an entry are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Bytes(Vec<u8>),
    /// In a file.
    File(PathBuf),
}

/// Writes a bundle to `out`; gives its digest and size. `sources` are those of the entries of `contents`, in their order;
/// each is held against its digest on the way. `contents` goes as it was signed: `signatures` are over
/// [`Contents::to_json`].
pub fn write(
    contents: &Contents,
    signatures: &[u8],
    sources: &[Source],
    out: impl Write,
) -> Result<(Digest, u64), Error> {
    let text = contents.to_json();
    // What could not be read again is not written.
    Contents::parse(&text)?;
    let mut out = Summed::new(out);
    put(&mut out, CONTENTS, text.len() as u64, &mut text.as_slice())?;
    put(&mut out, SIGNATURES, signatures.len() as u64, &mut &*signatures)?;
    for (entry, source) in contents.entries.iter().zip(sources) {
        let path = entry.path.as_str();
        let found = match source {
            Source::Bytes(bytes) => put(&mut out, path, entry.size, &mut bytes.as_slice())?,
            Source::File(file) => {
                let file = File::open(file).map_err(|error| Error::Io("read a file for the bundle", error))?;
                put(&mut out, path, entry.size, &mut Stoppable(file))?
            }
        };
        if found != (entry.digest, entry.size) {
            return Err(Error::broken(
                path,
                format!("was changed: its digest is {}, but should be {}", found.0, entry.digest),
            ));
        }
    }
    out.write_all(&[0; END]).and_then(|()| out.flush()).map_err(|error| Error::Io("write the bundle", error))?;
    let (digest, size, _) = out.finish();
    Ok((digest, size))
}

/// Writes one entry; gives what it really was.
fn put(out: &mut impl Write, path: &str, size: u64, from: &mut dyn Read) -> Result<(Digest, u64), Error> {
    let failed = |error| Error::Io("write the bundle", error);
    let header = header(path, size).ok_or_else(|| Error::broken(path, "has a name that is too long"))?;
    out.write_all(&header).map_err(failed)?;
    // One byte more than there should be is enough to tell.
    let mut from = Summed::new(from.take(size));
    io::copy(&mut from, out).map_err(failed)?;
    let (digest, found, mut rest) = from.finish();
    rest.set_limit(1);
    if found != size || rest.read(&mut [0]).map_err(failed)? != 0 {
        return Err(Error::broken(path, format!("doesn't have the {size} bytes any more that it had")));
    }
    out.write_all(&[0; 512][..padding(size)]).map_err(failed)?;
    Ok((digest, found))
}
