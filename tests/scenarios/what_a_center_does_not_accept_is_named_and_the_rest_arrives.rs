//! A real receiver that takes no compressed images: the compressed one is named to a person, the others arrive.

use crate::support::{
    center::Center,
    dcmtk::StoreScp,
    faults::{deliver_to, tonight},
    hospital::Scanner,
    network::{ALWAYS_CHEMNITZ, Footing, Network},
};
use neisse::{
    cli::sample::{self, SampleCase},
    model::DeliveryState,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_center_does_not_accept_is_named_and_the_rest_arrives() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let plain = StoreScp::start_uncompressed("CHEMNITZ").await;
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, tonight(), chemnitz, leipzig, |files| {
        deliver_to(files, "chemnitz", "CHEMNITZ", plain.port);
    })
    .await;
    let patient = SampleCase::numbered(1);
    let mut images: Vec<_> = sample::head_ct(4, 64, &patient).collect();
    let compressed = sample::chest_dx(64, 64, &patient);
    assert_eq!(compressed.transfer_syntax.as_str(), "1.2.840.10008.1.2.5", "RLE Lossless");
    images.insert(2, compressed);
    for image in &images {
        let mut scanner = Scanner::connect(network.node().dicom, image).await;
        assert_eq!(scanner.send(image).await, 0x0000);
        scanner.release().await;
    }
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some() && case.instances == 5).await;
    network
        .soon("every delivery has ended", async || {
            let rows = network.ledger(&case).await;
            rows.iter().map(|row| row.items).sum::<i64>() == 5 && rows.iter().all(|row| row.finished.is_some())
        })
        .await;
    assert_eq!(plain.received().len(), 4, "the uncompressed ones");
    let rows = network.ledger(&case).await;
    let stopped: Vec<_> = rows.iter().filter(|row| row.state == DeliveryState::Stopped).collect();
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].refused.iter().map(|refused| refused.status).collect::<Vec<_>>(), [0x0122]);
    let attention = network.now(case.id).await.attention;
    assert!(attention.starts_with("chemnitz did not store 1 of "), "{attention}");
    assert!(attention.ends_with("(0122: it accepts no such images)"), "{attention}");
    assert!(network.pauses().await.is_empty(), "nobody is paused over it");
    network.at_rest().await;
}
