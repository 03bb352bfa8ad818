//! C-MOVE: instances sent to a destination of the asker's own, over one association of ours (PS3.7 9.1.4, PS3.4 C.4.2).
//!
//! Each goes as it is stored, and says whose C-MOVE it is part of. The asker is told how far it is, and may cancel. A
//! destination that breaks off is tried again for the next instance, and given up after a few.

use super::StoreAssociation;
use super::dialogue::Dialogue;
use super::incoming::Ending;
use super::requests::{Asking, cancels};
use super::retrieval::{HeldBytes, OpenInstance, Retrieving, Sub, Tally};
use crate::dicom::dimse::Originator;
use crate::dicom::scu::{
    Association, DataSource, InstanceToStore, MAX_PROPOSALS, Proposal, StoreAnswer, Target, read_answer,
};
use crate::dicom::service::{Fetch, HeldInstance, MoveDestination};
use crate::model::chain;
use bytes::BytesMut;
use std::io;
use tokio::time::sleep_until;

/// Instances in a row that a destination breaks off at, or is not reached for.
const MOST_BREAKS: usize = 3;

struct Line {
    destination: MoveDestination,
    proposals: Vec<Proposal>,
    originator: Originator,
    association: Option<Association>,
    breaks: usize,
}

impl<A: StoreAssociation> Dialogue<A> {
    pub(super) async fn move_to(&mut self, asking: Asking) -> Result<u16, Ending> {
        let named = asking.asked.services.destination(&asking.asker, &asking.request.move_destination);
        let destination = match named {
            Ok(destination) => destination,
            Err(refusal) => return self.refuse(asking.context, &asking.request, &refusal).await,
        };
        let (of, instances) = match self.meant(asking, Fetch::Move).await? {
            Ok(meant) => meant,
            Err(status) => return Ok(status),
        };
        let mut line = Line {
            destination,
            proposals: proposals(&instances),
            originator: Originator { ae_title: self.who.calling_ae.clone(), message_id: of.request.message_id },
            association: None,
            breaks: 0,
        };
        let mut tally = Tally::new(instances.len());
        let mut canceled = false;
        for instance in &instances {
            let sub = self.sub_move(&of, &mut line, instance, &mut tally, &mut canceled).await?;
            tally.count(sub, instance);
            if canceled {
                break;
            }
            if tally.is_pending_due() {
                self.tell_progress(&of, &mut tally).await?;
            }
        }
        if let Some(association) = line.association.take() {
            association.release().await;
        }
        self.last_word(&of, &tally, canceled).await
    }

    /// Sends one, while the asker may cancel, go away, and is told that it goes on.
    async fn sub_move(
        &mut self,
        of: &Retrieving,
        line: &mut Line,
        instance: &HeldInstance,
        tally: &mut Tally,
        canceled: &mut bool,
    ) -> Result<Sub, Ending> {
        let held = of.held.clone();
        let work = line.send(&*held, instance);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                sub = &mut work => return Ok(sub),
                said = self.incoming.meanwhile() => *canceled |= cancels(&said?.1, of.request.message_id)?,
                () = sleep_until(tally.next_pending()) => self.tell_progress(of, tally).await?,
            }
        }
    }
}

impl Line {
    async fn send(&mut self, held: &dyn super::Held, instance: &HeldInstance) -> Sub {
        if self.breaks >= MOST_BREAKS {
            return Sub::Failed;
        }
        let Ok(open) = held.open(instance).await else {
            tracing::warn!("an instance to be moved cannot be read");
            return Sub::Failed;
        };
        match self.try_to(held, instance, open).await {
            Ok(sub) => {
                self.breaks = 0;
                sub
            }
            Err(error) => {
                tracing::info!(error, "C-MOVE: the destination does not take an instance");
                self.association = None;
                self.breaks += 1;
                Sub::Failed
            }
        }
    }

    /// The error's text is our own.
    async fn try_to(
        &mut self,
        held: &dyn super::Held,
        instance: &HeldInstance,
        open: OpenInstance,
    ) -> Result<Sub, String> {
        if self.association.as_ref().is_none_or(|association| !association.is_open()) {
            let MoveDestination { ae_title, host, port } = self.destination.clone();
            let target = Target { host, port, called_ae: ae_title };
            let opened = Association::open(&held.outgoing(), &target, &self.proposals).await;
            self.association = Some(opened.map_err(|error| chain(&error))?);
        }
        let Some(association) = &mut self.association else { return Ok(Sub::Failed) };
        if !association.accepts(&instance.sop_class, &instance.transfer_syntax) {
            return Ok(Sub::Failed);
        }
        let what = InstanceToStore {
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            length: open.length,
        };
        let stored = association.store_for(Some(&self.originator), &what, &mut Source(open.bytes)).await;
        Ok(match read_answer(stored.map_err(|error| chain(&error))?.status) {
            StoreAnswer::Stored => Sub::Completed,
            StoreAnswer::StoredWithWarning(_) => Sub::Warning,
            _ => Sub::Failed,
        })
    }
}

struct Source(Box<dyn HeldBytes>);

impl DataSource for Source {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        self.0.read(into, at_most).await
    }
}

/// The distinct pairs of SOP class and transfer syntax, as many as an association carries.
fn proposals(instances: &[HeldInstance]) -> Vec<Proposal> {
    let mut proposals: Vec<Proposal> = Vec::new();
    for instance in instances {
        let proposal =
            Proposal { sop_class: instance.sop_class.clone(), transfer_syntax: instance.transfer_syntax.clone() };
        if proposals.len() < MAX_PROPOSALS && !proposals.contains(&proposal) {
            proposals.push(proposal);
        }
    }
    proposals
}
