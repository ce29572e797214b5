//! Locales that a model names → what an image, or a process on this machine, needs to know them.
//!
//! ONNX Runtime changes the case of letters by a locale of the system, and loads no model that names one which the system
//! lacks. Of the locale it takes nothing but which letter is the large form of which, and that is the same in all
//! languages but a few ([`OWN_LETTERS`]): glibc's `C.UTF-8`, which distributions install with it, has all of Unicode and
//! so stands in under the name that was asked for. How words are sorted, and how dates and numbers are written, is not
//! that language's then; nothing in a service asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::closure::Host;
use super::error::{Error, files};
use crate::cache::Cache;
use crate::digest::Digest;

/// Where glibc looks for locales: a folder each, or all in one archive.
pub(super) const FOLDER: &str = "/usr/lib/locale";
/// The archive, which glibc asks first, unless `LOCPATH` is set.
pub(super) const ARCHIVE: &str = "/usr/lib/locale/locale-archive";
/// Folders of `C.UTF-8`, as releases call it.
const STAND_INS: [&str; 2] = ["C.utf8", "C.UTF-8"];
/// Languages in which some letter has another large form: `i` has `İ` in Turkish.
const OWN_LETTERS: [&str; 5] = ["az", "crh", "ku", "tr", "tt"];
/// The files of a locale. A program that names it needs all of them.
const FILES: [&str; 12] = [
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES/SYS_LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];
/// Longest name that is a folder's.
const LONGEST: usize = 64;
/// Most sentences about locales.
const MOST_WARNINGS: usize = 5;
/// Most bytes that are read of an archive's names, and of their table; those of all that glibc knows are 20 kB each.
const MOST_NAMES: u32 = 1 << 20;

/// What a base lacks of the locales that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Lacking {
    /// Files of this machine, by their place in the image.
    pub(super) files: BTreeMap<PathBuf, PathBuf>,
    /// Folders of locales that are links to others, all of them absolute places in the image.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// Names for which there is nothing, and why.
    pub(super) missing: BTreeMap<String, Missing>,
}

/// Why there is nothing for a locale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Of another character set, or called as no folder can be.
    OtherSet,
    /// This machine has it in its archive, of which nothing is taken.
    InArchive,
    /// Neither the base nor this machine has it.
    Nowhere,
    /// The base's packages lack it, and nothing comes from this machine.
    NotPackaged,
}

impl Missing {
    /// What is so, and what there is to do about it.
    fn told(self, name: &str) -> String {
        match self {
            Missing::OtherSet => {
                "which is of another character set than UTF-8: no image has what such a locale needs; set".into()
            }
            Missing::InArchive => format!(
                "which this machine has in `{ARCHIVE}` alone: write it to a folder of its own, `localedef --no-archive \
                 -i {} -f UTF-8 {name}`, or set",
                name.split('.').next().unwrap_or(name)
            ),
            Missing::Nowhere => "which neither this machine nor the base has: install it here, or set".into(),
            Missing::NotPackaged => "which the packages of the base don't have: set".into(),
        }
    }
}

impl Lacking {
    /// A sentence about each of those for which there is nothing.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.missing.iter().take(MOST_WARNINGS).map(|(name, why)| {
            format!(
                "the service won't load the model, which changes the case of letters by the locale `{name}`, {} the \
                 node's attribute `locale` to `C.UTF-8`",
                why.told(name)
            )
        })
    }
}

/// What `base` lacks of the locales `names`, and from where it is taken: the base's own `C.UTF-8`, or this machine's,
/// where something may come from it.
pub(super) fn lacking(base: Option<&Host>, machine: Option<&Host>, names: &BTreeSet<String>) -> Lacking {
    let mut lacking = Lacking::default();
    for name in names {
        if base.is_some_and(|base| in_folders(base, name).is_some() || in_archive(base, name)) {
            continue;
        }
        let Some(folder) = folder_of(name) else {
            lacking.missing.insert(name.clone(), Missing::OtherSet);
            continue;
        };
        let own = base.and_then(|base| definition(base, name));
        let found = own.or_else(|| {
            let (machine, found) = machine.and_then(|machine| Some((machine, definition(machine, name)?)))?;
            let parts = FILES.iter().map(|file| Path::new(FOLDER).join(&found).join(file));
            lacking.files.extend(parts.filter_map(|part| Some((part.clone(), machine.resolve(&part, |_, _| ())?))));
            Some(found)
        });
        match found {
            Some(found) if found == folder => {}
            Some(found) => {
                lacking.links.insert(Path::new(FOLDER).join(folder), Path::new(FOLDER).join(found));
            }
            None => {
                let why = match machine {
                    None => Missing::NotPackaged,
                    Some(machine) if in_archive(machine, name) => Missing::InArchive,
                    Some(_) => Missing::Nowhere,
                };
                lacking.missing.insert(name.clone(), why);
            }
        }
    }
    lacking
}

/// What `LOCPATH` has to be for processes of this machine to know the locales `names`, with what `set`, the variable as it
/// is, says already; `None` where they know them without, or where there is nothing to know them by.
///
/// # Errors
/// The cache can't be written.
pub fn search_path(names: &BTreeSet<String>, set: Option<&OsStr>, cache: &Cache) -> Result<Option<OsString>, Error> {
    let machine = Host { root: "/".into() };
    let set = set.filter(|set| !set.is_empty());
    let searched: Vec<PathBuf> = set.map(|set| std::env::split_paths(set).collect()).unwrap_or_default();
    let links = lent(&machine, &searched, names);
    if links.is_empty() {
        return Ok(None);
    }
    let text: String = links.iter().map(|(name, to)| format!("{name} {}\n", to.display())).collect();
    let good =
        |entry: &Path| links.iter().all(|(name, to)| std::fs::read_link(entry.join(name)).is_ok_and(|l| l == *to));
    let folder = cache.take(
        "locales",
        &Digest::of(text),
        |entry| good(entry).then(|| entry.to_path_buf()),
        |stage| {
            links.iter().try_for_each(|(name, to)| {
                std::os::unix::fs::symlink(to, stage.join(name)).map_err(files("link", &stage.join(name)))
            })
        },
    )?;
    if searched.contains(&folder) {
        // What it leads to isn't whole: to name it twice would change nothing.
        return Ok(None);
    }
    let path = std::env::join_paths(std::iter::once(folder).chain(searched));
    // A cache below a folder with a colon can't be named in it.
    Ok(path.ok())
}

/// Folders that `LOCPATH` has to have, and what each is a link to. Once it is set the archive isn't looked into.
fn lent(machine: &Host, searched: &[PathBuf], names: &BTreeSet<String>) -> BTreeMap<String, PathBuf> {
    let known = |name: &String| {
        let variants = variants(name);
        let there = |folder: &PathBuf| variants.iter().any(|variant| folder.join(variant).join("LC_CTYPE").is_file());
        searched.iter().any(there) || in_folders(machine, name).is_some()
    };
    let unknown: Vec<_> = names.iter().filter(|name| !known(name)).collect();
    if searched.is_empty() && unknown.iter().all(|name| in_archive(machine, name)) {
        return BTreeMap::new();
    }
    let link =
        |name: &&String| Some((folder_of(name)?, machine.at(Path::new(FOLDER).join(definition(machine, name)?))));
    unknown.iter().filter_map(link).collect()
}

/// The folder of the locale that stands in for `name`, or is it.
fn definition(host: &Host, name: &str) -> Option<String> {
    if let Some(own) = in_folders(host, name) {
        return Some(own);
    }
    let language = name.split(['_', '-', '.', '@']).next().unwrap_or_default();
    if OWN_LETTERS.contains(&language) {
        return None;
    }
    STAND_INS.into_iter().find(|folder| is_there(host, folder)).map(String::from)
}

/// The folder of the locale, where there is one.
fn in_folders(host: &Host, name: &str) -> Option<String> {
    variants(name).into_iter().find(|folder| is_there(host, folder))
}

/// Whether the locale is whole: without one of its files the C library takes none of them.
fn is_there(host: &Host, folder: &str) -> bool {
    let place = Path::new(FOLDER).join(folder);
    FILES.iter().all(|file| host.resolve(&place.join(file), |_, _| ()).is_some_and(|file| file.is_file()))
}

/// As the folder of a locale may be called: as it stands, or as distributions write it.
fn variants(name: &str) -> BTreeSet<String> {
    let as_is = is_plain(name).then(|| name.to_string());
    as_is.into_iter().chain(folder_of(name)).collect()
}

/// The folder under which glibc finds the locale with letters of all Unicode: `en_US.UTF-8` → `en_US.utf8`. None where the
/// name asks for another character set, or can't be a folder's.
fn folder_of(name: &str) -> Option<String> {
    if !is_plain(name) {
        return None;
    }
    let (rest, modifier) = name.split_once('@').map_or((name, None), |(rest, modifier)| (rest, Some(modifier)));
    let modifier = modifier.map(|modifier| format!("@{modifier}")).unwrap_or_default();
    match rest.split_once('.') {
        None => Some(name.into()),
        // As glibc compares them: letters and digits alone, and all of them small.
        Some((language, set)) => {
            let set: String = set.chars().filter(char::is_ascii_alphanumeric).collect();
            set.eq_ignore_ascii_case("utf8").then(|| format!("{language}.utf8{modifier}"))
        }
    }
}

/// A name comes from a model, and becomes a path.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    name.len() <= LONGEST && name.bytes().all(plain) && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Whether the archive has the locale.
fn in_archive(host: &Host, name: &str) -> bool {
    let file = host.resolve(Path::new(ARCHIVE), |_, _| ()).and_then(|path| File::open(path).ok());
    let names = file.and_then(|file| archived(file).ok()).unwrap_or_default();
    let wanted = variants(name);
    names.iter().any(|name| std::str::from_utf8(name).is_ok_and(|name| wanted.contains(name)))
}

/// The names in an archive. Its head is numbers of 32 bits: the mark, a serial number, then where the table of names is,
/// how many of its entries are used and how many there are, then where the names themselves are and how many bytes. An
/// entry is three numbers: a sum of the name, where it is, and where its locale is, which is 0 once that is deleted.
fn archived(mut archive: impl Read + Seek) -> std::io::Result<Vec<Vec<u8>>> {
    let mut read = |at: u32, bytes: u32| {
        let mut part = Vec::new();
        archive.seek(SeekFrom::Start(at.into()))?;
        archive.by_ref().take(bytes.min(MOST_NAMES).into()).read_to_end(&mut part)?;
        std::io::Result::Ok(part)
    };
    let numbers = |part: &[u8]| -> Vec<u32> { part.as_chunks().0.iter().copied().map(u32::from_ne_bytes).collect() };
    let [0xde02_0109, _, table, _, entries, names, bytes] = numbers(&read(0, 28)?)[..] else { return Ok(Vec::new()) };
    let (table, text) = (numbers(&read(table, entries.saturating_mul(12))?), read(names, bytes)?);
    let there = table.as_chunks().0.iter().filter(|[_, _, locale]| *locale != 0);
    let name = |[_, at, _]: &[u32; 3]| {
        let rest = text.get(usize::try_from(at.checked_sub(names)?).ok()?..)?;
        rest[..rest.len().min(2 * LONGEST)].split(|byte| *byte == 0).next().map(<[u8]>::to_vec)
    };
    Ok(there.filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::*;

    fn host(home: &Path, locales: &[&str]) -> Host {
        let host = Host { root: home.into() };
        for locale in locales {
            for file in FILES {
                let path = host.at(Path::new(FOLDER).join(locale).join(file));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, locale).unwrap();
            }
        }
        host
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    fn place(name: &str) -> PathBuf {
        Path::new(FOLDER).join(name)
    }

    #[test]
    fn a_folder_is_called_as_glibc_looks_for_it() {
        let cases = [
            ("en_US.UTF-8", Some("en_US.utf8")),
            ("en_US.utf8", Some("en_US.utf8")),
            ("de_DE.UTF-8@euro", Some("de_DE.utf8@euro")),
            ("en_US", Some("en_US")),
            ("en-US", Some("en-US")),
            ("en_US.ISO-8859-1", None),
            ("../../etc", None),
            (".utf8", None),
            ("a/b", None),
            ("LC_CTYPE=C;LC_TIME=C", None),
        ];
        for (name, folder) in cases {
            assert_eq!(folder_of(name).as_deref(), folder, "{name}");
        }
        assert_eq!(folder_of(&"a".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn a_bare_image_gets_one_definition_under_the_names_that_are_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8", "tr_TR.utf8"]);
        let found =
            lacking(None, Some(&machine), &names(&["en_US.UTF-8", "de_DE", "tr_TR.UTF-8", "az_AZ", "ja_JP.EUC-JP"]));
        assert_eq!(found.files.len(), 2 * FILES.len());
        assert_eq!(found.files[&place("C.utf8/LC_CTYPE")], machine.at(place("C.utf8/LC_CTYPE")));
        let stands_in = |name: &str| (place(name), place("C.utf8"));
        assert_eq!(found.links, [stands_in("de_DE"), stands_in("en_US.utf8")].into());
        let missing = [("az_AZ".to_string(), Missing::Nowhere), ("ja_JP.EUC-JP".to_string(), Missing::OtherSet)];
        assert_eq!(found.missing, missing.into(), "`i` is another letter there");
        assert_eq!(lacking(None, Some(&machine), &names(&["C.UTF-8"])).links, BTreeMap::new());
    }

    #[test]
    fn what_is_missing_is_said_with_what_helps() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8"]);
        fs::write(machine.at(ARCHIVE), archive(&[("tr_TR.utf8", 1), ("az_AZ.utf8", 0)])).unwrap();
        let wanted = names(&["az_AZ.UTF-8", "en_US.ISO-8859-1", "tr_TR.UTF-8"]);
        let told: Vec<_> = lacking(None, Some(&machine), &wanted).warnings().collect();
        let wants = ["install it here", "character set", "`localedef --no-archive -i tr_TR -f UTF-8 tr_TR.UTF-8`"];
        assert!(told.len() == 3 && told.iter().zip(wants).all(|(told, wants)| told.contains(wants)), "{told:#?}");
        let told: Vec<_> = lacking(Some(&machine), None, &names(&["az_AZ.UTF-8"])).warnings().collect();
        assert!(told[0].contains("the packages of the base don't have: set the node's"), "{told:#?}");
    }

    #[test]
    fn a_locale_that_is_not_whole_is_none() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8", "en_US.utf8", "tr_TR.utf8"]);
        for locale in ["en_US.utf8", "tr_TR.utf8"] {
            fs::remove_file(machine.at(place(locale).join("LC_MESSAGES/SYS_LC_MESSAGES"))).unwrap();
        }
        let found = lacking(None, Some(&machine), &names(&["en_US.UTF-8", "tr_TR.UTF-8"]));
        assert_eq!(found.links, [(place("en_US.utf8"), place("C.utf8"))].into());
        assert_eq!(found.missing, [("tr_TR.UTF-8".to_string(), Missing::Nowhere)].into());
        let same = lacking(Some(&machine), Some(&machine), &names(&["tr_TR.UTF-8"]));
        assert_eq!(same.missing, [("tr_TR.UTF-8".to_string(), Missing::Nowhere)].into());
    }

    #[test]
    fn what_a_base_has_is_left_alone() {
        let [base, machine] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let machine = host(machine.path(), &["C.utf8"]);
        let wanted = names(&["en_US.UTF-8"]);
        let bare = lacking(Some(&host(base.path(), &[])), Some(&machine), &wanted);
        assert_eq!((bare.files.len(), bare.links.len()), (FILES.len(), 1));
        let own = lacking(Some(&host(base.path(), &["C.UTF-8"])), Some(&machine), &wanted);
        assert_eq!(own.files, BTreeMap::new());
        assert_eq!(own.links, [(place("en_US.utf8"), place("C.UTF-8"))].into());
        let whole = lacking(Some(&host(base.path(), &["en_US.utf8"])), Some(&machine), &wanted);
        assert_eq!(whole, Lacking::default());
        let nothing = tempfile::tempdir().unwrap();
        let bare = Host { root: nothing.path().into() };
        assert_eq!(lacking(Some(&bare), Some(&bare), &wanted).missing["en_US.UTF-8"], Missing::Nowhere);
        assert_eq!(lacking(None, Some(&bare), &BTreeSet::new()).warnings().count(), 0);
    }

    /// As glibc writes one, with where the locale of each name is.
    fn archive(locales: &[(&str, u32)]) -> Vec<u8> {
        // The head, an entry that isn't used, those of the locales, their names.
        let (table, entries) = (32, locales.len() as u32 + 1);
        let (mut text, mut numbers) = (String::new(), vec![0; 3]);
        let names = table + 12 * entries;
        for (name, locale) in locales {
            numbers.extend([7, names + text.len() as u32, *locale]);
            text += &format!("{name}\0");
        }
        let head = [0xde02_0109, 1, table, entries - 1, entries, names, text.len() as u32, 0];
        head.into_iter().chain(numbers).flat_map(u32::to_ne_bytes).chain(text.bytes()).collect()
    }

    #[test]
    fn an_archive_is_read_for_its_names() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8"]);
        fs::write(machine.at(ARCHIVE), archive(&[("de_DE.utf8", 1), ("en_US.utf8", 2), ("fr_FR.utf8", 0)])).unwrap();
        let wanted = names(&["en_US.UTF-8"]);
        assert_eq!(lacking(Some(&machine), Some(&machine), &wanted), Lacking::default());
        let deleted = lacking(Some(&machine), Some(&machine), &names(&["fr_FR.UTF-8"]));
        assert_eq!(deleted.links, [(place("fr_FR.utf8"), place("C.utf8"))].into());
        assert_eq!(lent(&machine, &[], &wanted), BTreeMap::new());
        // Another name sets the variable, with which the archive isn't looked into.
        assert_eq!(lent(&machine, &[], &names(&["en_US.UTF-8", "fr_FR.UTF-8"])).len(), 2);
        let whole = archive(&[("en_US.utf8", 1)]);
        let far = [&whole[..48], &u32::MAX.to_ne_bytes(), &whole[52..]].concat();
        for damaged in [&b""[..], b"short", &whole[..28], &whole[..50], &far, &[0; 64]] {
            let read = archived(Cursor::new(damaged)).unwrap_or_default();
            assert!(!read.contains(&b"en_US.utf8".to_vec()), "{read:?}");
        }
        assert_eq!(archived(Cursor::new(whole)).unwrap(), [b"en_US.utf8"]);
    }

    #[test]
    fn processes_of_this_machine_are_told_where_to_look_once() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8"]);
        let wanted = names(&["en_US.UTF-8", "C.UTF-8", "a/b"]);
        let links = lent(&machine, &[], &wanted);
        assert_eq!(links, [("en_US.utf8".to_string(), machine.at(place("C.utf8")))].into());
        let searched = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&links["en_US.utf8"], searched.path().join("en_US.utf8")).unwrap();
        assert_eq!(lent(&machine, &[searched.path().into()], &wanted), BTreeMap::new());

        let cache = Cache::open(home.path().join("cache")).unwrap();
        let once = search_path(&names(&["xx_XX.UTF-8"]), None, &cache).unwrap();
        if let Some(path) = once {
            let folder = PathBuf::from(&path);
            assert!(folder.join("xx_XX.utf8/LC_CTYPE").is_file());
            let again = search_path(&names(&["xx_XX.UTF-8"]), Some(&path), &cache).unwrap();
            assert_eq!(again, None, "it looks there already");
        }
    }
}
