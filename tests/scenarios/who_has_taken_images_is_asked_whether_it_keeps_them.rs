//! Centers that are asked for a storage commitment: pynetdicom, which answers on the same association, on its own, with a failure, or
//! not at all and after a restart; and an unmodified Orthanc. Until it is answered the images stay on the disk; what is missing is
//! told a person, and gone when sent again. Who was not asked, or speaks of what was not asked for, is refused. What cannot be read in
//! the database waits by itself, before a person, until it is mended.

use crate::support::{
    center::Center,
    eventually, free_port,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    network_side::NetworkSide,
    orthanc::Orthanc,
};
use neisse::{
    model::{CaseState, DeliveryState, Uid},
    store::{CaseRow, Durability, PurgeBefore},
};
use serde_json::{Value, json};
use std::time::Duration;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const WITHIN: Duration = Duration::from_secs(600);
/// What is delivered within this time is asked for at once.
const GATHERED: Duration = Duration::from_secs(10);
const COMMITTED: &str = "3 images: chemnitz has committed them";

/// A node at this port whose reader, at that one, is asked.
async fn network(footing: Footing, port: u16, reader: u16) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = chemnitz.port;
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let mut change = |name: &str, from: &str, to: &str| {
            let file = files.get_mut(name).expect("a file");
            assert!(file.contains(from), "{file}");
            *file = file.replacen(from, to, 1);
        };
        let asked = format!("port = {reader}, commitment = true");
        change("partners/chemnitz.toml", &format!("port = {at}"), &asked);
        let dicom = format!("[dicom]\nlisten = \"127.0.0.1:{port}\"\ncommitment_within = \"10m\"\n");
        change("neisse.toml", "[dicom]\nlisten = \"127.0.0.1:0\"\n", &dicom);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_taken_images_is_asked_whether_it_keeps_them() {
    for footing in BOTH {
        let (side, port) = (NetworkSide::start().await, free_port());
        let archive = side.ask(json!({ "do": "archive", "ae_title": "CHEMNITZ", "calls": port })).await;
        let archive = u16::try_from(archive.as_u64().expect("a port")).expect("16 bits");
        let network = network(footing, port, archive).await;
        let raw = Raw::of(&network, footing).await;
        let mut scene = Scene { network, side, raw };
        scene.it_answers_where_it_was_asked().await;
        scene.what_it_lacks_is_sent_again().await;
        scene.a_restart_forgets_nothing().await;
        scene.its_silence_is_told_and_a_late_answer_counts().await;
        scene.what_cannot_be_read_waits_by_itself().await;
        scene.network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orthanc_that_is_asked_commits_what_it_has() {
    for footing in BOTH {
        let port = free_port();
        let neisse = json!({ "DicomModalities": { "neisse": ["NEISSE", "127.0.0.1", port] } });
        let orthanc = Orthanc::start_with("CHEMNITZ", neisse).await;
        let network = network(footing, port, orthanc.dicom_port).await;
        let (patient, slices) = head_ct(31, 3);
        send_study(network.node().dicom, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        eventually("Orthanc commits", SOON, async || network.story(&case).await.contains(COMMITTED)).await;
        assert_eq!(orthanc.instance_count().await, 3);
        assert_eq!(network.node().store.case(case.id).await.expect("the case").attention, "");
        network.at_rest().await;
    }
}

struct Scene {
    network: Network,
    side: NetworkSide,
    raw: Raw,
}

impl Scene {
    async fn behaves(&self, answers: &str, lacks: usize) {
        let manners = json!({ "do": "behaves", "ae_title": "CHEMNITZ", "answers": answers, "lacks": lacks });
        self.side.ask(manners).await;
    }

    /// What the archive was asked about this study, in order.
    async fn asked(&self, instances: &[String]) -> Vec<Value> {
        let all = self.side.ask(json!({ "do": "asked_to_commit", "ae_title": "CHEMNITZ" })).await;
        let is_about =
            |one: &&Value| one["instances"][0][1].as_str().is_some_and(|uid| instances.iter().any(|i| i == uid));
        all.as_array().expect("a list").iter().filter(is_about).cloned().collect()
    }

    async fn is_asked(&self, instances: &[String], times: usize) -> Vec<Value> {
        let mut asked = Vec::new();
        eventually("it is asked", SOON, async || {
            asked = self.asked(instances).await;
            asked.len() >= times
        })
        .await;
        assert_eq!(asked.len(), times, "{asked:?}");
        asked
    }

    async fn study(&self, number: u64) -> (CaseRow, Vec<String>) {
        let (patient, slices) = head_ct(number, 3);
        send_study(self.network.node().dicom, &slices).await;
        let case = self.network.case_in(&patient.study(), CaseState::Delivered).await;
        self.network.clock.advance(GATHERED);
        (case, slices.iter().map(|slice| slice.sop_instance.as_str().to_owned()).collect())
    }

    async fn story_has(&self, case: &CaseRow, words: &str) {
        eventually(words, SOON, async || self.network.story(case).await.contains(words)).await;
    }

    async fn attention(&self, case: &CaseRow) -> String {
        self.network.node().store.case(case.id).await.expect("the case").attention
    }

    async fn say(&self, calling: &str, transaction: &Value, kept: &[(&str, &str)], r#type: u16) -> Value {
        let port = self.network.dicom_port();
        let said = json!({ "do": "say_committed", "port": port, "calling": calling, "transaction": transaction, "kept": kept, "failed": [], "type": r#type });
        self.side.ask(said).await
    }

    async fn it_answers_where_it_was_asked(&self) {
        let (case, instances) = self.study(21).await;
        self.story_has(&case, COMMITTED).await;
        let asked = self.is_asked(&instances, 1).await;
        let each: Vec<[&str; 2]> = instances.iter().map(|uid| [CT, uid]).collect();
        assert_eq!(asked[0]["instances"], json!(each));
        assert!(Uid::new(asked[0]["transaction"].as_str().expect("text")).is_ok());
    }

    async fn what_it_lacks_is_sent_again(&self) {
        self.behaves("own", 1).await;
        let (case, instances) = self.study(22).await;
        self.story_has(&case, "chemnitz has not committed 1 of 3 images (1 no such object instance (0112))").await;
        let reason = "chemnitz has not committed all of its images: see the story, then neisse cases resend";
        assert_eq!(self.attention(&case).await, format!("{reason} {} --all", case.id));
        self.behaves("own", 0).await;
        let mut tx = self.network.node().store.begin(Durability::Synced).await.expect("the store");
        let now = self.network.clock.now();
        assert!(tx.resend(case.id, true, now, now + WITHIN).await.expect("the store").again > 0);
        tx.commit().await.expect("a commit");
        eventually("all of it is there again", SOON, async || {
            let rows = self.network.ledger(&case).await;
            rows.iter().all(|row| row.state == DeliveryState::Delivered)
        })
        .await;
        self.network.clock.advance(GATHERED);
        self.story_has(&case, COMMITTED).await;
        let asked = self.is_asked(&instances, 2).await;
        assert_ne!(asked[0]["transaction"], asked[1]["transaction"]);
        assert_eq!(self.attention(&case).await, "");
    }

    async fn a_restart_forgets_nothing(&mut self) {
        self.behaves("never", 0).await;
        let (case, instances) = self.study(23).await;
        let asked = self.is_asked(&instances, 1).await;
        let transaction = &asked[0]["transaction"];
        assert!(!self.may_leave(&case).await, "images whose commitment is awaited stay");
        self.network.restart().await;
        let kept: Vec<(&str, &str)> = instances.iter().map(|uid| (CT, uid.as_str())).collect();
        let many = vec![(CT, "1.2.3"); 40_000];
        for (calling, transaction, kept, r#type, status, why) in [
            ("RAB_PACS", transaction, &kept[..], 1, 0x0115, "another was asked"),
            ("CHEMNITZ", &json!("2.25.1.1"), &kept[..], 1, 0x0115, "nobody was asked that"),
            ("CHEMNITZ", &json!("1.2.3"), &kept[..], 1, 0x0115, "no transaction of ours"),
            ("CHEMNITZ", transaction, &[kept[0], (CT, "1.2.3")][..], 1, 0x0115, "not asked for"),
            ("CHEMNITZ", transaction, &kept[..], 3, 0x0113, "no such event"),
            ("CHEMNITZ", transaction, &many[..], 1, 0x0110, "more than is read"),
        ] {
            assert_eq!(self.say(calling, transaction, kept, r#type).await, status, "{why}");
        }
        assert!(!self.may_leave(&case).await);
        for _ in 0..2 {
            assert_eq!(self.say("CHEMNITZ", transaction, &kept, 1).await, 0);
        }
        let story = self.network.story(&case).await;
        assert_eq!(story.matches(COMMITTED).count(), 1, "said twice, it is told once: {story}");
        assert!(self.may_leave(&case).await);
        // A failure that follows changes nothing.
        assert_eq!(self.say("CHEMNITZ", transaction, &[], 2).await, 0);
        assert_eq!(self.attention(&case).await, "");
    }

    async fn may_leave(&self, case: &CaseRow) -> bool {
        let ever = self.network.clock.now() + Duration::from_secs(3600);
        let before = PurgeBefore { reported: Some(ever), unreported: Some(ever) };
        self.network.node().store.cases_to_purge(before, 1_000).await.expect("the store").contains(&case.id)
    }

    async fn its_silence_is_told_and_a_late_answer_counts(&self) {
        let (case, instances) = self.study(24).await;
        for times in 1..=3 {
            self.is_asked(&instances, times).await;
            // Taken, and waited for.
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.network.clock.advance(WITHIN);
        }
        self.story_has(&case, "chemnitz was asked 3 times to commit 3 images, and did not answer").await;
        assert!(self.attention(&case).await.starts_with("chemnitz does not say whether it keeps the images"));
        let asked = self.is_asked(&instances, 3).await;
        let kept: Vec<(&str, &str)> = instances.iter().map(|uid| (CT, uid.as_str())).collect();
        assert_eq!(self.say("CHEMNITZ", &asked[0]["transaction"], &kept, 1).await, 0);
        self.story_has(&case, COMMITTED).await;
        assert_eq!(self.attention(&case).await, "");
    }

    /// The UID of an instance, and what is to be asked of a study to which an image comes late.
    async fn what_cannot_be_read_waits_by_itself(&self) {
        self.behaves("own", 0).await;
        let (patient, slices) = head_ct(25, 3);
        send_study(self.network.node().dicom, &slices).await;
        let nameless = self.network.case_in(&patient.study(), CaseState::Delivered).await;
        let of_it = format!("WHERE case_id = '{}' AND seq = 1", nameless.id);
        self.raw.run(&format!("UPDATE instances SET sop_uid = '!' || sop_uid {of_it}")).await;

        let (patient, slices) = head_ct(26, 3);
        send_study(self.network.node().dicom, &slices[..2]).await;
        let late = self.network.case_in(&patient.study(), CaseState::Delivered).await;
        let of_late = format!("WHERE case_id = '{}'", late.id);
        self.raw.run(&format!("UPDATE asked_commitments SET runs = '!' || runs {of_late}")).await;
        send_study(self.network.node().dicom, &slices[2..]).await;
        let owed = format!("SELECT CAST(COUNT(*) AS TEXT) FROM asked_commitments {of_late}");
        eventually("the late image is delivered, and asked for", SOON, async || self.raw.ask(&owed).await == "2").await;

        let (other, _) = self.study(27).await;
        self.story_has(&other, COMMITTED).await;
        for spoilt in [&nameless, &late] {
            let unsettled = "it cannot be settled what chemnitz keeps: see the log";
            eventually("a person is told", SOON, async || self.attention(spoilt).await == unsettled).await;
        }
        self.raw.run(&format!("UPDATE instances SET sop_uid = substr(sop_uid, 2) {of_it}")).await;
        let spoilt = format!("{of_late} AND runs LIKE '!%'");
        self.raw.run(&format!("UPDATE asked_commitments SET runs = substr(runs, 2) {spoilt}")).await;
        self.network.clock.advance(WITHIN);
        for mended in [&nameless, &late] {
            self.story_has(mended, COMMITTED).await;
            assert_eq!(self.attention(mended).await, "");
        }
    }
}
