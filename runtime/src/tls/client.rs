//! The other side: what the service's own program trusts when it asks a service over TLS.
//!
//! It is given one file of certificates. A server whose own certificate is in the file is the one that is meant,
//! whatever name it was asked by (a health check asks `127.0.0.1`); any other has to be signed by one of the file and
//! made out for the name.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};

use super::{files, provider};

/// A stream that is protected.
pub(crate) type Protected = StreamOwned<ClientConnection, TcpStream>;

/// Protects `stream`, on which `host` is asked; the handshake follows with the first bytes.
pub(crate) fn protect(stream: TcpStream, host: &str, trusted: &Path) -> io::Result<Protected> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let pem = files::read("certificate", trusted).map_err(|e| wrong(&e))?;
    let known = files::certificates("certificate", trusted, &pem).map_err(|e| wrong(&e))?;
    let name = ServerName::try_from(host.to_string()).map_err(|e| wrong(&e))?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Known::new(known)))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| wrong(&e))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Trusts the certificates of a file.
#[derive(Debug)]
struct Known {
    certificates: Vec<CertificateDer<'static>>,
    /// `None` where none of them can be an authority.
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Known {
    fn new(certificates: Vec<CertificateDer<'static>>) -> Known {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok();
        Known { certificates, signed, provider: provider() }
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|known| known == certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.signed {
            Some(signed) => signed.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
