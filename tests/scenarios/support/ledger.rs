//! A store of a scenario's own on either database, with what goes into it; and the same database by its own connection,
//! to fill it, to spoil a row, to ask how it would answer a statement.

use super::{
    carrier::partner,
    network::{Footing, Network},
    postgres, service_folder,
};
use neisse::{
    config::DatabaseUrl,
    model::{
        CaseId, CaseState, Decision, DeliveryKind, Digest, Discipline, Disposition, InstanceFacts, JournalId,
        JournalPlace, Lane, Moment, PartnerId, Priority, Reading, ReadingMode, ReceivedInstance, StudyFacts, Uid,
    },
    store::{CaseRow, Durability, NewDelivery, Store, Tx},
};
use sqlx::{AssertSqlSafe, PgPool, Row, SqlitePool};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

pub const NOW: Moment = Moment(1_798_150_200_000_000);

pub struct Ledger {
    pub store: Store,
    pub raw: Raw,
    pub name: &'static str,
    _folder: TempDir,
}

/// Both databases, each empty.
pub async fn both() -> Vec<Ledger> {
    let folder = service_folder("ledger-");
    let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.expect("SQLite");
    let raw = Raw::sqlite(&folder.path().join("neisse.sqlite")).await;
    let sqlite = Ledger { store, raw, name: "SQLite", _folder: folder };
    let (url, folder) = (postgres::shared_database().await, service_folder("ledger-"));
    let store = Store::open(&DatabaseUrl::Postgres(url.clone()), folder.path()).await.expect("PostgreSQL");
    let postgres = Ledger { store, raw: Raw::postgres(&url).await, name: "PostgreSQL", _folder: folder };
    vec![sqlite, postgres]
}

impl Ledger {
    pub async fn begin(&self) -> Tx {
        self.store.begin(Durability::Process).await.expect("a transaction")
    }

    /// A new case of rabenstein that chemnitz reads.
    pub async fn case(&self, study: &str) -> CaseRow {
        let case = case("rabenstein", study);
        let mut tx = self.begin().await;
        assert!(tx.add_case(&case).await.expect("the case"));
        tx.commit().await.expect("a commit");
        case
    }

    /// A case that chemnitz is to claim within ten minutes, and its offer.
    pub async fn offered(&self, study: &str, has_study: bool) -> (CaseRow, Uid) {
        let reading = Reading {
            rule: "Nights".into(),
            readers: vec![partner("chemnitz"), partner("leipzig-ukl")],
            also_to: Vec::new(),
            reading_mode: ReadingMode::RemoteReading,
            claim_within: Some(Duration::from_secs(600)),
            report_within: None,
            window_ends: None,
        };
        let disposition = Disposition::Read(reading);
        let decision = Decision { disposition, reasons: Vec::new(), rules_version: String::new(), decided_at: NOW };
        let (state, decision) = (CaseState::Routed, Some(decision));
        let case = CaseRow { state, has_study, decision, ..case("rabenstein", study) };
        let mut tx = self.begin().await;
        assert!(tx.add_case(&case).await.expect("the case"));
        let task = tx.offer_task(&case, NOW).await.expect("an offer").expect("a new one");
        tx.commit().await.expect("a commit");
        (case, task)
    }

    pub async fn owe(&self, owed: &NewDelivery) -> neisse::model::DeliveryId {
        let mut tx = self.begin().await;
        let id = tx.owe(owed).await.expect("owed");
        tx.commit().await.expect("a commit");
        id
    }
}

pub fn case(origin: &str, study: &str) -> CaseRow {
    CaseRow {
        id: CaseId::generate(),
        origin: partner(origin),
        study: Uid::new(study).expect("a UID"),
        state: CaseState::New,
        discipline: Discipline::Radiology,
        priority: Priority::Routine,
        calling_ae: "RAB_CT1".into(),
        called_ae: "NEISSE".into(),
        facts: StudyFacts::default(),
        instances: 0,
        bytes: 0,
        routed_to: 0,
        first: NOW,
        last: NOW,
        whole: None,
        decision: None,
        reader: Some(partner("chemnitz")),
        attention: String::new(),
        has_study: true,
        report_due: None,
        waits_until: None,
    }
}

pub fn images(case: &CaseRow, to: &str, lane: Lane) -> NewDelivery {
    NewDelivery {
        case: case.id,
        partner: partner(to),
        lane,
        kind: DeliveryKind::Images,
        first_seq: 1,
        last_seq: 10,
        report: None,
        version: 0,
        items: 10,
        bytes: 1000,
        deadline: None,
        give_up: NOW + Duration::from_secs(86_400),
        now: NOW,
    }
}

/// An instance of rabenstein as the journal gave it. `content` tells equal bytes from others.
pub fn received(study: &str, number: u8, content: u8) -> ReceivedInstance {
    let uid = |text: &str| Uid::new(text).expect("a UID");
    ReceivedInstance {
        origin: partner("rabenstein"),
        calling_ae: "RAB_CT1".into(),
        called_ae: "NEISSE".into(),
        sop_class: uid("1.2.840.10008.5.1.4.1.1.2"),
        sop_instance: uid(&format!("{study}.{number}")),
        transfer_syntax: uid("1.2.840.10008.1.2.1"),
        study: uid(study),
        series: uid(&format!("{study}.0")),
        place: JournalPlace {
            journal: JournalId::generate(),
            record: 0,
            data: 64,
            length: 1000,
            sha256: Digest([content; 32]),
        },
        received: NOW,
        facts: StudyFacts { modality: "CT".into(), ..StudyFacts::default() },
        own: InstanceFacts::default(),
    }
}

pub fn rabenstein() -> PartnerId {
    partner("rabenstein")
}

/// The database itself.
pub enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Raw {
    /// The database of a network's node.
    pub async fn of(network: &Network, footing: Footing) -> Self {
        match footing {
            Footing::Embedded => Self::sqlite(&network.folder.path().join("data/neisse.sqlite")).await,
            Footing::Services => {
                let node = &network.files["neisse.toml"];
                let url = node.lines().find_map(|line| line.strip_prefix("url = \"postgres://")).expect("its URL");
                Self::postgres(&format!("postgres://{}", url.trim_end_matches('"'))).await
            }
        }
    }

    /// The one text that a statement gives.
    pub async fn ask(&self, sql: &str) -> String {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Raw::Sqlite(pool) => sqlx::raw_sql(sql).fetch_one(pool).await.expect("a row").get(0),
            Raw::Postgres(pool) => sqlx::raw_sql(sql).fetch_one(pool).await.expect("a row").get(0),
        }
    }

    /// Every row that a statement gives; all its columns must be text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Raw::Sqlite(pool) => {
                let rows = sqlx::raw_sql(sql).fetch_all(pool).await.expect("rows");
                rows.iter().map(|row| (0..row.len()).map(|n| row.get(n)).collect()).collect()
            }
            Raw::Postgres(pool) => {
                let rows = sqlx::raw_sql(sql).fetch_all(pool).await.expect("rows");
                rows.iter().map(|row| (0..row.len()).map(|n| row.get(n)).collect()).collect()
            }
        }
    }

    /// A column of bytes as text, in a statement.
    pub fn hex(&self, column: &str) -> String {
        match self {
            Raw::Sqlite(_) => format!("lower(hex({column}))"),
            Raw::Postgres(_) => format!("encode({column}, 'hex')"),
        }
    }

    pub async fn sqlite(file: &Path) -> Self {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(30));
        Raw::Sqlite(SqlitePool::connect_with(options).await.expect("SQLite"))
    }

    pub async fn postgres(url: &str) -> Self {
        let one = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        Raw::Postgres(one.connect(url).await.expect("PostgreSQL"))
    }

    pub async fn run(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Raw::Sqlite(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.expect("SQL")),
            Raw::Postgres(pool) => {
                let text = sql.0.clone();
                let done = sqlx::raw_sql(sql).execute(pool).await;
                if let Err(error) = done {
                    panic!("{text}: {error}");
                }
            }
        }
    }

    /// How the database would answer a statement with parameters it does not know yet: one line a step.
    pub async fn plan(&self, sql: &str) -> Vec<String> {
        match self {
            Raw::Sqlite(pool) => {
                // Each of several, or all but the first would be done.
                let each: Vec<String> = sql.split("; ").map(|one| format!("EXPLAIN QUERY PLAN {one}")).collect();
                let explain = AssertSqlSafe(each.join("; "));
                let rows = sqlx::raw_sql(explain).fetch_all(pool).await.unwrap_or_else(|e| panic!("{e}: {sql}"));
                rows.iter().map(|row| row.get::<String, _>("detail")).collect()
            }
            Raw::Postgres(pool) => {
                let parameters = (1..=40).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
                let nulls = vec!["NULL"; parameters].join(", ");
                let nulls = if parameters == 0 { nulls } else { format!("({nulls})") };
                self.run(&format!("SET plan_cache_mode = force_generic_plan; PREPARE asked AS {sql}")).await;
                let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked{nulls}"));
                let rows = sqlx::raw_sql(explain).fetch_all(pool).await.unwrap_or_else(|e| panic!("{e}: {sql}"));
                self.run("DEALLOCATE asked").await;
                rows.iter().map(|row| row.get::<String, _>(0)).collect()
            }
        }
    }

    /// So many orders with a step each, numbered from 1; `origin`: whose, in SQL that knows the number as `i`.
    pub async fn schedule(&self, steps: usize, origin: &str) {
        let padded = match self {
            Raw::Sqlite(_) => "printf('%012d', i)",
            Raw::Postgres(_) => "lpad(i::text, 12, '0')",
        };
        let id = format!("'00000000-0000-7000-8000-' || {padded}");
        let fill = async |columns: &str, values: String| {
            let sql = format!(
                "INSERT INTO {columns} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps}) \
             SELECT {values} FROM n"
            );
            self.run(&sql).await;
        };
        let facts =
            "'{\"patient_name\":\"Name' || i || '\",\"requested\":{\"steps\":[{\"id\":\"S1\",\"modality\":\"CT\"}]}}'";
        fill(
        "orders (id, origin, state, placer, placer_issuer, filler, filler_issuer, accession, accession_issuer, patient_id, \
         patient_issuer, modality, priority, facts, received_us, changed_us)",
        format!(
            "{id}, {origin}, 'open', 'O' || i, 'R', '', '', 'A' || i, 'R', 'P' || i, 'R', 'CT', 'routine', {facts}, i, i"
        ),
    )
    .await;
        fill(
        "scheduled_steps (order_id, number, origin, state, listed, patient_id, accession, name_key, modality, station, \
         start_at, study_uid, step_id)",
        format!(
            "{id}, 1, {origin}, 'scheduled', 1, 'P' || i, 'A' || i, 'name' || i, \
             CASE i % 3 WHEN 0 THEN 'MR' ELSE 'CT' END, CASE i % 7 WHEN 0 THEN '' ELSE 'CT' || (i % 5) END, \
             '202611' || (10 + (i / 20) % 20) || '0830' || (10 + i % 50), '1.2.' || i, 'S' || i"
        ),
    )
    .await;
        if matches!(self, Raw::Postgres(_)) {
            // As its autovacuum would within the minute.
            self.run("ANALYZE").await;
        }
    }
}
