//! What `nimify deploy` refuses, and what it leaves when a deployment fails or is broken off.

use std::process::Stdio;

use serde_json::Value;

use crate::command::wait_until;
use crate::site::Site;

#[test]
fn what_fails_is_told_and_undone() {
    let site = Site::new();
    // A first deployment that fails leaves nothing.
    let crash =
        ["deploy", "--env", "staging", "--timeout", "60s", "--set", "env=[{name: NIMIFY_LOG_LEVEL, value: nonsense}]"];
    let stderr = site.run(&crash).refused(8);
    assert!(stderr.contains("failed") && stderr.contains("removed again: nothing ran there before"), "{stderr}");
    assert!(stderr.contains("nonsense"), "the service's own words: {stderr}");
    assert_eq!(site.kubectl(&["get", "deployments", "--output", "name"]), "");

    // One that fails later leaves what ran before.
    site.run(&["deploy", "--env", "staging", "--quiet"]).with(0);
    let stderr = site.run(&crash).refused(8);
    assert!(stderr.contains("rolled back: revision 1 runs again, and is ready"), "{stderr}");
    assert_eq!((&site.status()["ready"], site.leases()), (&1.into(), String::new()));

    // A service that answers otherwise than recorded.
    let recorded = site.place.read("digits/samples/response.json");
    let other: String = recorded.chars().map(|c| if c == '1' { '7' } else { c }).collect();
    site.place.write("digits/samples/response.json", other);
    let stderr = site.run(&["deploy", "--env", "staging", "--set", "log.level=debug"]).refused(8);
    assert!(stderr.contains("answered the recorded sample otherwise than recorded"), "{stderr}");
    assert!(stderr.contains("runs again"), "{stderr}");
    site.run(&["deploy", "--env", "staging", "--set", "log.level=debug", "--no-sample"]).with(0);
}

#[test]
fn a_release_that_is_stuck_is_told_and_recovered() {
    let site = Site::new();
    // A helm that is killed while it waits leaves its release pending.
    let mut helm = site.place.command("helm");
    helm.env("KUBECONFIG", &site.cluster.kubeconfig).current_dir(site.place.at("digits"));
    helm.args(["install", "digits", "chart", "--wait", "--namespace", &site.staging.name]);
    let mut child = helm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(wait_until(|| site.kubectl(&["get", "deployments", "--output", "name"]).contains("digits")));
    child.kill().unwrap();
    child.wait().unwrap();
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(stderr.contains("is `pending-install`"), "{stderr}");
    assert!(stderr.contains("`nimify rollback --env staging` removes what it left"), "{stderr}");
    let said = site.run(&["rollback", "--env", "staging"]).with(0).stdout;
    assert!(said.contains("removed, since revision 1 never ran"), "{said}");
    site.run(&["deploy", "--env", "staging"]).with(0);
}

#[test]
fn a_cluster_that_is_not_as_expected_is_told_before_anything_changes() {
    let site = Site::new();
    let config = site.place.read("digits/nimify.yaml");
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        site.place.write("digits/nimify.yaml", config.replace(from, to));
    };
    with(&site.staging.name, "nowhere");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(8);
    assert!(
        stderr.contains("there is no namespace `nowhere`") && stderr.contains("create namespace nowhere"),
        "{stderr}"
    );
    with("staging: {", "staging: { context: gone,");
    let stderr = site.run(&["deploy", "--env", "staging"]).refused(4);
    assert!(stderr.contains("no context `gone`"), "{stderr}");
    with(&site.staging.name, "made-anew");
    site.run(&["deploy", "--env", "staging", "--create-namespace", "--quiet"]).with(0);
    site.cluster.must(&["delete", "namespace", "made-anew", "--wait=false"]);
    site.place.write("digits/nimify.yaml", &config);

    let kubeconfig = site.kubeconfig();
    let with = |change: &dyn Fn(&mut Value), code: i32| {
        let mut changed = kubeconfig.clone();
        change(&mut changed);
        site.place.write("kubeconfig", changed.to_string());
        let mut command = site.nimify(&["deploy", "--env", "staging"]);
        site.place.finish(command.env("KUBECONFIG", site.place.at("kubeconfig"))).refused(code)
    };
    let stderr = with(&|it| it["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1".into(), 9);
    assert!(stderr.contains("can't be reached"), "{stderr}");
    // Somebody who may do nothing but deploy Deployments, and not even list what helm keeps.
    site.kubectl(&["create", "role", "few", "--verb=*", "--resource=deployments,leases"]);
    let account = format!("{}:default", site.staging.name);
    site.kubectl(&["create", "rolebinding", "few", "--role=few", "--serviceaccount", &account]);
    let token = site.kubectl(&["create", "token", "default"]);
    let stderr = with(&|it| it["users"][0]["user"] = serde_json::json!({ "token": token }), 8);
    assert!(stderr.contains("secrets"), "it names the right: {stderr}");
    assert_eq!(site.leases(), "");
}

#[test]
fn what_the_namespace_does_not_admit_is_told_and_removed() {
    let site = Site::new();
    let deploy = ["deploy", "--env", "staging"];
    let rooted = ["--set", "containerSecurityContext.allowPrivilegeEscalation=true"];
    let refused = site.run(&[&deploy[..], &rooted].concat()).refused(8);
    assert!(refused.contains("violates PodSecurity"), "{refused}");
    assert_eq!(site.kubectl(&["get", "deployments,services", "--output", "name"]), "");

    site.kubectl(&["create", "quota", "small", "--hard", "requests.memory=16Mi"]);
    let refused = site.run(&deploy).refused(8);
    assert!(refused.contains("exceeded quota"), "{refused}");
    assert_eq!(site.kubectl(&["get", "deployments,services", "--output", "name"]), "");
}

#[test]
fn a_second_deployment_is_refused_and_an_interrupted_one_is_undone() {
    let site = Site::new();
    let deploy = ["deploy", "--env", "staging"];
    site.run(&deploy).with(0);
    let before = site.status();
    let stuck = [&deploy[..], &["--set", "env=[{name: NIMIFY_DRAIN_DELAY, value: soon}]"]].concat();
    let stuck = site.nimify(&stuck).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let holder = ["get", "lease", "nimify-digits", "--ignore-not-found", "--output", "jsonpath={.spec.holderIdentity}"];
    assert!(wait_until(|| !site.kubectl(&holder).is_empty()));
    let second = site.run(&deploy).refused(8);
    assert!(second.contains("nimify-digits"), "{second}");
    // Helm has to have begun for something to be undone.
    assert!(wait_until(|| site.kubectl(&["get", "secrets", "--output", "name"]).contains("helm.release.v1.digits.v2")));
    let pid = rustix::process::Pid::from_raw(stuck.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    site.place.wait(stuck).with(130);
    let after = site.status();
    assert_eq!((&after["image"], &after["ready"]), (&before["image"], &1.into()), "{after}");
    site.run(&deploy).with(0);
}
