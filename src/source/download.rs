//! A file of a web host → a file here: on from where it broke off, in this run or one before, as long as the host says
//! that it is still the same file; and no byte more than it should have.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use url::Url;

use super::Error;
use super::content::LARGEST_MODEL;
use super::error::files;
use super::listed::Order;
use super::web::{Ask, Client};
use crate::digest::Digest;
use crate::interrupt;
use crate::registry::HostError;
use crate::registry::retry::Trouble;
use crate::registry::transport::{Answer, host};

const BUFFER: usize = 1 << 16;
/// Longest entity tag that is kept.
const LONGEST_TAG: usize = 1 << 10;

/// What is to be downloaded.
pub(super) struct Wanted {
    pub(super) url: Url,
    /// What it is called in messages.
    pub(super) name: String,
    /// What names these bytes and no others, where something does: a download may go on by it.
    pub(super) identity: Option<String>,
    /// The entity tag of what is here already.
    pub(super) unless: Option<String>,
    /// What it has to be, where that is known.
    pub(super) digest: Option<Digest>,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Downloaded {
    /// It is what is here already.
    Unchanged,
    /// It is in this file.
    File {
        /// Where.
        path: PathBuf,
        /// Its entity tag.
        validator: Option<String>,
        /// What the answer calls it.
        name: Option<String>,
    },
}

/// Downloads a file.
pub(super) fn download(client: &Client, wanted: &Wanted, order: &Order<'_>) -> Result<Downloaded, Error> {
    let part = order.part(wanted.identity.as_deref().unwrap_or(wanted.url.as_str()));
    let mut transfer = Transfer::resume(wanted, part, order)?;
    let done = client.persist(|tries| {
        let before = transfer.have;
        let went = transfer.go_on(client);
        if transfer.have > before {
            tries.reset();
        }
        went
    })?;
    let Some(name) = done else { return Ok(Downloaded::Unchanged) };
    let found = Digest::from_bytes(transfer.hash.finalize().into());
    if let Some(digest) = wanted.digest.filter(|digest| *digest != found) {
        _ = fs::remove_file(&transfer.path);
        return Err(Error::Mismatch { source_name: wanted.name.clone(), wanted: digest, found });
    }
    _ = fs::remove_file(tag_file(&transfer.path));
    Ok(Downloaded::File { path: transfer.path, validator: transfer.validator, name })
}

/// The file beside a part that says of what it is one.
fn tag_file(part: &Path) -> PathBuf {
    part.with_extension("tag")
}

struct Transfer<'a> {
    wanted: &'a Wanted,
    order: &'a Order<'a>,
    path: PathBuf,
    file: File,
    hash: Sha256,
    have: u64,
    /// Bytes in all, where that is known.
    size: Option<u64>,
    /// What the host can be asked with whether it still has what the file has a part of: a strong entity tag or a date.
    tag: Option<String>,
    /// Its entity tag, of whatever kind.
    validator: Option<String>,
}

impl<'a> Transfer<'a> {
    /// Takes up what an earlier run left, if what it is part of is known.
    fn resume(wanted: &'a Wanted, path: PathBuf, order: &'a Order<'a>) -> Result<Self, Error> {
        let tag = fs::read_to_string(tag_file(&path)).ok().filter(|tag| tag.len() <= LONGEST_TAG);
        let keep = tag.is_some() || wanted.identity.is_some();
        let mut open = File::options();
        let file =
            open.create(true).read(true).write(true).truncate(!keep).open(&path).map_err(files("open", &path))?;
        let mut transfer =
            Transfer { wanted, order, path, file, hash: Sha256::new(), have: 0, size: None, tag, validator: None };
        let mut buffer = vec![0; BUFFER];
        loop {
            interrupt::check()?;
            match transfer.file.read(&mut buffer).map_err(files("read", &transfer.path))? {
                0 => return Ok(transfer),
                n => {
                    transfer.hash.update(&buffer[..n]);
                    transfer.have += n as u64;
                }
            }
        }
    }

    /// Begins anew.
    fn restart(&mut self) -> Result<(), Trouble> {
        use std::io::Seek as _;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| self.refused(error))?;
        self.order.watch.moved(-(self.have as i64));
        (self.hash, self.have, self.tag) = (Sha256::new(), 0, None);
        Ok(())
    }

    fn refused(&self, source: std::io::Error) -> Trouble {
        let path = self.path.clone();
        crate::registry::Error::Files { attempt: "write", path, source }.into()
    }

    fn ask(&self) -> Ask {
        let mut headers = Vec::new();
        if self.have > 0 {
            headers.push(("Range", format!("bytes={}-", self.have)));
            headers.extend(self.tag.clone().map(|tag| ("If-Range", tag)));
        } else {
            headers.extend(self.wanted.unless.clone().map(|tag| ("If-None-Match", tag)));
        }
        Ask { url: self.wanted.url.clone(), headers, attempt: format!("fetch `{}`", self.wanted.name) }
    }

    /// Fetches the rest. The name that the answer gives the file, or `None` where the file is here already.
    fn go_on(&mut self, client: &Client) -> Result<Option<Option<String>>, Trouble> {
        let certain = self.tag.is_some() || self.wanted.identity.is_some() || self.wanted.digest.is_some();
        if self.have > 0 && !certain {
            self.restart()?;
        }
        let ask = self.ask();
        let mut answer = client.once(&ask, &[200, 206, 304, 416])?;
        match answer.status {
            304 if self.have == 0 && self.wanted.unless.is_some() => return Ok(None),
            304 => return Err(ask.odd(&answer, "says that nothing changed, which wasn't asked").into()),
            // All of it may be here; else what is here is of another file.
            416 if whole(&answer) == Some(self.have) => return Ok(Some(None)),
            416 => {
                self.restart()?;
                return Err(Trouble::passing(ask.odd(&answer, "has no such part")));
            }
            206 if begin(&answer) != Some(self.have) => {
                return Err(ask.odd(&answer, "is another part than was asked for").into());
            }
            206 => {}
            _ if self.have > 0 => self.restart()?,
            _ => {}
        }
        let length = answer.header("content-length").and_then(|text| text.trim().parse::<u64>().ok());
        let size = length.map(|length| length.saturating_add(self.have));
        if size.is_some_and(|size| size > LARGEST_MODEL) {
            return Err(ask.odd(&answer, format!("has more than {LARGEST_MODEL} bytes")).into());
        }
        if let (None, Some(size)) = (self.size, size) {
            self.order.watch.expects(size);
            self.order.watch.moved(self.have as i64);
        }
        self.size = size;
        let name = named(&answer);
        let header = |name: &str| answer.header(name).filter(|text| text.len() <= LONGEST_TAG).map(String::from);
        self.validator = header("etag");
        let strong = self.validator.clone().filter(|tag| !tag.starts_with("W/"));
        self.tag = strong.or_else(|| header("last-modified"));
        let (mark, written) = (tag_file(&self.path), self.tag.as_deref());
        match written {
            Some(tag) => fs::write(&mark, tag).map_err(|error| self.refused(error))?,
            None => drop(fs::remove_file(&mark)),
        }
        self.take(&ask, &mut answer)?;
        Ok(Some(name))
    }

    fn take(&mut self, ask: &Ask, answer: &mut Answer) -> Result<(), Trouble> {
        let url = answer.url.clone();
        let odd = |reason: String| HostError::odd(&ask.attempt, host(&url), reason);
        let mut body = answer.body.as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            interrupt::check().map_err(crate::registry::Error::from)?;
            let n = match body.read(&mut buffer) {
                Ok(0) if self.size.is_none_or(|size| size == self.have) => return Ok(()),
                Ok(0) => return Err(Trouble::passing(odd(format!("broke off after {} bytes", self.have)))),
                Ok(n) => n,
                Err(error) => return Err(Trouble::passing(odd(format!("broke off ({error})")))),
            };
            if self.have + n as u64 > self.size.unwrap_or(LARGEST_MODEL) {
                return Err(odd("has more bytes than it says".into()).into());
            }
            self.file.write_all(&buffer[..n]).map_err(|error| self.refused(error))?;
            self.hash.update(&buffer[..n]);
            self.have += n as u64;
            self.order.watch.moved(n as i64);
        }
    }
}

/// Where a part begins: `bytes 100-199/200`.
fn begin(answer: &Answer) -> Option<u64> {
    range(answer)?.split('-').next()?.trim().parse().ok()
}

/// How long the whole is: `bytes */200`.
fn whole(answer: &Answer) -> Option<u64> {
    range(answer)?.rsplit('/').next()?.trim().parse().ok()
}

fn range(answer: &Answer) -> Option<&str> {
    answer.header("content-range")?.trim().strip_prefix("bytes ")
}

/// The name in `Content-Disposition`.
fn named(answer: &Answer) -> Option<String> {
    let header = answer.header("content-disposition")?;
    let mut parts = header.split(';').map(str::trim);
    parts.find_map(|part| part.strip_prefix("filename=")).map(|name| name.trim_matches('"').to_string())
}
