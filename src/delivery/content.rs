//! What is sent for a report, read from the database as the wire takes it: a document of tens of megabytes is never whole in
//! memory.
//!
//! In: a form of a report. Out: its bytes in order, for an HL7 message or a data set. One that is shorter than it was is an
//! error: half of a report is none.

use crate::{
    dicom::scu::DataSource,
    hl7::sender::MessageSource,
    model::ReportId,
    store::{ReportContent, Store},
};
use bytes::{Buf as _, Bytes, BytesMut};
use std::io;

pub(super) struct Content {
    store: Store,
    report: ReportId,
    form: &'static str,
    /// Read and not given out yet.
    at_hand: Bytes,
    /// The piece to be read next.
    seq: i64,
    /// Bytes that are still to be read.
    left: u64,
}

impl Content {
    pub(super) fn new(store: Store, report: ReportId, form: &'static str, content: &ReportContent) -> Self {
        let at_hand = content.in_row.clone();
        let left = content.length.saturating_sub(at_hand.len() as u64);
        Self { store, report, form, at_hand, seq: 0, left }
    }

    /// Reads on where nothing is at hand.
    async fn fill(&mut self) -> io::Result<()> {
        while self.at_hand.is_empty() && self.left > 0 {
            let piece = self.store.report_piece(self.report, self.form, self.seq).await.map_err(io::Error::other)?;
            let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.seq += 1;
            self.at_hand = piece;
        }
        Ok(())
    }
}

impl MessageSource for Content {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.fill().await?;
        let piece = std::mem::take(&mut self.at_hand);
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl DataSource for Content {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        self.fill().await?;
        let taken = at_most.min(self.at_hand.len());
        into.extend_from_slice(&self.at_hand[..taken]);
        self.at_hand.advance(taken);
        Ok(taken)
    }
}
