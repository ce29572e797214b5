//! What the dynamic loader reads of an ELF file: which libraries it needs, where it looks, which symbol versions.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{LittleEndian, StringTable};

use super::error::{Architecture, Error, files};

/// The dynamic part of a program or library.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Elf {
    /// `e_machine`, by its OCI name where it is one of ours.
    pub(super) machine: String,
    /// `PT_INTERP`: the loader, an absolute path.
    pub(super) loader: Option<String>,
    /// `DT_NEEDED`, in order.
    pub(super) needed: Vec<String>,
    /// `DT_RUNPATH`, or `DT_RPATH` where there is none, split at `:`.
    pub(super) search: Vec<String>,
    /// Symbol versions needed: (library, version), weak ones left out.
    pub(super) versions_needed: BTreeSet<(String, String)>,
    /// Symbol versions defined.
    pub(super) versions_defined: BTreeSet<String>,
}

/// Reads the dynamic part of the ELF file at `path`. Only the parts needed are read from disk.
pub(super) fn read(path: &Path) -> Result<Elf, Error> {
    let cache = ReadCache::new(File::open(path).map_err(files("read", path))?);
    parse(&cache).map_err(|reason| Error::Elf { path: path.into(), reason })
}

impl Elf {
    /// Fails unless the file is made for `architecture`.
    pub(super) fn expect(&self, architecture: Architecture, path: &Path) -> Result<(), Error> {
        if self.machine == architecture.oci() {
            return Ok(());
        }
        Err(Error::Machine { path: path.into(), found: self.machine.clone(), expected: architecture })
    }
}

/// The same of bytes that are at hand.
pub(super) fn parse<'data, R: ReadRef<'data>>(data: R) -> Result<Elf, String> {
    let text = |error: object::Error| error.to_string();
    let end = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(data).map_err(text)?;
    header.endian().map_err(text)?;
    let machine = match header.e_machine(end) {
        elf::EM_X86_64 => "amd64".into(),
        elf::EM_AARCH64 => "arm64".into(),
        other => format!("processor {other:?}"),
    };
    let segments = header.program_headers(end, data).map_err(text)?;
    let mut found = Elf { machine, ..Elf::default() };
    let mut dynamic = None;
    for segment in segments {
        if let Some(path) = segment.interpreter(end, data).map_err(text)? {
            found.loader = Some(utf8(path)?);
        }
        if let Some(entries) = segment.dynamic(end, data).map_err(text)? {
            dynamic = Some(entries);
        }
    }
    let Some(dynamic) = dynamic else { return Ok(found) };
    let value = |tag: elf::DynamicTag| {
        dynamic.iter().find(|entry| entry.d_tag.get(end) == tag).map(|entry| entry.d_val.get(end))
    };
    // Addresses of the loaded image, back to where they lie in the file.
    let offset = |address: u64| {
        let holds = |s: &&elf::ProgramHeader64<LittleEndian>| {
            s.p_type(end) == elf::PT_LOAD
                && address.checked_sub(s.p_vaddr.get(end)).is_some_and(|inside| inside < s.p_filesz.get(end))
        };
        let segment = segments.iter().find(holds).ok_or("an address lies outside the file")?;
        (address - segment.p_vaddr.get(end)).checked_add(segment.p_offset.get(end)).ok_or("an address overflows")
    };
    let strings = match (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) {
        (Some(address), Some(size)) => {
            let start = offset(address)?;
            StringTable::new(data, start, start.checked_add(size).ok_or("the string table overflows")?)
        }
        _ => return Err("it has no string table".into()),
    };
    let string = |at: u64| {
        let at = u32::try_from(at).map_err(|_| "a string lies outside the table")?;
        utf8(strings.get(at).map_err(|()| "a string lies outside the table")?)
    };
    for entry in dynamic.iter().filter(|entry| entry.d_tag.get(end) == elf::DT_NEEDED) {
        found.needed.push(string(entry.d_val.get(end))?);
    }
    if let Some(at) = value(elf::DT_RUNPATH).or(value(elf::DT_RPATH)) {
        found.search = string(at)?.split(':').filter(|part| !part.is_empty()).map(String::from).collect();
    }
    if let (Some(address), Some(count)) = (value(elf::DT_VERNEED), value(elf::DT_VERNEEDNUM)) {
        found.versions_needed = versions_needed(data, offset(address)?, count, &string)?;
    }
    if let (Some(address), Some(count)) = (value(elf::DT_VERDEF), value(elf::DT_VERDEFNUM)) {
        found.versions_defined = versions_defined(data, offset(address)?, count, &string)?;
    }
    Ok(found)
}

/// More records than any library has: what is above this is a damaged file.
const MOST_VERSIONS: u64 = 1 << 16;

type Strings<'a> = &'a dyn Fn(u64) -> Result<String, String>;

fn versions_needed<'data, R: ReadRef<'data>>(
    data: R,
    mut at: u64,
    count: u64,
    string: Strings<'_>,
) -> Result<BTreeSet<(String, String)>, String> {
    let (end, mut found) = (LittleEndian, BTreeSet::new());
    let damaged = |()| "its table of needed versions is damaged".to_string();
    let mut left = MOST_VERSIONS;
    for _ in 0..count {
        let need: &elf::Verneed<LittleEndian> = data.read_at(at).map_err(damaged)?;
        let library = string(need.vn_file.get(end).into())?;
        let mut inner = at.checked_add(need.vn_aux.get(end).into()).ok_or(()).map_err(damaged)?;
        for _ in 0..need.vn_cnt.get(end) {
            left = left.checked_sub(1).ok_or(()).map_err(damaged)?;
            let version: &elf::Vernaux<LittleEndian> = data.read_at(inner).map_err(damaged)?;
            if version.vna_flags.get(end).0 & elf::VER_FLG_WEAK.0 == 0 {
                found.insert((library.clone(), string(version.vna_name.get(end).into())?));
            }
            inner = inner.checked_add(version.vna_next.get(end).into()).ok_or(()).map_err(damaged)?;
        }
        match need.vn_next.get(end) {
            0 => break,
            next => at = at.checked_add(next.into()).ok_or(()).map_err(damaged)?,
        }
    }
    Ok(found)
}

fn versions_defined<'data, R: ReadRef<'data>>(
    data: R,
    mut at: u64,
    count: u64,
    string: Strings<'_>,
) -> Result<BTreeSet<String>, String> {
    let (end, mut found) = (LittleEndian, BTreeSet::new());
    let damaged = |()| "its table of defined versions is damaged".to_string();
    for _ in 0..count.min(MOST_VERSIONS) {
        let definition: &elf::Verdef<LittleEndian> = data.read_at(at).map_err(damaged)?;
        let inner = at.checked_add(definition.vd_aux.get(end).into()).ok_or(()).map_err(damaged)?;
        // The first name is the version's own; any others are its ancestors.
        let name: &elf::Verdaux<LittleEndian> = data.read_at(inner).map_err(damaged)?;
        found.insert(string(name.vda_name.get(end).into())?);
        match definition.vd_next.get(end) {
            0 => break,
            next => at = at.checked_add(next.into()).ok_or(()).map_err(damaged)?,
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name in it is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_test() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn this_very_program_is_read() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap();
        assert_eq!(elf.machine, Architecture::host().unwrap().oci());
        assert!(elf.loader.unwrap().starts_with("/lib"));
        assert!(elf.needed.contains(&"libc.so.6".to_string()), "{:?}", elf.needed);
        assert!(elf.versions_needed.iter().any(|(library, _)| library == "libc.so.6"));
    }

    #[test]
    fn what_is_not_a_program_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
            std::fs::write(file.path(), bytes).unwrap();
            assert!(matches!(read(file.path()), Err(Error::Elf { .. })));
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let good = this_test();
        let head = good.len().min(1 << 12);
        for length in (0..head).step_by(7) {
            let _ = parse(&good[..length]);
        }
        let mut bad = good.clone();
        for at in 0..head {
            let old = std::mem::replace(&mut bad[at], 0xff);
            let _ = parse(&bad[..]);
            bad[at] = old;
        }
    }
}
