//! A person says whose a held report is.
//!
//! In: a held report, a case, and why. Out: all that the correlation would have done: a version of the case's report, and
//! its forms owed to the origin; the story says that a person did it. Does not ask whether the identifiers agree: the
//! person has, by telephone.

use super::{
    addendum,
    correlate::is_of_another_patient,
    identity::own_again,
    incoming::{Incoming, Object},
    receive::{fallback_charset, unnamed_charset},
    settle::{Joined, join_held, prepare_for, still_completes},
};
use crate::{
    config::Config,
    dicom::{charset::SenderCharset, documents::read_report_from},
    hl7::oru::OruReport,
    model::{CaseId, Moment, PartnerId, ReportId},
    store::{Durability, HeldContent, Store, StoreError},
};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("report {0} is not held: it does not exist, or somebody has attached or dismissed it")]
    NotHeld(ReportId),
    #[error("{sender} sent both the report and the images of case {case}: nobody waits for it there")]
    OwnCase { sender: PartnerId, case: CaseId },
    #[error("report {0} cannot be read: have its sender send it again, then dismiss it")]
    Unreadable(ReportId),
    #[error("another report of case {0} came meanwhile: look at it, then attach again")]
    Overtaken(CaseId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug)]
pub struct Attached {
    pub joined: Joined,
    /// It names a patient, and not the case's.
    pub is_of_another_patient: bool,
}

/// Joins a held report to a case.
///
/// # Errors
/// When it is not held, is the origin's own or cannot be read, or when the database fails; nothing has been changed then.
pub async fn attach(
    store: &Store,
    config: &Arc<Config>,
    report: ReportId,
    case: CaseId,
    why: &str,
    now: Moment,
) -> Result<Attached, AttachError> {
    let row = store.case(case).await?;
    let held = match store.held_report(report).await {
        // A piece of it is missing.
        Err(StoreError::Unreadable { what: "report" }) => return Err(AttachError::Unreadable(report)),
        held => held?.ok_or(AttachError::NotHeld(report))?,
    };
    if held.sender == row.origin {
        return Err(AttachError::OwnCase { sender: held.sender, case });
    }
    let mut incoming = read(config, held).ok_or(AttachError::Unreadable(report))?;
    own_again(store, &mut incoming).await?;
    if incoming.is_addendum {
        // To nothing, where its reader has sent nothing else: then the person wants it as it is.
        let _alone = addendum::complete_of(store, config, &mut incoming, case).await?;
    }
    let incoming = Arc::new(incoming);
    let tx = store.begin(Durability::Process).await?;
    let prepared = prepare_for(tx, config, &incoming, &row, report).await?;
    let mut tx = store.begin(Durability::Synced).await?;
    let row = tx.case(case).await?;
    if !still_completes(&mut tx, &incoming, case).await? {
        return Err(AttachError::Overtaken(case));
    }
    let is_of_another_patient = is_of_another_patient(&incoming.clues, &row);
    let joined = join_held(&mut tx, config, &incoming, prepared, row, why, now).await?;
    let joined = joined.ok_or(AttachError::NotHeld(report))?;
    tx.commit().await?;
    Ok(Attached { joined, is_of_another_patient })
}

/// The report in what was kept of it.
pub(super) fn read(config: &Config, held: HeldContent) -> Option<Incoming> {
    let HeldContent { sender, source, received, content, object } = held;
    let partner = config.partners.get(&sender);
    if matches!(source.as_str(), "oru" | "oul" | "mdm") {
        let report = OruReport::read(&content, partner.map_or_else(unnamed_charset, fallback_charset)).ok()?;
        let incoming = Incoming::from_oru(report, sender, received, content);
        // More orders or studies than are looked up: the person has chosen. Each part keeps its order's numbers.
        return Some(incoming.unwrap_or_else(|(incoming, _)| *incoming));
    }
    let (sop_class, sop_instance, transfer_syntax) = object?;
    let charset = SenderCharset::of(partner);
    let report = read_report_from(&sop_class, &transfer_syntax, &content, charset.clone()).ok()?;
    let it = Object { sop_class, sop_instance, transfer_syntax, charset };
    Some(Incoming::from_object(report, it, sender, received, content))
}
