use super::*;

#[test]
fn packages_are_named_after_their_libraries() {
    assert_eq!(package_names("libgomp.so.1"), ["libgomp1", "libgomp1t64"]);
    assert_eq!(package_names("libcap2.so.2")[0], "libcap2-2");
    assert_eq!(package_names("libz.so.1"), ["zlib1g"]);
    assert_eq!(package_names("libdirectml.so"), Vec::<String>::new());
    assert_eq!(package_names("lib;x.so.1"), Vec::<String>::new());
}

#[test]
fn only_debian_has_a_code_name_here() {
    assert_eq!(code_name("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
    assert_eq!(code_name("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
    assert_eq!(code_name(""), None);
}

#[test]
fn a_package_becomes_files_and_what_scanners_read() {
    use super::deb::tests::deb;
    let file = tar::EntryType::Regular;
    let control = "Package: liba1\nVersion: 1-2\nArchitecture: amd64\nSource: a\nDescription: A\n for all\n";
    let bytes = deb(
        control,
        &[
            ("./lib/x/liba.so.1", file, 0o644, b"elf"),
            ("./lib/x/tool", file, 0o775, b""),
            ("./usr/share/man/a", file, 0o644, b""),
        ],
    );
    let mut read = deb::read(&bytes, Limits::default()).unwrap();
    read.md5sums = "01  lib/x/liba.so.1\n02  usr/share/man/a\n".into();
    let debs = BTreeMap::from([("liba1".to_string(), read)]);
    let root = root::merge(debs.iter().map(|(name, deb)| (name.as_str(), deb))).unwrap();
    let resolved = Resolved { version: "1-2".into(), digest: Digest::of(&bytes) };
    let packages = Packages { release: "x".into(), packages: BTreeMap::from([("liba1".to_string(), resolved)]) };
    let base = assemble(packages, &debs, &root, &Lacking::default()).unwrap();
    let [owner] = &base.owners[..] else { panic!("{:?}", base.owners) };
    assert_eq!((owner.name.as_str(), owner.source.as_str(), owner.digest), ("liba1", "a", Some(Digest::of(&bytes))));
    assert_eq!(owner.files, ["/usr/lib/x/liba.so.1", "/usr/lib/x/tool"].map(PathBuf::from).into());
    let [(_, sums), (place, control)] = owner.entries();
    assert_eq!((sums, place.as_str()), (b"01  lib/x/liba.so.1\n".to_vec(), "var/lib/dpkg/status.d/liba1"));
    assert!(control.ends_with(b"Description: A\n for all\n"));
    let home = tempfile::tempdir().unwrap();
    unpack(&root, home.path()).unwrap();
    assert_eq!(fs::read(home.path().join("lib/x/liba.so.1")).unwrap(), b"elf");
}
