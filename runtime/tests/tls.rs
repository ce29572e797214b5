//! TLS on every port: HTTP/1.1, HTTP/2 and gRPC, certificates that change while the service runs, clients with
//! certificates, and the service's own program as a client. curl, openssl and tonic are the judges.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use nimify_runtime::codec::v2::protobuf::messages::model_infer_request::InferInputTensor;
use nimify_runtime::codec::v2::protobuf::messages::{
    ModelInferRequest, ModelInferResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use support::{Made, PATIENCE, Service, command, rows};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A certificate authority and the folder that its certificates are written to.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`, signed for `localhost` and 127.0.0.1.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_string(), "127.0.0.1".to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// The settings of a server with `server.pem`.
    fn tls(&self, client_ca: Option<&Path>) -> serde_json::Value {
        json!({"certificate": self.path("server.pem"), "key": self.path("server.key"), "clientCa": client_ca})
    }

    fn curl(&self, arguments: &[&str], address: SocketAddr, path: &str) -> Output {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(self.path("ca.pem"));
        curl.args(["--write-out", "\n%{http_code} %{http_version}"]).args(arguments);
        curl.arg(format!("https://localhost:{}{path}", address.port())).stdin(Stdio::null());
        curl.output().expect("curl is installed")
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What curl wrote last: status and version.
fn verdict(output: &Output) -> String {
    text(output).lines().last().unwrap_or_default().to_string()
}

/// A service with a certificate of its own, and who signed it.
fn protected(client_ca: Option<&Path>, environment: &[(&str, &str)]) -> (Authority, Service) {
    let authority = Authority::new();
    authority.sign("server");
    let server = json!({"tls": authority.tls(client_ca), "metricsPort": 0, "readTimeout": "1s"});
    let service = Made { server, ..rows() }.ready_with(environment);
    (authority, service)
}

#[test]
fn both_ports_speak_tls_with_http_1_and_http_2() {
    let (authority, service) = protected(None, &[]);
    let (address, metrics) = (service.address, service.metrics.unwrap());
    let health = "/v1/health/ready";
    for (arguments, version) in [
        (&["--http1.1"][..], "1.1"),
        (&["--http2"], "2"),
        (&["--tlsv1.3", "--http2"], "2"),
        (&["--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--no-alpn"], "1.1"),
    ] {
        assert_eq!(verdict(&authority.curl(arguments, address, health)), format!("200 {version}"), "{arguments:?}");
    }
    let body = r#"{"x":[[1,2,3]],"b":[[1]]}"#;
    let answer = authority.curl(&["--json", body], address, "/v1/predict");
    assert!(text(&answer).contains(r#""y":[[3"#) && verdict(&answer) == "200 2", "{answer:?}");
    let page = authority.curl(&[], metrics, "/metrics");
    assert!(text(&page).contains("nimify_tls_handshake_failures_total"), "{page:?}");
    // What is old, foreign or no TLS at all is refused, and harms nobody.
    let old = authority.curl(&["--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"], address, health);
    assert!(!old.status.success(), "{old:?}");
    let foreign = Authority::new().curl(&[], address, health);
    assert!(!foreign.status.success(), "{foreign:?}");
    let mut plain = service.connect();
    plain.write_all(b"GET /v1/health/live HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    assert_eq!(verdict(&authority.curl(&[], address, health)), "200 2");
    let page = text(&authority.curl(&[], metrics, "/metrics"));
    let failed: u32 =
        page.lines().find_map(|l| l.strip_prefix("nimify_tls_handshake_failures_total ")).unwrap().parse().unwrap();
    assert!(failed >= 2, "{page}");
}

#[test]
fn an_answer_before_the_body_is_sent_is_heard() {
    let (authority, service) = protected(None, &[]);
    let body = authority.path("body");
    std::fs::write(&body, vec![b' '; 20_000_000]).unwrap();
    let data = format!("@{}", body.display());
    for (arguments, version) in [(&["--http1.1", "--header", "expect:"][..], "1.1"), (&["--http2"], "2")] {
        for (path, status) in [("/nowhere", 404), ("/v1/models", 405), ("/v1/predict", 415)] {
            let arguments = [arguments, &["--data-binary", &data]].concat();
            let answer = authority.curl(&arguments, service.address, path);
            assert!(answer.status.success() && text(&answer).contains(r#"{"error":"#), "{answer:?}");
            assert_eq!(verdict(&answer), format!("{status} {version}"), "{path}");
        }
    }
}

#[test]
fn openssl_agrees_on_protocol_and_certificate() {
    let (authority, service) = protected(None, &[]);
    let output = Command::new("openssl")
        .args(["s_client", "-alpn", "h2,http/1.1", "-verify_return_error", "-brief", "-connect"])
        .arg(service.address.to_string())
        .arg("-CAfile")
        .arg(authority.path("ca.pem"))
        .args(["-verify_hostname", "localhost"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let said = text(&output);
    assert!(output.status.success() && said.contains("TLSv1.3") && said.contains("Verification: OK"), "{said}");
}

#[test]
fn a_silent_handshake_ends_and_does_not_hold_the_drain_up() {
    let (_authority, mut service) = protected(None, &[]);
    let mut silent = service.connect();
    let begun = Instant::now();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0, "`readTimeout` is a second");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let mut half = service.connect();
    // The beginning of a handshake.
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    let begun = Instant::now();
    service.signal("TERM");
    assert_eq!(service.exit().0, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// As Kubernetes mounts a secret: files → `..data` → a folder that is swapped in one rename.
fn mount(authority: &Authority, folder: &Path, revision: &str) {
    let inner = folder.join(revision);
    std::fs::create_dir(&inner).unwrap();
    authority.sign("made");
    std::fs::copy(authority.path("made.pem"), inner.join("tls.crt")).unwrap();
    std::fs::copy(authority.path("made.key"), inner.join("tls.key")).unwrap();
    let link = folder.join("new");
    std::os::unix::fs::symlink(revision, &link).unwrap();
    std::fs::rename(&link, folder.join("..data")).unwrap();
}

#[test]
fn a_new_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    mount(&old, folder.path(), "one");
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let server = json!({"tls": {"certificate": certificate, "key": key}});
    let service = Made { server, ..rows() }.ready();
    let served = |by: &Authority| by.curl(&[], service.address, "/v1/health/live").status.success();
    assert!(served(&old) && !served(&new));
    mount(&new, folder.path(), "two");
    wait_until("the new certificate", || served(&new));
    assert!(!served(&old));
    service.log.wait_for("TLS certificate reloaded");
    // Nothing that could be used: the one before it stays.
    std::fs::create_dir(folder.path().join("three")).unwrap();
    std::fs::write(folder.path().join("three/tls.crt"), "no certificate").unwrap();
    std::fs::write(folder.path().join("three/tls.key"), "a secret").unwrap();
    std::os::unix::fs::symlink("three", folder.path().join("new")).unwrap();
    std::fs::rename(folder.path().join("new"), folder.path().join("..data")).unwrap();
    let said = service.log.wait_for("the new TLS certificate can't be used: the one before it stays");
    assert!(said["error"].as_str().unwrap().contains("tls.crt") && !said.to_string().contains("secret"), "{said}");
    assert!(served(&new));
    let page = text(&new.curl(&[], service.address, "/metrics"));
    for line in ["nimify_tls_reloads_total{result=\"taken\"} 1\n", "nimify_tls_reloads_total{result=\"refused\"} 1\n"] {
        assert!(page.contains(line), "{page}");
    }
    mount(&old, folder.path(), "four");
    wait_until("a good certificate again", || served(&old));
}

#[test]
fn a_client_without_a_certificate_gets_health_and_nothing_else() {
    let clients = Authority::new();
    clients.sign("client");
    let ca = clients.path("ca.pem");
    let (authority, service) = protected(Some(&ca), &[]);
    let (certificate, key) = (clients.path("client.pem"), clients.path("client.key"));
    let known = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let body = ["--json", r#"{"x":[[1,2,3]],"b":[[1]]}"#];
    let post = |arguments: &[&str]| authority.curl(&[arguments, &body].concat(), service.address, "/v1/predict");
    assert_eq!(verdict(&post(&known)), "200 2");
    let refused = post(&[]);
    assert_eq!(verdict(&refused), "403 2");
    assert!(text(&refused).contains("forbidden_error"), "{refused:?}");
    assert_eq!(verdict(&authority.curl(&[], service.metrics.unwrap(), "/metrics")), "403 2");
    assert_eq!(verdict(&authority.curl(&known, service.metrics.unwrap(), "/metrics")), "200 2");
    for path in ["/v1/health/live", "/v1/health/ready", "/v2/models/tiny/ready"] {
        assert_eq!(verdict(&authority.curl(&[], service.address, path)), "200 2", "{path}");
    }
    // From an authority that nobody trusts: the handshake ends.
    let stranger = Authority::new();
    stranger.sign("client");
    let (certificate, key) = (stranger.path("client.pem"), stranger.path("client.key"));
    let unknown = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let refused = authority.curl(&unknown, service.address, "/v1/health/live");
    assert!(!refused.status.success(), "{refused:?}");
}

/// Connects over TLS, offering these protocols by ALPN.
#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
    /// What was agreed on.
    agreed: Arc<Mutex<Vec<u8>>>,
}

impl Connector {
    /// Trusts `authority`, shows the certificate `NAME.pem` of `own`, and offers `protocol`.
    fn new(authority: &Authority, own: Option<(&Authority, &str)>, protocol: &[u8]) -> Connector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.path("ca.pem")).unwrap()).unwrap();
        let ring = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some((own, name)) => {
                let certificate = CertificateDer::from_pem_file(own.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(own.path(&format!("{name}.key"))).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        Connector { tls: Arc::new(config).into(), agreed: Arc::default() }
    }

    async fn channel(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        // The connection is the connector's business: tonic asks for no more than a stream.
        let endpoint = Endpoint::from_shared(format!("http://localhost:{}", address.port())).unwrap();
        endpoint.connect_with_connector(self.clone()).await
    }
}

impl tonic::codegen::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<tokio::net::TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { tls, agreed } = self.clone();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", uri.port_u16().unwrap())).await?;
            let stream = tls.connect("localhost".try_into().unwrap(), stream).await?;
            *agreed.lock().unwrap() = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
            Ok(TokioIo::new(stream))
        })
    }
}

/// An inference over the channel: y = 2x + b.
async fn infer(channel: Channel) -> Result<Vec<u8>, Status> {
    let raw = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into();
    let tensor = |name: &str, shape: &[i64]| InferInputTensor {
        name: name.into(),
        datatype: "FP32".into(),
        shape: shape.into(),
        ..Default::default()
    };
    let request = ModelInferRequest {
        model_name: "tiny".into(),
        inputs: vec![tensor("x", &[1, 3]), tensor("b", &[1, 1])],
        raw_input_contents: vec![raw(&[1., 2., 3.]), raw(&[1.])],
        ..Default::default()
    };
    let answer: ModelInferResponse = ask(channel, "/inference.GRPCInferenceService/ModelInfer", request).await?;
    Ok(answer.raw_output_contents[0].to_vec())
}

async fn ask<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    Ok(client.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?.into_inner())
}

#[tokio::test]
async fn grpc_goes_over_tls() {
    let (authority, service) = protected(None, &[]);
    let grpc = service.grpc.unwrap();
    let connector = Connector::new(&authority, None, b"h2");
    let channel = connector.channel(grpc).await.unwrap();
    let y: Vec<u8> = [3f32, 5., 7.].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(infer(channel.clone()).await.unwrap(), y);
    assert_eq!(*connector.agreed.lock().unwrap(), b"h2");
    let many = (0..50).map(|_| tokio::spawn(infer(channel.clone())));
    for answer in many.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().unwrap(), y);
    }
    // Who is not the authority's client, or offers no HTTP/2, or no TLS at all.
    assert!(Connector::new(&Authority::new(), None, b"h2").channel(grpc).await.is_err());
    let plain = Endpoint::from_shared(format!("http://{grpc}")).unwrap().connect().await;
    assert!(match plain {
        Ok(channel) => infer(channel).await.is_err(),
        Err(_) => true,
    });
    assert_eq!(infer(channel).await.unwrap(), y);
}

#[tokio::test]
async fn a_grpc_client_without_a_certificate_gets_health_and_nothing_else() {
    let clients = Authority::new();
    clients.sign("client");
    let (authority, service) = protected(Some(&clients.path("ca.pem")), &[]);
    let grpc = service.grpc.unwrap();
    let known = Connector::new(&authority, Some((&clients, "client")), b"h2").channel(grpc).await.unwrap();
    assert_eq!(infer(known).await.unwrap().len(), 12);
    let unknown = Connector::new(&authority, None, b"h2").channel(grpc).await.unwrap();
    let refused = infer(unknown.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let path = "/inference.GRPCInferenceService/ServerMetadata";
    let refused = ask::<_, ServerMetadataResponse>(unknown.clone(), path, ServerMetadataRequest {}).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let path = "/inference.GRPCInferenceService/ServerReady";
    assert!(ask::<_, ServerReadyResponse>(unknown, path, ServerReadyRequest {}).await.unwrap().ready);
    // From an authority that nobody trusts: the handshake ends, in TLS 1.3 after the client's part of it.
    let stranger = Authority::new();
    stranger.sign("client");
    let stranger = Connector::new(&authority, Some((&stranger, "client")), b"h2").channel(grpc).await;
    assert!(match stranger {
        Ok(channel) => infer(channel).await.is_err(),
        Err(_) => true,
    });
}

#[test]
fn the_services_own_program_asks_over_tls() {
    // A port that is known beforehand, since the check reads it from the settings.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (authority, service) = protected(None, &[("NIMIFY_PORT", &port)]);
    let healthcheck = |environment: &[(&str, &Path)]| {
        let mut check = command();
        check.args(["healthcheck", "--config"]).arg(&service.settings).env("NIMIFY_PORT", &port);
        check.envs(environment.iter().copied()).output().unwrap()
    };
    let checked = healthcheck(&[]);
    assert!(checked.status.success(), "{checked:?}");
    // Another service at this port would not do.
    authority.sign("other");
    let checked = healthcheck(&[("NIMIFY_TLS_CERTIFICATE", &authority.path("other.pem"))]);
    assert!(!checked.status.success() && text(&checked).contains("certificate"), "{checked:?}");
    let request = |host: &str, trust: &Path| {
        let mut request = command();
        request.args(["request", "--url", &format!("https://{host}:{port}/v1/predict"), "--body"]);
        request.arg(service.folder.path().join("sample.json")).arg("--trust").arg(trust).output().unwrap()
    };
    for (host, trust) in [("localhost", "ca.pem"), ("127.0.0.1", "ca.pem"), ("localhost", "server.pem")] {
        let asked = request(host, &authority.path(trust));
        assert_eq!(text(&asked), "HTTP/1.1 200 OK\n", "{host} {trust}");
    }
    assert!(!request("localhost", &Authority::new().path("ca.pem")).status.success());
}

#[test]
fn files_that_can_not_be_used_stop_the_start() {
    let authority = Authority::new();
    authority.sign("server");
    authority.sign("other");
    let path = |name: &str| authority.path(name);
    for (tls, wrong) in [
        (json!({"certificate": path("server.pem")}), "`server.tls.key` is not set"),
        (json!({"clientCa": path("ca.pem")}), "`server.tls.certificate` is not set"),
        (json!({"certificate": path("none.pem"), "key": path("server.key")}), "none.pem"),
        (json!({"certificate": path("server.pem"), "key": path("other.key")}), "and its key can't be used"),
        (json!({"certificate": path("server.key"), "key": path("server.key")}), "no certificate in PEM"),
        (
            json!({"certificate": path("server.pem"), "key": path("server.key"), "clientCa": path("server.key")}),
            "`server.tls.clientCa`",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Made { server: json!({"tls": tls}), ..rows() }.write(folder.path());
        let output = command().arg("--config").arg(settings).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert!(text(&output).contains(wrong), "{wrong}: {output:?}");
    }
}

#[test]
fn nims_names_turn_it_on() {
    let authority = Authority::new();
    authority.sign("server");
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let service = rows().ready_with(&[
        ("NIM_SSL_MODE", "tls"),
        ("NIM_SSL_CERT_PATH", certificate.to_str().unwrap()),
        ("NIM_SSL_KEY_PATH", key.to_str().unwrap()),
    ]);
    assert_eq!(service.log.wait_for("listening")["tls"], true);
    assert_eq!(verdict(&authority.curl(&[], service.address, "/v1/health/live")), "200 2");
    let mut answer = [0; 5];
    let mut plain = TcpStream::connect(service.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    drop(plain.read(&mut answer));
    assert_ne!(&answer, b"HTTP/");
}
