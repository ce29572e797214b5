//! Models of a web host: a small server of files, which knows ranges, entity tags and credentials as web servers do, and
//! breaks off where it is told to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::odd::{Asked, Odd, Said};
use crate::{LOGIN, fails, nimify, passes};

/// How the server behaves.
#[derive(Default, Clone)]
struct Habits {
    /// Answers so many requests for a path with half of what they ask for.
    breaks_off: usize,
    /// Wants these credentials.
    login: Option<&'static str>,
}

/// Files by their paths. Each has its digest for an entity tag.
fn files(files: &[(&str, Vec<u8>)], habits: Habits) -> Odd {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, bytes)| (path.to_string(), bytes.clone())).collect();
    let files = Arc::new(files);
    Odd::start(move |asked, before| serve(&files, &habits, asked, before))
}

fn serve(files: &BTreeMap<String, Vec<u8>>, habits: &Habits, asked: &Asked, before: usize) -> Said<Vec<u8>> {
    if habits.login.is_some_and(|login| asked.header("authorization") != Some(&format!("Basic {login}"))) {
        return (401, Vec::new(), b"who are you?".to_vec());
    }
    let path = asked.path.split('?').next().unwrap();
    let Some(bytes) = files.get(path) else { return (404, Vec::new(), b"no such file".to_vec()) };
    let tag = format!("\"{}\"", nimify::digest::Digest::of(bytes).hex());
    let mut headers = vec![("ETag", tag.clone())];
    if asked.header("if-none-match") == Some(&tag) {
        return (304, headers, Vec::new());
    }
    let range = asked.header("range").filter(|_| asked.header("if-range").is_none_or(|known| known == tag));
    let begin = range.map(|range| range["bytes=".len()..range.len() - 1].parse::<usize>().unwrap());
    let (mut status, mut body) = (200, bytes.clone());
    if let Some(begin) = begin {
        headers.push(("Content-Range", format!("bytes {begin}-{}/{}", bytes.len() - 1, bytes.len())));
        (status, body) = (206, bytes[begin..].to_vec());
    }
    if before < habits.breaks_off {
        headers.push(("Content-Length", body.len().to_string()));
        body.truncate(body.len() / 2);
    }
    (status, headers, body)
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("fixtures/models/{name}")).unwrap()
}

fn inspected(home: &Path, model: &str) -> Value {
    let mut inspect = nimify(home);
    serde_json::from_str(&passes(inspect.args(["inspect", model, "--format", "json", "--plain-http"]))).unwrap()
}

#[test]
fn a_model_of_a_web_host_is_as_good_as_a_file() {
    let home = tempfile::tempdir().unwrap();
    let both = [("/m/external.onnx", fixture("external.onnx")), ("/m/external.bin", fixture("external.bin"))];
    let server = files(&both, Habits { breaks_off: 2, login: None });
    let address = format!("http://{}/m/external.onnx", server.address);
    let stderr = fails(nimify(home.path()).args(["inspect", &address]), 2);
    assert!(stderr.contains("is not encrypted") && stderr.contains("--plain-http"), "{stderr}");
    assert_eq!(server.asked().len(), 0);

    // Broken off twice, it goes on where it was.
    let wanted = inspected(home.path(), "fixtures/models/external.onnx");
    assert_eq!(inspected(home.path(), &address), wanted);
    let first = server.asked();
    let ranges: Vec<_> = first.iter().filter_map(|asked| asked.header("range")).collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert!(first.iter().all(|asked| asked.header("range").is_none() || asked.header("if-range").is_some()));
    assert!(first.iter().all(|asked| asked.header("accept-encoding").is_none()), "{first:?}");

    // What hasn't changed doesn't come again.
    assert_eq!(inspected(home.path(), &address), wanted);
    let again = &server.asked()[first.len()..];
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|asked| asked.header("if-none-match").is_some()), "{again:?}");
    drop(server);
    let mut offline = nimify(home.path());
    passes(offline.args(["inspect", &address, "--offline", "--plain-http"]));
    let stderr = fails(nimify(home.path()).args(["inspect", "https://models.example.com/a.onnx", "--offline"]), 9);
    assert!(stderr.contains("is not in the cache"), "{stderr}");
}

#[test]
fn an_interrupted_download_goes_on_in_the_next_run() {
    let home = tempfile::tempdir().unwrap();
    let path = "/m/mlp.onnx";
    // More often than one run tries without getting anywhere: each half is a step forward, down to nothing.
    let server = files(&[(path, fixture("mlp.onnx"))], Habits { breaks_off: 40, login: None });
    let address = format!("http://{}{path}", server.address);
    let stderr = fails(nimify(home.path()).args(["inspect", &address, "--plain-http"]), 9);
    assert!(stderr.contains("broke off"), "{stderr}");
    let so_far = server.asked().len();
    let mut tries = 1;
    while nimify(home.path()).args(["inspect", &address, "--plain-http"]).output().unwrap().status.code() != Some(0) {
        tries += 1;
        assert!(tries < 20);
    }
    assert!(server.asked()[so_far].header("range").is_some(), "the second run begins where the first ended");
    assert!(server.asked()[1..].iter().all(|asked| asked.header("range").is_some()));
}

#[test]
fn what_comes_has_to_have_the_digest_that_was_given() {
    let home = tempfile::tempdir().unwrap();
    let server = files(&[("/a.onnx", fixture("mlp.onnx"))], Habits::default());
    let at = |digest: &str| format!("http://{}/a.onnx?sig=s3cret#sha256={digest}", server.address);
    let right = nimify::digest::Digest::of(fixture("mlp.onnx")).hex();
    inspected(home.path(), &at(&right));
    let wrong = nimify::digest::Digest::of("").hex();
    let stderr = fails(nimify(home.path()).args(["inspect", &at(&wrong), "--plain-http"]), 7);
    assert!(stderr.contains(&right) && stderr.contains(&wrong) && !stderr.contains("s3cret"), "{stderr}");
}

#[test]
fn credentials_go_to_the_host_that_they_are_for() {
    let home = tempfile::tempdir().unwrap();
    let habits = Habits { login: Some(LOGIN), ..Habits::default() };
    let store = files(&[("/a.onnx", fixture("mlp.onnx"))], Habits::default());
    let target = format!("http://{}/a.onnx", store.address);
    let model = [("/b.onnx".to_string(), fixture("mlp.onnx"))].into();
    let server = Odd::start(move |asked, before| match asked.path.as_str() {
        "/a.onnx" if asked.header("authorization").is_some() => (302, vec![("Location", target.clone())], Vec::new()),
        _ => serve(&model, &habits, asked, before),
    });
    let address = |path: &str| format!("http://{}{path}", server.address);
    let stderr = fails(nimify(home.path()).args(["inspect", &address("/b.onnx"), "--plain-http"]), 9);
    assert!(stderr.contains("a request without credentials") && stderr.contains("~/.netrc"), "{stderr}");
    fs::write(home.path().join(".netrc"), "machine 127.0.0.1 login ada password wrong\n").unwrap();
    let stderr = fails(nimify(home.path()).args(["inspect", &address("/b.onnx"), "--plain-http"]), 9);
    assert!(stderr.contains(".netrc") && !stderr.contains("wrong"), "{stderr}");
    fs::write(home.path().join(".netrc"), "machine 127.0.0.1 login ada password hunter2\n").unwrap();
    inspected(home.path(), &address("/b.onnx"));
    // Another port of the same machine is another host.
    inspected(home.path(), &address("/a.onnx"));
    assert!(!store.asked().is_empty());
    assert!(store.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn what_is_no_model_of_a_web_host_is_told() {
    let home = tempfile::tempdir().unwrap();
    let page = ("/page.onnx", b"<!DOCTYPE html><html></html>".to_vec());
    let lacking = ("/external.onnx", fixture("external.onnx"));
    let server = files(&[page, lacking, ("/a.zip", b"PK\x03\x04".to_vec())], Habits::default());
    for (path, code, wrong) in [
        ("/none.onnx", 9, "answered 404"),
        ("/external.onnx", 9, "external.bin"),
        ("/a.zip", 3, "`a.zip`"),
        ("/page.onnx", 3, "page.onnx"),
    ] {
        let address = format!("http://{}{path}", server.address);
        let stderr = fails(nimify(home.path()).args(["inspect", &address, "--plain-http"]), code);
        assert!(stderr.contains(wrong), "{stderr}");
    }
    for (address, wrong) in [("https://ada:hunter2@h/a.onnx", "a name or password"), ("https://h/", "names no file")] {
        let stderr = fails(nimify(home.path()).args(["inspect", address]), 2);
        assert!(stderr.contains(wrong), "{stderr}");
    }
}
