//! What is in the way to a cluster, told apart. The server here only plays an API server's answers: what a real one
//! says is judged in `tests/cluster`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use super::{Bounds, Cluster, Error, Target};

/// A server that answers by path, each connection once, until the test ends.
fn playing(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let line = request_line(&mut stream);
            let (status, body) = answer(line.trim_end_matches(" HTTP/1.1"));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    address
}

/// Reads the whole request: a connection that is closed with something unread in it is cut off.
fn request_line(stream: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut buffer).unwrap_or(0);
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let is_http = head.contains("HTTP/1.1");
        if read == 0 || !is_http || text.contains("\r\n\r\n") && body.len() >= length.unwrap_or(0) {
            return head.lines().next().unwrap_or_default().to_owned();
        }
    }
}

fn kubeconfig(server: &str, user: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts: [{{name: here, context: {{cluster: c, user: u, namespace: ml}}}}]\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {user}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    (folder, vec![path])
}

fn connect(server: &str, user: &str) -> Result<Cluster, Error> {
    let (_folder, paths) = kubeconfig(server, user);
    Cluster::connect_by(&paths, None, None)
}

fn status(code: u16, reason: &str, message: &str, kind: &str) -> (u16, String) {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "details": { "kind": kind }, "code": code,
    });
    (code, status.to_string())
}

fn version() -> (u16, String) {
    (200, r#"{"major":"1","minor":"34","gitVersion":"v1.34.1"}"#.into())
}

#[test]
fn the_contexts_namespace_holds_unless_another_is_named() {
    let server = playing(|_| version());
    let cluster = connect(&server, "{token: t}").unwrap();
    assert_eq!((cluster.context(), cluster.namespace(), cluster.version()), ("here", "ml", "v1.34.1"));
    assert_eq!(cluster.server(), server);
    let (_folder, paths) = kubeconfig(&server, "{}");
    assert_eq!(Cluster::connect_by(&paths, None, Some("prod")).unwrap().namespace(), "prod");
    assert!(matches!(Cluster::connect_by(&paths, None, Some("../x")), Err(Error::NamespaceName(_))));
}

#[test]
fn nobody_listening_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connect(&format!("http://{address}"), "{}").unwrap_err();
    assert!(matches!(&error, Error::Unreachable { words, .. } if words.contains("refused")), "{error}");
    let error = connect("http://no-such-host.invalid", "{}").unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn a_server_without_tls_is_not_believed() {
    let server = playing(|_| version()).replace("http:", "https:");
    let error = connect(&server, "{}").unwrap_err();
    assert!(matches!(&error, Error::Certificate { .. }), "{error:?}");
}

#[test]
fn credentials_that_are_not_accepted_and_rights_that_are_missing_differ() {
    let server = playing(|_| status(401, "Unauthorized", "Unauthorized", ""));
    let error = connect(&server, "{token: old}").unwrap_err();
    assert!(matches!(&error, Error::NotAuthorised { .. }), "{error:?}");

    let words = r#"namespaces "ml" is forbidden: User "ada" cannot get resource "namespaces""#;
    let server = playing(move |line| match line {
        "GET /version" => version(),
        line if line.starts_with("POST /apis/authorization") => (201, r#"{"status":{"allowed":false}}"#.into()),
        _ => status(403, "Forbidden", words, "namespaces"),
    });
    let cluster = connect(&server, "{token: t}").unwrap();
    // Who may not look at namespaces may still deploy into one.
    cluster.check_namespace().unwrap();
    let error = cluster.check_access(&super::rights([])).unwrap_err().to_string();
    assert!(error.starts_with("the user of context `here` lacks rights in namespace `ml`: "), "{error}");
    assert!(error.contains("create secrets, ") && error.contains("get pods/log"), "{error}");
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let server = playing(|line| match line {
        "GET /version" => version(),
        _ => status(404, "NotFound", r#"namespaces "ml" not found"#, "namespaces"),
    });
    let error = connect(&server, "{}").unwrap().check_namespace().unwrap_err();
    assert_eq!(error.to_string(), "there is no namespace `ml` in the cluster of context `here`");
    assert!(error.hint().unwrap().contains("kubectl --context here create namespace ml"));
}

#[test]
fn a_program_that_logs_in_and_fails_is_told_without_its_arguments() {
    let exec = |command: &str, script: &str| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {command}, args: [-c, '{script}'], \
             interactiveMode: Never}}}}"
        )
    };
    let server = playing(|_| version());
    let error = connect(&server, &exec("sh", "echo hunter2; echo session expired >&2; exit 3")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("session expired") && !text.contains("hunter2"), "{text}");
    let text = connect(&server, &exec("no-such-program", "")).unwrap_err().to_string();
    assert!(text.starts_with("`no-such-program`, which logs in to context `here`, failed: "), "{text}");
    let text = connect(&server, &exec("sh", "echo hunter2")).unwrap_err().to_string();
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn what_is_no_answer_of_a_cluster_is_said() {
    for (status, body) in [(200, "<html>"), (500, ""), (302, "x")] {
        let server = playing(move |_| (status, body.into()));
        assert!(matches!(connect(&server, "{}"), Err(Error::NotUnderstood { .. } | Error::Refused { .. })));
    }
}

#[test]
fn a_services_own_refusal_is_a_reply_and_an_empty_service_an_error() {
    let target = Target { service: "digits", port: "http", tls: false, path: "/v1/predict" };
    let bounds = Bounds { timeout: Duration::from_secs(5), limit: 100 };
    let server = playing(|line| match line {
        "GET /version" => version(),
        line if line.contains("/empty:http/") => {
            status(503, "ServiceUnavailable", r#"no endpoints available for service "empty""#, "")
        }
        line if line.contains("/large:http/") => (200, "x".repeat(200)),
        _ => (422, r#"{"error":{"message":"no"}}"#.into()),
    });
    let cluster = connect(&server, "{}").unwrap();
    assert_eq!(cluster.post(target, b"{}", bounds).unwrap().status, 422);
    let empty = cluster.post(Target { service: "empty", ..target }, b"{}", bounds).unwrap_err();
    assert!(matches!(&empty, Error::NothingBehind { words, .. } if words.contains("no endpoints")), "{empty:?}");
    let large = cluster.post(Target { service: "large", ..target }, b"{}", bounds).unwrap_err();
    assert!(matches!(large, Error::TooLarge { limit: 100, .. }), "{large:?}");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let server = playing(|line| match line {
        "GET /version" => version(),
        _ => {
            std::thread::sleep(Duration::from_secs(3));
            (200, String::new())
        }
    });
    let bounds = Bounds { timeout: Duration::from_millis(300), limit: 100 };
    let target = Target { service: "slow", port: "http", tls: false, path: "/" };
    let error = connect(&server, "{}").unwrap().fetch(target, bounds).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { words, .. } if words.starts_with("no answer")), "{error:?}");
}
