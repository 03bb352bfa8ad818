//! Identifiers as the one that asks knows them: a reader with `[identity]` has its own, both ways.
//!
//! In: studies under their origin's identifiers, and keys in the reader's. Out: the same in the other's. A number of the
//! origin's never reaches such a reader: what has no name yet is given one, durable before it is told; what cannot have one is
//! left out.

use super::Shelves;
use crate::{
    config::Live,
    dicom::service::Asker,
    model::{Clock, IdentifierKind, IssuedId, PartnerId},
    store::{Durability, FoundStudy, Store, StoreError},
};

pub struct Naming {
    store: Store,
    config: Live,
    clock: Clock,
    partner: PartnerId,
}

impl Naming {
    pub fn toward(asker: &Asker, shelves: &Shelves) -> Self {
        let (store, config) = (shelves.store.clone(), shelves.config.clone());
        Self { store, config, clock: shelves.clock.clone(), partner: asker.partner.clone() }
    }

    /// Whether it knows what this origin sends by identifiers of its own. Of whoever is no partner any more nobody knows.
    pub fn renames(&self, origin: &PartnerId) -> bool {
        let config = self.config.now();
        !config.partners.contains_key(&self.partner) || config.mapping(&self.partner, origin).is_some()
    }

    /// Whether it knows what anybody else sends by identifiers of its own.
    pub fn renames_any(&self) -> bool {
        let config = self.config.now();
        config.partners.keys().any(|origin| config.mapping(&self.partner, origin).is_some())
    }

    /// What an identifier may be called where it came from; what it is itself comes first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unnamed(&self, kind: IdentifierKind, value: String) -> Result<Vec<String>, StoreError> {
        let given = match self.renames_any() {
            true => self.store.unmapped(&self.partner, kind, &value).await?,
            false => None,
        };
        let mut values = vec![value];
        values.extend(given.map(|given| given.id.value));
        Ok(values)
    }

    /// Puts the asker's identifiers into the place of the origin's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn name(&self, study: &mut FoundStudy) -> Result<(), StoreError> {
        let config = self.config.now();
        if !config.partners.contains_key(&self.partner) {
            (study.facts.patient_id, study.facts.accession) = Default::default();
            return Ok(());
        }
        let Some(mapping) = config.mapping(&self.partner, &study.origin) else { return Ok(()) };
        let facts = &mut study.facts;
        // Many hospitals write one of their numbers there, too.
        let numbers = [&facts.accession.value, &facts.placer_order_number, &facts.filler_order_number];
        if numbers.into_iter().chain([&facts.patient_id.value]).any(|number| *number == facts.study_id) {
            facts.study_id.clear();
        }
        for (kind, id) in
            [(IdentifierKind::Patient, &mut facts.patient_id), (IdentifierKind::Accession, &mut facts.accession)]
        {
            if id.is_empty() {
                continue;
            }
            // Two that cannot be read look alike.
            if id.value.contains(char::REPLACEMENT_CHARACTER) {
                *id = IssuedId::default();
                continue;
            }
            let known = self.store.known_mapped(&mapping, &[(kind, id.clone())]).await?;
            let mapped = match known.into_iter().flatten().next() {
                Some(mapped) => mapped,
                None => {
                    // Synced: what the reader has seen must find back.
                    let mut tx = self.store.begin(Durability::Synced).await?;
                    let mapped = tx.mapped(&mapping, kind, id, self.clock.now()).await?;
                    tx.commit().await?;
                    mapped
                }
            };
            *id = mapped.id;
        }
        facts.placer_order_number.clear();
        facts.filler_order_number.clear();
        Ok(())
    }
}
