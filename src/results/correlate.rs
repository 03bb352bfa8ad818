//! Whose report is it? Pure: clues and candidate cases in, one case or a reason for a person out.
//!
//! A case is found by Study Instance UID, by accession number with its issuer, or by order numbers; never by a bare
//! number alone: two hospitals do reuse them. A bare accession number counts only together with the same patient
//! identifier, among the cases this sender reads; so does a number with its issuer in a report under a study that no
//! case has (readers' systems do put reports into studies of their own). A patient identifier that contradicts the case's stops everything: a
//! report in the wrong chart harms somebody. A report may answer several orders, part by part: all of one case.

use crate::{
    model::{Disposition, IssuedId, OrderNumbers, PartnerId, Uid},
    store::CaseRow,
};

/// What a report says about what it belongs to.
#[derive(Clone, Debug, Default)]
pub struct Clues {
    pub studies: Vec<Uid>,
    /// Accession numbers; the issuer empty where the sender named none.
    pub accessions: Vec<IssuedId>,
    /// What its parts answer, each once, in their order.
    pub orders: Vec<OrderNumbers>,
    /// What further parts answer, beyond those that are looked up. Where a person says whose the report is, they count.
    pub more_orders: Vec<OrderNumbers>,
    pub patients: Vec<IssuedId>,
    /// Specimens and containers (SPM-2, SAC-3).
    pub specimens: Vec<IssuedId>,
}

/// A case that a report may belong to.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub case: CaseRow,
    /// Those of its orders that the report names.
    pub orders: Vec<OrderNumbers>,
}

impl From<CaseRow> for Candidate {
    fn from(case: CaseRow) -> Self {
        Self { case, orders: Vec::new() }
    }
}

/// Or so many that nobody asks which.
pub const SEVERAL: &str = "it fits several cases equally well";
const PARTS: &str = "its parts answer orders of different cases";
const TWO_CASES: &str = "its study and its accession number name different cases";

/// From the least to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Agreement {
    /// Nothing to compare.
    Silent,
    Contradiction,
    /// Value only; one side names no issuer.
    Bare,
    /// Value and issuer.
    Full,
}

/// The one case among `candidates` this report of `sender` belongs to, and by what; or why a person must decide.
///
/// # Errors
/// The reason, free of patient data.
pub fn correlate<'a>(
    clues: &Clues,
    sender: &PartnerId,
    candidates: &'a [Candidate],
) -> Result<(&'a CaseRow, &'static str), &'static str> {
    if clues.studies.len() > 1 {
        return Err("it names several studies");
    }
    let theirs: Vec<&Candidate> = candidates.iter().filter(|known| reads(&known.case, sender)).collect();
    if theirs.is_empty() {
        return Err("no case that this partner reads has its study or accession number");
    }
    let mut fits: Vec<(u8, &Candidate, &'static str)> =
        theirs.iter().filter_map(|known| strength(clues, known).map(|(rank, by)| (rank, *known, by))).collect();
    fits.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
    let parts = Parts::of(clues, &theirs);
    let (known, by) = match fits.as_slice() {
        [] if theirs.iter().any(|known| patient(clues, &known.case) == Agreement::Contradiction) => {
            Err("its patient identifier is not the one of the case with its study or accession number")
        }
        [] if theirs.iter().any(|known| number(clues, known) == Agreement::Full) => {
            Err("its study is no case's and its patient identifier does not confirm its accession number")
        }
        [] => Err("its accession number has no issuer and its patient identifier does not confirm it"),
        [(_, known, by)] => Ok((*known, *by)),
        [(first, known, by), (second, ..), ..] if first > second => Ok((*known, *by)),
        _ if parts.answer_several() => Err(PARTS),
        _ => Err(SEVERAL),
    }?;
    if theirs.iter().position(|other| other.case.id == known.case.id).is_some_and(|it| parts.answer_another(it)) {
        return Err(PARTS);
    }
    if names_another(clues, known, candidates, &theirs) { Err(TWO_CASES) } else { Ok((&known.case, by)) }
}

/// Whether a part's order is this case's: by a number with its issuer, or a bare one of the same patient.
fn points_to(clues: &Clues, order: &OrderNumbers, known: &Candidate) -> bool {
    let said = [&order.placer, &order.filler, &order.accession];
    match best(said.into_iter().map(|said| number_agreement(said, known))) {
        Agreement::Full => true,
        Agreement::Bare => patient(clues, &known.case) >= Agreement::Bare,
        _ => false,
    }
}

/// Which of the cases each part's order points to; no part where the report has but one.
struct Parts(Vec<Vec<bool>>);

impl Parts {
    fn of(clues: &Clues, theirs: &[&Candidate]) -> Self {
        let parts = if clues.orders.len() > 1 { clues.orders.as_slice() } else { &[] };
        let points = |order| theirs.iter().map(|known| points_to(clues, order, known)).collect();
        Self(parts.iter().map(points).collect())
    }

    /// One of them answers an order of another case and none of this one. One that answers nobody's contradicts nothing:
    /// readers count their own work too.
    fn answer_another(&self, case: usize) -> bool {
        let is_this = |points: &[bool]| points.get(case).is_some_and(|points| *points);
        self.0.iter().any(|points| !is_this(points) && points.contains(&true))
    }

    /// No case is the one of all parts that answer one.
    fn answer_several(&self) -> bool {
        let cases = self.0.first().map_or(0, Vec::len);
        cases > 0 && (0..cases).all(|case| self.answer_another(case))
    }
}

/// The one case among `candidates` whose specimens the report names, each with the identifiers that are known to be its
/// own: for a report that says nothing else, such as a laboratory's. Like every bare number, one without an issuer needs
/// the patient's identifier beside it; specimens of two cases in one report name none.
///
/// # Errors
/// The reason, free of patient data.
pub fn by_specimen<'a>(
    clues: &Clues,
    sender: &PartnerId,
    candidates: &'a [(CaseRow, Vec<IssuedId>)],
) -> Result<&'a CaseRow, &'static str> {
    let fits = |(case, known): &&'a (CaseRow, Vec<IssuedId>)| {
        let same = best(known.iter().flat_map(|known| clues.specimens.iter().map(move |said| agreement(said, known))));
        let patient = patient(clues, case);
        let enough = same == Agreement::Full || same == Agreement::Bare && patient >= Agreement::Bare;
        reads(case, sender) && enough && patient != Agreement::Contradiction
    };
    let mut fitting = candidates.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some((case, _)), None) => Ok(case),
        (Some(_), Some(_)) => Err("its specimens are those of several cases"),
        (None, _) => {
            Err("no case that this partner reads has its specimens, or its patient identifier does not confirm them")
        }
    }
}

/// Whether the report contradicts itself: its study is another case's, or one of its numbers is with its issuer, or the
/// case's own accession number stands in it as somebody else's. Which of the two is wrong only a person can find out.
fn names_another(clues: &Clues, known: &Candidate, candidates: &[Candidate], theirs: &[&Candidate]) -> bool {
    let case = &known.case;
    let another_study = |study: &Uid| *study != case.study && candidates.iter().any(|other| other.case.study == *study);
    let another_number = |said: &IssuedId| {
        number_agreement(said, known) != Agreement::Full
            && theirs.iter().any(|other| number_agreement(said, other) == Agreement::Full)
    };
    let accession = &case.facts.accession;
    let another_issuer =
        |said: &IssuedId| said.value == accession.value && agreement(said, accession) == Agreement::Contradiction;
    clues.studies.iter().any(another_study)
        || numbers(clues).any(another_number)
        || number(clues, known) != Agreement::Full && numbers(clues).any(another_issuer)
}

/// Read by this partner, offered to it, copied to it, or its own (read on site).
pub fn reads(case: &CaseRow, partner: &PartnerId) -> bool {
    if case.reader.as_ref() == Some(partner) || case.origin == *partner {
        return true;
    }
    match case.decision.as_ref().map(|decision| &decision.disposition) {
        Some(Disposition::Read(reading)) => reading.readers.contains(partner) || reading.also_to.contains(partner),
        _ => false,
    }
}

/// How well the report fits a case, and by what; `None`: it does not, or something contradicts.
fn strength(clues: &Clues, known: &Candidate) -> Option<(u8, &'static str)> {
    let case = &known.case;
    let patient = patient(clues, case);
    if patient == Agreement::Contradiction {
        return None;
    }
    let patient_rank = match patient {
        Agreement::Full => 2,
        Agreement::Bare => 1,
        _ => 0,
    };
    let study = match clues.studies.first() {
        Some(study) if *study == case.study => Agreement::Full,
        Some(_) => Agreement::Contradiction,
        None => Agreement::Silent,
    };
    let number = number(clues, known);
    match (study, number) {
        (Agreement::Contradiction, Agreement::Full) if patient_rank > 0 => {
            Some((patient_rank, "accession or order number with its issuer"))
        }
        (Agreement::Contradiction, _) => None,
        (Agreement::Full, Agreement::Full) => Some((12 + patient_rank, "Study Instance UID and accession number")),
        (Agreement::Full, _) => Some((8 + patient_rank, "Study Instance UID")),
        (_, Agreement::Full) => Some((4 + patient_rank, "accession or order number with its issuer")),
        (_, Agreement::Bare) if patient_rank > 0 => Some((patient_rank, "accession number and patient identifier")),
        _ => None,
    }
}

/// It names a patient, and not the case's.
pub fn is_of_another_patient(clues: &Clues, case: &CaseRow) -> bool {
    patient(clues, case) == Agreement::Contradiction
}

/// An identifier that has been merged into the case's is the case's: the reader may not have heard of it.
fn patient(clues: &Clues, case: &CaseRow) -> Agreement {
    let known = || std::iter::once(&case.facts.patient_id).chain(&case.facts.former_patient_ids);
    best(clues.patients.iter().flat_map(|id| known().map(move |known| agreement(id, known))))
}

/// Accession, placer or filler order number, whichever agrees best. Readers put the accession number into any of them.
fn number(clues: &Clues, known: &Candidate) -> Agreement {
    match best(numbers(clues).map(|said| number_agreement(said, known))) {
        // One number of three that differs contradicts nothing: they are different numbers.
        Agreement::Contradiction => Agreement::Silent,
        agreement => agreement,
    }
}

fn numbers(clues: &Clues) -> impl Iterator<Item = &IssuedId> {
    clues.accessions.iter().chain(clues.order_numbers())
}

/// With the case's three numbers, and those of its orders that the report names. An order number is known with who gave it where its order said so; the origin's own
/// name for it counts as well, for that is what images and older messages go by.
fn number_agreement(said: &IssuedId, candidate: &Candidate) -> Agreement {
    let facts = &candidate.case.facts;
    let origin = facts.accession.issuer.as_str();
    let shown = [
        (&facts.placer_order_number, facts.placer_issuer.as_str()),
        (&facts.filler_order_number, facts.filler_issuer.as_str()),
    ];
    let named = candidate.orders.iter().flat_map(|order| [&order.placer, &order.filler, &order.accession]);
    let orders: Vec<_> = shown.into_iter().chain(named.map(|id| (&id.value, id.issuer.as_str()))).collect();
    let issued = orders.iter().copied().filter(|(_, by)| !by.is_empty());
    // Known without an issuer only where nobody said one.
    let by_origin =
        orders.iter().copied().filter(|(_, by)| by.is_empty() || !origin.is_empty()).map(|(n, _)| (n, origin));
    let known = issued.chain(by_origin).chain([(&facts.accession.value, origin)]);
    best(known.map(|(value, issuer)| agreement(said, &IssuedId::new(value.as_str(), issuer))))
}

fn agreement(said: &IssuedId, known: &IssuedId) -> Agreement {
    if said.value.is_empty() || known.value.is_empty() {
        return Agreement::Silent;
    }
    if said.value != known.value {
        return Agreement::Contradiction;
    }
    match (said.issuer.is_empty(), known.issuer.is_empty()) {
        (false, false) if said.issuer == known.issuer => Agreement::Full,
        (false, false) => Agreement::Contradiction,
        _ => Agreement::Bare,
    }
}

fn best(agreements: impl Iterator<Item = Agreement>) -> Agreement {
    agreements.max().unwrap_or(Agreement::Silent)
}

impl Clues {
    /// Placer and filler order numbers of all parts.
    pub fn order_numbers(&self) -> impl Iterator<Item = &IssuedId> {
        self.orders.iter().flat_map(|order| [&order.placer, &order.filler])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, CaseState, Discipline, Moment, Priority, StudyFacts};

    fn id(text: &str) -> IssuedId {
        let (value, issuer) = text.split_once('^').unwrap_or((text, ""));
        IssuedId::new(value, issuer)
    }

    fn order(placer: &str, filler: &str) -> OrderNumbers {
        OrderNumbers { placer: id(placer), filler: id(filler), accession: IssuedId::default() }
    }

    /// A case of `origin` read by chemnitz.
    fn case(origin: &str, study: &str, accession: &str, patient: &str) -> CaseRow {
        CaseRow {
            id: CaseId::generate(),
            origin: PartnerId::new(origin).unwrap(),
            study: Uid::new(study).unwrap(),
            state: CaseState::Routed,
            discipline: Discipline::Radiology,
            priority: Priority::Routine,
            calling_ae: String::new(),
            called_ae: String::new(),
            facts: StudyFacts { accession: id(accession), patient_id: id(patient), ..StudyFacts::default() },
            instances: 1,
            bytes: 1,
            routed_to: 1,
            first: Moment(0),
            last: Moment(0),
            whole: None,
            decision: None,
            reader: Some(PartnerId::new("chemnitz").unwrap()),
            attention: String::new(),
            has_study: true,
            report_due: None,
            waits_until: None,
        }
    }

    fn clues(study: &str, accession: &str, patient: &str) -> Clues {
        Clues {
            studies: Uid::new(study).into_iter().collect(),
            accessions: vec![id(accession)],
            patients: vec![id(patient)],
            ..Clues::default()
        }
    }

    fn found(clues: &Clues, cases: &[CaseRow], sender: &str) -> Result<usize, &'static str> {
        let cases: Vec<Candidate> = cases.iter().cloned().map(Candidate::from).collect();
        let (case, _) = correlate(clues, &PartnerId::new(sender).unwrap(), &cases)?;
        Ok(cases.iter().position(|candidate| candidate.case.id == case.id).unwrap())
    }

    #[test]
    fn equal_numbers_of_two_hospitals_never_meet() {
        // Equal study UID, accession number and patient ID; only the issuers differ.
        let cases =
            [case("rabenstein", "1.2.3", "A1^RAB", "77^RAB"), case("lichtenstein", "1.2.3", "A1^LICH", "77^LICH")];
        assert_eq!(found(&clues("", "A1^LICH", "77^LICH"), &cases, "chemnitz"), Ok(1));
        assert_eq!(found(&clues("1.2.3", "A1^RAB", "77^RAB"), &cases, "chemnitz"), Ok(0));
        for ambiguous in [clues("1.2.3", "", ""), clues("", "A1", "77"), clues("1.2.3", "A1", "77")] {
            assert!(found(&ambiguous, &cases, "chemnitz").is_err(), "{ambiguous:?}");
        }
    }

    #[test]
    fn an_order_number_is_known_with_who_gave_it() {
        let mut known = case("rabenstein", "1.2.3", "", "77^RAB");
        (known.facts.placer_order_number, known.facts.placer_issuer) = ("P7".into(), "KIS".into());
        let by_order =
            |placer: &str| Clues { orders: vec![order(placer, "")], patients: vec![id("77^RAB")], ..Clues::default() };
        assert_eq!(found(&by_order("P7^KIS"), std::slice::from_ref(&known), "chemnitz"), Ok(0));
        assert!(found(&by_order("P7^RIS"), std::slice::from_ref(&known), "chemnitz").is_err());
    }

    #[test]
    fn a_bare_accession_number_needs_the_patient_identifier() {
        let cases = [case("rabenstein", "1.2.3", "A1^RAB", "77^RAB")];
        assert!(found(&clues("", "A1", ""), &cases, "chemnitz").is_err());
        assert!(found(&clues("", "A1", "78"), &cases, "chemnitz").is_err());
        assert_eq!(found(&clues("", "A1", "77"), &cases, "chemnitz"), Ok(0));
    }

    #[test]
    fn a_report_in_a_study_of_the_reader_s_own_is_found_by_its_number_and_patient() {
        let cases = [case("rabenstein", "1.2.3", "A1^RAB", "77^RAB"), case("zgorzelec", "1.2.4", "B1^ZGO", "")];
        assert_eq!(found(&clues("9.9.9", "A1^RAB", "77^RAB"), &cases, "chemnitz"), Ok(0));
        assert_eq!(found(&clues("9.9.9", "A1^RAB", "77"), &cases, "chemnitz"), Ok(0));
        for (study, accession, patient) in
            [("9.9.9", "A1^RAB", ""), ("9.9.9", "A1", "77^RAB"), ("9.9.9", "A1^RAB", "78"), ("9.9.9", "A1^ZGO", "77")]
        {
            assert!(found(&clues(study, accession, patient), &cases, "chemnitz").is_err(), "{study} {accession}");
        }
        // Somebody else's case has that study.
        let other = CaseRow { reader: None, ..case("harz", "9.9.9", "C1^HARZ", "") };
        let cases = [cases[0].clone(), other];
        assert_eq!(found(&clues("9.9.9", "A1^RAB", "77^RAB"), &cases, "chemnitz"), Err(TWO_CASES));
    }

    #[test]
    fn a_contradicting_patient_stops_even_a_matching_study() {
        let cases = [case("rabenstein", "1.2.3", "A1^RAB", "77^RAB")];
        assert!(found(&clues("1.2.3", "A1^RAB", "78^RAB"), &cases, "chemnitz").is_err());
        assert_eq!(found(&clues("1.2.3", "", ""), &cases, "chemnitz"), Ok(0));
    }

    /// Two cases of one patient; the first has the orders P1 and P2, the second P3.
    #[test]
    fn parts_that_answer_orders_of_one_case_are_its_report() {
        let first = Candidate {
            case: case("rabenstein", "1.2.3", "A1^RAB", "77^RAB"),
            orders: vec![order("P1^KIS", "F1^RIS"), order("P2^KIS", "")],
        };
        let second =
            Candidate { case: case("rabenstein", "1.2.4", "A3^RAB", "77^RAB"), orders: vec![order("P3^KIS", "")] };
        let cases = [first, second];
        let found = |study: &str, parts: &[(&str, &str)]| {
            let orders = parts.iter().map(|(placer, filler)| order(placer, filler)).collect();
            let clues = Clues { accessions: Vec::new(), orders, ..clues(study, "", "77^RAB") };
            let (case, _) = correlate(&clues, &PartnerId::new("chemnitz").unwrap(), &cases)?;
            Ok(cases.iter().position(|known| known.case.id == case.id).unwrap())
        };
        for (study, parts, expected) in [
            ("", &[("P1^KIS", ""), ("P2^KIS", "")][..], Ok(0)),
            ("", &[("P2^KIS", ""), ("P1^KIS", "")], Ok(0)),
            ("", &[("P1", ""), ("P2", "")], Ok(0)),
            // One order with two filler numbers, and numbers of the reader's own.
            ("", &[("P1^KIS", "F1^RIS"), ("P1^KIS", "F2^RIS")], Ok(0)),
            ("", &[("P1^KIS", "K1^KCRIS"), ("P2^KIS", "K2^KCRIS"), ("", "K3^KCRIS")], Ok(0)),
            ("1.2.3", &[("P8^KIS", ""), ("P9^KIS", "")], Ok(0)),
            ("1.2.4", &[("P3^KIS", ""), ("P9^KIS", "")], Ok(1)),
            ("", &[("P1^KIS", ""), ("P3^KIS", "")], Err(PARTS)),
            ("", &[("P1", ""), ("P3", "")], Err(PARTS)),
            ("1.2.3", &[("P1^KIS", ""), ("P3", "")], Err(PARTS)),
            ("1.2.4", &[("P1^KIS", ""), ("P2^KIS", "")], Err(PARTS)),
            // Within one part.
            ("1.2.3", &[("P1^KIS", "P3^KIS"), ("P2^KIS", "")], Err(TWO_CASES)),
        ] {
            assert_eq!(found(study, parts), expected, "{study} {parts:?}");
        }
    }

    #[test]
    fn a_study_and_a_number_that_name_different_cases_name_none() {
        let cases = [
            case("rabenstein", "1.2.3", "A1^RAB", "77^RAB"),
            case("rabenstein", "1.2.4", "A2^RAB", "77^RAB"),
            case("lichtenstein", "1.2.3", "A1^LICH", "77^LICH"),
        ];
        for (study, accession, patient) in [
            ("1.2.3", "A2^RAB", "77^RAB"),
            ("1.2.4", "A1^RAB", "77^RAB"),
            // Of another hospital's case with the same bare numbers; of no case.
            ("1.2.3", "A1^LICH", "77^RAB"),
            ("1.2.4", "A2^LICH", "77^RAB"),
        ] {
            let report = clues(study, accession, patient);
            assert_eq!(found(&report, &cases, "chemnitz"), Err(TWO_CASES), "{study} {accession}");
            let as_order = Clues { accessions: Vec::new(), orders: vec![order(accession, "")], ..report };
            assert_eq!(found(&as_order, &cases, "chemnitz"), Err(TWO_CASES), "{study} {accession} as order number");
        }
        // The reader's own number beside it, a bare one, or the same one once more in the reader's system.
        let right = clues("1.2.3", "A1^RAB", "77^RAB");
        for beside in ["K9^KCRIS", "A2", "A1^KCRIS"] {
            let report = Clues { orders: vec![order("", beside)], ..right.clone() };
            assert_eq!(found(&report, &cases, "chemnitz"), Ok(0), "{beside}");
        }
    }

    #[test]
    fn specimens_name_a_case_where_nothing_else_does() {
        let known = [
            (case("rabenstein", "1.2.3", "", "77^RAB"), vec![id("S1^RAB"), id("C1^RAB")]),
            (case("rabenstein", "1.2.4", "", "78^RAB"), vec![id("S2^RAB"), id("S1^LICH")]),
        ];
        let chemnitz = PartnerId::new("chemnitz").unwrap();
        let found = |specimens: &[&str], patient: &str| {
            let clues = Clues {
                specimens: specimens.iter().map(|text| id(text)).collect(),
                patients: vec![id(patient)],
                ..Clues::default()
            };
            by_specimen(&clues, &chemnitz, &known).map(|case| case.study.to_string())
        };
        assert_eq!(found(&["S1^RAB"], ""), Ok("1.2.3".into()));
        assert_eq!(found(&["C1"], "77"), Ok("1.2.3".into()), "a bare container with its patient");
        assert_eq!(found(&["S1^RAB", "C1^RAB"], "77^RAB"), Ok("1.2.3".into()));
        for (specimens, patient) in [
            (&["C1"][..], ""),
            (&["S1^RAB"], "78^RAB"),
            (&["S1^RAB", "S2^RAB"], ""),
            (&["S9^RAB"], "77^RAB"),
            (&[], "77^RAB"),
        ] {
            assert!(found(specimens, patient).is_err(), "{specimens:?} {patient}");
        }
        let stranger = PartnerId::new("leipzig-ukl").unwrap();
        let clues = Clues { specimens: vec![id("S1^RAB")], ..Clues::default() };
        assert!(by_specimen(&clues, &stranger, &known).is_err());
    }

    #[test]
    fn only_who_reads_a_case_may_report_on_it() {
        let cases = [case("rabenstein", "1.2.3", "A1^RAB", "77^RAB")];
        assert!(found(&clues("1.2.3", "A1^RAB", "77^RAB"), &cases, "leipzig-ukl").is_err());
        assert_eq!(found(&clues("1.2.3", "A1^RAB", "77^RAB"), &cases, "rabenstein"), Ok(0));
    }
}
