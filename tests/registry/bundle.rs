//! `nimify bundle`: one file over an air gap, and what is refused on the other side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nimify::bundle::{self, Reader, Source};
use nimify::digest::Digest;
use nimify::image;

use crate::server::{Registry, Wishes};
use crate::{chart, docker, fails, judge, nimify, passes, small_image};

/// A signed output folder `digits` in `home`, whose user has keys, and its bundle.
fn bundled(home: &Path) -> PathBuf {
    let folder = home.join("digits");
    chart::output(&folder);
    for (name, text) in [("signature.json", "{}"), ("nimify.yaml", "name: digits")] {
        fs::write(folder.join(name), text).unwrap();
    }
    passes(nimify(home).args(["keys", "generate"]));
    passes(nimify(home).arg("sign").arg(&folder));
    let file = home.join("digits.tar");
    passes(nimify(home).arg("bundle").arg(&folder).arg("--output").arg(&file));
    file
}

/// A command in a network of its own, in which there is nothing.
fn alone() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--net");
    command
}

fn import(home: &Path, file: &Path, to: &str) -> Command {
    let mut command = nimify(home);
    command.args(["bundle", "import", "--plain-http", "--to", to]).arg(file);
    command
}

/// As [`nimify`](crate::nimify) runs it, but as the arguments of another command.
fn in_turn(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

#[test]
fn a_bundle_crosses_an_air_gap() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let file = bundled(home.path());
    let bytes = fs::read(&file).unwrap();

    // The same folder elsewhere gives the same bytes, without any network.
    passes(Command::new("cp").arg("-r").arg(at("digits")).arg(at("copy")));
    let mut again = nimify(home.path());
    again.arg("bundle").arg(at("copy")).arg("--output").arg(at("copy.tar"));
    let said = passes(&mut in_turn(alone(), &again));
    assert!(said.contains("with digits:1.2.0, sha256:") && said.contains("with service-0.1.0.tgz\n"), "{said}");
    assert!(fs::read(at("copy.tar")).unwrap() == bytes);
    let mut verify = nimify(home.path());
    verify.arg("verify").arg(&file);
    assert!(passes(&mut in_turn(alone(), &verify)).contains("chart and documents: by sha256:"));

    // In a network with a registry and nothing else.
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nlog: {{level: error}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
        at("data").display()
    );
    fs::write(at("config.yml"), config).unwrap();
    let script = "ip link set lo up\n\
        docker-registry serve config.yml >log 2>&1 & registry=$!\n\
        until curl --silent --output seen 127.0.0.1:5000/v2/; do sleep 0.05; done\n\
        \"$@\" && \"$HELM\" template x oci://127.0.0.1:5000/air/charts/service --plain-http --set image.digest= \
          --set image.tag=1.2.0 && skopeo inspect --tls-verify=false docker://127.0.0.1:5000/air/digits:1.2.0\n\
        code=$?; kill $registry; wait $registry; exit $code";
    let mut shell = alone();
    shell.args(["timeout", "120", "sh", "-uc", script, "sh"]).current_dir(home.path());
    shell.env("HELM", judge("helm").get_program());
    let said = passes(&mut in_turn(shell, &import(home.path(), &file, "127.0.0.1:5000/air")));
    let digest = Digest::of(&bytes).to_string();
    assert!(said.starts_with(&format!("read {digest}\npushed 127.0.0.1:5000/air/digits:1.2.0\n")), "{said}");
    assert!(said.contains("image: \"127.0.0.1:5000/air/digits:1.2.0\""), "{said}");
    assert_eq!(fs::read_dir(at("cache/unpacked")).unwrap().count(), 0, "nothing is left of it");
}

#[test]
fn other_tools_find_the_image_in_a_bundle() {
    let home = tempfile::tempdir().unwrap();
    let cache = small_image::shared_cache();
    let request = small_image::request(Path::new(env!("CARGO_BIN_EXE_nimify")), home.path(), &cache);
    let made = image::assemble(&request, &cache).unwrap();
    let folder = home.path().join("image");
    image::write_layout(&made, &folder).unwrap();
    passes(nimify(home.path()).args(["keys", "generate"]));
    passes(nimify(home.path()).arg("sign").arg(&folder));
    // A bare layout is an image without chart and documents.
    let mut bundle = nimify(home.path());
    bundle.arg("bundle").arg(&folder).current_dir(home.path());
    let said = passes(&mut bundle);
    assert!(said.starts_with("wrote small-1.2.3.bundle.tar (") && !said.contains(".tgz"), "{said}");
    let file = home.path().join("small-1.2.3.bundle.tar");
    let inspected = passes(Command::new("skopeo").arg("inspect").arg(format!("oci-archive:{}", file.display())));
    assert!(inspected.contains(&made.digest.to_string()), "{inspected}");
    let engine = docker::Engine::get();
    let loaded = engine.must(&["load", "--input", file.to_str().unwrap()]);
    assert!(loaded.contains("small:1.2.3"), "{loaded}");
    engine.must(&["image", "rm", "--force", "small:1.2.3"]);
}

#[test]
fn a_bundle_is_refused_unless_all_of_it_is_whole_and_trusted() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let registry = Registry::start(&Wishes::default());
    let file = bundled(home.path());
    let bytes = fs::read(&file).unwrap();
    let import = |file: &Path| import(home.path(), file, &registry.at("x"));
    let broken = |bytes: &[u8], part: &str| {
        let path = at("broken.tar");
        fs::write(&path, bytes).unwrap();
        for mut command in [import(&path), nimify(home.path())] {
            if command.get_args().len() == 0 {
                command.arg("verify").arg(&path);
            }
            let stderr = fails(&mut command, 7);
            assert!(stderr.contains(part), "{stderr}");
        }
    };
    broken(&bytes[..bytes.len() - 1], "it was cut off");
    broken(&bytes[..bytes.len() / 2], "it was cut off");
    let find = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut changed = bytes.clone();
    changed[find(b"# Values of the chart")] = b'$';
    broken(&changed, "`nimify/chart/values.yaml` was changed");
    fs::write(at("other"), "PK").unwrap();
    assert!(fails(&mut import(&at("other")), 10).contains("it is no bundle"));

    // Another's key, and nobody's.
    let stranger = tempfile::tempdir().unwrap();
    passes(nimify(stranger.path()).args(["keys", "generate"]));
    let theirs = stranger.path().join(".config/nimify/keys/ed25519.pub");
    let stderr = fails(import(&file).arg("--key").arg(&theirs), 7);
    assert!(stderr.contains("signer unknown"), "{stderr}");
    passes(nimify(home.path()).args(["bundle", "--unsigned", "--output"]).arg(at("bare.tar")).arg(at("digits")));
    let stderr = fails(&mut import(&at("bare.tar")), 7);
    assert!(stderr.contains("chart and documents beside it are not: 0 of the 1 trusted keys"), "{stderr}");
    assert!(!registry.log().contains("PUT"), "nothing was sent so far");
    passes(import(&at("bare.tar")).arg("--unsigned"));

    // What is there is not overwritten, unless it is the same or asked for.
    let bundle = |args: &[&str]| {
        let mut command = nimify(home.path());
        command.arg("bundle").arg(at("digits")).arg("--output").arg(at("digits.tar")).args(args);
        command
    };
    assert!(passes(&mut bundle(&[])).starts_with("unchanged "));
    fs::write(at("digits/signature.json"), "{ }").unwrap();
    assert!(fails(&mut bundle(&[]), 10).contains("is there already and holds something else"));
    assert!(fs::read(&file).unwrap() == bytes);
    assert!(passes(&mut bundle(&["--force"])).starts_with("wrote "));
    let left = fs::read_dir(home.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".nimify-"));
    assert_eq!(left.count(), 0);

    // A folder that isn't whole makes no bundle.
    let layer = fs::read_dir(at("digits/dist/image/blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let layer = layer.into_iter().find(|path| fs::metadata(path).unwrap().len() == 2560).unwrap();
    fs::write(layer, [0; 2560]).unwrap();
    assert!(fails(&mut bundle(&["--force"]), 7).contains("is not whole"));
}

/// The bundle in `file` with one entry's bytes replaced, every digest put right again, and no signatures of its own.
fn with(file: &Path, path: &str, bytes: &[u8], to: &Path) {
    let home = tempfile::tempdir().unwrap();
    let reader = Reader::open(fs::File::open(file).unwrap()).unwrap();
    let (mut contents, _) = reader.unpack(home.path(), |path| path.to_string()).unwrap();
    let mut sources = Vec::new();
    for entry in &mut contents.entries {
        let mut old = fs::read(home.path().join(&entry.path)).unwrap();
        if entry.path.as_str() == path {
            old = bytes.to_vec();
            (entry.size, entry.digest) = (bytes.len() as u64, Digest::of(bytes));
        }
        sources.push(Source::Bytes(old));
    }
    bundle::write(&contents, b"", &sources, fs::File::create(to).unwrap()).unwrap();
}

#[test]
fn what_other_tools_read_in_a_bundle_is_what_was_checked() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let file = bundled(home.path());
    let other = home.path().join("other.tar");
    let cases: [(&str, &[u8], &str); 5] = [
        ("manifest.json", b"[]", "is not about the image that `bundle.json` names"),
        ("index.json", b"{}", "is not about the image that `bundle.json` names"),
        ("oci-layout", b"{}", "is not about the image that `bundle.json` names"),
        ("nimify/service-0.1.0.tgz", b"another chart", "is not the chart in `nimify/chart`"),
        ("nimify/chart/values.yaml", b"image: {}", "is not the chart in `nimify/chart`"),
    ];
    for (path, bytes, said) in cases {
        with(&file, path, bytes, &other);
        let stderr = fails(import(home.path(), &other, &registry.at("x")).arg("--unsigned"), 7);
        assert!(stderr.contains(said), "{path}: {stderr}");
    }
    // A document that nothing else in the file vouches for: its signatures do.
    with(&file, "nimify/signature.json", b"{ }", &other);
    let stderr = fails(&mut import(home.path(), &other, &registry.at("x")), 7);
    assert!(stderr.contains("chart and documents beside it are not"), "{stderr}");
    passes(import(home.path(), &other, &registry.at("x")).arg("--unsigned"));
}

#[test]
fn as_many_signers_as_are_asked_for_vouch_for_all_of_a_bundle() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    bundled(home.path());
    let second = tempfile::tempdir().unwrap();
    passes(nimify(second.path()).args(["keys", "generate"]));
    let store = |home: &Path, name: &str| home.join(".config/nimify/keys").join(name);
    let (one, two) = (store(home.path(), "ed25519.key"), store(second.path(), "ed25519.key"));
    passes(nimify(home.path()).arg("sign").arg(at("digits")).arg("--key").arg(&two));
    let verify = |file: &str| {
        let mut command = nimify(home.path());
        command.arg("verify").arg(at(file)).args(["--threshold", "2", "--key"]);
        command.arg(store(home.path(), "ed25519.pub")).arg("--key").arg(store(second.path(), "ed25519.pub"));
        command
    };
    let bundle = |file: &str| {
        let mut command = nimify(home.path());
        command.arg("bundle").arg(at("digits")).arg("--output").arg(at(file)).arg("--key").arg(&one);
        command
    };
    passes(&mut bundle("one.tar"));
    assert!(fails(&mut verify("one.tar"), 7).contains("1 of the 2 trusted keys that it takes"));
    passes(bundle("both.tar").arg("--key").arg(&two));
    assert_eq!(passes(&mut verify("both.tar")).matches("chart and documents: by ").count(), 2);
}
