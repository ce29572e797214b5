use std::io::Write;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::*;

/// A layout to be spoilt: every document can be edited before the next one, which holds its digest, is made.
struct Draft {
    layers: Vec<(&'static str, Vec<u8>, Digest)>,
    config: Box<dyn FnOnce(&mut Value)>,
    manifest: Box<dyn FnOnce(&mut Value)>,
    index: Box<dyn FnOnce(&mut Value)>,
}

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// A tar with entries of any name and kind, unchecked.
fn tar(entries: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, link) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        header.set_size(0);
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

impl Draft {
    fn good() -> Self {
        Draft::of(vec![tar(&[("a/", b'5', ""), ("a/b", b'0', ""), ("l", b'2', "/a/b")]), tar(&[("c", b'0', "")])])
    }

    /// The first layer gzip, others plain.
    fn of(tars: Vec<Vec<u8>>) -> Self {
        let layer = |(at, tar): (usize, Vec<u8>)| match at {
            0 => (GZIP, gzip(&tar), Digest::of(&tar)),
            _ => (PLAIN, tar.clone(), Digest::of(&tar)),
        };
        let layers = tars.into_iter().enumerate().map(layer).collect();
        Draft { layers, config: Box::new(|_| ()), manifest: Box::new(|_| ()), index: Box::new(|_| ()) }
    }

    fn write(self, folder: &Path) {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let put = |bytes: &[u8], kind: &str| {
            fs::write(blob_path(folder, &Digest::of(bytes)), bytes).unwrap();
            json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() })
        };
        let edit = |mut value: Value, edit: Box<dyn FnOnce(&mut Value)>| {
            edit(&mut value);
            serde_json::to_vec(&value).unwrap()
        };
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.2).collect();
        let layers: Vec<_> = self.layers.iter().map(|layer| put(&layer.1, layer.0)).collect();
        let history: Vec<_> = layers.iter().map(|_| json!({ "created_by": "test" })).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z", "history": history,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = put(&edit(config, self.config), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        let mut image = put(&edit(manifest, self.manifest), kind);
        image["platform"] = json!({ "architecture": "amd64", "os": "linux" });
        image["annotations"] = json!({ REF_NAME: "n:1" });
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [image],
        });
        fs::write(folder.join("index.json"), edit(index, self.index)).unwrap();
        fs::write(folder.join("oci-layout"), crate::image::layout::MARK).unwrap();
    }

    fn problems(self) -> Vec<Problem> {
        let home = tempfile::tempdir().unwrap();
        self.write(home.path());
        problems(home.path())
    }
}

fn problems(folder: &Path) -> Vec<Problem> {
    validate(folder).into_iter().map(|fault| fault.problem).collect()
}

/// The good layout, spoilt on disk.
fn spoilt(spoil: impl FnOnce(&Path)) -> Vec<Problem> {
    let home = tempfile::tempdir().unwrap();
    Draft::good().write(home.path());
    spoil(home.path());
    problems(home.path())
}

fn blob(folder: &Path, kind: &str) -> std::path::PathBuf {
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let path = |value: &Value| blob_path(folder, &value["digest"].as_str().unwrap().parse().unwrap());
    let manifest_path = path(&index["manifests"][0]);
    let manifest: Value = serde_json::from_slice(&fs::read(&manifest_path).unwrap()).unwrap();
    match kind {
        "manifest" => manifest_path,
        "config" => path(&manifest["config"]),
        "gzip" => path(&manifest["layers"][0]),
        _ => path(&manifest["layers"][1]),
    }
}

#[test]
fn a_good_layout_has_no_faults() {
    assert_eq!(Draft::good().problems(), []);
}

macro_rules! has {
    ($problems:expr, $($pattern:pat),+ $(,)?) => {{
        let problems = $problems;
        let mut left = problems.iter();
        $(assert!(matches!(left.next(), Some($pattern)), "expected {}: {problems:?}", stringify!($pattern));)+
        assert_eq!(left.next(), None, "{problems:?}");
    }};
}

#[test]
fn layers_of_zstandard_are_read() {
    let tar = tar(&[("a/", b'5', ""), ("a/b", b'0', "")]);
    let kind = "application/vnd.oci.image.layer.v1.tar+zstd";
    let draft = |stored: Vec<u8>| {
        let mut draft = Draft::of(vec![tar.clone()]);
        draft.layers = vec![(kind, stored, Digest::of(&tar))];
        draft.problems()
    };
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    assert_eq!(draft(zstd(&tar)), []);
    // Two frames are one stream.
    assert_eq!(draft([zstd(&tar[..700]), zstd(&tar[700..])].concat()), []);
    has!(draft(zstd(&[0; 1024])), Problem::DiffId { .. });
    has!(draft(zstd(&tar)[..40].to_vec()), Problem::Layer(_));
    has!(draft(tar.clone()), Problem::Layer(_));
}

#[test]
fn every_blob_that_is_missing_changed_or_longer_is_told() {
    use Problem::*;
    has!(spoilt(|at| fs::remove_file(blob(at, "manifest")).unwrap()), Missing, Stray, Stray, Stray);
    for kind in ["config", "gzip", "plain"] {
        has!(spoilt(|at| fs::remove_file(blob(at, kind)).unwrap()), Missing);
        has!(
            spoilt(|at| {
                let path = blob(at, kind);
                fs::remove_file(&path).unwrap();
                symlink("/etc/hostname", path).unwrap();
            }),
            NotAFile
        );
    }
    let longer = |kind: &'static str| {
        spoilt(move |at| fs::OpenOptions::new().append(true).open(blob(at, kind)).unwrap().write_all(b" ").unwrap())
    };
    has!(longer("manifest"), Size { .. }, Digest { .. });
    has!(longer("config"), Size { .. }, Digest { .. });
    has!(longer("plain"), Size { .. }, Digest { .. }, DiffId { .. });
    // One byte after a gzip member is the beginning of another that never comes.
    has!(longer("gzip"), Layer(_), Size { .. }, Digest { .. });
}

#[test]
fn a_changed_byte_anywhere_is_told() {
    for kind in ["manifest", "config", "gzip", "plain"] {
        let home = tempfile::tempdir().unwrap();
        Draft::good().write(home.path());
        let path = blob(home.path(), kind);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(1 + good.len() / 64) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let told = problems(home.path());
            assert!(told.iter().any(|problem| matches!(problem, Problem::Digest { .. })), "{kind} {at}: {told:?}");
        }
    }
}

#[test]
fn documents_that_do_not_parse_or_are_of_another_version_are_told() {
    use Problem::*;
    has!(spoilt(|at| fs::remove_file(at.join("oci-layout")).unwrap()), Missing);
    has!(spoilt(|at| fs::write(at.join("oci-layout"), "{").unwrap()), Parse(_));
    has!(spoilt(|at| fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"9"}"#).unwrap()), Version(_));
    let all_stray = [Stray, Stray, Stray, Stray];
    assert_eq!(spoilt(|at| fs::remove_file(at.join("index.json")).unwrap()), [&[Missing][..], &all_stray].concat());
    let large = spoilt(|at| fs::write(at.join("index.json"), vec![b' '; 5 << 20]).unwrap());
    has!(large, Limit(_), Stray, Stray, Stray, Stray);
    has!(Draft { index: Box::new(|index| index["schemaVersion"] = json!(3)), ..Draft::good() }.problems(), Version(_));
    has!(Draft { manifest: Box::new(|it| it["schemaVersion"] = json!(1)), ..Draft::good() }.problems(), Version(_));
    has!(
        Draft { manifest: Box::new(|it| it["layers"] = json!(3)), ..Draft::good() }.problems(),
        Parse(_),
        Stray,
        Stray,
        Stray
    );
    has!(Draft { config: Box::new(|it| it["rootfs"] = json!(3)), ..Draft::good() }.problems(), Parse(_));
}

#[test]
fn faults_of_the_index_are_told() {
    use Problem::*;
    let index = |edit: fn(&mut Value)| Draft { index: Box::new(edit), ..Draft::good() }.problems();
    has!(index(|it| it["manifests"] = json!([])), Empty, Stray, Stray, Stray, Stray);
    has!(index(|it| it["mediaType"] = json!("text/plain")), MediaType(_));
    has!(index(|it| it["manifests"][0]["mediaType"] = json!("text/plain")), MediaType(_), Stray, Stray, Stray);
    has!(index(|it| it["manifests"][0]["size"] = json!(7)), Size { said: 7, .. });
    has!(index(|it| it["manifests"][0]["platform"]["architecture"] = json!("arm64")), Platform { .. });
    let twice = |it: &mut Value| {
        let image = it["manifests"][0].clone();
        it["manifests"].as_array_mut().unwrap().push(image);
    };
    has!(index(twice), TwiceNamed(_));
    // A digest of another algorithm is legal in OCI, but nothing here can check it.
    let sha512 = |it: &mut Value| it["manifests"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    has!(index(sha512), BadDigest(_), Stray, Stray, Stray, Stray);
    let climbing = |it: &mut Value| it["manifests"][0]["digest"] = json!("sha256:../../index.json");
    assert!(!index(climbing).is_empty());
}

#[test]
fn faults_of_configuration_and_manifest_are_told() {
    use Problem::*;
    let config = |edit: fn(&mut Value)| Draft { config: Box::new(edit), ..Draft::good() }.problems();
    has!(config(|it| it["rootfs"]["type"] = json!("files")), Field { field: "rootfs.type", .. });
    has!(config(|it| it["created"] = json!("yesterday")), Field { field: "created", .. });
    has!(
        config(|it| it["rootfs"]["diff_ids"].as_array_mut().unwrap().truncate(1)),
        DiffIdCount { diff_ids: 1, layers: 2 }
    );
    has!(config(|it| it["rootfs"]["diff_ids"].as_array_mut().unwrap().reverse()), DiffId { .. }, DiffId { .. });
    has!(config(|it| it["history"].as_array_mut().unwrap().truncate(1)), HistoryCount { .. });
    let manifest = |edit: fn(&mut Value)| Draft { manifest: Box::new(edit), ..Draft::good() }.problems();
    has!(manifest(|it| it["mediaType"] = json!("text/plain")), MediaType(_));
    has!(manifest(|it| it["layers"][0]["mediaType"] = json!("text/plain")), MediaType(_));
    has!(manifest(|it| it["config"]["mediaType"] = json!("text/plain")), MediaType(_));
    has!(manifest(|it| it["layers"][0]["mediaType"] = json!(PLAIN)), Layer(_));
    has!(manifest(|it| it["layers"][1]["mediaType"] = json!(GZIP)), Layer(_));
    has!(manifest(|it| it["layers"].as_array_mut().unwrap().reverse()), DiffId { .. }, DiffId { .. });
}

#[test]
fn faults_inside_a_layer_are_told_with_their_path() {
    use Problem::*;
    for (entries, expected) in [
        (&[("a", b'0', ""), ("./a", b'0', "")][..], DuplicatePath),
        (&[("a/", b'5', ""), ("a", b'0', "")], DuplicatePath),
        (&[("../a", b'0', "")], Escapes),
        (&[("/a", b'0', "")], Escapes),
        (&[("a", b'1', "../../etc/passwd")], LinkEscapes),
        (&[("a", b'2', "b"), ("a/x", b'0', "")], BelowAFile),
        (&[("a", b'3', "")], Special),
        (&[("a", b'6', "")], Special),
    ] {
        for tars in [vec![tar(entries)], vec![tar(&[]), tar(entries)]] {
            let home = tempfile::tempdir().unwrap();
            Draft::of(tars).write(home.path());
            let faults = validate(home.path());
            assert_eq!(faults.iter().map(|fault| &fault.problem).collect::<Vec<_>>(), [&expected], "{entries:?}");
            assert!(faults[0].place.contains(": "), "{}", faults[0]);
        }
    }
}

#[test]
fn strays_are_told() {
    use Problem::*;
    has!(spoilt(|at| fs::write(at.join("blobs/sha256/notes.txt"), "").unwrap()), Stray);
    has!(spoilt(|at| fs::write(at.join("extra"), "").unwrap()), Stray);
    has!(spoilt(|at| fs::create_dir(at.join("blobs/md5")).unwrap()), Stray);
    has!(problems(Path::new("/no/such/folder")), Missing, Missing);
}

#[test]
fn bombs_and_floods_are_cut_short() {
    let home = tempfile::tempdir().unwrap();
    let mut bomb = tar(&[("a", b'0', "")]);
    bomb.resize(1 << 20, 0);
    Draft::of(vec![bomb]).write(home.path());
    let tight = Limits { layer_bytes: 1 << 16, ..Limits::default() };
    has!(validate_within(home.path(), &tight).into_iter().map(|f| f.problem).collect::<Vec<_>>(), Problem::Limit(_));

    let home = tempfile::tempdir().unwrap();
    let flood = [("a", b'0', "")].repeat(500);
    Draft::of(vec![tar(&flood)]).write(home.path());
    let few = Limits { entries: 100, ..Limits::default() };
    let told = validate_within(home.path(), &few);
    assert!(matches!(told.last().unwrap().problem, Problem::Limit(_)), "{told:?}");
    let told = validate_within(home.path(), &Limits { faults: 10, ..Limits::default() });
    assert_eq!((told.len(), &told[10].problem), (11, &Problem::More(10)));
}

#[test]
fn a_long_record_in_a_tar_is_not_read_into_memory() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(2 << 20);
    header.set_cksum();
    tar.append(&header, &vec![b'a'; 2 << 20][..]).unwrap();
    has!(Draft::of(vec![tar.into_inner().unwrap()]).problems(), Problem::Layer(_));
}

#[test]
fn a_signature_beside_the_image_is_checked_too() {
    let home = tempfile::tempdir().unwrap();
    let put = |bytes: &[u8], kind: &str| {
        fs::create_dir_all(home.path().join("blobs/sha256")).unwrap();
        fs::write(blob_path(home.path(), &Digest::of(bytes)), bytes).unwrap();
        json!({ "mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len() })
    };
    let payload = put(b"{}", "application/vnd.dev.cosign.simplesigning.v1+json");
    let config = json!({
        "architecture": "", "os": "", "rootfs": { "type": "layers", "diff_ids": [payload["digest"]] },
    });
    let config = put(&serde_json::to_vec(&config).unwrap(), "application/vnd.oci.image.config.v1+json");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [payload] });
    let signature = put(&serde_json::to_vec(&manifest).unwrap(), kind);
    let add = move |it: &mut Value| it["manifests"].as_array_mut().unwrap().push(signature);
    Draft { index: Box::new(add), ..Draft::good() }.write(home.path());
    assert_eq!(validate(home.path()), []);
    fs::write(blob_path(home.path(), &Digest::of("{}")), "[]").unwrap();
    has!(problems(home.path()), Problem::Digest { .. });
}

/// A tar of one entry, whose header is preceded by these extensions: the header's type and its content.
fn extended(extensions: &[(u8, &[u8])], path: &str, kind: u8) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut put = |name: &str, kind: u8, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    };
    extensions.iter().for_each(|(kind, content)| put("extension", *kind, content));
    put(path, kind, &[]);
    builder.into_inner().unwrap()
}

#[test]
fn paths_are_those_that_an_engine_reads() {
    use Problem::*;
    let paths = |extensions: &[(u8, &[u8])], kind: u8| Draft::of(vec![extended(extensions, "short", kind)]).problems();
    let long = format!("{}/b", "a".repeat(200));
    assert_eq!(paths(&[(b'L', format!("{long}\0").as_bytes())], b'0'), []);
    has!(paths(&[(b'L', b"../evil\0")], b'0'), Escapes);
    // What follows the zero is not read by anyone.
    has!(paths(&[(b'L', b"../evil\0/..")], b'0'), Escapes);
    has!(paths(&[(b'K', b"../../etc/shadow\0")], b'1'), LinkEscapes);
    has!(paths(&[(b'x', b"18 mtime=12345678\n13 path=a/b/c\n")], b'0'), Layer(_));
    assert_eq!(paths(&[(b'x', b"14 path=a/b/c\n")], b'0'), []);
    has!(paths(&[(b'x', b"16 path=../evil\n")], b'0'), Escapes);
    has!(paths(&[(b'x', b"26 linkpath=../etc/shadow\n")], b'1'), LinkEscapes);
    // The last of two counts, and a line break in a value begins no line.
    has!(paths(&[(b'x', b"10 path=a\n16 path=../evil\n")], b'0'), Escapes);
    assert_eq!(paths(&[(b'x', b"16 path=../evil\n10 path=a\n")], b'0'), []);
    has!(paths(&[(b'x', b"27 comment=x\n16 path=../evil\n")], b'0'), Layer(_));
    assert_eq!(paths(&[(b'x', b"29 comment=x\n16 path=../evil\n")], b'0'), []);
    // What would change an entry in another way, and what is no record.
    for record in [
        &b"9 size=7\n"[..],
        b"23 GNU.sparse.name=a/b\n",
        b"8 path=a\n",
        b"x path=a\n",
        b"99 path=a\n",
        b"path",
        b"5 ab\n",
    ] {
        let told = paths(&[(b'x', record)], b'0');
        assert!(matches!(told[..], [Layer(_)]), "{:?}: {told:?}", record.escape_ascii().to_string());
    }
    // A path for everything that follows is for none of it.
    assert_eq!(paths(&[(b'g', b"16 path=../evil\n")], b'0'), []);
}

/// Puts what `index.json` names into an index of its own, `depth` times.
fn nest(folder: &Path, depth: usize) {
    for _ in 0..depth {
        let inner = fs::read(folder.join("index.json")).unwrap();
        let digest = Digest::of(&inner);
        fs::write(blob_path(folder, &digest), &inner).unwrap();
        let kind = "application/vnd.oci.image.index.v1+json";
        let entry = json!({ "mediaType": kind, "digest": digest, "size": inner.len() });
        let outer = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [entry] });
        fs::write(folder.join("index.json"), outer.to_string()).unwrap();
    }
}

#[test]
fn an_index_in_an_index_is_followed_but_not_for_ever() {
    assert_eq!(spoilt(|at| nest(at, 1)), []);
    let changed = spoilt(|at| {
        let path = blob(at, "plain");
        nest(at, 2);
        fs::write(path, "changed").unwrap();
    });
    assert!(changed.iter().any(|problem| matches!(problem, Problem::Digest { .. })), "{changed:?}");
    let deep = spoilt(|at| nest(at, 9));
    assert!(deep.iter().any(|problem| matches!(problem, Problem::Depth)), "{deep:?}");
}
