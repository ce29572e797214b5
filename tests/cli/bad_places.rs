//! Places that can't be read or written, are full, or hold what is somebody else's.

use std::process::Command;

use insta::assert_snapshot;

use crate::command::{Ended, Place, files_below, set_mode};
use crate::made;

#[test]
fn a_folder_of_somebody_elses_is_never_touched() {
    let place = Place::new();
    place.take("digits/digits.onnx").write("digits/thesis.tex", "mine").write("file", "mine");
    let before = files_below(&place.work);
    assert_snapshot!(place.run(["create", "digits.onnx", "--yes"]).refused(10), @"
    error: `<work>/digits` is there already, and nimify did not write it
     hint: choose another folder with `--output`, or move that one away
    ");
    assert_snapshot!(place.run(["create", "digits.onnx", "--yes", "--output", "file"]).refused(10), @"
    error: `<work>/file` is there already, and nimify did not write it
     hint: choose another folder with `--output`, or move that one away
    ");
    assert_snapshot!(place.run(["create", "digits.onnx", "--yes", "--output", "file/below"]).refused(10), @"
    error: `<work>/file/below` is there already, and nimify did not write it
     hint: choose another folder with `--output`, or move that one away
    ");
    let all = place.run(["create", "digits.onnx", "--yes", "--discard-edits"]).refused(10);
    assert!(all.contains("nimify did not write it"), "not even with --discard-edits: {all}");
    assert!(before == files_below(&place.work));
}

/// A command as it would be run by somebody without rights: root may read and write everything.
fn without_rights(place: &Place) -> Command {
    for path in [&place.work, place.work.parent().unwrap(), &place.config] {
        set_mode(path, 0o755);
    }
    // Nobody's folders are below the home of root.
    let mut command = if rustix::process::geteuid().is_root() {
        let nimify = place.at("../nimify");
        if !nimify.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_nimify"), &nimify).unwrap();
        }
        let mut command = place.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(nimify);
        command
    } else {
        place.nimify()
    };
    command.env("NIMIFY_CACHE", place.at("cache")).env("XDG_CONFIG_HOME", place.at("own-config"));
    command.env("NIMIFY_ONNXRUNTIME", made::onnxruntime());
    command
}

#[test]
fn what_may_not_be_read_or_written() {
    let place = Place::new();
    place.take("digits/digits.onnx").take("models/mlp.onnx").write("folder/secret.onnx", "");
    set_mode(&place.at("mlp.onnx"), 0o000);
    set_mode(&place.at("folder"), 0o000);
    let before = place.entries();
    let refused = |args: &[&str]| place.finish(without_rights(&place).args(args)).refused(10);
    assert_snapshot!(refused(&["create", "mlp.onnx", "--yes"]), @"
    error: can't read `mlp.onnx`
    cause: Permission denied (os error 13)
     hint: make it readable: `chmod u+r mlp.onnx`, or run as the user who owns it
    ");
    assert_snapshot!(refused(&["inspect", "folder"]), @"
    error: can't read `folder`
    cause: Permission denied (os error 13)
     hint: make it readable: `chmod u+r folder`, or run as the user who owns it
    ");
    // The working folder is root's, or at least not to be written.
    set_mode(&place.work, 0o555);
    assert_snapshot!(refused(&["create", "digits.onnx", "--yes", "--unsigned"]), @"
    error: could not write `<work>/digits`
    cause: Permission denied (os error 13)
     hint: check who owns the path and its permissions
    ");
    assert_snapshot!(refused(&["create", "digits.onnx", "--yes", "--unsigned", "--output", "a/b"]), @"
    error: could not write `<work>/a/b`
    cause: Permission denied (os error 13)
     hint: check who owns the path and its permissions
    ");
    assert_snapshot!(refused(&["create", "digits.onnx", "--yes"]), @"
    error: can't make the folder `<work>/own-config/nimify/keys`
    cause: Permission denied (os error 13)
     hint: check who owns the path and its permissions
    ");
    set_mode(&place.work, 0o755);
    set_mode(&place.at("folder"), 0o755);
    assert_eq!(place.entries(), before, "something is left behind");
}

#[test]
fn a_cache_that_may_not_be_written() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    std::fs::create_dir(place.at("open")).unwrap();
    set_mode(&place.at("open"), 0o777);
    std::fs::create_dir(place.at("cache")).unwrap();
    set_mode(&place.at("cache"), 0o555);
    let mut command = without_rights(&place);
    command.args(["create", "digits.onnx", "--yes", "--unsigned", "--output", "open/digits"]);
    assert_snapshot!(without_made_up(&place.finish(&mut command).refused(10)), @r#"
    error: can't write `<work>/cache/CACHEDIR.TAG` in the cache
    cause: Permission denied (os error 13) at path "<work>/cache/*"
     hint: check who owns the path and its permissions
    "#);
    assert_eq!(files_below(&place.at("open")).len(), 0);
}

/// Runs `nimify` where `folder` is a disk of a few bytes, and gives the names that are left on it.
fn on_a_full_disk(
    place: &Place,
    folder: &str,
    size: &str,
    args: &[&str],
    more: &[(&str, &std::ffi::OsStr)],
) -> (Ended, String) {
    std::fs::create_dir_all(place.at(folder)).unwrap();
    // A disk that only this process and its children see, and that goes with them.
    let mut command = place.command("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = "mount -t tmpfs -o size=$1 none \"$2\" || exit 99; disk=$2; list=$3; shift 3; \
                  \"$@\"; code=$?; ls -A \"$disk\" > \"$list\"; exit $code";
    command.args(["--mount", "sh", "-c", script, "sh", size]).arg(place.at(folder)).arg(place.at("list"));
    command.arg(env!("CARGO_BIN_EXE_nimify")).args(args).envs(more.iter().copied());
    (place.finish(&mut command), place.read("list"))
}

#[test]
fn no_space_for_the_output() {
    let place = made::digits();
    let args = ["create", "digits.onnx", "--yes", "--output", "disk/digits"];
    let (ended, left) = on_a_full_disk(&place, "disk", "4m", &args, &[]);
    let stderr = ended.refused(10);
    let named = without_made_up(&stderr);
    assert_snapshot!(named, @"
    error: can't copy a layer to `<work>/disk/*/dist/image/blobs/sha256/*`
    cause: No space left on device (os error 28)
     hint: free some space on that disk: `nimify doctor` shows how much the cache takes and prunes it with `--fix`
    ");
    assert_eq!(left, "", "something is left behind");
}

/// The text without digests and names of temporary files, which differ each time.
fn without_made_up(text: &str) -> String {
    let words = text.split_inclusive(['/', '`', '"']).map(|word| {
        let name = word.trim_end_matches(['/', '`', '"']);
        let digest = name.rsplit('-').next().is_some_and(|end| end.len() == 64);
        let differs = digest || (name.starts_with(".nimify-") && name.len() == ".nimify-".len() + 6);
        if differs { format!("*{}", &word[name.len()..]) } else { word.to_string() }
    });
    words.collect()
}

#[test]
fn no_space_for_the_cache() {
    let place = made::digits();
    let args = ["create", "digits.onnx", "--yes", "--output", "out"];
    let cache = place.at("disk");
    let cache = ("NIMIFY_CACHE", cache.as_os_str());

    // Not even for ONNX Runtime's library: given, since pip and packages are no part of this.
    let bin = crate::fake::program(&place.work, "python3", &format!("echo '{}'", package(&place).display()));
    let path = crate::fake::path_with(&bin);
    let no_library = std::ffi::OsStr::new("");
    let more = [cache, ("NIMIFY_ONNXRUNTIME", no_library), ("PATH", path.as_os_str())];
    let (ended, _) = on_a_full_disk(&place, "disk", "8m", &args, &more);
    assert_snapshot!(without_made_up(&ended.refused(10)), @"
    error: can't write `<work>/disk/onnxruntime/*/libonnxruntime.so.1.31.1`
    cause: No space left on device (os error 28)
     hint: free some space on that disk: `nimify doctor` shows how much the cache takes and prunes it with `--fix`
    ");

    // For the library, but not for compiling.
    let more = [cache, ("NIMIFY_ONNXRUNTIME", made::onnxruntime().as_os_str())];
    let (ended, _) = on_a_full_disk(&place, "disk", "2m", &args, &more);
    let stderr = ended.refused(10);
    assert!(stderr.contains("there is no space left to compile in the cache"), "{stderr}");
    assert!(stderr.contains(" hint: free some space, or name another cache with `NIMIFY_CACHE`"), "{stderr}");
    assert!(!place.at("out").exists());
    assert!(crate::command::names(&place.work).iter().all(|name| !name.starts_with('.')));
}

/// A Python package that holds ONNX Runtime's library.
fn package(place: &Place) -> std::path::PathBuf {
    let folder = place.at("package/capi");
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join(nimify::image::onnxruntime::FILE_NAME);
    std::os::unix::fs::symlink(made::onnxruntime(), library).unwrap();
    place.at("package")
}

/// As an upgrade does it in the middle of a run.
#[test]
fn a_program_whose_file_was_replaced_goes_on() {
    use std::os::fd::AsRawFd as _;
    let place = Place::new();
    place.take("digits/digits.onnx");
    std::fs::copy(env!("CARGO_BIN_EXE_nimify"), place.at("nimify")).unwrap();
    let open = std::fs::File::open(place.at("nimify")).unwrap();
    std::fs::remove_file(place.at("nimify")).unwrap();
    let program = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    place.finish(place.command(program).args(["inspect", "digits.onnx", "--probe"])).with(0);
}
