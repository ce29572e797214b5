//! What is the user's stays the user's: hooks, files of their own, and edits that would be lost are refused.

use insta::assert_snapshot;

use crate::command::{Place, files_below};
use crate::made;

const HOOKS: &str = "digits/service/src/hooks.rs";

fn build(place: &Place, more: &[&str]) -> crate::command::Ended {
    place.run([&["build", "--config", "digits/nimify.yaml"][..], more].concat())
}

fn digest(place: &Place) -> String {
    let index: serde_json::Value = serde_json::from_str(&place.read("digits/dist/image/index.json")).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().into()
}

#[test]
fn edited_hooks_survive_and_are_compiled() {
    let place = made::digits();
    let before = digest(&place);
    let first = place.read(HOOKS);
    let mine = "mod mine;\n/// Mine.\npub const MINE: u32 = mine::MINE;\n#[used]\nstatic KEPT: &u32 = &MINE;\n";
    let edited = format!("{first}\n{mine}");
    place.write(HOOKS, &edited);
    place.write("digits/service/src/hooks/mine.rs", "pub(super) const MINE: u32 = 7;\n");
    place.write("digits/service/.gitignore", "target\n");

    let refused = build(&place, &["--locked"]).refused(4);
    assert!(refused.starts_with("error: what would be built differs from the lock:\n"), "{refused}");
    assert!(refused.contains("service/src/hooks.rs") && refused.contains("service/src/hooks/mine.rs"), "{refused}");
    assert!(refused.ends_with("hint: build without `--locked` to accept what is new, then commit the new lock file\n"));
    assert_eq!(digest(&place), before, "nothing was put in place");

    build(&place, &["--quiet"]).with(0);
    assert_ne!(digest(&place), before, "the image holds another service");
    let after = digest(&place);
    place.run(["create", "digits.onnx", "--yes", "--quiet"]).with(0);
    build(&place, &["--locked", "--quiet"]).with(0);
    assert_eq!(digest(&place), after);
    assert_eq!(place.read(HOOKS), edited);
    assert_eq!(place.read("digits/service/src/hooks/mine.rs"), "pub(super) const MINE: u32 = 7;\n");
    assert_eq!(place.read("digits/service/.gitignore"), "target\n");

    // The generic service runs no hooks: it doesn't stand in for one that has them.
    let yaml = place.read("digits/nimify.yaml");
    place.write("digits/nimify.yaml", format!("{yaml}service: generic\n"));
    assert_snapshot!(build(&place, &[]).refused(6), @r"
    error: `service/src/hooks.rs` was edited, but the generic service runs no hooks
     hint: install cargo and build with `service: generated`, or delete the file: the next build writes it anew
    ");
}

#[test]
fn hooks_that_do_not_compile_give_the_compilers_words() {
    let place = made::digits();
    let edited = format!("{}\nfn mine() -> u32 {{ \"seven\" }}\n", place.read(HOOKS));
    place.write(HOOKS, &edited);
    let before = files_below(&place.work);
    let refused = build(&place, &[]).with(6).stderr;
    assert!(refused.contains("error[E0308]: mismatched types"), "{refused}");
    assert!(refused.contains("--> <work>/digits/service/src/hooks.rs:"), "{refused}");
    assert!(refused.contains("the crate in `<work>/digits/service` doesn't compile"), "{refused}");
    assert_eq!(refused.matches("error[E0308]").count(), 1, "said once: {refused}");
    assert!(refused.ends_with("hint: the hooks in `src/hooks.rs` are the only part that is yours\n"), "{refused}");
    assert!(before == files_below(&place.work), "nothing is changed");
}

#[test]
fn edited_generated_files_stop_the_build() {
    let place = made::digits();
    let files = ["digits/service/src/main.rs", "digits/chart/values.yaml", "digits/openapi.yaml"];
    let originals = files.map(|file| place.read(file));
    for file in files {
        place.write(file, format!("{}# mine\n", place.read(file)));
    }
    let before = files_below(&place.work);
    let refused = build(&place, &[]).refused(6);
    assert_snapshot!(refused, @"
    error: generated files were edited: `chart/values.yaml`, `openapi.yaml`, `service/src/main.rs`
     hint: move the edits to `service/src/hooks.rs` or `nimify.yaml`, which are yours, or throw them away with `--discard-edits`
    ");
    assert_eq!(place.run(["create", "digits.onnx", "--yes"]).refused(6), refused);
    assert!(before == files_below(&place.work));
    build(&place, &["--discard-edits", "--quiet"]).with(0);
    assert_eq!(files.map(|file| place.read(file)), originals);
}

#[test]
fn deleted_files_come_back() {
    let place = made::digits();
    let before = place.read(HOOKS);
    std::fs::remove_dir_all(place.at("digits/service/src")).unwrap();
    std::fs::remove_dir_all(place.at("digits/dist")).unwrap();
    build(&place, &["--quiet", "--locked"]).with(0);
    assert_eq!(place.read(HOOKS), before);
    assert!(place.at("digits/dist/image/index.json").is_file());
}

#[test]
fn files_of_the_users_stay_where_they_are() {
    let place = made::digits();
    let mine =
        ["chart/templates/mine.yaml", "samples/mine.json", "dist/notes.txt", "service/target/debug/x", "notes.md"];
    for name in mine {
        place.write(&format!("digits/{name}"), "mine");
    }
    std::os::unix::fs::symlink("../notes.md", place.at("digits/service/link")).unwrap();
    build(&place, &["--quiet"]).with(0);
    for name in mine {
        assert_eq!(place.read(&format!("digits/{name}")), "mine");
    }
    assert!(place.at("digits/service/link").is_symlink());
}
