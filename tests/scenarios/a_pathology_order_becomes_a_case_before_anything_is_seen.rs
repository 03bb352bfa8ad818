//! Tissue is ordered before there is an image: the order is a case of its own, goes to the institute of pathology with its
//! specimens, is added to, hurried and taken back, and its report comes home.

use crate::support::{
    center::Center,
    eventually,
    hospital::Hospital,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{ask, oml, order, specimen},
};
use neisse::{
    model::{CaseState, DeliveryKind, Discipline, Lane, Priority},
    store::CaseRow,
};

async fn network(footing: Footing, laboratory: &Hospital) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T08:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein
            .replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n")
            .replace("[orders]\n", "[orders]\nfrozen = [\"FS\"]\n");
        files.get_mut("partners/chemnitz.toml").expect("the institute").push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"LIS\", facility = \"PATHO\" }}\n\
             [orders]\ndeliver = true\n",
            laboratory.port
        ));
    })
    .await
}

/// MSH-9.2, then ORC-1 and ORC-2 of each order and SPM-2 of each specimen, of what the laboratory got.
fn got(laboratory: &Hospital) -> Vec<String> {
    let short = |message: &[u8]| {
        let text = String::from_utf8(message.to_vec()).expect("UTF-8");
        let field = |segment: &str, n: usize| segment.split('|').nth(n).unwrap_or_default().to_owned();
        let parts = text.split('\r').filter_map(|segment| match segment.get(..3) {
            Some("MSH") => field(segment, 8).split('^').nth(1).map(str::to_owned),
            Some("ORC") => Some(format!("{} {}", field(segment, 1), field(segment, 2))),
            Some("SPM") => Some(field(segment, 2)),
            _ => None,
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    laboratory.reports().iter().map(|message| short(message)).collect()
}

async fn has_got(laboratory: &Hospital, number: usize) -> String {
    eventually(&format!("{number} messages at the laboratory"), SOON, async || got(laboratory).len() >= number).await;
    got(laboratory).remove(number - 1)
}

async fn case_of(network: &Network, patient: &str) -> CaseRow {
    let mut cases: Vec<CaseRow> = network.cases().await;
    cases.retain(|case| case.facts.patient_id.value == patient);
    assert_eq!(cases.len(), 1, "one case of {patient}");
    cases.remove(0)
}

async fn delivered(network: &Network, patient: &str) -> CaseRow {
    eventually("its order has arrived", SOON, async || {
        network
            .cases()
            .await
            .iter()
            .any(|case| case.facts.patient_id.value == patient && case.state == CaseState::Delivered)
    })
    .await;
    case_of(network, patient).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pathology_order_becomes_a_case_before_anything_is_seen() {
    for footing in BOTH {
        let laboratory = Hospital::start().await;
        let network = network(footing, &laboratory).await;
        let hl7 = network.node().hl7;

        // Two stains of one biopsy: one request, one case, one message.
        let (first, second) = (order("NW", "P1", "G1", "HE^H and E^L"), order("NW", "P2", "G1", "PAS^PAS^L"));
        let message = oml("O21", "M1", "SYN-1", &[&first, &specimen("S1", ""), &second, &specimen("S1", "")]);
        let answer = ask(hl7, &message).await;
        assert!(answer[0].contains("|ORL^O22^ORL_O22|"), "{answer:?}");
        let rest = ["MSA|AA|M1", "PID|||SYN-1^^^RABENSTEIN||Doe^Jane", "ORC|OK|P1^KIS|", "ORC|OK|P2^KIS|"];
        assert_eq!(answer[1..], rest.map(str::to_owned));
        assert_eq!(ask(hl7, &message).await, answer, "the same message again gets the same answer");
        let case = delivered(&network, "SYN-1").await;
        assert_eq!((case.discipline, case.priority, case.has_study), (Discipline::Pathology, Priority::Routine, false));
        assert_eq!(has_got(&laboratory, 1).await, "O21, NW P1^KIS, S1&KIS, NW P2^KIS, S1&KIS");

        // A test added to the block of that specimen, under a number of its own.
        let added = oml("O21", "M2", "SYN-1", &[&order("NW", "P3", "", "IHC^Ki-67^L"), &specimen("B1", "S1")]);
        assert_eq!(ask(hl7, &added).await[3], "ORC|OK|P3^KIS|");
        assert_eq!(has_got(&laboratory, 2).await, "O21, NW P3^KIS, B1&KIS");
        // By the group alone, without a specimen.
        let grouped = oml("O21", "M3", "SYN-1", &[&order("NW", "P4", "G1", "GIE^Giemsa^L")]);
        assert_eq!(ask(hl7, &grouped).await[3], "ORC|OK|P4^KIS|");
        assert_eq!(has_got(&laboratory, 3).await, "O21, NW P4^KIS");
        // Taken back: the others go on.
        let cancelled = oml("O21", "M4", "SYN-1", &[&order("CA", "P3", "", "IHC^Ki-67^L")]);
        assert_eq!(ask(hl7, &cancelled).await[3], "ORC|CR|P3^KIS|");
        assert_eq!(has_got(&laboratory, 4).await, "O21, CA P3^KIS");
        let story = network.story(&case).await;
        for what in ["begun by its 2 orders", "joined to its order (specimen)", "joined to its order (group number)"] {
            assert!(story.contains(what), "{what}: {story}");
        }
        assert_eq!(delivered(&network, "SYN-1").await.attention, "", "nobody needs to phone");

        // The report names the order and comes home, without a study nobody has seen.
        let report = "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261126||ORU^R01^ORU_R01|R1|P|2.5.1||||||UNICODE UTF-8\r\
             PID|1||SYN-1^^^RABENSTEIN||Doe^Jane\r\
             OBR|1|P1^KIS|E26-1^LIS|HE^H and E^L|||||||||||||||||||||F\r\
             OBX|1|FT|HE^H and E^L|1|no malignancy||||||F\r";
        let acknowledged = network.chemnitz.send_hl7(hl7, report.as_bytes(), "R1").await;
        assert_eq!(acknowledged.code.as_str(), "AA");
        eventually("the report is at home", SOON, async || network.hospital.reports().len() == 1).await;
        let home = String::from_utf8_lossy(&network.hospital.reports()[0]).into_owned();
        assert!(home.contains("|P1^KIS|") && home.contains("no malignancy"), "{home}");
        assert!(!home.contains(case.study.as_str()) && !home.contains("113014"), "{home}");
        assert_eq!(case_of(&network, "SYN-1").await.state, CaseState::Reported);
        // Another of its orders is answered by its own number.
        let second = report.replace("|R1|", "|R2|").replace("P1^KIS|E26-1", "P4^KIS|E26-2");
        assert_eq!(network.chemnitz.send_hl7(hl7, second.as_bytes(), "R2").await.code.as_str(), "AA");
        eventually("both are at home", SOON, async || network.hospital.reports().len() == 2).await;
        let home = String::from_utf8_lossy(&network.hospital.reports()[1]).into_owned();
        assert!(home.contains("|P4^KIS|") && !home.contains("P1^KIS"), "{home}");
        // A laboratory's system may name the specimen alone.
        let third = "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261127||OUL^R22^OUL_R22|R3|P|2.5.1||||||UNICODE UTF-8\r\
             PID|1||SYN-1^^^RABENSTEIN||Doe^Jane\rSPM|1|B1&KIS||BLK^Block^L\r\
             OBR|1||E26-3^LIS|IHC^Ki-67^L|||||||||||||||||||||F\r\
             OBX|1|FT|IHC^Ki-67^L|1|low||||||F\r";
        assert_eq!(network.chemnitz.send_hl7(hl7, third.as_bytes(), "R3").await.code.as_str(), "AA");
        eventually("all are at home", SOON, async || network.hospital.reports().len() == 3).await;
        assert!(network.story(&case).await.contains("from chemnitz (specimen)"));
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specimen_with_its_orders_and_a_frozen_section_come_the_same_way() {
    for footing in BOTH {
        let laboratory = Hospital::start().await;
        let network = network(footing, &laboratory).await;
        let hl7 = network.node().hl7;

        // Somebody waits at the operating table.
        let frozen = oml("O33", "M1", "SYN-1", &[&specimen("S1", ""), &order("NW", "P1", "", "FS^Frozen section^L")]);
        let answer = ask(hl7, &frozen).await;
        assert!(answer[0].contains("|ORL^O34^ORL_O34|"), "{answer:?}");
        assert_eq!(answer[3..], ["SPM|1|S1&KIS||BX^Biopsy^L", "ORC|OK|P1^KIS|"].map(str::to_owned));
        let case = delivered(&network, "SYN-1").await;
        assert_eq!(case.priority, Priority::Stat);
        let lanes: Vec<_> = network.ledger(&case).await.iter().map(|row| (row.kind, row.lane)).collect();
        assert_eq!(lanes, [(DeliveryKind::Message, Lane::Stat)]);

        // Two pots of one specimen, each with its order.
        let pots = ["SAC|||C1^KIS\r", "SAC|||C2^KIS\r"];
        let (one, two) = (order("NW", "P2", "", "HE^HE^L"), order("NW", "P3", "", "PAS^PAS^L"));
        let containers = oml("O35", "M2", "SYN-2", &[&specimen("S2", ""), pots[0], &one, pots[1], &two]);
        let answer = ask(hl7, &containers).await;
        assert!(answer[0].contains("|ORL^O36^ORL_O36|"), "{answer:?}");
        let rest = ["SPM|1|S2&KIS||BX^Biopsy^L", "SAC|||C1^KIS", "ORC|OK|P2^KIS|", "SAC|||C2^KIS", "ORC|OK|P3^KIS|"];
        assert_eq!(answer[3..], rest.map(str::to_owned));
        let case = delivered(&network, "SYN-2").await;
        assert_eq!(case.priority, Priority::Routine);
        assert_eq!(has_got(&laboratory, 2).await, "O35, S2&KIS, NW P2^KIS, NW P3^KIS");
        let screen = network.cases_screen(&["show", &case.id.to_string()]).await;
        assert!(screen.contains("pathology, no study yet, routine priority"), "{screen}");

        // The same label on another patient's tissue is a mistake somebody must look at.
        let mixed = oml("O21", "M3", "SYN-3", &[&order("NW", "P4", "", "HE^HE^L"), &specimen("S2", "")]);
        assert_eq!(ask(hl7, &mixed).await[3], "ORC|OK|P4^KIS|");
        let other = delivered(&network, "SYN-3").await;
        assert!(other.attention.contains("specimen of another patient"), "{}", other.attention);

        // What cannot be read is refused with its place, and nothing of it is kept.
        let broken = oml("O21", "M4", "SYN-4", &[&order("NW", "P5", "", "HE^HE^L"), "SPM|1|S9&KIS\r"]);
        let answer = ask(hl7, &broken).await;
        assert!(answer[1].starts_with("MSA|AE|M4") && answer[2].contains("SPM^1^4"), "{answer:?}");
        assert!(network.cases().await.iter().all(|case| case.facts.patient_id.value != "SYN-4"));
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_institute_that_takes_no_orders_gets_none_and_a_person_is_told() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T08:10");
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await;
    let message = oml("O21", "M1", "SYN-1", &[&order("NW", "P1", "", "HE^HE^L"), &specimen("S1", "")]);
    assert_eq!(ask(network.node().hl7, &message).await[3], "ORC|OK|P1^KIS|");
    eventually("it is held", SOON, async || network.cases().await.iter().any(|case| case.state == CaseState::Held))
        .await;
    let case = case_of(&network, "SYN-1").await;
    assert!(case.attention.contains("takes no orders"), "{}", case.attention);
    // Cancelled before anybody had it: it stays held, for good.
    let cancelled = oml("O21", "M2", "SYN-1", &[&order("CA", "P1", "", "HE^HE^L")]);
    assert_eq!(ask(network.node().hl7, &cancelled).await[3], "ORC|CR|P1^KIS|");
    assert_eq!(case_of(&network, "SYN-1").await.state, CaseState::Held);
    network.at_rest().await;
}
