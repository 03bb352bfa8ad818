//! The disk runs down to its reserve: the sender is told so (A700), `/readyz` says so, what has been taken is delivered
//! and reported, and images are taken again as soon as there is room, all on one association.
//!
//! The reserve is raised above what is free, and lowered again, by a changed configuration and SIGHUP.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, Footing, SOON, files},
    process::{Process, write},
    service_folder,
};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_below_its_reserve_refuses_images_and_goes_on_delivering() {
    let (hospital, mut chemnitz) = (Hospital::start().await, Center::start("CHEMNITZ").await);
    let folder = service_folder("full-");
    let mut files = files(Footing::Embedded, ALWAYS_CHEMNITZ, hospital.port, chemnitz.port, chemnitz.port).await;
    write(folder.path(), &files);
    let router = Process::start(folder.path()).await;
    chemnitz.go_away().await;
    let (patient, slices) = head_ct(1, 6);
    let mut scanner = Scanner::connect(router.dicom, &slices[0]).await;
    for slice in &slices[..4] {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    let mut reserve = |bytes: &str| {
        let node = files.get_mut("neisse.toml").expect("the node's file");
        let line = node.lines().find(|line| line.starts_with("reserve")).expect("a reserve").to_owned();
        // What a reload cannot change is changed with it, once.
        let more = if node.contains("max_associations") { "" } else { "max_associations = 77\n" };
        *node = node.replace(&line, &format!("{more}reserve = \"{bytes}\""));
        write(folder.path(), &files);
        assert!(Command::new("kill").args(["-HUP", &router.pid().to_string()]).status().expect("kill").success());
    };
    reserve("1024TiB");
    ready_says(&router, 503, "below its reserve").await;
    let log = router.log();
    assert!(log.contains("[dicom] max_associations has changed in the configuration: that takes a restart"), "{log}");
    let refused = scanner.answer(&slices[4]).await;
    assert_eq!(refused.status, 0xA700);
    assert_eq!(refused.comment.as_deref(), Some("disk below its reserve, try again later"));
    // What has been taken is delivered, and its report comes back.
    chemnitz.come_back().await;
    let taken: Vec<_> = slices[..4].iter().map(|slice| slice.sop_instance.clone()).collect();
    eventually("what was taken arrives", SOON, async || chemnitz.holds(&taken)).await;
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let answer = chemnitz.send_hl7(router.hl7, &oru("KLCHEM", "R1", &about, "P", "so far no bleeding"), "R1").await;
    assert_eq!(answer.code.as_str(), "AA");
    eventually("its report is back", SOON, async || hospital.reports().len() == 1).await;
    assert_eq!(chemnitz.archive().len(), 4, "and nothing of what was refused");
    reserve("100MiB");
    ready_says(&router, 200, "MB free").await;
    for slice in &slices[4..] {
        assert_eq!(scanner.send(slice).await, 0x0000, "taken again");
    }
    scanner.release().await;
    let all: Vec<_> = slices.iter().map(|slice| slice.sop_instance.clone()).collect();
    eventually("all of it arrives", SOON, async || chemnitz.holds(&all)).await;
    let archive = chemnitz.archive();
    assert!(slices.iter().all(|slice| archive[&slice.sop_instance] == slice.data_set), "byte for byte as sent");
}

async fn ready_says(router: &Process, code: u16, what: &str) {
    eventually(&format!("/readyz answers {code}"), SOON, async || {
        let page = router.get("/readyz").await;
        page.is_some_and(|(found, text)| found == code && text.contains(what))
    })
    .await;
}
