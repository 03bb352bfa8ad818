//! Reports and their versions.

use super::{Channel, DeliveryKind, IssuedId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// OBR-25 / OBX-11 (HL7 v2.5.1 tables 0123, 0085). A corrected report replaces a final one, a withdrawn one says that
/// there is none any more; all are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    Preliminary,
    Final,
    Corrected,
    /// Its reader has taken back every result.
    Withdrawn,
}

impl ReportStatus {
    pub const ALL: [ReportStatus; 4] =
        [ReportStatus::Preliminary, ReportStatus::Final, ReportStatus::Corrected, ReportStatus::Withdrawn];

    pub fn as_str(self) -> &'static str {
        match self {
            ReportStatus::Preliminary => "preliminary",
            ReportStatus::Final => "final",
            ReportStatus::Corrected => "corrected",
            ReportStatus::Withdrawn => "withdrawn",
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
            ReportStatus::Withdrawn => "X",
        }
    }

    /// OBR-25, table 0123: P, R, S and A (some results, not all) are preliminary, X is no result any more. `None` for
    /// codes that say nothing of a report (I, O, Y, Z): those are for a person.
    pub fn of_obr(code: &str) -> Option<Self> {
        match code {
            "P" | "R" | "S" | "A" => Some(ReportStatus::Preliminary),
            "F" => Some(ReportStatus::Final),
            "C" => Some(ReportStatus::Corrected),
            "X" => Some(ReportStatus::Withdrawn),
            _ => None,
        }
    }

    /// OBX-11, table 0085: P, R, S, and I (pending) are preliminary; U is final, the value as it was sent before; D
    /// (delete), W (wrong), X (cannot be obtained) take a result back. `None` for codes without a result (N, O).
    pub fn of_obx(code: &str) -> Option<Self> {
        match code {
            "P" | "R" | "S" | "I" => Some(ReportStatus::Preliminary),
            "F" | "U" => Some(ReportStatus::Final),
            "C" => Some(ReportStatus::Corrected),
            "D" | "W" | "X" => Some(ReportStatus::Withdrawn),
            _ => None,
        }
    }
}

impl fmt::Display for ReportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The numbers of one order that a report, or a part of it, answers. Any may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderNumbers {
    /// ORC-2, OBR-2.
    pub placer: IssuedId,
    /// ORC-3, OBR-3.
    pub filler: IssuedId,
    /// OBR-18.
    pub accession: IssuedId,
}

impl OrderNumbers {
    pub fn is_empty(&self) -> bool {
        self.placer.is_empty() && self.filler.is_empty() && self.accession.is_empty()
    }
}

/// The forms in which an origin wants its reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportForm {
    /// HL7 v2 ORU^R01 over MLLP.
    Oru,
    /// HL7 v2 OUL^R22 over MLLP: by specimen.
    Oul,
    /// HL7 v2 MDM^T02 and T10 over MLLP: a document.
    Mdm,
    /// DICOM Encapsulated PDF into the original study.
    Pdf,
    /// DICOM Basic Text SR into the original study.
    Sr,
}

impl ReportForm {
    pub const ALL: [ReportForm; 5] =
        [ReportForm::Oru, ReportForm::Oul, ReportForm::Mdm, ReportForm::Pdf, ReportForm::Sr];

    /// The word in `[reports] forms`.
    pub fn as_str(self) -> &'static str {
        match self {
            ReportForm::Oru => "oru",
            ReportForm::Oul => "oul",
            ReportForm::Mdm => "mdm",
            ReportForm::Pdf => "pdf",
            ReportForm::Sr => "sr",
        }
    }

    /// What is owed for it.
    pub fn kind(self) -> DeliveryKind {
        match self {
            ReportForm::Oru => DeliveryKind::ReportOru,
            ReportForm::Oul => DeliveryKind::ReportOul,
            ReportForm::Mdm => DeliveryKind::ReportMdm,
            ReportForm::Pdf => DeliveryKind::ReportPdf,
            ReportForm::Sr => DeliveryKind::ReportSr,
        }
    }

    /// Over MLLP; the others by C-STORE. HL7 holds everything a report came with.
    pub fn is_hl7(self) -> bool {
        self.kind().channel() == Channel::Hl7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 0123 whole.
    #[test]
    fn obr_25_is_read_as_the_table_says() {
        for (codes, status) in [
            ("PRSA", Some(ReportStatus::Preliminary)),
            ("F", Some(ReportStatus::Final)),
            ("C", Some(ReportStatus::Corrected)),
            ("X", Some(ReportStatus::Withdrawn)),
            ("OIYZ", None),
        ] {
            for code in codes.chars() {
                assert_eq!(ReportStatus::of_obr(&code.to_string()), status, "{code}");
            }
        }
    }

    /// Table 0085 whole.
    #[test]
    fn obx_11_is_read_as_the_table_says() {
        for (codes, status) in [
            ("PRSI", Some(ReportStatus::Preliminary)),
            ("FU", Some(ReportStatus::Final)),
            ("C", Some(ReportStatus::Corrected)),
            ("DWX", Some(ReportStatus::Withdrawn)),
            ("NO", None),
        ] {
            for code in codes.chars() {
                assert_eq!(ReportStatus::of_obx(&code.to_string()), status, "{code}");
            }
        }
    }
}
