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
/// Most bytes of names that are read of an archive; all that glibc knows are 20 kB.
const MOST_NAMES: u32 = 1 << 20;

/// What a base lacks of the locales that are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Lacking {
    /// Files of this machine, by their place in the image.
    pub(super) files: BTreeMap<PathBuf, PathBuf>,
    /// Folders of locales that are links to others, all of them absolute places in the image.
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    /// Names for which there is nothing.
    pub(super) missing: Vec<String>,
}

impl Lacking {
    /// The sentence about those for which there is nothing.
    pub(super) fn warning(&self) -> Option<String> {
        let names: Vec<_> = self.missing.iter().take(5).map(|name| format!("`{name}`")).collect();
        (!names.is_empty()).then(|| {
            format!(
                "the model changes the case of letters by the locale {}, which neither this machine nor the base has: \
                 the service won't load it; install the locale here, or set the node's attribute `locale` to `C.UTF-8`",
                names.join(", ")
            )
        })
    }
}

/// What `base` lacks of the locales `names`, and from where it is taken: the base's own `C.UTF-8`, or this machine's.
pub(super) fn lacking(base: Option<&Host>, machine: &Host, names: &BTreeSet<String>) -> Lacking {
    let mut lacking = Lacking::default();
    for name in names {
        if base.is_some_and(|base| in_folders(base, name).is_some() || in_archive(base, name)) {
            continue;
        }
        let Some(folder) = folder_of(name) else {
            lacking.missing.push(name.clone());
            continue;
        };
        let own = base.and_then(|base| definition(base, name));
        let found = match own {
            Some(own) => Some(own),
            None => definition(machine, name).inspect(|found| {
                let parts = FILES.iter().map(|file| Path::new(found).join(file));
                let there = parts.filter_map(|part| {
                    let source = machine.resolve(&Path::new(FOLDER).join(&part), |_, _| ())?;
                    Some((Path::new(FOLDER).join(part), source))
                });
                lacking.files.extend(there);
            }),
        };
        match found {
            Some(found) if found == folder => {}
            Some(found) => {
                lacking.links.insert(Path::new(FOLDER).join(folder), Path::new(FOLDER).join(found));
            }
            None => lacking.missing.push(name.clone()),
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

fn is_there(host: &Host, folder: &str) -> bool {
    host.resolve(&Path::new(FOLDER).join(folder), |_, _| ()).is_some_and(|folder| folder.is_dir())
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
    names.split(|byte| *byte == 0).any(|name| std::str::from_utf8(name).is_ok_and(|name| wanted.contains(name)))
}

/// The names in an archive, each with a zero after it. Its head is numbers of 32 bits: the mark, a serial number, where the
/// table of names is and how much of it is used (two more numbers between), then the same of the names themselves.
fn archived(mut archive: impl Read + Seek) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 28];
    archive.read_exact(&mut head)?;
    let number = |at: usize| u32::from_ne_bytes([head[4 * at], head[4 * at + 1], head[4 * at + 2], head[4 * at + 3]]);
    let mut names = Vec::new();
    if number(0) == 0xde02_0109 {
        archive.seek(SeekFrom::Start(number(5).into()))?;
        archive.take(number(6).min(MOST_NAMES).into()).read_to_end(&mut names)?;
    }
    Ok(names)
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
        let found = lacking(None, &machine, &names(&["en_US.UTF-8", "de_DE", "tr_TR.UTF-8", "az_AZ", "ja_JP.EUC-JP"]));
        assert_eq!(found.files.len(), 2 * FILES.len());
        assert_eq!(found.files[&place("C.utf8/LC_CTYPE")], machine.at(place("C.utf8/LC_CTYPE")));
        let stands_in = |name: &str| (place(name), place("C.utf8"));
        assert_eq!(found.links, [stands_in("de_DE"), stands_in("en_US.utf8")].into());
        assert_eq!(found.missing, ["az_AZ", "ja_JP.EUC-JP"], "`i` is another letter there");
        assert!(found.warning().unwrap().contains("`az_AZ`, `ja_JP.EUC-JP`"));
        assert_eq!(lacking(None, &machine, &names(&["C.UTF-8"])).links, BTreeMap::new());
    }

    #[test]
    fn what_a_base_has_is_left_alone() {
        let [base, machine] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let machine = host(machine.path(), &["C.utf8"]);
        let wanted = names(&["en_US.UTF-8"]);
        let bare = lacking(Some(&host(base.path(), &[])), &machine, &wanted);
        assert_eq!((bare.files.len(), bare.links.len()), (FILES.len(), 1));
        let own = lacking(Some(&host(base.path(), &["C.UTF-8"])), &machine, &wanted);
        assert_eq!(own.files, BTreeMap::new());
        assert_eq!(own.links, [(place("en_US.utf8"), place("C.UTF-8"))].into());
        assert_eq!(lacking(Some(&host(base.path(), &["en_US.utf8"])), &machine, &wanted), Lacking::default());
        let nothing = tempfile::tempdir().unwrap();
        let bare = Host { root: nothing.path().into() };
        assert_eq!(lacking(Some(&bare), &bare, &wanted).missing, ["en_US.UTF-8"]);
        assert_eq!(lacking(None, &bare, &BTreeSet::new()).warning(), None);
    }

    fn archive(names: &str) -> Vec<u8> {
        let numbers = [0xde02_0109, 0, 0, 0, 0, 32, names.len() as u32, 0];
        let head = numbers.iter().flat_map(|number: &u32| number.to_ne_bytes());
        head.chain(names.bytes()).collect()
    }

    #[test]
    fn an_archive_is_read_for_its_names() {
        let home = tempfile::tempdir().unwrap();
        let machine = host(home.path(), &["C.utf8"]);
        fs::write(machine.at(ARCHIVE), archive("de_DE.utf8\0en_US.utf8\0")).unwrap();
        let wanted = names(&["en_US.UTF-8"]);
        assert_eq!(lacking(Some(&machine), &machine, &wanted), Lacking::default());
        assert_eq!(lent(&machine, &[], &wanted), BTreeMap::new());
        // Another name sets the variable, with which the archive isn't looked into.
        assert_eq!(lent(&machine, &[], &names(&["en_US.UTF-8", "fr_FR.UTF-8"])).len(), 2);
        for damaged in [&b""[..], b"short", &archive("en_US.utf8")[..28], &[0; 64]] {
            let read = archived(Cursor::new(damaged)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&read).contains("en_US"));
        }
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
