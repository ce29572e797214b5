//! Certificate, key and client CAs: bytes of files → a server's configuration. Pure but for [`Contents::read`].

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::{Files, provider};

/// More than any chain or bundle of CAs takes.
const LARGEST: u64 = 4 << 20;

/// Why TLS can't be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the two is missing.
    #[error("`server.tls` needs a certificate and its key: `server.tls.{0}` is not set")]
    Incomplete(&'static str),
    /// A file can't be read.
    #[error("can't read `{}`, which `server.tls.{setting}` names: {source}", path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("`{}`, which `server.tls.{setting}` names, holds no {wanted} in PEM", path.display())]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key are no pair, or of a kind that nobody speaks.
    #[error("`{}` and its key can't be used: {reason}", certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The clients' CAs can't be used.
    #[error("the CAs in `{}`, which `server.tls.clientCa` names, can't be used: {reason}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No thread to look at the files.
    #[error("the system refused a thread that looks at the certificate: {0}")]
    Thread(std::io::Error),
}

/// What the files hold. Compared to see a change; never shown: there is a private key in it.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn read(files: &Files) -> Result<Contents, TlsError> {
        Ok(Contents {
            certificate: read("certificate", &files.certificate)?,
            key: read("key", &files.key)?,
            client_ca: files.client_ca.as_deref().map(|path| read("clientCa", path)).transpose()?,
        })
    }

    /// HTTP/2 and HTTP/1.1 by ALPN, TLS 1.2 and 1.3. A client without a certificate is let in where CAs are named,
    /// since probes have none: it gets health and nothing else, for which the connection sees.
    pub(super) fn config(&self, files: &Files) -> Result<ServerConfig, TlsError> {
        let pair = |reason: String| TlsError::Pair { certificate: files.certificate.clone(), reason };
        let chain = certificates("certificate", &files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| TlsError::NotPem {
            setting: "key",
            path: files.key.clone(),
            wanted: "private key",
        })?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| pair(error.to_string()))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(bytes)) => {
                let roots = Arc::new(roots("clientCa", path, bytes)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::ClientCa { path: path.clone(), reason: error.to_string() })?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| pair(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Reads a file that is to be small.
pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|source| TlsError::Unreadable { setting, path: path.into(), source })
}

/// Every certificate of a PEM text, at least one.
pub(super) fn certificates(
    setting: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(TlsError::NotPem { setting, path: path.into(), wanted: "certificate" }),
    }
}

fn roots(setting: &'static str, path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(setting, path, pem)? {
        roots.add(certificate).map_err(|error| TlsError::ClientCa { path: path.into(), reason: error.to_string() })?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files { certificate: "c.pem".into(), key: "k.pem".into(), client_ca: None }
    }

    fn contents() -> Contents {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        Contents {
            certificate: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
            client_ca: None,
        }
    }

    #[test]
    fn a_pair_is_taken_and_anything_else_named() {
        let (one, other) = (contents(), contents());
        assert_eq!(one.config(&files()).unwrap().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let said = |contents: Contents| contents.config(&files()).unwrap_err().to_string();
        let Contents { certificate, key, .. } = contents();
        assert!(said(Contents { certificate, key: other.key, client_ca: None }).contains("`c.pem`"));
        assert!(said(Contents { certificate: key.clone(), ..contents() }).contains("`server.tls.certificate`"));
        let cut = key[..key.len() / 2].to_vec();
        let error = said(Contents { key: cut.clone(), ..contents() });
        assert!(error.contains("`k.pem`") && !error.contains(std::str::from_utf8(&cut[30..60]).unwrap()), "{error}");
        assert!(said(Contents { certificate: Vec::new(), ..contents() }).contains("no certificate in PEM"));
    }

    #[test]
    fn a_lone_certificate_is_incomplete() {
        use crate::settings::TlsSettings;
        let path = || Some(PathBuf::from("x"));
        assert!(Files::of(&TlsSettings::default()).unwrap().is_none());
        for (certificate, key, client_ca, missing) in
            [(path(), None, None, "key"), (None, path(), None, "certificate"), (None, None, path(), "certificate")]
        {
            let error = Files::of(&TlsSettings { certificate, key, client_ca }).unwrap_err().to_string();
            assert!(error.contains(&format!("`server.tls.{missing}`")), "{error}");
        }
    }
}
