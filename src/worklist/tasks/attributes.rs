//! A task as a data set: everything that is said of it (PS3.4 Table CC.2.5-3), read from its case when it is asked for.
//!
//! In: a task, its case, and what goes with it ([`About`]). Out: the data set, with every attribute that is supported, empty
//! where nothing is known. Pure. The Transaction UID is never in it (CC.2.7.3).

use crate::{
    dicom::{
        service::DataSet,
        ups::{PUSH, coded, parse, partner_code, put, put_items, readiness},
    },
    model::{IssuedId, Moment, Priority, TaskState, Uid},
    store::{CaseRow, TaskRow},
};
use chrono_tz::Tz;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

/// Where `web` serves what is to be read.
const DICOM_WEB: &str = "/dicom-web";

/// What its performer may set.
pub const SETTABLE: [Tag; 4] = [
    tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
    tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
    tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE,
    tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP,
];

/// Its identifiers as the asker knows them.
#[derive(Clone, Debug, Default)]
pub struct Identifiers {
    pub patient: IssuedId,
    pub accession: IssuedId,
    pub placer: IssuedId,
    pub filler: IssuedId,
}

/// One series to read.
#[derive(Clone, Debug)]
pub struct InputSeries {
    pub series: Uid,
    /// SOP Class and Instance; empty where there are too many to name.
    pub instances: Vec<(Uid, Uid)>,
}

/// All that a data set is made of.
#[derive(Clone, Debug)]
pub struct About<'a> {
    pub task: &'a TaskRow,
    pub case: &'a CaseRow,
    pub identifiers: Identifiers,
    pub reader_name: &'a str,
    /// Of who asks: times are said in it, with their offset.
    pub time_zone: Tz,
    /// Where the images are had: our AE title, and what links begin with where that is configured.
    pub ae_title: &'a str,
    pub web_root: Option<&'a str>,
    pub input: Vec<InputSeries>,
    /// SOP Class and Instance of its report.
    pub output: Vec<(Uid, Uid)>,
}

pub fn data_set(about: &About<'_>) -> DataSet {
    let mut set = DataSet::new_empty();
    scheduled(&mut set, about);
    patient(&mut set, about);
    let set_by_performer = parse(&about.task.attributes).unwrap_or_else(DataSet::new_empty);
    for tag in SETTABLE {
        match set_by_performer.get(tag) {
            Some(element) => drop(set.put(element.clone())),
            None if tag == tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP => put(&mut set, tag, VR::LT, ""),
            None => put_items(&mut set, tag, Vec::new()),
        }
    }
    ended(&mut set, about);
    set
}

fn scheduled(set: &mut DataSet, about: &About<'_>) {
    let task = about.task;
    put(set, tags::SOP_CLASS_UID, VR::UI, PUSH);
    put(set, tags::SOP_INSTANCE_UID, VR::UI, task.uid.as_str());
    put(set, tags::PROCEDURE_STEP_STATE, VR::CS, task.state.as_str());
    put(set, tags::SCHEDULED_PROCEDURE_STEP_PRIORITY, VR::CS, priority(task.priority));
    put(set, tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME, VR::DT, &date_time(task.updated, about.time_zone));
    put(set, tags::PROCEDURE_STEP_LABEL, VR::LO, &label(about.case));
    put(set, tags::WORKLIST_LABEL, VR::LO, &one_value(&task.label));
    put_items(set, tags::SCHEDULED_PROCESSING_PARAMETERS_SEQUENCE, Vec::new());
    let station = partner_code(task.reader.as_str(), about.reader_name);
    put_items(set, tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE, vec![station]);
    put_items(set, tags::SCHEDULED_STATION_CLASS_CODE_SEQUENCE, Vec::new());
    put_items(set, tags::SCHEDULED_STATION_GEOGRAPHIC_LOCATION_CODE_SEQUENCE, Vec::new());
    put(set, tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME, VR::DT, &date_time(task.scheduled, about.time_zone));
    let said = |at: Option<Moment>| at.map(|at| date_time(at, about.time_zone)).unwrap_or_default();
    put(set, tags::SCHEDULED_PROCEDURE_STEP_EXPIRATION_DATE_TIME, VR::DT, &said(task.expires));
    put(set, tags::EXPECTED_COMPLETION_DATE_TIME, VR::DT, &said(about.case.report_due));
    put_items(set, tags::SCHEDULED_WORKITEM_CODE_SEQUENCE, vec![workitem()]);
    put(set, tags::INPUT_READINESS_STATE, VR::CS, readiness(task.is_ready));
    put_items(set, tags::INPUT_INFORMATION_SEQUENCE, input(about));
    put_items(set, tags::REFERENCED_REQUEST_SEQUENCE, request(about));
    let replaced = task.replaces.iter().map(|uid| reference(PUSH, uid.as_str())).collect();
    put_items(set, tags::REPLACED_PROCEDURE_STEP_SEQUENCE, replaced);
}

/// CID 9231, General Purpose Workitem Definition.
fn workitem() -> DataSet {
    coded("110005", "DCM", "Interpretation")
}

fn patient(set: &mut DataSet, about: &About<'_>) {
    let facts = &about.case.facts;
    let study = if about.case.has_study { about.case.study.as_str() } else { "" };
    put(set, tags::STUDY_INSTANCE_UID, VR::UI, study);
    put(set, tags::PATIENT_NAME, VR::PN, &one_value(&facts.patient_name));
    put(set, tags::PATIENT_ID, VR::LO, &one_value(&about.identifiers.patient.value));
    put(set, tags::ISSUER_OF_PATIENT_ID, VR::LO, &one_value(&about.identifiers.patient.issuer));
    put(set, tags::PATIENT_BIRTH_DATE, VR::DA, digits(&facts.birth_date, 8));
    put(
        set,
        tags::PATIENT_SEX,
        VR::CS,
        if matches!(facts.sex.trim(), "M" | "F" | "O") { facts.sex.trim() } else { "" },
    );
    put(set, tags::ADMISSION_ID, VR::LO, "");
    put_items(set, tags::ISSUER_OF_ADMISSION_ID_SEQUENCE, Vec::new());
    put(set, tags::ADMITTING_DIAGNOSES_DESCRIPTION, VR::LO, "");
}

/// What is to be read: one item a series, each with the two ways to have it (PS3.3 Table 10-3b).
fn input(about: &About<'_>) -> Vec<DataSet> {
    let item = |series: &InputSeries| {
        let mut item = DataSet::new_empty();
        put(&mut item, tags::TYPE_OF_INSTANCES, VR::CS, "DICOM");
        put(&mut item, tags::STUDY_INSTANCE_UID, VR::UI, about.case.study.as_str());
        put(&mut item, tags::SERIES_INSTANCE_UID, VR::UI, series.series.as_str());
        let instances = series.instances.iter().map(|(class, uid)| reference(class.as_str(), uid.as_str())).collect();
        put_items(&mut item, tags::REFERENCED_SOP_SEQUENCE, instances);
        let mut dicom = DataSet::new_empty();
        put(&mut dicom, tags::RETRIEVE_AE_TITLE, VR::AE, about.ae_title);
        put_items(&mut item, tags::DICOM_RETRIEVAL_SEQUENCE, vec![dicom]);
        if let Some(root) = about.web_root {
            let mut web = DataSet::new_empty();
            let url = format!("{root}{DICOM_WEB}/studies/{}/series/{}", about.case.study, series.series);
            put(&mut web, tags::RETRIEVE_URL, VR::UR, &url);
            put_items(&mut item, tags::WADORS_RETRIEVAL_SEQUENCE, vec![web]);
        }
        item
    };
    about.input.iter().map(item).collect()
}

fn request(about: &About<'_>) -> Vec<DataSet> {
    let ids = &about.identifiers;
    if ids.accession.is_empty() && ids.placer.is_empty() && ids.filler.is_empty() {
        return Vec::new();
    }
    let mut item = DataSet::new_empty();
    let study = if about.case.has_study { about.case.study.as_str() } else { "" };
    put(&mut item, tags::STUDY_INSTANCE_UID, VR::UI, study);
    put(&mut item, tags::ACCESSION_NUMBER, VR::SH, &one_value(&ids.accession.value));
    put_items(&mut item, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, issuer(&ids.accession));
    put(&mut item, tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, &one_value(&ids.placer.value));
    put_items(&mut item, tags::ORDER_PLACER_IDENTIFIER_SEQUENCE, issuer(&ids.placer));
    put(&mut item, tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, &one_value(&ids.filler.value));
    put_items(&mut item, tags::ORDER_FILLER_IDENTIFIER_SEQUENCE, issuer(&ids.filler));
    put(&mut item, tags::REQUESTED_PROCEDURE_ID, VR::SH, "");
    put(&mut item, tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, &short(&about.case.facts.description));
    put_items(&mut item, tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    put(&mut item, tags::REASON_FOR_THE_REQUESTED_PROCEDURE, VR::LO, "");
    put(&mut item, tags::REQUESTING_PHYSICIAN, VR::PN, &one_value(&about.case.facts.referring_physician));
    put(&mut item, tags::REQUESTING_SERVICE, VR::LO, "");
    vec![item]
}

/// HL7v2 Hierarchic Designator, PS3.3 Table 10-17.
fn issuer(id: &IssuedId) -> Vec<DataSet> {
    if id.issuer.is_empty() {
        return Vec::new();
    }
    let mut item = DataSet::new_empty();
    put(&mut item, tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT, &id.issuer);
    vec![item]
}

/// What the final states require and nobody has set, because nobody performed it or it is known here: PS3.4 CC.2.5.1.1.
fn ended(set: &mut DataSet, about: &About<'_>) {
    let Some(at) = about.task.ended else { return };
    match about.task.state {
        TaskState::Canceled => canceled(set, about, at),
        TaskState::Completed => completed(set, about, at),
        TaskState::Scheduled | TaskState::InProgress => {}
    }
}

fn canceled(set: &mut DataSet, about: &About<'_>, at: Moment) {
    let mut progress = first_item(set, tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE);
    if progress.get(tags::PROCEDURE_STEP_CANCELLATION_DATE_TIME).is_none() {
        put(&mut progress, tags::PROCEDURE_STEP_CANCELLATION_DATE_TIME, VR::DT, &date_time(at, about.time_zone));
    }
    if progress.get(tags::REASON_FOR_CANCELLATION).is_none() && !about.task.reason.is_empty() {
        put(&mut progress, tags::REASON_FOR_CANCELLATION, VR::LT, &about.task.reason);
    }
    if progress.get(tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE).is_none() {
        let unspecified = coded("110513", "DCM", "Discontinued for unspecified reason");
        put_items(&mut progress, tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE, vec![unspecified]);
    }
    put_items(set, tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE, vec![progress]);
}

fn completed(set: &mut DataSet, about: &About<'_>, at: Moment) {
    let mut performed = first_item(set, tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE);
    if performed.get(tags::PERFORMED_STATION_NAME_CODE_SEQUENCE).is_none() {
        let station = partner_code(about.task.reader.as_str(), about.reader_name);
        put_items(&mut performed, tags::PERFORMED_STATION_NAME_CODE_SEQUENCE, vec![station]);
    }
    if performed.get(tags::PERFORMED_WORKITEM_CODE_SEQUENCE).is_none() {
        put_items(&mut performed, tags::PERFORMED_WORKITEM_CODE_SEQUENCE, vec![workitem()]);
    }
    let begun = about.task.claimed.unwrap_or(at);
    for (tag, at) in
        [(tags::PERFORMED_PROCEDURE_STEP_START_DATE_TIME, begun), (tags::PERFORMED_PROCEDURE_STEP_END_DATE_TIME, at)]
    {
        if performed.get(tag).is_none() {
            put(&mut performed, tag, VR::DT, &date_time(at, about.time_zone));
        }
    }
    let told = performed.get(tags::OUTPUT_INFORMATION_SEQUENCE).and_then(|element| element.items());
    if told.is_none_or(<[DataSet]>::is_empty) {
        let output =
            about.output.iter().map(|(class, uid)| reference(class.as_str(), uid.as_str())).collect::<Vec<_>>();
        let mut item = DataSet::new_empty();
        put(&mut item, tags::TYPE_OF_INSTANCES, VR::CS, "DICOM");
        put(&mut item, tags::STUDY_INSTANCE_UID, VR::UI, about.case.study.as_str());
        put_items(&mut item, tags::REFERENCED_SOP_SEQUENCE, output);
        let items = if about.output.is_empty() { Vec::new() } else { vec![item] };
        put_items(&mut performed, tags::OUTPUT_INFORMATION_SEQUENCE, items);
    }
    put_items(set, tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE, vec![performed]);
}

/// The first item of a sequence; an empty one where there is none.
pub fn first_item(set: &DataSet, tag: Tag) -> DataSet {
    let items = set.get(tag).and_then(|element| element.items());
    items.and_then(<[DataSet]>::first).cloned().unwrap_or_else(DataSet::new_empty)
}

fn reference(class: &str, instance: &str) -> DataSet {
    let mut item = DataSet::new_empty();
    put(&mut item, tags::REFERENCED_SOP_CLASS_UID, VR::UI, class);
    put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance);
    item
}

/// Three to three: STAT is HIGH, routine is LOW.
pub fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::Stat => "HIGH",
        Priority::Urgent => "MEDIUM",
        Priority::Routine => "LOW",
    }
}

/// What a person sees in the list.
fn label(case: &CaseRow) -> String {
    let facts = &case.facts;
    let what = [facts.modality.as_str(), facts.description.as_str()];
    let what: Vec<&str> = what.into_iter().map(str::trim).filter(|word| !word.is_empty()).collect();
    if what.is_empty() { "Interpretation".to_owned() } else { short(&what.join(" ")) }
}

/// For LO, which holds 64 characters; only for what describes.
fn short(text: &str) -> String {
    one_value(text).chars().take(64).collect()
}

/// One value: a backslash would make two, a control character none.
fn one_value(text: &str) -> String {
    let plain = |c: char| if c == '\\' { '/' } else { c };
    text.trim().chars().filter(|c| !c.is_control()).map(plain).collect()
}

fn digits(text: &str, length: usize) -> &str {
    let text = text.trim();
    if text.len() == length && text.bytes().all(|b| b.is_ascii_digit()) { text } else { "" }
}

/// DT, in the zone of who reads it and with the offset (PS3.5 Table 6.2-1).
pub fn date_time(at: Moment, zone: Tz) -> String {
    at.utc().with_timezone(&zone).format("%Y%m%d%H%M%S%.6f%z").to_string()
}
