//! A scheduled step as an item of the modality worklist (PS3.4 Table K.6-1).
//!
//! In: a step with its order, the hospital and the scanner that asks. Out: every attribute that is supported, empty where it
//! is unknown, for the keys to be matched with and answered from. Text is UTF-8; the wire spells it for the scanner.

use crate::{
    config::Partner,
    dicom::service::DataSet,
    model::{IssuedId, Priority, Requested, Step, StepState, scheduled::Code},
    store::{Listed, OrderFacts},
};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;

/// The attributes without values: what is supported.
pub fn empty() -> DataSet {
    let facts = OrderFacts::default();
    let about = About {
        facts: &facts,
        step: &Step::default(),
        state: StepState::Scheduled,
        study: "",
        number: &IssuedId::default(),
        filler: &IssuedId::default(),
        accession: &IssuedId::default(),
        patient: &IssuedId::default(),
        priority: "",
        institution: "",
        station: "",
    };
    item(&about)
}

/// `None`: the order has no such step any more.
pub fn of(listed: &Listed, partner: &Partner, station: &str) -> Option<DataSet> {
    let index = usize::try_from(listed.number).ok()?.checked_sub(1)?;
    let step = listed.facts.requested.steps.get(index)?;
    let about = About {
        facts: &listed.facts,
        step,
        state: listed.state,
        study: listed.study.as_str(),
        number: &listed.placer,
        filler: &listed.filler,
        accession: &listed.accession,
        patient: &listed.patient,
        priority: word(listed.priority),
        institution: &partner.name,
        station,
    };
    Some(item(&about))
}

/// Requested Procedure Priority (0040,1003), PS3.3 C.4.11.
fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Stat => "STAT",
        Priority::Urgent => "HIGH",
        Priority::Routine => "ROUTINE",
    }
}

struct About<'a> {
    facts: &'a OrderFacts,
    step: &'a Step,
    state: StepState,
    study: &'a str,
    number: &'a IssuedId,
    filler: &'a IssuedId,
    accession: &'a IssuedId,
    patient: &'a IssuedId,
    priority: &'a str,
    institution: &'a str,
    station: &'a str,
}

fn item(about: &About<'_>) -> DataSet {
    let mut set = DataSet::new_empty();
    patient(&mut set, about);
    visit(&mut set, &about.facts.requested);
    request(&mut set, about);
    put_items(&mut set, tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, vec![scheduled(about)]);
    set
}

fn put_all(set: &mut DataSet, all: &[(Tag, VR, &str)]) {
    for (tag, vr, text) in all {
        let text = held(*vr, text);
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
        set.put(DataElement::new(*tag, *vr, value));
    }
}

fn put_items(set: &mut DataSet, tag: Tag, items: Vec<DataSet>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Words for people are cut to what the attribute holds (PS3.5 Table 6.2-1): a scanner would refuse the whole list.
fn held(vr: VR, text: &str) -> String {
    let most = match vr {
        VR::LO | VR::PN => 64,
        VR::SH | VR::AE | VR::CS | VR::DS => 16,
        _ => 1024,
    };
    text.chars().map(|letter| if letter == '\\' || letter.is_control() { ' ' } else { letter }).take(most).collect()
}

/// An identifier that the attribute cannot hold as it is is left out: shortened, it would be another one.
fn whole(vr: VR, id: &str) -> &str {
    if held(vr, id) == id { id } else { "" }
}

fn patient(set: &mut DataSet, about: &About<'_>) {
    let (facts, requested) = (about.facts, &about.facts.requested);
    let sex = facts.sex.as_str();
    put_all(
        set,
        &[
            (tags::PATIENT_NAME, VR::PN, &facts.patient_name),
            (tags::PATIENT_ID, VR::LO, whole(VR::LO, &about.patient.value)),
            (tags::ISSUER_OF_PATIENT_ID, VR::LO, &about.patient.issuer),
            (tags::PATIENT_BIRTH_DATE, VR::DA, &facts.birth_date),
            // HL7 table 0001 knows more; DICOM M, F and O (PS3.3 C.2.3).
            (tags::PATIENT_SEX, VR::CS, if matches!(sex, "M" | "F" | "O") { sex } else { "" }),
            (tags::PATIENT_WEIGHT, VR::DS, &requested.weight),
            (tags::PATIENT_SIZE, VR::DS, &requested.size),
            (tags::MEDICAL_ALERTS, VR::LO, ""),
            (tags::PATIENT_STATE, VR::LO, &requested.danger),
            (tags::SPECIAL_NEEDS, VR::LO, ""),
            (tags::ADDITIONAL_PATIENT_HISTORY, VR::LT, &requested.history),
            (tags::PATIENT_COMMENTS, VR::LT, ""),
            (tags::CONFIDENTIALITY_CONSTRAINT_ON_PATIENT_DATA_DESCRIPTION, VR::LO, ""),
        ],
    );
    let allergies: Vec<String> = requested.allergies.iter().map(|text| held(VR::LO, text)).collect();
    let allergies = if allergies.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::Strs(allergies.into()) };
    set.put(DataElement::new(tags::ALLERGIES, VR::LO, allergies));
    // 3: definitely pregnant (PS3.3 C.2.4).
    let status = if requested.pregnant { PrimitiveValue::from(3_u16) } else { PrimitiveValue::Empty };
    set.put(DataElement::new(tags::PREGNANCY_STATUS, VR::US, status));
    let others: Vec<DataSet> = facts.patients.iter().filter(|id| *id != about.patient).map(other_id).collect();
    put_items(set, tags::OTHER_PATIENT_I_DS_SEQUENCE, others);
    put_items(set, tags::REFERENCED_PATIENT_SEQUENCE, Vec::new());
}

fn other_id(id: &IssuedId) -> DataSet {
    let mut item = DataSet::new_empty();
    put_all(
        &mut item,
        &[
            (tags::PATIENT_ID, VR::LO, whole(VR::LO, &id.value)),
            (tags::ISSUER_OF_PATIENT_ID, VR::LO, &id.issuer),
            (tags::TYPE_OF_PATIENT_ID, VR::CS, "TEXT"),
        ],
    );
    item
}

fn visit(set: &mut DataSet, requested: &Requested) {
    put_all(
        set,
        &[
            (tags::ADMISSION_ID, VR::LO, &requested.admission.value),
            (tags::CURRENT_PATIENT_LOCATION, VR::LO, &requested.location),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN, &requested.referring_physician),
        ],
    );
    put_items(set, tags::ISSUER_OF_ADMISSION_ID_SEQUENCE, issuer(&requested.admission));
}

/// HL7v2 Hierarchic Designator Macro (PS3.3 10.14).
fn issuer(id: &IssuedId) -> Vec<DataSet> {
    if id.is_empty() || id.issuer.is_empty() {
        return Vec::new();
    }
    let mut item = DataSet::new_empty();
    put_all(&mut item, &[(tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT, &id.issuer)]);
    vec![item]
}

fn request(set: &mut DataSet, about: &About<'_>) {
    let (facts, requested) = (about.facts, &about.facts.requested);
    put_all(
        set,
        &[
            (tags::ACCESSION_NUMBER, VR::SH, whole(VR::SH, &about.accession.value)),
            (tags::STUDY_INSTANCE_UID, VR::UI, about.study),
            (tags::REQUESTED_PROCEDURE_ID, VR::SH, &requested.procedure_id),
            (tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, described(facts)),
            (tags::REQUESTED_PROCEDURE_PRIORITY, VR::SH, about.priority),
            (tags::REASON_FOR_THE_REQUESTED_PROCEDURE, VR::LO, &requested.reason),
            (tags::PATIENT_TRANSPORT_ARRANGEMENTS, VR::LO, ""),
            (tags::REQUESTED_PROCEDURE_COMMENTS, VR::LT, ""),
            (tags::REQUESTING_PHYSICIAN, VR::PN, &requested.requesting_physician),
            (tags::REQUESTING_SERVICE, VR::LO, ""),
            (tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, whole(VR::LO, &about.number.value)),
            (tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, whole(VR::LO, &about.filler.value)),
            (tags::INSTITUTION_NAME, VR::LO, about.institution),
        ],
    );
    put_items(set, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, issuer(about.accession));
    put_items(set, tags::ORDER_PLACER_IDENTIFIER_SEQUENCE, issuer(about.number));
    put_items(set, tags::ORDER_FILLER_IDENTIFIER_SEQUENCE, issuer(about.filler));
    put_items(set, tags::REFERENCED_STUDY_SEQUENCE, Vec::new());
    let scheme = if requested.procedure_scheme.is_empty() { "L" } else { &requested.procedure_scheme };
    let code =
        Code { value: facts.procedure_code.clone(), meaning: described(facts).to_owned(), scheme: scheme.into() };
    put_items(set, tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, coded(&code));
}

fn described(facts: &OrderFacts) -> &str {
    if facts.procedure.is_empty() { &facts.procedure_code } else { &facts.procedure }
}

/// A Code Sequence (PS3.3 8.8): one without a value is none; SH holds 16 characters.
fn coded(code: &Code) -> Vec<DataSet> {
    if code.value.is_empty() || code.value.chars().count() > 16 {
        return Vec::new();
    }
    let meaning = if code.meaning.is_empty() { &code.value } else { &code.meaning };
    let meaning: String = meaning.chars().take(64).collect();
    let scheme: String = code.scheme.chars().take(16).collect();
    let mut item = DataSet::new_empty();
    put_all(
        &mut item,
        &[
            (tags::CODE_VALUE, VR::SH, &code.value),
            (tags::CODING_SCHEME_DESIGNATOR, VR::SH, if scheme.is_empty() { "L" } else { &scheme }),
            (tags::CODE_MEANING, VR::LO, &meaning),
        ],
    );
    vec![item]
}

fn scheduled(about: &About<'_>) -> DataSet {
    let step = about.step;
    let (date, time) = step.start.split_at_checked(8).unwrap_or((step.start.as_str(), ""));
    // A day without an hour: type 1 all the same.
    let time = if time.is_empty() && !date.is_empty() { "000000" } else { time };
    let station = if step.station_ae.is_empty() { about.station } else { &step.station_ae };
    let description = if step.protocol.meaning.is_empty() { described(about.facts) } else { &step.protocol.meaning };
    let description: String = description.chars().take(64).collect();
    let mut item = DataSet::new_empty();
    put_all(
        &mut item,
        &[
            (tags::SCHEDULED_STATION_AE_TITLE, VR::AE, station),
            (tags::SCHEDULED_PROCEDURE_STEP_START_DATE, VR::DA, date),
            (tags::SCHEDULED_PROCEDURE_STEP_START_TIME, VR::TM, time),
            (tags::MODALITY, VR::CS, &step.modality),
            (tags::SCHEDULED_PERFORMING_PHYSICIAN_NAME, VR::PN, &step.performing_physician),
            (tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION, VR::LO, &description),
            (tags::SCHEDULED_STATION_NAME, VR::SH, &step.station_name),
            (tags::SCHEDULED_PROCEDURE_STEP_LOCATION, VR::SH, &step.location),
            (tags::PRE_MEDICATION, VR::LO, ""),
            (tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, &step.id),
            (tags::REQUESTED_CONTRAST_AGENT, VR::LO, ""),
            (tags::SCHEDULED_PROCEDURE_STEP_STATUS, VR::CS, about.state.word()),
            (tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP, VR::LT, ""),
        ],
    );
    put_items(&mut item, tags::SCHEDULED_PROTOCOL_CODE_SEQUENCE, coded(&step.protocol));
    item
}
