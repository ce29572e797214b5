//! `/etc/ld.so.cache`: where the host's loader finds a library by its name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::Architecture;

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// Names of libraries for `architecture`, each with its path. Damaged caches give what could be read.
///
/// Libraries for newer processors of the same family (`glibc-hwcaps`) are left out: the image has to run anywhere.
pub(super) fn parse(bytes: &[u8], architecture: Architecture) -> BTreeMap<String, PathBuf> {
    // Kind of library: ELF for glibc, and the processor's ABI.
    let wanted = match architecture {
        Architecture::Amd64 => 0x0303,
        Architecture::Arm64 => 0x0a03,
    };
    let mut found = BTreeMap::new();
    let Some(cache) = new_format(bytes) else { return found };
    let number = |at: usize| Some(u32::from_le_bytes(cache.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let text = |at: u32| {
        let rest = cache.get(at as usize..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    };
    for index in 0..number(20).unwrap_or(0) as usize {
        let at = HEADER + index * ENTRY;
        let (Some(flags), Some(key), Some(value)) = (number(at), number(at + 4), number(at + 8)) else { break };
        let plain = number(at + 16) == Some(0) && number(at + 20) == Some(0);
        if let (true, true, Some(name), Some(path)) = (flags == wanted, plain, text(key), text(value)) {
            // The loader takes the first of equal names.
            found.entry(name.to_string()).or_insert_with(|| path.into());
        }
    }
    found
}

/// The part of the file in the present format: all of it, or what follows the old format's tables.
fn new_format(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(MAGIC) {
        return Some(bytes);
    }
    bytes.strip_prefix(OLD_MAGIC)?;
    let at = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    bytes.get(at..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of `(flags, hwcap, name, path)`.
    fn cache(entries: &[(u32, u64, &str, &str)]) -> Vec<u8> {
        let (mut table, mut strings) = (Vec::new(), Vec::new());
        let start = HEADER + entries.len() * ENTRY;
        for (flags, hwcap, name, path) in entries {
            let mut add = |text: &str| {
                let at = (start + strings.len()) as u32;
                strings.extend(text.bytes().chain([0]));
                at.to_le_bytes()
            };
            table.extend([flags.to_le_bytes(), add(name), add(path), [0; 4]].concat());
            table.extend(hwcap.to_le_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.resize(HEADER, 0);
        [bytes, table, strings].concat()
    }

    #[test]
    fn libraries_of_the_right_kind_are_found() {
        let bytes = cache(&[
            (0x0303, 1 << 62, "liba.so.1", "/lib/glibc-hwcaps/x86-64-v3/liba.so.1"),
            (0x0303, 0, "liba.so.1", "/lib/liba.so.1"),
            (0x0303, 0, "liba.so.1", "/usr/local/lib/liba.so.1"),
            (0x0803, 0, "libx32.so", "/libx32/libx32.so"),
            (0x0a03, 0, "libarm.so", "/lib/libarm.so"),
        ]);
        let found = parse(&bytes, Architecture::Amd64);
        assert_eq!(found, BTreeMap::from([("liba.so.1".into(), "/lib/liba.so.1".into())]));
        assert_eq!(parse(&bytes, Architecture::Arm64).keys().collect::<Vec<_>>(), ["libarm.so"]);
        assert_eq!(parse(&[OLD_MAGIC, &[0; 13], &bytes].concat(), Architecture::Amd64), found);
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(
            at in 0usize..200, byte: u8, length in 0usize..250,
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..100),
        ) {
            let mut bytes = cache(&[(0x0303, 0, "liba.so.1", "/lib/liba.so.1"), (0x0303, 0, "libb.so.1", "/b")]);
            bytes.extend(tail);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(length);
            parse(&bytes, Architecture::Amd64);
        }
    }
}
