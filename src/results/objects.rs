//! Reads SR and PDF objects that a reader sent by C-STORE. They are durable in the journal and answered already; here
//! they become reports.
//!
//! In: rows of report objects that wait. Out: reports, joined or held. An object that cannot be read is held too: a
//! person is told, nothing is dropped.

use super::{
    incoming::Incoming,
    receive::{ReportReceiver, log},
    settle::{hold, settle},
};
use crate::{
    dicom::documents::read_report,
    hl7::oru::{Coded, Interpreter},
    model::{Bell, ReportStatus, chain},
    spool::Spool,
    store::{Durability, ReportObject, StoreError},
};
use bytes::BytesMut;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const BATCH: i64 = 32;
/// A report object larger than this is held for a person, bytes.
const MAX_BYTES: u64 = 64 << 20;

pub struct ReportObjects {
    pub receiver: ReportReceiver,
    pub spool: Spool,
    pub bell: Bell,
}

impl ReportObjects {
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.take_all().await {
                tracing::error!(error = %chain(&error), "Report objects wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            tokio::select! {
                () = self.bell.rung_within(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn take_all(&self) -> Result<(), StoreError> {
        loop {
            let waiting = self.receiver.store.waiting_report_objects(BATCH).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            for object in waiting {
                self.take(&object).await?;
            }
        }
    }

    async fn take(&self, object: &ReportObject) -> Result<(), StoreError> {
        let now = self.receiver.clock.now();
        let config = self.receiver.config.now();
        let read = self.read(object).await;
        let mut tx = self.receiver.store.begin(Durability::Synced).await?;
        if !tx.report_object_done(object).await? {
            return Ok(());
        }
        let joined = match read {
            Ok(incoming) => settle(&mut tx, &config, &incoming, now).await?,
            Err(reason) => hold(&mut tx, &unread(object), &reason).await?,
        };
        tx.commit().await?;
        log(&object.sender, &joined);
        self.receiver.handoff.ring();
        Ok(())
    }

    async fn read(&self, object: &ReportObject) -> Result<Incoming, String> {
        if object.place.length > MAX_BYTES {
            return Err(format!("it is larger than {} MB", MAX_BYTES >> 20));
        }
        let mut reader = self.spool.reader(&object.place).map_err(|error| chain(&error))?;
        let mut bytes = BytesMut::new();
        while reader.read(&mut bytes, 1 << 20).await.map_err(|error| chain(&error))? > 0 {}
        let read = read_report(&object.sop_class, &object.transfer_syntax, &bytes).map_err(|error| chain(&error))?;
        Ok(Incoming::from_object(read, object.sender.clone(), object.received, bytes.freeze()))
    }
}

/// What is kept of an object that cannot be read: where it lies.
fn unread(object: &ReportObject) -> Incoming {
    Incoming {
        sender: object.sender.clone(),
        source: "sr",
        status: ReportStatus::Preliminary,
        clues: super::correlate::Clues::default(),
        title: Coded::default(),
        pieces: Vec::new(),
        interpreter: Interpreter::default(),
        received: object.received,
        raw: format!("journal {} byte {}", object.place.journal, object.place.data).into_bytes().into(),
        lossy: false,
    }
}
