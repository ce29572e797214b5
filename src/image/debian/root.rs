//! Unpacked packages → the files of a base layer: what a service needs of them, where a merged `/usr` has it. Pure.
//!
//! No maintainer script runs, so what those would make is made here: the bundle of certificates and the links of the
//! merged `/usr`.

use std::collections::BTreeMap;

use super::deb::{Deb, Entry};
use crate::files::RelativePath;

/// Folders of the root that are links into `/usr`. A real folder in their place would hide what stands there.
pub(super) const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// What no service reads, by the folder that it stands below; `*` is any one name.
const LEFT_OUT: [&str; 27] = [
    // Programs: there is no shell to call them, and none of them is for a service.
    "usr/bin",
    "usr/sbin",
    "usr/games",
    // For developers and for people at a terminal.
    "boot",
    "etc/default",
    "etc/issue",
    "etc/issue.net",
    "etc/profile.d",
    "etc/skel",
    "etc/update-motd.d",
    "usr/include",
    "usr/share/base-files",
    "usr/share/bug",
    "usr/share/dict",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/src",
    // 9 MB of character sets: models and protocols speak UTF-8, which the C library knows by itself.
    "usr/lib/*/gconv",
    // They are in the bundle.
    "etc/ca-certificates",
    "usr/share/ca-certificates",
    // The same time zones twice more: under another name, and with leap seconds.
    "usr/share/zoneinfo/posix",
    "usr/share/zoneinfo/right",
    // Each package's copyright is kept.
    "usr/share/doc",
];

/// Where the certificates of authorities are in their package.
const AUTHORITIES: &str = "usr/share/ca-certificates/";

/// The files of a root, by path below it.
pub(super) type Root = BTreeMap<RelativePath, Entry>;

/// Two packages that can't both be unpacked, or a package that can't be on a merged `/usr`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`/{path}` is in the package `{one}` and, otherwise, in `{other}`")]
pub struct Clash {
    /// The path below `/`.
    pub path: String,
    /// The package that was first.
    pub one: String,
    /// The other.
    pub other: String,
}

/// Joins packages (name and contents) in the order given into one root.
pub(super) fn merge<'a>(packages: impl IntoIterator<Item = (&'a str, &'a Deb)>) -> Result<Root, Clash> {
    let mut root = Root::new();
    let mut owners: BTreeMap<RelativePath, &str> = BTreeMap::new();
    let mut authorities = BTreeMap::new();
    for (name, deb) in packages {
        for (path, entry) in &deb.entries {
            if let (Entry::File { bytes, .. }, true) = (entry, is_authority(path)) {
                authorities.insert(path.clone(), bytes);
            }
            // From Debian 13 on the links come with a package, and are made here in any case.
            if matches!(entry, Entry::Link(_)) && MERGED.contains(&path.as_str()) {
                continue;
            }
            let path = merged(path);
            if is_left_out(&path, entry) {
                continue;
            }
            let same =
                |old: &Entry| old == entry || matches!((old, entry), (Entry::Folder { .. }, Entry::Folder { .. }));
            match root.get(&path) {
                Some(old) if !same(old) => {
                    let one = owners.get(&path).copied().unwrap_or_default().into();
                    return Err(Clash { path: path.as_str().into(), one, other: name.into() });
                }
                Some(_) => {}
                None => {
                    owners.insert(path.clone(), name);
                    root.insert(path, entry.clone());
                }
            }
        }
    }
    let known = |name: &str| name.parse::<RelativePath>().expect("a plain path");
    for name in MERGED {
        let target = format!("usr/{name}");
        let inside = format!("{target}/");
        if root.keys().any(|path| path.as_str() == target || path.as_str().starts_with(&inside)) {
            root.insert(known(name), Entry::Link(target.into()));
        }
    }
    if !authorities.is_empty() {
        root.insert(
            known("etc/ssl/certs/ca-certificates.crt"),
            Entry::File { mode: 0o644, bytes: bundle(&authorities) },
        );
    }
    Ok(root)
}

fn is_authority(path: &RelativePath) -> bool {
    path.as_str().starts_with(AUTHORITIES) && path.as_str().ends_with(".crt")
}

/// What `update-ca-certificates` would write: one certificate after the other, by their names.
fn bundle(authorities: &BTreeMap<RelativePath, &Vec<u8>>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for certificate in authorities.values() {
        bundle.extend_from_slice(certificate);
        if !certificate.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    bundle
}

/// The path on a merged `/usr`.
pub(super) fn merged(path: &RelativePath) -> RelativePath {
    let text = path.as_str();
    let first = text.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{text}").parse().expect("a path below a folder") } else { path.clone() }
}

/// Whether an entry isn't for the image.
fn is_left_out(path: &RelativePath, entry: &Entry) -> bool {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let is_folder = matches!(entry, Entry::Folder { .. });
    if let ["usr", "share", "doc", _, rest @ ..] = &parts[..] {
        // Packages of one source name each other's folder there.
        return is_folder || !(rest == ["copyright"] || (rest.is_empty() && matches!(entry, Entry::Link(_))));
    }
    // What the merged names lead to stays, though it may be empty.
    if is_folder && matches!(parts[..], ["usr", name] if MERGED.contains(&name)) {
        return false;
    }
    LEFT_OUT.iter().any(|rule| {
        let rule: Vec<&str> = rule.split('/').collect();
        parts.len() >= rule.len() && rule.iter().zip(&parts).all(|(rule, part)| *rule == "*" || rule == part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Entry {
        Entry::File { mode: 0o644, bytes: text.into() }
    }

    fn deb(entries: &[(&str, Entry)]) -> Deb {
        let entries = entries.iter().map(|(path, entry)| (path.parse().unwrap(), entry.clone())).collect();
        Deb { entries, ..Deb::default() }
    }

    fn paths(root: &Root) -> Vec<&str> {
        root.keys().map(RelativePath::as_str).collect()
    }

    const FOLDER: Entry = Entry::Folder { mode: 0o755 };

    #[test]
    fn everything_moves_below_usr_and_links_lead_there() {
        let files = deb(&[("lib", FOLDER), ("lib/x/libc.so.6", file("c")), ("bin", FOLDER)]);
        let base =
            deb(&[("etc", FOLDER), ("lib", Entry::Link("usr/lib".into())), ("usr/lib/os-release", file("ID=debian"))]);
        let loader = deb(&[("lib64/ld.so.2", Entry::Link("/lib/x/ld.so.2".into()))]);
        let root = merge([("libc6", &files), ("base-files", &base), ("loader", &loader)]).unwrap();
        let expected = [
            "bin",
            "etc",
            "lib",
            "lib64",
            "usr/bin",
            "usr/lib",
            "usr/lib/os-release",
            "usr/lib/x/libc.so.6",
            "usr/lib64/ld.so.2",
        ];
        assert_eq!(paths(&root), expected);
        assert_eq!(root[&"lib64".parse().unwrap()], Entry::Link("usr/lib64".into()));
    }

    #[test]
    fn what_no_service_reads_is_left_out_and_licences_stay() {
        let package = deb(&[
            ("usr/bin/tool", file("")),
            ("usr/share/man/man1/a.1.gz", file("")),
            ("usr/lib/x/gconv/A.so", file("")),
            ("usr/lib/x/liba.so", file("")),
            ("usr/share/doc/a", FOLDER),
            ("usr/share/doc/a/copyright", file("free")),
            ("usr/share/doc/a/changelog.gz", file("")),
            ("usr/share/doc/a/examples/copyright", file("")),
            ("usr/share/doc/b", Entry::Link("a".into())),
            ("usr/share/zoneinfo/right/UTC", file("")),
            ("usr/share/zoneinfo/UTC", file("")),
        ]);
        let root = merge([("a", &package)]).unwrap();
        let expected =
            ["lib", "usr/lib/x/liba.so", "usr/share/doc/a/copyright", "usr/share/doc/b", "usr/share/zoneinfo/UTC"];
        assert_eq!(paths(&root), expected);
    }

    #[test]
    fn certificates_become_one_bundle_by_name() {
        let package = deb(&[
            ("usr/share/ca-certificates/mozilla/b.crt", file("B\n")),
            ("usr/share/ca-certificates/mozilla/a.crt", file("A")),
            ("usr/share/ca-certificates/mozilla/README", file("no")),
        ]);
        let root = merge([("ca-certificates", &package)]).unwrap();
        assert_eq!(root[&"etc/ssl/certs/ca-certificates.crt".parse().unwrap()], file("A\nB\n"));
        assert_eq!(root.len(), 1);
    }

    #[test]
    fn two_packages_never_share_a_place_unless_they_agree() {
        let (one, other) = (deb(&[("etc", FOLDER), ("etc/a", file("1"))]), deb(&[("etc/a", file("2"))]));
        assert!(merge([("one", &one), ("again", &one)]).is_ok());
        let clash = merge([("one", &one), ("other", &other)]).unwrap_err();
        assert_eq!(clash.to_string(), "`/etc/a` is in the package `one` and, otherwise, in `other`");
        let merged = deb(&[("lib/a", file("1"))]);
        let usr = deb(&[("usr/lib/a", file("2"))]);
        assert!(merge([("one", &merged), ("other", &usr)]).is_err());
    }
}
