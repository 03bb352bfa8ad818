//! Why a request is not carried out, as RFC 9457 wants it told; and what the statuses of DIMSE are in HTTP.
//!
//! Bland: neither names, nor identifiers of a peer, nor what went wrong inside.

use crate::dicom::service::Refusal;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::borrow::Cow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub detail: Cow<'static, str>,
    /// Retry-After, seconds.
    pub retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Also for what is there and is none of the caller's business.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not found")
    }

    pub fn not_acceptable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, detail)
    }

    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(30), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "could not be carried out; the node's log says why")
    }
}

/// PS3.18 8.3.4.5, 9 and 11 name the HTTP statuses; PS3.7 Annex C, PS3.4 C.4 and CC.2 those of DIMSE.
fn status_of(status: u16) -> StatusCode {
    match status {
        // No such object instance; UPS does not exist (PS3.4 CC.2: C307).
        0x0112 | 0xC307 => StatusCode::NOT_FOUND,
        0x0118 | 0x0119 => StatusCode::NOT_FOUND,
        0x0124 => StatusCode::FORBIDDEN,
        // Duplicate SOP Instance, and every refusal that a workitem's state makes.
        0x0111 | 0xC300..=0xC315 => StatusCode::CONFLICT,
        // Attribute, argument and identifier errors.
        0x0105..=0x0107 | 0x0114..=0x0117 | 0x0120..=0x0123 | 0x0212 | 0xA900..=0xA9FF => StatusCode::BAD_REQUEST,
        0xC000..=0xC0FF => StatusCode::BAD_REQUEST,
        0xA700..=0xA7FF | 0x0213 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = status_of(refusal.status);
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(30);
        let detail = match refusal.element {
            Some(tag) => format!("{} ({:04X},{:04X})", refusal.comment, tag.group(), tag.element()).into(),
            None => refusal.comment.into(),
        };
        Self { status, detail, retry_after }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "status": self.status.as_u16(),
            "title": self.status.canonical_reason().unwrap_or_default(),
            "detail": self.detail,
        });
        let content_type = (header::CONTENT_TYPE, "application/problem+json");
        let mut response = (self.status, [content_type], body.to_string()).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_dimse_become_those_of_http() {
        let table = [
            (0x0112, 404),
            (0xC307, 404),
            (0x0124, 403),
            (0x0111, 409),
            (0xC302, 409),
            (0xC310, 409),
            (0x0106, 400),
            (0x0120, 400),
            (0xA900, 400),
            (0xC000, 400),
            (0xA700, 503),
            (0x0110, 500),
            (0xFFFF, 500),
        ];
        for (dimse, http) in table {
            assert_eq!(status_of(dimse).as_u16(), http, "{dimse:04X}");
        }
    }
}
