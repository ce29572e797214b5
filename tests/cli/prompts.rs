//! Questions, on a terminal: answered, answered wrongly, and broken off.

use std::path::Path;

use serde::Deserialize;

use crate::command::Place;

/// How a command on a terminal ended.
#[derive(Debug, Deserialize)]
pub(crate) struct Spoken {
    pub(crate) code: i32,
    pub(crate) output: String,
    /// What was waited for and never came.
    pub(crate) unasked: Vec<String>,
    /// Whether the terminal's settings are what they were; `None` where they can't be read any more.
    restored: Option<bool>,
    /// Whether the cursor is shown.
    cursor: bool,
}

/// Runs `nimify` on a terminal: when the words of a step have come, its text is typed.
pub(crate) fn speak(place: &Place, steps: &[(&str, &str)], args: &[&str]) -> Spoken {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/terminal.py");
    let mut command = place.command("python3");
    command.arg(script).arg(serde_json::to_string(steps).unwrap()).arg(env!("CARGO_BIN_EXE_nimify")).args(args);
    let ended = place.finish(&mut command).with(0);
    let spoken: Spoken = serde_json::from_str(&ended.stdout).unwrap();
    assert!(spoken.restored != Some(false) && spoken.cursor, "the terminal is left as it was: {spoken:?}");
    spoken
}

#[test]
fn what_no_flag_says_is_asked() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let steps =
        [("Name of the service", "numbers\r"), ("Version", "\r"), ("Image repository", "registry.example.com/n\r")];
    let spoken = speak(&place, &steps, &["create", "digits.onnx", "--service", "generic"]);
    assert_eq!((spoken.code, &spoken.unasked[..]), (0, &[][..]), "{}", spoken.output);
    let yaml = place.read("numbers/nimify.yaml");
    assert!(yaml.contains("name: numbers\n") && yaml.contains("version: 0.1.0\n"), "{yaml}");
    assert!(yaml.contains("repository: registry.example.com/n\n"), "{yaml}");
    assert!(spoken.output.contains("compiling the service"), "progress is shown: {}", spoken.output);
}

#[test]
fn what_a_flag_says_is_not_asked() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let args =
        ["create", "digits.onnx", "--service", "generic", "--name", "n", "--model-version", "3", "--repository", "n"];
    let spoken = speak(&place, &[], &args);
    assert_eq!(spoken.code, 0, "{}", spoken.output);
    assert!(!spoken.output.contains("Version"), "{}", spoken.output);
    let spoken = speak(&place, &[], &["create", "digits.onnx", "--service", "generic", "--yes"]);
    assert_eq!(spoken.code, 0, "{}", spoken.output);
    assert_eq!(place.entries(), ["digits", "digits.onnx", "n"]);
}

#[test]
fn a_wrong_answer_is_asked_again() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let steps = [
        ("Name of the service", "a b\r"),
        ("can't be a model's name", "\u{15}good\r"),
        ("Version", "1/2\r"),
        ("can't be a version", "\u{15}2.0\r"),
        ("Image repository", "\r"),
    ];
    let spoken = speak(&place, &steps, &["create", "digits.onnx", "--service", "generic"]);
    assert_eq!((spoken.code, &spoken.unasked[..]), (0, &[][..]), "{}", spoken.output);
    assert!(place.read("good/nimify.yaml").contains("version: '2.0'\n"), "{}", place.read("good/nimify.yaml"));
}

#[test]
fn ctrl_c_at_a_question_writes_nothing() {
    for steps in [
        &[("Name of the service", "\u{3}")][..],
        &[("Name of the service", "half\u{3}")],
        &[("Name of the service", "\r"), ("Version", "\u{3}")],
    ] {
        let place = Place::without_key();
        let spoken = speak(place.take("digits/digits.onnx"), steps, &["create", "digits.onnx"]);
        assert_eq!((spoken.code, &spoken.unasked[..]), (130, &[][..]), "{}", spoken.output);
        assert!(spoken.output.contains("interrupted; nothing is left half written"), "{}", spoken.output);
        assert_eq!(place.entries(), ["digits.onnx"]);
        assert!(!place.config.join("nimify").exists(), "no key is made before everything is asked");
    }
}

#[test]
fn a_signal_at_a_question_restores_the_terminal() {
    for signal in ["<TERM>", "<INT>", "<HUP>"] {
        let place = Place::new();
        let steps = [("Name of the service", signal)];
        let spoken = speak(place.take("digits/digits.onnx"), &steps, &["create", "digits.onnx"]);
        assert_eq!(spoken.code, 130, "{signal}: {}", spoken.output);
        assert_eq!(place.entries(), ["digits.onnx"]);
    }
}

#[test]
fn ctrl_c_while_it_works_leaves_the_terminal_alone() {
    let place = Place::new();
    place.take("broken/endless.onnx");
    let spoken = speak(&place, &[("probing the model", "\u{3}")], &["create", "endless.onnx", "--yes"]);
    assert_eq!(spoken.code, 130, "{}", spoken.output);
    assert!(spoken.output.contains("interrupted; nothing is left half written"), "{}", spoken.output);
    assert_eq!(place.entries(), ["endless.onnx"]);
}
