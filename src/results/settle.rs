//! One incoming report, in one transaction: joined to its case or held for a person, kept as a version, and owed to the
//! origin in every form it wants.

use super::{
    correlate::{Clues, correlate, is_of_another_patient},
    incoming::Incoming,
    make::{Made, Making, make},
};
use crate::{
    config::Config,
    model::{CaseEvent, CaseId, Lane, Moment, Priority, ReportId, ReportStatus},
    store::{CaseRow, Durability, MAX_ALIKE, NewDelivery, NewReport, Store, StoreError, Tx},
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What became of it, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    To { case: CaseId, version: i64, forms: usize },
    Held { reason: String },
}

/// What is to be sent for a report, made before the transaction that owes it.
pub struct Prepared {
    id: ReportId,
    case: CaseId,
    version: i64,
    replaces: Option<Moment>,
    made: Made,
}

/// Looks whose report it is and makes what is to be sent, before anything is locked: a PDF takes longer than a
/// transaction may, and SQLite has one writer. `None`: it will be held. What is found here is only a guess; `settle`
/// looks again.
///
/// # Errors
/// When the database fails.
pub async fn prepare(
    store: &Store,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
) -> Result<Option<Prepared>, StoreError> {
    let mut tx = store.begin(Durability::Process).await?;
    let candidates = candidates(&mut tx, &incoming.clues).await?;
    let Ok((case, _)) = correlate(&incoming.clues, &incoming.sender, &candidates) else { return Ok(None) };
    prepare_for(tx, config, incoming, case, ReportId::generate()).await.map(Some)
}

/// The same for a case that is known.
///
/// # Errors
/// When the database fails.
pub async fn prepare_for(
    mut tx: Tx,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    case: &CaseRow,
    id: ReportId,
) -> Result<Prepared, StoreError> {
    let (version, replaces) = tx.next_version(case.id).await?;
    drop(tx);
    let made = made(config, incoming, case, id, version, replaces).await;
    Ok(Prepared { id, case: case.id, version, replaces, made })
}

/// Keeps the report with all that follows from it. The caller commits.
///
/// # Errors
/// When the database fails; nothing has been changed then.
pub async fn settle(
    tx: &mut Tx,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    prepared: Option<Prepared>,
    now: Moment,
) -> Result<Joined, StoreError> {
    let candidates = candidates(tx, &incoming.clues).await?;
    match correlate(&incoming.clues, &incoming.sender, &candidates) {
        Ok((case, by)) => {
            let case = tx.case(case.id).await?;
            join(tx, config, incoming, prepared, case, by, now).await
        }
        Err(reason) => hold(tx, incoming, reason).await,
    }
}

/// Keeps a report that fits no case, for a person.
///
/// # Errors
/// When the database fails.
pub async fn hold(tx: &mut Tx, incoming: &Incoming, reason: &str) -> Result<Joined, StoreError> {
    let held = NewReport { hold_reason: reason.to_owned(), ..report(incoming, ReportId::generate()) };
    tx.add_report(&held).await?;
    metrics::counter!("neisse_reports_received_total", "outcome" => "held").increment(1);
    Ok(Joined::Held { reason: reason.to_owned() })
}

/// A number or UID that a great many cases have says nothing: cut off at some of them, it could even seem to fit one.
/// Nothing is looked up for a report of several studies, which fits no case; `incoming` bounds the numbers of the rest.
async fn candidates(tx: &mut Tx, clues: &Clues) -> Result<Vec<CaseRow>, StoreError> {
    let mut found: Vec<CaseRow> = Vec::new();
    if clues.studies.len() > 1 {
        return Ok(found);
    }
    for study in &clues.studies {
        add_few(&mut found, tx.cases_with_study(study).await?);
    }
    let numbers = clues.accessions.iter().chain([&clues.placer, &clues.filler]).map(|id| id.value.as_str());
    let mut seen: Vec<&str> = Vec::new();
    for number in numbers.filter(|number| !number.is_empty()) {
        if !seen.contains(&number) {
            seen.push(number);
            add_few(&mut found, tx.cases_with_number(number).await?);
        }
    }
    found.sort_by_key(|case| case.id);
    found.dedup_by_key(|case| case.id);
    Ok(found)
}

fn add_few(found: &mut Vec<CaseRow>, alike: Vec<CaseRow>) {
    if alike.len() <= MAX_ALIKE {
        found.extend(alike);
    }
}

async fn join(
    tx: &mut Tx,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    prepared: Option<Prepared>,
    case: CaseRow,
    by: &str,
    now: Moment,
) -> Result<Joined, StoreError> {
    let ready = still_right(tx, config, incoming, prepared, &case, ReportId::generate()).await?;
    let (id, version) = (ready.id, ready.version);
    let kept = NewReport { case: Some(case.id), version, correlated_by: by.to_owned(), ..report(incoming, id) };
    tx.add_report(&kept).await?;
    let what = format!("{} report version {version} from {} ({by})", incoming.status, incoming.sender);
    tx.tell(case.id, now, "results", &what).await?;
    metrics::counter!("neisse_reports_received_total", "outcome" => "joined").increment(1);
    follow(tx, config, incoming, ready, case, now).await
}

/// Joins a held report to the case that a person names, with all that follows from it. The caller commits. `None`: it is
/// not held any more.
///
/// # Errors
/// When the database fails; nothing has been changed then.
pub async fn join_held(
    tx: &mut Tx,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    prepared: Prepared,
    case: CaseRow,
    why: &str,
    now: Moment,
) -> Result<Option<Joined>, StoreError> {
    let id = prepared.id;
    let ready = still_right(tx, config, incoming, Some(prepared), &case, id).await?;
    if !tx.attach_report(id, case.id, ready.version, "a person", why).await? {
        return Ok(None);
    }
    let (status, version, sender) = (incoming.status, ready.version, &incoming.sender);
    let other = if is_of_another_patient(&incoming.clues, &case) { " though it names another patient" } else { "" };
    let what = format!("{status} report version {version} from {sender} attached by a person{other}: {why}");
    tx.tell(case.id, now, "operator", &what).await?;
    follow(tx, config, incoming, ready, case, now).await.map(Some)
}

/// What was prepared, or the same made anew under this id if another report of the case came in between.
async fn still_right(
    tx: &mut Tx,
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    prepared: Option<Prepared>,
    case: &CaseRow,
    id: ReportId,
) -> Result<Prepared, StoreError> {
    let (version, replaces) = tx.next_version(case.id).await?;
    let fits = |ready: &Prepared| (ready.case, ready.version, ready.replaces) == (case.id, version, replaces);
    match prepared.filter(fits) {
        Some(prepared) => Ok(prepared),
        None => {
            let made = made(config, incoming, case, id, version, replaces).await;
            Ok(Prepared { id, case: case.id, version, replaces, made })
        }
    }
}

/// What follows for a case from a report that has become its own.
async fn follow(
    tx: &mut Tx,
    config: &Arc<Config>,
    incoming: &Incoming,
    ready: Prepared,
    mut case: CaseRow,
    now: Moment,
) -> Result<Joined, StoreError> {
    let Prepared { id, version, made, .. } = ready;
    let forms = made.forms.len();
    owe(tx, config, &case, id, version, &made, now).await?;
    tell_warnings(tx, &mut case, &made.warnings, now).await?;
    case.take(match incoming.status {
        ReportStatus::Preliminary => CaseEvent::PreliminaryReport,
        ReportStatus::Final | ReportStatus::Corrected => CaseEvent::FinalReport,
    })?;
    case.report_came();
    tx.save_case(&case).await?;
    Ok(Joined::To { case: case.id, version, forms })
}

/// Every form the origin wants, made on a thread for long work. A report that goes nowhere though it should is said.
async fn made(
    config: &Arc<Config>,
    incoming: &Arc<Incoming>,
    case: &CaseRow,
    id: ReportId,
    version: i64,
    replaces: Option<Moment>,
) -> Made {
    if case.origin == incoming.sender {
        // Read where it was made: it is there already.
        return Made::default();
    }
    let (config, incoming, case) = (Arc::clone(config), Arc::clone(incoming), case.clone());
    let making = tokio::task::spawn_blocking(move || {
        let Some(origin) = config.partners.get(&case.origin) else {
            return nowhere(format!("{} is not in the configuration any more", case.origin));
        };
        let reader = config.partners.get(&incoming.sender);
        let reader_name = reader.map_or(incoming.sender.as_str(), |reader| reader.name.as_str());
        let node = &config.node.name;
        let made = make(&incoming, &Making { id, version, replaces, case: &case, origin, reader_name, node });
        if made.forms.is_empty() && made.warnings.is_empty() {
            return nowhere(format!("{} wants no form of it", case.origin));
        }
        made
    });
    making.await.unwrap_or_else(|_| nowhere("it could not be made into what the origin wants".into()))
}

fn nowhere(why: String) -> Made {
    Made { warnings: vec![format!("the report is kept here and goes nowhere: {why}")], ..Made::default() }
}

async fn owe(
    tx: &mut Tx,
    config: &Config,
    case: &CaseRow,
    report: ReportId,
    version: i64,
    made: &Made,
    now: Moment,
) -> Result<(), StoreError> {
    for (kind, form) in &made.forms {
        tx.add_report_form(report, form).await?;
        tx.owe(&NewDelivery {
            case: case.id,
            partner: case.origin.clone(),
            lane: if case.priority == Priority::Stat { Lane::Stat } else { Lane::Routine },
            kind: *kind,
            first_seq: 0,
            last_seq: 0,
            report: Some(report),
            version,
            items: 1,
            bytes: i64::try_from(form.content.len()).unwrap_or(i64::MAX),
            deadline: None,
            give_up: now + config.delivery.give_up,
            now,
        })
        .await?;
    }
    Ok(())
}

/// What could not be made as wanted is on the case, for a person. So is a report that goes nowhere though it should.
async fn tell_warnings(tx: &mut Tx, case: &mut CaseRow, warnings: &[String], now: Moment) -> Result<(), StoreError> {
    for warning in warnings {
        case.needs_a_person(warning);
        tx.tell(case.id, now, "results", warning).await?;
    }
    Ok(())
}

fn report(incoming: &Incoming, id: ReportId) -> NewReport {
    NewReport {
        id,
        case: None,
        sender: incoming.sender.clone(),
        source: incoming.source,
        status: incoming.status,
        version: 0,
        received: incoming.received,
        correlated_by: String::new(),
        hold_reason: String::new(),
        sha256: sha256(&incoming.raw),
        content: incoming.raw.clone(),
    }
}

/// Lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    crate::model::Digest(Sha256::digest(bytes).into()).to_string()
}
