//! What an order says for the scanner: which steps are scheduled, and what is to be known of the patient beside it.
//!
//! In: what the order message says. Out: the same, completed so that a worklist can show it ([`Requested::completed`]): a worklist
//! item needs an id, a time and a modality (PS3.4 Table K.6-1, type 1), which many systems leave out. Pure; patient data.

use super::{IssuedId, OrderId, Uid};
use chrono::{DateTime, NaiveDate, NaiveTime};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// `""`, HL7's word for what is not so any more (v2.5.1 2.5.3). What is said may be this; what is known never is.
pub const EMPTIED: &str = "\"\"";

/// Steps one order may have.
pub const MAX_STEPS: usize = 50;

/// A code with its meaning and coding scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Code {
    pub value: String,
    pub meaning: String,
    pub scheme: String,
}

/// What is requested, beside what every order has. Empty where nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requested {
    /// IPC-2, (0040,1001).
    pub procedure_id: String,
    /// OBR-4.3.
    pub procedure_scheme: String,
    /// ORC-12, or OBR-16; as PN. (0032,1032).
    pub requesting_physician: String,
    /// PV1-8; as PN. (0008,0090).
    pub referring_physician: String,
    /// OBR-31, (0040,1002).
    pub reason: String,
    /// OBR-13, (0010,21B0).
    pub history: String,
    /// OBR-12, (0038,0500).
    pub danger: String,
    /// PV1-19, or PID-18; (0038,0010).
    pub admission: IssuedId,
    /// PV1-3, (0038,0300).
    pub location: String,
    /// Kilograms; OBX 29463-7 or 3141-9, (0010,1030).
    pub weight: String,
    /// Metres; OBX 8302-2, (0010,1020).
    pub size: String,
    /// AL1-3, (0010,2110).
    pub allergies: Vec<String>,
    /// PV1-15 B6, (0010,21C0).
    pub pregnant: bool,
    /// IPC; one without anything where none was sent.
    pub steps: Vec<Step>,
}

/// One step that is scheduled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// IPC-4, (0040,0009).
    pub id: String,
    /// TQ1-7, ORC-7.4 or OBR-36, in the hospital's time: `YYYYMMDD` or `YYYYMMDDHHMMSS`. (0040,0002), (0040,0003).
    pub start: String,
    /// IPC-5, OBR-24; (0008,0060).
    pub modality: String,
    /// IPC-9, (0040,0001). Empty: whichever scanner asks.
    pub station_ae: String,
    /// IPC-7, (0040,0010).
    pub station_name: String,
    /// IPC-8, (0040,0011).
    pub location: String,
    /// IPC-6, (0040,0008).
    pub protocol: Code,
    /// OBR-34; as PN. (0040,0006).
    pub performing_physician: String,
}

/// How far a step has come, by what the scanner says of it (PS3.4 F).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Nobody has begun, or what was begun was broken off: whoever asked decides whether it is still wanted.
    Scheduled,
    Started,
    Done,
}

impl StepState {
    pub const ALL: [StepState; 3] = [StepState::Scheduled, StepState::Started, StepState::Done];

    pub fn as_str(self) -> &'static str {
        match self {
            StepState::Scheduled => "scheduled",
            StepState::Started => "started",
            StepState::Done => "done",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Scheduled Procedure Step Status (0040,0020), PS3.3 C.4.10.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Scheduled => "SCHEDULED",
            StepState::Started => "STARTED",
            StepState::Done => "COMPLETED",
        }
    }
}

impl Requested {
    /// Takes over what a change says; what it leaves out stays, and what it empties goes.
    pub fn change(&mut self, said: &Requested) {
        let texts = [
            (&mut self.procedure_id, &said.procedure_id),
            (&mut self.procedure_scheme, &said.procedure_scheme),
            (&mut self.requesting_physician, &said.requesting_physician),
            (&mut self.referring_physician, &said.referring_physician),
            (&mut self.reason, &said.reason),
            (&mut self.history, &said.history),
            (&mut self.danger, &said.danger),
            (&mut self.location, &said.location),
            (&mut self.weight, &said.weight),
            (&mut self.size, &said.size),
        ];
        for (known, said) in texts {
            take_text(known, said);
        }
        if !said.admission.is_empty() {
            self.admission = said.admission.clone();
        }
        if !said.allergies.is_empty() {
            self.allergies.clone_from(&said.allergies);
        }
        self.pregnant |= said.pregnant;
        self.change_steps(&said.steps);
    }

    /// One that names nothing but when or by whom is about the steps there are.
    fn change_steps(&mut self, said: &[Step]) {
        let Some(first) = said.first() else { return };
        let (start, performing_physician) = (first.start.clone(), first.performing_physician.clone());
        let is_general = *first == Step { start, performing_physician, ..Step::default() };
        if said.len() > 1 || !is_general || (self.steps.is_empty() && *first != Step::default()) {
            self.steps = said.to_vec();
            self.steps.iter_mut().for_each(Step::without_emptied);
            return;
        }
        for step in &mut self.steps {
            for (known, said) in
                [(&mut step.start, &first.start), (&mut step.performing_physician, &first.performing_physician)]
            {
                take_text(known, said);
            }
        }
    }

    /// What a worklist cannot do without: at least one step; ids, drawn from the order's where none were given; a modality
    /// (OT, other), and a time: the order's own, the closest there is (PS3.4 Table K.6-1). `fallback` is `YYYYMMDDHHMMSS`.
    pub fn completed(&self, order: OrderId, number: &str, modality: &str, fallback: &str) -> Requested {
        let mut whole = self.clone();
        if whole.procedure_id.is_empty() {
            whole.procedure_id = if fits_sh(number) { number.to_owned() } else { drawn('R', order, 0) };
        }
        if whole.steps.is_empty() {
            whole.steps.push(Step::default());
        }
        for (step, number) in whole.steps.iter_mut().zip(1..) {
            for (known, otherwise) in [(&mut step.modality, modality), (&mut step.start, fallback)] {
                if known.is_empty() {
                    otherwise.clone_into(known);
                }
            }
            if step.modality.is_empty() {
                "OT".clone_into(&mut step.modality);
            }
            if step.id.is_empty() {
                step.id = drawn('S', order, number);
            }
        }
        whole
    }
}

impl Step {
    fn without_emptied(&mut self) {
        let texts = [
            &mut self.id,
            &mut self.station_ae,
            &mut self.station_name,
            &mut self.location,
            &mut self.modality,
            &mut self.performing_physician,
        ];
        for text in texts.into_iter().filter(|text| **text == EMPTIED) {
            text.clear();
        }
    }
}

/// What is said of a text: nothing, that there is none any more, or another.
pub fn take_text(known: &mut String, said: &str) {
    match said {
        "" => {}
        EMPTIED => known.clear(),
        said => said.clone_into(known),
    }
}

/// A time as HL7 writes it (`YYYYMMDD[HHMM[SS]]`, perhaps with an offset) in the hospital's own: `YYYYMMDD` or `YYYYMMDDHHMMSS`.
/// Empty where it is none.
pub fn local_start(said: &str, zone: Tz) -> String {
    let digits: String = said.chars().take_while(char::is_ascii_digit).take(14).collect();
    let Ok(day) = NaiveDate::parse_from_str(digits.get(..8).unwrap_or_default(), "%Y%m%d") else {
        return String::new();
    };
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |text| text.parse::<u32>().ok());
    let time = part(8).zip(part(10)).zip(part(12)).and_then(|((h, m), s)| NaiveTime::from_hms_opt(h, m, s));
    let (Some(time), true) = (time, digits.len() >= 10) else {
        return day.format("%Y%m%d").to_string();
    };
    let local = day.and_time(time);
    let offset = said.rfind(['+', '-']).and_then(|at| {
        DateTime::parse_from_str(&format!("{} {}", local.format("%Y%m%d%H%M%S"), &said[at..]), "%Y%m%d%H%M%S %z").ok()
    });
    let local = offset.map_or(local, |at| at.with_timezone(&zone).naive_local());
    local.format("%Y%m%d%H%M%S").to_string()
}

/// SH: 16 characters (PS3.5 Table 6.2-1).
fn fits_sh(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 16 && !text.contains(|c: char| c == '\\' || c.is_control())
}

/// Always the same for the same step: a scanner may have it already.
fn drawn(letter: char, order: OrderId, number: usize) -> String {
    let uid = Uid::derived(&["scheduled step", &order.to_string(), &number.to_string()]);
    let digits = uid.as_str();
    format!("{letter}{}", &digits[digits.len().saturating_sub(13)..].replace('.', "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_drawn_and_stays_the_same() {
        let order = OrderId::generate();
        let said = Requested {
            steps: vec![Step::default(), Step { modality: "MR".into(), ..Step::default() }],
            ..Requested::default()
        };
        let one = said.completed(order, "P-77", "CT", "20261124083000");
        assert_eq!(one, said.completed(order, "P-77", "CT", "20261124083000"));
        assert_eq!((one.procedure_id.as_str(), one.steps[0].modality.as_str()), ("P-77", "CT"));
        assert_eq!((one.steps[1].modality.as_str(), one.steps[1].start.as_str()), ("MR", "20261124083000"));
        assert_ne!(one.steps[0].id, one.steps[1].id);
        assert!(one.steps.iter().all(|step| fits_sh(&step.id)), "{:?}", one.steps);
        let long = Requested::default().completed(order, "a number of more than sixteen", "", "20261124083000");
        assert!(fits_sh(&long.procedure_id) && long.steps.len() == 1);
        assert_eq!(long.steps[0].modality, "OT");
    }

    #[test]
    fn a_start_is_in_the_time_of_the_hospital() {
        for (said, local) in [
            ("20261124", "20261124"),
            ("202611240830", "20261124083000"),
            ("2026112408", "20261124080000"),
            ("20261124083015.5", "20261124083015"),
            ("202611240830+0000", "20261124093000"),
            ("20261124233000-0500", "20261125053000"),
            ("20261340", ""),
            ("2026", ""),
            ("202611242530", "20261124"),
            ("tomorrow", ""),
        ] {
            assert_eq!(local_start(said, chrono_tz::Europe::Berlin), local, "{said}");
        }
    }

    #[test]
    fn a_change_takes_back_nothing_it_does_not_name() {
        let mut known = Requested {
            weight: "70".into(),
            steps: vec![Step { id: "S1".into(), ..Step::default() }],
            ..Requested::default()
        };
        known.change(&Requested { reason: "Fall".into(), steps: vec![Step::default()], ..Requested::default() });
        assert_eq!((known.weight.as_str(), known.reason.as_str(), known.steps[0].id.as_str()), ("70", "Fall", "S1"));
        let second = Step { id: "S2".into(), location: EMPTIED.into(), ..Step::default() };
        known.change(&Requested { steps: vec![second], ..Requested::default() });
        assert_eq!((known.steps[0].id.as_str(), known.steps[0].location.as_str()), ("S2", ""));
        known.change(&Requested { weight: EMPTIED.into(), ..Requested::default() });
        assert_eq!((known.weight.as_str(), known.reason.as_str()), ("", "Fall"), "what is emptied goes");
    }
}
