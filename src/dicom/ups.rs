//! Unified Procedure Steps on the wire (PS3.4 CC): the well-known UIDs, what an event says, data sets as DICOM JSON.
//!
//! In: what the store says of an event. Out: the data set of an N-EVENT-REPORT, which a WebSocket gets as JSON. Decides
//! nothing.

use super::service::DataSet;
use crate::model::{TaskEvent, TaskState, Uid};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;

/// UPS Push: every task is an instance of it, whatever class was negotiated (PS3.4 CC.3.1).
pub const PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";
/// UPS Global Subscription SOP Instance (PS3.4 CC.2.3).
pub const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";
/// UPS Filtered Global Subscription SOP Instance.
pub const FILTERED: &str = "1.2.840.10008.5.1.4.34.5.1";

/// What can be matched and returned (PS3.4 Table CC.2.5-3); anything else is left out of answers, with FF01.
pub const SUPPORTED: [Tag; 32] = [
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::PROCEDURE_STEP_STATE,
    tags::SCHEDULED_PROCEDURE_STEP_PRIORITY,
    tags::SCHEDULED_PROCEDURE_STEP_MODIFICATION_DATE_TIME,
    tags::PROCEDURE_STEP_LABEL,
    tags::WORKLIST_LABEL,
    tags::SCHEDULED_PROCESSING_PARAMETERS_SEQUENCE,
    tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_CLASS_CODE_SEQUENCE,
    tags::SCHEDULED_STATION_GEOGRAPHIC_LOCATION_CODE_SEQUENCE,
    tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME,
    tags::SCHEDULED_PROCEDURE_STEP_EXPIRATION_DATE_TIME,
    tags::EXPECTED_COMPLETION_DATE_TIME,
    tags::SCHEDULED_WORKITEM_CODE_SEQUENCE,
    tags::SCHEDULED_HUMAN_PERFORMERS_SEQUENCE,
    tags::COMMENTS_ON_THE_SCHEDULED_PROCEDURE_STEP,
    tags::INPUT_READINESS_STATE,
    tags::INPUT_INFORMATION_SEQUENCE,
    tags::STUDY_INSTANCE_UID,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::ADMISSION_ID,
    tags::ISSUER_OF_ADMISSION_ID_SEQUENCE,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::REFERENCED_REQUEST_SEQUENCE,
    tags::REPLACED_PROCEDURE_STEP_SEQUENCE,
    tags::PROCEDURE_STEP_PROGRESS_INFORMATION_SEQUENCE,
    tags::UNIFIED_PROCEDURE_STEP_PERFORMED_PROCEDURE_SEQUENCE,
];

/// Coding scheme of what has no code elsewhere: partners.
const OWN_SCHEME: &str = "99NEISSE";
/// Code Value is SH; what is longer goes into Long Code Value (PS3.3 8.1).
const MAX_CODE: usize = 16;

/// An event as it goes out.
#[derive(Clone, Debug)]
pub struct EventReport {
    /// For whoever counts what has arrived.
    pub id: i64,
    pub task: Uid,
    pub event: TaskEvent,
    pub information: DataSet,
}

/// What is known of an event, before it is written as a data set.
#[derive(Clone, Copy, Debug)]
pub struct EventFacts<'a> {
    pub event: TaskEvent,
    pub state: TaskState,
    pub is_ready: bool,
    /// What else it says, DICOM JSON as [`json()`] made it.
    pub content: &'a str,
    /// Who reads: partner's id and name.
    pub reader: (&'a str, &'a str),
}

/// Event Information, PS3.4 Table CC.2.4-1.
pub fn information(facts: &EventFacts<'_>) -> DataSet {
    let mut set = parse(facts.content).unwrap_or_else(DataSet::new_empty);
    match facts.event {
        TaskEvent::StateReport => {
            put(&mut set, tags::PROCEDURE_STEP_STATE, VR::CS, facts.state.as_str());
            put(&mut set, tags::INPUT_READINESS_STATE, VR::CS, readiness(facts.is_ready));
        }
        TaskEvent::Assigned => {
            let (id, name) = facts.reader;
            put_items(&mut set, tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE, vec![partner_code(id, name)]);
        }
        TaskEvent::CancelRequested | TaskEvent::Progress => {}
    }
    set
}

/// The event as a WebSocket gets it (PS3.18 8.10.5, 11.13): its information and what it is about.
pub fn event_json(report: &EventReport) -> String {
    let mut set = report.information.clone();
    put(&mut set, tags::AFFECTED_SOP_CLASS_UID, VR::UI, PUSH);
    put(&mut set, tags::AFFECTED_SOP_INSTANCE_UID, VR::UI, report.task.as_str());
    set.put(DataElement::new(tags::EVENT_TYPE_ID, VR::US, PrimitiveValue::from(report.event.id())));
    json(&set)
}

/// Input Readiness State (0040,4041).
pub fn readiness(is_ready: bool) -> &'static str {
    if is_ready { "READY" } else { "INCOMPLETE" }
}

/// A partner as a code (PS3.3 8.8).
pub fn partner_code(id: &str, name: &str) -> DataSet {
    let name = if name.is_empty() { id } else { name };
    coded(id, OWN_SCHEME, name)
}

/// A Code Sequence item.
pub fn coded(value: &str, scheme: &str, meaning: &str) -> DataSet {
    let mut item = DataSet::new_empty();
    if value.len() <= MAX_CODE {
        put(&mut item, tags::CODE_VALUE, VR::SH, value);
    } else {
        put(&mut item, tags::LONG_CODE_VALUE, VR::UC, value);
    }
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
    let meaning: String = meaning.chars().map(|c| if c == '\\' { '/' } else { c }).take(64).collect();
    put(&mut item, tags::CODE_MEANING, VR::LO, &meaning);
    item
}

pub fn put(set: &mut DataSet, tag: Tag, vr: VR, text: &str) {
    let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
    set.put(DataElement::new(tag, vr, value));
}

pub fn put_items(set: &mut DataSet, tag: Tag, items: Vec<DataSet>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// As DICOM JSON (PS3.18 F), for the store and for WebSockets. What cannot be written so is an empty data set.
pub fn json(set: &DataSet) -> String {
    dicom_json::to_string(set).unwrap_or_else(|_| "{}".to_owned())
}

/// What [`json()`] has written. `None`: it is no DICOM JSON.
pub fn parse(json: &str) -> Option<DataSet> {
    dicom_json::from_str::<DataSet>(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(event: TaskEvent, content: &str) -> EventFacts<'_> {
        EventFacts {
            event,
            state: TaskState::InProgress,
            is_ready: true,
            content,
            reader: ("chemnitz", "Klinikum Chemnitz"),
        }
    }

    #[test]
    fn a_state_report_says_state_and_readiness() {
        let information = information(&facts(TaskEvent::StateReport, "{}"));
        let report =
            EventReport { id: 1, task: Uid::new("2.25.7").expect("a UID"), event: TaskEvent::StateReport, information };
        let json: serde_json::Value = serde_json::from_str(&event_json(&report)).expect("JSON");
        assert_eq!(json["00741000"]["Value"][0], "IN PROGRESS");
        assert_eq!(json["00404041"]["Value"][0], "READY");
        assert_eq!(json["00001000"]["Value"][0], "2.25.7");
        assert_eq!(json["00001002"]["Value"][0], 1);
    }

    #[test]
    fn what_else_an_event_says_comes_through_the_store() {
        let mut said = DataSet::new_empty();
        put(&mut said, tags::REASON_FOR_CANCELLATION, VR::LT, "Łódź: wrong side");
        let information = information(&facts(TaskEvent::CancelRequested, &json(&said)));
        let reason = information.get(tags::REASON_FOR_CANCELLATION).and_then(|element| element.to_str().ok());
        assert_eq!(reason.as_deref(), Some("Łódź: wrong side"));
        assert!(information.get(tags::PROCEDURE_STEP_STATE).is_none());
    }

    #[test]
    fn a_long_code_has_its_own_element() {
        assert!(partner_code("magdeburg-neurology", "").get(tags::LONG_CODE_VALUE).is_some());
        assert!(partner_code("chemnitz", "").get(tags::CODE_VALUE).is_some());
    }
}
