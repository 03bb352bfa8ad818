//! Each look goes by its own index, as SQLite says itself, though nothing has been counted.

use super::*;
use crate::{config::DatabaseUrl, store::Db};
use sqlx::Row as _;

#[tokio::test]
async fn every_look_goes_by_its_own_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.expect("a database");
    let Db::Sqlite(database) = &store.db else { panic!("not SQLite") };
    let text = || "SYN-1".to_owned();
    let list = || vec![text(), "SYN-2".to_owned()];
    for (by, index) in [
        (SearchBy::Studies(list()), "study_views_by_study (partner=? AND study_uid=?"),
        (SearchBy::Series(list()), "study_views_by_case (case_id=?"),
        (SearchBy::Instances(list()), "study_views_by_case (case_id=?"),
        (SearchBy::Accession(list()), "study_views_by_accession (partner=? AND accession=?"),
        (SearchBy::Patient(list()), "study_views_by_patient (partner=? AND patient_id=?"),
        (SearchBy::StudyId(text()), "study_views_by_study_id (partner=? AND study_id=?"),
        (SearchBy::AccessionBegins(text()), "study_views_by_accession (partner=? AND accession>? AND accession<?"),
        (SearchBy::PatientBegins(text()), "study_views_by_patient (partner=? AND patient_id>? AND patient_id<?"),
        (SearchBy::Name(text()), "study_views_by_name (partner=? AND name_key>? AND name_key<?"),
        (SearchBy::Referrer(text()), "study_views_by_referrer (partner=? AND referrer_key>? AND referrer_key<?"),
        (SearchBy::Description(text()), "study_views_by_description (partner=? AND description_key>?"),
        (SearchBy::NameHas(text()), "study_views_by_name (partner=?"),
        (SearchBy::Modality(text()), "PRIMARY KEY (partner=? AND modality=?"),
        (SearchBy::Time, "study_views_by_time (partner=? AND study_at>? AND study_at<?"),
    ] {
        let (sql, value) = by.statement().expect("a statement");
        let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sqlite)))
            .bind("rabenstein")
            .bind(&value)
            .bind("")
            .bind("~")
            .bind(by.start().key)
            .bind("")
            .bind(50_i64)
            .fetch_all(&database.read)
            .await
            .expect("a plan");
        let steps: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        assert!(steps.iter().any(|step| step.contains(index)), "{by:?}: {steps:#?}");
    }
}
