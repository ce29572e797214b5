//! A chart's files → the archive that helm installs; and the chart pointed at where its image really is.
//!
//! Helm's own `package` puts the time and the modes of the files into the archive; here equal files give equal bytes.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::{Error, annotated, yaml};
use crate::files::{FileTree, RelativePath};

/// Largest chart, and largest file in one, that helm unpacks, bytes.
const LARGEST_CHART: usize = 100 << 20;
const LARGEST_FILE: usize = 5 << 20;
/// What a tag in a registry may have.
const LONGEST_VERSION: usize = 128;

/// A chart as helm takes it from a file or a registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// The chart's name.
    pub name: String,
    /// Its version, a semantic one.
    pub version: String,
    /// `Chart.yaml` as JSON: what a registry keeps as the chart's configuration.
    pub metadata: Value,
    /// The archive: a gzipped tar with one folder.
    pub archive: Vec<u8>,
}

impl Package {
    /// `NAME-VERSION.tgz`, as helm calls it.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }

    /// The version as a tag, which can't hold a `+`.
    pub fn tag(&self) -> String {
        self.version.replace('+', "_")
    }
}

/// Packs the files of a chart, but for those of `.helmignore`: the values of single environments.
pub fn package(files: &FileTree) -> Result<Package, Error> {
    let metadata: Value = read(files, "Chart.yaml")?;
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_string();
    let (name, version) = (text("name"), text("version"));
    let plain = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= LONGEST_VERSION
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !plain(&name, "-_.") || !plain(&version, "-.+") {
        return Err(Error::Package(format!("`Chart.yaml` names it `{name}`, version `{version}`")));
    }
    let packed: Vec<(&RelativePath, &Vec<u8>)> = files.iter().filter(|(path, _)| !is_ignored(path)).collect();
    if let Some((path, _)) = packed.iter().find(|(_, bytes)| bytes.len() > LARGEST_FILE) {
        return Err(Error::Package(format!(
            "`{}` is larger than the {LARGEST_FILE} bytes that helm takes",
            path.as_str()
        )));
    }
    if packed.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > LARGEST_CHART {
        return Err(Error::Package(format!("it is larger than the {LARGEST_CHART} bytes that helm takes")));
    }
    let archive = archive(&name, &packed).map_err(|error| Error::Package(error.to_string()))?;
    Ok(Package { name, version, metadata, archive })
}

/// Whether a file stays out: as `.helmignore` says, and as helm does without being told.
fn is_ignored(path: &RelativePath) -> bool {
    let path = path.as_str();
    let name = path.rsplit('/').next().unwrap_or(path);
    let environment = name.starts_with("values-") && name.ends_with(".yaml");
    environment || (path.starts_with("templates/") && name.starts_with('.'))
}

fn archive(name: &str, files: &[(&RelativePath, &Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut tar =
        tar::Builder::new(GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::new(9)));
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("{name}/{}", path.as_str()), bytes.as_slice())?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    gzip.finish()
}

/// The image that a chart runs: repository and digest, as its values say.
pub fn image_of(files: &FileTree) -> Result<(String, String), Error> {
    let values: Value = read(files, "values.yaml")?;
    let text = |key: &str| values["image"][key].as_str().unwrap_or_default().to_string();
    Ok((text("repository"), text("digest")))
}

/// The same chart, but with its image in another repository. The comments of `values.yaml` stay.
pub fn pointed_at(files: &FileTree, repository: &str) -> Result<FileTree, Error> {
    let path: RelativePath = "values.yaml".parse().expect("a plain name");
    let mut meant: Value = read(files, path.as_str())?;
    if meant["image"]["repository"] == json!(repository) {
        return Ok(files.clone());
    }
    let odd = || Error::Package("`values.yaml` has no line `repository:` below `image:`".into());
    let place = meant.pointer_mut("/image/repository").ok_or_else(odd)?;
    *place = json!(repository);
    let text = files.get(&path).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(odd)?;
    let text = annotated::with_scalar(text, "image.repository", &yaml::scalar(&json!(repository))).ok_or_else(odd)?;
    if serde_yaml::from_str::<Value>(&text).ok().as_ref() != Some(&meant) {
        return Err(Error::Mangled);
    }
    let mut files = files.clone();
    files.insert(path, text.into_bytes());
    Ok(files)
}

fn read(files: &FileTree, name: &str) -> Result<Value, Error> {
    let bytes = files.iter().find(|(path, _)| path.as_str() == name).map(|(_, bytes)| bytes);
    let bytes = bytes.ok_or_else(|| Error::Package(format!("there is no `{name}`")))?;
    serde_yaml::from_slice(bytes).map_err(|error| Error::Package(format!("`{name}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> FileTree {
        let files = [
            ("Chart.yaml", "apiVersion: v2\nname: digits\nversion: 1.2.0+a.1\n"),
            ("values.yaml", "# The image.\nimage:\n  # Where.\n  repository: digits\n  digest: x\nreplicaCount: 1\n"),
            ("values-prod.yaml", "replicaCount: 2\n"),
            ("templates/service.yaml", "kind: Service\n"),
            ("templates/.swp", ""),
        ];
        files.map(|(path, text)| (path.parse().unwrap(), text.as_bytes().to_vec())).into()
    }

    #[test]
    fn a_package_has_one_folder_and_the_same_bytes_each_time() {
        let package = package(&chart()).unwrap();
        assert_eq!((package.file_name().as_str(), package.tag().as_str()), ("digits-1.2.0+a.1.tgz", "1.2.0_a.1"));
        assert_eq!(package, super::package(&chart()).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(package.archive.as_slice()));
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["digits/Chart.yaml", "digits/templates/service.yaml", "digits/values.yaml"]);
    }

    #[test]
    fn a_chart_is_pointed_at_its_image_and_keeps_its_comments() {
        assert_eq!(image_of(&chart()).unwrap(), ("digits".into(), "x".into()));
        let moved = pointed_at(&chart(), "r.example.com:5000/ml/digits").unwrap();
        assert_eq!(image_of(&moved).unwrap().0, "r.example.com:5000/ml/digits");
        let text = String::from_utf8(moved[&"values.yaml".parse().unwrap()].clone()).unwrap();
        assert!(text.starts_with("# The image.\nimage:\n  # Where.\n  repository: ") && text.ends_with("Count: 1\n"));
        assert_eq!(pointed_at(&moved, "r.example.com:5000/ml/digits").unwrap(), moved);
        let mut odd = chart();
        odd.insert("values.yaml".parse().unwrap(), b"image: {repository: a}\n".to_vec());
        assert!(pointed_at(&odd, "b").is_err());
    }

    #[test]
    fn what_is_no_chart_is_refused() {
        let with = |name: &str, bytes: Vec<u8>| {
            let mut files = chart();
            files.insert(name.parse().unwrap(), bytes);
            package(&files).unwrap_err().to_string()
        };
        assert!(with("Chart.yaml", b"name: ../x\nversion: 1.0.0\n".to_vec()).contains("names it `../x`"));
        assert!(with("Chart.yaml", b"name: [".to_vec()).contains("`Chart.yaml`"));
        assert!(with("large", vec![0; LARGEST_FILE + 1]).contains("`large` is larger"));
        assert!(package(&FileTree::new()).unwrap_err().to_string().contains("there is no `Chart.yaml`"));
    }
}
