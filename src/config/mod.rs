//! The configuration: a folder of TOML in, a checked [`Config`] out, or every problem at once.
//!
//! In: `neisse.toml` (the node), `calendars.toml`, `routes.toml`, `partners/<id>.toml`. Out: values that need no
//! further checking: every partner a route names exists, every calendar parses, every time zone is known. Unknown
//! keys are refused. A problem says file, place, value found, what was expected and, where we can, what to do.
//! Secrets come from files or the environment, never from these files.
//!
//! Does not decide anything: conditions and calendars are data here; `routing` reads them.

mod callers;
mod checks;
pub mod escalation;
pub mod hours;
mod letters;
pub mod live;
pub mod load;
mod node_file;
mod partner_file;
mod problems;
mod route_file;
mod secrets;
mod table;
mod values;

use crate::model::{Channel, Charset, Discipline, Identifiers, Mapping, PartnerId, Priority, ReadingMode, ReportForm};
use std::{collections::BTreeMap, fmt, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

pub use callers::UnknownCaller;
pub use escalation::{Escalation, Mail, MailTls, Webhook};
pub use live::{Live, Replacer};
pub use load::{Problem, Problems, load, load_from};

/// A span of time as people write it in these files and on the command line: `90m`, `4h`, `2d`; a minute to 30 days.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    values::duration_between(text, "1m", "30d")
}

/// How long a token of an HTTP caller lets in: `12h`, `90d`; an hour to ten years.
///
/// # Errors
/// What was expected.
pub fn token_lifetime(text: &str) -> Result<Duration, String> {
    values::duration_between(text, "1h", "3650d")
}

/// A whole installation, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: Node,
    pub database: DatabaseUrl,
    pub queue: QueueUrl,
    pub dicom: DicomListener,
    pub hl7: Hl7Listener,
    pub http: HttpListener,
    pub delivery: DeliveryTimes,
    pub tasks: TaskTimes,
    pub retention: Retention,
    pub escalation: Escalation,
    pub partners: BTreeMap<PartnerId, Partner>,
    pub calendars: BTreeMap<String, Calendar>,
    /// In file order: the first match wins.
    pub routes: Vec<Route>,
    /// SHA-256 (hex, first 12 digits) of calendars, routes and partner files: what a decision stores as its rules' version.
    pub rules_version: String,
}

impl Config {
    /// Why nothing can leave for a partner by this channel, whoever it was when it was owed. `None`: it can.
    pub fn no_way_to(&self, partner: &PartnerId, channel: Channel) -> Option<&'static str> {
        let Some(partner) = self.partners.get(partner) else { return Some("it is no partner any more") };
        let (there, reason) = match channel {
            Channel::Dicom => {
                let target = partner.dicom.as_ref().and_then(|dicom| dicom.deliver.as_ref());
                (target.is_some(), "no [dicom] deliver is configured for it")
            }
            Channel::Hl7 => {
                let target = partner.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref());
                (target.is_some(), "no [hl7] deliver is configured for it")
            }
        };
        (!there).then_some(reason)
    }

    /// Whether this one is asked to keep the images it has taken.
    pub fn asks_commitment_of(&self, partner: &PartnerId) -> bool {
        let dicom = self.partners.get(partner).and_then(|partner| partner.dicom.as_ref());
        dicom.and_then(|dicom| dicom.deliver.as_ref()).is_some_and(|target| target.commitment)
    }

    /// Whether any reader wants identifiers of its own.
    pub fn has_mappings(&self) -> bool {
        self.partners.values().any(|partner| partner.identity.identifiers != Identifiers::AsIs)
    }

    /// How the identifiers of `origin` are called toward `reader`. `None`: as they are.
    pub fn mapping(&self, reader: &PartnerId, origin: &PartnerId) -> Option<Mapping> {
        let wants = self.partners.get(reader).filter(|_| reader != origin)?;
        if wants.identity.identifiers == Identifiers::AsIs {
            return None;
        }
        // An origin that has been taken out of the configuration since is told by its id.
        let from = self.partners.get(origin);
        let origin_issuer = from.map_or(origin.as_str(), |from| from.issuer.as_str());
        let prefix = from.and_then(|from| from.identity.prefix.clone());
        Some(Mapping {
            reader: reader.clone(),
            reader_issuer: wants.issuer.clone(),
            identifiers: wants.identity.identifiers,
            origin: origin.clone(),
            origin_issuer: origin_issuer.to_owned(),
            prefix: prefix.unwrap_or_else(|| format!("{origin_issuer}-")),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    /// 1 to 32 of `a-z 0-9 -`; in every log line and queue consumer tag. Default `neisse-1`.
    pub name: String,
    /// Journals and the SQLite file live here. A relative path is relative to the configuration folder. Default `data`.
    pub data_dir: PathBuf,
}

#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// One file in the data folder.
    Sqlite,
    /// `postgres://user@host/db`; the password is folded in from `password_file` or `NEISSE_DATABASE_PASSWORD`.
    Postgres(String),
}

#[derive(Clone, PartialEq, Eq)]
pub enum QueueUrl {
    /// In this process; refilled from the ledger at start.
    Memory,
    /// RabbitMQ.
    Amqp(Amqp),
}

#[derive(Clone, PartialEq, Eq)]
pub struct Amqp {
    /// `amqp://…` or `amqps://…`, with credentials folded in from `credentials_file` (`user:password`) if given.
    pub url: String,
    /// PEM of the authority that signed the broker's certificate; the system's roots otherwise.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain and key for mutual TLS; both or neither.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct DicomListener {
    pub listen: SocketAddr,
    pub ae_title: String,
    /// Associations served at once, all senders together; more are answered with A-ASSOCIATE-RJ (transient, local limit exceeded). Default 200.
    pub max_associations: usize,
    /// Largest P-DATA-TF we accept, bytes. 16 KiB to 1 MiB, default 256 KiB.
    pub max_pdu_bytes: u32,
    /// A peer that sends nothing for this long is aborted. Default 60 s.
    pub idle: Duration,
    /// A-ASSOCIATE-RQ must be complete this long after the connection. Default 15 s.
    pub handshake: Duration,
    /// Below this much free disk, instances are refused with A700. Default 5 GiB.
    pub reserve_bytes: u64,
    /// A study is whole when its association is released and nothing came for this long. Default 30 s.
    pub quiet: Duration,
    /// What a scanner says it made must have come this long after it said so, or a person is told. Default 1 h.
    pub images_within: Duration,
    /// A storage commitment that we asked for is asked for again after this. Default 4 h.
    pub commitment_within: Duration,
}

#[derive(Clone, Debug)]
pub struct Hl7Listener {
    pub listen: SocketAddr,
    /// Largest message accepted, bytes. Default 64 MiB.
    pub max_message_bytes: usize,
    pub max_connections: usize,
    /// A message must be complete this long after its first byte. Default 60 s.
    pub message_within: Duration,
}

#[derive(Clone, Debug)]
pub struct HttpListener {
    pub listen: SocketAddr,
    /// PEM certificate chain and key; both or neither. Without them HTTP is plain. Read again when they change.
    pub tls: Option<HttpTls>,
    /// Connections served at once. Default 500.
    pub max_connections: usize,
    /// How callers reach this node, without a slash at the end: `https://neisse.example.org`. What links in answers
    /// begin with; by default the Host header of the request.
    pub url: Option<String>,
    /// Folder with the files of a viewer, served at the root, below everything else.
    pub viewer: Option<PathBuf>,
    /// Its `app-config.js`, where ours is not wanted.
    pub viewer_config: Option<PathBuf>,
    /// Origins whose pages may ask (CORS): `https://viewer.example.org`.
    pub allow_origins: Vec<String>,
}

/// Files, not their content: certificates are renewed while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How deliveries are tried. Table `[delivery]` of neisse.toml; all optional.
#[derive(Clone, Debug)]
pub struct DeliveryTimes {
    /// Connection and association must stand after this. Default 10 s.
    pub connect: Duration,
    /// A response must have come after this. Default 60 s.
    pub response: Duration,
    /// First wait after a failure; doubles up to `retry_max`. Defaults 5 s and 10 min.
    pub retry_min: Duration,
    pub retry_max: Duration,
    /// How long a delivery without a clinical deadline is tried before a person is told. Default 24 h.
    pub give_up: Duration,
    /// A partner that has taken nothing for this long is down: cases go to the next reader. Default 10 min.
    pub down_after: Duration,
}

/// Reading tasks. Table `[tasks]` of neisse.toml.
#[derive(Clone, Debug)]
pub struct TaskTimes {
    /// A claim without a sign of life for this long is ended. Default 4 h.
    pub claim_lease: Duration,
}

/// How long images stay on this node's disk, and answers in its database. Table `[retention]` of neisse.toml. `None`: forever. Counted from the last
/// thing that happened to the case: an image that came, a report, the end of a delivery.
#[derive(Clone, Debug)]
pub struct Retention {
    /// After a final report, with everything delivered. Default 14 days.
    pub keep: Option<Duration>,
    /// After everything was delivered, or read on site, without a final report. Default 60 days.
    pub keep_unreported: Option<Duration>,
    /// Answers to HL7 messages, counted from when they were given. Default 90 days.
    pub answers: Option<Duration>,
}

/// An organisation: it may send, read, or both.
#[derive(Clone, Debug)]
pub struct Partner {
    pub id: PartnerId,
    pub name: String,
    /// ISO 3166-1 alpha-2, for public holidays.
    pub country: String,
    pub time_zone: chrono_tz::Tz,
    /// ISO 639-1; language of made documents: `de`, `pl`, `cs`, `en`. Default `en`.
    pub language: String,
    /// Issuer of its patient IDs, accession and order numbers.
    pub issuer: String,
    pub dicom: Option<PartnerDicom>,
    pub hl7: Option<PartnerHl7>,
    /// `[orders] expected`: false: images alone make a case. Default false.
    pub orders_expected: bool,
    /// `[orders] wait`: how long a study waits for its order before it is decided without. Default 0 s.
    pub orders_wait: Duration,
    /// `[orders] otherwise`: what becomes of it then. Default route.
    pub orders_otherwise: WithoutOrder,
    /// `[orders] deliver`: the orders of the cases it reads are sent to its `[hl7] deliver`. Default false.
    pub orders_delivered: bool,
    /// `[orders] frozen`: codes in OBR-4.1 of its pathology orders that somebody waits for at the operating table.
    pub orders_frozen: Vec<String>,
    pub specimens: SpecimenRules,
    /// How it wants results. Empty: it wants none.
    pub report_forms: Vec<ReportForm>,
    /// `[reports] critical_within`: a critical result that it has not acknowledged by then is brought before a person.
    /// Default 30 min.
    pub critical_within: Duration,
    /// `[reports] critical_flags`: OBX-8 that this reader writes for a critical result, beside AA, HH and LL.
    pub critical_flags: Vec<String>,
    pub identity: Identity,
}

/// Table `[identity]` of a partner.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// In what form it gets other partners' identifiers. Default as they are.
    pub identifiers: Identifiers,
    /// What stands before its own identifiers toward who wants prefixes. Default its `issuer` and a hyphen.
    pub prefix: Option<String>,
}

/// What becomes of a study whose order has not come in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutOrder {
    /// It is decided as if none were expected.
    #[default]
    Route,
    /// It is held for a person.
    Hold,
}

/// What is expected of a partner's specimens. Table `[specimens]` of its file; all optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecimenRules {
    /// What it ships must be received after this, unless its shipment says otherwise. Default 24 h.
    pub within: Duration,
    /// A specimen of each of its pathology orders must have been collected or received after this. Default: not watched.
    pub expected_within: Option<Duration>,
    /// It is told by HL7 what becomes of its specimens. Default false.
    pub events: bool,
}

impl Default for SpecimenRules {
    fn default() -> Self {
        Self { within: Duration::from_secs(24 * 3600), expected_within: None, events: false }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PartnerDicom {
    pub senders: Vec<DicomSender>,
    /// Specific Character Set (0008,0005), `Windows-1250` or `Windows-1252`, where a data set names none or one that is
    /// not known. Default ISO_IR 6.
    pub charset: Option<String>,
    /// Sets its data sets name wrongly: what names one of them is read by `charset`.
    pub charset_instead_of: Vec<String>,
    /// How it wants letters spelled in reports that its set does not hold.
    pub transliterate: BTreeMap<char, String>,
    pub deliver: Option<DicomTarget>,
    /// Where its C-MOVE and what it subscribed to goes, besides `deliver`.
    pub destinations: Vec<DicomDestination>,
    /// What is promised when it asks for a storage commitment. Default held.
    pub commit: Commit,
    /// Its own system that is told what its scanners say of their steps.
    pub mpps_to: Option<DicomDestination>,
    /// Its own system that is told which studies are whole and delivered.
    pub availability_to: Option<DicomDestination>,
}

/// When instances count as kept (PS3.4 J).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// On this node's disk.
    #[default]
    Held,
    /// The reader has taken them as well.
    Reader,
}

/// A place of a partner's own that it may have things sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomDestination {
    pub ae_title: String,
    pub host: String,
    pub port: u16,
}

/// Who may send as this partner. All that is given must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomSender {
    pub ae_title: String,
    pub address: Option<IpAddr>,
    pub called_ae: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DicomTarget {
    pub ae_title: String,
    pub host: String,
    pub port: u16,
    /// Associations at a time, 1 to 16, default 2.
    pub associations: usize,
    /// It is asked whether it keeps the images it has taken (storage commitment, PS3.4 J). Default false.
    pub commitment: bool,
    /// Of the objects made for it. Default UTF-8 (ISO_IR 192).
    pub charset: Charset,
    /// It takes UTF-8 where its set does not hold a letter. Default true.
    pub utf8: bool,
}

#[derive(Clone, Debug, Default)]
pub struct PartnerHl7 {
    pub senders: Vec<Hl7Sender>,
    /// Where MSH-18 is empty, an HL7 table 0211 name or `Windows-1250`, `Windows-1252`. Default `8859/1`.
    pub charset: Option<String>,
    /// How it wants letters spelled that its set does not hold.
    pub transliterate: BTreeMap<char, String>,
    pub deliver: Option<Hl7Target>,
}

/// Who may send as this partner: MSH-4 (sending facility), optionally MSH-3 and the peer's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hl7Sender {
    pub facility: String,
    pub application: Option<String>,
    pub address: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hl7Target {
    pub host: String,
    pub port: u16,
    /// MSH-5.
    pub application: String,
    /// MSH-6.
    pub facility: String,
    /// MSH-18 of what we send. Default: the partner's `charset`.
    pub charset: Option<String>,
    /// It takes UTF-8 where its set does not hold a letter. Default true.
    pub utf8: bool,
    /// Its application acknowledges critical results in messages of its own. Default false.
    pub application_ack: bool,
    /// MLLP connections at a time. Default 1.
    pub connections: usize,
}

/// A named window in a zone of its own, in OpenStreetMap `opening_hours` syntax.
#[derive(Clone, Debug)]
pub struct Calendar {
    pub name: String,
    /// For `PH` in `hours`.
    pub country: String,
    pub time_zone: chrono_tz::Tz,
    pub hours: String,
    /// Further holidays of this calendar, which `PH` then means too (`holidays = ["2026-11-18"]`).
    pub holidays: Vec<chrono::NaiveDate>,
}

/// One rule. Every condition given must hold; a list holds when one of its entries does; an absent one always holds.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub when: Condition,
    /// The calendar that must be open.
    pub during: Option<String>,
    /// Readers in order. `origin` stands for the partner that sent the case. Those that share are the first of them.
    pub to: Vec<Reader>,
    /// Weights of the first of `to`: the one furthest below its part of what is open is offered a case first. Empty: in order.
    pub share: Vec<u32>,
    /// The same patient stays with the same reader while a case is open.
    pub same_reader: bool,
    pub also_to: Vec<PartnerId>,
    pub claim_within: Option<Duration>,
    pub report_within: Option<Duration>,
    pub reading_mode: ReadingMode,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    Origin,
    Partner(PartnerId),
}

/// What a rule asks of a case. Lists, each with an optional negation (`not_modality = ["MG"]`): structured, so that
/// coverage can be computed.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    pub from: OneOf<PartnerId>,
    pub discipline: OneOf<Discipline>,
    pub modality: OneOf<String>,
    pub priority: OneOf<Priority>,
    pub body_part: OneOf<String>,
    /// Calling AE title, so that one scanner can be treated differently.
    pub calling_ae: OneOf<String>,
    pub called_ae: OneOf<String>,
    /// Case-insensitive substrings of Study Description (0008,1030).
    pub description: OneOf<String>,
    /// Patient's age in years at the study, inclusive (`age_min`, `age_max`).
    pub age_min: Option<u32>,
    pub age_max: Option<u32>,
}

/// `any` empty: everything. `none`: the exceptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOf<T> {
    pub any: Vec<T>,
    pub none: Vec<T>,
}

impl<T> Default for OneOf<T> {
    fn default() -> Self {
        Self { any: Vec::new(), none: Vec::new() }
    }
}

impl<T: PartialEq> OneOf<T> {
    pub fn holds(&self, value: &T) -> bool {
        (self.any.is_empty() || self.any.contains(value)) && !self.none.contains(value)
    }

    pub fn is_unrestricted(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }
}

// Secrets never reach a log through `{:?}`.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatabaseUrl::Sqlite => "sqlite",
            DatabaseUrl::Postgres(_) => "postgres://…",
        })
    }
}

impl fmt::Debug for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueUrl::Memory => "memory",
            QueueUrl::Amqp(_) => "amqp(s)://…",
        })
    }
}
