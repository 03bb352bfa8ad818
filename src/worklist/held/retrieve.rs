//! The instances a C-GET, a C-MOVE or WADO-RS means (PS3.4 C.4.2, C.4.3).
//!
//! In: an identifier with unique keys alone, lists of UIDs allowed. Out: where the instances lie, in the order they came.
//! What contradicts an earlier instance of its UID, and what has left the disk, is not among them. Nothing is given before it is
//! written down that it was asked for (`fetched`).

use super::{Level, Naming, Shelves, failed, fetched, look::Keys, room::Taken, unfit};
use crate::{
    dicom::{
        matching::{self, Names},
        service::{Asker, DataSet, Fetch, HeldInstance, Lies, Refusal, Room},
    },
    model::{CaseId, IdentifierKind, IssuedId, PartnerId, Uid},
    store::{FoundInstance, FoundStudy, SearchBy, Searched, StudySearch},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Of one retrieval.
const MOST: usize = 100_000;
const PAGE: i64 = 1_000;
/// Instances that one identifier may name.
const MOST_NAMED: usize = 2_000;
/// PS3.4 Tables C.4-2 and C.4-3.
const TOO_MANY: Refusal = Refusal::new(0xA701, "more than 100000 instances at once");
const NO_ROOM: Refusal = Refusal::new(0xA702, "too many instances are being retrieved, try again");
/// A receiver would take them for one.
const SEVERAL_PATIENTS: Refusal = unfit("several patients: name the patient and its issuer", tags::PATIENT_ID);

/// What is meant.
struct Meant {
    by: SearchBy,
    which: Searched,
    /// Whose, where the identifier says so.
    whose: Whose,
    level: Level,
}

/// Patient ID and its issuer, as far as they are given, in the asker's words.
struct Whose {
    id: Option<String>,
    issuer: Option<String>,
}

impl Whose {
    fn of(identifier: &DataSet) -> Self {
        let given = |tag| Some(matching::value(identifier, tag)).filter(|value| !value.is_empty());
        Self { id: given(tags::PATIENT_ID), issuer: given(tags::ISSUER_OF_PATIENT_ID) }
    }

    fn fits(&self, patient: &IssuedId) -> bool {
        self.id.as_ref().is_none_or(|id| *id == patient.value)
            && self.issuer.as_ref().is_none_or(|issuer| *issuer == patient.issuer)
    }
}

/// The one patient of each study, or of all of them.
#[derive(Default)]
struct Patients(HashMap<String, IssuedId>);

impl Patients {
    /// Two hospitals may use equal numbers: what they send is never one retrieval.
    fn note(&mut self, level: Level, study: &FoundStudy) -> Result<(), Refusal> {
        let of = if level == Level::Patient { "" } else { study.study.as_str() };
        let patient = &study.facts.patient_id;
        let known = self.0.entry(of.to_owned()).or_insert_with(|| patient.clone());
        if known == patient { Ok(()) } else { Err(SEVERAL_PATIENTS) }
    }
}

/// Instances being gathered. Equal UIDs share their letters.
struct Gathered {
    instances: Vec<HeldInstance>,
    known: HashSet<Uid>,
    /// What is to be written down of each case.
    of_cases: BTreeMap<CaseId, Vec<u64>>,
    taken: Arc<Taken>,
}

impl Gathered {
    fn shared(&mut self, uid: Uid) -> Uid {
        if let Some(known) = self.known.get(&uid) {
            return known.clone();
        }
        self.known.insert(uid.clone());
        uid
    }

    fn add(&mut self, study: &FoundStudy, instance: FoundInstance, toward: Option<&PartnerId>) -> Result<(), Refusal> {
        if self.instances.len() >= MOST {
            return Err(TOO_MANY);
        }
        if !self.taken.one_more() {
            return Err(NO_ROOM);
        }
        let place = instance.place;
        self.of_cases.entry(study.case).or_default().push(fetched::mark(&instance.sop_instance));
        let held = HeldInstance {
            study: study.study.clone(),
            series: self.shared(instance.series),
            sop_class: self.shared(instance.sop_class),
            sop_instance: instance.sop_instance,
            transfer_syntax: self.shared(instance.transfer_syntax),
            lies: match toward {
                Some(toward) => Lies::UnderOthers { place, case: study.case, toward: toward.clone() },
                None => Lies::AsReceived(place),
            },
            room: Room::of(self.taken.clone()),
        };
        self.instances.push(held);
        Ok(())
    }
}

impl Shelves {
    pub async fn retrieve(self, asker: &Asker, by: Fetch, identifier: DataSet) -> Result<Vec<HeldInstance>, Refusal> {
        let naming = Naming::toward(asker, &self);
        let meant = meant(&identifier, &naming).await?;
        let search = StudySearch { partner: asker.partner.clone(), by: meant.by, from: None, to: None };
        let taken = Arc::new(self.rooms.of(&asker.partner));
        let mut found = Gathered { instances: Vec::new(), known: HashSet::new(), of_cases: BTreeMap::new(), taken };
        let (mut after, mut patients) = (None, Patients::default());
        loop {
            let page = self.store.search_studies(&search, after.as_ref(), PAGE).await;
            let page = page.map_err(|error| failed(&error))?;
            after = page.last().map(|study| study.place.clone());
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for mut study in page {
                naming.name(&mut study).await.map_err(|error| failed(&error))?;
                if !meant.whose.fits(&study.facts.patient_id) {
                    continue;
                }
                patients.note(meant.level, &study)?;
                let toward = naming.renames(&study.origin).then_some(&asker.partner);
                self.add(&study, &meant.which, toward, &mut found).await?;
            }
            if is_last {
                let noted = self.note_fetched(&asker.partner, by, &found.of_cases).await;
                noted.map_err(|error| failed(&error))?;
                return Ok(found.instances);
            }
        }
    }

    async fn add(
        &self,
        study: &FoundStudy,
        which: &Searched,
        toward: Option<&PartnerId>,
        found: &mut Gathered,
    ) -> Result<(), Refusal> {
        let mut after = 0;
        loop {
            let page = self.store.instances_of(study, which, after, PAGE).await;
            let page = page.map_err(|error| failed(&error))?;
            for instance in page.instances.into_iter().filter(|instance| instance.on_disk) {
                if which.series.is_empty() || which.series.iter().any(|uid| uid == instance.series.as_str()) {
                    found.add(study, instance, toward)?;
                }
            }
            let Some(next) = page.next else { return Ok(()) };
            after = next;
        }
    }
}

async fn meant(identifier: &DataSet, naming: &Naming) -> Result<Meant, Refusal> {
    if let Err(tag) = matching::check(identifier) {
        return Err(unfit("a unique key is not a list of UIDs", tag));
    }
    let keys = Keys { set: identifier, names: Names::Exact, is_of_series: false };
    let unique = |tag: Tag| {
        let given = identifier.get(tag).map(matching::values).unwrap_or_default();
        let uids = keys.uids(tag);
        // PS3.4 C.4.2.2.1: no wild cards.
        if uids.len() == given.len() { Ok(uids) } else { Err(unfit("a unique key is not a list of UIDs", tag)) }
    };
    let studies = unique(tags::STUDY_INSTANCE_UID)?;
    let series = unique(tags::SERIES_INSTANCE_UID)?;
    let instances = unique(tags::SOP_INSTANCE_UID)?;
    if instances.len() > MOST_NAMED {
        return Err(unfit("more than 2000 instances are named", tags::SOP_INSTANCE_UID));
    }
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
    let whose = Whose::of(identifier);
    let by = if level == Level::Patient {
        let id = whose.id.clone().unwrap_or_default();
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
    Ok(Meant { by, which, whose, level })
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
