//! What the operator sees of receiving: metrics. Labels are our own words only, never a peer's.

use super::{AssociationEnd, Reject};
use crate::dicom::{dimse::Service, status::StoreStatus};
use metrics::{counter, gauge, histogram};
use std::time::Duration;

/// Counts an association as open for as long as it lives.
pub struct OpenAssociation(());

impl OpenAssociation {
    pub fn new() -> Self {
        gauge!("neisse_dicom_associations_open").increment(1);
        Self(())
    }
}

impl Drop for OpenAssociation {
    fn drop(&mut self) {
        gauge!("neisse_dicom_associations_open").decrement(1);
    }
}

pub fn rejected(reject: Reject) {
    counter!("neisse_dicom_rejected_total", "reason" => reject.as_str()).increment(1);
}

/// A connection that ended before there was an association, and not by a rejection.
pub fn turned_away(reason: &'static str) {
    counter!("neisse_dicom_turned_away_total", "reason" => reason).increment(1);
}

pub fn ended(how: AssociationEnd) {
    counter!("neisse_dicom_associations_total", "end" => end_text(how)).increment(1);
}

/// `response` is the time from the last byte of the data set to the response, which is the time to make it durable.
pub fn instance(status: StoreStatus, bytes: u64, response: Duration) {
    counter!("neisse_dicom_instances_total", "status" => status.class()).increment(1);
    counter!("neisse_dicom_received_bytes_total").increment(bytes);
    histogram!("neisse_dicom_store_response_seconds").record(response.as_secs_f64());
}

/// A request besides storing, from its command to its last response.
pub fn asked(service: Service, status: u16, took: Duration) {
    let outcome = match status {
        0x0000 => "success",
        0xFE00 => "canceled",
        0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => "warning",
        _ => "failure",
    };
    counter!("neisse_dicom_requests_total", "service" => service.as_str(), "status" => outcome).increment(1);
    histogram!("neisse_dicom_request_seconds", "service" => service.as_str()).record(took.as_secs_f64());
}

pub fn end_text(how: AssociationEnd) -> &'static str {
    match how {
        AssociationEnd::Released => "released",
        AssociationEnd::Aborted => "aborted",
        AssociationEnd::ConnectionLost => "connection_lost",
        AssociationEnd::TimedOut => "timed_out",
        AssociationEnd::Shutdown => "shutdown",
        AssociationEnd::ProtocolError => "protocol_error",
    }
}
