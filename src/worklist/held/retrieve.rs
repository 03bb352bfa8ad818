//! The instances a C-GET, a C-MOVE or WADO-RS means (PS3.4 C.4.2, C.4.3).
//!
//! In: an identifier with unique keys alone, lists of UIDs allowed. Out: where the instances lie, in the order they came.
//! What contradicts an earlier instance of its UID, and what has left the disk, is not among them.

use super::{Level, Naming, Shelves, failed, look::Keys, unfit};
use crate::{
    dicom::{
        matching::{self, Names},
        service::{Asker, DataSet, HeldInstance, Refusal},
    },
    model::IdentifierKind,
    store::{FoundStudy, SearchBy, Searched, StudySearch},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// Of one retrieval.
const MOST: usize = 100_000;
const PAGE: i64 = 1_000;
/// PS3.4 Tables C.4-2 and C.4-3.
const TOO_MANY: Refusal = Refusal::new(0xA701, "more than 100000 instances at once");

/// What is meant.
struct Meant {
    by: SearchBy,
    which: Searched,
}

impl Shelves {
    pub async fn retrieve(self, asker: &Asker, identifier: DataSet) -> Result<Vec<HeldInstance>, Refusal> {
        let naming = Naming::toward(asker, &self);
        let meant = meant(&identifier, &naming).await?;
        let search = StudySearch { partner: asker.partner.clone(), by: meant.by, from: None, to: None };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.search_studies(&search, after.as_ref(), PAGE).await;
            let page = page.map_err(|error| failed(&error))?;
            for study in &page {
                self.add(study, &meant.which, &naming, &mut found).await?;
            }
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(found);
            }
            after = page.last().map(|study| study.place.clone());
        }
    }

    async fn add(
        &self,
        study: &FoundStudy,
        which: &Searched,
        naming: &Naming,
        found: &mut Vec<HeldInstance>,
    ) -> Result<(), Refusal> {
        if naming.renames(&study.origin) {
            return Err(Refusal::new(0xA702, "identifiers of its own: what is delivered has them"));
        }
        let mut after = 0;
        loop {
            let page = self.store.instances_of(study.case, which, after, PAGE).await;
            let page = page.map_err(|error| failed(&error))?;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            after = page.last().map_or(after, |last| last.seq);
            for instance in page.into_iter().filter(|instance| instance.on_disk) {
                if !which.series.is_empty() && !which.series.iter().any(|uid| uid == instance.series.as_str()) {
                    continue;
                }
                if found.len() >= MOST {
                    return Err(TOO_MANY);
                }
                found.push(HeldInstance {
                    study: study.study.clone(),
                    series: instance.series,
                    sop_class: instance.sop_class,
                    sop_instance: instance.sop_instance,
                    transfer_syntax: instance.transfer_syntax,
                    place: instance.place,
                });
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

async fn meant(identifier: &DataSet, naming: &Naming) -> Result<Meant, Refusal> {
    if let Err(tag) = matching::check(identifier) {
        return Err(unfit("a unique key is not a list of UIDs", tag));
    }
    let keys = Keys { set: identifier, names: Names::Exact };
    let unique = |tag: Tag| {
        let given = identifier.get(tag).map(matching::values).unwrap_or_default();
        let uids = keys.uids(tag);
        // PS3.4 C.4.2.2.1: no wild cards.
        if uids.len() == given.len() { Ok(uids) } else { Err(unfit("a unique key is not a list of UIDs", tag)) }
    };
    let studies = unique(tags::STUDY_INSTANCE_UID)?;
    let series = unique(tags::SERIES_INSTANCE_UID)?;
    let instances = unique(tags::SOP_INSTANCE_UID)?;
    let level = level(identifier, &series, &instances)?;
    let missing = |tag| unfit("the unique key of the level is missing", tag);
    let which = match level {
        Level::Image if instances.is_empty() => return Err(missing(tags::SOP_INSTANCE_UID)),
        Level::Series if series.is_empty() => return Err(missing(tags::SERIES_INSTANCE_UID)),
        Level::Study if studies.is_empty() => return Err(missing(tags::STUDY_INSTANCE_UID)),
        Level::Image => Searched { series, instances },
        Level::Series => Searched { series, instances: Vec::new() },
        Level::Study | Level::Patient => Searched::default(),
    };
    let by = if level == Level::Patient {
        let id = matching::value(identifier, tags::PATIENT_ID);
        if id.is_empty() || id.contains(['*', '?', '"']) {
            return Err(unfit("the unique key of the level is missing, or no single value", tags::PATIENT_ID));
        }
        let ids = naming.unnamed(IdentifierKind::Patient, id).await.map_err(|error| failed(&error))?;
        SearchBy::Patient(ids)
    } else if !studies.is_empty() {
        SearchBy::Studies(studies)
    } else if !which.instances.is_empty() {
        SearchBy::Instances(which.instances.clone())
    } else {
        SearchBy::Series(which.series.clone())
    };
    Ok(Meant { by, which })
}

/// HTTP has no level: it is that of the lowest key.
fn level(identifier: &DataSet, series: &[String], instances: &[String]) -> Result<Level, Refusal> {
    match matching::value(identifier, tags::QUERY_RETRIEVE_LEVEL).as_str() {
        "PATIENT" => Ok(Level::Patient),
        "STUDY" => Ok(Level::Study),
        "SERIES" => Ok(Level::Series),
        "IMAGE" => Ok(Level::Image),
        "" if !instances.is_empty() => Ok(Level::Image),
        "" if !series.is_empty() => Ok(Level::Series),
        "" => Ok(Level::Study),
        _ => Err(unfit("Query/Retrieve Level is not one of the model's", tags::QUERY_RETRIEVE_LEVEL)),
    }
}
