//! One connection to the broker: URL, TLS, handshake, each within a time limit.
//!
//! In: the configuration. Out: an open connection and a handle that cuts its socket. Keeps nothing alive and tries
//! nothing twice: `link` does. No error text here holds the URL, for it holds the password.

use crate::config::Amqp;
use crate::queue::CarrierError;
use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig},
    uri::{AMQPScheme, AMQPUri},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    fs, io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// TCP, TLS and the AMQP handshake together.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A broker or a path that is silent for two of these is given up.
const HEARTBEAT_SECS: u16 = 20;

/// Certificates and keys are a few KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Cuts a connection's socket, whatever state the connection is in. Without it a broker that accepts and then says
/// nothing would hold a thread and a socket for each attempt, because the client has no time limit of its own.
#[derive(Clone, Default)]
pub struct Scissors(Arc<Mutex<Option<TcpStream>>>);

impl Scissors {
    pub fn cut(&self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Gone already is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn hold(&self, socket: TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }
}

/// # Errors
/// When the URL is not AMQP. Repeats nothing of it.
pub fn parse_url(url: &str) -> Result<AMQPUri, CarrierError> {
    let mut uri: AMQPUri = url.parse().map_err(|_| CarrierError::Url)?;
    // The parser takes an IPv6 literal for "no host", and would go to localhost.
    let after_credentials = url.rsplit('@').next().unwrap_or(url);
    let after_scheme = after_credentials.split("://").last().unwrap_or(after_credentials);
    if let Some(literal) = after_scheme.strip_prefix('[') {
        uri.authority.host = literal.split(']').next().ok_or(CarrierError::Url)?.to_string();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECS);
    Ok(uri)
}

/// Reads the certificates anew each time, so that renewing them needs no restart. None: no TLS.
///
/// # Errors
/// When a file cannot be read, or does not hold what it should.
pub fn tls(config: &Amqp, uri: &AMQPUri) -> Result<Option<RustlsConnector>, CarrierError> {
    if uri.scheme == AMQPScheme::AMQP {
        return Ok(None);
    }
    let roots = match &config.ca_file {
        // Only this authority: the system's roots would let anyone with a public certificate in.
        Some(file) => {
            let mut roots = RustlsConnectorConfig::default();
            roots.add_parsable_certificates(certificates(file, "ca_file")?);
            roots
        }
        None => RustlsConnectorConfig::new_with_native_certs().map_err(CarrierError::Tls)?,
    };
    let connector = match (&config.cert_file, &config.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key_file, "key_file")?)
                .map_err(|_| CarrierError::Pem { what: "key_file" })?;
            roots.connector_with_single_cert(certificates(cert_file, "cert_file")?, key)
        }
        (None, None) => roots.connector_with_no_client_auth(),
        _ => return Err(CarrierError::HalfIdentity),
    };
    connector.map(Some).map_err(CarrierError::Tls)
}

fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, CarrierError> {
    let pem = read(file, what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(CarrierError::Pem { what }),
    }
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, CarrierError> {
    let whole = || {
        if fs::metadata(file)?.len() > MAX_PEM_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 MiB"));
        }
        fs::read(file)
    };
    whole().map_err(|source| CarrierError::File { what, source })
}

/// # Errors
/// The reason in words for an operator, without credentials.
pub async fn open(config: &Amqp, uri: &AMQPUri, name: &str) -> Result<(Connection, Scissors), String> {
    let tls = tls(config, uri).map_err(|error| chain(&error))?;
    let scissors = Scissors::default();
    let socket = scissors.clone();
    let runtime = lapin::runtime::default_runtime().map_err(|error| why(&error))?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connecting = Connection::connector(
        uri.clone(),
        runtime,
        async move |uri: AMQPUri, runtime| {
            let connecting = async {
                let addresses: Vec<_> =
                    tokio::net::lookup_host((uri.authority.host.as_str(), uri.authority.port)).await?.collect();
                let stream = AsyncTcpStream::connect(&runtime, addresses).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    // A confirm waits for the last small frame: Nagle would hold it back for a delayed ACK.
                    plain.get_ref().set_nodelay(true)?;
                    socket.hold(TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?));
                }
                match &tls {
                    Some(connector) => stream.into_rustls(connector, &uri.authority.host).await,
                    None => Ok(stream),
                }
            };
            // Inside as well: the outer limit cannot end a thread that is still in here.
            let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
            Ok(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?)
        },
        properties,
    );
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(connection)) => Ok((connection, scissors)),
        Ok(Err(error)) => {
            scissors.cut();
            Err(why(&error))
        }
        Err(_) => {
            scissors.cut();
            Err(format!("no answer from the broker within {} s", CONNECT_WITHIN.as_secs()))
        }
    }
}

/// What happened, in words for an operator.
pub fn why(error: &lapin::Error) -> String {
    match error.kind() {
        // "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details …"
        ErrorKind::ProtocolError(found) => {
            format!("the broker says: {}", found.get_message().as_str())
        }
        ErrorKind::IOError(source) => format!("connection: {source}"),
        ErrorKind::MissingHeartbeatError => "the broker has fallen silent".to_string(),
        _ => error.to_string(),
    }
}

/// An error and what it comes from, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_broker_is_not_taken_for_localhost() {
        for (url, host) in [
            ("amqp://user:secret@[fd00::7]:5673/%2f", "fd00::7"),
            ("amqp://[::1]", "::1"),
            ("amqps://broker.example:5671/neisse", "broker.example"),
        ] {
            assert_eq!(parse_url(url).unwrap().authority.host, host, "{url}");
        }
    }

    #[test]
    fn an_unreadable_url_is_not_repeated() {
        for url in ["amqp://user:secret@host:notaport", "http://user:secret@host", "amqp:secret"] {
            let text = chain(&parse_url(url).unwrap_err());
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let config = Amqp {
            url: "amqps://localhost".to_string(),
            ca_file: Some(folder.path().join("ca.pem")),
            cert_file: Some(folder.path().join("cert.pem")),
            key_file: None,
        };
        let uri = parse_url(&config.url).unwrap();
        assert!(matches!(tls(&config, &uri), Err(CarrierError::File { what: "ca_file", .. })));
        fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
        assert!(matches!(tls(&config, &uri), Err(CarrierError::Pem { what: "ca_file" })));
        let ca = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
        fs::write(folder.path().join("ca.pem"), ca.cert.pem()).unwrap();
        assert!(matches!(tls(&config, &uri), Err(CarrierError::HalfIdentity)));
    }
}
