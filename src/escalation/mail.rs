//! Mails a digest by the server of the configuration.
//!
//! In: a server, addresses, a text. Out: told (the server has taken it for one recipient at least), or why not. A mail
//! that is sent again has the same Message-ID. In clear only where the configuration says so.

use super::words::{Digest, short};
use crate::config::{Mail, MailTls};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    address::Envelope,
    message::{header, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use std::time::Duration;

/// For each step, and for all of it: greylisting servers think for a while.
const STEP: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_secs(17);
/// A server may answer at length.
const MAX_ANSWER: usize = 200;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// RFC 3834 5: nobody's holiday answers to it.
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

pub(super) async fn send(mail: &Mail, digest: &Digest, text: String) -> Result<(), String> {
    let sending = async {
        let message = message(mail, digest, text)?;
        let transport = transport(mail).await?;
        deliver(mail, &transport, &message).await
    };
    tokio::time::timeout(WITHIN, sending).await.unwrap_or_else(|_| Err(format!("no answer within {WITHIN:?}")))
}

/// To all at once. Where the server will not have one of them (for good, or because a mailbox is full now), the others are still told.
async fn deliver(mail: &Mail, transport: &Transport, message: &[u8]) -> Result<(), String> {
    let everybody: Vec<Address> = mail.to.iter().map(|to| to.email.clone()).collect();
    let refused = match to(mail, transport, everybody, message).await {
        Err(error) if (error.is_permanent() || error.is_transient()) && mail.to.len() > 1 => error,
        done => return done.map_err(said),
    };
    let mut told = 0;
    for (number, one) in mail.to.iter().enumerate() {
        match to(mail, transport, vec![one.email.clone()], message).await {
            Ok(()) => told += 1,
            Err(error) => {
                tracing::warn!(recipient = number + 1, error = %said(error), "The mail server does not take notices for address {} of [escalation] mail", number + 1);
            }
        }
    }
    if told > 0 { Ok(()) } else { Err(said(refused)) }
}

async fn to(
    mail: &Mail,
    transport: &Transport,
    recipients: Vec<Address>,
    message: &[u8],
) -> Result<(), lettre::transport::smtp::Error> {
    // Never empty: the configuration sees to it.
    let Ok(envelope) = Envelope::new(Some(mail.from.email.clone()), recipients) else { return Ok(()) };
    transport.send_raw(&envelope, message).await.map(drop)
}

fn message(mail: &Mail, digest: &Digest, text: String) -> Result<Vec<u8>, String> {
    let domain = mail.from.email.domain();
    let mut builder = Message::builder()
        .from(mail.from.clone())
        .subject(digest.headline())
        .date(digest.at.utc().into())
        .message_id(Some(format!("<{}@{domain}>", digest.id)))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(to.clone());
    }
    Ok(builder.body(text).map_err(|error| error.to_string())?.formatted())
}

async fn transport(mail: &Mail) -> Result<Transport, String> {
    let tls = match mail.tls {
        MailTls::None => Tls::None,
        MailTls::StartTls => Tls::Required(trusted(mail).await?),
        MailTls::Tls => Tls::Wrapper(trusted(mail).await?),
    };
    // A domain that exists: many servers hang up on others (RFC 5321 4.1.1.1).
    let name = ClientId::Domain(mail.from.email.domain().to_owned());
    let mut builder =
        Transport::builder_dangerous(&mail.server).port(mail.port).tls(tls).hello_name(name).timeout(Some(STEP));
    if let Some((user, password)) = &mail.user {
        builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
    }
    Ok(builder.build())
}

/// The system's authorities, and one more. Read on a thread of its own.
async fn trusted(mail: &Mail) -> Result<TlsParameters, String> {
    let (server, ca_file) = (mail.server.clone(), mail.ca_file.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut parameters = TlsParameters::builder(server);
        if let Some(file) = ca_file {
            let pem = std::fs::read(file).map_err(|_| "ca_file of the mail server cannot be read".to_owned())?;
            parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(said)?);
        }
        parameters.build_rustls().map_err(said)
    });
    reading.await.unwrap_or_else(|_| Err("the certificates cannot be read".to_owned()))
}

fn said(error: lettre::transport::smtp::Error) -> String {
    short(&crate::model::chain(&error), MAX_ANSWER)
}
