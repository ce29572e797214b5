//! Models that can't be served: what is said, what to do, the exit code, and nothing left behind.

use insta::assert_snapshot;

use crate::command::{Place, fixture};

/// Runs `create` on a file of the working folder, which stays as it was.
#[track_caller]
fn refused(place: &Place, model: &str) -> String {
    let before = place.entries();
    let stderr = place.run(["create", model, "--yes", "--output", "deep/out"]).refused(3);
    assert_eq!(place.entries(), before, "something is left behind");
    stderr
}

#[track_caller]
fn broken(name: &str) -> String {
    refused(Place::new().take(&format!("broken/{name}.onnx")), &format!("{name}.onnx"))
}

#[test]
fn what_is_no_model() {
    assert_snapshot!(broken("not_onnx"), @"
    error: `not_onnx.onnx`: not an ONNX model: byte 10 is no part of one: 0 is no field number
     hint: export the model to ONNX first: `torch.onnx.export`, `tf2onnx`, `skl2onnx` or `optimum-cli export onnx`, whichever made it
    ");
    assert_snapshot!(broken("text"), @"
    error: `text.onnx`: not an ONNX model: byte 0 is no part of one: field 14 has the wire type 4
     hint: export the model to ONNX first: `torch.onnx.export`, `tf2onnx`, `skl2onnx` or `optimum-cli export onnx`, whichever made it
    ");
    assert_snapshot!(broken("empty"), @"
    error: `empty.onnx` is empty
     hint: the download or the export was cut off: make the file again
    ");
    assert_snapshot!(broken("truncated"), @"
    error: `truncated.onnx`: broken at byte 112, in a ModelProto: 4363 bytes are announced and 2256 are left
     hint: the file is damaged or was only partly copied: compare its size and checksum with the original, and fetch it again
    ");
}

#[test]
fn formats_of_others_are_named() {
    let place = Place::new();
    place
        .write("net.pt", b"PK\x03\x04junk")
        .write("net.h5", b"\x89HDF\r\n\x1a\njunk")
        .write("net.pkl", b"\x80\x04\x95junk.");
    for (name, format) in [("net.pt", "zip archive"), ("net.h5", "HDF5"), ("net.pkl", "pickle")] {
        let stderr = refused(&place, name);
        assert!(stderr.contains(format) && stderr.contains(" hint: "), "{stderr}");
    }
}

#[test]
fn a_model_cut_off_anywhere_is_refused() {
    let whole = std::fs::read(fixture("digits/digits.onnx")).unwrap();
    let place = Place::new();
    // Every length is the model stage's own test; here a few, through the whole command.
    for length in [1, 10, 1000, whole.len() / 2, whole.len() - 1] {
        place.write("cut.onnx", &whole[..length]);
        let stderr = refused(&place, "cut.onnx");
        assert!(stderr.starts_with("error: `cut.onnx`: ") && stderr.contains(" hint: "), "{length}: {stderr}");
    }
}

#[test]
fn paths_that_hold_no_model() {
    let place = Place::new();
    place.write("export/config.json", "{}").take("digits/digits.onnx").write("two/a.onnx", "").write("two/b.onnx", "");
    std::fs::create_dir(place.at("nothing")).unwrap();
    assert_snapshot!(refused(&place, "export"), @"
    error: the folder `export` holds no `.onnx` file
     hint: it holds `export/config.json`: export the model to ONNX first
    ");
    assert_snapshot!(refused(&place, "nothing"), @"
    error: the folder `nothing` holds no `.onnx` file
     hint: give the path of an `.onnx` file
    ");
    assert_snapshot!(refused(&place, "two"), @"
    error: the folder `two` holds more than one model: `two/a.onnx`, `two/b.onnx`
     hint: name one of them, such as `two/a.onnx`
    ");
    assert_snapshot!(refused(&place, "digit.onnx"), @"
    error: there is no model at `digit.onnx`
     hint: did you mean `digits.onnx`?
    ");
    assert_snapshot!(refused(&place, "/dev/null"), @"
    error: `/dev/null` is a device, not a regular file
     hint: save the model to a file first, and give that
    ");
}

#[test]
fn external_data_at_fault() {
    assert_snapshot!(broken("external_missing"), @"
    error: `external_missing.onnx` keeps the data of tensor `w` in `nowhere.bin`, which is missing
     hint: copy `nowhere.bin` from where the model came from, to the same place beside it
    ");
    assert_snapshot!(broken("external_outside"), @r#"
    error: `external_outside.onnx`: tensor `w` has its data at `../models/external.bin`, which is not a path below the model's folder
     hint: save the model again with its data beside it: `onnx.save_model(model, path, save_as_external_data=True, location="weights.bin")`
    "#);
    assert_snapshot!(broken("external_absolute"), @r#"
    error: `external_absolute.onnx`: tensor `w` has its data at `/etc/hostname`, which is not a path below the model's folder
     hint: save the model again with its data beside it: `onnx.save_model(model, path, save_as_external_data=True, location="weights.bin")`
    "#);
    let place = Place::new();
    place.take("broken/external_short.onnx").take("broken/external_short.bin");
    assert_snapshot!(refused(&place, "external_short.onnx"), @"
    error: `external_short.onnx` keeps the data of tensor `w` in `external_short.bin`, which has 64 bytes, and the tensor's data ends at byte 128
     hint: copy `external_short.bin` from where the model came from, to the same place beside it
    ");
    // A link out of the folder is no way around.
    let place = Place::new();
    place.take("broken/external_short.onnx");
    std::os::unix::fs::symlink("/etc/hostname", place.at("external_short.bin")).unwrap();
    let stderr = refused(&place, "external_short.onnx");
    assert!(stderr.contains("which leads out of the model's folder, to `/etc/hostname`"), "{stderr}");
}

#[test]
fn what_onnx_runtime_does_not_know() {
    assert_snapshot!(broken("future_opset"), @"
    error: `future_opset.onnx`: the model uses opset 999 of `ai.onnx`, and ONNX Runtime 1.31 knows it up to 26
     hint: export the model again with opset 26 of `ai.onnx`, or lower it with `onnx.version_converter.convert_version(model, 26)`
    ");
    assert_snapshot!(broken("future_ir"), @"
    error: `future_ir.onnx`: the model's IR version is 999, and ONNX Runtime 1.31 knows it up to 13
     hint: set `model.ir_version = 13` in Python's `onnx` and save it, or export it again
    ");
    assert_snapshot!(broken("complex_numbers"), @"
    warning: input `x` is complex64 [N, 2], which no request or answer can carry
    warning: output `y` is complex64 [N, 2], which no request or answer can carry
    error: `<work>/complex_numbers.onnx` can't be served: its input `x` is complex64 [N, 2]
     hint: export real and imaginary parts instead: as two tensors, or as a last dimension of 2
    ");
    assert_snapshot!(broken("custom_operator"), @"
    warning: operators of `com.example` are not part of ONNX Runtime: `Frobnicate`; the model loads only with the library that brings them
    error: the model `<work>/custom_operator.onnx` doesn't load: Load model from <path> failed:Fatal error: com.example:Frobnicate(-1) is not a registered function/op
     hint: name the library that brings the operator with `--custom-ops FILE`, or export the model without it
    ");
}

#[test]
fn a_model_that_wants_all_memory_is_packed_with_a_warning() {
    // It loads: that made-up values don't fit it is no proof that no values do.
    let place = Place::new();
    let args = ["create", "gluttonous.onnx", "--yes", "--service", "generic"];
    let ended = place.take("broken/gluttonous.onnx").run(args).with(0);
    assert_eq!(ended.stderr.matches("Failed to allocate memory").count(), 1, "said once: {}", ended.stderr);
    assert!(ended.stderr.starts_with("warning: no sample was found: "), "{}", ended.stderr);
    assert!(!place.at("gluttonous/samples").exists());
}

#[test]
fn names_that_can_not_be() {
    let place = Place::new();
    place.take("digits/digits.onnx");
    let refused = |args: &[&str]| {
        let stderr = place.run([&["create", "digits.onnx", "--yes"][..], args].concat()).refused(4);
        assert_eq!(place.entries(), ["digits.onnx"], "something is left behind");
        stderr
    };
    assert_snapshot!(refused(&["--name", "模型"]), @"error: `--name`: `模型` can't be a service name: it takes 1 to 52 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or a digit");
    assert_snapshot!(refused(&["--name", "a b"]), @"error: `--name`: `a b` can't be a model's name: no spaces and no slashes, at most 253 bytes");
    assert_snapshot!(refused(&["--name", ""]), @"error: `--name`: `` can't be a service name: it takes 1 to 52 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or a digit");
    assert_snapshot!(refused(&["--model-version", "1/2"]), @"error: `--model-version`: `1/2` can't be a version: it is part of tags and labels, so it takes 1 to 63 letters, digits, `.`, `_` and `-`, with a letter or a digit at both ends");
    assert_snapshot!(refused(&["--repository", "Registry/UPPER"]), @"error: `--repository`: `Registry/UPPER` can't be an image's repository: `Registry` should be lower-case letters and digits, with `.`, `_`, `__` or `-` between them");
    // A file's name that makes none asks for a flag.
    std::fs::rename(place.at("digits.onnx"), place.at("模型.onnx")).unwrap();
    assert_snapshot!(place.run(["create", "模型.onnx", "--yes"]).refused(4), @"error: `--name`: `模型` can't be a service name: it takes 1 to 52 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or a digit");
}

#[test]
fn samples_that_do_not_fit() {
    let place = Place::new();
    place.take("digits/digits.onnx").write("wrong.json", r#"{"pixels": [[1, 2]]}"#).write("broken.json", "{");
    let refused = |sample: &str, code| {
        let stderr = place.run(["create", "digits.onnx", "--yes", "--sample", sample]).refused(code);
        assert!(!place.at("digits").exists());
        stderr
    };
    assert_snapshot!(refused("wrong.json", 2), @r#"
    error: the sample given for `<work>/digits.onnx` doesn't work: `pixels` should be float32 [N, 64]; what came has shape [1, 2], which is 2 instead of 64 on axis 1
     hint: `--sample` takes a request as `/v1/predict` does: {"input": [[…]], …}
    "#);
    assert_snapshot!(refused("broken.json", 2), @r#"
    error: the sample given for `<work>/digits.onnx` doesn't work: the body is no JSON: the JSON ends where a property's name in double quotes is expected (line 1, column 2)
     hint: `--sample` takes a request as `/v1/predict` does: {"input": [[…]], …}
    "#);
    assert_snapshot!(refused("missing.json", 10), @"
    error: could not read the sample `<work>/missing.json`
    cause: No such file or directory (os error 2)
    ");
}
