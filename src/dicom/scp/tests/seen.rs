//! What an operator can count, and that no label tells who it was about.

use super::*;
use metrics_exporter_prometheus::PrometheusBuilder;

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // One thread: the tasks that serve the connections are counted by the same recorder.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    scu.store(CT, TAKEN, b"0123456789").await;
    scu.store(CT, REFUSED_AT_COMMIT, b"0123456789").await;
    let shown = recorder.handle().render();
    assert!(shown.contains("neisse_dicom_associations_open 1"), "{shown}");
    scu.send(&RELEASE_RQ).await;
    drop(scu);
    let mut stranger = Scu::connect(&listening).await;
    stranger.send(&associate_rq("STRANGER", "NEISSE")).await;
    assert_eq!(stranger.pdu().await.map(|(kind, _)| kind), Some(3));
    let mut browser = Scu::connect(&listening).await;
    browser.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(browser.abort().await, (2, 1));
    listening.notes.at_end().await;
    let shown = recorder.handle().render();
    for line in [
        "neisse_dicom_instances_total{status=\"success\"} 1",
        "neisse_dicom_instances_total{status=\"failure\"} 1",
        "neisse_dicom_received_bytes_total 20",
        "neisse_dicom_store_response_seconds_count 2",
        "neisse_dicom_associations_total{end=\"released\"} 1",
        "neisse_dicom_rejected_total{reason=\"calling_ae_not_recognized\"} 1",
        "neisse_dicom_turned_away_total{reason=\"not_dicom\"} 1",
    ] {
        assert!(shown.contains(line), "{line} expected in\n{shown}");
    }
    for secret in ["RAB_CT1", "STRANGER", "127.0.0.1", TAKEN] {
        assert!(!shown.contains(secret), "{secret}");
    }
}
