//! How many cases a report is compared with.

use super::*;
use crate::{
    config::DatabaseUrl,
    model::{Discipline, IssuedId, PartnerId, Uid},
};

fn case(study: usize, accession: &str) -> CaseRow {
    CaseRow {
        id: CaseId::generate(),
        origin: PartnerId::new("rabenstein").unwrap(),
        study: Uid::new(&format!("1.2.{study}")).unwrap(),
        state: CaseState::New,
        discipline: Discipline::Radiology,
        priority: Priority::Routine,
        calling_ae: String::new(),
        called_ae: String::new(),
        facts: StudyFacts { accession: IssuedId::new(accession, "RAB"), ..StudyFacts::default() },
        instances: 1,
        bytes: 1,
        routed_to: 1,
        first: Moment(0),
        last: Moment(0),
        whole: None,
        decision: None,
        reader: None,
        attention: String::new(),
        has_study: true,
        report_due: None,
        waits_until: None,
    }
}

/// Each of its numbers may be some cases', but not all of them together any number of cases'.
#[tokio::test]
async fn a_report_whose_numbers_a_great_many_cases_have_fits_none_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.unwrap();
    let mut tx = store.begin(Durability::Process).await.unwrap();
    for study in 0..4 * 51 {
        assert!(tx.add_case(&case(study, &format!("A{}", study / 51))).await.unwrap());
    }
    let named = |numbers: usize| {
        let accessions = (0..numbers).map(|number| IssuedId::new(format!("A{number}"), "RAB")).collect();
        Clues { accessions, ..Clues::default() }
    };
    let found = candidates(&mut tx, &named(3)).await.unwrap();
    assert_eq!(found.map(|found| found.len()), Some(3 * 51));
    assert!(candidates(&mut tx, &named(4)).await.unwrap().is_none());
}
