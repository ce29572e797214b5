//! The chart beside its image in a registry, judged by helm.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::server::{Registry, Wishes, certificates};
use crate::{LOGIN, fails, judge, layout, nimify, passes};

/// What `create` writes, as far as a push reads it: the template's own chart, and a small image.
pub(crate) fn output(folder: &Path) -> nimify::digest::Digest {
    fs::create_dir_all(folder).unwrap();
    passes(Command::new("cp").args(["-r", "charts-template"]).arg(folder.join("chart")));
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(1000);
    layer.append_data(&mut header, "models/weights", [7; 1000].as_slice()).unwrap();
    layout::make_of(&folder.join("dist/image"), &[layer.into_inner().unwrap()])
}

/// Helm 3 and helm 4, as `tools/setup` calls them.
const HELMS: [&str; 2] = ["helm", "helm4"];

fn helm_of(program: &str, home: &Path) -> Command {
    let mut command = judge(program);
    command.env("HOME", home).env("HELM_REGISTRY_CONFIG", home.join(".docker/config.json"));
    command
}

#[test]
fn helm_takes_the_chart_with_the_same_credentials() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let (authority, certificate, key) = certificates(home.path());
    let registry = Registry::start(&Wishes { password: true, tls: Some((certificate, key)), remembers: false });
    let digest = output(&at("digits"));
    let mut push = nimify(home.path());
    push.env("SSL_CERT_FILE", &authority).arg("push").arg(at("digits"));
    push.args(["--to", &registry.at("ml/digits"), "--chart-to", &format!("oci://{}/charts", registry.address)]);

    // One login for both.
    fs::create_dir_all(at(".docker")).unwrap();
    let login = format!(r#"{{"auths":{{"{}":{{"auth":"{LOGIN}"}}}}}}"#, registry.address);
    fs::write(at(".docker/config.json"), login).unwrap();
    passes(nimify(home.path()).args(["keys", "generate"]));
    let said = passes(&mut push);
    let chart = format!("oci://{}", registry.at("charts/service"));
    assert!(said.contains(&format!("pushed the chart {chart}:0.1.0\n")), "{said}");

    let tls = ["--ca-file", authority.to_str().unwrap()];
    let ask = |what: &[&str]| {
        let [three, four] = HELMS.map(|program| passes(helm_of(program, home.path()).args(what).args(tls)));
        // Between objects, helm 3 puts empty lines that helm 4 leaves out.
        let lines = |said: &str| said.lines().filter(|line| !line.is_empty()).map(String::from).collect::<Vec<_>>();
        assert_eq!(lines(&three), lines(&four), "{what:?}");
        three
    };
    assert!(ask(&["show", "chart", &chart, "--version", "0.1.0"]).contains("name: service"));
    // It runs the image that was pushed with it.
    let values = ask(&["show", "values", &chart]);
    assert!(values.contains(&format!("  repository: {:?}\n", registry.at("ml/digits"))), "{values}");
    let rendered = ask(&["template", "release", &chart, "--set", &format!("image.digest={digest}")]);
    assert!(rendered.contains(&format!("image: {:?}", format!("{}@{digest}", registry.at("ml/digits")))), "{rendered}");
    let pull = |to: &str, from: &str| {
        fs::create_dir_all(at(to)).unwrap();
        passes(
            helm_of(HELMS[0], home.path())
                .args(["pull", from, "--version", "0.1.0", "--destination"])
                .arg(at(to))
                .args(tls),
        );
        fs::read(at(to).join("service-0.1.0.tgz")).unwrap()
    };
    let pulled = pull("one", &chart);

    // The same again sends nothing; the push of our archive by each helm comes back as it went.
    let again: serde_json::Value = serde_json::from_str(&passes(push.args(["--format", "json"]))).unwrap();
    assert_eq!((&again["chart"]["bytesSent"], &again["chart"]["manifestsSent"]), (&0.into(), &0.into()));
    for program in HELMS {
        let to = format!("oci://{}", registry.at(program));
        let mut theirs = helm_of(program, home.path());
        passes(theirs.arg("push").arg(at("one/service-0.1.0.tgz")).arg(to).args(tls));
        assert_eq!(pull(program, &format!("oci://{}", registry.at(&format!("{program}/service")))), pulled);
    }

    // What each helm packs of the same folder has the same files.
    let files = |folder: &str| {
        let listed = passes(Command::new("tar").arg("-tzf").arg(at(folder).join("service-0.1.0.tgz")));
        let mut names: Vec<String> = listed.lines().map(String::from).collect();
        names.sort();
        names
    };
    for program in HELMS {
        let to = format!("packed-by-{program}");
        let mut package = helm_of(program, home.path());
        passes(package.arg("package").arg(at("digits/chart")).arg("--destination").arg(at(&to)));
        assert_eq!(files("one"), files(&to), "{program}");
    }

    let signed = format!("{}@{}", registry.at("charts/service"), again["chart"]["digest"].as_str().unwrap());
    let key = at(".config/nimify/keys/ed25519.pub");
    let root = at("root.json");
    passes(judge("cosign").args(["trusted-root", "create", "--out"]).arg(&root));
    let mut cosign = judge("cosign");
    cosign.args(["verify", "--insecure-ignore-tlog=true", "--new-bundle-format", "--trusted-root"]).arg(root);
    cosign.env("HOME", home.path()).env("SSL_CERT_FILE", &authority);
    passes(cosign.arg("--key").arg(key).arg(signed));
}

#[test]
fn a_chart_that_cannot_be_pushed_stops_the_push_before_it_begins() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let folder = home.path().join("image");
    layout::make(&folder, &[100]);
    let push = |to: &str| {
        let mut command = nimify(home.path());
        command.arg("push").arg(&folder).args(["--to", &registry.at("a:1"), "--chart-to", to, "--plain-http"]);
        command
    };
    let stderr = fails(&mut push(&registry.at("charts")), 10);
    assert!(
        stderr.contains("there is no chart in") && stderr.contains("hint: `create` and `build` write one"),
        "{stderr}"
    );
    output(&home.path().join("digits"));
    fs::rename(home.path().join("digits/chart"), folder.join("chart")).unwrap();
    assert!(fails(&mut push("charts"), 2).contains("should begin with a registry"));
    assert!(!registry.log().contains("PUT"), "{}", registry.log());
}
