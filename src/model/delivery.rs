//! One thing owed to one partner, and what came of each attempt.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Separate queues, so that a slide scan never delays a stroke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    Stat,
    Routine,
    /// Whole-slide images and other objects of hundreds of megabytes.
    Bulk,
}

impl Lane {
    pub const ALL: [Lane; 3] = [Lane::Stat, Lane::Routine, Lane::Bulk];

    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Stat => "stat",
            Lane::Routine => "routine",
            Lane::Bulk => "bulk",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// A run of a case's instances, in the order they were received.
    Images,
    /// An HL7 message about an order, its specimens or its patient, in the sequence of its case.
    Message,
    /// A report as HL7 ORU^R01.
    ReportOru,
    /// A report as HL7 OUL^R22, by specimen.
    ReportOul,
    /// A report as HL7 MDM^T02 or T10.
    ReportMdm,
    /// A report as DICOM Encapsulated PDF.
    ReportPdf,
    /// A report as DICOM Basic Text SR.
    ReportSr,
}

impl DeliveryKind {
    pub const ALL: [DeliveryKind; 7] = [
        DeliveryKind::Images,
        DeliveryKind::Message,
        DeliveryKind::ReportOru,
        DeliveryKind::ReportOul,
        DeliveryKind::ReportMdm,
        DeliveryKind::ReportPdf,
        DeliveryKind::ReportSr,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryKind::Images => "images",
            DeliveryKind::Message => "message",
            DeliveryKind::ReportOru => "report_oru",
            DeliveryKind::ReportOul => "report_oul",
            DeliveryKind::ReportMdm => "report_mdm",
            DeliveryKind::ReportPdf => "report_pdf",
            DeliveryKind::ReportSr => "report_sr",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    pub fn channel(self) -> Channel {
        match self {
            DeliveryKind::Message | DeliveryKind::ReportOru | DeliveryKind::ReportOul | DeliveryKind::ReportMdm => {
                Channel::Hl7
            }
            DeliveryKind::Images | DeliveryKind::ReportPdf | DeliveryKind::ReportSr => Channel::Dicom,
        }
    }
}

impl fmt::Display for DeliveryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeliveryKind::Images => "images",
            DeliveryKind::Message => "order (HL7)",
            DeliveryKind::ReportOru => "report (HL7 ORU)",
            DeliveryKind::ReportOul => "report (HL7 OUL)",
            DeliveryKind::ReportMdm => "report (HL7 MDM)",
            DeliveryKind::ReportPdf => "report (PDF)",
            DeliveryKind::ReportSr => "report (SR)",
        })
    }
}

/// By which way a delivery leaves. A partner whose HL7 listener is down still gets its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Dicom,
    Hl7,
}

impl Channel {
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Dicom => "dicom",
            Channel::Hl7 => "hl7",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Channel::Dicom, Channel::Hl7].into_iter().find(|channel| channel.as_str() == text)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Dicom => "DICOM",
            Channel::Hl7 => "HL7",
        })
    }
}

/// Where a delivery stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waits for its next attempt time, then for the queue. `handoff` moves it.
    Owed,
    /// On the queue since; owed again when its lease runs out unseen. A worker moves it.
    Queued,
    /// A worker has recorded an attempt and is making it; owed again when its lease runs out.
    Attempting,
    /// Arrived: terminal.
    Delivered,
    /// Ended in front of a person with its reason; `cases resend` owes it again.
    Stopped,
    /// No longer owed (the case was held or moved before it left).
    Withdrawn,
}

impl DeliveryState {
    pub const ALL: [DeliveryState; 6] = [
        DeliveryState::Owed,
        DeliveryState::Queued,
        DeliveryState::Attempting,
        DeliveryState::Delivered,
        DeliveryState::Stopped,
        DeliveryState::Withdrawn,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Owed => "owed",
            DeliveryState::Queued => "queued",
            DeliveryState::Attempting => "attempting",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Stopped => "stopped",
            DeliveryState::Withdrawn => "withdrawn",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose fault a failure is, which says what to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The partner cannot be reached or has no room: pause the partner and probe it.
    Partner,
    /// The partner turns us away for what one of us has configured (an AE title): pause and probe it as above, but tell
    /// a person at once, for waiting alone does not mend it.
    Agreement,
    /// The partner will not have this case: stop the case.
    Case,
    /// The partner cannot take this one instance: mark it, send the rest.
    Instance,
    /// We could not read or build what is owed.
    Ours,
}

/// What came of one attempt. An expected result, so a value and not an error. Texts carry no patient data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    Delivered {
        /// The peer's warning (B000, B006, B007), if any: stored all the same.
        warning: Option<String>,
    },
    TryAgain {
        reason: String,
        fault: Fault,
    },
    Refused {
        reason: String,
        fault: Fault,
    },
    /// Not a failure and no attempt used up: closed, paused, or a predecessor is still on its way.
    NotYet {
        reason: String,
        after: Duration,
    },
}
