//! TLS of the HTTP listener: the certificate of the configuration, read again when its files change or the configuration
//! is, while connections go on with the one they began with.
//!
//! A pair that cannot be used stops the start; at run time the one in force stays, and the log says why.

use crate::config::{HttpTls, Live};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Certificates are renewed every few weeks; whoever renews one looks after a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} cannot be read as PEM")]
    Unreadable { what: &'static str, source: rustls::pki_types::pem::Error },
    #[error("the certificate file holds no certificate")]
    Empty,
    #[error("certificate and key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

pub struct Certificates {
    files: HttpTls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// # Errors
    /// When the pair cannot be used.
    pub fn open(files: HttpTls) -> Result<Self, TlsError> {
        let current = RwLock::new(load(&files)?);
        Ok(Self { files, current })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reload(&self) -> Result<(), TlsError> {
        let fresh = load(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// When the files were last written; `None` where one is away, as in the middle of a renewal.
    fn written(&self) -> Option<(SystemTime, SystemTime)> {
        let at = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        Some((at(&self.files.certificate)?, at(&self.files.key)?))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn load(files: &HttpTls) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |what| move |source| TlsError::Unreadable { what, source };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable("the certificate"))?;
    if chain.is_empty() {
        return Err(TlsError::Empty);
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable("the key"))?;
    let key = ring::sign::any_supported_type(&key).map_err(TlsError::Unusable)?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        // A key that does not tell its public half is used as it is.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(pair)),
        Err(error) => Err(TlsError::Unusable(error)),
    }
}

/// # Errors
/// When the provider knows none of the protocol versions, which it does.
pub fn acceptor(certificates: Arc<Certificates>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Reads the files again when they have changed, until `stop`.
pub async fn keep_fresh(certificates: Arc<Certificates>, mut config: Live, stop: CancellationToken) {
    let mut in_force = certificates.written();
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = config.replaced() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        let now = certificates.written();
        if now.is_none() || (!asked && now == in_force) {
            continue;
        }
        let reading = certificates.clone();
        match tokio::task::spawn_blocking(move || reading.reload()).await {
            Ok(Ok(())) => {
                if now != in_force {
                    tracing::info!("The certificate of [http] has changed and is in force");
                }
                in_force = now;
            }
            // Certificate and key may be written one after the other: looked at again, and again told of.
            Ok(Err(error)) => {
                tracing::error!(error = %crate::model::chain(&error), "The new certificate of [http] cannot be used; the one in force stays");
            }
            Err(_) => tracing::error!("The certificate of [http] could not be read again"),
        }
    }
}
