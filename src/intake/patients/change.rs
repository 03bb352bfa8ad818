//! What the news of a patient change on one order or one case.
//!
//! In: the news, and whose they may be. Out: the row as it is now; of a case also a line of its story, and the message for its
//! readers. News that reach a row late do not take back what has come since.

use super::Told;
use crate::{
    config::{Config, Partner},
    hl7::adt::{News, PatientNews},
    model::{CaseId, CaseState, OrderId},
    store::{CaseRow, OrderFacts, StoreError, Tx},
};

/// True: it did not say so before. `is_late`: what came since goes before it.
pub(super) async fn order(tx: &mut Tx, id: OrderId, told: &Told, is_late: bool) -> Result<bool, StoreError> {
    let Some(mut order) = tx.order(id).await? else { return Ok(false) };
    let Told { news, surviving, received, .. } = told;
    let is_overtaken = is_late && order.changed > *received;
    let before = (order.patient.clone(), order.facts.clone());
    if news.news == News::Merged && news.merged_ids.contains(&order.patient) {
        order.patient = surviving.clone();
    }
    // Known by the old ones as well: images may come with either.
    for id in news.patient_ids.iter().chain(&news.merged_ids) {
        if !order.facts.patients.contains(id) {
            order.facts.patients.push(id.clone());
        }
    }
    let OrderFacts { patient_name, birth_date, sex, .. } = &mut order.facts;
    if !is_overtaken {
        take_over(news, patient_name, birth_date, sex);
    }
    let is_changed = before != (order.patient.clone(), order.facts.clone());
    if is_changed {
        order.changed = order.changed.max(*received);
        tx.save_patient_of_order(&order).await?;
    }
    Ok(is_changed)
}

/// What the message says is taken; what it leaves out stays. True when something changed.
fn take_over(news: &PatientNews, name: &mut String, birth_date: &mut String, sex: &mut String) -> bool {
    let mut is_changed = false;
    for (known, said) in [(name, &news.patient_name), (birth_date, &news.birth_date), (sex, &news.sex)] {
        if !said.is_empty() && known != said {
            known.clone_from(said);
            is_changed = true;
        }
    }
    is_changed
}

/// The same for a case, and its readers are told.
pub(super) async fn case(
    tx: &mut Tx,
    config: &Config,
    id: CaseId,
    told: &Told,
    is_late: bool,
) -> Result<bool, StoreError> {
    let mut case = tx.case(id).await?;
    // They were looked up by the beginning of the identifier.
    if !told.known_by().contains(&&case.facts.patient_id) {
        return Ok(false);
    }
    let Told { news, surviving, received, .. } = told;
    let is_overtaken = is_late && tx.knows_later_news(id, *received).await?;
    let facts = &mut case.facts;
    let mut what = Vec::new();
    if news.news == News::Merged && news.merged_ids.contains(&facts.patient_id) {
        let former = std::mem::replace(&mut facts.patient_id, surviving.clone());
        facts.former_patient_ids.retain(|id| id != surviving);
        if !facts.former_patient_ids.contains(&former) {
            facts.former_patient_ids.push(former);
        }
        what.push("its patient's identifier was merged into another one");
    }
    if !is_overtaken && take_over(news, &mut facts.patient_name, &mut facts.birth_date, &mut facts.sex) {
        what.push("its patient's name, birth date or sex was corrected");
    }
    if what.is_empty() {
        return Ok(false);
    }
    let what = format!("{} by {}", what.join(", "), case.origin);
    tx.save_facts(&case).await?;
    tx.tell(case.id, *received, "intake", &what).await?;
    tx.add_patient_message(case.id, *received, &told.sha256, news.news == News::Merged).await?;
    let unaware = unaware(config, &case);
    if !unaware.is_empty() {
        case.needs_a_person(&format!("{what} after it was given to {}: tell them", unaware.join(", ")));
        tx.save_case(&case).await?;
    }
    Ok(true)
}

/// Who has the case, has not reported on it, and is not told by a message.
fn unaware(config: &Config, case: &CaseRow) -> Vec<String> {
    if !matches!(case.state, CaseState::Routed | CaseState::Delivered | CaseState::Preliminary) {
        return Vec::new();
    }
    let takes = |id| config.partners.get(id).is_some_and(|partner: &Partner| partner.orders_delivered);
    case.receivers().iter().filter(|id| !takes(id)).map(ToString::to_string).collect()
}
