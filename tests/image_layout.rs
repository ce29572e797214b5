//! Images on disk: the same bytes wherever they are made, whole, and read by other tools.

#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

#[path = "support/docker.rs"]
#[expect(dead_code, reason = "only the compiler of probes is used here")]
mod docker;
#[path = "support/small_image.rs"]
mod small_image;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use nimify::cache::Cache;
use nimify::files::read_tree;
use nimify::image::{self, Compression, Image};

fn built(home: &Path, cache: &Cache) -> (Image, std::path::PathBuf) {
    let binary = docker::compile(include_str!("support/probe.rs"), home);
    let image = image::assemble(&small_image::request(&binary, home, cache), cache).unwrap();
    let layout = home.join("image");
    image::write_layout(&image, &layout).unwrap();
    (image, layout)
}

fn must(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs `{program}` ({error}): run `tools/setup`"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn two_folders_and_two_caches_give_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, first_layout) = built(one.path(), &small_image::shared_cache());
    // Another cache: every layer is packed anew.
    let cache = Cache::open(two.path().join("cache")).unwrap();
    let (second, second_layout) = built(two.path(), &cache);
    assert_eq!(first.digest, second.digest);
    assert!(read_tree(&first_layout).unwrap() == read_tree(&second_layout).unwrap());
    let archive = |layout: &Path| {
        let mut bytes = Vec::new();
        image::archive(layout, &mut bytes).unwrap();
        bytes
    };
    assert!(archive(&first_layout) == archive(&second_layout));
}

#[test]
fn the_layout_is_whole_and_small_and_other_tools_read_it() {
    let home = tempfile::tempdir().unwrap();
    let (image, layout) = built(home.path(), &small_image::shared_cache());
    assert_eq!(image::validate(&layout), []);
    assert_eq!(image.base.warnings, Vec::<String>::new());
    let titles: Vec<_> = image.layers.iter().map(|layer| layer.title.as_str()).collect();
    assert_eq!(titles, ["base", "onnxruntime", "service", "model"]);
    // The bar for a small model is 45 MB, and 17 compressed, of which the service takes 7.6 and 3.3.
    let size = |of: fn(&image::Layer) -> u64| image.layers[..2].iter().map(of).sum::<u64>();
    let (unpacked, packed) = (size(|layer| layer.uncompressed_size), size(|layer| layer.size));
    println!("base and ONNX Runtime: {unpacked} bytes, {packed} compressed: {:#?}", image.layers);
    assert!(unpacked < 36_000_000 && packed < 13_400_000, "{unpacked}, {packed}");

    let tar = home.path().join("image.tar");
    let written = image::archive(&layout, &mut fs::File::create(&tar).unwrap()).unwrap();
    assert_eq!(written, fs::metadata(&tar).unwrap().len());
    for source in [
        format!("oci:{}", layout.display()),
        format!("oci:{}:small:1.2.3", layout.display()),
        format!("oci-archive:{}", tar.display()),
    ] {
        let said: serde_json::Value = serde_json::from_str(&must("skopeo", &["inspect", &source])).unwrap();
        assert_eq!(said["Digest"], image.digest.to_string(), "{source}");
        assert_eq!(said["Labels"]["org.opencontainers.image.version"], "1.2.3", "{source}");
    }
    let source = format!("docker-archive:{}", tar.display());
    let said: serde_json::Value = serde_json::from_str(&must("skopeo", &["inspect", &source])).unwrap();
    assert_eq!(said["Architecture"], image.architecture.oci());
    // Unpacks every layer on the way, and so checks their digests.
    must("skopeo", &["copy", "--quiet", &source, &format!("dir:{}", home.path().join("copy").display())]);
    // So does umoci, which goes by the letter of the specification, and puts them on top of each other.
    let unpacked = home.path().join("unpacked");
    let from = format!("{}:small:1.2.3", layout.display());
    must("umoci", &["unpack", "--rootless", "--image", &from, unpacked.to_str().unwrap()]);
    assert!(unpacked.join("rootfs/nimify/service").is_file() && unpacked.join("rootfs/models/model.onnx").is_file());
    let names = must("tar", &["--list", "--file", tar.to_str().unwrap()]);
    assert!(names.contains("manifest.json\n") && names.contains("index.json\n"), "{names}");
}

/// Every path of the base layer, with what it holds.
fn base_files(image: &Image) -> Vec<(String, Vec<u8>, tar::EntryType)> {
    assert_eq!(image.layers[0].compression, Compression::Gzip);
    let blob = fs::File::open(&image.layers[0].blob).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(blob));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_string(), bytes, entry.header().entry_type())
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn the_base_holds_what_programs_need_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let (image, _) = built(home.path(), &small_image::shared_cache());
    let files = base_files(&image);
    let named = |name: &str| files.iter().find(|(path, ..)| path.ends_with(name)).unwrap_or_else(|| panic!("{name}"));
    for library in ["/libc.so.6", "/libstdc++.so.6", "/libgcc_s.so.1", "/libm.so.6"] {
        named(library);
    }
    let folders = ["usr/bin", "bin/", "usr/sbin", "root", "home", "var/cache", "usr/include"];
    let foreign: Vec<_> = files.iter().filter(|(path, ..)| folders.iter().any(|at| path.starts_with(at))).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(named("etc/passwd").1.starts_with(b"root:x:0:0"));
    the_certificates_parse(&named("ca-certificates.crt").1);
    // Every file of this machine is accounted for, and every library has an owner where there is dpkg.
    let listed: BTreeSet<_> =
        image.base.files.iter().map(|file| file.place.to_str().unwrap()[1..].to_string()).collect();
    let made = ["etc/passwd", "etc/group", "etc/nsswitch.conf"];
    for (path, ..) in files.iter().filter(|(.., kind)| kind.is_file()) {
        let known =
            listed.contains(path) || made.contains(&path.as_str()) || path.starts_with("var/lib/dpkg/status.d/");
        assert!(known, "{path}");
    }
    if Path::new("/var/lib/dpkg/status").exists() {
        let owners: BTreeSet<_> = image.base.packages.iter().map(|package| package.name.as_str()).collect();
        assert!(
            owners.is_superset(&BTreeSet::from(["libc6", "libstdc++6", "libgcc-s1", "ca-certificates"])),
            "{owners:?}"
        );
        let sums = String::from_utf8(named("status.d/libc6.md5sums").1.clone()).unwrap();
        assert!(sums.lines().any(|line| line.ends_with("libc.so.6")), "{sums}");
    }
}

/// PEM blocks, each one DER sequence that is as long as it says.
fn the_certificates_parse(bundle: &[u8]) {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let text = std::str::from_utf8(bundle).unwrap();
    let blocks: Vec<&str> = text.split("-----BEGIN CERTIFICATE-----").skip(1).collect();
    assert!(blocks.len() > 50, "{} certificates", blocks.len());
    for block in blocks {
        let (body, _) = block.split_once("-----END CERTIFICATE-----").unwrap();
        let der = BASE64_STANDARD.decode(body.split_whitespace().collect::<String>()).unwrap();
        assert_eq!((der[0], der[1]), (0x30, 0x82));
        assert_eq!(usize::from(der[2]) << 8 | usize::from(der[3]), der.len() - 4);
    }
}

#[test]
fn large_models_are_spread_over_layers() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut request = small_image::request(&binary, home.path(), &cache);
    request.largest_model_layer = 1000;
    for (name, size) in [("a.bin", 600), ("b.bin", 400), ("c.bin", 1), ("d.bin", 5000), ("data/e.bin", 1)] {
        let path = home.path().join(name.replace('/', "-"));
        fs::write(&path, vec![7; size]).unwrap();
        request.models.insert(name.parse().unwrap(), path);
    }
    let image = image::assemble(&request, &cache).unwrap();
    let models: Vec<_> = image.layers.iter().filter(|layer| layer.title == "model").collect();
    // a and b; c; d; e and the model itself.
    assert_eq!(models.len(), 4);
    assert!(models.iter().all(|layer| layer.compression == Compression::None && layer.digest == layer.diff_id));
    let layout = home.path().join("image");
    image::write_layout(&image, &layout).unwrap();
    assert_eq!(image::validate(&layout), []);
}

#[test]
fn a_static_binary_and_a_missing_file_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let mut request = small_image::request(Path::new("/no/such/binary"), home.path(), &cache);
    assert!(matches!(image::assemble(&request, &cache), Err(image::Error::Files { .. })));
    // A library is no program: it names no loader.
    request.binary = request.onnxruntime.clone();
    assert!(matches!(image::assemble(&request, &cache), Err(image::Error::Static { .. })));
    request.binary = request.models.values().next().unwrap().clone();
    assert!(matches!(image::assemble(&request, &cache), Err(image::Error::Elf { .. })));
}

#[test]
fn the_users_pip_gives_the_pinned_library_of_every_architecture() {
    use image::onnxruntime::{Request, Source, locate, pinned};
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let cache = Cache::open(home.path().join("cache")).unwrap();
    // A Python that has pip but no ONNX Runtime.
    let python = home.path().join("python");
    fs::write(&python, "#!/bin/sh\ntest \"$1\" = -c && exit 1\nexec python3 \"$@\"\n").unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    for architecture in [image::Architecture::Amd64, image::Architecture::Arm64] {
        let request =
            |offline| Request { architecture, given: None, cache: &cache, python: python.clone().into(), offline };
        assert!(matches!(locate(&request(true)), Err(image::Error::OnnxRuntime { .. })));
        let found = locate(&request(false)).unwrap();
        assert_eq!((found.source, found.digest), (Source::Wheel, pinned(architecture)));
        assert_eq!(locate(&request(true)).unwrap().source, Source::Cache);
    }
}

#[test]
fn zstandard_by_choice_is_smaller_and_other_tools_read_it() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut request = small_image::request(&binary, home.path(), &cache);
    let gzip = image::assemble(&request, &cache).unwrap();
    (request.compression, request.model_compression) = (Compression::Zstd, Compression::Zstd);
    let zstd = image::assemble(&request, &cache).unwrap();
    let size = |image: &Image| image.layers.iter().map(|layer| layer.size).sum::<u64>();
    println!("gzip {} bytes, zstd {}", size(&gzip), size(&zstd));
    assert!(size(&zstd) < size(&gzip) * 9 / 10, "{} {}", size(&gzip), size(&zstd));
    let inside = |image: &Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    assert_eq!(inside(&gzip), inside(&zstd));

    let layout = home.path().join("image");
    image::write_layout(&zstd, &layout).unwrap();
    assert_eq!(image::validate(&layout), []);
    // Unpacks every layer, and names it by its digest.
    let copy = home.path().join("copy");
    let target = format!("dir:{}", copy.display());
    must("skopeo", &["copy", "--quiet", "--dest-decompress", &format!("oci:{}", layout.display()), &target]);
    for layer in &zstd.layers {
        assert!(copy.join(layer.diff_id.hex()).is_file(), "{}", layer.title);
    }
}

#[test]
fn what_is_larger_than_its_budget_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let binary = docker::compile(include_str!("support/probe.rs"), home.path());
    let mut request = small_image::request(&binary, home.path(), &cache);
    request.budget = image::Budget { layer: Some(15_000_000), total: Some(17_000_000) };
    image::assemble(&request, &cache).unwrap();
    request.budget = image::Budget { layer: Some(5_000_000), total: Some(6_000_000) };
    let Err(image::Error::Budget(overruns)) = image::assemble(&request, &cache) else { panic!("it is too large") };
    let [onnxruntime, all] = overruns.as_slice() else { panic!("{overruns:?}") };
    assert_eq!(onnxruntime.layer.as_ref().map(|layer| (layer.number, layer.title.as_str())), Some((2, "onnxruntime")));
    assert!(onnxruntime.largest[0].0.starts_with("/nimify/lib/libonnxruntime.so"), "{onnxruntime:?}");
    assert_eq!((all.layer.as_ref(), all.budget, all.largest.len()), (None, 6_000_000, 5));
}
