//! What an operator can count, and that no label tells who it was about.

use super::*;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Each association has a thread of its own, so the recorder is the process's, and other tests count in it too.
fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().expect("the only one of this process"))
}

/// The value on the line that starts so; 0 where there is none yet.
fn count(shown: &str, name: &str) -> f64 {
    let line = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let before = recorder().render();
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    scu.store(CT, TAKEN, b"0123456789").await;
    scu.store(CT, REFUSED_AT_COMMIT, b"0123456789").await;
    // Its value is everybody's: other tests began before there was a recorder and end while there is one.
    assert!(recorder().render().contains("\nneisse_dicom_associations_open "));
    scu.send(&RELEASE_RQ).await;
    drop(scu);
    let mut stranger = Scu::connect(&listening).await;
    stranger.send(&associate_rq("STRANGER", "NEISSE")).await;
    assert_eq!(stranger.pdu().await.map(|(kind, _)| kind), Some(3));
    let mut browser = Scu::connect(&listening).await;
    browser.send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(browser.abort().await, (2, 1));
    listening.notes.at_end().await;
    let shown = recorder().render();
    for (name, least) in [
        ("neisse_dicom_instances_total{status=\"success\"}", 1.0),
        ("neisse_dicom_instances_total{status=\"failure\"}", 1.0),
        ("neisse_dicom_received_bytes_total", 20.0),
        ("neisse_dicom_store_response_seconds_count", 2.0),
        ("neisse_dicom_associations_total{end=\"released\"}", 1.0),
        ("neisse_dicom_rejected_total{reason=\"calling_ae_not_recognized\"}", 1.0),
        ("neisse_dicom_turned_away_total{reason=\"not_dicom\"}", 1.0),
    ] {
        let grown = count(&shown, name) - count(&before, name);
        assert!(grown >= least, "{name} grew by {grown}, expected {least} in\n{shown}");
    }
    for secret in ["RAB_CT1", "STRANGER", "127.0.0.1", TAKEN] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn an_association_is_counted_as_open_for_as_long_as_it_lives() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let open = || count(&recorder.handle().render(), "neisse_dicom_associations_open");
    metrics::with_local_recorder(&recorder, || {
        let association = crate::dicom::scp::seen::OpenAssociation::new();
        assert!((open() - 1.0).abs() < f64::EPSILON);
        drop(association);
        assert!(open().abs() < f64::EPSILON);
    });
}
