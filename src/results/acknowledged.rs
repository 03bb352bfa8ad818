//! Acknowledgements that come as messages of their own: the application of a hospital says, later, what became of a report
//! it had accepted (HL7 v2.5.1 2.9.3, enhanced mode).
//!
//! In: an ACK of a known partner. Out: its own answer. One that says yes acknowledges a critical result; one that says no
//! is put before a person: the report is at the hospital, and not in the patient's chart.

use super::{critical, receive::ReportReceiver};
use crate::{
    config::Partner,
    hl7::{
        ack::{Acknowledgement, ErrorCode, Rejected, Verdict, acknowledge},
        message::Message,
    },
    store::{Durability, MessageKey, StoreError},
};
use bytes::Bytes;

impl ReportReceiver {
    /// Takes an acknowledgement of a known partner.
    ///
    /// # Errors
    /// When the database fails; the sender must then be asked to send it again.
    pub async fn acknowledged(
        &self,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
        key: &MessageKey,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        let refused = |problem: Rejected| Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
        let Ok(said) = Acknowledgement::parse(bytes) else {
            let text = "no MSA that says what became of a message: expected MSA-1 and MSA-2";
            return refused(Rejected::new("MSA", 1, 0, ErrorCode::RequiredFieldMissing, text));
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            return Ok(answer);
        }
        let Some(sent) = tx.report_sent_as(&partner.id, &said.control_id).await? else {
            let text = "MSA-2 names no report that was sent to this partner";
            return refused(Rejected::new("MSA", 1, 2, ErrorCode::UnknownKey, text));
        };
        let mut case = tx.case(sent.case).await?;
        if said.code.verdict() == Verdict::Accept {
            let by = format!("{} (HL7)", partner.id);
            critical::acknowledge(&mut tx, &mut case, sent.version, ("results", &by), now).await?;
        } else {
            let (code, version) = (said.code.as_str(), sent.version);
            let told = format!("{} did not take over version {version} of the report ({code}): call them", partner.id);
            case.needs_a_person(&told);
            tx.tell(case.id, now, "results", &told).await?;
            tracing::error!(case.id = %case.id, site = %partner.id, "Case {}: {told}", case.id);
        }
        tx.save_case(&case).await?;
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        Ok(answer)
    }
}
