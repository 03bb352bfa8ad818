//! The broker and the database are killed in the middle of the work, several times, and come back: images are
//! acknowledged all the while, and everything arrives afterwards as if nothing had been.

use crate::support::{
    center::Center,
    eventually,
    network::{ALWAYS_CHEMNITZ, Footing, Network, apart, wall},
    postgres::Postgres,
    rabbit::Rabbit,
    restless::{Doors, Luck, Restless, take_every_letter},
};
use std::time::Duration;

const DATABASE_KILLS: u64 = 3;
/// Images that must be acknowledged while a service is away.
const WITHOUT_IT: usize = 40;
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn images_go_on_while_the_broker_and_the_database_are_killed() {
    let mut luck = Luck::printed("broker and database");
    let (postgres, rabbit) = tokio::join!(Postgres::start(), Rabbit::start());
    let (database, (queue, credentials)) = (postgres.fresh_database().await, apart(&rabbit.url()));
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        take_every_letter(files);
        let node = files.get_mut("neisse.toml").expect("the node's file");
        node.push_str(&format!("[database]\nurl = \"{database}\"\n[queue]\nurl = \"{queue}\"\n"));
        files.extend(credentials.map(|credentials| ("NEISSE_QUEUE_CREDENTIALS".to_owned(), credentials)));
    })
    .await;
    let doors = Doors { dicom: network.node().dicom, hl7: network.node().hl7 };
    let restless = Restless::start(doors, &network.chemnitz, &mut luck);
    reports_come_back(&restless).await;
    for _ in 0..DATABASE_KILLS {
        tokio::time::sleep(luck.millis_below(1500)).await;
        postgres.kill().await;
        images_go_on(&restless, "the database is away").await;
        postgres.again().await;
    }
    reports_come_back(&restless).await;
    rabbit.kill().await;
    images_go_on(&restless, "the broker is away").await;
    postgres.kill().await;
    images_go_on(&restless, "both are away").await;
    tokio::join!(postgres.again(), rabbit.again());
    restless.comes_to_rest(&network.node().store, &network.hospital, &network.chemnitz).await;
    network.at_rest().await;
}

async fn images_go_on(restless: &Restless, what: &str) {
    let before = restless.acknowledged();
    eventually(&format!("images are acknowledged while {what}"), SOON, async || {
        restless.acknowledged() >= before + WITHOUT_IT
    })
    .await;
}

async fn reports_come_back(restless: &Restless) {
    let before = restless.reported();
    eventually("reports come back", SOON, async || restless.reported() >= before + 2).await;
}
