//! Where keys are kept: the user's key store, a file, or an environment variable.
//!
//! ```text
//! $XDG_CONFIG_HOME/nimify/keys/     0700
//!   ed25519.key                     0600, the user's own pair, for images
//!   ed25519.pub
//!   ecdsa-p256.key                  0600, another, for models (and for images where there is no Ed25519 one)
//!   ecdsa-p256.pub
//!   trusted/<key id>.pub            keys of others that the user trusts
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::command::KeyCommand;
use super::{Algorithm, Error, Expiry, KeyFault, KeyId, KeySource, Password, PublicKey, SigningKey};
use crate::files;

/// The kinds of keys, the first that is there signs images.
const KINDS: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

/// Largest key file that is read, bytes.
const LARGEST_KEY: u64 = 64 << 10;

impl KeySource {
    /// Reads the private key. Encrypted or in the clear, but never from a file that everyone can read.
    pub fn signing_key(&self, password: &Password) -> Result<SigningKey, Error> {
        let (text, origin) = match self {
            KeySource::File(path) => (read_private(path, 0o007)?, name(path)),
            KeySource::Variable(variable) => (read_variable(variable)?, format!("the variable `{variable}`")),
            KeySource::Command(line) => return SigningKey::held(KeyCommand::new(line)),
        };
        SigningKey::from_pem(&text, password, &origin)
    }

    /// Reads a public key.
    pub fn public_key(&self) -> Result<PublicKey, Error> {
        match self {
            KeySource::File(path) => read_public(path),
            KeySource::Variable(variable) => {
                PublicKey::from_pem(&read_variable(variable)?, &format!("the variable `{variable}`"))
            }
            KeySource::Command(line) => KeyCommand::new(line).public_key(),
        }
    }
}

/// The private keys of these sources in their order, each key once.
pub fn signing_keys(sources: &[KeySource], password: &Password) -> Result<Vec<SigningKey>, Error> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for source in sources {
        let key = source.signing_key(password)?;
        if keys.iter().all(|known| known.public() != key.public()) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The public keys whose signatures are believed, and how many of them it takes; and those that were believed until
/// their time was over, so that it can be said.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: BTreeMap<KeyId, PublicKey>,
    expired: BTreeMap<KeyId, PublicKey>,
    threshold: Option<NonZeroUsize>,
}

impl TrustedKeys {
    /// The keys of these sources: each has to be there and usable.
    pub fn from_sources<'a>(sources: impl IntoIterator<Item = &'a KeySource>) -> Result<Self, Error> {
        sources.into_iter().map(KeySource::public_key).collect()
    }

    /// Adds a key that is trusted until `expiry`, or for ever. At `now`, seconds since 1970, it may be over.
    pub fn add(&mut self, key: PublicKey, expiry: Option<&Expiry>, now: u64) {
        let over = expiry.is_some_and(|expiry| expiry.has_passed(now));
        let list = if over { &mut self.expired } else { &mut self.keys };
        list.insert(key.id(), key);
    }

    /// The keys whose time is over, sorted by id, but for those that another entry still trusts.
    pub fn expired(&self) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
        self.expired.iter().filter(|(id, _)| !self.keys.contains_key(id))
    }

    /// The keys with their ids, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &PublicKey)> {
        self.keys.iter()
    }

    /// The same keys, of which `threshold` different ones have to have signed.
    pub fn with_threshold(self, threshold: NonZeroUsize) -> Self {
        TrustedKeys { threshold: Some(threshold), ..self }
    }

    /// How many different keys have to have signed: 1 unless more were asked for.
    pub fn threshold(&self) -> usize {
        self.threshold.map_or(1, NonZeroUsize::get)
    }

    /// How many keys are named, those among them whose time is over.
    pub fn len(&self) -> usize {
        self.keys.len() + self.expired().count()
    }

    /// Whether no key is named.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl FromIterator<PublicKey> for TrustedKeys {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        TrustedKeys { keys: keys.into_iter().map(|key| (key.id(), key)).collect(), ..Self::default() }
    }
}

/// What [`KeyStore::ensure`] gave.
#[derive(Debug)]
pub struct Ensured {
    /// The user's private key.
    pub key: SigningKey,
    /// Where it was made just now; `None` where it was there already.
    pub made: Option<PathBuf>,
}

/// The folder in which a user's own pair and the keys that they trust are kept.
#[derive(Debug, Clone)]
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// A store in `folder`, which need not be there yet.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        KeyStore { folder: folder.into() }
    }

    /// The user's store: `$XDG_CONFIG_HOME/nimify/keys`, else `~/.config/nimify/keys`.
    pub fn of_user() -> Result<Self, Error> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        Ok(KeyStore::at(config.ok_or(Error::NoHome)?.join("nimify/keys")))
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the user's private key of this kind is, or would be.
    pub fn private_path(&self, algorithm: Algorithm) -> PathBuf {
        self.folder.join(format!("{}.key", algorithm.as_str()))
    }

    /// Where its public half is, or would be.
    pub fn public_path(&self, algorithm: Algorithm) -> PathBuf {
        self.folder.join(format!("{}.pub", algorithm.as_str()))
    }

    /// The kind of the key that signs images: Ed25519, unless there is only another.
    fn for_images(&self) -> Algorithm {
        let there = |algorithm: &Algorithm| self.private_path(*algorithm).exists();
        KINDS.into_iter().find(there).unwrap_or(Algorithm::Ed25519)
    }

    fn trusted_folder(&self) -> PathBuf {
        self.folder.join("trusted")
    }

    /// The private key that the user's images are signed with: [`Error::NoKey`] where none was made yet.
    pub fn signing_key(&self, password: &Password) -> Result<SigningKey, Error> {
        self.key_of(self.for_images(), password)
    }

    /// The user's private key of one kind: [`Error::NoKey`] where none was made yet.
    pub fn key_of(&self, algorithm: Algorithm, password: &Password) -> Result<SigningKey, Error> {
        self.refuse_open_folder()?;
        let path = self.private_path(algorithm);
        let key = SigningKey::from_pem(&read_private(&path, 0o077)?, password, &name(&path))?;
        if key.public().algorithm() != algorithm {
            let fault = KeyFault::Kind { found: key.public().algorithm(), wanted: algorithm };
            return Err(Error::Key { origin: name(&path), fault });
        }
        match read_public(&self.public_path(algorithm)) {
            Ok(public) if public == key.public() => Ok(key),
            Ok(_) => Err(Error::OddPair { path: self.public_path(algorithm) }),
            // A write that was cut off between the two: the private half is the one that counts.
            Err(Error::NoKey { .. }) => self.write_public(&key).map(|()| key),
            Err(error) => Err(error),
        }
    }

    /// The private key for images, made now where there is none.
    pub fn ensure(&self, password: &Password) -> Result<Ensured, Error> {
        self.ensure_of(self.for_images(), password)
    }

    /// The user's private key of one kind, made now where there is none.
    pub fn ensure_of(&self, algorithm: Algorithm, password: &Password) -> Result<Ensured, Error> {
        match self.key_of(algorithm, password) {
            Err(Error::NoKey { .. }) => {}
            found => return found.map(|key| Ensured { key, made: None }),
        }
        let key = SigningKey::generate_as(algorithm)?;
        match self.import(&key, password) {
            Ok(()) => Ok(Ensured { key, made: Some(self.private_path(algorithm)) }),
            // Another process was quicker.
            Err(Error::Occupied { .. }) => self.key_of(algorithm, password).map(|key| Ensured { key, made: None }),
            Err(error) => Err(error),
        }
    }

    /// Puts a pair into a store that has none of its kind, its private half encrypted under `password`. A pair that is
    /// there is never overwritten: [`Error::Occupied`], unless it is the same.
    pub fn import(&self, key: &SigningKey, password: &Password) -> Result<(), Error> {
        self.make_folder(&self.folder)?;
        self.refuse_open_folder()?;
        let algorithm = key.public().algorithm();
        let path = self.private_path(algorithm);
        let text = key.to_pem(password)?;
        let failed = |source| Error::Io { attempt: "write", path: path.clone(), source };
        // A temporary file is 0600 from the start, and it appears under its name whole or not at all.
        let mut file = tempfile::Builder::new().prefix(".nimify-").tempfile_in(&self.folder).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        match file.persist_noclobber(&path) {
            Ok(_) => self.write_public(key),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                let present = match self.public_key_of(algorithm)? {
                    Some(present) => present,
                    None => self.key_of(algorithm, password)?.public(),
                };
                if present == key.public() { Ok(()) } else { Err(Error::Occupied { path, present: present.id() }) }
            }
            Err(error) => Err(failed(error.error)),
        }
    }

    /// The public half of the pair for images; `None` where none was made yet.
    pub fn public_key(&self) -> Result<Option<PublicKey>, Error> {
        self.public_key_of(self.for_images())
    }

    /// The public half of the user's pair of one kind; `None` where none was made yet.
    pub fn public_key_of(&self, algorithm: Algorithm) -> Result<Option<PublicKey>, Error> {
        match read_public(&self.public_path(algorithm)) {
            Err(Error::NoKey { .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Trusts another's key from now on, and says in which file.
    pub fn trust(&self, key: &PublicKey) -> Result<PathBuf, Error> {
        self.make_folder(&self.trusted_folder())?;
        let path = self.trusted_folder().join(format!("{}.pub", key.id().digest().hex()));
        files::write_atomically(&path, key.to_pem().as_bytes())
            .and_then(|()| files::set_mode(&path, 0o600))
            .map_err(|source| Error::Io { attempt: "write", path: path.clone(), source })?;
        Ok(path)
    }

    /// The user's own keys and those that they trust; none where the store is not there.
    pub fn trusted(&self) -> Result<TrustedKeys, Error> {
        if !self.folder.exists() {
            return Ok(TrustedKeys::default());
        }
        self.refuse_open_folder()?;
        let mut keys = Vec::new();
        for algorithm in KINDS {
            keys.extend(self.public_key_of(algorithm)?);
        }
        let folder = self.trusted_folder();
        let failed = |source| Error::Io { attempt: "read", path: folder.clone(), source };
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(failed)?.path();
                    if path.extension().is_some_and(|extension| extension == "pub") {
                        keys.push(read_public(&path)?);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(keys.into_iter().collect())
    }

    fn write_public(&self, key: &SigningKey) -> Result<(), Error> {
        let path = self.public_path(key.public().algorithm());
        files::write_atomically(&path, key.public().to_pem().as_bytes())
            .and_then(|()| files::set_mode(&path, 0o600))
            .map_err(|source| Error::Io { attempt: "write", path, source })
    }

    fn make_folder(&self, folder: &Path) -> Result<(), Error> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| Error::Io {
            attempt: "make the folder",
            path: folder.into(),
            source,
        })
    }

    /// Whoever can write here decides what this user signs with and trusts.
    fn refuse_open_folder(&self) -> Result<(), Error> {
        match fs::metadata(&self.folder) {
            Ok(data) => refuse_bits(&self.folder, data.permissions().mode(), 0o077),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoKey { origin: name(&self.folder) }),
            Err(source) => Err(Error::Io { attempt: "read", path: self.folder.clone(), source }),
        }
    }
}

fn name(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn refuse_bits(path: &Path, mode: u32, forbidden: u32) -> Result<(), Error> {
    if mode & forbidden == 0 { Ok(()) } else { Err(Error::Readable { path: path.into(), mode: mode & 0o7777 }) }
}

fn read_variable(variable: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let text = std::env::var_os(variable).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Error::NoKey { origin: format!("the variable `{variable}`") })?;
    Ok(Zeroizing::new(text.into_encoded_bytes()))
}

fn read_public(path: &Path) -> Result<PublicKey, Error> {
    PublicKey::from_pem(&read(path, |_| Ok(()))?, &name(path))
}

fn read_private(path: &Path, forbidden: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
    read(path, |mode| refuse_bits(path, mode, forbidden))
}

fn read(path: &Path, check: impl Fn(u32) -> Result<(), Error>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::NoKey { origin: name(path) },
        _ => Error::Io { attempt: "read", path: path.into(), source },
    };
    // Looked at first: opening a pipe would wait for a writer.
    let data = fs::metadata(path).map_err(failed)?;
    if !data.is_file() || data.len() > LARGEST_KEY {
        let fault = KeyFault::Pem(format!("a key is a file of at most {LARGEST_KEY} bytes"));
        return Err(Error::Key { origin: name(path), fault });
    }
    check(data.permissions().mode())?;
    fs::read(path).map(Zeroizing::new).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_pair_is_made_once_and_kept_from_others() {
        let home = tempfile::tempdir().unwrap();
        let store = KeyStore::at(home.path().join("nimify/keys"));
        let password = Password::from("pw");
        assert!(matches!(store.signing_key(&password), Err(Error::NoKey { .. })));
        assert!(store.trusted().unwrap().is_empty());
        let first = store.ensure(&password).unwrap();
        assert_eq!(first.made, Some(store.private_path(Algorithm::Ed25519)));
        let second = store.ensure(&password).unwrap();
        assert!(second.made.is_none());
        assert_eq!(first.key.public(), second.key.public());
        assert_eq!(
            [
                mode(store.folder()),
                mode(&store.private_path(Algorithm::Ed25519)),
                mode(&store.public_path(Algorithm::Ed25519))
            ],
            [0o700, 0o600, 0o600]
        );
        assert!(matches!(store.ensure(&Password::default()), Err(Error::Key { fault: KeyFault::Password, .. })));
        assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 2, "nothing else is left there");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let store = KeyStore::at(home.path().join("keys"));
        store.ensure(&Password::default()).unwrap();
        let key = store.private_path(Algorithm::Ed25519);
        files::set_mode(&key, 0o644).unwrap();
        let error = store.signing_key(&Password::default()).unwrap_err();
        assert!(error.to_string().contains("has the mode 0644"), "{error}");
        assert!(matches!(KeySource::File(key.clone()).signing_key(&Password::default()), Err(Error::Readable { .. })));
        files::set_mode(&key, 0o600).unwrap();
        files::set_mode(store.folder(), 0o750).unwrap();
        assert!(matches!(store.signing_key(&Password::default()), Err(Error::Readable { .. })));
        assert!(matches!(store.trusted(), Err(Error::Readable { .. })));
    }

    #[test]
    fn a_pair_is_never_overwritten_and_its_halves_belong_together() {
        let home = tempfile::tempdir().unwrap();
        let store = KeyStore::at(home.path().join("keys"));
        let (mine, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        store.import(&mine, &Password::default()).unwrap();
        store.import(&mine, &Password::default()).unwrap();
        assert!(matches!(store.import(&other, &Password::default()), Err(Error::Occupied { .. })));
        fs::write(store.public_path(Algorithm::Ed25519), other.public().to_pem()).unwrap();
        assert!(matches!(store.signing_key(&Password::default()), Err(Error::OddPair { .. })));
        fs::remove_file(store.public_path(Algorithm::Ed25519)).unwrap();
        assert_eq!(store.signing_key(&Password::default()).unwrap().public(), mine.public());
        assert_eq!(store.public_key().unwrap(), Some(mine.public()));
    }

    #[test]
    fn a_store_has_a_pair_of_each_kind() {
        let home = tempfile::tempdir().unwrap();
        let store = KeyStore::at(home.path().join("keys"));
        let password = Password::default();
        let p256 = SigningKey::generate_as(Algorithm::EcdsaP256).unwrap();
        store.import(&p256, &password).unwrap();
        assert_eq!(store.signing_key(&password).unwrap().public(), p256.public(), "the only one signs images");
        assert!(store.ensure(&password).unwrap().made.is_none());
        let made = store.ensure_of(Algorithm::Ed25519, &password).unwrap();
        assert_eq!(made.made, Some(store.private_path(Algorithm::Ed25519)));
        assert_eq!(store.signing_key(&password).unwrap().public(), made.key.public());
        assert_eq!(store.key_of(Algorithm::EcdsaP256, &password).unwrap().public(), p256.public());
        assert_eq!(store.trusted().unwrap().len(), 2);
        fs::copy(store.private_path(Algorithm::Ed25519), store.private_path(Algorithm::EcdsaP256)).unwrap();
        let error = store.key_of(Algorithm::EcdsaP256, &password).unwrap_err();
        assert!(error.to_string().contains("is ed25519, but should be ecdsa-p256"), "{error}");
    }

    #[test]
    fn keys_of_others_are_trusted_by_their_file() {
        let home = tempfile::tempdir().unwrap();
        let store = KeyStore::at(home.path().join("keys"));
        let other = SigningKey::generate().unwrap().public();
        let path = store.trust(&other).unwrap();
        assert_eq!(store.trusted().unwrap().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other.id()]);
        fs::write(path, "junk").unwrap();
        assert!(matches!(store.trusted(), Err(Error::Key { .. })), "a broken key is not passed over");
    }

    #[test]
    fn sources_are_told_apart_and_missing_ones_named() {
        let missing = KeySource::Variable("NIMIFY_TEST_NO_SUCH_VARIABLE".into());
        let error = missing.signing_key(&Password::default()).unwrap_err();
        assert_eq!(error.to_string(), "there is no key in the variable `NIMIFY_TEST_NO_SUCH_VARIABLE`");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(KeySource::File(folder.path().into()).public_key(), Err(Error::Key { .. })));
    }
}
