//! Secrets reach the pods, and never the values.

use serde_json::{Value, json};

use crate::rules::{self, of_kind, the};
use crate::tools::Chart;
use crate::{arguments, objects, plans, render};

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

fn rendered(sets: &[&str]) -> Vec<Value> {
    let objects = objects(&chart().render(&arguments(sets)));
    rules::hold(&objects);
    objects
}

fn pod(objects: &[Value]) -> &Value {
    &the(objects, "Deployment")["spec"]["template"]["spec"]
}

/// What a list holds under a name.
fn named(list: &Value, name: &str) -> Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).cloned().unwrap_or_default()
}

fn taken(name: &str, secret: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}

#[test]
fn a_secret_that_exists_is_seen_as_a_variable_or_as_files() {
    let objects = rendered(&[
        "secrets.existing[0].name=collector",
        "secrets.existing[0].env.OTEL_EXPORTER_OTLP_HEADERS=headers",
        "secrets.existing[1].name=authorities",
        "secrets.existing[1].mountPath=/etc/authorities",
    ]);
    let pod = pod(&objects);
    let container = &pod["containers"][0];
    let variable = taken("OTEL_EXPORTER_OTLP_HEADERS", "collector", "headers");
    assert_eq!(named(&container["env"], "OTEL_EXPORTER_OTLP_HEADERS"), variable);
    // The first is no file.
    assert_eq!(named(&pod["volumes"], "secret-existing-0"), Value::Null);
    let volume = json!({"name": "secret-existing-1", "secret": {"secretName": "authorities"}});
    assert_eq!(named(&pod["volumes"], "secret-existing-1"), volume);
    let mount = json!({"name": "secret-existing-1", "mountPath": "/etc/authorities", "readOnly": true});
    assert_eq!(named(&container["volumeMounts"], "secret-existing-1"), mount);
}

#[test]
fn what_the_user_says_in_env_beats_a_secret() {
    let objects =
        rendered(&["secrets.existing[0].name=a", "secrets.existing[0].env.A=a", "env[0].name=A", "env[0].value=b"]);
    let env = pod(&objects)["containers"][0]["env"].as_array().unwrap().clone();
    // Of two of one name, Kubernetes takes the last.
    assert_eq!(env.last(), Some(&json!({"name": "A", "value": "b"})));
}

#[test]
fn external_secrets_makes_the_secret_that_a_value_names() {
    let objects = rendered(&[
        "tls.secretName=digits-tls",
        "secrets.external[0].name=digits-tls",
        "secrets.external[0].store.name=vault",
        "secrets.external[0].store.kind=ClusterSecretStore",
        "secrets.external[0].type=kubernetes.io/tls",
        r"secrets.external[0].data.tls\.crt.key=digits",
        r"secrets.external[0].data.tls\.crt.property=certificate",
        "secrets.external[1].name=collector",
        "secrets.external[1].store.name=here",
        "secrets.external[1].refreshInterval=15m",
        "secrets.external[1].dataFrom[0].extract.key=all",
        "secrets.external[1].env.TOKEN=token",
    ]);
    let made = of_kind(&objects, "ExternalSecret");
    assert_eq!(
        made[0]["spec"],
        json!({
            "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"},
            "refreshInterval": "1h",
            "target": {"name": "digits-tls", "creationPolicy": "Owner", "template": {"type": "kubernetes.io/tls"}},
            "data": [{"secretKey": "tls.crt", "remoteRef": {"key": "digits", "property": "certificate"}}],
        })
    );
    assert_eq!(made[1]["spec"]["secretStoreRef"], json!({"name": "here", "kind": "SecretStore"}));
    assert_eq!(made[1]["spec"]["refreshInterval"], "15m");
    assert_eq!(named(&pod(&objects)["volumes"], "tls")["secret"]["secretName"], "digits-tls");
    assert_eq!(named(&pod(&objects)["containers"][0]["env"], "TOKEN"), taken("TOKEN", "collector", "token"));
}

#[test]
fn the_csi_driver_mounts_a_secret_and_keeps_one_for_variables() {
    let sets = [
        "secrets.csi[0].name=token",
        "secrets.csi[0].provider=vault",
        "secrets.csi[0].parameters.roleName=digits",
        "secrets.csi[0].mountPath=/etc/token",
        "secrets.csi[0].env.ONE=token",
        "secrets.csi[0].env.TWO=token",
        "canary.enabled=true",
    ];
    let objects = rendered(&sets);
    let class = the(&objects, "SecretProviderClass");
    assert_eq!(class["metadata"]["name"], "release-digits-token");
    assert_eq!(
        class["spec"],
        json!({
            "provider": "vault",
            "parameters": {"roleName": "digits"},
            "secretObjects": [{
                "secretName": "release-digits-token",
                "type": "Opaque",
                "data": [{"objectName": "token", "key": "token"}],
            }],
        })
    );
    for deployment in of_kind(&objects, "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let volume = json!({"name": "secret-csi-0", "csi": {
            "driver": "secrets-store.csi.k8s.io",
            "readOnly": true,
            "volumeAttributes": {"secretProviderClass": "release-digits-token"},
        }});
        assert_eq!(named(&pod["volumes"], "secret-csi-0"), volume);
        for name in ["ONE", "TWO"] {
            assert_eq!(named(&pod["containers"][0]["env"], name), taken(name, "release-digits-token", "token"));
        }
    }
    let files = rendered(&sets[..4]);
    assert_eq!(the(&files, "SecretProviderClass")["spec"].get("secretObjects"), None);
}

#[test]
fn a_secret_without_a_use_or_a_source_is_refused() {
    for (sets, said) in [
        (&["secrets.existing[0].name=a"][..], "a, which nothing sees: give it env or mountPath"),
        (&["secrets.external[0].name=a", "secrets.external[0].store.name=b"], "say what it is fetched from"),
    ] {
        let refusal = chart().refusal(&arguments(sets));
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn the_chart_holds_no_secret_and_no_rights() {
    let all: Vec<&str> = crate::SWITCHES.iter().flat_map(|(_, sets, _)| *sets).copied().collect();
    let objects = rendered(&all);
    for kind in ["Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert_eq!(of_kind(&objects, kind), Vec::<&Value>::new());
    }
}
