//! `neisse cases hold`, `release`, `resend`: what a person decides, written into the case's story.

use super::Desk;
use crate::{
    model::{CaseEvent, CaseId, CaseState, Decision, Disposition, Moment, PartnerId, Reading, ReadingMode},
    routing::{
        decide::{Rules, decide},
        step::facts_of,
    },
    store::{CaseRow, Durability},
};
use anyhow::{Context, bail};
use chrono::Utc;

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
        case.needs_a_person(&format!("held by a person: {why}"));
        tx.tell(id, now, ACTOR, &format!("held: {why}")).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!(
            "Case {id} is held. Images being sent at this moment may still arrive. To go on: neisse cases release {id}"
        );
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
            None => decide(&facts_of(&case), &Rules::compile(&self.config)?, now),
        };
        let Disposition::Read(reading) = &decision.disposition else {
            bail!("the rules still name no reader for case {id}; name one with --to, or mend routes.toml");
        };
        let Some(reader) = reading.reader().cloned() else { bail!("the rule \"{}\" names no reader", reading.rule) };
        // Everything is owed to another reader; to the same one, only what it does not have.
        if case.reader.as_ref() != Some(&reader) {
            case.routed_to = 0;
        }
        case.take(CaseEvent::Decided)?;
        case.attention.clear();
        tx.tell(id, now, ACTOR, &format!("released to {reader} by \"{}\"", reading.rule)).await?;
        case.reader = Some(reader.clone());
        case.decision = Some(decision);
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!("Case {id} is released to {reader}.");
        Ok(())
    }

    fn by_hand(&self, case: &CaseRow, reader: &str, now: Moment) -> anyhow::Result<Decision> {
        let on_site = reader == "origin";
        let reader = if on_site { case.origin.clone() } else { PartnerId::new(reader)? };
        let known = self.config.partners.get(&reader).with_context(|| {
            let known: Vec<&str> = self.config.partners.keys().map(PartnerId::as_str).collect();
            format!("{reader} is not a partner; expected origin or one of {}", known.join(", "))
        })?;
        if !on_site && known.dicom.as_ref().is_none_or(|dicom| dicom.deliver.is_none()) {
            bail!("{reader} has no [dicom] deliver in partners/{reader}.toml: images cannot be sent there");
        }
        Ok(Decision {
            disposition: Disposition::Read(Reading {
                rule: "released by hand".into(),
                readers: vec![reader],
                also_to: Vec::new(),
                reading_mode: if on_site { ReadingMode::OnSite } else { ReadingMode::RemoteReading },
                claim_within: None,
                report_within: None,
                window_ends: None,
            }),
            reasons: vec!["a person named the reader".into()],
            rules_version: self.config.rules_version.clone(),
            decided_at: now,
        })
    }

    pub(super) async fn resend(&self, id: CaseId, all: bool) -> anyhow::Result<()> {
        let now = now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        let purged = tx.images_purged(id).await?;
        if purged > 0 {
            bail!(
                "{purged} of the {} images of case {id} have been taken off this node's disk ([retention] in neisse.toml); \
                 have {} send the study again, then repeat this command",
                case.instances,
                case.origin
            );
        }
        let again = tx.resend(id, all, now, now + self.config.delivery.give_up).await?;
        if again == 0 {
            bail!(
                "nothing of case {id} has stopped{}",
                if all { " or arrived" } else { "; with --all what had arrived is sent again" }
            );
        }
        case.attention.clear();
        tx.tell(id, now, ACTOR, &format!("{again} deliveries sent again")).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!("{again} deliveries of case {id} are owed again.");
        Ok(())
    }
}

fn now() -> Moment {
    Moment::from_utc(Utc::now())
}
