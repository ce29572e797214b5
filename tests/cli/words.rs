//! Commands that only say something: help, `explain`, `schema`, `completions`, `doctor`.

use std::process::Command;

use insta::assert_snapshot;

use crate::command::{Place, files_below};
use crate::{fake, made};

#[test]
fn every_command_lists_its_flags() {
    let place = Place::without_key();
    let flags: [(&[&str], &[&str]); 21] = [
        (&[], &["--help", "--version", "create", "doctor", "inspect"]),
        (&["inspect"], &["--probe", "--sample", "--custom-ops", "--offline", "--format", "<MODEL>"]),
        (
            &["run"],
            &[
                "--name",
                "--host",
                "--port",
                "--grpc-port",
                "--sample",
                "--custom-ops",
                "--state",
                "--no-probe",
                "--offline",
                "<MODEL>",
            ],
        ),
        (
            &["create"],
            &[
                "<MODEL>",
                "--name",
                "--output",
                "--model-version",
                "--repository",
                "--service",
                "--sample",
                "--custom-ops",
                "--max-batch-size",
                "--yes",
                "--offline",
                "--unsigned",
                "--key",
                "--archive",
                "--discard-edits",
                "--quiet",
                "--format",
            ],
        ),
        (
            &["build"],
            &["--config", "--env", "--locked", "--offline", "--unsigned", "--key", "--archive", "--discard-edits"],
        ),
        (&["load"], &["<DIR>", "--format"]),
        (&["sign"], &["<DIR>", "--key", "--repository"]),
        (&["verify"], &["<DIR|FILE|REF>", "--key", "--env", "--plain-http", "--format"]),
        (
            &["deploy"],
            &["[DIR]", "--env", "--dry-run", "--canary", "--timeout", "--values", "--set", "--key", "--format"],
        ),
        (&["status"], &["[DIR]", "--env", "--format"]),
        (&["rollback"], &["[DIR]", "--env", "--to", "--timeout"]),
        (&["promote"], &["--dry-run", "--timeout", "--key"]),
        (&["diff"], &["[DIR]", "--env", "--format"]),
        (&["history"], &["[DIR]", "--env", "--format"]),
        (&["keys"], &["generate", "import", "export"]),
        (&["keys", "import"], &["<FILE>"]),
        (&["keys", "export"], &["--private"]),
        (&["doctor"], &["--fix", "--format"]),
        (&["explain"], &["<CODE>"]),
        (&["completions"], &["<SHELL>", "bash", "fish", "zsh"]),
        (&["schema"], &["--help"]),
    ];
    for (command, words) in flags {
        let help = place.run([command, &["--help"]].concat()).with(0);
        assert_eq!(help.stderr, "", "{command:?}");
        for word in words {
            assert!(help.stdout.contains(word), "`nimify {} --help` lacks {word}: {}", command.join(" "), help.stdout);
        }
        assert!(!help.stdout.contains("probe-child"), "{}", help.stdout);
    }
}

#[test]
fn wrong_flags_and_commands_name_the_nearest() {
    let place = Place::without_key();
    let usage = |args: &[&str]| place.run(args).refused(2);
    assert_snapshot!(usage(&["create", "m.onnx", "--outptu", "x"]), @"
    error: unexpected argument '--outptu' found

      tip: a similar argument exists: '--output'

    Usage: nimify create --output <DIR> <MODEL>

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["crate", "m.onnx"]), @"
    error: unrecognized subcommand 'crate'

      tip: a similar subcommand exists: 'create'

    Usage: nimify <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["create", "m.onnx", "--service", "generick"]), @"
    error: invalid value 'generick' for '--service <SERVICE>'
      [possible values: generated, generic]

      tip: a similar value exists: 'generic'

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["create", "m.onnx", "--max-batch-size", "0"]), @"
    error: invalid value '0' for '--max-batch-size <ROWS>': give a whole number of at least 1

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["create", "m.onnx", "--key", "k", "--unsigned"]), @"
    error: the argument '--key <KEY>' cannot be used with '--unsigned'

    Usage: nimify create --key <KEY> <MODEL>

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["run", "m.onnx", "--port", "70000"]), @"
    error: invalid value '70000' for '--port <PORT>': 70000 is not in 0..=65535

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["inspect", "m.onnx", "--sample", "s.json"]), @"
    error: the following required arguments were not provided:
      --probe

    Usage: nimify inspect --probe --sample <FILE> <MODEL>

    For more information, try '--help'.
    ");
    assert_snapshot!(usage(&["create"]), @"
    error: the following required arguments were not provided:
      <MODEL>

    Usage: nimify create <MODEL>

    For more information, try '--help'.
    ");
    assert!(usage(&[]).contains("Usage: nimify <COMMAND>"));
    let version = place.run(["--version"]).with(0).stdout;
    assert_eq!(version, format!("nimify {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_code_is_explained() {
    let place = Place::without_key();
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "130"] {
        let ended = place.run(["explain", code]).with(0);
        assert!(
            ended.stdout.starts_with(&format!("{code}: ")) && ended.stdout.lines().count() >= 3,
            "{}",
            ended.stdout
        );
    }
    assert_snapshot!(place.run(["explain", "7"]).with(0).stdout, @"
    7: a digest or signature doesn't hold, or the signer isn't trusted

    Compare the digest with the one you expect, and the key with its owner's. A key beside an image is never a reason to trust it: pass the key you trust with `--key`.
    ");
    assert_snapshot!(place.run(["explain", "99"]).refused(2), @"
    error: no command ends with the code 99
     hint: the codes are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130
    ");
    place.run(["explain", "many"]).refused(2);
}

#[test]
fn the_schema_takes_what_create_writes_and_nothing_misspelt() {
    let place = made::digits();
    let schema = place.run(["schema"]).with(0).json();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let yaml = |text: &str| serde_yaml::from_str::<serde_json::Value>(text).unwrap();
    let written = yaml(&place.read("digits/nimify.yaml"));
    assert!(
        validator.is_valid(&written),
        "{:?}",
        validator.iter_errors(&written).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    // A document with every part, which `build` takes too.
    let whole = "apiVersion: nimify/v1\nname: digits\nmodel: digits.onnx\nversion: 1.2.0\nservice: generic\n\
        server: { port: 8080, grpcPort: null, metricsPort: null }\n\
        batching: { maxBatchSize: 32, maxQueueDelay: 2ms, maxQueue: 1024, requestTimeout: 5s }\n\
        engine: { threads: auto, instances: 1 }\n\
        image: { repository: registry.example.com/ml/digits, compression: gzip }\n\
        environments:\n  staging: { context: kind-staging, namespace: ml, replicas: 1 }\n";
    assert!(
        validator.is_valid(&yaml(whole)),
        "{:?}",
        validator.iter_errors(&yaml(whole)).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    place.write("nimify.yaml", whole).run(["build", "--quiet"]).with(0);
    for wrong in ["\nbatchign: {}\n", "\nserver: { prot: 1 }\n", "\nserver: { port: many }\n", "\nname: 7 of 9\n"] {
        let text = if wrong.contains("name") {
            whole.replace("\nname: digits\n", wrong)
        } else {
            format!("{whole}{}", &wrong[1..])
        };
        let text = text.replace("server: { port: 8080, grpcPort: null, metricsPort: null }\n", "");
        assert!(!validator.is_valid(&yaml(&text)), "{wrong}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_take() {
    let place = Place::without_key();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(["completions", shell]).with(0).stdout;
        for word in ["create", "discard-edits", "max-batch-size"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
        assert!(!script.contains("probe-child"), "{shell}");
        place.write(&format!("nimify.{shell}"), &script);
    }
    let bash = Command::new("bash").arg("-n").arg(place.at("nimify.bash")).output().unwrap();
    assert!(bash.status.success(), "{}", String::from_utf8_lossy(&bash.stderr));
    place.run(["completions", "tcsh"]).refused(2);
}

#[test]
fn the_doctor_says_what_is_there_and_what_is_missing() {
    let place = Place::without_key();
    let run = |args: &[&str], path: Option<std::ffi::OsString>| {
        let mut command = place.nimify();
        command.args(["doctor"]).args(args).envs(path.map(|path| ("PATH", path)));
        command.env("NIMIFY_CACHE", place.at("cache")).env("NIMIFY_ONNXRUNTIME", made::onnxruntime());
        place.finish(command.env("DOCKER_HOST", "unix:///nowhere.sock"))
    };
    let well = run(&["--format", "json"], None).with(0).json();
    let finding = |report: &serde_json::Value, name: &str| {
        report["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == name).unwrap().clone()
    };
    assert_eq!(finding(&well, "cargo")["found"], true);
    assert_eq!(finding(&well, "ONNX Runtime")["answer"], made::onnxruntime().to_str().unwrap());
    assert_eq!(finding(&well, "engine")["found"], false);
    assert_eq!(well["cache"]["path"], "<work>/cache");

    // Nothing on the path: nothing but the library is needed.
    let bare = run(&[], Some(place.at("nothing").into())).with(0);
    assert!(bare.stdout.contains("missing  cargo          not on the path\n"), "{}", bare.stdout);
    assert!(bare.stdout.contains("missing  cross compiler this toolchain has no standard library"), "{}", bare.stdout);
    assert!(bare.stdout.contains("missing  signing key    none in <config>/nimify/keys\n"), "{}", bare.stdout);
    assert!(bare.stdout.contains("ok       ONNX Runtime   "), "{}", bare.stdout);

    place.run(["keys", "generate"]).with(0);
    assert!(run(&[], None).with(0).stdout.contains("ok       signing key    sha256:"));
}

#[test]
fn the_doctor_fails_without_onnx_runtime() {
    let place = Place::without_key();
    let bin = fake::program(&place.work, "python3", "echo 'no pip here' >&2; exit 1");
    let mut command = place.nimify();
    command.arg("doctor").env("PATH", &bin).env("NIMIFY_CACHE", place.at("cache")).env_remove("NIMIFY_ONNXRUNTIME");
    let ended = place.finish(&mut command).with(5);
    assert_snapshot!(ended.stderr, @"
    error: ONNX Runtime is missing
     hint: `pip install onnxruntime`, or name the library file in `NIMIFY_ONNXRUNTIME`
    ");
    assert!(ended.stdout.starts_with("missing  ONNX Runtime   no source has ONNX Runtime"), "{}", ended.stdout);
}

#[test]
fn the_doctor_prunes_the_cache() {
    let place = made::digits();
    let cache = place.at("cache");
    made::cache_with_binaries(&cache);
    let run = |args: &[&str]| {
        let mut command = place.nimify();
        command.args(args).env("NIMIFY_CACHE", &cache).env("NIMIFY_ONNXRUNTIME", made::onnxruntime());
        place.finish(&mut command).with(0)
    };
    run(&["build", "--config", "digits/nimify.yaml", "--quiet"]);
    let bytes = |report: serde_json::Value| report["cache"]["bytes"].as_u64().unwrap();
    let full = bytes(run(&["doctor", "--format", "json"]).json());
    assert!(full > 10_000_000, "{full}");
    let fixed = run(&["doctor", "--fix", "--format", "json"]).json();
    assert_eq!(fixed["cache"]["prunedBytes"], full);
    assert_eq!(bytes(fixed), 0);
    assert!(!files_below(&cache).keys().any(|name| name.starts_with("layers/")));
}
