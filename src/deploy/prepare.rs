//! Folder + environment + what flags say → what is to run, before anything outside the folder is asked.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::{PushedTo, ReleaseRecord};
use super::values::{self, ImageName, Values};
use super::{Error, diff};
use crate::chart;
use crate::config::{Config, Environment};
use crate::digest::Digest;
use crate::files::{self as tree, FileTree};
use crate::image;

/// What flags put over an environment's values, in their order.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Files of values.
    pub files: Vec<PathBuf>,
    /// `PATH=VALUE`.
    pub sets: Vec<String>,
    /// The image that runs elsewhere, instead of the folder's own; the environment may pull it from another repository.
    pub image: Option<ImageName>,
}

/// What is to run.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The chart's folder.
    pub chart: PathBuf,
    /// The chart's schema of values.
    pub schema: Value,
    /// The values.
    pub values: Values,
    /// The image that they name.
    pub image: ImageName,
    /// The image of the model that they name, where it is mounted.
    pub model: Option<ImageName>,
    /// Whether its registry is spoken to without TLS, as far as push and config know.
    pub plain_http: bool,
    /// What a person should know, in sentences.
    pub warnings: Vec<String>,
}

/// Reads what is to run in `environment` from the output folder `folder`.
pub fn prepare(
    folder: &Path,
    config: &Config,
    (name, environment): (&str, &Environment),
    overlay: &Overlay,
) -> Result<Prepared, Error> {
    let (chart, files) = read_chart(folder)?;
    let base = document(&files, "values.yaml")?;
    let schema = document(&files, "values.schema.json")?;
    let pushed = pushed_to(folder, &base)?;
    let mut values = Values::new(base);
    if let Some(image) = &overlay.image {
        let named = values.base["image"]["digest"].as_str().unwrap_or_default();
        if named != image.digest.to_string() {
            return Err(Error::OtherChart { chart: named.into(), image: image.digest });
        }
        values.put(&json!({ "image": { "repository": image.repository.to_string() } }));
    } else if let Some(pushed) = pushed.first() {
        values.put(&json!({ "image": { "repository": pushed.repository } }));
    }
    let put = |values: &mut Values, changes: &Value, origin: String| {
        values::check(&schema, &values.base, changes, &origin)?;
        values.put(changes);
        Ok::<_, Error>(())
    };
    let own = environment.chart_values();
    put(&mut values, &own, format!("the environment `{name}`"))?;
    for path in &overlay.files {
        put(&mut values, &values::read(path)?, format!("`{}`", path.display()))?;
    }
    for text in &overlay.sets {
        put(&mut values, &values::parse_set(text)?, format!("`--set {}`", text.split('=').next().unwrap_or_default()))?;
    }
    if let Some(image) = &overlay.image {
        values.put(&json!({ "image": { "digest": image.digest } }));
    }
    let merged = values.merged();
    let (image, model) = (values::image_of(&merged)?, values::model_image_of(&merged)?);
    let registry = image.repository.registry();
    let noted = pushed.iter().any(|to| to.plain_http && to.repository == image.repository.to_string());
    let plain_http = noted || config.image.plain_http(registry);
    let warnings = stale(&files, name, &own).into_iter().collect();
    Ok(Prepared { chart, schema, values, image, model, plain_http, warnings })
}

impl Prepared {
    /// Whether the chart knows canaries.
    pub fn knows_canaries(&self) -> bool {
        self.schema.pointer("/properties/canary").is_some()
    }
}

/// Refuses a manifest whose service would run another image than the one that was verified; `beside` is what runs
/// already beside a canary.
pub fn check_runs(manifest: &str, image: &ImageName, beside: Option<&ImageName>) -> Result<(), Error> {
    let verified: Vec<String> = beside.into_iter().chain([image]).map(ToString::to_string).collect();
    let found: Vec<String> = images(manifest)?.into_iter().filter(|image| !verified.contains(image)).collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::RunsOther { found: found.join(", "), verified: image.clone() })
}

/// The images of the containers `service` of a manifest's workloads.
fn images(manifest: &str) -> Result<Vec<String>, Error> {
    let objects = diff::objects(manifest, "")?;
    let containers = |object: &Value| -> Vec<Value> {
        let pod = object.pointer("/spec/template/spec/containers");
        pod.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let all = objects.values().flat_map(containers).filter(|container| container["name"] == "service");
    Ok(all.filter_map(|container| container["image"].as_str().map(String::from)).collect())
}

fn read_chart(folder: &Path) -> Result<(PathBuf, FileTree), Error> {
    let chart = folder.join("chart");
    if !chart.join("Chart.yaml").is_file() {
        return Err(Error::NoChart(folder.into()));
    }
    let files = tree::read_tree(&chart).map_err(|source| Error::Files {
        attempt: "read the chart in",
        path: chart.clone(),
        source,
    })?;
    Ok((chart, files))
}

fn document(files: &FileTree, name: &str) -> Result<Value, Error> {
    let odd = |reason: String| Error::from(chart::Error::Package(format!("`{name}` {reason}")));
    let bytes = files.iter().find(|(path, _)| path.as_str() == name).map(|(_, bytes)| bytes);
    let bytes = bytes.ok_or_else(|| odd("is missing".into()))?;
    serde_yaml::from_slice(bytes).map_err(|error| odd(format!("can't be read: {error}")))
}

/// Where the image was pushed to, as far as the folder knows. Chart and image of a folder have to belong together.
fn pushed_to(folder: &Path, base: &Value) -> Result<Vec<PushedTo>, Error> {
    let named = base["image"]["digest"].as_str().unwrap_or_default();
    let layout = folder.join("dist/image");
    if layout.join("oci-layout").is_file() {
        let image = image::open_layout(&layout)?.digest;
        if named != image.to_string() {
            return Err(Error::OtherImage { chart: named.into(), image });
        }
    }
    let digest: Option<Digest> = named.parse().ok();
    Ok(digest.map(|digest| ReleaseRecord::read(folder, &digest).repositories).unwrap_or_default())
}

/// `values-ENV.yaml` is what `build` made of the environment: where the file says something else, one of the two is old.
fn stale(files: &FileTree, name: &str, own: &Value) -> Option<String> {
    let file = format!("values-{name}.yaml");
    let written = document(files, &file).ok()?;
    (written != *own).then(|| {
        format!(
            "`chart/{file}` says something else than `nimify.yaml`, which is what counts: `nimify build` writes it anew"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "apiVersion: nimify/v1\nname: digits\nmodel: m.onnx\n\
                          image: { plainHttp: [\"localhost:5000\"] }\n\
                          environments:\n  prod: { replicas: 3, values: { log: { level: debug } } }\n  \
                          odd: { values: { replicas: 3 } }\n  local: { values: { image: { repository: localhost:5000/d } } }\n";

    fn folder() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let chart = home.path().join("chart");
        for entry in walkdir::WalkDir::new("charts-template").into_iter().map(Result::unwrap) {
            let to = chart.join(entry.path().strip_prefix("charts-template").unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(to).unwrap();
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        let text = std::fs::read_to_string(chart.join("values.yaml")).unwrap();
        std::fs::write(chart.join("values.yaml"), text.replace("repository: service", "repository: r.example.com/d"))
            .unwrap();
        home
    }

    fn prepared(folder: &Path, name: &str, overlay: &Overlay) -> Result<Prepared, Error> {
        let config = crate::config::parse(CONFIG, &Default::default(), &|_| None).unwrap();
        let environment = config.environments.iter().find(|(known, _)| known.as_str() == name).unwrap().1;
        prepare(folder, &config, (name, environment), overlay)
    }

    #[test]
    fn values_come_from_chart_environment_files_and_flags() {
        let home = folder();
        let file = home.path().join("more.yaml");
        std::fs::write(&file, "replicaCount: 4\nlog: {format: json}\n").unwrap();
        let overlay = Overlay { files: vec![file], sets: vec!["log.access=off".into()], image: None };
        let prepared = prepared(home.path(), "prod", &overlay).unwrap();
        let merged = prepared.values.merged();
        assert_eq!((&merged["replicaCount"], &merged["log"]["level"]), (&json!(4), &json!("debug")));
        assert_eq!((&merged["log"]["format"], &merged["log"]["access"]), (&json!("json"), &json!("off")));
        assert_eq!(prepared.image.repository.to_string(), "r.example.com/d");
        assert!(!prepared.plain_http && prepared.warnings.is_empty());
    }

    #[test]
    fn a_value_that_the_chart_does_not_have_is_named_with_its_origin() {
        let home = folder();
        let told = |name: &str, sets: &[&str]| {
            let overlay = Overlay { sets: sets.iter().map(ToString::to_string).collect(), ..Overlay::default() };
            prepared(home.path(), name, &overlay).unwrap_err().to_string()
        };
        let text = told("odd", &[]);
        assert!(text.contains("environment `odd`") && text.contains("`replicaCount`"), "{text}");
        let text = told("prod", &["server.prot=1"]);
        assert!(text.contains("`--set server.prot`") && text.contains("`server.port`"), "{text}");
        assert!(told("prod", &["replicaCount=many"]).contains("`replicaCount` can't be \"many\""));
        assert!(told("prod", &["image.digest=''"]).contains("not by a digest"));
    }

    #[test]
    fn an_environment_may_pull_from_elsewhere_and_an_old_file_of_values_is_told() {
        let home = folder();
        std::fs::write(home.path().join("chart/values-local.yaml"), "replicaCount: 9\n").unwrap();
        let prepared = prepared(home.path(), "local", &Overlay::default()).unwrap();
        assert_eq!((prepared.image.repository.to_string().as_str(), prepared.plain_http), ("localhost:5000/d", true));
        assert!(prepared.warnings[0].contains("`chart/values-local.yaml`"), "{:?}", prepared.warnings);
    }

    #[test]
    fn what_would_run_is_what_was_verified() {
        let home = folder();
        let prepared = prepared(home.path(), "prod", &Overlay::default()).unwrap();
        let manifest = |image: &str| {
            format!(
                "kind: Deployment\nmetadata: {{name: d}}\nspec: {{template: {{spec: {{containers: [{{name: service, \
                 image: \"{image}\"}}, {{name: sidecar, image: other}}]}}}}}}\n"
            )
        };
        check_runs(&manifest(&prepared.image.to_string()), &prepared.image, None).unwrap();
        let error = check_runs(&manifest("r.example.com/d:latest"), &prepared.image, None).unwrap_err().to_string();
        assert!(error.contains("would run r.example.com/d:latest"), "{error}");
    }

    #[test]
    fn a_folder_without_a_chart_is_told() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(prepared(home.path(), "prod", &Overlay::default()), Err(Error::NoChart(_))));
    }
}
