//! An OCI layout → containerd, by archive through its own command `ctr`, which every node with containerd has.
//!
//! An image belongs to a namespace there: the kubelet's is `k8s.io`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::distribution::Reference;

use super::archive::Archive;
use super::layout::open_layout;
use super::load::{Error, Loaded, default_tags};
use crate::interrupt::{OwnedChild, Stoppable};

/// The name by which containerd knows an image in an archive, whole with its registry.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Most of what `ctr` says that is told.
const MOST_WORDS: usize = 1000;

/// A containerd, and whose images are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containerd {
    /// Its socket; `None` for `ctr`'s own default, or what `CONTAINERD_ADDRESS` says.
    pub address: Option<PathBuf>,
    /// The namespace.
    pub namespace: String,
}

impl std::fmt::Display for Containerd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("containerd")?;
        self.address.iter().try_for_each(|address| write!(f, " at {}", address.display()))
    }
}

/// Imports the image of the layout `folder` under its own name (`NAME:VERSION`) and `NAME:latest`.
pub fn import(folder: &Path, containerd: &Containerd) -> Result<Loaded, Error> {
    let mut layout = open_layout(folder)?;
    let mut names = Vec::new();
    for tag in default_tags(&layout)? {
        let whole = tag.parse::<Reference>().map_err(|_| Error::Nameless(folder.into()))?;
        names.push(whole.whole());
    }
    let mut annotations = layout.descriptor.annotations().clone().unwrap_or_default();
    annotations.insert(IMAGE_NAME.into(), names[0].clone());
    layout.descriptor.set_annotations(Some(annotations));
    let archive = Archive::new(&layout, &names[..1])?;
    containerd.run("load the image", &["images", "import", "-"], Some(archive))?;
    for name in &names[1..] {
        containerd.run("tag the image", &["images", "tag", "--force", &names[0], name], None)?;
    }
    Ok(Loaded { id: layout.digest.to_string(), tags: names, engine: containerd.to_string() })
}

impl Containerd {
    fn run(&self, action: &'static str, args: &[&str], archive: Option<Archive>) -> Result<(), Error> {
        let mut command = Command::new("ctr");
        if let Some(address) = &self.address {
            command.arg("--address").arg(address);
        }
        command.args(["--namespace", &self.namespace]).args(args);
        command.stdin(if archive.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let refused = |words: String| Error::Refused { engine: self.to_string(), action, words };
        let child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NoProgram("ctr"),
            _ => refused(source.to_string()),
        })?;
        let mut child = OwnedChild(child);
        // Read beside: a full pipe would stop `ctr` while it is being written to.
        let mut said = child.0.stderr.take().expect("it is piped");
        let words = std::thread::spawn(move || {
            let mut words = String::new();
            let _ = io::Read::read_to_string(&mut said, &mut words);
            words
        });
        let sent = match (archive, child.0.stdin.take()) {
            (Some(archive), Some(mut stdin)) => io::copy(&mut Stoppable(archive), &mut stdin).map(drop),
            _ => Ok(()),
        };
        let status = child.wait();
        let words = words.join().unwrap_or_default();
        match (status, sent) {
            (Ok(status), Ok(())) if status.success() => Ok(()),
            // What it says tells more than that it hung up.
            (Ok(_), _) if !words.trim().is_empty() => {
                Err(refused(words.trim().chars().filter(|c| !c.is_control()).take(MOST_WORDS).collect()))
            }
            (Ok(status), Ok(())) => Err(refused(status.to_string())),
            (_, Err(error)) | (Err(error), _) => Err(refused(error.to_string())),
        }
    }
}
