//! What a reader calls the patient and the numbers in a message: its own names for them (`[identity]`), or none.
//!
//! In: the identifiers found in a message. Out: for each, what the reader calls it, written down in the caller's transaction
//! before anything leaves. Of several identifiers of one patient it is the one that the images carry, so that order and
//! images meet in the reader's system.

use crate::{
    config::Config,
    model::{IdentifierKind, IssuedId, Moment, PartnerId},
    store::{CaseRow, StoreError, Tx},
};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<(IdentifierKind, IssuedId), IssuedId>,
    has_own: bool,
}

impl Names {
    /// False: the reader takes identifiers as they are.
    pub fn has_own(&self) -> bool {
        self.has_own
    }

    /// What the reader calls it; none: as it is.
    pub fn of(&self, kind: IdentifierKind, id: &IssuedId) -> Option<IssuedId> {
        self.known.get(&(kind, id.clone())).cloned()
    }
}

/// Finds or makes the reader's names for what a message names.
///
/// # Errors
/// When the database fails.
pub async fn names(
    tx: &mut Tx,
    config: &Config,
    case: &CaseRow,
    reader: &PartnerId,
    mut found: Vec<(IdentifierKind, IssuedId)>,
    now: Moment,
) -> Result<Names, StoreError> {
    if found.iter().any(|(kind, id)| *kind == IdentifierKind::Patient && is_of(case, id)) {
        found.retain(|(kind, id)| *kind != IdentifierKind::Patient || is_of(case, id));
    }
    let mut names = Names::default();
    names.add(tx, config, case, reader, found, now).await?;
    Ok(names)
}

impl Names {
    /// The same for further ones, all of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add(
        &mut self,
        tx: &mut Tx,
        config: &Config,
        case: &CaseRow,
        reader: &PartnerId,
        mut wanted: Vec<(IdentifierKind, IssuedId)>,
        now: Moment,
    ) -> Result<(), StoreError> {
        let Some(mapping) = config.mapping(reader, &case.origin) else { return Ok(()) };
        self.has_own = true;
        // In one order, so that two that name the same do not wait for each other.
        wanted.sort_by(|a, b| (a.0, &a.1.value, &a.1.issuer).cmp(&(b.0, &b.1.value, &b.1.issuer)));
        wanted.dedup();
        for (kind, id) in wanted {
            if mapping.names(&id) {
                let mapped = tx.mapped(&mapping, kind, &id, now).await?;
                self.known.insert((kind, id), mapped.id);
            }
        }
        Ok(())
    }
}

fn is_of(case: &CaseRow, id: &IssuedId) -> bool {
    case.facts.patient_id == *id || case.facts.former_patient_ids.contains(id)
}
