//! The statuses of DIMSE as UPS-RS tells them: HTTP's, and the texts of its Warning headers (PS3.18 chapter 11).

use super::Problem;
use crate::dicom::service::Refusal;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Retrieve,
    Update,
    ChangeState,
    RequestCancel,
    Subscribe,
    /// And suspend.
    Unsubscribe,
}

/// Who warns (RFC 9111 says of the agent that it may be a pseudonym).
const SERVICE: &str = "neisse";

const INCONSISTENT: &str = "The submitted request is inconsistent with the state of the UPS Instance.";
const MODIFIED: &str = "The Workitem was updated with modifications.";
const ALREADY_CANCELED: &str = "The UPS is already in the requested state of CANCELED.";
const ALREADY_COMPLETED: &str = "The UPS is already in the requested state of COMPLETED.";

/// HTTP status and warning. `given`: a Transaction UID came with the request.
fn told(operation: Operation, status: u16, given: bool) -> (u16, Option<&'static str>) {
    use Operation as O;
    match (status, operation) {
        (0x0000, O::Create | O::Subscribe) => (201, None),
        (0x0000, O::RequestCancel) => (202, None),
        (0x0000, _) => (200, None),
        (0xB300 | 0x0001, O::Create) => (201, Some(MODIFIED)),
        (0xB300 | 0xB305 | 0x0001, O::Update) => (200, Some(MODIFIED)),
        (0x0001, _) => (200, None),
        (0xB301, _) => (201, Some("Deletion Lock not granted.")),
        // PS3.18 11.8.3: there is nothing to cancel any more.
        (0xB304, O::RequestCancel) => (409, Some(ALREADY_CANCELED)),
        (0xC311, O::RequestCancel) => (409, Some("The UPS is already COMPLETED.")),
        (0xB304, _) => (200, Some(ALREADY_CANCELED)),
        (0xB306, _) => (200, Some(ALREADY_COMPLETED)),
        (0xC301, _) if given => (400, Some("The Transaction UID is incorrect.")),
        (0xC301, _) => (400, Some("The Transaction UID is missing.")),
        (0xC303, _) | (0x0105..=0x0106 | 0x0114..=0x0115 | 0x0120..=0x0121 | 0xC309, _) => (400, None),
        (0xC300 | 0xC302 | 0xC304 | 0xC310 | 0xC314, _) => (409, Some(INCONSISTENT)),
        (0xC312, _) => (409, Some("The performer cannot be contacted.")),
        (0x0111 | 0xC311 | 0xC313, _) => (409, None),
        (0xC307 | 0x0112, _) => (404, None),
        (0x0124 | 0xC308 | 0xC315, _) => (403, None),
        (0x0213, _) => (413, None),
        (0xA700..=0xA7FF, _) => (503, None),
        _ => (500, None),
    }
}

/// A search that was refused. Too many to look at is not mended by asking later: 413 (PS3.18 Table 11.9.3-1).
pub fn not_searched(refusal: Refusal) -> Problem {
    let status = refusal.status;
    let problem = Problem::from(refusal);
    match status {
        0xA700..=0xA7FF => Problem { status: StatusCode::PAYLOAD_TOO_LARGE, retry_after: None, ..problem },
        _ => problem,
    }
}

pub fn respond(operation: Operation, outcome: Result<u16, Refusal>) -> Response {
    respond_to(operation, outcome, true)
}

pub fn respond_to(operation: Operation, outcome: Result<u16, Refusal>, given: bool) -> Response {
    let (status, refusal) = match outcome {
        Ok(status) => (status, None),
        Err(refusal) => (refusal.status, Some(refusal)),
    };
    let (http, warning) = told(operation, status, given);
    let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match refusal {
        Some(refusal) => Problem { status: http, ..Problem::from(refusal) }.into_response(),
        None => http.into_response(),
    };
    if let Some(warning) = warning {
        warn(&mut response, warning);
    }
    response
}

/// `Warning: 299 neisse: …`, the form that PS3.18 has.
pub fn warn(response: &mut Response, text: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("299 {SERVICE}: {text}")) {
        response.headers_mut().append(header::WARNING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_told_as_the_standard_wants_it() {
        use Operation as O;
        let table = [
            (O::ChangeState, 0x0000, 200, ""),
            (O::ChangeState, 0xC300, 409, "inconsistent"),
            (O::ChangeState, 0xC301, 400, "incorrect"),
            (O::ChangeState, 0xC302, 409, "inconsistent"),
            (O::ChangeState, 0xC303, 400, ""),
            (O::ChangeState, 0xC304, 409, "inconsistent"),
            (O::ChangeState, 0xC307, 404, ""),
            (O::ChangeState, 0xC310, 409, "inconsistent"),
            (O::ChangeState, 0xB304, 200, "CANCELED"),
            (O::ChangeState, 0xB306, 200, "COMPLETED"),
            (O::ChangeState, 0x0124, 403, ""),
            (O::RequestCancel, 0x0000, 202, ""),
            (O::RequestCancel, 0xB304, 409, "CANCELED"),
            (O::RequestCancel, 0xC311, 409, "COMPLETED"),
            (O::RequestCancel, 0xC312, 409, "performer"),
            (O::Update, 0x0001, 200, "modifications"),
            (O::Update, 0xC300, 409, "inconsistent"),
            (O::Update, 0x0213, 413, ""),
            (O::Create, 0x0124, 403, ""),
            (O::Create, 0x0000, 201, ""),
            (O::Retrieve, 0xC307, 404, ""),
            (O::Subscribe, 0x0000, 201, ""),
            (O::Subscribe, 0xC308, 403, ""),
            (O::Unsubscribe, 0x0000, 200, ""),
            (O::Unsubscribe, 0xC314, 409, "inconsistent"),
            (O::Update, 0x0110, 500, ""),
        ];
        for (operation, dimse, http, warned) in table {
            let (status, warning) = told(operation, dimse, true);
            assert_eq!(status, http, "{operation:?} {dimse:04X}");
            assert_eq!(warning.is_some(), !warned.is_empty(), "{operation:?} {dimse:04X}");
            assert!(warning.unwrap_or_default().contains(warned), "{operation:?} {dimse:04X}");
        }
        assert_eq!(told(O::Update, 0xC301, false), (400, Some("The Transaction UID is missing.")));
    }
}
