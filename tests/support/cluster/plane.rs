//! The control plane: the store, the API server, the controllers, the scheduler, the names of services, and who may talk
//! to them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::enclosure::{Enclosure, Running};

/// Where the API server is in the control plane's network, which the nodes reach.
pub(crate) const ADDRESS: &str = "10.0.0.1:6443";

/// Where pods ask for the address of a service.
pub(crate) const NAMES: &str = "10.0.0.1";

/// Who is who: the name, the groups; what each may do, Kubernetes' own roles say. The token is the name.
const ADMINISTRATOR: &str = "admin";
const USERS: [(&str, &str); 5] = [
    (ADMINISTRATOR, "system:masters"),
    ("names", "system:masters"),
    ("system:kube-controller-manager", ""),
    ("system:kube-scheduler", ""),
    ("system:kube-proxy", ""),
];

pub(crate) struct Plane {
    home: PathBuf,
    _running: Vec<Running>,
}

impl Plane {
    /// Starts it, with the program that `tools/setup cluster` built; the API server answers then.
    pub(crate) fn start(enclosure: &Enclosure, program: &Path, nodes: &[&str]) -> Self {
        let home = enclosure.home.join("plane");
        std::fs::create_dir(&home).expect("a folder for the control plane");
        let mut this = Plane { home, _running: Vec::new() };
        this.write_certificates();
        this.write_tokens(nodes);
        let flags = [
            ("etcd", this.store_flags()),
            ("kube-apiserver", this.server_flags()),
            ("kube-controller-manager", this.manager_flags()),
            ("kube-scheduler", this.scheduler_flags()),
            ("names", this.names_flags()),
        ];
        for (name, flags) in flags {
            let mut command = enclosure.command(None, &program.display().to_string());
            let mut running = enclosure.start(name, command.arg(name).args(flags));
            if name == "kube-apiserver" {
                running.until("an API", || this.answers(enclosure, program));
            }
            this._running.push(running);
        }
        this
    }

    fn at(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }

    fn store_flags(&self) -> Vec<String> {
        let data = format!("--data-dir={}", self.at("store"));
        vec![data, "--unsafe-no-fsync".into(), "--log-level=warn".into()]
    }

    fn server_flags(&self) -> Vec<String> {
        let mut flags = words(
            "--etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address=10.0.0.1 \
             --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC \
             --enable-admission-plugins=NodeRestriction --allow-privileged=true \
             --service-account-issuer=https://kubernetes.default.svc --kubelet-preferred-address-types=InternalIP",
        );
        for (flag, file) in [
            ("tls-cert-file", "server.pem"),
            ("tls-private-key-file", "server-key.pem"),
            ("token-auth-file", "tokens.csv"),
            ("service-account-key-file", "accounts.pem"),
            ("service-account-signing-key-file", "accounts-key.pem"),
            ("cert-dir", "own"),
        ] {
            flags.push(format!("--{flag}={}", self.at(file)));
        }
        flags
    }

    fn manager_flags(&self) -> Vec<String> {
        let mut flags = words("--leader-elect=false --use-service-account-credentials=true");
        flags.push(format!("--kubeconfig={}", self.client("system:kube-controller-manager").display()));
        flags.push(format!("--root-ca-file={}", self.at("authority.pem")));
        flags.push(format!("--service-account-private-key-file={}", self.at("accounts-key.pem")));
        flags
    }

    fn scheduler_flags(&self) -> Vec<String> {
        vec!["--leader-elect=false".into(), format!("--kubeconfig={}", self.client("system:kube-scheduler").display())]
    }

    fn names_flags(&self) -> Vec<String> {
        vec![format!("--listen={NAMES}:53"), format!("--kubeconfig={}", self.client("names").display())]
    }

    fn answers(&self, enclosure: &Enclosure, program: &Path) -> bool {
        let mut command = enclosure.command(None, &program.display().to_string());
        command.args(["kubectl", "get", "--raw", "/readyz"]).arg("--kubeconfig").arg(self.client(ADMINISTRATOR));
        command.output().expect("nsenter is there").status.success()
    }

    /// An authority, the server's certificate by it, and a key for the tokens of service accounts.
    fn write_certificates(&self) {
        let pair = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = pair();
        let authority = params.self_signed(&key).expect("the authority signs itself");
        let issuer = Issuer::new(params, key);
        let names = ["127.0.0.1", "10.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"];
        let params = CertificateParams::new(names.map(String::from)).expect("names");
        let key = pair();
        let server = params.signed_by(&key, &issuer).expect("the authority signs");
        let accounts = pair();
        for (name, text) in [
            ("authority.pem", authority.pem()),
            ("server.pem", server.pem()),
            ("server-key.pem", key.serialize_pem()),
            ("accounts.pem", accounts.public_key_pem()),
            ("accounts-key.pem", accounts.serialize_pem()),
        ] {
            std::fs::write(self.at(name), text).expect("a file is written");
        }
    }

    fn write_tokens(&self, nodes: &[&str]) {
        let nodes: Vec<_> = nodes.iter().map(|node| (format!("system:node:{node}"), "system:nodes")).collect();
        let users = USERS.iter().copied().chain(nodes.iter().map(|(name, group)| (name.as_str(), *group)));
        let lines: String = users.map(|(name, groups)| format!("{name},{name},{name},\"{groups}\"\n")).collect();
        std::fs::write(self.at("tokens.csv"), lines).expect("tokens are written");
    }

    /// A kubeconfig for `user` where the nodes and the control plane are.
    pub(crate) fn client(&self, user: &str) -> PathBuf {
        self.client_at(user, ADDRESS)
    }

    /// One for who may do everything, by another address of the API server.
    pub(crate) fn administrator_at(&self, address: &str) -> PathBuf {
        self.client_at(ADMINISTRATOR, address)
    }

    fn client_at(&self, user: &str, address: &str) -> PathBuf {
        let path = self.home.join(format!("{}-{}.kubeconfig", user.replace(':', "-"), address.replace(':', "-")));
        let authority = self.at("authority.pem");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"https://{address}\", certificate-authority: {authority:?}}}}}]\n\
             users: [{{name: test, user: {{token: {user:?}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
        );
        std::fs::write(&path, text).expect("a kubeconfig is written");
        path
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}
