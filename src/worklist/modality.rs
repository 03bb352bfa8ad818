//! The modality worklist (PS3.4 K): what a hospital's scanner is to do next.
//!
//! In: the keys of a C-FIND of a hospital's scanner. Out: its steps that are scheduled, one answer each, while they are read from
//! the store page by page: dropping the answers ends the reading. The keys are turned into the look that finds the fewest
//! ([`look`]); what it finds is matched key by key.
//!
//! A scanner sees the orders of its own hospital, and of these the open ones whose step has not been done. A step that no scanner
//! is named for is for whichever asks. Moves nothing: `performed` does.

use super::step_item;
use crate::{
    config::Partner,
    dicom::{
        matching::{self, MatchOptions, Names, Prepared},
        service::{Answers, Asker, DataSet, Find, Refusal},
    },
    model::{chain, fold},
    store::{By, Listed, Look, Place, Store},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::VecDeque;

/// The first page is short, so that its answers come at once; the next are longer.
const FIRST_PAGE: i64 = 50;
const PAGE: i64 = 500;
/// Steps looked at for one query: beyond it the keys are too wide for a scanner's list.
const MAX_LOOKED_AT: i64 = 2_000_000;

/// Steps matched before others of the process have their turn: the keys are the scanner's choice.
const TRIED_AT_ONCE: usize = 50;

/// A700, PS3.4 Table K.4-1.
const OUT_OF_RESOURCES: Refusal = Refusal::new(0xA700, "the worklist cannot be read now");
const TOO_MANY: Refusal = Refusal::new(0xA700, "too many steps for these keys");

/// Answers a query of the hospital `partner`.
///
/// # Errors
/// A900 where a key cannot be matched on.
pub fn find(store: &Store, partner: &Partner, asker: &Asker, find: Find) -> Result<Answers, Refusal> {
    let keys = find.identifier;
    if let Err(tag) = matching::check(&keys) {
        return Err(Refusal { element: Some(tag), ..Refusal::new(0xA900, "a key that cannot be matched on") });
    }
    let names = if find.is_fuzzy { Names::Fuzzy } else { Names::Folded };
    let has_unsupported_keys = !matching::supports_all(&keys, &step_item::empty());
    let looking = Looking {
        store: store.clone(),
        look: look(&keys, partner, names),
        station: station(&keys, asker),
        fitting: Prepared::new(
            &keys,
            MatchOptions { names, unknown_matches: false, combined_datetime: true, time_zone: Some(partner.time_zone) },
        ),
        keys,
        partner: partner.clone(),
        page: VecDeque::new(),
        after: Place::default(),
        looked_at: 0,
        tried: 0,
        is_last: false,
    };
    metrics::counter!("neisse_worklist_queries_total", "partner" => partner.id.to_string()).increment(1);
    let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
    let limit = find.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let matches =
        stream::try_unfold(
            looking,
            |mut looking| async move { Ok(looking.next().await?.map(|found| (found, looking))) },
        );
    let matches = matches.into_stream().skip(skip).take(limit).boxed();
    Ok(Answers { matches, has_unsupported_keys, is_partial: false })
}

/// A query under way.
struct Looking {
    store: Store,
    partner: Partner,
    keys: DataSet,
    look: Look,
    /// What the scanner is called where a step names none.
    station: String,
    fitting: Prepared,
    page: VecDeque<Listed>,
    after: Place,
    looked_at: i64,
    tried: usize,
    is_last: bool,
}

impl Looking {
    /// The next step that fits. `None`: there is no more.
    async fn next(&mut self) -> Result<Option<DataSet>, Refusal> {
        loop {
            while let Some(step) = self.page.pop_front() {
                self.after = step.place.clone();
                let Some(item) = step_item::of(&step, &self.partner, &self.station) else { continue };
                self.tried += 1;
                if self.tried.is_multiple_of(TRIED_AT_ONCE) {
                    tokio::task::yield_now().await;
                }
                if self.fitting.fits(&item) {
                    return Ok(Some(matching::returned(&self.keys, &item)));
                }
            }
            if self.is_last {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<(), Refusal> {
        if self.looked_at >= MAX_LOOKED_AT {
            return Err(TOO_MANY);
        }
        let limit = if self.looked_at == 0 { FIRST_PAGE } else { PAGE };
        let page = self.store.scheduled_steps(&self.look, &self.after, limit).await.map_err(|error| {
            tracing::error!(site = %self.partner.id, error = %chain(&error), "The worklist of {} cannot be read", self.partner.id);
            OUT_OF_RESOURCES
        })?;
        let read = i64::try_from(page.len()).unwrap_or(i64::MAX);
        self.is_last = read < limit;
        self.looked_at = self.looked_at.saturating_add(read);
        self.page = page.into();
        Ok(())
    }
}

/// The look that finds the fewest. It may find more than the keys ask for, never less.
fn look(keys: &DataSet, partner: &Partner, names: Names) -> Look {
    let step = step_keys(keys);
    let exact = |set: Option<&DataSet>, tag: Tag| {
        let values = set.and_then(|set| set.get(tag)).map(matching::values).unwrap_or_default();
        let one = <[String; 1]>::try_from(values).ok().map(|[value]| value);
        one.filter(|value| !value.contains(['*', '?', '"']))
    };
    let top = Some(keys);
    let by = exact(top, tags::STUDY_INSTANCE_UID)
        .map(By::Study)
        .or_else(|| exact(top, tags::ACCESSION_NUMBER).map(By::Accession))
        .or_else(|| exact(top, tags::PATIENT_ID).map(By::Patient))
        .or_else(|| beginning(keys, names).map(By::Name))
        .or_else(|| exact(step, tags::SCHEDULED_STATION_AE_TITLE).map(By::Station))
        .or_else(|| exact(step, tags::MODALITY).map(By::Modality))
        .unwrap_or(By::Start);
    let dates = step.map(|step| matching::value(step, tags::SCHEDULED_PROCEDURE_STEP_START_DATE)).unwrap_or_default();
    let (from, to) = matching::days(&dates).unwrap_or_default();
    let day = |day: chrono::NaiveDate| day.format("%Y%m%d").to_string();
    Look { origin: partner.id.clone(), by, from: from.map(day), to: to.map(day) }
}

/// The keys of the one item of the Scheduled Procedure Step Sequence.
fn step_keys(keys: &DataSet) -> Option<&DataSet> {
    keys.get(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE).and_then(|sequence| sequence.items()).and_then(<[_]>::first)
}

/// What the patient's name begins with, folded, if that is enough to look by. A fuzzy key may begin any part of the name, one
/// of several component groups is not what is looked by, and two quotation marks ask for no name at all. In any alphabet: an
/// order's name has one component group, since PID-5 is read without `=` (`hl7::oru::names`).
fn beginning(keys: &DataSet, names: Names) -> Option<String> {
    let values = keys.get(tags::PATIENT_NAME).map(matching::values).unwrap_or_default();
    let [name] = values.as_slice() else { return None };
    if names == Names::Fuzzy || name.contains(['=', '"']) {
        return None;
    }
    let end = name.find(['*', '?', '^']).unwrap_or(name.len());
    let beginning = fold(name[..end].trim());
    (beginning.chars().count() >= 2).then_some(beginning)
}

/// Which scanner it is: the one it asks for, or else itself.
fn station(keys: &DataSet, asker: &Asker) -> String {
    let asked = step_keys(keys).map(|step| matching::value(step, tags::SCHEDULED_STATION_AE_TITLE)).unwrap_or_default();
    if asked.is_empty() || asked.contains(['*', '?', '"']) { asker.ae_title.clone() } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};

    fn keys(top: &[(Tag, VR, &str)], step: &[(Tag, VR, &str)]) -> DataSet {
        let put = |set: &mut DataSet, all: &[(Tag, VR, &str)]| {
            for (tag, vr, text) in all {
                set.put(DataElement::new(*tag, *vr, PrimitiveValue::from(*text)));
            }
        };
        let (mut keys, mut item) = (DataSet::new_empty(), DataSet::new_empty());
        put(&mut keys, top);
        put(&mut item, step);
        let sequence = DataSetSequence::from(vec![item]);
        keys.put(DataElement::new(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, VR::SQ, sequence));
        keys
    }

    #[test]
    fn the_look_is_the_one_that_finds_the_fewest() {
        let config = crate::config::load(std::path::Path::new("config")).expect("the example");
        let partner = config.partners.values().next().expect("a partner");
        let by = |keys: &DataSet| look(keys, partner, Names::Folded).by;
        let ct = (tags::MODALITY, VR::CS, "CT");
        let station = (tags::SCHEDULED_STATION_AE_TITLE, VR::AE, "RAB_CT1");
        assert_eq!(by(&keys(&[], &[])), By::Start);
        assert_eq!(by(&keys(&[], &[ct])), By::Modality("CT".into()));
        assert_eq!(by(&keys(&[], &[(tags::MODALITY, VR::CS, "CT\\MR")])), By::Start);
        assert_eq!(by(&keys(&[], &[ct, station])), By::Station("RAB_CT1".into()));
        assert_eq!(by(&keys(&[(tags::PATIENT_NAME, VR::PN, "MÜL*")], &[ct, station])), By::Name("mul".into()));
        assert_eq!(by(&keys(&[(tags::PATIENT_NAME, VR::PN, "*ler")], &[ct])), By::Modality("CT".into()));
        assert_eq!(by(&keys(&[(tags::PATIENT_NAME, VR::PN, "m*")], &[])), By::Start);
        assert_eq!(by(&keys(&[(tags::PATIENT_NAME, VR::PN, "ИВАН*")], &[])), By::Name("иван".into()));
        for several in ["MÜL*\\DVO*", "Yamada=山田*", "\"\""] {
            assert_eq!(by(&keys(&[(tags::PATIENT_NAME, VR::PN, several)], &[])), By::Start, "{several}");
        }
        let id = (tags::PATIENT_ID, VR::LO, "SYN-1");
        assert_eq!(by(&keys(&[id, (tags::PATIENT_NAME, VR::PN, "MÜL*")], &[])), By::Patient("SYN-1".into()));
        assert_eq!(by(&keys(&[(tags::PATIENT_ID, VR::LO, "SYN*")], &[])), By::Start);
        assert_eq!(by(&keys(&[id, (tags::ACCESSION_NUMBER, VR::SH, "A1")], &[])), By::Accession("A1".into()));
        let today = keys(&[], &[(tags::SCHEDULED_PROCEDURE_STEP_START_DATE, VR::DA, "20261124-")]);
        let look = look(&today, partner, Names::Folded);
        assert_eq!((look.from.as_deref(), look.to), (Some("20261124"), None));
    }
}
