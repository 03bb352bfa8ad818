//! `neisse cases hold`, `release`, `resend`: what a person decides, written into the case's story.

use super::{Desk, counted, now};
use crate::{
    model::{
        BY_HAND, CaseEvent, CaseId, CaseState, Decision, Disposition, HELD_BY_A_PERSON, Moment, PartnerId, Reading,
        ReadingMode,
    },
    routing::{
        claims::arrange,
        decide::{Rules, decide},
        step::facts_of,
    },
    store::{CaseRow, Durability, Resent, Tx},
};
use anyhow::{Context, bail};
use std::collections::BTreeSet;

/// Who acts, in the story.
const ACTOR: &str = "operator";

impl Desk {
    pub(super) async fn hold(&self, id: CaseId, why: &str) -> anyhow::Result<()> {
        let now = now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        case.take(CaseEvent::Hold).context("what has been reported cannot be held any more")?;
        if let Some(first) = tx.withdraw_images(id, now).await? {
            case.routed_to = case.routed_to.min(first - 1);
        }
        tx.end_tasks(id, "its case is held", now).await?;
        case.needs_a_person(&format!("{HELD_BY_A_PERSON}: {why}"));
        // Nobody owes a report of it until it is released.
        case.report_due = None;
        tx.tell(id, now, ACTOR, &format!("held: {why}")).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!("Case {id} is held. Images being sent at this moment may still arrive.");
        println!("To go on: neisse cases release {id}");
        Ok(())
    }

    pub(super) async fn release(&self, id: CaseId, to: Option<&str>) -> anyhow::Result<()> {
        let now = now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        if case.state != CaseState::Held {
            bail!("case {id} is {}, not held: there is nothing to release", case.state);
        }
        let decision = match to {
            Some(reader) => self.by_hand(&case, reader, now)?,
            None => {
                let rules = Rules::compile(&self.config)?;
                let mut decision = decide(&facts_of(&case), &rules, now);
                arrange(&mut tx, &self.config, &case, &rules, &mut decision, now).await?;
                decision
            }
        };
        let Disposition::Read(reading) = &decision.disposition else {
            bail!("the rules still name no reader for case {id}; name one with --to, or mend routes.toml");
        };
        let Some(reader) = reading.reader().cloned() else { bail!("the rule \"{}\" names no reader", reading.rule) };
        let how = if to.is_some() { "by hand".to_owned() } else { format!("by \"{}\"", reading.rule) };
        let what = format!("released to {reader} {how}");
        case.take(CaseEvent::Decided)?;
        case.attention.clear();
        tx.tell(id, now, ACTOR, &what).await?;
        let before = case.reader.replace(reader.clone());
        case.decision = Some(decision);
        case.await_report(now);
        tx.offer_task(&case, now).await?;
        self.owe_anew(&mut tx, &mut case, before.as_ref(), now).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!("Case {id} is released to {reader}.");
        Ok(())
    }

    /// Everything is owed to another reader and to whoever gets copies, in place of what waited or had stopped, and
    /// nothing any more to the one before; to the same one, only what it does not have.
    async fn owe_anew(
        &self,
        tx: &mut Tx,
        case: &mut CaseRow,
        before: Option<&PartnerId>,
        now: Moment,
    ) -> anyhow::Result<()> {
        let receivers = case.receivers();
        let ledger = tx.deliveries(case.id).await?;
        let partners: BTreeSet<&PartnerId> = ledger.iter().map(|delivery| &delivery.partner).collect();
        let stays = before == case.reader.as_ref();
        for partner in partners {
            if !(stays && receivers.contains(partner)) {
                tx.withdraw_images_to(case.id, partner, now).await?;
            }
        }
        if stays {
            tx.resend(case.id, false, now, now + self.config.delivery.give_up).await?;
        } else {
            case.routed_to = 0;
        }
        tx.note_order_news(case.id, true).await?;
        // It may be whole, and everything have arrived already.
        tx.note_if_all_delivered(case, now).await?;
        Ok(())
    }

    /// A person has looked, and there is nothing more to do.
    pub(super) async fn seen(&self, id: CaseId, why: &str) -> anyhow::Result<()> {
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        if case.attention.is_empty() {
            bail!("case {id} waits for nobody");
        }
        tx.tell(id, now(), ACTOR, &format!("seen ({why}): {}", case.attention)).await?;
        case.attention.clear();
        tx.save_case(&case).await?;
        tx.commit().await?;
        let held = if case.state == CaseState::Held { "; it is still held" } else { "" };
        println!("Case {id} no longer waits for a person{held}.");
        Ok(())
    }

    /// Another reads it. What the decision before promised to others stays: copies, the deadline, and that a report of a
    /// former reader is joined.
    fn by_hand(&self, case: &CaseRow, reader: &str, now: Moment) -> anyhow::Result<Decision> {
        let on_site = reader == "origin";
        let reader = if on_site { case.origin.clone() } else { PartnerId::new(reader)? };
        let known = self.config.partners.get(&reader).with_context(|| {
            let known: Vec<&str> = self.config.partners.keys().map(PartnerId::as_str).collect();
            format!("{reader} is not a partner; expected origin or one of {}", known.join(", "))
        })?;
        if !on_site && !case.has_study && !known.orders_delivered {
            bail!("{reader} has no [orders] deliver = true in partners/{reader}.toml: the order cannot be sent there");
        }
        if !on_site && case.has_study && known.dicom.as_ref().is_none_or(|dicom| dicom.deliver.is_none()) {
            bail!("{reader} has no [dicom] deliver in partners/{reader}.toml: images cannot be sent there");
        }
        let before = match case.decision.as_ref().map(|decision| &decision.disposition) {
            Some(Disposition::Read(reading)) => Some(reading),
            _ => None,
        };
        let mut reasons = vec!["a person named the reader".to_owned()];
        let mut readers = vec![reader];
        if let Some(before) = before {
            reasons.push(format!("copies, deadline and former readers stay as by \"{}\"", before.rule));
            for former in &before.readers {
                if !readers.contains(former) {
                    readers.push(former.clone());
                }
            }
        }
        let reading_mode = match before.map(|before| before.reading_mode) {
            _ if on_site => ReadingMode::OnSite,
            None | Some(ReadingMode::OnSite) => ReadingMode::RemoteReading,
            Some(mode) => mode,
        };
        Ok(Decision {
            disposition: Disposition::Read(Reading {
                rule: BY_HAND.into(),
                readers,
                also_to: before.map(|before| before.also_to.clone()).unwrap_or_default(),
                reading_mode,
                claim_within: None,
                report_within: before.and_then(|before| before.report_within),
                window_ends: None,
            }),
            reasons,
            rules_version: self.config.rules_version.clone(),
            decided_at: now,
        })
    }

    pub(super) async fn resend(&self, id: CaseId, all: bool) -> anyhow::Result<()> {
        let now = now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        if case.state == CaseState::Held {
            bail!("case {id} is held: nothing of it leaves until it is released (neisse cases release {id})");
        }
        let purged = tx.images_purged(id).await?;
        if purged > 0 {
            bail!(
                "{purged} of the {} images of case {id} have been taken off this node's disk ([retention] in neisse.toml); \
                 have {} send the study again, then repeat this command",
                case.instances,
                case.origin
            );
        }
        let Resent { again, later } = tx.resend(id, all, now, now + self.config.delivery.give_up).await?;
        if again == 0 {
            bail!(
                "nothing of case {id} has stopped{}",
                if all { " or arrived" } else { "; with --all what had arrived is sent again" }
            );
        }
        case.all_seen_but_late();
        let again = counted(again, "delivery", "deliveries");
        let behind = match later {
            0 => String::new(),
            later => format!(", and after it {} of a report", counted(later, "later version", "later versions")),
        };
        tx.tell(id, now, ACTOR, &format!("{again} sent again{behind}")).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!("{again} of case {id} owed again{behind}.");
        Ok(())
    }
}
