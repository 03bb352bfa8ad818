//! Reports and their versions.

use serde::{Deserialize, Serialize};
use std::fmt;

/// OBR-25 / OBX-11 (HL7 v2.5.1 tables 0123, 0085). A corrected report replaces a final one; all are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    Preliminary,
    Final,
    Corrected,
}

impl ReportStatus {
    pub const ALL: [ReportStatus; 3] = [ReportStatus::Preliminary, ReportStatus::Final, ReportStatus::Corrected];

    pub fn as_str(self) -> &'static str {
        match self {
            ReportStatus::Preliminary => "preliminary",
            ReportStatus::Final => "final",
            ReportStatus::Corrected => "corrected",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The code for OBR-25 and OBX-11.
    pub fn hl7(self) -> &'static str {
        match self {
            ReportStatus::Preliminary => "P",
            ReportStatus::Final => "F",
            ReportStatus::Corrected => "C",
        }
    }

    /// Reads OBR-25 or OBX-11: P, F, C; R and S are unverified and partial, so preliminary. None for codes that
    /// carry no result (I, O, X, D, …): those are for a person.
    pub fn of_hl7(code: &str) -> Option<Self> {
        match code {
            "P" | "R" | "S" | "A" => Some(ReportStatus::Preliminary),
            "F" => Some(ReportStatus::Final),
            "C" => Some(ReportStatus::Corrected),
            _ => None,
        }
    }
}

impl fmt::Display for ReportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The forms in which an origin wants its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportForm {
    /// HL7 v2 ORU^R01 over MLLP.
    Oru,
    /// DICOM Encapsulated PDF into the original study.
    Pdf,
    /// DICOM Basic Text SR into the original study.
    Sr,
}
