//! Images on packages of Debian: the real ones by the machine's apt, run in a real engine; and indexes of a made-up
//! archive that are not what they should be.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

#[path = "support/docker.rs"]
mod docker;
#[path = "support/small_image.rs"]
mod small_image;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use docker::Engine;
use nimify::cache::Cache;
use nimify::digest::Digest;
use nimify::image::debian::{self, DebianBase, Error, Program, Request};
use nimify::image::{self, Architecture, BaseSource};

fn request<'a>(cache: &'a Cache, binary: &'a Path, libraries: &'a [&'a Path], apt: Program) -> Request<'a> {
    let architecture = Architecture::host().unwrap();
    let locales = &*small_image::LOCALES;
    Request { architecture, binary, libraries, cuda: None, locales, locked: None, cache, offline: false, apt }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_on_debians_packages_runs_and_is_locked() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut asked = small_image::request(&binary, home.path(), &cache);
    let libraries = [asked.onnxruntime.as_path()];
    let request = request(&cache, &binary, &libraries, Program::of_host());
    let base = debian::provide(&request).unwrap();
    the_lock_gives_the_same_without_a_network(&request, &base);

    asked.base = BaseSource::Debian(base);
    let image = image::assemble(&asked, &cache).unwrap();
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    assert_eq!(image::validate(&layout), []);
    the_base_is_small_and_has_what_scanners_read(&image, home.path());

    let engine = Engine::get();
    let loaded = image::load(&layout, &["debian-base:1".into()], &engine.host.parse().unwrap()).await.unwrap();
    let output = engine.run_confined(&[], "debian-base:1", &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for fact in ["uid=65532 ", "read-only=true", "shell=false", "temporary=true", "model=weights", "lower=é"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(text.contains(&format!("onnxruntime={}", image::onnxruntime::VERSION)), "{text}");
    let certificates = text.split("certificates=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(certificates.parse::<u32>().unwrap() > 100, "{text}");
    engine.must(&["image", "rm", "--force", &loaded.id]);
}

fn the_lock_gives_the_same_without_a_network(request: &Request<'_>, base: &DebianBase) {
    let locked = Request { locked: Some(&base.packages), offline: true, ..request.clone() };
    assert_eq!(debian::provide(&locked).unwrap(), *base);
    let offline = Request { offline: true, ..request.clone() };
    assert_eq!(debian::provide(&offline).unwrap(), *base, "the indexes are kept");
    // A version that no mirror has, and a package of the right version with another digest.
    let mut gone = base.packages.clone();
    let netbase = gone.packages.get_mut("netbase").unwrap();
    (netbase.version, netbase.digest) = ("0.0.1".into(), Digest::of("never"));
    let failed = |packages| match debian::provide(&Request { locked: Some(packages), ..request.clone() }) {
        Err(image::Error::Debian(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(&gone).to_string(), format!("Debian {} has no package `netbase` of version 0.0.1", gone.release));
    let mut other = base.packages.clone();
    other.packages.get_mut("netbase").unwrap().digest = Digest::of("never");
    assert!(matches!(failed(&other), Error::Digest { name, .. } if name == "netbase"));
}

fn the_base_is_small_and_has_what_scanners_read(image: &image::Image, home: &Path) {
    let base = &image.layers[0];
    println!("base of Debian packages: {} bytes, {} compressed", base.uncompressed_size, base.size);
    assert!(base.uncompressed_size < 12_000_000 && base.size < 5_000_000, "{base:?}");
    let names: Vec<&str> = image.base.packages.iter().map(|package| package.name.as_str()).collect();
    assert!(names.contains(&"libc6") && names.contains(&"tzdata") && names.iter().any(|name| name.ends_with("-base")));
    let root = home.join("root");
    fs::create_dir(&root).unwrap();
    let blob = fs::File::open(&base.blob).unwrap();
    tar::Archive::new(flate2::read::MultiGzDecoder::new(blob)).unpack(&root).unwrap();
    for name in names {
        let control = fs::read_to_string(root.join("var/lib/dpkg/status.d").join(name)).unwrap();
        assert!(control.starts_with(&format!("Package: {name}\n")), "{control}");
        let sums = fs::read_to_string(root.join("var/lib/dpkg/status.d").join(format!("{name}.md5sums"))).unwrap();
        // Every file that the list names is there, by way of the merged /usr.
        for line in sums.lines() {
            assert!(root.join(line.split_once("  ").unwrap().1).symlink_metadata().is_ok(), "{name}: {line}");
        }
        assert!(root.join(format!("usr/share/doc/{name}/copyright")).exists(), "{name} has no licence");
    }
    assert_eq!(fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
    assert!(fs::read_to_string(root.join("etc/os-release")).unwrap().contains("ID=debian"));
    assert!(fs::read_dir(root.join("usr/bin")).unwrap().next().is_none(), "there are no programs");
    // Debian's own tool takes the stanzas for what they are.
    let status = home.join("status");
    let stanza = fs::read_to_string(root.join("var/lib/dpkg/status.d/libc6")).unwrap();
    fs::write(&status, stanza.replacen('\n', "\nStatus: install ok installed\n", 1)).unwrap();
    let admin = home.join("dpkg");
    fs::create_dir_all(admin.join("info")).unwrap();
    fs::create_dir_all(admin.join("updates")).unwrap();
    fs::rename(&status, admin.join("status")).unwrap();
    let said = Command::new("dpkg-query").arg("--admindir").arg(&admin).args(["--show", "libc6"]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("libc6"), "{}", String::from_utf8_lossy(&said.stderr));
}

/// An archive of a few packages that are none, signed by a key of its own.
struct Archive {
    home: tempfile::TempDir,
}

impl Archive {
    fn new() -> Self {
        let archive = Archive { home: tempfile::tempdir().unwrap() };
        fs::create_dir_all(archive.at("gpg")).unwrap();
        fs::create_dir_all(archive.at("lists")).unwrap();
        fs::create_dir_all(archive.at("a/pool")).unwrap();
        fs::create_dir_all(archive.at("a/dists/madeup/main").join(format!("binary-{}", architecture()))).unwrap();
        // Other users, such as the one that apt fetches as, have to read it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode;
        fs::set_permissions(archive.home.path(), mode(0o755)).unwrap();
        fs::set_permissions(archive.at("gpg"), mode(0o700)).unwrap();
        archive.gpg(&["--quick-gen-key", "--passphrase", "", "made-up@example.com", "ed25519", "sign", "never"]);
        archive.gpg(&["--output", archive.at("key.gpg").to_str().unwrap(), "--export"]);
        archive.write("Origin: Debian\nLabel: Debian\n", &["base-files"], "");
        archive
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn gpg(&self, arguments: &[&str]) {
        let mut gpg = Command::new("gpg");
        let said = gpg.args(["--batch", "--yes", "--quiet", "--homedir"]).arg(self.at("gpg")).args(arguments).output();
        let said = said.expect("this test needs `gpg`: run `tools/setup`");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    /// Writes and signs the index: more fields of the release, the packages, and what the index calls their contents.
    fn write(&self, fields: &str, packages: &[&str], contents: &str) {
        let mut index = String::new();
        for name in packages {
            fs::write(self.at("a/pool").join(format!("{name}.deb")), name).unwrap();
            let digest = Digest::of(format!("{name}{contents}"));
            index += &format!(
                "Package: {name}\nVersion: 1\nArchitecture: {}\nMaintainer: M <m@example.com>\nDescription: d\n\
                 Filename: pool/{name}.deb\nSize: {}\nSHA256: {}\n\n",
                architecture(),
                name.len(),
                digest.hex()
            );
        }
        let place = format!("main/binary-{}/Packages", architecture());
        fs::write(self.at("a/dists/madeup").join(&place), &index).unwrap();
        let release = format!(
            "{fields}Suite: madeup\nCodename: madeup\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nArchitectures: {}\n\
             Components: main\nSHA256:\n {} {} {place}\n",
            architecture(),
            Digest::of(&index).hex(),
            index.len()
        );
        let plain = self.at("Release");
        fs::write(&plain, release).unwrap();
        let signed = self.at("a/dists/madeup/InRelease");
        self.gpg(&["--output", signed.to_str().unwrap(), "--clearsign", plain.to_str().unwrap()]);
    }

    /// An apt that has this archive alone.
    fn apt(&self, options: &str) -> Program {
        let list = self.at("madeup.list");
        let archive = self.at("a");
        fs::write(&list, format!("deb [{options}] file:{} madeup main\n", archive.display())).unwrap();
        let set = |option: &str, place: PathBuf| OsString::from(format!("-o{option}={}", place.display()));
        let options = vec![
            set("Dir::Etc::sourcelist", list),
            set("Dir::Etc::sourceparts", "/dev/null".into()),
            set("Dir::State::lists", self.at("lists")),
        ];
        Program { folder: None, options }
    }

    /// What comes of it.
    fn refused(&self, options: &str) -> Error {
        self.refused_by(self.apt(options), false)
    }

    fn refused_by(&self, apt: Program, offline: bool) -> Error {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path().join("cache")).unwrap();
        let request = Request { offline, ..request(&cache, Path::new("/bin/true"), &[], apt) };
        match debian::provide(&request) {
            Err(image::Error::Debian(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn signed(&self) -> String {
        format!("signed-by={}", self.at("key.gpg").display())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        let mut stop = Command::new("gpgconf");
        let _ = stop.arg("--homedir").arg(self.at("gpg")).args(["--kill", "all"]).status();
    }
}

fn architecture() -> &'static str {
    Architecture::host().unwrap().oci()
}

#[test]
fn only_signed_and_current_indexes_are_believed() {
    let archive = Archive::new();
    let gone = archive.refused(&archive.signed());
    assert_eq!(gone.to_string(), "Debian madeup has no package `ca-certificates`", "the index itself is believed");

    let untrusted = archive.refused("");
    assert!(matches!(untrusted, Error::Untrusted { .. }), "{untrusted}");
    for option in ["trusted=yes", "allow-insecure=yes", "check-valid-until=no"] {
        let both = format!("{} {option}", archive.signed());
        let refused = archive.refused(&both);
        assert!(matches!(&refused, Error::Unsigned { option: said, .. } if said == option), "{refused}");
    }

    archive.write("Origin: Debian\nValid-Until: Sun, 02 Jan 2022 00:00:00 UTC\n", &["base-files"], "");
    let expired = archive.refused(&archive.signed());
    assert!(matches!(expired, Error::Expired { .. }), "{expired}");

    archive.write("Origin: Somebody\n", &["base-files"], "");
    let foreign = archive.refused(&archive.signed());
    assert!(matches!(foreign, Error::NoSources { .. }), "{foreign}");

    archive.write("Origin: Debian\n", &["base-files"], "");
    let index = archive.at(&format!("a/dists/madeup/main/binary-{}/Packages", architecture()));
    let changed = fs::read_to_string(&index).unwrap().replace("Version: 1", "Version: 2");
    fs::write(&index, changed).unwrap();
    let changed = archive.refused(&archive.signed());
    assert!(matches!(changed, Error::Untrusted { .. }), "{changed}");
}

#[test]
fn packages_are_what_the_index_says() {
    const ALL: [&str; 9] = [
        "base-files",
        "ca-certificates",
        "libc-bin",
        "libc6",
        "libgcc-s1",
        "libstdc++6",
        "media-types",
        "netbase",
        "tzdata",
    ];
    let archive = Archive::new();
    archive.write("Origin: Debian\n", &ALL, "");
    // The index says rightly what they are, and they are no packages.
    let unreadable = archive.refused(&archive.signed());
    assert!(matches!(&unreadable, Error::Package { name, .. } if name == "base-files"), "{unreadable}");
    archive.write("Origin: Debian\n", &ALL, "changed");
    let changed = archive.refused(&archive.signed());
    assert!(matches!(changed, Error::Untrusted { .. } | Error::Apt { .. } | Error::Digest { .. }), "{changed}");
}

#[test]
fn a_machine_without_apt_or_without_indexes_is_told_so() {
    let archive = Archive { home: tempfile::tempdir().unwrap() };
    let nowhere = Program { folder: Some("/no/such/folder".into()), options: Vec::new() };
    assert!(matches!(archive.refused_by(nowhere, false), Error::NoApt { .. }));
    let offline = archive.refused_by(Program::of_host(), true);
    assert_eq!(offline.to_string(), "the index of Debian's packages is not in the cache");
}
