//! Where a laboratory's images of a specimen go: to the hospital that asked, without any rule, whichever came first.
//!
//! In: a case whose orders are another hospital's. Out: the decision. Pure but for the look at its orders.

use crate::{
    config::Config,
    model::{Decision, Disposition, Moment, PartnerId, Reading, ReadingMode},
    store::{CaseRow, StoreError, Tx},
};

/// What stands in the place of a rule's name.
pub const RULE: &str = "images of a specimen go to the hospital that asked";

/// Whose orders the case answers, where they are not its origin's own.
///
/// # Errors
/// When the database fails.
pub async fn askers(tx: &mut Tx, case: &CaseRow) -> Result<Vec<PartnerId>, StoreError> {
    let mut askers = Vec::new();
    for id in tx.orders_joined(case.id).await? {
        let asker = tx.order_as_it_is(id).await?.map(|order| order.origin).filter(|origin| *origin != case.origin);
        askers.extend(asker.filter(|asker| !askers.contains(asker)));
    }
    Ok(askers)
}

/// The decision for images of these hospitals' specimens. None: they are of nobody else's, and the rules decide.
pub fn decide(askers: &[PartnerId], config: &Config, now: Moment) -> Option<Decision> {
    let takes_images = |id: &PartnerId| {
        let dicom = config.partners.get(id).and_then(|partner| partner.dicom.as_ref());
        dicom.is_some_and(|dicom| dicom.deliver.is_some())
    };
    let disposition = match askers {
        [] => return None,
        [asker] if takes_images(asker) => Disposition::Read(Reading {
            rule: RULE.to_owned(),
            readers: vec![asker.clone()],
            also_to: Vec::new(),
            reading_mode: ReadingMode::RemoteReading,
            claim_within: None,
            // They go with the report, and none is expected of them.
            report_within: None,
            window_ends: None,
        }),
        [asker] => Disposition::Hold {
            reason: format!("images of a specimen of {asker}, which has no [dicom] deliver: they cannot be sent there"),
        },
        _ => {
            Disposition::Hold { reason: "images of specimens of several hospitals: a person must say where".to_owned() }
        }
    };
    let reason = match &disposition {
        Disposition::Read(_) => RULE.to_owned(),
        Disposition::Hold { reason } => format!("held: {reason}"),
    };
    Some(Decision { disposition, reasons: vec![reason], rules_version: config.rules_version.clone(), decided_at: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_a_specimen_go_to_the_one_hospital_that_asked_and_takes_images() {
        let config = crate::config::load(std::path::Path::new("config")).expect("the example");
        let id = |name: &str| PartnerId::new(name).expect("an id");
        let held = |askers: &[PartnerId]| match decide(askers, &config, Moment(0)).map(|decision| decision.disposition)
        {
            Some(Disposition::Read(reading)) => Err(reading.readers),
            Some(Disposition::Hold { reason }) => Ok(reason),
            None => Ok(String::new()),
        };
        assert_eq!(held(&[]), Ok(String::new()), "the rules decide");
        assert_eq!(held(&[id("rabenstein")]), Err(vec![id("rabenstein")]));
        assert!(held(&[id("nobody")]).is_ok_and(|reason| reason.contains("no [dicom] deliver")));
        assert!(held(&[id("rabenstein"), id("lichtenstein")]).is_ok_and(|reason| reason.contains("several hospitals")));
    }
}
