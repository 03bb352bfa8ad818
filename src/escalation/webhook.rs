//! Posts a digest to the webhook of the configuration.
//!
//! In: an address, a token, JSON. Out: told (2xx), or why not. Follows no redirect: who is told is the administrator's
//! decision. What is answered beside the status is not read. No URL in what is said: some hold a secret in their path.

use super::words::Digest;
use crate::config::Webhook;
use reqwest::{Client, header, redirect};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use std::{path::Path, sync::Arc, time::Duration};

const CONNECT: Duration = Duration::from_secs(5);
/// For all of it.
const WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn post(webhook: &Webhook, digest: &Digest) -> Result<(), String> {
    let client = client(webhook).await?;
    let mut request = client
        .post(webhook.url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        // The same for the same call, so that one made twice can be told (draft-ietf-httpapi-idempotency-key-header).
        .header("Idempotency-Key", format!("\"{}\"", digest.id))
        .body(digest.json());
    if let Some(token) = &webhook.token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(|error| crate::model::chain(&error.without_url()))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => Err(format!("it answered {status}, and no redirect is followed")),
        status => Err(format!("it answered {status}")),
    }
}

/// Made for each call: a call is rare, and what is trusted may have changed.
async fn client(webhook: &Webhook) -> Result<Client, String> {
    let ca_file = webhook.ca_file.clone();
    let tls = tokio::task::spawn_blocking(move || trusted(ca_file.as_deref()));
    let tls = tls.await.map_err(|_| "the certificates cannot be read".to_owned())??;
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(WITHIN)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("neisse/", env!("CARGO_PKG_VERSION")));
    if webhook.is_local() {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| crate::model::chain(&error.without_url()))
}

/// The system's authorities, and one more.
fn trusted(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca_file {
        let unreadable = |_| "ca_file of the webhook cannot be read".to_owned();
        for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?).map_err(|error| format!("ca_file of the webhook: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
