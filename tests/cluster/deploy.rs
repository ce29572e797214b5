//! What `nimify deploy` and the commands that belong to it do with a release that runs.

use serde_json::Value;

use crate::site::Site;

#[test]
fn a_release_is_deployed_compared_upgraded_and_promoted() {
    let site = Site::new();
    let said = site.run(&["deploy", "--env", "staging"]).with(0).stdout;
    assert!(said.contains("revision 1, 1 of 1 pods ready, answers the recorded sample"), "{said}");
    assert_eq!(site.leases(), "", "the lock is given back");

    let status = site.status();
    assert_eq!((&status["revision"], &status["ready"], &status["wanted"]), (&1.into(), &1.into(), &1.into()));
    assert!(status["image"].as_str().unwrap().contains("/ml/digits@sha256:"), "{status}");
    let table = site.run(&["status"]).with(0).stdout;
    assert!(table.contains("healthy") && table.contains("nothing runs"), "{table}");

    // The same again changes nothing; another number of pods changes one line.
    let same = site.json(&["diff", "--env", "staging"]);
    assert_eq!(same["differences"][0]["objects"], serde_json::json!([]), "{same}");
    let two = ["deploy", "--env", "staging", "--set", "replicaCount=2"];
    let shown = site.run(&[&two[..], &["--dry-run"]].concat()).with(0).stdout;
    assert!(shown.contains("-   replicas: 1\n+   replicas: 2\n"), "{shown}");
    assert_eq!(site.status()["revision"], 1);
    let said = site.run(&two).with(0).stdout;
    assert!(said.contains("revision 2, 2 of 2 pods ready"), "{said}");

    // Another version, to the other environment too: the same digest with that one's values.
    let first = site.status();
    site.release("0.2.0");
    site.run(&["deploy", "--env", "staging", "--quiet"]).with(0);
    let second = site.status();
    assert_eq!((&first["version"], &second["version"]), (&"0.1.0".into(), &"0.2.0".into()));
    assert_ne!(first["image"], second["image"]);
    let promoted = site.json(&["promote", "staging", "prod"]);
    assert_eq!(promoted["deployed"][0]["image"], second["image"], "{promoted}");
    assert_eq!((&promoted["deployed"][0]["wanted"], &promoted["deployed"][0]["sample"]), (&1.into(), &true.into()));
    let history = site.json(&["history", "--env", "prod"]);
    let noted = history["releases"][0]["revisions"][0]["description"].as_str().unwrap().to_string();
    assert!(noted.starts_with("promoted from staging sha256:"), "{noted}");
    assert_eq!(
        site.cluster.must(&["get", "pods", "--namespace", &site.prod.name, "--output", "name"]).lines().count(),
        1
    );

    let back = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(back.contains("runs as revision 2 did, 2 of 2 pods ready"), "{back}");
    site.run(&["rollback", "--env", "staging", "--to", "1", "--quiet"]).with(0);
    let status = site.status();
    assert_eq!((&status["image"], &status["wanted"]), (&first["image"], &1.into()), "{status}");
    let none = site.run(&["rollback", "--env", "staging", "--to", "99"]).refused(8);
    assert!(none.contains("no revision 99: there are 1, 2, 3, 4, 5"), "{none}");
}

#[test]
fn a_canary_is_begun_ended_and_promoted_by_helm_4_too() {
    let site = Site::with("helm4");
    let stderr = site.run(&["deploy", "--env", "staging", "--canary", "20"]).refused(8);
    assert!(stderr.contains("there is no release"), "{stderr}");
    site.run(&["deploy", "--env", "staging", "--quiet"]).with(0);
    let stderr = site.run(&["promote", "staging"]).refused(8);
    assert!(stderr.contains("has no canary"), "{stderr}");

    let canary = ["deploy", "--env", "staging", "--canary", "20", "--set", "log.level=debug"];
    let said = site.run(&canary).with(0).stdout;
    assert!(said.contains("2 of 2 pods ready, answers the recorded sample"), "{said}");
    let status = site.status();
    assert_eq!(status["canary"]["weight"], 20, "{status}");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(stderr.contains("has a canary") && stderr.contains("`nimify rollback --env ENV`"), "{stderr}");
    let back = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(back.contains("its canary is ended"), "{back}");
    assert!(site.status()["canary"].is_null());

    site.run(&canary).with(0);
    let said = site.run(&["promote", "staging"]).with(0).stdout;
    assert!(said.contains("1 of 1 pods ready"), "{said}");
    assert!(site.status()["canary"].is_null());
    let values = site.place.finish(site.place.command("helm").env("KUBECONFIG", &site.cluster.kubeconfig).args([
        "get",
        "values",
        "digits",
        "--all",
        "--output",
        "json",
        "--namespace",
        &site.staging.name,
    ]));
    assert_eq!(values.with(0).json()["log"]["level"], "debug");
}

#[test]
fn clusters_come_one_after_another_and_the_first_failure_stops() {
    let site = Site::new();
    let config = site.place.read("digits/nimify.yaml");
    site.place.write("digits/nimify.yaml", config.replace("prod: {", "prod: { contexts: [eu, us, asia],"));
    let mut kubeconfig = site.kubeconfig();
    let mut nobody = kubeconfig["clusters"][0].clone();
    nobody["name"] = "nobody".into();
    nobody["cluster"]["server"] = "https://127.0.0.1:1".into();
    let there = kubeconfig["clusters"][0]["name"].clone();
    kubeconfig["clusters"].as_array_mut().unwrap().push(nobody);
    let user = kubeconfig["users"][0]["name"].clone();
    let context = |name: &str, cluster: &Value| serde_json::json!({ "name": name, "context": { "cluster": cluster, "user": user } });
    kubeconfig["contexts"] = [context("eu", &there), context("us", &"nobody".into()), context("asia", &there)].into();
    site.place.write("kubeconfig", kubeconfig.to_string());
    let run = |args: &[&str]| {
        let mut command = site.nimify(args);
        site.place.finish(command.env("KUBECONFIG", site.place.at("kubeconfig")))
    };
    let ended = run(&["deploy", "--env", "prod"]).with(9);
    assert!(ended.stdout.contains("in eu: revision 1"), "{}", ended.stdout);
    assert!(ended.stderr.contains("context `us` can't be reached"), "{}", ended.stderr);
    assert!(ended.stderr.contains("not tried after that: asia"), "{}", ended.stderr);
    // What runs is told where it can be told.
    let status = run(&["status", "--env", "prod"]).with(9);
    assert!(status.stdout.contains("healthy") && status.stdout.contains("unknown"), "{}", status.stdout);
}
