//! The model of an image by itself → a registry: with what a service says and takes, so that an image that serves any
//! model runs it from a mounted folder.
//!
//! Two forms hold the same files by the same paths (`models/…`, `nimify/service.json` and what that names): a ModelPack
//! artifact, a file a layer; and an image of nothing else, which every container runtime can mount as a volume.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::error::files;
use super::{Error, layout_in};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::files::RelativePath;
use crate::image::{self, Artifact, ArtifactBlob, ArtifactContent, OpenedLayout, UnpackedFile, blob_path};
use crate::model;
use crate::plan::LICENSE_FILE;
use crate::registry::{self, CHUNK, PushReport, PushRequest, Reference, Signing, Watch};
use crate::sign::SigningKey;

/// In which form a model goes to a registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModelForm {
    /// A CNCF ModelPack artifact.
    #[default]
    ModelPack,
    /// An OCI image.
    Image,
}

/// Where a model goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDestination {
    /// `REGISTRY/REPOSITORY[:TAG]`; the tag is the model's version unless one is given.
    pub to: String,
    /// In which form.
    pub form: ModelForm,
}

/// The media types of ModelPack.
const MODELPACK: &str = "application/vnd.cncf.model.manifest.v1+json";
const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const WEIGHT_CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYERS: [&str; 3] =
    [LAYER, "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"];

/// What `service.json` is called in an image.
const SERVICE: &str = "nimify/service.json";

/// What is left of an image without its base, ONNX Runtime and program.
struct Model {
    files: BTreeMap<RelativePath, Part>,
    /// The layers of the image with the model's own files.
    layers: Vec<(Descriptor, Value)>,
    /// What the image says of itself: `title`, `version` and others.
    said: BTreeMap<String, String>,
    created: Value,
    reference: String,
}

enum Part {
    Unpacked(UnpackedFile),
    Bytes(Vec<u8>),
}

/// Pushes the model of the image in `folder`, signed with each of these keys.
pub(super) fn push(
    folder: &Path,
    destination: &ModelDestination,
    plain_http: bool,
    keys: &[SigningKey],
    watch: &dyn Watch,
) -> Result<PushReport, Error> {
    let to = Reference::with_registry(&destination.to)?;
    let layout = layout_in(folder);
    let cache = Cache::from_environment()?;
    let scratch = cache.scratch()?;
    let faults: Vec<_> = image::validate(&layout).into_iter().map(|fault| fault.to_string()).collect();
    if !faults.is_empty() {
        return Err(Error::NotWhole { path: layout, faults });
    }
    let opened = image::open_layout(&layout)?;
    let model = Model::of(&opened, &scratch.path().join("files"))?;
    let artifact = match destination.form {
        ModelForm::ModelPack => model.modelpack()?,
        ModelForm::Image => model.image(&opened)?,
    };
    let made = scratch.path().join("layout");
    image::write_artifact(&artifact, &made)?;
    let request = PushRequest {
        layout: &made,
        to: &to,
        plain_http,
        signing: Signing::Anew(keys, &[]),
        cache: Some(&cache),
        chunk: CHUNK,
    };
    Ok(registry::push(&request, watch)?)
}

impl Model {
    fn of(layout: &OpenedLayout, into: &Path) -> Result<Self, Error> {
        let path = blob_path(&layout.folder, &layout.config);
        let config: Value = serde_json::from_slice(&fs::read(&path).map_err(files("read", &path))?).unwrap_or_default();
        let history = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let title = |at: usize| history.get(at).and_then(|entry| entry["created_by"].as_str()).unwrap_or_default();
        let of = |wanted: &[&str]| -> Vec<usize> {
            let is_one = |at: &usize| title(*at).strip_prefix("nimify: ").is_some_and(|title| wanted.contains(&title));
            (0..layout.layers.len()).filter(is_one).collect()
        };
        let (own, service) = (of(&["sides", "model"]), of(&["service"]));
        let layers = layout.manifest.layers();
        let at = |places: &[usize]| places.iter().map(|at| layers[*at].clone()).collect::<Vec<_>>();
        let mut unpacked = image::unpack(layout, &at(&own), &["models"], into)?;
        if unpacked.is_empty() {
            return Err(Error::NoModel(layout.folder.clone()));
        }
        let beside = image::unpack(layout, &at(&service), &["nimify"], into)?;
        unpacked.extend(beside.into_iter().filter(|(path, _)| is_described(path)));
        let mut files: BTreeMap<_, _> = unpacked.into_iter().map(|(path, file)| (path, Part::Unpacked(file))).collect();
        for (path, file) in &mut files {
            if path.as_str() == SERVICE
                && let Part::Unpacked(unpacked) = file
            {
                *file = Part::Bytes(portable(&unpacked.path)?);
            }
        }
        let diff_ids = &config["rootfs"]["diff_ids"];
        let layers = own.iter().map(|at| (layers[*at].clone(), diff_ids[*at].clone())).collect();
        let said = config["config"]["Labels"].as_object().cloned().unwrap_or_default();
        let said = said.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_string()))).collect();
        let reference = layout.reference.clone().ok_or_else(|| Error::Nameless(layout.folder.clone()))?;
        Ok(Model { files, layers, said, created: config["created"].clone(), reference })
    }

    fn said(&self, what: &str) -> Value {
        self.said.get(&format!("org.opencontainers.image.{what}")).map_or(Value::Null, |text| json!(text))
    }

    /// A file a layer, as it is: what `oras pull` writes into a folder, and what runtimes mount as files.
    fn modelpack(&self) -> Result<Artifact, Error> {
        let mut descriptor = json!({ "createdAt": self.created });
        for (name, said) in [("name", "title"), ("version", "version"), ("description", "description")] {
            if let Value::String(text) = self.said(said) {
                descriptor[name] = json!(text);
            }
        }
        if let Value::String(license) = self.said("licenses") {
            descriptor["licenses"] = json!([license]);
        }
        let layers: Vec<ArtifactBlob> = self.files.iter().map(|(path, part)| blob(path, part)).collect();
        let digests: Vec<Digest> = layers.iter().map(ArtifactBlob::digest).collect();
        let config = json!({
            "descriptor": descriptor,
            "config": { "format": "onnx" },
            "modelfs": { "type": "layers", "diffIds": digests },
        });
        Ok(Artifact {
            reference: self.reference.clone(),
            artifact_type: Some(MODELPACK),
            config: ArtifactBlob::of(MODEL_CONFIG, config.to_string().into_bytes()),
            layers,
            annotations: self.said.clone(),
        })
    }

    /// The model's layers as they are, and one with what describes the service.
    fn image(&self, layout: &OpenedLayout) -> Result<Artifact, Error> {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (descriptor, diff_id) in &self.layers {
            let digest = image::digest_of(descriptor)
                .map_err(|reason| image::Error::Layout { path: layout.folder.clone(), reason })?;
            let media_type = descriptor.media_type().to_string();
            layers.push(ArtifactBlob {
                media_type: LAYERS.into_iter().find(|known| *known == media_type).unwrap_or(LAYER),
                annotations: BTreeMap::new(),
                content: ArtifactContent::File {
                    path: blob_path(&layout.folder, &digest),
                    digest,
                    size: descriptor.size(),
                },
            });
            diff_ids.push(diff_id.clone());
        }
        let mut described = BTreeMap::new();
        for (path, part) in self.files.iter().filter(|(path, _)| is_described(path)) {
            described.insert(path.clone(), part.bytes()?);
        }
        let tar = tar_of(&described).map_err(files("pack", &layout.folder))?;
        diff_ids.push(json!(Digest::of(&tar)));
        layers.push(ArtifactBlob::of(LAYER, tar));
        let path = blob_path(&layout.folder, &layout.config);
        let whole: Value = serde_json::from_slice(&fs::read(&path).map_err(files("read", &path))?).unwrap_or_default();
        let config = json!({
            "architecture": whole["architecture"], "os": whole["os"], "created": self.created,
            "config": { "Labels": self.said },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Ok(Artifact {
            reference: self.reference.clone(),
            artifact_type: None,
            config: ArtifactBlob::of(IMAGE_CONFIG, config.to_string().into_bytes()),
            layers,
            annotations: self.said.clone(),
        })
    }
}

impl Part {
    fn bytes(&self) -> Result<Vec<u8>, Error> {
        match self {
            Part::Bytes(bytes) => Ok(bytes.clone()),
            Part::Unpacked(file) => fs::read(&file.path).map_err(files("read", &file.path)),
        }
    }
}

/// Whether a file beside the program says what the service is, and isn't the program itself or a library.
fn is_described(path: &RelativePath) -> bool {
    path.as_str().strip_prefix("nimify/").is_some_and(|name| name.ends_with(".json") || name == LICENSE_FILE)
}

/// `service.json` without the path of ONNX Runtime: the image that serves the model has its own.
fn portable(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(files("read", path))?;
    let mut settings: Value =
        serde_json::from_slice(&bytes).map_err(|error| files("read", path)(std::io::Error::other(error)))?;
    let operators = settings["engine"]["customOps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !operators.is_empty() {
        let names = operators.iter().filter_map(Value::as_str).map(|path| format!("`{path}`"));
        return Err(Error::NeedsOperators(names.collect()));
    }
    if let Some(engine) = settings["engine"].as_object_mut() {
        engine.remove("onnxruntime");
    }
    let mut text = serde_json::to_vec_pretty(&settings).expect("what was JSON is JSON");
    text.push(b'\n');
    Ok(text)
}

fn blob(path: &RelativePath, part: &Part) -> ArtifactBlob {
    let (content, size) = match part {
        Part::Bytes(bytes) => (ArtifactContent::Bytes(bytes.clone()), bytes.len() as u64),
        Part::Unpacked(UnpackedFile { path, digest, size }) => {
            (ArtifactContent::File { path: path.clone(), digest: *digest, size: *size }, *size)
        }
    };
    let path = path.as_str();
    let media_type = match path.strip_prefix("nimify/") {
        None if model::is_side_file(path.strip_prefix("models/").unwrap_or(path)) => WEIGHT_CONFIG,
        None => WEIGHT,
        Some(LICENSE_FILE) => DOC,
        Some(_) => WEIGHT_CONFIG,
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    // What a file system says of a file; 48 is tar's `0`, a plain file.
    let metadata = json!({
        "name": name, "mode": 0o644, "uid": 0, "gid": 0, "size": size, "mtime": image::rfc3339(0), "typeflag": b'0',
    });
    let annotations = [
        ("org.cncf.model.filepath", path.to_string()),
        ("org.cncf.model.file.metadata+json", metadata.to_string()),
        ("org.opencontainers.image.title", path.to_string()),
    ];
    let annotations = annotations.map(|(name, value)| (name.to_string(), value)).into();
    ArtifactBlob { media_type, annotations, content }
}

fn tar_of(files: &BTreeMap<RelativePath, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header
    };
    tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), "nimify/", std::io::empty())?;
    for (path, bytes) in files {
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, bytes.len() as u64), path, bytes.as_slice())?;
    }
    tar.into_inner()
}
