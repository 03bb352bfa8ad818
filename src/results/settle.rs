//! One incoming report, in one transaction: joined to its case or held for a person, kept as a version, and owed to the
//! origin in every form it wants.

use super::{
    addendum,
    correlate::{Candidate, Clues, SEVERAL, by_specimen, correlate, is_of_another_patient},
    critical,
    incoming::Incoming,
    make::{Made, Making, make},
    ordered::{MAX_CANDIDATES, add_cases_of_orders, as_found, cases_of_specimens, numbers_of},
    parts::answered,
};
use crate::{
    config::Config,
    model::{
        CaseEvent, CaseId, CaseState, Lane, Moment, OrderNumbers, Priority, ReportForm, ReportId, ReportStatus,
        StudyFacts, TaskState,
    },
    store::{CaseRow, Durability, FormBefore, ImageOfCase, MAX_ALIKE, NewDelivery, NewReport, Store, StoreError, Tx},
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
    /// What was known of the case when it was made.
    facts: StudyFacts,
    place: Place,
    made: Made,
}

/// Where a report stands among the versions of its case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    version: i64,
    /// When the version before it came.
    replaces: Option<Moment>,
    /// What its origin was owed of earlier versions.
    before: Vec<FormBefore>,
    /// The case's orders, where the report answers several.
    orders: Vec<OrderNumbers>,
    /// What was read, where its origin wants an SR, which refers to it.
    images: Vec<ImageOfCase>,
}

impl Place {
    async fn next(tx: &mut Tx, config: &Config, case: &CaseRow, clues: &Clues) -> Result<Self, StoreError> {
        let wants_sr =
            config.partners.get(&case.origin).is_some_and(|origin| origin.report_forms.contains(&ReportForm::Sr));
        let images = if wants_sr && case.has_study { tx.images_of(case.id).await? } else { Vec::new() };
        let (version, replaces) = tx.next_version(case.id).await?;
        let orders = if clues.orders.len() > 1 { tx.orders_answered_by(case.id).await? } else { Vec::new() };
        // An institute's images of a specimen are joined to the hospital's order too: its numbers are not theirs.
        let orders = orders.iter().filter(|order| order.origin == case.origin).map(numbers_of).collect();
        Ok(Self { version, replaces, before: tx.forms_before(case.id).await?, orders, images })
    }
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
    let Ok((case, _)) = whose(&mut tx, incoming).await? else { return Ok(None) };
    prepare_for(tx, config, incoming, &case, ReportId::generate()).await.map(Some)
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
    let place = Place::next(&mut tx, config, case, &incoming.clues).await?;
    drop(tx);
    let made = made(config, incoming, case, id, &place).await;
    Ok(Prepared { id, case: case.id, facts: case.facts.clone(), place, made })
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
    match whose(tx, incoming).await? {
        Ok((found, by)) => {
            let mut case = tx.case(found.id).await?;
            as_found(&mut case, &found);
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

/// The case it belongs to, and by what; or why a person must decide.
pub(super) async fn whose(
    tx: &mut Tx,
    incoming: &Incoming,
) -> Result<Result<(CaseRow, &'static str), &'static str>, StoreError> {
    let clues = &incoming.clues;
    let Some(candidates) = candidates(tx, clues).await? else { return Ok(Err(SEVERAL)) };
    // Where it names something that is known, its specimens have no say.
    if candidates.is_empty() && clues.studies.len() < 2 && !clues.specimens.is_empty() {
        let Some(candidates) = cases_of_specimens(tx, clues).await? else { return Ok(Err(SEVERAL)) };
        return Ok(by_specimen(clues, &incoming.sender, &candidates).map(|case| (case.clone(), "specimen")));
    }
    Ok(correlate(clues, &incoming.sender, &candidates).map(|(case, by)| (case.clone(), by)))
}

/// A number or UID that a great many cases have says nothing: cut off at some of them, it could even seem to fit one.
/// Nothing is looked up for a report of several studies, which fits no case; `incoming` bounds the numbers of the rest.
/// `None`: they are more than can be told apart.
async fn candidates(tx: &mut Tx, clues: &Clues) -> Result<Option<Vec<Candidate>>, StoreError> {
    let mut found: Vec<Candidate> = Vec::new();
    if clues.studies.len() > 1 {
        return Ok(Some(found));
    }
    for study in &clues.studies {
        add_few(&mut found, tx.cases_with_study(study).await?);
    }
    let numbers = clues.accessions.iter().chain(clues.order_numbers()).map(|id| id.value.as_str());
    let mut seen: Vec<&str> = Vec::new();
    for number in numbers.filter(|number| !number.is_empty()) {
        if !seen.contains(&number) {
            seen.push(number);
            add_few(&mut found, tx.cases_with_number(number).await?);
        }
        if found.len() > MAX_CANDIDATES {
            return Ok(None);
        }
    }
    found.sort_by_key(|known| known.case.id);
    if !add_cases_of_orders(tx, clues, &mut found).await? {
        return Ok(None);
    }
    found.sort_by_key(|known| known.case.id);
    Ok(Some(found))
}

/// Each once.
fn add_few(found: &mut Vec<Candidate>, alike: Vec<CaseRow>) {
    if alike.len() > MAX_ALIKE {
        return;
    }
    for case in alike {
        if found.iter().all(|known| known.case.id != case.id) {
            found.push(Candidate::from(case));
        }
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
    if incoming.is_addendum && incoming.completes.is_none() {
        return hold(tx, incoming, addendum::NOTHING_BEFORE).await;
    }
    if !still_completes(tx, incoming, case.id).await? {
        return hold(tx, incoming, addendum::OVERTAKEN).await;
    }
    let ready = still_right(tx, config, incoming, prepared, &case, ReportId::generate()).await?;
    let (id, version) = (ready.id, ready.place.version);
    let kept = NewReport { case: Some(case.id), version, correlated_by: by.to_owned(), ..report(incoming, id) };
    tx.add_report(&kept).await?;
    let what = format!("{} report version {version} from {} ({by})", incoming.status, incoming.sender);
    tx.tell(case.id, now, "results", &what).await?;
    metrics::counter!("neisse_reports_received_total", "outcome" => "joined").increment(1);
    Box::pin(follow(tx, config, incoming, ready, case, now)).await
}

/// Whether an addendum still begins with the last version of its case. Nothing else has such a condition.
///
/// # Errors
/// When the database fails.
pub(super) async fn still_completes(tx: &mut Tx, incoming: &Incoming, case: CaseId) -> Result<bool, StoreError> {
    let Some(completes) = incoming.completes else { return Ok(true) };
    let (next, _) = tx.next_version(case).await?;
    Ok(completes == (case, next - 1))
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
    if !tx.attach_report(id, case.id, ready.place.version, "a person", why).await? {
        return Ok(None);
    }
    let (status, version, sender) = (incoming.status, ready.place.version, &incoming.sender);
    let other = if is_of_another_patient(&incoming.clues, &case) { " though it names another patient" } else { "" };
    let what = format!("{status} report version {version} from {sender} attached by a person{other}: {why}");
    tx.tell(case.id, now, "operator", &what).await?;
    Box::pin(follow(tx, config, incoming, ready, case, now)).await.map(Some)
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
    let place = Place::next(tx, config, case, &incoming.clues).await?;
    // Its patient may have been renamed or merged, or its order have come, while the forms were being made.
    let fits = |ready: &Prepared| ready.case == case.id && ready.place == place && ready.facts == case.facts;
    match prepared.filter(fits) {
        Some(prepared) => Ok(prepared),
        None => {
            let made = made(config, incoming, case, id, &place).await;
            Ok(Prepared { id, case: case.id, facts: case.facts.clone(), place, made })
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
    let Prepared { id, place: Place { version, .. }, made, .. } = ready;
    let forms = made.forms.len();
    let critical = is_critical(config, incoming, &case);
    owe(tx, config, &case, (id, version), &made, critical, now).await?;
    if critical {
        critical::ask(tx, config, &case, (id, version), now).await?;
    }
    tell_warnings(tx, &mut case, &made.warnings, now).await?;
    moved(tx, &mut case, incoming.status, now).await?;
    match case.state {
        // A preliminary report after the final one is no output of the reading.
        CaseState::Reported if incoming.status != ReportStatus::Preliminary => {
            tx.complete_tasks(case.id, &incoming.sender, id, now).await?;
        }
        // Nothing is left of what was reported: it is to be read again.
        CaseState::Routed | CaseState::Delivered if incoming.status == ReportStatus::Withdrawn => {
            tx.offer_task(&case, now).await?;
            tx.restart_task_clocks(&case, now + config.tasks.claim_lease, now).await?;
        }
        _ => {}
    }
    match incoming.status {
        ReportStatus::Withdrawn => case.await_report(now),
        ReportStatus::Preliminary => {
            case.report_came();
            // Whoever says that the reading is done owes the final one.
            let done = tx.last_task(case.id, &incoming.sender).await?;
            if done.is_some_and(|task| task.state == TaskState::Completed) {
                case.await_report_of_what_is_read(now);
            }
        }
        ReportStatus::Final | ReportStatus::Corrected => case.report_came(),
    }
    tx.save_case(&case).await?;
    Ok(Joined::To { case: case.id, version, forms })
}

/// What the report does to its case. Where nothing is left of what was reported, the case waits for a report again, and for
/// a person where nobody is to read it.
async fn moved(tx: &mut Tx, case: &mut CaseRow, status: ReportStatus, now: Moment) -> Result<(), StoreError> {
    case.take(match status {
        ReportStatus::Preliminary => CaseEvent::PreliminaryReport,
        ReportStatus::Final | ReportStatus::Corrected => CaseEvent::FinalReport,
        ReportStatus::Withdrawn => CaseEvent::ReportWithdrawn,
    })?;
    if status != ReportStatus::Withdrawn || case.state != CaseState::Routed {
        return Ok(());
    }
    if case.reader.is_none() {
        return case.take(CaseEvent::Hold);
    }
    tx.note_if_all_delivered(case, now).await.map(drop)
}

/// A result that its origin must be told of at once, and must say that it knows.
fn is_critical(config: &Config, incoming: &Incoming, case: &CaseRow) -> bool {
    let agreed = config.partners.get(&incoming.sender).map_or(&[][..], |reader| &reader.critical_flags);
    let goes_out = case.origin != incoming.sender && !is_overtaken(incoming, case);
    goes_out && incoming.status != ReportStatus::Withdrawn && incoming.is_critical(agreed)
}

/// A preliminary report that comes after the final one: at the origin it would take the final one's place.
fn is_overtaken(incoming: &Incoming, case: &CaseRow) -> bool {
    incoming.status == ReportStatus::Preliminary && case.state == CaseState::Reported
}

/// Every form the origin wants, made on a thread for long work. A report that goes nowhere though it should is said.
async fn made(config: &Arc<Config>, incoming: &Arc<Incoming>, case: &CaseRow, id: ReportId, place: &Place) -> Made {
    if case.origin == incoming.sender {
        // Read where it was made: it is there already.
        return Made::default();
    }
    if is_overtaken(incoming, case) {
        let sender = &incoming.sender;
        return nowhere(format!("a preliminary one after the final one; ask {sender} whether the final one holds"));
    }
    let place = place.clone();
    let (config, incoming, case) = (Arc::clone(config), Arc::clone(incoming), case.clone());
    let making = tokio::task::spawn_blocking(move || {
        let Some(origin) = config.partners.get(&case.origin) else {
            return nowhere(format!("{} is not in the configuration any more", case.origin));
        };
        let reader = config.partners.get(&incoming.sender);
        let reader_name = reader.map_or(incoming.sender.as_str(), |reader| reader.name.as_str());
        let node = &config.node.name;
        let Place { version, replaces, before, orders, images } = &place;
        let answered = &answered(&incoming.clues, &case.facts, orders);
        let (critical, before) = (is_critical(&config, &incoming, &case), before.as_slice());
        let (version, replaces) = (*version, *replaces);
        let making = Making {
            id,
            version,
            replaces,
            before,
            images,
            answered,
            critical,
            case: &case,
            origin,
            reader_name,
            node,
        };
        let made = make(&incoming, &making);
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
    (report, version): (ReportId, i64),
    made: &Made,
    urgent: bool,
    now: Moment,
) -> Result<(), StoreError> {
    for (kind, form) in &made.forms {
        tx.add_report_form(report, form).await?;
        tx.owe(&NewDelivery {
            case: case.id,
            partner: case.origin.clone(),
            lane: if urgent || case.priority == Priority::Stat { Lane::Stat } else { Lane::Routine },
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

#[cfg(test)]
mod tests;
