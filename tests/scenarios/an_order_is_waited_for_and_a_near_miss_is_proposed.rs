//! Where orders are expected a study waits for its own, as long as configured; what resembles each other without a number in
//! common is proposed to a person and never joined by guess; what a person links or unlinks, readers are told.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, orm},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::CaseState,
    store::CaseRow,
};
use std::time::Duration;

async fn network(footing: Footing, ris: &Hospital, otherwise: &str) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein
            .replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n")
            .replace("expected = false\n", &format!("expected = true\nwait = \"10m\"\notherwise = \"{otherwise}\"\n"));
        let chemnitz = files.get_mut("partners/chemnitz.toml").expect("the center");
        chemnitz.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n\
             [orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

async fn send(network: &Network, slices: &[SampleInstance]) {
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    for slice in slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
}

fn controls(ris: &Hospital) -> Vec<String> {
    let control = |message: &[u8]| {
        let text = String::from_utf8_lossy(message).into_owned();
        let orc = text.split('\r').find(|segment| segment.starts_with("ORC")).expect("ORC").to_owned();
        orc.split('|').skip(1).take(2).collect::<Vec<_>>().join(" ")
    };
    ris.reports().iter().map(|message| control(message)).collect()
}

/// The id of the order that is proposed on a case.
fn proposed(case: &CaseRow) -> String {
    let (_, command) = case.attention.split_once("neisse cases link ").expect("a proposal");
    command.split_whitespace().nth(1).expect("an order").trim_end_matches(';').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_waits_for_its_order_and_goes_on_without_it_when_the_time_is_over() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris, "route").await;
        let hl7 = network.node().hl7;
        let (first, slices) = head_ct(1, 3);
        send(&network, &slices).await;
        let case =
            network.case(&first.study(), "it waits", |case| case.waits_until.is_some() && case.whole.is_some()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(network.node().store.case(case.id).await.expect("the case").state, CaseState::New);
        assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &first, true)).await, "OK");
        network.case_in(&first.study(), CaseState::Delivered).await;
        eventually("the order", SOON, async || controls(&ris) == ["NW P1^KIS"]).await;

        let (second, slices) = head_ct(2, 3);
        send(&network, &slices).await;
        network.case(&second.study(), "it waits", |case| case.waits_until.is_some()).await;
        network.clock.advance(Duration::from_secs(601));
        let case = network.case_in(&second.study(), CaseState::Delivered).await;
        assert!(network.story(&case).await.contains("decided without"), "{}", network.story(&case).await);
        assert_eq!(case.attention, "");
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_near_miss_is_proposed_and_a_person_links_or_unlinks_it() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris, "hold").await;
        let hl7 = network.node().hl7;
        let patient = SampleCase { placer_order: String::new(), ..SampleCase::numbered(1) };
        let slices: Vec<SampleInstance> = sample::head_ct(3, 64, &patient).collect();
        // The accession number was mistyped, and no study is named.
        let mistyped = orm("M1", "NW", "P1", &patient, false).replace(&patient.accession, "MISTYPED");
        assert_eq!(answered(hl7, &mistyped).await, "OK");
        send(&network, &slices).await;
        let case = network.case(&patient.study(), "a proposal", |case| case.attention.contains("perhaps")).await;
        assert_eq!(case.state, CaseState::New, "it waits");
        network.clock.advance(Duration::from_secs(601));
        let case = network.case_in(&patient.study(), CaseState::Held).await;
        assert!(case.attention.contains("its order has not come in time"), "{}", case.attention);
        let (id, order) = (case.id.to_string(), proposed(&case));
        let listed = network.screen("orders", &["list", "--unjoined"]).await;
        assert!(listed.contains(&order) && !listed.contains(&patient.patient_id), "{listed}");
        assert!(network.chemnitz.arrivals().is_empty(), "nothing was joined or sent by guess");

        network.cases_screen(&["link", &id, &order, "--why", "typing error"]).await;
        network.cases_screen(&["release", &id]).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        assert_eq!(case.facts.placer_order_number, "P1");
        assert!(!case.attention.contains("perhaps"), "{}", case.attention);
        eventually("the order", SOON, async || controls(&ris) == ["NW P1^KIS"]).await;

        // It was another examination after all.
        network.cases_screen(&["unlink", &id, &order, "--why", "it is of another day"]).await;
        eventually("the withdrawal", SOON, async || controls(&ris) == ["NW P1^KIS", "CA P1^KIS"]).await;
        let case = network.node().store.case(case.id).await.expect("the case");
        assert_eq!(case.facts.placer_order_number, "");
        // The number is corrected: a person has said no, and nothing joins them again by itself.
        assert_eq!(answered(hl7, &orm("M2", "XO", "P1", &patient, true)).await, "XR");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(controls(&ris).len(), 2);

        // Never against the patient.
        let (stranger, slices) = head_ct(2, 3);
        send(&network, &slices).await;
        let other = network.case(&stranger.study(), "it waits", |case| case.waits_until.is_some()).await;
        let refused = network.cases_command(&["link", &other.id.to_string(), &order, "--why", "a guess"]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("another patient"), "{said}");
    }
}

/// What waits for its order, and is linked to one on hold, waits on.
#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_linked_to_an_order_on_hold_is_held() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris, "route").await;
        let hl7 = network.node().hl7;
        let patient = SampleCase { placer_order: String::new(), ..SampleCase::numbered(1) };
        let slices: Vec<SampleInstance> = sample::head_ct(3, 64, &patient).collect();
        let mistyped = |control_id: &str, control: &str| {
            orm(control_id, control, "P1", &patient, false).replace(&patient.accession, "MISTYPED")
        };
        assert_eq!(answered(hl7, &mistyped("M1", "NW")).await, "OK");
        assert_eq!(answered(hl7, &mistyped("M2", "HD")).await, "HR");
        send(&network, &slices).await;
        let case = network.case(&patient.study(), "a proposal", |case| case.attention.contains("perhaps")).await;
        let (id, order) = (case.id.to_string(), proposed(&case));
        network.cases_screen(&["link", &id, &order, "--why", "typing error"]).await;
        let case = network.node().store.case(case.id).await.expect("the case");
        assert_eq!(case.state, CaseState::Held);
        assert!(case.attention.contains("its order is on hold"), "{}", case.attention);
        assert!(network.chemnitz.arrivals().is_empty());
        assert_eq!(answered(hl7, &mistyped("M3", "RL")).await, "OR");
        network.cases_screen(&["release", &id]).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        network.at_rest().await;
    }
}
