//! A case was given to Chemnitz in part and then to Leipzig; what Chemnitz was given it still finds, counted by itself, and
//! neither the rest nor what comes later. Leipzig, while it is the reader, and whoever was given everything find all of it.

use crate::support::{
    carrier::partner,
    center::Center,
    hospital::{Scanner, head_ct, send_study},
    ledger::{Ledger, NOW, Raw, both, images, rabenstein, received},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    orders::ask,
    readers::{Reader, said},
    workstation::asked,
};
use neisse::{
    intake::matching::join,
    model::{CaseId, CaseState, Lane, ReceivedInstance, Uid},
    store::{FoundStudy, NewDelivery, SearchBy, Searched, StudySearch},
};
use serde_json::{Value, json};

const STUDY: &str = "1.2.3";

#[tokio::test(flavor = "multi_thread")]
async fn a_former_reader_finds_what_it_was_given() {
    for ledger in both().await {
        // Six of a first series, four of a second.
        let all: Vec<ReceivedInstance> = (1..=10).map(of_its_series).collect();
        let case = arrive(&ledger, &all).await;
        for (to, first_seq, last_seq) in
            [("chemnitz", 2, 3), ("chemnitz", 4, 4), ("chemnitz", 8, 8), ("copy", 6, 10), ("copy", 1, 5)]
        {
            give(&ledger, case, to, first_seq, last_seq).await;
        }
        // Withdrawn before it left.
        let gone = give(&ledger, case, "chemnitz", 5, 6).await;
        ledger
            .raw
            .run(&format!("UPDATE deliveries SET state = 'withdrawn', finished_us = 1 WHERE id = '{gone}'"))
            .await;
        is_read_by(&ledger, case, "leipzig-ukl").await;

        assert_eq!(seen(&ledger, "chemnitz").await, (vec![2, 3, 4, 8], 2, 4), "{}", ledger.name);
        for whole in ["rabenstein", "leipzig-ukl", "copy"] {
            assert_eq!(seen(&ledger, whole).await, ((1..=10).collect(), 2, 10), "{}: {whole}", ledger.name);
        }
        series_are_counted_as_they_are_seen(&ledger).await;

        // More comes, owed to nobody yet. The case is held: nobody reads it.
        arrive(&ledger, &[of_its_series(11)]).await;
        assert_eq!(seen(&ledger, "leipzig-ukl").await.2, 11);
        ledger.raw.run("UPDATE cases SET state = 'held'").await;
        assert_eq!(seen(&ledger, "chemnitz").await, (vec![2, 3, 4, 8], 2, 4));
        assert_eq!(seen(&ledger, "copy").await, ((1..=10).collect(), 2, 10));
        assert_eq!(seen(&ledger, "rabenstein").await.2, 11);
        assert!(study(&ledger, "leipzig-ukl").await.is_none(), "it was given nothing yet");
    }
}

fn of_its_series(number: u8) -> ReceivedInstance {
    let series = format!("{STUDY}.0.{}", if number <= 6 { 1 } else { 2 });
    ReceivedInstance { series: Uid::new(&series).expect("a UID"), ..received(STUDY, number, number) }
}

async fn arrive(ledger: &Ledger, batch: &[ReceivedInstance]) -> CaseId {
    let mut tx = ledger.begin().await;
    let done = join(&mut tx, None, &rabenstein(), &batch[0].study, batch, NOW).await.expect("joined");
    tx.commit().await.expect("a commit");
    done.expect("a case").case
}

async fn give(ledger: &Ledger, case: CaseId, to: &str, first_seq: i64, last_seq: i64) -> neisse::model::DeliveryId {
    let whole = ledger.store.case(case).await.expect("the case");
    let owed = NewDelivery { first_seq, last_seq, ..images(&whole, to, Lane::Routine) };
    ledger.owe(&owed).await
}

async fn is_read_by(ledger: &Ledger, case: CaseId, reader: &str) {
    ledger.raw.run(&format!("UPDATE cases SET reader = '{reader}', searchable = 1 WHERE id = '{case}'")).await;
    let row = ledger.store.case(case).await.expect("the case");
    let mut tx = ledger.begin().await;
    // As the first delivery to it does.
    let owed = NewDelivery { first_seq: 1, last_seq: 1, ..images(&row, reader, Lane::Routine) };
    let id = tx.owe(&owed).await.expect("owed");
    tx.commit().await.expect("a commit");
    ledger.raw.run(&format!("UPDATE deliveries SET state = 'withdrawn', finished_us = 1 WHERE id = '{id}'")).await;
}

async fn study(ledger: &Ledger, searches: &str) -> Option<FoundStudy> {
    let by = SearchBy::Studies(vec![STUDY.into()]);
    let search = StudySearch { partner: partner(searches), by, from: None, to: None };
    ledger.store.search_studies(&search, None, 10).await.expect("searched").pop()
}

/// Numbers of the instances it finds, in pages of three; and how many series and instances its answer counts.
async fn seen(ledger: &Ledger, searches: &str) -> (Vec<i64>, i64, i64) {
    let study = study(ledger, searches).await.expect("its study");
    let (mut found, mut after) = (Vec::new(), Some(0));
    while let Some(behind) = after {
        let page = ledger.store.instances_of(&study, &Searched::default(), behind, 3).await.expect("instances");
        found.extend(page.instances.iter().map(|instance| instance.seq));
        after = page.next;
    }
    (found, study.series, study.instances)
}

async fn series_are_counted_as_they_are_seen(ledger: &Ledger) {
    for (searches, expected) in [("chemnitz", [("1", 3), ("2", 1)]), ("leipzig-ukl", [("1", 6), ("2", 4)])] {
        let study = study(ledger, searches).await.expect("its study");
        assert_eq!(study.modalities, ["CT"]);
        let series = ledger.store.series_of(&study, "", 10).await.expect("series");
        let counts: Vec<(&str, i64)> = series
            .iter()
            .map(|series| (series.series_uid.rsplit('.').next().unwrap_or_default(), series.instances))
            .collect();
        assert_eq!(counts, expected, "{}: {searches}", ledger.name);
        let second = Uid::new(&format!("{STUDY}.0.2")).expect("a UID");
        let second = ledger.store.one_series(&study, &second).await.expect("looked up");
        assert_eq!(second.map(|series| series.instances), Some(expected[1].1));
        let unseen = Searched { instances: vec![format!("{STUDY}.5")], series: Vec::new() };
        let page = ledger.store.instances_of(&study, &unseen, 0, 10).await.expect("instances");
        assert_eq!(page.instances.len(), usize::from(searches != "chemnitz"), "{searches}");
    }
}

/// Its task is canceled, and says no more of the case than it was given then: not the name and the number that the patient has now,
/// nor the images that have come since. By DIMSE and by HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_reader_is_told_of_its_task_what_it_was_given() {
    for footing in BOTH {
        let network = network(footing).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let (patient, slices) = head_ct(1, 5);
        send_study(network.node().dicom, &slices[..3]).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let was = chemnitz.tasks("includefield=all").await.remove(0);
        let uid = said(&was, "00080018");
        let id = case.id.to_string();
        network.cases_screen(&["hold", &id, "--why", "another reader"]).await;
        network.cases_screen(&["release", &id, "--to", "leipzig-ukl"]).await;
        for (event, rest) in [("A08", "SYN-000001||Umbenannt^Ute\r"), ("A40", "NEU-7||Umbenannt^Ute\rMRG|SYN-000001\r")]
        {
            let message = format!(
                "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124230000||ADT^{event}|{event}|P|2.5||||||8859/1\r\
                 EVN||20261124230000\rPID|1||{rest}"
            );
            let answer = ask(network.node().hl7, &message).await;
            assert!(answer[1].starts_with("MSA|AA|"), "{answer:?}");
        }
        let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
        for slice in &slices[3..] {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        scanner.release().await;
        network.case(&patient.study(), "the late slices", |case| case.instances == 5).await;
        network.until_delivered(&case, "leipzig-ukl").await;

        let late: Vec<&str> = slices[3..].iter().map(|slice| slice.sop_instance.as_str()).collect();
        for told in told_of(&network, &chemnitz, &uid).await {
            let text = told.to_string();
            assert_eq!(said(&told, "00741000"), "CANCELED");
            for tag in ["00100010", "00100020", "0020000D"] {
                assert_eq!(told[tag], was[tag], "{footing:?}: {tag}");
            }
            assert!(!text.contains("NEU-7") && !text.contains("Umbenannt"), "{footing:?}: {text}");
            assert!(!late.iter().any(|late| text.contains(late)), "{footing:?}: {text}");
        }
        assert_eq!(instances(&chemnitz.task(&uid).await), 3);
        assert!(chemnitz.tasks("PatientID=NEU-7").await.is_empty());
        // Who reads it now, and whose case it is, know it as it is.
        let leipzig = Reader::of(&network, "leipzig-ukl", "WS2").await;
        let next = said(&leipzig.tasks("ProcedureStepState=SCHEDULED").await[0], "00080018");
        let rabenstein = Reader::of(&network, "rabenstein", "KIS").await;
        for (who, uid) in [(&leipzig, &next), (&rabenstein, &uid)] {
            let now = who.task(uid).await;
            assert_eq!((said(&now, "00100020").as_str(), instances(&now)), ("NEU-7", 5), "{now}");
        }
        // One that had ended before that was kept says nothing of the patient.
        let raw = Raw::of(&network, footing).await;
        raw.run("UPDATE tasks SET ended_facts = ''").await;
        for told in told_of(&network, &chemnitz, &uid).await {
            for tag in ["00100010", "00100020"] {
                assert_eq!(said(&told, tag), "null", "{told}");
            }
        }
        network.at_rest().await;
    }
}

async fn network(footing: Footing) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await
}

/// Retrieved and found, over both wires.
async fn told_of(network: &Network, reader: &Reader, uid: &str) -> Vec<Value> {
    let mut keys = json!({ "00741000": { "vr": "CS", "Value": ["CANCELED"] } });
    for (tag, vr) in
        [("00080018", "UI"), ("00100010", "PN"), ("00100020", "LO"), ("0020000D", "UI"), ("00404021", "SQ")]
    {
        keys[tag] = json!({ "vr": vr });
    }
    let steps = json!([{ "do": "get", "uid": uid }, { "do": "find", "set": keys }]);
    let told = asked(network, "CHEMNITZ", steps).await;
    let mut all = vec![told[0]["set"].clone(), told[1]["set"][0].clone(), reader.task(uid).await];
    all.extend(reader.tasks("ProcedureStepState=CANCELED&includefield=all").await);
    assert_eq!(all.len(), 4, "{told}");
    all
}

fn instances(task: &Value) -> usize {
    let series = task["00404021"]["Value"].as_array().expect("series");
    series.iter().map(|series| series["00081199"]["Value"].as_array().map_or(0, Vec::len)).sum()
}
