//! Sends a run of instances to a partner over one association, in the order they were received.
//!
//! In: the claimed delivery and its instances in the journal. Out: how far it came, what was refused, and the outcome.
//! The association is kept open for the next batch while the study is still arriving. Constant memory: data sets are
//! read from the journal in blocks and verified against their digest as they go. Toward a reader that wants its own
//! identifiers, `identity` replaces them on the way.

use super::{
    identity::{Identities, NotSent, verify},
    way::{Giving, Way},
    worker::not_read,
};
use crate::{
    config::{Config, DicomTarget, Partner},
    dicom::{
        rewrite::RewriteError,
        scu::{
            Association, DataSource, InstanceToStore, MAX_PROPOSALS, OpenError, Proposal, ScuError, ScuSettings,
            StoreAnswer, Target, read_answer,
        },
    },
    model::{Fault, Outcome, chain},
    spool::{PlaceReader, Spool},
    store::{DeliverableInstance, RefusedInstance, SentInstance},
};
use bytes::BytesMut;
use std::{io, time::Duration};

/// The status noted for an instance whose presentation context the partner did not accept (0122: SOP class not supported).
const NO_CONTEXT: u16 = 0x0122;

/// What one attempt at a run of instances came to.
#[derive(Debug)]
pub struct Sent {
    /// The last instance that has been confirmed or marked; everything before it is done too.
    pub done_to: i64,
    pub refused: Vec<RefusedInstance>,
    /// What left under identifiers of the partner's own.
    pub mapped: Vec<SentInstance>,
    pub outcome: Outcome,
}

/// An association kept from one batch to the next.
#[derive(Default)]
pub struct Line {
    open: Option<Open>,
}

struct Open {
    association: Association,
    target: DicomTarget,
    /// Asked for, accepted or not: what was not accepted is not asked for again on every batch.
    proposals: Vec<Proposal>,
}

impl Line {
    /// Releases the association: nothing came for a while.
    pub async fn release(&mut self) {
        if let Some(open) = self.open.take() {
            open.association.release().await;
        }
    }

    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// An association that was asked for everything proposed: the one at hand if it will do.
    async fn ready(
        &mut self,
        settings: &ScuSettings,
        target: &DicomTarget,
        proposals: &[Proposal],
    ) -> Result<&mut Association, OpenError> {
        let fits = self.open.as_ref().is_some_and(|open| {
            open.association.is_open() && open.target == *target && proposals.iter().all(|p| open.proposals.contains(p))
        });
        if !fits {
            self.release().await;
            let address = Target { host: target.host.clone(), port: target.port, called_ae: target.ae_title.clone() };
            let association = Association::open(settings, &address, proposals).await?;
            self.open = Some(Open { association, target: target.clone(), proposals: proposals.to_vec() });
        }
        self.open.as_mut().map(|open| &mut open.association).ok_or(OpenError::Aborted)
    }

    async fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            open.association.abort().await;
        }
    }
}

pub fn settings(config: &Config) -> ScuSettings {
    ScuSettings {
        calling_ae: config.dicom.ae_title.clone(),
        connect: config.delivery.connect,
        response: config.delivery.response,
    }
}

/// Where a partner takes images.
///
/// # Errors
/// The outcome when the configuration names no such place.
pub fn target(partner: Option<&Partner>) -> Result<DicomTarget, Outcome> {
    partner
        .and_then(|partner| partner.dicom.as_ref())
        .and_then(|dicom| dicom.deliver.clone())
        .ok_or(Outcome::Refused { reason: "no [dicom] deliver is configured for it".into(), fault: Fault::Ours })
}

/// What is sent, and from where.
pub struct Batch<'a> {
    pub spool: &'a Spool,
    pub instances: &'a [DeliverableInstance],
    /// Absent: as received.
    pub identities: Option<Identities>,
    /// Whom it gives way to; absent: nobody.
    pub way: Option<&'a Way>,
    /// A slide: it gives way within itself, not before the next.
    pub is_bulk: bool,
}

impl Batch<'_> {
    /// Another batch has the right of way, and this one has begun.
    fn gives_way(&self, number: usize) -> bool {
        number > 0 && !self.is_bulk && self.way.is_some_and(Way::is_taken)
    }
}

/// Sends a batch in order; `progress` is told the number of each instance that has been confirmed. With `last_try`, the
/// reason the last attempt ended with, an instance that cannot be got over is marked, so that the rest arrives.
pub async fn send(
    line: &mut Line,
    settings: &ScuSettings,
    target: &DicomTarget,
    mut batch: Batch<'_>,
    last_try: Option<&str>,
    mut progress: impl FnMut(i64, Option<SentInstance>) + Send,
) -> Sent {
    let instances = batch.instances;
    let mut sent = Sent {
        done_to: instances.first().map_or(0, |first| first.seq - 1),
        refused: Vec::new(),
        mapped: Vec::new(),
        outcome: Outcome::Delivered { warning: None },
    };
    let proposals = proposals(instances);
    let mut warning = None;
    for (number, instance) in instances.iter().enumerate() {
        if batch.gives_way(number) {
            let reason = "stat images have the right of way".to_owned();
            sent.outcome = Outcome::NotYet { reason, after: Duration::ZERO };
            return sent;
        }
        // The association at hand, but for the first instance and after one that ended it.
        let association = match line.ready(settings, target, &proposals).await {
            Ok(association) => association,
            Err(error) => {
                sent.outcome = not_opened(&error);
                return sent;
            }
        };
        let (step, mapped) = one(association, &mut batch, instance, settings.response).await;
        let mapped = mapped.filter(|_| matches!(step, Step::Stored | Step::StoredWithWarning(_)));
        sent.mapped.extend(mapped);
        match step {
            Step::Stored => {}
            Step::StoredWithWarning(status) => warning = Some(format!("{status:04X}")),
            Step::Refused(status) => sent.refused.push(RefusedInstance { seq: instance.seq, status }),
            Step::BrokenOff => {
                line.abort().await;
                sent.refused.push(RefusedInstance { seq: instance.seq, status: RefusedInstance::NOT_REWRITTEN });
            }
            Step::End { outcome, keep, status } => {
                if !keep {
                    line.abort().await;
                }
                if !last_try.is_some_and(|last| stuck(&outcome, number == 0 && !keep, last)) {
                    sent.outcome = outcome;
                    return sent;
                }
                sent.refused.push(RefusedInstance { seq: instance.seq, status });
            }
        }
        sent.done_to = instance.seq;
        // Only the end of the attempt writes down what was refused. Noted beyond it before, a refused instance would
        // be forgotten if the process died in between; so what follows it is rather sent twice.
        if sent.refused.is_empty() {
            progress(instance.seq, mapped);
        }
    }
    sent.outcome = Outcome::Delivered { warning };
    sent
}

enum Step {
    Stored,
    StoredWithWarning(u16),
    Refused(u16),
    /// By us, in the middle: the partner drops what it has of it (PS3.7 9.1.1), and the rest goes over another association.
    BrokenOff,
    /// The attempt ends here. `keep`: the association is still good. `status`: what is noted if it is given up.
    End {
        outcome: Outcome,
        keep: bool,
        status: u16,
    },
}

/// Whether the trouble is this instance. A partner that answers an echo and then breaks off at the same instance in
/// the same way again and again is not away: without this, one instance would hold up its case until the time is up,
/// and with it whatever waits while the partner is paused.
fn stuck(outcome: &Outcome, broken_off_at_once: bool, last: &str) -> bool {
    match outcome {
        Outcome::TryAgain { fault: Fault::Partner, reason } => broken_off_at_once && reason == last,
        Outcome::TryAgain { .. } => true,
        _ => false,
    }
}

/// With what left, if it was not what was received.
async fn one(
    association: &mut Association,
    batch: &mut Batch<'_>,
    instance: &DeliverableInstance,
    response: Duration,
) -> (Step, Option<SentInstance>) {
    let (spool, way) = (batch.spool, batch.way.filter(|_| batch.is_bulk));
    if !association.accepts(&instance.sop_class, &instance.transfer_syntax) {
        return (Step::Refused(NO_CONTEXT), None);
    }
    let Some(identities) = batch.identities.as_mut() else {
        return match spool.reader(&instance.place) {
            Ok(reader) => {
                let length = instance.place.length;
                let mut source = Giving::new(JournalSource(reader), way, response);
                (store(association, instance, length, &mut source).await, None)
            }
            Err(error) => (unreadable(&NotSent::Journal(error)), None),
        };
    };
    one_mapped(association, spool, instance, identities, (way, response)).await
}

async fn one_mapped(
    association: &mut Association,
    spool: &Spool,
    instance: &DeliverableInstance,
    identities: &mut Identities,
    (way, response): (Option<&Way>, Duration),
) -> (Step, Option<SentInstance>) {
    match identities.rewritten(spool, instance).await {
        Ok(outgoing) => {
            let (length, mut giving) = (outgoing.length, Giving::new(outgoing, way, response));
            let step = store(association, instance, length, &mut giving).await;
            let mut outgoing = giving.source;
            match outgoing.unfit() {
                Some(error) => not_rewritten(spool, instance, error).await,
                None => (step, Some(outgoing.sent())),
            }
        }
        Err(error @ NotSent::Header(_)) => {
            tell(instance, &error);
            (Step::Refused(RefusedInstance::NOT_REWRITTEN), None)
        }
        Err(NotSent::Store(error)) => {
            let (outcome, status) = (not_read(&error), RefusedInstance::NOT_REWRITTEN);
            (Step::End { outcome, keep: true, status }, None)
        }
        Err(error) => (unreadable(&error), None),
    }
}

/// Bytes that our own disk has spoilt are not its sender's fault.
async fn not_rewritten(
    spool: &Spool,
    instance: &DeliverableInstance,
    error: RewriteError,
) -> (Step, Option<SentInstance>) {
    if let Err(error) = verify(spool, instance).await {
        let outcome = Outcome::TryAgain { reason: chain(&error), fault: Fault::Ours };
        return (Step::End { outcome, keep: false, status: RefusedInstance::UNREADABLE }, None);
    }
    tell(instance, &NotSent::Header(error));
    (Step::BrokenOff, None)
}

fn tell(instance: &DeliverableInstance, error: &NotSent) {
    tracing::error!(image = instance.seq, reason = %chain(error), "Image {} is not sent: {}", instance.seq, chain(error));
}

async fn store(
    association: &mut Association,
    instance: &DeliverableInstance,
    length: u64,
    source: &mut impl DataSource,
) -> Step {
    let what = InstanceToStore {
        sop_class: instance.sop_class.clone(),
        sop_instance: instance.sop_instance.clone(),
        transfer_syntax: instance.transfer_syntax.clone(),
        length,
    };
    match association.store(&what, source).await {
        Ok(response) => step_of(read_answer(response.status)),
        Err(error) => broken_off(&error),
    }
}

fn unreadable(error: &NotSent) -> Step {
    let outcome = Outcome::TryAgain { reason: chain(error), fault: Fault::Ours };
    Step::End { outcome, keep: true, status: RefusedInstance::UNREADABLE }
}

/// Whose fault a status is: Table B.2-1 of PS3.4, read as the field uses it.
fn step_of(answer: StoreAnswer) -> Step {
    match answer {
        StoreAnswer::Stored => Step::Stored,
        StoreAnswer::StoredWithWarning(status) => Step::StoredWithWarning(status),
        StoreAnswer::InstanceRefused(status) => Step::Refused(status),
        StoreAnswer::PartnerHasNoRoom(status) => {
            let reason = format!("out of resources ({status:04X})");
            Step::End { outcome: Outcome::TryAgain { reason, fault: Fault::Partner }, keep: true, status }
        }
        StoreAnswer::TryAgain(status) => {
            let reason = format!("answered {status:04X}");
            Step::End { outcome: Outcome::TryAgain { reason, fault: Fault::Case }, keep: true, status }
        }
        StoreAnswer::CaseRefused(status) => {
            let reason = format!("answered {status:04X}");
            Step::End { outcome: Outcome::Refused { reason, fault: Fault::Case }, keep: true, status }
        }
    }
}

/// A permanent rejection is still tried until the time is up, because the other side's administrator can mend it.
fn not_opened(error: &OpenError) -> Outcome {
    let fault = match error {
        OpenError::Rejected { permanent: true, .. } => Fault::Agreement,
        OpenError::Unfit(_) => Fault::Ours,
        _ => Fault::Partner,
    };
    Outcome::TryAgain { reason: chain(error), fault }
}

fn broken_off(error: &ScuError) -> Step {
    let (fault, status) = match error {
        ScuError::Source(_) => (Fault::Ours, RefusedInstance::UNREADABLE),
        _ => (Fault::Partner, RefusedInstance::BROKEN_OFF),
    };
    Step::End { outcome: Outcome::TryAgain { reason: chain(error), fault }, keep: false, status }
}

/// Sends one object that is not in the journal. True: it broke off after the association stood.
pub async fn send_one(
    line: &mut Line,
    settings: &ScuSettings,
    target: &DicomTarget,
    proposal: Proposal,
    what: &InstanceToStore,
    source: &mut impl DataSource,
) -> (Outcome, bool) {
    let association = match line.ready(settings, target, &[proposal]).await {
        Ok(association) => association,
        Err(error) => return (not_opened(&error), false),
    };
    let step = if association.accepts(&what.sop_class, &what.transfer_syntax) {
        match association.store(what, source).await {
            Ok(response) => step_of(read_answer(response.status)),
            Err(error) => broken_off(&error),
        }
    } else {
        Step::Refused(NO_CONTEXT)
    };
    let outcome = match step {
        Step::Stored => Outcome::Delivered { warning: None },
        Step::StoredWithWarning(status) => Outcome::Delivered { warning: Some(format!("{status:04X}")) },
        Step::Refused(status) => Outcome::Refused { reason: format!("answered {status:04X}"), fault: Fault::Instance },
        Step::BrokenOff => Outcome::Refused { reason: "it must not leave".into(), fault: Fault::Instance },
        Step::End { outcome, keep, .. } => {
            if !keep {
                line.abort().await;
            }
            return (outcome, !keep);
        }
    };
    (outcome, false)
}

/// The distinct pairs of SOP class and transfer syntax, as received.
fn proposals(instances: &[DeliverableInstance]) -> Vec<Proposal> {
    let mut proposals: Vec<Proposal> = Vec::new();
    for instance in instances {
        let proposal =
            Proposal { sop_class: instance.sop_class.clone(), transfer_syntax: instance.transfer_syntax.clone() };
        if !proposals.contains(&proposal) && proposals.len() < MAX_PROPOSALS {
            proposals.push(proposal);
        }
    }
    proposals
}

/// A data set in the journal as a source of bytes for the wire. The journal hands out the last block only when the
/// digest is the one of the receipt: an instance with a flipped bit cannot be completed, it is an error of ours.
struct JournalSource(PlaceReader);

impl DataSource for JournalSource {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        self.0.read(into, at_most).await
    }
}
