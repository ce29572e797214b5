//! The base that is an image from elsewhere: its layers as they are, and above them what they lack.
//!
//! Where the base has a glibc, the service runs with the base's own libraries, and only those that it lacks come from this
//! machine; two C libraries are never mixed. Where it has none, this machine's closure is put on it whole. Nothing of the
//! base's file system is bent: what is added goes to where the base's own links lead, so that a merged `/usr` stays one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::super::closure::{self, Closure, Host};
use super::super::compress::Compression;
use super::super::error::{Error, files};
use super::super::layer::{Contents, Layer};
use super::super::locale::{self, Lacking};
use super::super::rootfs::Rootfs;
use super::super::validate::Limits;
use super::super::{Architecture, ImageRequest, packages};
use super::{Base, BaseFile, CERTIFICATES, GROUP, NSSWITCH, PASSWD, USER, below_root, distribution, installed};
use crate::cache::Cache;
use crate::digest::Digest;

/// Where distributions keep the bundle of certificate authorities.
const BUNDLES: [&str; 4] =
    [CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];
/// Files of a base that are looked at, by their names, besides libraries.
const LOOKED_AT: [&str; 9] = [
    "ld.so.cache",
    "passwd",
    "group",
    "nsswitch.conf",
    "ca-certificates.crt",
    "ca-bundle.crt",
    "ca-bundle.pem",
    "tls-ca-bundle.pem",
    "cert.pem",
];
/// Largest list of users that is taken over.
const LARGEST_LIST: u64 = 1 << 20;

/// An image that others are put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Its reference without a digest, or `oci:PATH`.
    pub name: String,
    /// What the reference led to: an index, or the image itself.
    pub digest: Digest,
    /// The image's own manifest.
    pub manifest: Digest,
    /// Its configuration's bytes.
    pub config: Vec<u8>,
    /// From the lowest up.
    pub layers: Vec<BaseLayer>,
}

/// A layer as it was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLayer {
    /// Its media type, OCI's or Docker's.
    pub media_type: String,
    /// Of the stored bytes.
    pub digest: Digest,
    /// Stored bytes.
    pub size: u64,
    /// The file with them.
    pub blob: PathBuf,
}

/// What is looked at of a base's layers.
struct LookedAt<'a> {
    /// What the service needs, where this machine knows it.
    needed: Option<&'a Closure>,
    /// Whether locales count.
    locales: bool,
}

/// What a base's layers were found to be.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    /// Digest and size of each layer's tar.
    tars: Vec<(Digest, u64)>,
    /// The files that were looked at, by their path.
    files: BTreeMap<PathBuf, Digest>,
}

/// The layers of the base, and the files above them.
pub(super) fn lay(image: &BaseImage, request: &ImageRequest, cache: &Cache) -> Result<(Contents, Base), Error> {
    let machine = Host { root: "/".into() };
    let libraries = request.libraries();
    let from = closure::Roots { binary: &request.binary, libraries: &libraries, cuda: request.cuda.as_ref() };
    // What another processor needs this machine may not have: then the base has to.
    let needed = match closure::walk(&Host { root: "/".into() }, &from, request.architecture) {
        Err(error @ Error::MissingLibrary { .. }) if Architecture::host() != Some(request.architecture) => Err(error),
        other => Ok(other?),
    };
    let compressions = image.layers.iter().map(|layer| compression(image, layer)).collect::<Result<Vec<_>, _>>()?;
    let looked_at = LookedAt { needed: needed.as_ref().ok(), locales: !request.locales.is_empty() };
    let (root, facts) = unpack(image, &compressions, &looked_at, cache)?;
    let mut on =
        On { base: Host { root }, machine, contents: Contents::default(), placed: BTreeSet::new(), files: Vec::new() };
    let lacking_locales = locale::lacking(Some(&on.base), Some(&on.machine), &request.locales);
    let lacking = closure::lacking(&on.base, &on.machine, &from, request.architecture);
    let owned = match lacking.map_err(|error| unfit(image, &error.to_string()))? {
        Some(lacking) => on.libraries(&lacking)?,
        None => on.whole(&needed?, &request.binary)?,
    };
    let owned = owned.into_iter().chain(on.locales(&lacking_locales)?).collect();
    on.accounts()?;
    let mut base = Base { distribution: machine_distribution(&on.machine)?, ..Base::default() };
    base.warnings.extend(lacking_locales.warnings());
    on.certificates(&mut base.warnings)?;
    base.packages = packages::owners(&on.machine, &owned, &[]);
    for package in &base.packages {
        for (place, bytes) in package.entries() {
            on.contents.bytes(below_root(&on.settle(&Path::new("/").join(place)))?, 0o644, bytes)?;
        }
    }
    base.files = on.files;
    base.files.sort_by(|a, b| a.place.cmp(&b.place));
    base.layers = layers(image, &compressions, &facts);
    base.installed = installed::read(&on.base);
    if base.installed.has_rpm {
        let name = &image.name;
        base.warnings.push(format!(
            "the packages of `{name}` are rpm's, whose database nimify does not read: its SBOM lacks them"
        ));
    }
    base.image = Some(image.clone());
    Ok((on.contents, base))
}

/// The distribution that added libraries come from.
fn machine_distribution(machine: &Host) -> Result<Option<String>, Error> {
    let Some(file) = machine.resolve(Path::new("/etc/os-release"), |_, _| ()) else { return Ok(None) };
    Ok(distribution(&fs::read_to_string(&file).map_err(files("read", &file))?))
}

fn unfit(image: &BaseImage, reason: &str) -> Error {
    Error::Base { name: image.name.clone(), reason: reason.into() }
}

/// How a layer is stored: bytes stay as they are, whatever the type is called.
fn compression(image: &BaseImage, layer: &BaseLayer) -> Result<Compression, Error> {
    match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        other => Compression::of_media_type(&other.into())
            .ok_or_else(|| unfit(image, &format!("it has a layer of the type `{other}`"))),
    }
}

fn layers(image: &BaseImage, compressions: &[Compression], facts: &Facts) -> Vec<Layer> {
    let all = image.layers.iter().zip(compressions).zip(&facts.tars);
    all.map(|((layer, compression), (diff_id, uncompressed_size))| Layer {
        title: "base".into(),
        compression: *compression,
        digest: layer.digest,
        diff_id: *diff_id,
        size: layer.size,
        uncompressed_size: *uncompressed_size,
        blob: layer.blob.clone(),
    })
    .collect()
}

/// Unpacks what is looked at of the layers into the cache, each tar held against the configuration's digest of it.
fn unpack(
    image: &BaseImage,
    compressions: &[Compression],
    looked_at: &LookedAt<'_>,
    cache: &Cache,
) -> Result<(PathBuf, Facts), Error> {
    let stems = looked_at.needed.map(stems);
    let wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        LOOKED_AT.contains(&&*name)
            || installed::is_read(path)
            || (looked_at.locales && Path::new("/").join(path) == Path::new(locale::ARCHIVE))
            || match &stems {
                Some(stems) => stems.iter().any(|stem| name.starts_with(stem.as_str())),
                None => name.contains(".so"),
            }
    };
    // The word changes with what is looked at besides libraries.
    let looked_at = if looked_at.locales { "with packages and locales" } else { "with packages" };
    let recipe = Digest::of(format!("nimify {} {} {stems:?} {looked_at}", env!("CARGO_PKG_VERSION"), image.manifest));
    let check = |entry: &Path| {
        let facts: Facts = serde_json::from_slice(&fs::read(entry.join("facts.json")).ok()?).ok()?;
        let root = entry.join("root");
        let same =
            |(path, digest): (&PathBuf, &Digest)| Digest::of_file(&root.join(path)).is_ok_and(|(d, _)| d == *digest);
        facts.files.iter().all(same).then_some((root, facts))
    };
    let make = |stage: &Path| {
        let (store, root) = (stage.join("store"), stage.join("root"));
        for folder in [&store, &root] {
            fs::create_dir(folder).map_err(files("make", folder))?;
        }
        let mut rootfs = Rootfs::new(&store, &wanted);
        let tars = apply(image, compressions, &mut rootfs)?;
        let facts = Facts { tars, files: rootfs.write(&root)? };
        fs::remove_dir_all(&store).map_err(files("remove", &store))?;
        let note = stage.join("facts.json");
        fs::write(&note, serde_json::to_vec(&facts).expect("digests and paths are JSON")).map_err(files("write", &note))
    };
    cache.take("bases", &recipe, check, make)
}

fn apply(
    image: &BaseImage,
    compressions: &[Compression],
    rootfs: &mut Rootfs<'_>,
) -> Result<Vec<(Digest, u64)>, Error> {
    let config: ImageConfiguration =
        serde_json::from_slice(&image.config).map_err(|error| unfit(image, &error.to_string()))?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != image.layers.len() {
        let (layers, ids) = (image.layers.len(), diff_ids.len());
        return Err(unfit(image, &format!("it has {layers} layers, but its configuration knows {ids}")));
    }
    let mut tars = Vec::new();
    for ((layer, compression), diff_id) in image.layers.iter().zip(compressions).zip(diff_ids) {
        let file = fs::File::open(&layer.blob).map_err(files("read", &layer.blob))?;
        let stored = std::io::BufReader::with_capacity(1 << 16, crate::interrupt::Stoppable(file));
        let tar = compression.reader(stored).map_err(files("read", &layer.blob))?;
        let (digest, size) = rootfs
            .apply(tar, &Limits::default())
            .map_err(|error| unfit(image, &format!("its layer {} can't be read: {error}", layer.digest)))?;
        if digest.to_string() != *diff_id {
            let reason = format!("its layer {} holds {digest}, not {diff_id} as its configuration says", layer.digest);
            return Err(unfit(image, &reason));
        }
        tars.push((digest, size));
    }
    Ok(tars)
}

/// How the names of the closure's libraries begin, whatever their version: `libc.`, `libc-`.
fn stems(needed: &Closure) -> BTreeSet<String> {
    let names = needed.files.keys().chain(needed.links.keys()).filter_map(|path| path.file_name()?.to_str());
    let stems = names.filter_map(|name| Some(name.split_once(".so")?.0.to_string()));
    // `libm.so.6` is a link to `libm-2.28.so` in older releases, the loader one to `ld-2.28.so`.
    let both = stems.flat_map(|stem| [format!("{stem}."), format!("{stem}-")]);
    both.chain(["ld-".to_string()]).collect()
}

/// What is put on a base.
struct On {
    base: Host,
    machine: Host,
    contents: Contents,
    placed: BTreeSet<PathBuf>,
    files: Vec<BaseFile>,
}

impl On {
    /// Where a file at `place` goes: into the folder that the base's own links lead to.
    fn settle(&self, place: &Path) -> PathBuf {
        let folder = place.parent().unwrap_or(Path::new("/"));
        for above in folder.ancestors() {
            let real = self.base.resolve(above, |_, _| ()).filter(|real| real.is_dir());
            if let (Some(real), Ok(rest)) = (real, place.strip_prefix(above)) {
                return self.base.absolute(&real).join(rest);
            }
        }
        place.into()
    }

    fn file(&mut self, place: &Path, source: &Path, mode: u32) -> Result<(), Error> {
        let place = self.settle(place);
        if self.placed.insert(place.clone()) {
            let digest = self.contents.file(below_root(&place)?, mode, source)?;
            self.files.push(BaseFile { place, digest });
        }
        Ok(())
    }

    fn link(&mut self, place: &Path, target: &Path) -> Result<(), Error> {
        let (place, target) = (self.settle(place), self.settle(target));
        if place != target && self.placed.insert(place.clone()) {
            self.contents.link(below_root(&place)?, &target)?;
        }
        Ok(())
    }

    /// Adds these libraries; gives the files of this machine that they are.
    fn libraries(&mut self, lacking: &BTreeMap<PathBuf, PathBuf>) -> Result<BTreeSet<PathBuf>, Error> {
        for (place, file) in lacking {
            self.file(place, file, 0o755)?;
        }
        Ok(lacking.values().map(|file| self.machine.absolute(file)).collect())
    }

    /// Adds all of the closure, with the loader where the binary looks for it.
    fn whole(&mut self, needed: &Closure, binary: &Path) -> Result<BTreeSet<PathBuf>, Error> {
        let owned = self.libraries(&needed.files)?;
        let loader = super::super::elf::read(binary)?.loader.map(PathBuf::from);
        for place in needed.links.keys().chain(&loader) {
            // Links of folders are the base's own matter.
            let real = self.machine.resolve(place, |_, _| ()).filter(|real| real.is_file());
            if let Some(real) = real {
                self.link(place, &self.machine.absolute(&real))?;
            }
        }
        Ok(owned)
    }

    /// Adds these locales; gives the files of this machine that they are.
    fn locales(&mut self, lacking: &Lacking) -> Result<BTreeSet<PathBuf>, Error> {
        for (place, file) in &lacking.files {
            self.file(place, file, 0o644)?;
        }
        for (place, target) in &lacking.links {
            self.link(place, target)?;
        }
        Ok(lacking.files.values().map(|file| self.machine.absolute(file)).collect())
    }

    /// The base's users and groups with the service's own among them.
    fn accounts(&mut self) -> Result<(), Error> {
        for (place, ours) in [("/etc/passwd", PASSWD), ("/etc/group", GROUP)] {
            let theirs = self.text(place)?;
            if let Some(text) = joined(theirs.as_deref().unwrap_or_default(), ours) {
                self.contents.bytes(below_root(&self.settle(Path::new(place)))?, 0o644, text)?;
            }
        }
        if self.text("/etc/nsswitch.conf")?.is_none() {
            self.contents.bytes(below_root(&self.settle(Path::new("/etc/nsswitch.conf")))?, 0o644, NSSWITCH)?;
        }
        let there = self.base.resolve(Path::new("/tmp"), |_, _| ()).is_some();
        if there { Ok(()) } else { self.contents.folder("tmp", 0o1777) }
    }

    fn text(&self, place: &str) -> Result<Option<String>, Error> {
        let Some(path) = self.base.resolve(Path::new(place), |_, _| ()).filter(|path| path.is_file()) else {
            return Ok(None);
        };
        if fs::metadata(&path).map_err(files("read", &path))?.len() > LARGEST_LIST {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&fs::read(&path).map_err(files("read", &path))?).into_owned()))
    }

    /// This machine's certificates, where the base has none.
    fn certificates(&mut self, warnings: &mut Vec<String>) -> Result<(), Error> {
        let on = |host: &Host| {
            BUNDLES.iter().find_map(|path| host.resolve(Path::new(path), |_, _| ()).filter(|f| f.is_file()))
        };
        if on(&self.base).is_some() {
            return Ok(());
        }
        match on(&self.machine) {
            Some(file) => self.file(Path::new(CERTIFICATES), &file, 0o644),
            None => {
                warnings.push("neither the base image nor this machine has a certificate bundle".into());
                Ok(())
            }
        }
    }
}

/// `theirs` with those lines of `ours` whose names and numbers aren't there; `None` where nothing is missing.
fn joined(theirs: &str, ours: &str) -> Option<String> {
    let fields = |line: &str| -> (String, String) {
        let mut fields = line.split(':');
        (fields.next().unwrap_or_default().into(), fields.nth(1).unwrap_or_default().into())
    };
    let there: Vec<(String, String)> = theirs.lines().map(fields).collect();
    let user = USER.to_string();
    let missing = |line: &&str| {
        let (name, number) = fields(line);
        // Others than the service's own user are only added where there are none at all.
        !there.iter().any(|one| one.0 == name || one.1 == number) && (there.is_empty() || number == user)
    };
    let more: String = ours.lines().filter(missing).map(|line| format!("{line}\n")).collect();
    let gap = if theirs.is_empty() || theirs.ends_with('\n') { "" } else { "\n" };
    (!more.is_empty()).then(|| format!("{theirs}{gap}{more}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn on(home: &Path) -> On {
        let base = Host { root: home.into() };
        let machine = Host { root: "/".into() };
        On { base, machine, contents: Contents::default(), placed: BTreeSet::new(), files: Vec::new() }
    }

    #[test]
    fn what_is_added_goes_where_the_base_keeps_it() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("usr/lib/x86_64-linux-gnu")).unwrap();
        fs::create_dir_all(home.path().join("usr/lib64")).unwrap();
        symlink("usr/lib", home.path().join("lib")).unwrap();
        symlink("/usr/lib64", home.path().join("lib64")).unwrap();
        let on = on(home.path());
        let settled = |place: &str| on.settle(Path::new(place)).display().to_string();
        assert_eq!(settled("/lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(settled("/lib64/ld-linux-x86-64.so.2"), "/usr/lib64/ld-linux-x86-64.so.2");
        assert_eq!(settled("/lib/new/deep/a.so"), "/usr/lib/new/deep/a.so");
        assert_eq!(settled("/etc/ssl/certs/x"), "/etc/ssl/certs/x");
    }

    #[test]
    fn the_services_user_joins_those_of_the_base() {
        let theirs = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/:/bin/sh";
        let both = joined(theirs, PASSWD).unwrap();
        assert_eq!(both, format!("{theirs}\nnonroot:x:65532:65532:nonroot:/nimify:/sbin/nologin\n"));
        assert_eq!(joined(&both, PASSWD), None);
        assert_eq!(joined("", PASSWD).as_deref(), Some(PASSWD));
        assert_eq!(
            joined("app:x:65532:65532::/:/bin/sh\n", PASSWD),
            None,
            "the number is taken: that is the user then"
        );
    }

    #[test]
    fn libraries_are_known_by_their_names_without_versions() {
        let files = ["/lib/libc.so.6", "/lib/libstdc++.so.6.0.30", "/lib64/ld-linux-x86-64.so.2"];
        let needed = Closure { files: files.map(|path| (path.into(), path.into())).into(), ..Closure::default() };
        let stems = stems(&needed);
        let known = |name: &str| stems.iter().any(|stem| name.starts_with(stem.as_str()));
        for name in ["libc.so.6", "libc-2.28.so", "libstdc++.so.6", "ld-2.28.so", "ld-linux-x86-64.so.2"] {
            assert!(known(name), "{name}");
        }
        assert!(!known("libcrypt.so.1") && !known("libcuda.so"));
    }
}
