//! What reports and their forms hold, tens of megabytes at worst: small ones in their row, large ones in pieces.
//!
//! In: the content, in the memory of whoever holds it; out: the same, whole for who reads a held report, piece by piece for
//! who sends a form. A statement's values are in memory several times over (ours, the driver's, the database's), so none of
//! them is larger than a piece.

use super::{Store, StoreError, Tx, on_read, on_tx};
use crate::model::{Pieces, ReportId};
use bytes::{Bytes, BytesMut};

/// A content up to this size is in its row; a larger one in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// `form` of what was received.
pub(super) const AS_RECEIVED: &str = "";

/// What stands in the row itself; empty: it is to be added in pieces.
pub(super) fn in_row(content: &Pieces) -> Bytes {
    if content.len() > PIECE_BYTES { Bytes::new() } else { content.whole() }
}

impl Tx {
    /// The pieces of what does not stand in its row.
    pub(super) async fn add_pieces(
        &mut self,
        report: ReportId,
        form: &str,
        content: &Pieces,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO report_contents (report_id, form, seq, bytes) VALUES ($1, $2, $3, $4)";
        if content.len() <= PIECE_BYTES {
            return Ok(());
        }
        let id = report.to_string();
        for (seq, piece) in (0_i64..).zip(content.blocks(PIECE_BYTES)) {
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(&id)
                .bind(form)
                .bind(seq)
                .bind(&piece[..])
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(())
    }
}

impl Store {
    /// Bytes of what is kept in pieces. `None`: nothing is kept, though no report is empty.
    pub(super) async fn length_of_pieces(&self, report: ReportId, form: &str) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT CAST(COALESCE(SUM(LENGTH(bytes)), 0) AS BIGINT) FROM report_contents \
             WHERE report_id = $1 AND form = $2";
        let id = report.to_string();
        let (length,): (i64,) = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).bind(form).fetch_one(p).await)?;
        Ok(u64::try_from(length).ok().filter(|length| *length > 0))
    }

    /// One piece, counted from 0, of what does not stand in its row; `None`: there are not so many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report_piece(&self, report: ReportId, form: &str, seq: i64) -> Result<Option<Bytes>, StoreError> {
        const SQL: &str = "SELECT bytes FROM report_contents WHERE report_id = $1 AND form = $2 AND seq = $3";
        let id = report.to_string();
        let row: Option<(Vec<u8>,)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(&id).bind(form).bind(seq).fetch_optional(p).await)?;
        Ok(row.map(|(bytes,)| bytes.into()))
    }

    /// The whole of what was received, by what stands in its row.
    pub(super) async fn whole_content(&self, report: ReportId, in_row: Vec<u8>) -> Result<Bytes, StoreError> {
        if !in_row.is_empty() {
            return Ok(in_row.into());
        }
        let unreadable = StoreError::Unreadable { what: "report" };
        let length = self.length_of_pieces(report, AS_RECEIVED).await?;
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return Err(unreadable) };
        let mut whole = BytesMut::with_capacity(length);
        let mut seq = 0;
        while let Some(piece) = self.report_piece(report, AS_RECEIVED, seq).await? {
            whole.extend_from_slice(&piece);
            seq += 1;
        }
        // One is missing in between: half of a report is none.
        if whole.len() == length { Ok(whole.freeze()) } else { Err(unreadable) }
    }
}
