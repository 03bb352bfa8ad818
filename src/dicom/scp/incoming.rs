//! What comes in on an association, in bounded time: command sets whole, data sets piece by piece.
//!
//! Three bounds. Between messages, a peer may be silent for the idle time. Inside a message (from its first byte to the
//! last of its data set) all waits for the peer together may last the idle time and one second more for each
//! [`LEAST_BYTES_PER_SEC`] received, and no single wait longer than the idle time: a sender that drips is cut, and time
//! that our own disk takes is not counted. A data set that was refused is read past for [`READ_PAST_IDLE_TIMES`] idle
//! times at most.

use super::AssociationEnd;
use super::connection::Connection;
use crate::dicom::acceptor::reply;
use crate::dicom::dimse::{Command, MAX_COMMAND_BYTES};
use crate::dicom::pdv::{AbortReason, Event, Fragment, FragmentKind, PdvReader, ReadError};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// 8 kbit/s. Slower than any line that images are sent over, and fast enough that a drip ends soon after the idle time.
pub const LEAST_BYTES_PER_SEC: u32 = 1024;
const READ_PAST_IDLE_TIMES: u32 = 5;
/// A sender that pauses this long gets a small buffer until it sends again.
const SHRINK_AFTER: Duration = Duration::from_secs(1);

/// How an association ends, and what the peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub how: AssociationEnd,
    pub last_word: Option<Vec<u8>>,
    /// For the log; our own words.
    pub why: &'static str,
}

impl Ending {
    pub fn aborting(how: AssociationEnd, reason: AbortReason, why: &'static str) -> Self {
        Self { how, last_word: Some(reply::abort(reason)), why }
    }

    fn silent(how: AssociationEnd, why: &'static str) -> Self {
        Self { how, last_word: None, why }
    }

    /// A message that DIMSE does not allow here. PS3.7 is the service user's business, who has no reasons to give.
    pub fn dimse(why: &'static str) -> Self {
        Self::aborting(AssociationEnd::ProtocolError, AbortReason::ServiceUser, why)
    }

    pub fn timed_out(why: &'static str) -> Self {
        Self::aborting(AssociationEnd::TimedOut, AbortReason::ServiceUser, why)
    }

    fn broken(reason: AbortReason, why: &'static str) -> Self {
        Self::aborting(AssociationEnd::ProtocolError, reason, why)
    }
}

impl From<ReadError> for Ending {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::silent(AssociationEnd::ConnectionLost, "closed without a release"),
            ReadError::Cut => Self::silent(AssociationEnd::ConnectionLost, "closed inside a PDU"),
            ReadError::Io(_) => Self::silent(AssociationEnd::ConnectionLost, "connection lost"),
            ReadError::Protocol(error) => {
                tracing::debug!(%error, "upper layer protocol broken");
                Self::broken(error.abort_reason(), "upper layer protocol broken")
            }
        }
    }
}

pub struct Incoming {
    reader: PdvReader<Connection>,
    idle: Duration,
    stop: CancellationToken,
    cut: CancellationToken,
    /// Of the message that is being read.
    message: Option<Pace>,
    /// The command set that is arriving, and its presentation context.
    partial: Option<(u8, Vec<u8>)>,
}

/// How a message comes along.
#[derive(Clone, Copy)]
struct Pace {
    waited: Duration,
    /// The reader's count when the message began.
    bytes_before: u64,
    read_past_until: Option<Instant>,
}

impl Pace {
    /// How long the next wait for the peer may be.
    fn allowance(&self, idle: Duration, received_bytes: u64) -> Duration {
        let received = received_bytes.saturating_sub(self.bytes_before);
        let earned = Duration::from_secs(received / u64::from(LEAST_BYTES_PER_SEC));
        let left = (idle + earned).saturating_sub(self.waited).min(idle);
        match self.read_past_until {
            Some(until) => left.min(until.saturating_duration_since(Instant::now())),
            None => left,
        }
    }
}

impl Incoming {
    pub fn new(reader: PdvReader<Connection>, idle: Duration, stop: CancellationToken, cut: CancellationToken) -> Self {
        Self { reader, idle, stop, cut, message: None, partial: None }
    }

    /// The next message's command set, and its presentation context.
    ///
    /// # Errors
    /// [`Ending`]: also the regular one, an A-RELEASE-RQ between two messages.
    pub async fn command(&mut self) -> Result<(u8, Command), Ending> {
        self.message = None;
        if self.partial.is_some() {
            self.start_message();
        }
        loop {
            let event = self.event().await?;
            if let Some(command) = self.take(event)? {
                return Ok(command);
            }
        }
    }

    /// What the peer says while it is being answered: a C-CANCEL, the answer to a sub-operation, or its end. Waits without a
    /// limit, since a peer that is being answered owes nothing; a command that has begun to come has its time. Cancel-safe.
    ///
    /// # Errors
    /// [`Ending`]
    pub async fn meanwhile(&mut self) -> Result<(u8, Command), Ending> {
        loop {
            while let Some(event) = self.reader.ready().map_err(ReadError::from)? {
                if let Some(command) = self.take(event)? {
                    self.message = None;
                    return Ok(command);
                }
            }
            if self.partial.is_some() || !self.reader.is_between_pdus() {
                self.wait_for_more().await?;
                continue;
            }
            tokio::select! {
                biased;
                () = self.cut.cancelled() => return Err(self.cut_off()),
                read = self.reader.fill() => read?,
            }
        }
    }

    /// Puts a command set together.
    fn take(&mut self, event: Event) -> Result<Option<(u8, Command)>, Ending> {
        let fragment = match event {
            Event::Fragment(fragment) => fragment,
            Event::ReleaseRequest if self.partial.is_none() => {
                let (how, last_word) = (AssociationEnd::Released, Some(reply::release_response()));
                return Err(Ending { how, last_word, why: "released" });
            }
            other => return Err(not_a_fragment(&other)),
        };
        self.start_message();
        let (context, bytes) = self.partial.get_or_insert_with(|| (fragment.context, Vec::new()));
        check(&fragment, *context, FragmentKind::Command)?;
        if bytes.len() + fragment.data.len() > MAX_COMMAND_BYTES {
            return Err(Ending::dimse("command set too long"));
        }
        bytes.extend_from_slice(&fragment.data);
        if !fragment.last {
            return Ok(None);
        }
        let command = Command::parse(bytes).map_err(|error| {
            tracing::debug!(%error, "command set not understood");
            Ending::dimse("command set not understood")
        })?;
        let context = *context;
        self.partial = None;
        Ok(Some((context, command)))
    }

    /// The whole data set that belongs to the command just read; none where it is longer than `most`, and read past.
    ///
    /// # Errors
    /// [`Ending`]
    pub async fn whole_data_set(&mut self, context: u8, most: usize) -> Result<Option<Vec<u8>>, Ending> {
        let mut whole = Some(Vec::new());
        loop {
            let (data, last) = self.data_set(context).await?;
            whole = whole.filter(|bytes| bytes.len() + data.len() <= most);
            match &mut whole {
                Some(bytes) => bytes.extend_from_slice(&data),
                None => self.read_past(),
            }
            if last {
                return Ok(whole);
            }
        }
    }

    /// The next piece of the data set that belongs to the command just read; `true` with the last.
    ///
    /// # Errors
    /// [`Ending`]
    pub async fn data_set(&mut self, context: u8) -> Result<(Bytes, bool), Ending> {
        // A sender fast enough never makes us wait, so this bound is looked at here too.
        if self.message.is_some_and(|pace| pace.read_past_until.is_some_and(|until| until <= Instant::now())) {
            return Err(Ending::timed_out("refused data set too long to be read past"));
        }
        match self.event().await? {
            Event::Fragment(fragment) => {
                check(&fragment, context, FragmentKind::DataSet)?;
                Ok((fragment.data, fragment.last))
            }
            other => Err(not_a_fragment(&other)),
        }
    }

    /// From here on the data set is thrown away.
    pub fn read_past(&mut self) {
        let until = Instant::now() + self.idle * READ_PAST_IDLE_TIMES;
        if let Some(pace) = &mut self.message {
            pace.read_past_until.get_or_insert(until);
        }
    }

    /// Sends a whole response.
    ///
    /// # Errors
    /// [`Ending`] when the peer does not take it.
    pub async fn respond(&mut self, pdus: &[u8]) -> Result<(), Ending> {
        let limit = self.idle;
        self.reader.stream_mut().send(pdus, limit).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Ending::timed_out("response not taken"),
            _ => Ending::silent(AssociationEnd::ConnectionLost, "connection lost"),
        })
    }

    /// The longest silence of a peer that owes something.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    pub fn into_connection(self) -> Connection {
        self.reader.into_stream()
    }

    fn start_message(&mut self) -> &mut Pace {
        let bytes_before = self.reader.received_bytes();
        self.message.get_or_insert(Pace { waited: Duration::ZERO, bytes_before, read_past_until: None })
    }

    async fn event(&mut self) -> Result<Event, Ending> {
        loop {
            if let Some(event) = self.reader.ready().map_err(ReadError::from)? {
                return Ok(event);
            }
            if self.message.is_none() && self.reader.is_between_pdus() {
                self.wait_for_a_message().await?;
            } else {
                self.wait_for_more().await?;
            }
        }
    }

    async fn wait_for_a_message(&mut self) -> Result<(), Ending> {
        let soon = SHRINK_AFTER.min(self.idle);
        for span in [soon, self.idle - soon] {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    return Err(Ending::aborting(AssociationEnd::Shutdown, AbortReason::ServiceUser, "node stops"));
                }
                read = timeout(span, self.reader.fill()) => match read {
                    Ok(read) => return Ok(read?),
                    Err(_) => self.reader.shrink(),
                },
            }
        }
        Err(Ending::timed_out("silent between messages"))
    }

    fn cut_off(&self) -> Ending {
        let why = "node stops, message not finished in time";
        Ending::aborting(AssociationEnd::Shutdown, AbortReason::ServiceUser, why)
    }

    async fn wait_for_more(&mut self) -> Result<(), Ending> {
        let received = self.reader.received_bytes();
        let idle = self.idle;
        let allowance = self.start_message().allowance(idle, received);
        let began = Instant::now();
        let read = tokio::select! {
            biased;
            () = self.cut.cancelled() => {
                return Err(self.cut_off());
            }
            read = timeout(allowance, self.reader.fill()) => read,
        };
        self.start_message().waited += began.elapsed();
        match read {
            Ok(read) => Ok(read?),
            Err(_) => Err(Ending::timed_out("silent or too slow inside a message")),
        }
    }
}

/// A message's fragments come one after the other, on one context, command before data set (PS3.7 6.3, PS3.8 E.2).
fn check(fragment: &Fragment, context: u8, kind: FragmentKind) -> Result<(), Ending> {
    if fragment.context != context {
        return Err(Ending::broken(AbortReason::UnexpectedPduParameter, "fragments of two messages mixed"));
    }
    if fragment.kind != kind {
        let why = "command where a data set was due, or the reverse";
        return Err(Ending::broken(AbortReason::UnexpectedPduParameter, why));
    }
    Ok(())
}

fn not_a_fragment(event: &Event) -> Ending {
    match event {
        Event::Abort { .. } => Ending::silent(AssociationEnd::Aborted, "aborted by the peer"),
        _ => Ending::broken(AbortReason::UnexpectedPdu, "release inside a message, or an answer to none"),
    }
}
