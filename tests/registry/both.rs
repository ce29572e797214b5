//! The commands of `docs/how-to/other-processors.md` that put images of two processors under one tag.

use std::process::Command;

use nimify::digest::Digest;
use serde_json::Value;

use crate::server::{Registry, Wishes};
use crate::{fails, judge, layout, nimify, passes};

#[test]
fn images_of_two_processors_go_under_one_tag_and_keep_their_signatures() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::start(&Wishes::default());
    let repository = registry.at("ml/digits");
    passes(nimify(home.path()).args(["keys", "generate"]));
    let verify = |reference: &str| {
        let mut command = nimify(home.path());
        command.args(["verify", reference, "--plain-http"]);
        command
    };
    let mut append = judge("crane");
    append.args(["index", "append", "--insecure", "--tag", &format!("{repository}:1.0.0")]);
    let mut digests = Vec::new();
    for processor in ["amd64", "arm64"] {
        let folder = home.path().join(processor);
        let digest = layout::make_for(&folder, processor, &[vec![0; 1024]]);
        passes(nimify(home.path()).arg("sign").arg(&folder));
        let to = format!("{repository}:1.0.0-{processor}");
        passes(nimify(home.path()).arg("push").arg(&folder).args(["--to", &to, "--plain-http"]));
        append.args(["--manifest", &to]);
        digests.push(digest);
    }
    passes(&mut append);

    // Everybody gets the image of their own processor.
    for (processor, digest) in ["amd64", "arm64"].iter().zip(&digests) {
        let mut inspect = Command::new("skopeo");
        inspect.args(["--override-arch", processor, "inspect", "--tls-verify=false", "--config"]);
        let config: Value = serde_json::from_str(&passes(inspect.arg(format!("docker://{repository}:1.0.0")))).unwrap();
        assert_eq!(config["architecture"], **processor);
        let chosen = format!("linux/{processor}");
        let platform = ["digest", "--insecure", "--platform", &chosen, &format!("{repository}:1.0.0")];
        assert_eq!(passes(judge("crane").args(platform)).trim(), digest.to_string());
        passes(&mut verify(&format!("{repository}@{digest}")));
    }

    // The index is signed by nobody yet; a signature by the same key makes it trusted.
    let index: Digest =
        passes(judge("crane").args(["digest", "--insecure", &format!("{repository}:1.0.0")])).trim().parse().unwrap();
    fails(&mut verify(&format!("{repository}:1.0.0")), 7);
    let key = home.path().join("cosign.key");
    passes(nimify(home.path()).args(["keys", "export", "--private"]).arg(&key));
    let mut sign = judge("cosign");
    sign.env("COSIGN_PASSWORD", "").args(["sign", "--yes", "--tlog-upload=false", "--allow-http-registry"]);
    passes(sign.arg("--key").arg(&key).arg(format!("{repository}@{index}")));
    let said = passes(&mut verify(&format!("{repository}:1.0.0")));
    assert!(said.contains(&index.to_string()), "{said}");
    let copy = format!("oci:{}:1.0.0", home.path().join("copy").display());
    let all = ["copy", "--quiet", "--all", "--insecure-policy", "--src-tls-verify=false"];
    passes(Command::new("skopeo").args(all).arg(format!("docker://{repository}:1.0.0")).arg(copy));
}
