//! What C-GET and C-MOVE have in common: where instances come from, and the count of sub-operations (PS3.4 C.4.2, C.4.3).

use super::StoreAssociation;
use super::dialogue::Dialogue;
use super::incoming::Ending;
use super::requests::{Asking, cancels, status};
use crate::dicom::dataset;
use crate::dicom::dimse::{Counts, Request, Response};
use crate::dicom::rewrite::{Patches, Renamed};
use crate::dicom::scu::ScuSettings;
use crate::dicom::service::{DataSet, Fetch, HeldInstance, Refusal};
use crate::model::{Outgoing, Uid};
use bytes::BytesMut;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use futures_util::future::BoxFuture;
use std::{io, sync::Arc, time::Duration};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Where the instances of a retrieval lie, and as whom they are sent elsewhere.
pub trait Held: Send + Sync + 'static {
    /// # Errors
    /// When the instance is not there any more, or cannot be read, or its identifiers cannot be replaced.
    fn open<'a>(&'a self, instance: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>>;

    /// Of an instance that lies under another partner's identifiers ([`Lies::UnderOthers`](crate::dicom::service::Lies)): what
    /// is to be changed where parts of it are read, as it was found a moment ago. `None`: it is to be looked into.
    fn looked(&self, instance: &HeldInstance) -> Option<Patches>;

    /// The same, found out now. `None`: nothing is to be changed. The work does not end with a caller that goes away, and `place`,
    /// which the caller has among those that work at once, is given back when it has ended.
    ///
    /// # Errors
    /// As `open`.
    fn renamed<'a>(
        &'a self,
        instance: &'a HeldInstance,
        place: OwnedSemaphorePermit,
    ) -> BoxFuture<'a, io::Result<(Option<Renamed>, OwnedSemaphorePermit)>>;

    /// For a C-MOVE's own association.
    fn outgoing(&self) -> ScuSettings;
}

/// An instance as it leaves.
pub struct OpenInstance {
    /// Bytes of its data set.
    pub length: u64,
    pub bytes: Box<dyn HeldBytes>,
}

/// One instance's data set, in order, once.
pub trait HeldBytes: Send {
    /// Appends up to `at_most` bytes; `Ok(0)` is the end. The last bytes come only when all were those received.
    fn read<'a>(&'a mut self, into: &'a mut BytesMut, at_most: usize) -> BoxFuture<'a, io::Result<usize>>;
}

/// A pending response after so many sub-operations, or so long.
const PENDING_EVERY: usize = 50;
const PENDING_AFTER: Duration = Duration::from_secs(1);
/// A UI of Explicit VR has at most 65,534 bytes (PS3.5 7.1.2), a UID 64 and a backslash. Beyond, the counts tell.
const MOST_FAILED_NAMED: usize = 1000;

/// What has become of each sub-operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sub {
    Completed,
    Warning,
    Failed,
}

#[derive(Debug)]
pub(super) struct Tally {
    total: usize,
    completed: usize,
    warning: usize,
    failed: usize,
    failed_named: Vec<String>,
    told: Instant,
    untold: usize,
}

impl Tally {
    pub fn new(total: usize) -> Self {
        let (failed_named, told) = (Vec::new(), Instant::now());
        Self { total, completed: 0, warning: 0, failed: 0, failed_named, told, untold: 0 }
    }

    pub fn count(&mut self, sub: Sub, instance: &HeldInstance) {
        self.untold += 1;
        match sub {
            Sub::Completed => self.completed += 1,
            Sub::Warning => self.warning += 1,
            Sub::Failed => {
                self.failed += 1;
                if self.failed_named.len() < MOST_FAILED_NAMED {
                    self.failed_named.push(instance.sop_instance.as_str().to_owned());
                }
            }
        }
    }

    fn done(&self) -> usize {
        self.completed + self.warning + self.failed
    }

    pub fn next_pending(&self) -> Instant {
        self.told + PENDING_AFTER
    }

    /// Whether the peer is to be told how far it is.
    pub fn is_pending_due(&self) -> bool {
        self.done() < self.total && (self.untold >= PENDING_EVERY || self.next_pending() <= Instant::now())
    }

    pub fn pending(&mut self, request: &Request) -> Response {
        (self.told, self.untold) = (Instant::now(), 0);
        let mut response = request.answer(status::PENDING);
        response.counts = Some(self.counts(true));
        response
    }

    /// PS3.4 Tables C.4-2 and C.4-3: B000 when some failed or had warnings, A702 when all did.
    pub fn last(&self, request: &Request, canceled: bool) -> Response {
        let status = match () {
            () if canceled => status::CANCELED,
            () if self.total > 0 && self.failed == self.total => 0xA702,
            () if self.failed > 0 || self.warning > 0 => 0xB000,
            () => status::SUCCESS,
        };
        let mut response = request.answer(status);
        response.counts = Some(self.counts(canceled));
        if status == 0xA702 {
            response.comment = Some("no instance could be sent".to_owned());
        }
        response
    }

    fn counts(&self, with_remaining: bool) -> Counts {
        let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        Counts {
            remaining: with_remaining.then(|| number(self.total - self.done())),
            completed: number(self.completed),
            failed: number(self.failed),
            warning: number(self.warning),
        }
    }

    /// Failed SOP Instance UID List (0008,0058).
    fn failed_list(&self) -> Option<DataSet> {
        let mut set = DataSet::new_empty();
        let list = PrimitiveValue::Strs(self.failed_named.iter().cloned().collect());
        set.put(DataElement::new(tags::FAILED_SOP_INSTANCE_UID_LIST, VR::UI, list));
        (!self.failed_named.is_empty()).then_some(set)
    }
}

/// A retrieval without the instances it means.
pub(super) struct Retrieving {
    pub context: u8,
    pub request: Request,
    pub transfer_syntax: Uid,
    pub held: Arc<dyn Held>,
}

impl<A: StoreAssociation> Dialogue<A> {
    /// The instances meant; or none, and it has been answered with that status.
    pub(super) async fn meant(
        &mut self,
        asking: Asking,
        by: Fetch,
    ) -> Result<Result<(Retrieving, Vec<HeldInstance>), u16>, Ending> {
        let Asking { context, request, transfer_syntax, asker, data_set, asked, .. } = asking;
        let services = asked.services.clone();
        let work = asked.runtime.spawn(async move { services.retrieve(&asker, by, data_set).await });
        let mut work = AbortOnDropHandle::new(work);
        let found = loop {
            tokio::select! {
                biased;
                said = self.incoming.meanwhile() => if cancels(&said?.1, request.message_id)? {
                    let canceled = Tally::new(0).last(&request, true);
                    return Ok(Err(self.answer(context, canceled, None).await?));
                },
                found = &mut work => break found,
            }
        };
        let failed = |_| Err(Refusal::new(status::UNABLE_TO_PROCESS, "failed"));
        match found.unwrap_or_else(failed) {
            Ok(instances) => Ok(Ok((Retrieving { context, request, transfer_syntax, held: asked.held }, instances))),
            Err(refusal) => Ok(Err(self.refuse(context, &request, &refusal).await?)),
        }
    }

    pub(super) async fn tell_progress(&mut self, of: &Retrieving, tally: &mut Tally) -> Result<(), Ending> {
        let pending = tally.pending(&of.request);
        self.answer(of.context, pending, None).await.map(drop)
    }

    pub(super) async fn last_word(&mut self, of: &Retrieving, tally: &Tally, canceled: bool) -> Result<u16, Ending> {
        let list = tally.failed_list();
        let list = list.and_then(|list| dataset::write(&list, &of.transfer_syntax, &Outgoing::default()).ok());
        self.answer(of.context, tally.last(&of.request, canceled), list.as_deref()).await
    }
}
