//! From raw bytes to [`StudyFacts`]: character sets decoded, padding removed, issuers added.

use super::{Header, wanted, wanted::Place};
use crate::{
    dicom::charset::{self, Kind, SenderCharset},
    model::{InstanceFacts, IssuedId, Priority, StudyFacts},
};

/// Of a longer text the beginning is kept. A PN has three groups of 64 letters at most, an LO 64 (PS3.5 6.2), but a sender
/// may write 4 KB into each, and thousands of instances wait in memory.
const MAX_LETTERS: usize = 256;

impl Header {
    /// What this instance says about its study. `sender` says what is meant by its Specific Character Set; `issuer` is used where it names no issuer of a patient ID or accession number.
    pub fn facts(&self, sender: impl Into<SenderCharset>, issuer: &str) -> StudyFacts {
        let reader = Reader { header: self, sender: &sender.into() };
        let or_configured = |named: String| if named.is_empty() { issuer.to_owned() } else { named };
        let top = |tag| reader.text(Place::Top, tag);
        let ordered = |tag| first_given([top(tag), reader.text(Place::RequestAttributes, tag)]);
        StudyFacts {
            patient_id: issued(top(wanted::PATIENT_ID), || or_configured(top(wanted::ISSUER_OF_PATIENT_ID))),
            former_patient_ids: Vec::new(),
            patient_name: top(wanted::PATIENT_NAME),
            birth_date: date(&top(wanted::BIRTH_DATE)),
            sex: top(wanted::SEX),
            accession: reader.accession(or_configured),
            placer_order_number: ordered(wanted::PLACER_ORDER_NUMBER),
            filler_order_number: ordered(wanted::FILLER_ORDER_NUMBER),
            placer_issuer: String::new(),
            filler_issuer: String::new(),
            modality: top(wanted::MODALITY),
            description: top(wanted::STUDY_DESCRIPTION),
            study_id: top(wanted::STUDY_ID),
            body_part: top(wanted::BODY_PART),
            study_date: date(&top(wanted::STUDY_DATE)),
            study_time: time(&top(wanted::STUDY_TIME)),
            priority: Priority::of_dicom(&ordered(wanted::PRIORITY)),
            expected_instances: top(wanted::NUMBER_OF_STUDY_INSTANCES).parse().ok(),
            referring_physician: top(wanted::REFERRING_PHYSICIAN),
            container_id: top(wanted::CONTAINER_ID),
            specimens: reader.specimens(or_configured),
        }
    }

    /// What it says about itself and its series.
    pub fn instance_facts(&self, sender: impl Into<SenderCharset>) -> InstanceFacts {
        let reader = Reader { header: self, sender: &sender.into() };
        let top = |tag| reader.text(Place::Top, tag);
        // IS: at most 12 letters, a sign allowed (PS3.5 6.2).
        let number = |tag| top(tag).trim().parse::<i32>().ok();
        InstanceFacts {
            number: number(wanted::INSTANCE_NUMBER),
            series_number: number(wanted::SERIES_NUMBER),
            series_description: top(wanted::SERIES_DESCRIPTION),
            performed_on: date(&top(wanted::PERFORMED_DATE)),
            performed_at: time(&top(wanted::PERFORMED_TIME)),
        }
    }

    /// True when a kept text could not be decoded without loss, or its set had to be taken from the configuration because
    /// nobody knows the one it names.
    pub fn text_is_lossy(&self, sender: impl Into<SenderCharset>) -> bool {
        let reader = Reader { header: self, sender: &sender.into() };
        let texts = [
            wanted::PATIENT_NAME,
            wanted::PATIENT_ID,
            wanted::ACCESSION_NUMBER,
            wanted::STUDY_DESCRIPTION,
            wanted::REFERRING_PHYSICIAN,
        ];
        let is_unknown = !charset::is_known(&reader.named(Place::Top).unwrap_or_default());
        texts.into_iter().any(|tag| {
            let bytes = self.at(Place::Top, tag).unwrap_or_default();
            reader.decoded(Place::Top, tag).1 || (is_unknown && !bytes.is_ascii())
        })
    }
}

struct Reader<'a> {
    header: &'a Header,
    sender: &'a SenderCharset,
}

impl Reader<'_> {
    fn accession(&self, or_configured: impl Fn(String) -> String) -> IssuedId {
        let from = |place, issuer_place| {
            issued(self.text(place, wanted::ACCESSION_NUMBER), || or_configured(self.issuer(issuer_place)))
        };
        let own = from(Place::Top, Place::AccessionIssuer);
        if own.is_empty() { from(Place::RequestAttributes, Place::RequestAccessionIssuer) } else { own }
    }

    /// The container and the specimens in it, each once.
    fn specimens(&self, or_configured: impl Fn(String) -> String) -> Vec<IssuedId> {
        let id = |place, tag, issuer_place| {
            let issuer = || or_configured(self.issuer(issuer_place));
            issued(self.text(place, tag), issuer)
        };
        let container = id(Place::Top, wanted::CONTAINER_ID, Place::ContainerIssuer);
        let specimens = (1..=wanted::MAX_SPECIMENS)
            .map(|number| id(Place::Specimen(number), wanted::SPECIMEN_ID, Place::SpecimenIssuer(number)));
        let mut ids: Vec<IssuedId> = Vec::new();
        for found in [container].into_iter().chain(specimens) {
            if !found.is_empty() && !ids.contains(&found) {
                ids.push(found);
            }
        }
        ids
    }

    fn issuer(&self, place: Place) -> String {
        first_given([self.text(place, wanted::LOCAL_NAMESPACE), self.text(place, wanted::UNIVERSAL_ENTITY_ID)])
    }

    fn text(&self, place: Place, tag: u32) -> String {
        self.decoded(place, tag).0
    }

    fn decoded(&self, place: Place, tag: u32) -> (String, bool) {
        let Some(bytes) = self.header.at(place, tag) else { return (String::new(), false) };
        let is_name = matches!(tag, wanted::PATIENT_NAME | wanted::REFERRING_PHYSICIAN);
        let kind = if is_name { Kind::Name } else { Kind::Values };
        let (text, lossy) = charset::decode_as(kind, bytes, &self.charset(place));
        // Leading and trailing spaces are padding (PS3.5 6.2), and so, from some senders, are NULs.
        let text = text.trim_matches([' ', '\0']);
        // None of the wanted VRs allows control characters; inside they would reach HL7 segments and database text.
        let has_controls = text.contains(char::is_control);
        let plain = |letter: char| if letter.is_control() { '\u{FFFD}' } else { letter };
        let mut kept: String = text.chars().take(MAX_LETTERS).map(plain).collect();
        kept.shrink_to_fit();
        (kept, lossy || has_controls)
    }

    /// An item may name its own character set; otherwise the data set's is in force (PS3.3 C.12.1.1.2).
    fn charset(&self, place: Place) -> String {
        let named = self.named(place).or_else(|| self.named(Place::Top)).unwrap_or_default();
        self.sender.meant(&named).to_owned()
    }

    fn named(&self, place: Place) -> Option<String> {
        let bytes = self.header.at(place, wanted::SPECIFIC_CHARACTER_SET)?;
        let text = String::from_utf8_lossy(bytes).trim_matches([' ', '\0']).to_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// No issuer without a value: an empty identifier was issued by nobody.
fn issued(value: String, issuer: impl FnOnce() -> String) -> IssuedId {
    let issuer = if value.is_empty() { String::new() } else { issuer() };
    IssuedId { value, issuer }
}

fn first_given<const N: usize>(values: [String; N]) -> String {
    values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
}

/// `YYYYMMDD`; `YYYY.MM.DD` of ACR-NEMA is still sent (PS3.5 6.2, DA). Anything else is no date.
fn date(text: &str) -> String {
    let digits: String = text.chars().filter(|c| !matches!(c, '.' | '-')).collect();
    if digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()) { digits } else { String::new() }
}

/// `HHMMSS` of a TM: fraction cut off, missing minutes and seconds zero. Anything else is no time.
fn time(text: &str) -> String {
    let whole = text.split('.').next().unwrap_or_default();
    let digits: String = whole.chars().filter(|c| *c != ':').collect();
    let fits = matches!(digits.len(), 2 | 4 | 6) && digits.bytes().all(|b| b.is_ascii_digit());
    if fits { format!("{digits:0<6}") } else { String::new() }
}
