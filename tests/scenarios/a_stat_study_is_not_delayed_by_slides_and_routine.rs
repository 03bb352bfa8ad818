//! A stat head CT goes over a line of 20 Mbit/s and 40 ms, on which a slide and twenty routine MR are under way to the same
//! center: it is there as soon as it would be alone, give or take a tenth. What gave way arrives after it.
//!
//! Scaled, so that it takes two minutes: half of the 1,800 slices, smaller ones, and a slide that lasts longer than they do. What is under
//! way when it comes takes its seconds in any case: fewer slices would measure those. With
//! `NEISSE_TEST_WHOLE=1` it is all of them, 512 x 512, beside a slide of 4 GB: a quarter of an hour, and 12 GB of memory.

use crate::support::{
    center::Center,
    eventually,
    faults::{deliver_to, set, tonight},
    hospital::{grown, send_study},
    network::{ALWAYS_CHEMNITZ, Footing, Network},
    proxy::{Line, Proxy},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::{CaseState, DeliveryState, Lane},
    store::CaseRow,
};
use std::time::{Duration, Instant};

struct Scale {
    slices: usize,
    /// Rows and columns of a slice.
    edge: u16,
    slide_bytes: u32,
    long: Duration,
}

const HALF: Scale = Scale { slices: 900, edge: 256, slide_bytes: 400_000_000, long: Duration::from_secs(300) };
const WHOLE: Scale = Scale { slices: 1800, edge: 512, slide_bytes: 4_000_000_000, long: Duration::from_secs(1200) };

const BYTES_A_SECOND: u64 = 20_000_000 / 8;
/// There and back again it is twice this.
const ON_THE_LINE: Duration = Duration::from_millis(20);
const MR_STUDIES: u64 = 20;
const MR_SLICES: usize = 20 * 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_stat_study_is_not_delayed_by_slides_and_routine() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let proxy = Proxy::narrow_to(&format!("127.0.0.1:{}", chemnitz.port));
    proxy.set(Line::Shared(BYTES_A_SECOND, ON_THE_LINE));
    let port = proxy.address.port();
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, tonight(), chemnitz, leipzig, |files| {
        deliver_to(files, "chemnitz", "CHEMNITZ", port);
        set(files, "neisse.toml", "response", "\"60s\"");
    })
    .await;
    let scale = if std::env::var_os("NEISSE_TEST_WHOLE").is_some() { WHOLE } else { HALF };
    let alone = stat(&network, &scale, 1).await;

    let patient = SampleCase::numbered(7);
    send_study(network.node().dicom, &[grown(sample::slide(1, 1, "S26-1", &patient), scale.slide_bytes)]).await;
    let slide = network.case(&patient.study(), "the slide's case", |case| case.instances == 1).await;
    for number in 0..MR_STUDIES {
        let slices: Vec<SampleInstance> = sample::brain_mr(10, 256, &SampleCase::numbered(100 + number)).collect();
        send_study(network.node().dicom, &slices).await;
    }
    eventually("they are on their way", scale.long, async || {
        under_way(&network, &slide).await && network.chemnitz.arrivals().len() > scale.slices + 5
    })
    .await;
    let beside = stat(&network, &scale, 2).await;
    println!("{} stat slices: alone {alone:?}, beside a slide and {MR_STUDIES} MR {beside:?}", scale.slices);
    assert!(under_way(&network, &slide).await, "the slide is still on its way");
    let mr = network.chemnitz.arrivals().len() - scale.slices * 2;
    assert!(mr < MR_SLICES, "and so are MR: {mr} slices of them have arrived");
    assert!(beside.as_secs_f64() < alone.as_secs_f64() * 1.1, "alone {alone:?}, beside the others {beside:?}");

    proxy.set(Line::Good);
    eventually("the slide is there", scale.long, async || network.now(slide.id).await.state == CaseState::Delivered)
        .await;
    let all = scale.slices * 2 + 1 + MR_SLICES;
    network.chemnitz.arrivals_of(all).await;
    network.at_rest().await;
}

async fn under_way(network: &Network, slide: &CaseRow) -> bool {
    let rows = network.ledger(slide).await;
    rows.iter().any(|row| row.lane == Lane::Bulk && row.state == DeliveryState::Attempting)
}

/// From the first slice sent to the last one at the center.
async fn stat(network: &Network, scale: &Scale, number: u64) -> Duration {
    let patient = SampleCase { priority: "STAT".into(), ..SampleCase::numbered(number) };
    let slices: Vec<SampleInstance> = sample::head_ct(scale.slices, scale.edge, &patient).collect();
    let named: Vec<_> = slices.iter().map(|slice| slice.sop_instance.clone()).collect();
    let begun = Instant::now();
    send_study(network.node().dicom, &slices).await;
    eventually("the stat study is there", scale.long, async || network.chemnitz.holds(&named)).await;
    let took = begun.elapsed();
    let case = network.case(&patient.study(), "a case", |_| true).await;
    assert!(network.ledger(&case).await.iter().all(|row| row.lane == Lane::Stat));
    took
}
