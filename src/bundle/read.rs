//! A file → its entries, each exactly as `bundle.json` says, or nothing.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use super::summed::Summed;
use super::{CONTENTS, Contents, END, Entry, Error, SIGNATURES, header, padding};
use crate::digest::Digest;

/// Largest `bundle.json`, and largest file of signatures, bytes.
const LARGEST_CONTENTS: u64 = 4 << 20;
const LARGEST_SIGNATURES: u64 = 1 << 20;

/// A bundle whose beginning was read: what should follow is known.
pub struct Reader<R> {
    source: Summed<R>,
    /// What should follow.
    pub contents: Contents,
    /// Of `bundle.json`: what its signatures are about.
    pub contents_digest: Digest,
    /// The signatures of `bundle.json`, each a Sigstore bundle.
    pub signatures: Vec<Vec<u8>>,
}

/// What was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// Of the whole file.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the first two entries.
    pub fn open(source: R) -> Result<Self, Error> {
        let mut source = Summed::new(source);
        let text = document(&mut source, CONTENTS, LARGEST_CONTENTS)?;
        let contents = Contents::parse(&text)?;
        let signatures = document(&mut source, SIGNATURES, LARGEST_SIGNATURES)?;
        let signatures = signatures.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec);
        let signatures = signatures.collect();
        Ok(Reader { source, contents, contents_digest: Digest::of(&text), signatures })
    }

    /// Reads the rest, and hands each entry on. What `take` was given is only known to be right once this is done.
    pub fn read(
        mut self,
        mut take: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(Contents, Unpacked), Error> {
        for entry in &self.contents.entries {
            let path = entry.path.as_str();
            let expected =
                header(path, entry.size).ok_or_else(|| Error::broken(path, "has a name that is too long"))?;
            let mut found = [0; 512];
            exact(&mut self.source, path, &mut found)?;
            if found != expected {
                return Err(Error::broken(path, "is not the next entry, or not a plain file as nimify writes it"));
            }
            let mut bytes = Summed::new((&mut self.source).take(entry.size));
            take(entry, &mut bytes).map_err(|error| Error::Io("unpack the bundle", error))?;
            io::copy(&mut bytes, &mut io::sink()).map_err(reading)?;
            let (digest, size, _) = bytes.finish();
            if size != entry.size {
                return Err(truncated(path));
            }
            if digest != entry.digest {
                let what = format!("was changed: its digest is {digest}, but should be {}", entry.digest);
                return Err(Error::broken(path, what));
            }
            zeros(&mut self.source, path, padding(entry.size))?;
        }
        zeros(&mut self.source, "the end", END)?;
        if self.source.read(&mut [0]).map_err(reading)? != 0 {
            return Err(Error::broken("the end", "is followed by something else"));
        }
        let (digest, size, _) = self.source.finish();
        Ok((self.contents, Unpacked { digest, size }))
    }

    /// Reads the rest into `folder`, each entry at the place that `place` gives it below it.
    pub fn unpack(self, folder: &Path, place: impl Fn(&str) -> String) -> Result<(Contents, Unpacked), Error> {
        self.read(|entry, bytes| {
            let path = folder.join(place(entry.path.as_str()));
            if let Some(above) = path.parent() {
                fs::create_dir_all(above)?;
            }
            let mut file = fs::File::create_new(&path)?;
            io::copy(bytes, &mut file)?;
            file.flush()
        })
    }
}

/// An entry that is held in memory, whose size is not known before.
fn document(source: &mut impl Read, path: &'static str, most: u64) -> Result<Vec<u8>, Error> {
    let none = |what: &str| match path {
        CONTENTS => Error::NoBundle(what.into()),
        _ => Error::broken(path, what),
    };
    let mut found = [0; 512];
    let n = fill(source, &mut found)?;
    let size = tar::Header::from_byte_slice(&found).entry_size().ok().filter(|_| n == found.len());
    let expected = size.and_then(|size| header(path, size));
    let Some(size) = size.filter(|_| expected == Some(found)) else {
        return Err(none(&format!("it doesn't begin with the entry `{path}`")));
    };
    if size > most {
        return Err(none(&format!("the entry `{path}` has more than {most} bytes")));
    }
    let mut bytes = vec![0; size as usize];
    exact(source, path, &mut bytes)?;
    zeros(source, path, padding(size))?;
    Ok(bytes)
}

fn reading(error: io::Error) -> Error {
    Error::Io("read the bundle", error)
}

fn truncated(path: &str) -> Error {
    Error::broken(path, "is where the file ends: it was cut off")
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut n = 0;
    while n < buffer.len() {
        match source.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(reading(error)),
        }
    }
    Ok(n)
}

fn exact(source: &mut impl Read, path: &str, buffer: &mut [u8]) -> Result<(), Error> {
    if fill(source, buffer)? == buffer.len() { Ok(()) } else { Err(truncated(path)) }
}

fn zeros(source: &mut impl Read, path: &str, count: usize) -> Result<(), Error> {
    let mut buffer = [0; END];
    exact(source, path, &mut buffer[..count])?;
    if buffer[..count].iter().all(|byte| *byte == 0) {
        Ok(())
    } else {
        Err(Error::broken(path, "is followed by something that no digest covers"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::contents::blob_path;
    use super::super::contents::tests::{contents, entry};
    use super::super::{Source, write};
    use super::*;

    fn small() -> Vec<u8> {
        let layer = [7; 700];
        let parts: [(String, &[u8]); 3] = [
            (blob_path(&Digest::of(layer)), &layer),
            ("index.json".into(), b"{}"),
            ("nimify/chart/Chart.yaml".into(), b""),
        ];
        let contents = contents(parts.iter().map(|(path, bytes)| entry(path, bytes)).collect());
        let sources = parts.map(|(_, bytes)| Source::Bytes(bytes.to_vec()));
        let mut out = Vec::new();
        let (digest, size) = write(&contents, b"{}\n{}\n", &sources, &mut out).unwrap();
        assert_eq!((digest, size), (Digest::of(&out), out.len() as u64));
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let mut paths = Vec::new();
        let reader = Reader::open(bytes).map_err(|error| error.to_string())?;
        assert_eq!(reader.contents_digest, Digest::of(reader.contents.to_json()));
        let read = reader.read(|entry, _| {
            paths.push(entry.path.as_str().to_string());
            Ok(())
        });
        let (_, unpacked) = read.map_err(|error| error.to_string())?;
        assert_eq!(unpacked, Unpacked { digest: Digest::of(bytes), size: bytes.len() as u64 });
        Ok(paths)
    }

    #[test]
    fn what_is_written_is_read_and_is_a_tar() {
        let bytes = small();
        assert_eq!(read(&bytes).unwrap().len(), 3);
        assert_eq!(bytes, small());
        let mut tar = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> =
            tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names[..2], [CONTENTS, SIGNATURES]);
        assert_eq!(names[2..], read(&bytes).unwrap());
        let home = tempfile::tempdir().unwrap();
        let reader = Reader::open(bytes.as_slice()).unwrap();
        assert_eq!(reader.signatures.len(), 2);
        reader.unpack(home.path(), |path| format!("out/{path}")).unwrap();
        assert_eq!(fs::read(home.path().join("out/index.json")).unwrap(), b"{}");
    }

    #[test]
    fn a_file_that_ends_anywhere_or_goes_on_is_refused() {
        let bytes = small();
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
        assert!(read(&[bytes.as_slice(), &[0]].concat()).unwrap_err().contains("something else"));
        assert!(read(b"PK").unwrap_err().contains("it is no bundle"));
    }

    #[test]
    fn another_kind_of_entry_is_refused() {
        let bytes = small();
        let at = bytes.windows(11).rposition(|window| window == b"nimify/char").unwrap();
        // A link where a file should be, its checksum right.
        let mut link = bytes.clone();
        let mut header = tar::Header::from_byte_slice(&link[at..at + 512]).clone();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        link[at..at + 512].copy_from_slice(header.as_bytes());
        assert!(read(&link).unwrap_err().contains("`nimify/chart/Chart.yaml` is not the next entry"));
    }

    #[test]
    fn what_changed_on_the_way_is_not_written() {
        let contents = contents(vec![entry("nimify/a", b"one")]);
        for other in ["two", "on", "onee"] {
            let written = write(&contents, b"", &[Source::Bytes(other.into())], io::sink());
            assert!(written.unwrap_err().to_string().contains("`nimify/a`"), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_byte_can_be_another(at in 0..small().len(), change in 1u8..) {
            let whole = small();
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            // But for the lines of signatures, which are judged elsewhere, and for contents that say something else,
            // which are not those that were signed.
            let before = Reader::open(whole.as_slice()).unwrap();
            let contents = before.contents.to_json().len();
            let lines = 512 + contents + padding(contents as u64) + 512;
            let told = Reader::open(bytes.as_slice()).is_ok_and(|after| after.contents_digest != before.contents_digest);
            prop_assert!(read(&bytes).is_err() || told || (lines..lines + 6).contains(&at));
        }
    }
}
