//! Retention, with the clock moved: images of a reported case leave the disk after their time, one by one where they
//! share a journal and with the journal where they do not; what is not done stays; what comes again is there again.

use crate::support::{
    blocking,
    center::{About, Center, Manners, oru},
    dcmtk::files_in,
    eventually,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    process,
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    dicom::status::StoreStatus,
    model::{CaseState, DeliveryState},
    store::CaseRow,
};
use std::{os::unix::fs::MetadataExt, path::PathBuf, process::Command, time::Duration};

/// What one slice of these leaves behind it, bytes: its whole blocks but that of its header. The file system may take a
/// block of its own to remember eight of them.
const HOLE: u64 = 8192;
/// As `intake::retention` has it.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn images_leave_the_disk_when_their_case_is_done_and_its_time_has_passed() {
    for footing in BOTH {
        let network = start(footing).await;
        // Two studies in one association, and so in one journal: one is reported, one is not.
        let ((done, done_slices), (open, open_slices)) = (head_ct(1, 8), head_ct(2, 8));
        send_study(network.node().dicom, &[done_slices.clone(), open_slices.clone()].concat()).await;
        network.case_in(&done.study(), CaseState::Delivered).await;
        network.case_in(&open.study(), CaseState::Delivered).await;
        report(&network, &done).await;
        let full = on_disk(&network);
        nothing_goes_in(&network, 13 * DAY).await;
        network.clock.advance(2 * DAY);
        until_told(&network, &done, "8 images taken off").await;
        eventually("there are holes in the journal", SOON, async || on_disk(&network) <= full - 7 * HOLE).await;
        can_be_sent_again(&network, &open, &open_slices).await;
        // The other after its longer time, and with it the journal.
        nothing_goes_in(&network, 59 * DAY).await;
        network.clock.advance(2 * DAY);
        until_no_journal_is_left(&network).await;
        // The same study again: acknowledged, known, and there again; sent on only when a person wants it.
        send_study(network.node().dicom, &done_slices).await;
        until_told(&network, &done, "on disk again").await;
        let case = network.case(&done.study(), "its case", |_| true).await;
        eventually("all of it is there again", SOON, async || {
            let images = network.node().store.deliverable(case.id, 1, 8).await.expect("the store");
            images.iter().all(|image| image.on_disk)
        })
        .await;
        can_be_sent_again(&network, &done, &done_slices).await;
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_stays_on_the_disk_and_what_has_left_it_is_not_sent_again() {
    for footing in BOTH {
        let network = start(footing).await;
        network.chemnitz.behave(Manners { status: Some(StoreStatus::CannotUnderstand), ..Manners::default() });
        let (patient, slices) = head_ct(3, 4);
        send_study(network.node().dicom, &slices).await;
        let is_so = |case: &CaseRow| !case.attention.is_empty() && case.whole.is_some();
        let case = network.case(&patient.study(), "a case that calls a person", is_so).await;
        nothing_goes_in(&network, 400 * DAY).await;
        // Mended, sent again and reported, it is done, and goes.
        network.chemnitz.behave(Manners::default());
        let id = case.id.to_string();
        assert!(cases(&network, &["resend", &id]).await.0);
        eventually("the images arrive", SOON, async || all_delivered(&network, &case).await).await;
        report(&network, &patient).await;
        network.clock.advance(15 * DAY);
        until_no_journal_is_left(&network).await;
        let (sent, said) = cases(&network, &["resend", "--all", &id]).await;
        assert!(
            !sent && said.contains("taken off this node's disk") && said.contains("have rabenstein send"),
            "{said}"
        );
        assert!(all_delivered(&network, &case).await, "nothing is owed again");
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_cannot_be_read_keeps_no_other_from_leaving_the_disk() {
    for footing in BOTH {
        let network = start(footing).await;
        let mut patients = Vec::new();
        for number in [1, 2] {
            let (patient, slices) = head_ct(number, 2);
            send_study(network.node().dicom, &slices).await;
            network.case_in(&patient.study(), CaseState::Delivered).await;
            report(&network, &patient).await;
            patients.push(patient);
        }
        let spoilt = network.case(&patients[0].study(), "its case", |_| true).await.id;
        let raw = Raw::of(&network, footing).await;
        raw.run(&format!("UPDATE cases SET facts = '{{nonsense' WHERE id = '{spoilt}'")).await;
        network.clock.advance(15 * DAY);
        until_told(&network, &patients[1], "2 images taken off").await;
        raw.run(&format!("UPDATE cases SET facts = '{{}}' WHERE id = '{spoilt}'")).await;
        network.at_rest().await;
    }
}

async fn start(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    Network::with_centers(footing, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        let node = files.get_mut("neisse.toml").expect("the node's file");
        node.push_str("[retention]\nkeep = \"14d\"\nkeep_unreported = \"60d\"\n");
    })
    .await
}

/// A journal as a process leaves it that is killed before its first record: every look at the disk removes it, after all
/// others. So it tells when a look is over.
fn mark(network: &Network) -> PathBuf {
    let left_over = folder(network).join("ffffffff-ffff-7fff-bfff-ffffffffffff.journal");
    std::fs::write(&left_over, b"NEISSEJ1").expect("a file");
    left_over
}

/// By this look at the disk or a later one: a look passes over a case whose notices are just being taken back, and over a
/// journal that is just being read.
async fn until_no_journal_is_left(network: &Network) {
    eventually("the journal is gone", SOON, async || {
        let gone = journals(network).is_empty();
        if !gone {
            network.clock.advance(LOOK_EVERY);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        gone
    })
    .await;
}

async fn nothing_goes_in(network: &Network, time: Duration) {
    let full = on_disk(network);
    let mark = mark(network);
    network.clock.advance(time);
    eventually("a look at the disk is over", SOON, async || !mark.exists()).await;
    assert_eq!(on_disk(network), full, "every image is still there");
}

fn folder(network: &Network) -> PathBuf {
    network.folder.path().join("data/journals")
}

fn journals(network: &Network) -> Vec<PathBuf> {
    let files = files_in(&folder(network)).into_iter();
    files.filter(|file| file.extension().is_some_and(|extension| extension == "journal")).collect()
}

fn on_disk(network: &Network) -> u64 {
    journals(network).iter().map(|file| std::fs::metadata(file).expect("a journal").blocks() * 512).sum()
}

async fn until_told(network: &Network, patient: &SampleCase, what: &str) {
    let case = network.case(&patient.study(), "its case", |_| true).await;
    eventually(what, SOON, async || network.story(&case).await.contains(what)).await;
}

/// Everything of the case is sent again, whole.
async fn can_be_sent_again(network: &Network, patient: &SampleCase, slices: &[SampleInstance]) {
    let case = network.case(&patient.study(), "its case", |_| true).await;
    let before = network.chemnitz.arrivals().len();
    let (sent, said) = cases(network, &["resend", "--all", &case.id.to_string()]).await;
    assert!(sent, "{said}");
    eventually("all of it arrives again", SOON, async || {
        network.chemnitz.arrivals().len() == before + slices.len() && all_delivered(network, &case).await
    })
    .await;
    let archive = network.chemnitz.archive();
    assert!(slices.iter().all(|slice| archive[&slice.sop_instance] == slice.data_set), "as it was sent");
}

async fn all_delivered(network: &Network, case: &CaseRow) -> bool {
    network.ledger(case).await.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
}

async fn report(network: &Network, patient: &SampleCase) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", &patient.accession, &about, "F", "no bleeding");
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, &patient.accession).await;
    assert_eq!(answer.code.as_str(), "AA");
    let case = network.case_in(&patient.study(), CaseState::Reported).await;
    eventually("the report is back", SOON, async || all_delivered(network, &case).await).await;
}

/// `neisse cases`, beside the router: whether it went well, and what it said.
async fn cases(network: &Network, arguments: &[&str]) -> (bool, String) {
    process::write(network.folder.path(), &network.files);
    let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
    command.arg("cases").args(arguments).arg("--config").arg(network.folder.path());
    command.envs(network.files.iter().filter(|(name, _)| name.starts_with("NEISSE_")));
    let output = blocking(move || command.output()).await.expect("neisse");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}
