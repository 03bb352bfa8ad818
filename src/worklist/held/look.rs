//! Which index answers a query: the one that finds the fewest studies, never less than the keys ask for.
//!
//! In: the keys. Out: what to look by, and between which days. Whatever the look finds is matched key by key afterwards.

use super::Naming;
use crate::{
    dicom::{
        matching::{self, Names},
        service::DataSet,
    },
    model::IdentifierKind,
    store::{SearchBy, StoreError, name_key},
};
use chrono::NaiveDate;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// Letters a beginning has at least to be looked by.
const SHORTEST: usize = 2;
/// Days that are few enough to look at everything in them.
const FEW_DAYS: i64 = 2;

pub struct Keys<'a> {
    pub set: &'a DataSet,
    pub names: Names,
    /// Asked for series or instances: only there Modality (0008,0060) is a key.
    pub is_of_series: bool,
}

impl Keys<'_> {
    pub async fn look(&self, naming: &Naming) -> Result<SearchBy, StoreError> {
        for (tag, by) in [
            (tags::STUDY_INSTANCE_UID, SearchBy::Studies as fn(_) -> _),
            (tags::SERIES_INSTANCE_UID, SearchBy::Series),
            (tags::SOP_INSTANCE_UID, SearchBy::Instances),
        ] {
            let uids = self.uids(tag);
            if !uids.is_empty() {
                return Ok(by(uids));
            }
        }
        if let Some(number) = self.exact(tags::ACCESSION_NUMBER) {
            return Ok(SearchBy::Accession(naming.unnamed(IdentifierKind::Accession, number).await?));
        }
        if let Some(id) = self.exact(tags::PATIENT_ID) {
            return Ok(SearchBy::Patient(naming.unnamed(IdentifierKind::Patient, id).await?));
        }
        Ok(self.other(naming.renames_any()))
    }

    /// By what names no study and no patient. Beginnings of numbers are of no use where they are others'.
    fn other(&self, has_own_numbers: bool) -> SearchBy {
        let number = |tag| self.beginning(tag).filter(|_| !has_own_numbers);
        let of_series = || self.exact(tags::MODALITY).filter(|_| self.is_of_series);
        let modality = self.exact(tags::MODALITIES_IN_STUDY).or_else(of_series);
        let by_modality = || modality.clone().map_or(SearchBy::Time, SearchBy::Modality);
        if let Some(id) = self.exact(tags::STUDY_ID) {
            return SearchBy::StudyId(id);
        }
        if let Some(number) = number(tags::ACCESSION_NUMBER) {
            return SearchBy::AccessionBegins(number);
        }
        if let Some(id) = number(tags::PATIENT_ID) {
            return SearchBy::PatientBegins(id);
        }
        if self.is_of_few_days() {
            return by_modality();
        }
        self.by_name()
            .or_else(|| self.name(tags::REFERRING_PHYSICIAN_NAME).map(SearchBy::Referrer))
            .or_else(|| self.beginning(tags::STUDY_DESCRIPTION).map(SearchBy::Description))
            .unwrap_or_else(by_modality)
    }

    /// UIDs of a key; empty where it asks for all.
    pub fn uids(&self, tag: Tag) -> Vec<String> {
        let mut uids = self.set.get(tag).map(matching::values).unwrap_or_default();
        // Universal, or that there be none, which there is not.
        uids.retain(|uid| !uid.contains(['*', '"']));
        uids
    }

    /// `YYYYMMDD`, both inclusive.
    pub fn days(&self) -> (Option<String>, Option<String>) {
        let (from, to) = self.asked_days();
        let day = |day: NaiveDate| day.format("%Y%m%d").to_string();
        (from.map(day), to.map(day))
    }

    fn asked_days(&self) -> (Option<NaiveDate>, Option<NaiveDate>) {
        matching::days(&matching::value(self.set, tags::STUDY_DATE)).unwrap_or_default()
    }

    fn is_of_few_days(&self) -> bool {
        matches!(self.asked_days(), (Some(from), Some(to)) if (to - from).num_days() < FEW_DAYS)
    }

    fn exact(&self, tag: Tag) -> Option<String> {
        let values = self.set.get(tag).map(matching::values).unwrap_or_default();
        let one = <[String; 1]>::try_from(values).ok().map(|[value]| value);
        one.filter(|value| !value.contains(['*', '?', '"']))
    }

    fn beginning(&self, tag: Tag) -> Option<String> {
        let values = self.set.get(tag).map(matching::values).unwrap_or_default();
        let [value] = values.as_slice() else { return None };
        if value.contains('"') {
            return None;
        }
        let end = value.find(['*', '?']).unwrap_or(value.len());
        let beginning = value[..end].trim_end();
        (beginning.chars().count() >= SHORTEST).then(|| beginning.to_owned())
    }

    fn by_name(&self) -> Option<SearchBy> {
        if self.names != Names::Fuzzy
            && let Some(name) = self.name(tags::PATIENT_NAME)
        {
            return Some(SearchBy::Name(name));
        }
        self.part_of_name().map(SearchBy::NameHas)
    }

    /// What a name begins with. Letters beyond ASCII may begin another component group than the first.
    fn name(&self, tag: Tag) -> Option<String> {
        let name = name_key(&self.beginning(tag)?);
        let name = name.trim_end_matches('^');
        let is_fit = self.names != Names::Fuzzy && name.is_ascii() && !name.contains('=');
        (is_fit && name.len() >= SHORTEST).then(|| name.to_owned())
    }

    /// The longest piece without wild cards, which a name that matches has somewhere.
    fn part_of_name(&self) -> Option<String> {
        let values = self.set.get(tags::PATIENT_NAME).map(matching::values).unwrap_or_default();
        let [value] = values.as_slice() else { return None };
        let key = name_key(value);
        let pieces = key.split(|letter: char| {
            letter.is_whitespace() || matches!(letter, '*' | '?' | '^' | '=' | ',' | '-' | '.' | '"')
        });
        let longest = pieces.max_by_key(|piece| piece.chars().count())?;
        (longest.chars().count() >= SHORTEST).then(|| longest.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::{DataElement, PrimitiveValue, VR};

    const CT: (Tag, VR, &str) = (tags::MODALITIES_IN_STUDY, VR::CS, "CT");
    const SPAN: (Tag, VR, &str) = (tags::STUDY_DATE, VR::DA, "20260101-20261231");

    fn look(keys: &[(Tag, VR, &str)], names: Names, has_own_numbers: bool) -> SearchBy {
        let mut set = DataSet::new_empty();
        for (tag, vr, text) in keys {
            set.put(DataElement::new(*tag, *vr, PrimitiveValue::from(*text)));
        }
        Keys { set: &set, names, is_of_series: false }.other(has_own_numbers)
    }

    #[test]
    fn the_look_is_the_one_that_finds_the_fewest() {
        let by = |keys: &[(Tag, VR, &str)]| look(keys, Names::Folded, false);
        let name = |text| (tags::PATIENT_NAME, VR::PN, text);
        assert_eq!(by(&[]), SearchBy::Time);
        assert_eq!(by(&[SPAN]), SearchBy::Time);
        assert_eq!(by(&[CT, SPAN]), SearchBy::Modality("CT".into()));
        assert_eq!(by(&[(tags::MODALITIES_IN_STUDY, VR::CS, "CT\\MR")]), SearchBy::Time);
        assert_eq!(by(&[CT, name("MÜLLER^An*")]), SearchBy::Name("muller^an".into()));
        assert_eq!(by(&[name("Müller^")]), SearchBy::Name("muller".into()));
        assert_eq!(by(&[name("*Müller*")]), SearchBy::NameHas("muller".into()));
        assert_eq!(by(&[name("M*")]), SearchBy::Time);
        // Another component group than the first may begin so.
        assert_eq!(by(&[name("山田*")]), SearchBy::NameHas("山田".into()));
        let today = (tags::STUDY_DATE, VR::DA, "20261124");
        assert_eq!(by(&[today, CT, name("MÜLLER")]), SearchBy::Modality("CT".into()));
        assert_eq!(by(&[(tags::PATIENT_ID, VR::LO, "SYN-*")]), SearchBy::PatientBegins("SYN-".into()));
        assert_eq!(by(&[(tags::STUDY_DESCRIPTION, VR::LO, "CT Head")]), SearchBy::Description("CT Head".into()));
        assert_eq!(by(&[(tags::STUDY_DESCRIPTION, VR::LO, "*Head")]), SearchBy::Time);
    }

    #[test]
    fn a_modality_of_series_is_no_key_of_studies() {
        let mut set = DataSet::new_empty();
        set.put(DataElement::new(tags::MODALITY, VR::CS, PrimitiveValue::from("CT")));
        let by = |is_of_series| Keys { set: &set, names: Names::Folded, is_of_series }.other(false);
        assert_eq!((by(false), by(true)), (SearchBy::Time, SearchBy::Modality("CT".into())));
    }

    #[test]
    fn a_fuzzy_name_may_begin_any_word() {
        let name = (tags::PATIENT_NAME, VR::PN, "an müller");
        assert_eq!(look(&[name], Names::Fuzzy, false), SearchBy::NameHas("muller".into()));
    }

    #[test]
    fn beginnings_of_own_numbers_find_nothing_of_others() {
        let id = (tags::PATIENT_ID, VR::LO, "RAB-*");
        assert_eq!(look(&[id, CT], Names::Folded, true), SearchBy::Modality("CT".into()));
    }
}
