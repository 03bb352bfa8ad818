//! What comes after a study was whole, and after it was reported, belongs to the same case and the same decision and is
//! delivered once. Equal repetitions change nothing, other content under a known UID is kept, flagged and not delivered
//! over the first. A sender that says how many instances there are need not be waited for.

use crate::support::{
    center::{About, oru},
    hospital::{Scanner, head_ct, send_study},
    network::{BOTH, Network, wall},
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::CaseState,
    store::CaseRow,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_instance_joins_its_case_and_is_delivered_once() {
    for footing in BOTH {
        let network = Network::example(footing, wall("2026-11-25T06:40"), |example| {
            example.wants("rabenstein", &["oru"]);
        })
        .await;
        late(&network).await;
        announced(&network).await;
        network.at_rest().await;
    }
}

async fn late(network: &Network) {
    let (patient, slices) = head_ct(1, 8);
    let router = network.node().dicom;
    send_study(router, &slices[..5]).await;
    network.clock.advance(Duration::from_secs(31));
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;

    // Everything again: a modality that got no answer, or a person who presses the button twice.
    send_study(router, &slices[..5]).await;
    // By day now: who reads it has been decided.
    network.clock.set(wall("2026-11-25T07:20"));
    send_study(router, &slices[5..6]).await;
    let case = joined(network, &case, &patient, 6, CaseState::Delivered).await;
    assert_eq!(network.chemnitz.arrivals().len(), 6, "the repetitions went nowhere: {}", network.story(&case).await);

    report(network, &patient).await;
    network.case_in(&patient.study(), CaseState::Reported).await;
    send_study(router, &slices[6..7]).await;
    let case = joined(network, &case, &patient, 7, CaseState::Reported).await;
    assert_eq!(case.attention, "", "nothing a person has to do");
    network.chemnitz.arrivals_of(7).await;

    // Other content under a known UID.
    let mut forged = slices[2].clone();
    *forged.data_set.last_mut().expect("pixels") ^= 1;
    send_study(router, std::slice::from_ref(&forged)).await;
    send_study(router, &slices[7..]).await;
    let case = network.case(&patient.study(), "the last and the conflict", |case| case.routed_to == 9).await;
    network.chemnitz.arrivals_of(8).await;
    assert!(case.attention.contains("different content"), "{}", case.attention);
    let archive = network.chemnitz.archive();
    assert_eq!(archive[&slices[2].sop_instance], slices[2].data_set, "the first stays what the center has");
    let kept = network.node().store.deliverable(case.id, 1, 100).await.expect("the store");
    assert_eq!(kept.len(), 8, "the forged one is kept but not for delivery");
    let story = network.story(&case).await;
    assert_eq!(story.matches(": read by ").count(), 1, "one decision: {story}");
    assert_eq!(network.cases().await.len(), 1, "one case: {story}");
    assert_eq!(case.reader.as_ref().map(|reader| reader.as_str()), Some("chemnitz"));
}

/// Waits until the case has taken this many instances and is in this state again.
async fn joined(
    network: &Network,
    before: &CaseRow,
    patient: &SampleCase,
    instances: i64,
    state: CaseState,
) -> CaseRow {
    let after = network
        .case(&patient.study(), "the late instance has joined", |case| {
            case.instances == instances && case.routed_to == instances && case.state == state
        })
        .await;
    assert_eq!(after.id, before.id, "the same case");
    assert_eq!(after.decision, before.decision, "the same decision");
    network.chemnitz.arrivals_of(instances as usize).await;
    after
}

async fn report(network: &Network, patient: &SampleCase) {
    let study = patient.study().to_string();
    let (patient_id, accession) = (&patient.patient_id, &patient.accession);
    let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
    let message = oru("KCHEMNITZ", "L1", &about, "F", "o. B.");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "L1").await.code.as_str(), "AA");
}

/// With Number of Study Related Instances (0020,1208) in every header, the study is whole with the last of them, though
/// the association stays open.
async fn announced(network: &Network) {
    let before = network.chemnitz.arrivals().len();
    let (patient, mut slices) = head_ct(2, 4);
    slices.iter_mut().for_each(|slice| announce(slice, "4 "));
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    let mut forged = slices[0].clone();
    *forged.data_set.last_mut().expect("pixels") ^= 1;
    // Three of four, one of them twice and once more with other content: not whole.
    for slice in slices[..3].iter().chain([&slices[0], &forged]) {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    let case = network.case(&patient.study(), "three and the conflict", |case| case.routed_to == 4).await;
    assert_eq!(case.whole, None, "three of four are not whole: {}", network.story(&case).await);
    assert_eq!(scanner.send(&slices[3]).await, 0x0000);
    // Chemnitz has closed by now: this patient came by day.
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    let story = network.story(&case).await;
    assert!(story.contains("all 4 its sender announced"), "{story}");
    assert_eq!(network.chemnitz.arrivals().len(), before, "read on site");
    scanner.release().await;
}

/// Puts (0020,1208) where its place is: behind (0020,1041) Slice Location or what else comes before it.
fn announce(slice: &mut SampleInstance, count: &str) {
    let rows = [0x28, 0x00, 0x02, 0x00, b'U', b'S'];
    let place = slice.data_set.windows(6).position(|bytes| bytes == rows).expect("(0028,0002), the first behind it");
    let mut element = vec![0x20, 0x00, 0x08, 0x12, b'I', b'S', count.len() as u8, 0];
    element.extend_from_slice(count.as_bytes());
    slice.data_set.splice(place..place, element);
}
