//! The distribution's own registry, started for a test on a free port of the loopback interface.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `ada` with the password `hunter2`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "ada:$2y$05$lkl9nplIrVUEl6c0Lk3UNOnI2MGuotz8zuU4mHpju4njWpwcrvXx2\n";

/// How a registry is to be.
#[derive(Default)]
pub(crate) struct Wishes {
    /// Ask for a name and password.
    pub(crate) password: bool,
    /// Speak TLS: certificate and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// Know uploads again after a restart.
    pub(crate) remembers: bool,
}

pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) home: tempfile::TempDir,
    process: Option<Child>,
}

impl Registry {
    pub(crate) fn start(wishes: &Wishes) -> Self {
        let home = tempfile::tempdir().expect("a folder for the registry");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
        let mut config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nlog: {{level: error}}\nhttp:\n  addr: {address}\n",
            home.path().join("data").display()
        );
        if wishes.remembers {
            config += "  secret: known\n";
        }
        if let Some((certificate, key)) = &wishes.tls {
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
        }
        if wishes.password {
            let file = home.path().join("htpasswd");
            fs::write(&file, HTPASSWD).expect("the password is written");
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        }
        fs::write(home.path().join("config.yml"), config).expect("the configuration is written");
        let mut registry = Registry { address: address.to_string(), home, process: None };
        registry.run();
        registry
    }

    /// Starts it, again where it was killed.
    pub(crate) fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.home.path().join("log"));
        let log = log.expect("a log for the registry");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(self.home.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("this test needs `docker-registry`: run `tools/setup`"));
        let begin = Instant::now();
        while TcpStream::connect(&self.address).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if ended.is_some() || begin.elapsed() > Duration::from_secs(30) {
                panic!("docker-registry does not listen ({ended:?}):\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What it logged: every request among it.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// The repository `path` in it.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An authority and a certificate of it for the loopback interface: the paths of its certificate, and of the server's
/// certificate and key.
pub(crate) fn certificates(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new([]).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(["127.0.0.1".to_string(), "localhost".to_string()]).expect("names");
    let certificate = server.signed_by(&key, &issuer).expect("a certificate").pem();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).expect("it is written");
        path
    };
    (write("ca.crt", authority_pem), write("server.crt", certificate), write("server.key", key.serialize_pem()))
}
