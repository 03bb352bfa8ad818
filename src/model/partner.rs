//! What rules speak of: discipline, priority, reading mode.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discipline {
    Radiology,
    Pathology,
}

impl Discipline {
    pub const ALL: [Discipline; 2] = [Discipline::Radiology, Discipline::Pathology];

    /// Slide microscopy (SM) and general microscopy (GM) are pathology; every other modality is radiology (PS3.3 C.7.3.1.1.1).
    pub fn of_modality(modality: &str) -> Self {
        match modality {
            "SM" | "GM" => Discipline::Pathology,
            _ => Discipline::Radiology,
        }
    }
}

impl fmt::Display for Discipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Discipline::Radiology => "radiology",
            Discipline::Pathology => "pathology",
        })
    }
}

/// In rising urgency, so that `max` gives the more urgent of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    #[default]
    Routine,
    /// HL7 table 0485 A (as soon as possible), P, C; DICOM Requested Procedure Priority HIGH.
    Urgent,
    /// HL7 table 0485 S; DICOM Requested Procedure Priority (0040,1003) STAT.
    Stat,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Routine, Priority::Urgent, Priority::Stat];

    /// Reads TQ1-9 (table 0485) or the older OBR-27.6, ORC-7.6, OBR-5 (table 0027).
    pub fn of_hl7(code: &str) -> Self {
        match code.trim() {
            "S" | "STAT" => Priority::Stat,
            "A" | "ASAP" | "P" | "C" => Priority::Urgent,
            _ => Priority::Routine,
        }
    }

    /// Reads Requested Procedure Priority (0040,1003): STAT, HIGH, ROUTINE, MEDIUM, LOW (PS3.3 C.4.11).
    pub fn of_dicom(value: &str) -> Self {
        match value.trim() {
            "STAT" => Priority::Stat,
            "HIGH" => Priority::Urgent,
            _ => Priority::Routine,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Priority::Routine => "routine",
            Priority::Urgent => "urgent",
            Priority::Stat => "stat",
        })
    }
}

/// How the case is read; in Germany a legal distinction (StrlSchG § 5 (38), § 14 (2)), so it is decided and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadingMode {
    /// X-ray examination under the responsibility of a physician who is not at the place of execution.
    Teleradiology,
    /// Read elsewhere while a qualified physician is on site.
    RemoteReading,
    /// A second opinion.
    Consultation,
    /// Read where it was made.
    OnSite,
}

impl fmt::Display for ReadingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadingMode::Teleradiology => "teleradiology",
            ReadingMode::RemoteReading => "remote reading",
            ReadingMode::Consultation => "consultation",
            ReadingMode::OnSite => "on site",
        })
    }
}
