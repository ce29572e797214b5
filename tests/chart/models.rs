//! Where the model comes from.

use serde_json::{Value, json};

use crate::rules::{self, of_kind, the};
use crate::tools::{self, Chart};
use crate::{arguments, objects, plans, render};

fn chart() -> Chart {
    Chart::write(&render(&plans::digits()))
}

/// What keeps the rules and is taken by the Kubernetes that knows image volumes.
fn rendered(chart: &Chart, sets: &[&str]) -> Vec<Value> {
    let text = chart.render(&arguments(sets));
    let objects = objects(&text);
    rules::hold(&objects);
    tools::kubeconform_for(&[("model".into(), text)], &["1.37.0"]).unwrap();
    objects
}

fn pod(objects: &[Value]) -> &Value {
    &the(objects, "Deployment")["spec"]["template"]["spec"]
}

#[test]
fn a_model_that_is_not_in_the_image_is_mounted_and_served() {
    let chart = chart();
    let sources: [(&[&str], &str, Value, Option<&str>); 3] = [
        (
            &["model.source=imageVolume", "model.image=r.example.com/m@sha256:0", "model.pullPolicy=Always"],
            "/mnt/model/nimify/service.json",
            json!({"name": "model", "image": {"reference": "r.example.com/m@sha256:0", "pullPolicy": "Always"}}),
            Some("/mnt/model/nimify/sample.json"),
        ),
        (
            &["model.source=persistentVolumeClaim", "model.claimName=models", "model.path=/digits/2/"],
            "/mnt/model/digits/2/nimify/service.json",
            json!({"name": "model", "persistentVolumeClaim": {"claimName": "models", "readOnly": true}}),
            None,
        ),
        (
            &["model.source=initContainer", "model.initContainer.image=oras", "model.path=without-effect"],
            "/mnt/model/nimify/service.json",
            json!({"name": "model", "emptyDir": {}}),
            None,
        ),
    ];
    for (sets, config, volume, sample) in sources {
        let objects = rendered(&chart, sets);
        let pod = pod(&objects);
        assert_eq!(pod["containers"][0]["args"], json!(["--config", config]));
        assert!(pod["volumes"].as_array().unwrap().contains(&volume), "{}", pod["volumes"]);
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = json!({"name": "model", "mountPath": "/mnt/model", "readOnly": true});
        assert!(mounts.contains(&mount));
        // The image's own sample is that of another model: the model's is with it, or can't be read by a second pod.
        let test = &the(&objects, "Pod")["spec"];
        let arguments = test["containers"][0]["args"].as_array().unwrap();
        let body = arguments.iter().position(|word| word == "--body").map(|at| arguments[at + 1].as_str().unwrap());
        assert_eq!(body, sample);
        assert_eq!(test.get("volumes").cloned(), sample.map(|_| json!([volume])));
        assert_eq!(test["containers"][0].get("volumeMounts").cloned(), sample.map(|_| json!([mount])));
    }
    for (source, said) in [
        ("imageVolume", "model.image is empty"),
        ("persistentVolumeClaim", "model.claimName is empty"),
        ("initContainer", "model.initContainer.image is empty"),
        ("elsewhere", "/model/source"),
    ] {
        let refusal = chart.refusal(&["--set", &format!("model.source={source}")]);
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn a_claim_of_the_chart_s_is_filled_by_a_container_and_read_by_the_service() {
    let chart = chart();
    let sets = [
        "model.source=persistentVolumeClaim",
        "persistence.enabled=true",
        "persistence.size=2Gi",
        "persistence.annotations.a=b",
        "model.initContainer.image=r.example.com/oras",
        "model.initContainer.envFrom[0].secretRef.name=registry",
        "model.initContainer.volumeMounts[0].name=credentials",
        "model.initContainer.volumeMounts[0].mountPath=/credentials",
        "extraVolumes[0].name=credentials",
        "extraVolumes[0].secret.secretName=registry",
        "canary.enabled=true",
    ];
    let objects = rendered(&chart, &sets);
    let claim = the(&objects, "PersistentVolumeClaim");
    assert_eq!(claim["metadata"]["name"], "release-digits-model");
    assert_eq!(claim["metadata"]["annotations"], json!({"a": "b", "helm.sh/resource-policy": "keep"}));
    let spec = json!({"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "2Gi"}}});
    assert_eq!(claim["spec"], spec);
    // The canary has the same one.
    for deployment in of_kind(&objects, "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let volume = json!({"name": "model", "persistentVolumeClaim": {"claimName": "release-digits-model"}});
        assert!(pod["volumes"].as_array().unwrap().contains(&volume), "{}", pod["volumes"]);
        let fetching = &pod["initContainers"][0];
        assert_eq!(fetching["envFrom"], json!([{"secretRef": {"name": "registry"}}]));
        let mounts = fetching["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": "model", "mountPath": "/mnt/model"})));
        assert!(mounts.contains(&json!({"name": "credentials", "mountPath": "/credentials"})));
        let mount = json!({"name": "model", "mountPath": "/mnt/model", "readOnly": true});
        assert!(pod["containers"][0]["volumeMounts"].as_array().unwrap().contains(&mount));
    }
    let copied = [
        "model.source=persistentVolumeClaim",
        "persistence.enabled=true",
        "persistence.keep=false",
        "persistence.storageClass=-",
        "persistence.accessMode=ReadOnlyMany",
        "persistence.dataSourceRef.kind=PersistentVolumeClaim",
        "persistence.dataSourceRef.name=models",
    ];
    let objects = rendered(&chart, &copied);
    let claim = the(&objects, "PersistentVolumeClaim");
    assert_eq!(claim["metadata"].get("annotations"), None);
    assert_eq!(claim["spec"]["storageClassName"], "");
    assert_eq!(pod(&objects).get("initContainers"), None);
    assert_eq!(pod(&objects)["volumes"][1]["persistentVolumeClaim"]["readOnly"], true);
}

#[test]
fn a_claim_that_could_never_be_used_is_refused() {
    let chart = chart();
    let made = ["persistence.enabled=true", "model.source=persistentVolumeClaim"];
    for (sets, said) in [
        (&made[..1], "set model.source to persistentVolumeClaim"),
        (&made, "makes an empty claim"),
        (&[made[0], made[1], "model.claimName=other", "model.initContainer.image=i"], "set only one of them"),
    ] {
        let refusal = chart.refusal(&arguments(sets));
        assert!(refusal.contains(said), "{refusal}");
    }
}
