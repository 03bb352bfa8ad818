//! Requests and responses of C-FIND, C-GET, C-MOVE and the N-services (PS3.7 9.3.2 to 9.3.4, 10.3).
//!
//! One table of services; what an element is called for a service follows from it. UIDs and AE titles are as the peer wrote
//! them, padding removed: not checked.

use super::set::{CommandSet, Element, at, number, tags, text, uid, us, words};
use super::{
    ACTION_TYPE_ID, AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, ATTRIBUTE_IDENTIFIER_LIST, COMMAND_FIELD,
    COMPLETED_SUB_OPERATIONS, CommandError, ERROR_COMMENT, ERROR_ID, EVENT_TYPE_ID, FAILED_SUB_OPERATIONS, MESSAGE_ID,
    MESSAGE_ID_BEING_RESPONDED_TO, MOVE_DESTINATION, OFFENDING_ELEMENT, PRIORITY, REMAINING_SUB_OPERATIONS,
    REQUESTED_SOP_CLASS_UID, REQUESTED_SOP_INSTANCE_UID, RESPONSE, STATUS, WARNING_SUB_OPERATIONS, comment,
    data_set_type, has_data_set, request_id, response_id, status,
};
use dicom_core::Tag;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    Find,
    Get,
    Move,
    EventReport,
    NGet,
    Set,
    Action,
    Create,
    Delete,
}

impl Service {
    /// The service, its request's Command Field (PS3.7 Table E.1-1), its name.
    const TABLE: [(Service, u16, &'static str); 9] = [
        (Service::Get, 0x0010, "C-GET"),
        (Service::Find, 0x0020, "C-FIND"),
        (Service::Move, 0x0021, "C-MOVE"),
        (Service::EventReport, 0x0100, "N-EVENT-REPORT"),
        (Service::NGet, 0x0110, "N-GET"),
        (Service::Set, 0x0120, "N-SET"),
        (Service::Action, 0x0130, "N-ACTION"),
        (Service::Create, 0x0140, "N-CREATE"),
        (Service::Delete, 0x0150, "N-DELETE"),
    ];

    pub(super) fn of_field(field: u16) -> Option<Self> {
        Self::TABLE.into_iter().find(|(_, known, _)| *known == field).map(|(service, ..)| service)
    }

    fn row(self) -> (u16, &'static str) {
        // Every service has its row: a test goes through them.
        Self::TABLE.into_iter().find(|(service, ..)| *service == self).map_or((0, ""), |(_, field, name)| (field, name))
    }

    fn field(self) -> u16 {
        self.row().0
    }

    /// For logs and a metric's label.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    pub fn is_composite(self) -> bool {
        matches!(self, Service::Find | Service::Get | Service::Move)
    }

    /// Whether the request names what it is about by the Requested UIDs (PS3.7 10.3); the others by the Affected ones.
    fn is_requested(self) -> bool {
        matches!(self, Service::NGet | Service::Set | Service::Action | Service::Delete)
    }

    fn type_id(self) -> Option<Tag> {
        match self {
            Service::EventReport => Some(EVENT_TYPE_ID),
            Service::Action => Some(ACTION_TYPE_ID),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub service: Service,
    pub message_id: u16,
    /// Affected or Requested SOP Class UID, whichever the service has.
    pub sop_class: String,
    /// Affected or Requested SOP Instance UID; empty where there is none.
    pub sop_instance: String,
    pub priority: u16,
    /// Of a C-MOVE.
    pub move_destination: String,
    /// Event Type ID or Action Type ID.
    pub type_id: Option<u16>,
    /// Attribute Identifier List of an N-GET.
    pub attributes: Vec<Tag>,
    pub has_data_set: bool,
}

impl Request {
    pub fn new(service: Service, sop_class: &str, sop_instance: &str) -> Self {
        Self {
            service,
            message_id: 0,
            sop_class: sop_class.to_owned(),
            sop_instance: sop_instance.to_owned(),
            priority: 0,
            move_destination: String::new(),
            type_id: None,
            attributes: Vec::new(),
            has_data_set: false,
        }
    }

    pub(super) fn read(service: Service, set: &CommandSet<'_>) -> Result<Self, CommandError> {
        let (class, instance) = uids_of(service.is_requested());
        Ok(Self {
            service,
            message_id: request_id(set)?,
            sop_class: text(set, class),
            sop_instance: text(set, instance),
            priority: number(set, PRIORITY).unwrap_or(0),
            move_destination: text(set, MOVE_DESTINATION).trim_start().to_owned(),
            type_id: service.type_id().and_then(|tag| number(set, tag)),
            attributes: if service == Service::NGet { tags(set, ATTRIBUTE_IDENTIFIER_LIST) } else { Vec::new() },
            has_data_set: has_data_set(set),
        })
    }

    pub(super) fn elements(&self) -> Vec<Element> {
        let (class, instance) = uids_of(self.service.is_requested());
        let mut elements = vec![
            uid(class, &self.sop_class),
            us(COMMAND_FIELD, self.service.field()),
            us(MESSAGE_ID, self.message_id),
            data_set_type(self.has_data_set),
        ];
        if self.service.is_composite() {
            elements.push(us(PRIORITY, self.priority));
        }
        if self.service == Service::Move {
            elements.push(words(MOVE_DESTINATION, &self.move_destination));
        }
        if !self.sop_instance.is_empty() {
            elements.push(uid(instance, &self.sop_instance));
        }
        elements.extend(self.service.type_id().zip(self.type_id).map(|(tag, id)| us(tag, id)));
        if !self.attributes.is_empty() {
            elements.push(at(ATTRIBUTE_IDENTIFIER_LIST, &self.attributes));
        }
        elements
    }

    /// An answer to it that says nothing but its status.
    pub fn answer(&self, status: u16) -> Response {
        Response {
            service: self.service,
            message_id: self.message_id,
            sop_class: self.sop_class.clone(),
            sop_instance: self.sop_instance.clone(),
            status,
            comment: None,
            error_id: None,
            element: None,
            type_id: self.type_id,
            counts: None,
            has_data_set: false,
        }
    }
}

/// Sub-operations of a C-GET or C-MOVE (PS3.7 9.1.3.1.7 to 9.1.3.1.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Absent in a final response that is no cancellation.
    pub remaining: Option<u16>,
    pub completed: u16,
    pub failed: u16,
    pub warning: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub service: Service,
    pub message_id: u16,
    pub sop_class: String,
    /// Affected SOP Instance UID, of an N-service; empty where there is none.
    pub sop_instance: String,
    pub status: u16,
    pub comment: Option<String>,
    /// Which fault of the service it is, of an N-service that failed.
    pub error_id: Option<u16>,
    /// Offending Element.
    pub element: Option<Tag>,
    /// Event Type ID or Action Type ID.
    pub type_id: Option<u16>,
    pub counts: Option<Counts>,
    pub has_data_set: bool,
}

impl Response {
    pub(super) fn read(service: Service, set: &CommandSet<'_>) -> Result<Self, CommandError> {
        let count = |tag| number(set, tag).unwrap_or(0);
        let is_counted = number(set, COMPLETED_SUB_OPERATIONS).is_some();
        Ok(Self {
            service,
            message_id: response_id(set)?,
            sop_class: text(set, AFFECTED_SOP_CLASS_UID),
            sop_instance: text(set, AFFECTED_SOP_INSTANCE_UID),
            status: status(set)?,
            comment: comment(set),
            error_id: number(set, ERROR_ID),
            element: tags(set, OFFENDING_ELEMENT).first().copied(),
            type_id: service.type_id().and_then(|tag| number(set, tag)),
            counts: is_counted.then(|| Counts {
                remaining: number(set, REMAINING_SUB_OPERATIONS),
                completed: count(COMPLETED_SUB_OPERATIONS),
                failed: count(FAILED_SUB_OPERATIONS),
                warning: count(WARNING_SUB_OPERATIONS),
            }),
            has_data_set: has_data_set(set),
        })
    }

    pub(super) fn elements(&self) -> Vec<Element> {
        let mut elements = vec![
            us(COMMAND_FIELD, self.service.field() | RESPONSE),
            us(MESSAGE_ID_BEING_RESPONDED_TO, self.message_id),
            data_set_type(self.has_data_set),
            us(STATUS, self.status),
        ];
        let (class, instance) = uids_of(false);
        let named = [(class, &self.sop_class), (instance, &self.sop_instance)];
        elements.extend(named.into_iter().filter(|(_, value)| !value.is_empty()).map(|(tag, value)| uid(tag, value)));
        elements.extend(self.comment.as_deref().map(|comment| words(ERROR_COMMENT, comment)));
        elements.extend(self.error_id.map(|id| us(ERROR_ID, id)));
        elements.extend(self.element.map(|element| at(OFFENDING_ELEMENT, &[element])));
        elements.extend(self.service.type_id().zip(self.type_id).map(|(tag, id)| us(tag, id)));
        if let Some(counts) = &self.counts {
            elements.extend(counts.remaining.map(|remaining| us(REMAINING_SUB_OPERATIONS, remaining)));
            elements.push(us(COMPLETED_SUB_OPERATIONS, counts.completed));
            elements.push(us(FAILED_SUB_OPERATIONS, counts.failed));
            elements.push(us(WARNING_SUB_OPERATIONS, counts.warning));
        }
        elements
    }
}

fn uids_of(requested: bool) -> (Tag, Tag) {
    if requested {
        (REQUESTED_SOP_CLASS_UID, REQUESTED_SOP_INSTANCE_UID)
    } else {
        (AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID)
    }
}
