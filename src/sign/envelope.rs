//! The encrypted private key as cosign keeps it: scrypt over the password, then NaCl's secretbox, told in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{Key, KeyInit, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::Password;
use super::{Error, KeyFault};

/// The cost that we write: what cosign writes too.
const COST: u32 = 65536;
/// The costs that we read: what the library behind cosign has ever written. A file that asks for more is refused,
/// since it could ask for any amount of memory.
const COSTS_READ: [u32; 3] = [32768, COST, 131_072];
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Encrypts `plaintext` under `password` with fresh salt and nonce, and gives the JSON that tells how.
pub(super) fn seal(plaintext: &[u8], password: &Password) -> Result<Vec<u8>, Error> {
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    for bytes in [&mut salt[..], &mut nonce[..]] {
        getrandom::fill(bytes).map_err(|error| Error::Random(error.to_string()))?;
    }
    let params = Params { n: COST, r: BLOCK_SIZE, p: PARALLELISM };
    let key = derive(password, &salt, &params).expect("the cost that we write is one that we read");
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&*key));
    let ciphertext =
        cipher.encrypt(Nonce::from_slice(&nonce), plaintext).expect("secretbox takes any message that fits in memory");
    let envelope = Envelope {
        kdf: Kdf { name: "scrypt".into(), params, salt: STANDARD.encode(salt) },
        cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    Ok(serde_json::to_vec(&envelope).expect("an envelope of strings and numbers is JSON"))
}

/// Opens what [`seal`], or cosign, made.
pub(super) fn open(json: &[u8], password: &Password) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let wrong = |what: &str| KeyFault::Envelope(what.into());
    let envelope: Envelope = serde_json::from_slice(json).map_err(|error| KeyFault::Envelope(error.to_string()))?;
    if envelope.kdf.name != "scrypt" {
        return Err(wrong("`kdf.name` should be `scrypt`"));
    }
    if envelope.cipher.name != "nacl/secretbox" {
        return Err(wrong("`cipher.name` should be `nacl/secretbox`"));
    }
    let bytes = |field: &str, text: &str| {
        STANDARD.decode(text).map_err(|error| KeyFault::Envelope(format!("`{field}` is not base64: {error}")))
    };
    let salt = bytes("kdf.salt", &envelope.kdf.salt)?;
    let nonce: [u8; 24] = bytes("cipher.nonce", &envelope.cipher.nonce)?
        .try_into()
        .map_err(|_| wrong("`cipher.nonce` should be 24 bytes"))?;
    let ciphertext = bytes("ciphertext", &envelope.ciphertext)?;
    let key = derive(password, &salt, &envelope.kdf.params)?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&*key));
    let plaintext = cipher.decrypt(Nonce::from_slice(&nonce), &*ciphertext).map_err(|_| KeyFault::Password)?;
    Ok(Zeroizing::new(plaintext))
}

fn derive(password: &Password, salt: &[u8], params: &Params) -> Result<Zeroizing<[u8; 32]>, KeyFault> {
    let known = COSTS_READ.contains(&params.n) && params.r == BLOCK_SIZE && params.p == PARALLELISM;
    if !known {
        let Params { n, r, p } = params;
        return Err(KeyFault::Envelope(format!(
            "scrypt with N={n}, r={r}, p={p} should be N=32768, 65536 or 131072, r=8, p=1"
        )));
    }
    let log_n = params.n.ilog2() as u8;
    let params = scrypt::Params::new(log_n, BLOCK_SIZE, PARALLELISM).expect("the costs that we read are valid");
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.bytes(), salt, &params, &mut *key).expect("32 bytes are a valid length");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_opens_what_was_sealed() {
        let sealed = seal(b"secret", &Password::from("open")).unwrap();
        assert_eq!(&**open(&sealed, &Password::from("open")).unwrap(), b"secret");
        assert_eq!(open(&sealed, &Password::default()), Err(KeyFault::Password));
    }

    #[test]
    fn costs_that_nobody_writes_are_refused_before_they_are_paid() {
        let sealed = String::from_utf8(seal(b"secret", &Password::default()).unwrap()).unwrap();
        for (old, new) in [("65536", "4294967295"), ("\"r\":8", "\"r\":1000"), ("scrypt", "bcrypt"), ("nacl", "aes")] {
            let changed = sealed.replace(old, new);
            assert!(matches!(open(changed.as_bytes(), &Password::default()), Err(KeyFault::Envelope(_))), "{new}");
        }
    }
}
