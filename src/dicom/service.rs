//! What a peer asks besides storing an instance: queries, retrievals, workitems, commitments, performed steps.
//!
//! [`Services`] is asked in DIMSE's terms whichever wire a request came by: `dicom::scp` brings C-FIND, C-GET, C-MOVE and
//! the N-services as they are, `web` translates QIDO-RS, WADO-RS and UPS-RS into the same questions and the statuses back
//! into HTTP. So a rule or a refusal exists once.
//!
//! In: an [`Asker`] and a data set whose header has been scanned and whose text is UTF-8. Out: data sets as text, or a
//! [`Refusal`] with the standard's status. Knows no case and no SQL: the handler (`worklist`) does; it decides what a
//! partner may see, and everything else is for that partner as if it were not there.

use super::charset::SenderCharset;
use super::scp::{AssociationRequest, Rejection};
use crate::model::{CaseId, JournalPlace, Outgoing, PartnerId, Uid};
use dicom_core::Tag;
use dicom_object::InMemDicomObject;
use futures_util::{future::BoxFuture, stream::BoxStream};
use std::{fmt, sync::Arc};

/// Text values are UTF-8, Specific Character Set (0008,0005) is left out: the wire puts in what it writes.
pub type DataSet = InMemDicomObject;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    pub partner: PartnerId,
    /// Calling AE title; over HTTP the name of the token.
    pub ae_title: String,
    /// How answers are spelled toward it, where the wire is not UTF-8 by itself.
    pub letters: Outgoing,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status (0000,0900), PS3.7 Annex C or the service's own.
    pub status: u16,
    /// Error Comment (0000,0902): bland, at most 64 characters, without a peer's data.
    pub comment: &'static str,
    /// Offending Element (0000,0901).
    pub element: Option<Tag>,
    /// Error ID (0000,0903), where the service has one.
    pub error_id: Option<u16>,
}

impl Refusal {
    pub const fn new(status: u16, comment: &'static str) -> Self {
        Self { status, comment, element: None, error_id: None }
    }
}

/// What a query is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindModel {
    /// PS3.4 K.
    ModalityWorklist,
    /// PS3.4 C.6.2; the identifier has a Query/Retrieve Level (0008,0052).
    StudyRoot,
    /// PS3.4 C.6.1.
    PatientRoot,
    /// PS3.4 CC.2.8. By Pull, Watch or Query alike.
    Workitems,
}

#[derive(Clone, Debug)]
pub struct Find {
    pub model: FindModel,
    /// Keys to match and to return.
    pub identifier: DataSet,
    /// Paging is HTTP's alone (PS3.18 8.3.4.4); over DIMSE 0.
    pub skip: u64,
    /// `None`: as many as there are, and the asker cancels when it has enough.
    pub limit: Option<u64>,
    /// Fuzzy matching of person names asked for (PS3.18 8.3.4.2).
    pub is_fuzzy: bool,
}

/// Answers come while they are read from the store; dropping the stream is C-CANCEL.
pub struct Answers {
    pub matches: BoxStream<'static, Result<DataSet, Refusal>>,
    /// A key was not matched on, though asked for: FF01 instead of FF00 (PS3.4 C.4.1.1.4).
    pub has_unsupported_keys: bool,
    /// There is more than `limit` allowed; HTTP answers with a Warning header.
    pub is_partial: bool,
}

/// One instance the asker may have, where it lies in the journal.
#[derive(Clone, Debug)]
pub struct HeldInstance {
    pub study: Uid,
    pub series: Uid,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub lies: Lies,
    pub room: Room,
}

/// What an instance takes of the handler's room as long as anybody has it; given back when the last of them is dropped.
#[derive(Clone, Default)]
pub struct Room(Option<Arc<dyn Send + Sync>>);

impl Room {
    pub fn of<T: Send + Sync + 'static>(taken: Arc<T>) -> Self {
        Self(Some(taken))
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Room(taken)" } else { "Room(free)" })
    }
}

/// Where an instance lies, and whether it may leave as it lies there.
#[derive(Clone, Debug)]
pub enum Lies {
    AsReceived(JournalPlace),
    /// Its asker knows it by identifiers of its own domain: those in the header are to be replaced on the way, or it does not
    /// leave.
    UnderOthers {
        place: JournalPlace,
        case: CaseId,
        toward: PartnerId,
    },
}

impl HeldInstance {
    /// Where it lies, for who sends it as it is.
    ///
    /// # Errors
    /// A702 where its identifiers would have to be replaced.
    pub fn as_received(&self) -> Result<&JournalPlace, Refusal> {
        match &self.lies {
            Lies::AsReceived(place) => Ok(place),
            Lies::UnderOthers { .. } => Err(Refusal::new(0xA702, "not sent under the origin's identifiers")),
        }
    }
}

/// By which service instances are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// PS3.4 C.4.3.
    Get,
    /// PS3.4 C.4.2.
    Move,
    /// WADO-RS, PS3.18 10.4: a viewer asks for each frame by itself.
    Web,
}

impl Fetch {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "C-GET",
            Self::Move => "C-MOVE",
            Self::Web => "DICOMweb",
        }
    }
}

/// Where a C-MOVE goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveDestination {
    pub ae_title: String,
    pub host: String,
    pub port: u16,
}

/// What an N-service was asked of.
#[derive(Clone, Debug)]
pub struct Target {
    /// Affected or Requested SOP Class UID, as the request has it: UPS actions name the Push class (PS3.4 CC.2).
    pub class: Uid,
    /// `None` only where an N-CREATE leaves it to us (PS3.7 10.1.5.1.4).
    pub instance: Option<Uid>,
}

/// An N-service that was carried out.
#[derive(Debug)]
pub struct Done {
    /// 0000, or a warning such as B300.
    pub status: u16,
    pub instance: Uid,
    /// Attribute List, or Action Reply.
    pub reply: Option<DataSet>,
}

/// The handler: one for all associations and all HTTP requests. Every answer is durable before it is given.
pub trait Services: Send + Sync + 'static {
    /// Who this association is; asked besides [`super::scp::StorageScp::admit`], by the same rules.
    fn asker(&self, request: &AssociationRequest) -> Result<Asker, Rejection>;

    fn find<'a>(&'a self, asker: &'a Asker, find: Find) -> BoxFuture<'a, Result<Answers, Refusal>>;

    /// The instances a C-GET, C-MOVE or WADO-RS means, in the order they came; at most 100,000, and A702 where the asker's others
    /// leave no room for them. That they were asked for is written down before they are given.
    fn retrieve<'a>(
        &'a self,
        asker: &'a Asker,
        by: Fetch,
        identifier: DataSet,
    ) -> BoxFuture<'a, Result<Vec<HeldInstance>, Refusal>>;

    /// The asker's own destination of that AE title; A801 where it has none.
    fn destination(&self, asker: &Asker, ae_title: &str) -> Result<MoveDestination, Refusal>;

    fn create<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        attributes: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>>;

    fn set<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        modifications: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>>;

    /// `attributes` empty: all there are (PS3.7 10.1.2.1.6).
    fn get<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        attributes: Vec<Tag>,
    ) -> BoxFuture<'a, Result<Done, Refusal>>;

    fn action<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        action_type: u16,
        information: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>>;

    /// Somebody else's event, told to us: a storage commitment we asked for, a workitem we subscribed to.
    fn event<'a>(
        &'a self,
        _asker: &'a Asker,
        _target: Target,
        _event_type: u16,
        _information: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        // PS3.7 10.1.1.1.8: no such SOP class, as far as events go.
        Box::pin(async { Err(Refusal::new(0x0118, "no events are awaited")) })
    }

    /// What the asker means by Specific Character Set (0008,0005) in its requests.
    fn charset(&self, _asker: &Asker) -> SenderCharset {
        SenderCharset::default()
    }
}
