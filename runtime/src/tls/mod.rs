//! TLS: certificate files → what a connection is accepted with, read again when the files change.
//!
//! The files are compared by what is in them: Kubernetes swaps a symlink two folders up, which no watch on the file
//! itself would see. Connections that are open keep the certificate that they began with.

pub(crate) mod client;
mod files;

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::server::TlsStream;

use self::files::Contents;
pub use self::files::TlsError;
use crate::metrics::Metrics;
use crate::settings::TlsSettings;

/// How often the files are looked at.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// How long a client may take for its part of the handshake, at most; `readTimeout` where that is less.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Certificate and key, as they are now.
pub(crate) struct Tls {
    files: Files,
    config: RwLock<Arc<ServerConfig>>,
}

/// Where they are.
#[derive(Debug, Clone)]
struct Files {
    certificate: std::path::PathBuf,
    key: std::path::PathBuf,
    client_ca: Option<std::path::PathBuf>,
}

impl Tls {
    /// Reads what `settings` name and goes on looking whether it changes; `None` where they name nothing. Fails where
    /// the files can't be used: a service that was to be protected must not run unprotected.
    pub(crate) fn start(settings: &TlsSettings, metrics: &Arc<Metrics>) -> Result<Option<Arc<Tls>>, TlsError> {
        let Some(files) = Files::of(settings)? else { return Ok(None) };
        let contents = Contents::read(&files)?;
        let tls = Arc::new(Tls { config: RwLock::new(Arc::new(contents.config(&files)?)), files });
        let (watched, metrics) = (Arc::downgrade(&tls), metrics.clone());
        std::thread::Builder::new()
            .name("certificates".into())
            .spawn(move || watch(&watched, contents, &metrics))
            .map_err(TlsError::Thread)?;
        Ok(Some(tls))
    }

    /// Shakes hands.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Whether only clients with a certificate get more than health.
    pub(crate) fn asks_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    fn replace(&self, contents: &Contents) -> Result<(), TlsError> {
        let config = Arc::new(contents.config(&self.files)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

impl Files {
    fn of(settings: &TlsSettings) -> Result<Option<Files>, TlsError> {
        match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (certificate.clone(), key.clone());
                Ok(Some(Files { certificate, key, client_ca: settings.client_ca.clone() }))
            }
            (None, None) if settings.client_ca.is_none() => Ok(None),
            (None, _) => Err(TlsError::Incomplete("certificate")),
            (_, None) => Err(TlsError::Incomplete("key")),
        }
    }
}

/// Takes over what the files have become, until nobody needs it any more. What can't be used is said once, and looked
/// at again when it has changed: certificate and key may be written one after the other.
fn watch(tls: &Weak<Tls>, mut known: Contents, metrics: &Metrics) {
    let mut unreadable = false;
    loop {
        std::thread::sleep(LOOKED_AT);
        let Some(tls) = tls.upgrade() else { return };
        let taken = match Contents::read(&tls.files) {
            Ok(contents) if contents == known && !unreadable => continue,
            Ok(contents) => {
                let taken = tls.replace(&contents);
                (known, unreadable) = (contents, false);
                taken
            }
            Err(_) if unreadable => continue,
            Err(error) => {
                unreadable = true;
                Err(error)
            }
        };
        match taken {
            Ok(()) => tracing::info!(certificate = %tls.files.certificate.display(), "TLS certificate reloaded"),
            Err(ref error) => {
                tracing::error!(%error, "the new TLS certificate can't be used: the one before it stays");
            }
        }
        metrics.tls_reloaded(taken.is_ok());
    }
}

/// ring: builds with a C compiler alone.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
