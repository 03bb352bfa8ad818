//! Takes instances from associations: who may send, header scanned while it streams, journal synced, then `0000`.
//!
//! In: what `dicom::scp` reads from the network. Out: durable instances in the index's channel. The header is checked
//! before the journal commits, so what is refused leaves nothing behind; the database is never waited for.

use super::{
    index::IndexQueue,
    open_studies::{OpenStudies, Sending},
};
use crate::{
    config::{Live, Partner},
    dicom::{
        charset::SenderCharset,
        scan::{Header, HeaderScanner, Progress},
        scp::{
            AssociationEnd, AssociationRequest, InstanceOffer, Rejection, StorageScp, StoreAssociation, StoreRefusal,
        },
        status::StoreStatus,
    },
    model::{Bell, Clock, Moment, PartnerId, ReceivedInstance, Uid, chain},
    spool::{JournalWriter, RecordMeta, Spool, SpoolError},
};
use bytes::Bytes;

/// Answers associations. Clones share everything.
#[derive(Clone)]
pub struct Intake {
    pub config: Live,
    pub clock: Clock,
    pub spool: Spool,
    pub index: IndexQueue,
    pub open: OpenStudies,
    /// Rung when an association ends: a study may be whole now.
    pub completeness: Bell,
}

impl StorageScp for Intake {
    type Association = Receiving;

    async fn admit(&self, request: &AssociationRequest) -> Result<Receiving, Rejection> {
        let config = self.config.now();
        let caller = config.dicom_caller(request.peer.ip(), &request.calling_ae, &request.called_ae);
        let partner = caller.map_err(Rejection::from)?;
        Ok(self.receiving(partner, &request.calling_ae, &request.called_ae))
    }

    async fn admit_partner(&self, partner: &PartnerId, calling: &str) -> Result<Receiving, Rejection> {
        let config = self.config.now();
        let partner = config.partners.get(partner).ok_or(Rejection::CallingAeNotRecognized)?;
        Ok(self.receiving(partner, calling, &config.dicom.ae_title))
    }
}

impl Intake {
    fn receiving(&self, partner: &Partner, calling_ae: &str, called_ae: &str) -> Receiving {
        Receiving {
            partner: partner.id.clone(),
            issuer: partner.issuer.clone(),
            charset: SenderCharset::of(Some(partner)),
            told_of_letters: false,
            calling_ae: calling_ae.to_owned(),
            called_ae: called_ae.to_owned(),
            writer: self.spool.writer(),
            current: None,
            studies: self.open.sending(&partner.id),
            intake: self.clone(),
        }
    }
}

/// One association's side of the intake.
pub struct Receiving {
    partner: PartnerId,
    issuer: String,
    charset: SenderCharset,
    /// It is said once for each association that letters could not be read.
    told_of_letters: bool,
    calling_ae: String,
    called_ae: String,
    writer: JournalWriter,
    current: Option<Current>,
    /// Studies this association has sent some of.
    studies: Sending,
    intake: Intake,
}

/// The instance being received.
struct Current {
    offer: InstanceOffer,
    scanner: HeaderScanner,
    scanned: bool,
    received: Moment,
}

impl StoreAssociation for Receiving {
    async fn begin(&mut self, offer: &InstanceOffer) -> Result<(), StoreRefusal> {
        let received = self.intake.clock.now();
        let meta = RecordMeta {
            origin: self.partner.clone(),
            calling_ae: self.calling_ae.clone(),
            called_ae: self.called_ae.clone(),
            sop_class: offer.sop_class.clone(),
            sop_instance: offer.sop_instance.clone(),
            transfer_syntax: offer.transfer_syntax.clone(),
            received,
        };
        self.writer.begin(meta).await.map_err(|error| self.spool_refusal(&error))?;
        let scanner = HeaderScanner::new(&offer.transfer_syntax);
        self.current = Some(Current { offer: offer.clone(), scanner, scanned: false, received });
        Ok(())
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        if let Some(current) = self.current.as_mut().filter(|current| !current.scanned) {
            match current.scanner.push(&data) {
                Ok(Progress::Done) => current.scanned = true,
                Ok(Progress::More) => {}
                Err(error) => {
                    tracing::warn!(site = %self.partner, error = %chain(&error), "Refused an instance of {}: its header cannot be read", self.partner);
                    return Err(refuse(StoreStatus::CannotUnderstand, "data set cannot be read"));
                }
            }
        }
        self.writer.write(data).await.map_err(|error| self.spool_refusal(&error))
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        let Some(current) = self.current.take() else {
            return Err(refuse(StoreStatus::ProcessingFailure, "no instance begun"));
        };
        let offer = current.offer;
        let header = current.scanner.finish().map_err(|_| refuse(StoreStatus::CannotUnderstand, "data set ends early"));
        let (study, series, header) = match header.and_then(|header| checked(header, &offer)) {
            Ok(identified) => identified,
            Err(refusal) => {
                self.writer.discard().await;
                return Err(refusal);
            }
        };
        // Before the sync: while this association has it, the study is not whole.
        self.studies.some_of(&study);
        let place = self.writer.commit().await.map_err(|error| self.spool_refusal(&error))?;
        metrics::counter!("neisse_instances_received_total", "partner" => self.partner.to_string()).increment(1);
        metrics::counter!("neisse_bytes_received_total", "partner" => self.partner.to_string()).increment(place.length);
        self.tell_of_letters(&header);
        self.intake.index.push(ReceivedInstance {
            origin: self.partner.clone(),
            calling_ae: self.calling_ae.clone(),
            called_ae: self.called_ae.clone(),
            facts: header.facts(&self.charset, &self.issuer),
            own: header.instance_facts(&self.charset),
            sop_class: offer.sop_class,
            sop_instance: offer.sop_instance,
            transfer_syntax: offer.transfer_syntax,
            study,
            series,
            place,
            received: current.received,
        });
        Ok(StoreStatus::Success)
    }

    async fn discard(&mut self) {
        self.current = None;
        self.writer.discard().await;
    }

    async fn end(self, how: AssociationEnd) {
        self.writer.close().await;
        drop(self.studies);
        tracing::debug!(site = %self.partner, end = ?how, "Association with {} ended", self.partner);
        self.intake.completeness.ring();
    }
}

impl Receiving {
    /// An image is never refused for its letters; whoever looks after this partner shall know where to mend it.
    fn tell_of_letters(&mut self, header: &Header) {
        if self.told_of_letters || !header.text_is_lossy(&self.charset) {
            return;
        }
        self.told_of_letters = true;
        tracing::warn!(
            site = %self.partner,
            "Texts of an image of {} are not in the character set it names; see charset and charset_instead_of under [dicom]",
            self.partner
        );
    }

    fn spool_refusal(&self, error: &SpoolError) -> StoreRefusal {
        tracing::error!(site = %self.partner, error = %chain(error), "Refused an instance of {} with A700: {error}", self.partner);
        match error {
            SpoolError::BelowReserve { .. } => {
                refuse(StoreStatus::OutOfResources, "disk below its reserve, try again later")
            }
            _ => refuse(StoreStatus::OutOfResources, "storage failed, try again later"),
        }
    }
}

/// The data set must be what the command said it is, and belong to a study (PS3.4 B.2.3: A9xx data set does not match
/// SOP class, Cxxx cannot understand).
fn checked(header: Header, offer: &InstanceOffer) -> Result<(Uid, Uid, Header), StoreRefusal> {
    let differs = |element: u16, found: Option<Uid>, announced: &Uid| match found {
        Some(uid) => uid != *announced,
        // There, but no UID, or longer than any: whoever gets it next could take it for another object, or for a path.
        None => header.raw(0x0008, element).is_some() || header.too_long().contains(&(0x0008, element)),
    };
    if differs(0x0016, header.sop_class(), &offer.sop_class) {
        return Err(refuse(StoreStatus::DataSetDoesNotMatchSopClass, "SOP Class UID differs from the command's"));
    }
    if differs(0x0018, header.sop_instance(), &offer.sop_instance) {
        return Err(refuse(StoreStatus::CannotUnderstand, "SOP Instance UID differs from the command's"));
    }
    let study =
        header.study().ok_or(refuse(StoreStatus::CannotUnderstand, "no valid Study Instance UID (0020,000D)"))?;
    let series =
        header.series().ok_or(refuse(StoreStatus::CannotUnderstand, "no valid Series Instance UID (0020,000E)"))?;
    Ok((study, series, header))
}

fn refuse(status: StoreStatus, comment: &'static str) -> StoreRefusal {
    StoreRefusal { status, comment }
}
