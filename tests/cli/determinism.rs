//! Equal inputs give equal bytes: in another folder, of another user, in another time zone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::command::{Place, copy_tree, files_below};
use crate::made;

/// What `create` made in a place, without what is measured and where the model lay.
fn bytes(place: &Place, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_below(&place.at(folder));
    for name in ["dist/report.json", "nimify.yaml", "samples/response.json"] {
        assert!(files.remove(name).is_some(), "{name}");
    }
    files
}

#[test]
fn two_folders_two_users_the_same_bytes() {
    let one = made::digits();
    let first = bytes(&one, "digits");

    // The same keys, imported; other folders, home, cache of packed layers, time zone, language, mask; touched inputs.
    let other = Place::without_key();
    for key in ["ed25519.key", "ecdsa-p256.key"] {
        let key = made::key_store().join(key);
        other.run([std::ffi::OsStr::new("keys"), "import".as_ref(), key.as_os_str()]).with(0);
    }
    other.take("digits/digits.onnx");
    let cache = other.at("cache");
    made::cache_with_binaries(&cache);
    let (home, library) = (other.at("home"), other.at("onnxruntime.so"));
    std::fs::create_dir(&home).unwrap();
    std::fs::copy(made::onnxruntime(), &library).unwrap();
    touch(&other.work);
    let mut command = other.command("sh");
    let script = format!("umask 077; exec {}\"$0\" \"$@\"", as_somebody_else(&[&other.work, &other.config]));
    command.args(["-c", &script, env!("CARGO_BIN_EXE_nimify")]);
    command.args(["create", "digits.onnx", "--yes", "--quiet", "--output", "some/where else/digits"]);
    command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "C").env("LANG", "tr_TR.UTF-8").env("HOME", &home);
    command.env("NIMIFY_CACHE", &cache).env("NIMIFY_ONNXRUNTIME", &library).env("USER", "somebody");
    command.env("CARGO_HOME", own_cargo_home()).env("RUSTFLAGS", "-Copt-level=0").arg0("another-name");
    keep_rustup(&mut command);
    other.finish(&mut command).with(0);
    let folder = other.at("some/where else/digits");
    if rustix::process::geteuid().is_root() {
        assert_eq!(std::fs::metadata(&folder).unwrap().uid(), SOMEBODY, "it ran as somebody else");
    }

    let second = bytes(&other, "some/where else/digits");
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    let differing: Vec<_> =
        first.iter().filter(|(name, bytes)| second[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// A user whom no machine knows.
const SOMEBODY: u32 = 54_321;

/// Every file below was changed long ago, each at another time.
fn touch(folder: &Path) {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|file| file.file_type().is_file());
    for (at, file) in files.enumerate() {
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 + at as u64);
        std::fs::File::options().append(true).open(file.path()).unwrap().set_modified(past).unwrap();
    }
}

/// What to write before a command so that another user runs it, to whom these folders then belong: only root can do
/// that. The user may read what is root's, such as the toolchain, and is as much a stranger to it otherwise.
fn as_somebody_else(folders: &[&Path]) -> String {
    if !rustix::process::geteuid().is_root() {
        return String::new();
    }
    for folder in folders {
        for entry in walkdir::WalkDir::new(folder) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
    }
    let rights = "+dac_read_search";
    format!("setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --inh-caps {rights} --ambient-caps {rights} ")
}

/// Crates lie in the user's own cargo home, wherever `HOME` points to.
fn own_cargo_home() -> std::path::PathBuf {
    let named = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    named.unwrap_or_else(|| std::env::home_dir().expect("a home").join(".cargo"))
}

/// rustup's toolchains lie below the home unless its variable says otherwise.
fn keep_rustup(command: &mut std::process::Command) {
    if std::env::var_os("RUSTUP_HOME").is_none() {
        command.env("RUSTUP_HOME", std::env::home_dir().expect("a home").join(".rustup"));
    }
}

#[test]
fn a_locked_build_gives_the_digest_of_the_lock() {
    let place = made::digits();
    let before = bytes(&place, "digits");
    // Moved together with its model, as a clone is.
    let moved = Place::new();
    copy_tree(&place.work, &moved.at("clone"));
    let ended =
        moved.run(["build", "--config", "clone/digits/nimify.yaml", "--locked", "--offline", "--format", "json"]);
    let digest = ended.with(0).json()["digest"].as_str().unwrap().to_string();
    assert!(moved.read("clone/digits/nimify.lock").contains(&format!("\nimage: {digest}\n")));
    assert!(before == bytes(&moved, "clone/digits"));
}

#[test]
fn the_epoch_is_an_input_and_has_to_be_a_number() {
    let place = made::digits();
    let mut dated = place.nimify();
    dated.args(["build", "--config", "digits/nimify.yaml", "--locked"]).env("SOURCE_DATE_EPOCH", "86400");
    let refused = place.finish(&mut dated).refused(4);
    assert!(refused.contains("differs from the lock") && refused.contains("image"), "{refused}");
    let mut wrong = place.nimify();
    wrong.args(["build", "--config", "digits/nimify.yaml"]).env("SOURCE_DATE_EPOCH", "yesterday");
    insta::assert_snapshot!(place.finish(&mut wrong).refused(4), @r"
    error: `SOURCE_DATE_EPOCH` is `yesterday`, which is not a number of seconds since 1970
     hint: set it to a whole number, or unset it
    ");
}
