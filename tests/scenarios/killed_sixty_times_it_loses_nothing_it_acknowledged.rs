//! `kill -9` at any moment of a running transfer, sixty times, on both footings: every instance that was acknowledged
//! arrives as it was sent, one copy counts, no case is stuck, every report returns.
//!
//! `NEISSE_TEST_KILLS` is how often in all, `NEISSE_TEST_SEED` repeats the luck of a run that failed.

use crate::support::{
    center::Center,
    hospital::Hospital,
    network::{ALWAYS_CHEMNITZ, Footing, checked, files},
    process::{Process, write},
    restless::{Doors, Luck, Restless, take_every_letter},
    service_folder,
};
use neisse::store::Store;

const KILLS: u64 = 60;
/// The longest life, milliseconds. Long enough that at times reports come back within one.
const LIFE: u64 = 1200;
const LIFE_WITH_SERVICES: u64 = 2400;

#[tokio::test(flavor = "multi_thread")]
async fn killed_forty_times_on_sqlite_and_the_memory_queue() {
    killed(Footing::Embedded, kills() * 2 / 3, LIFE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_on_postgresql_and_rabbitmq() {
    killed(Footing::Services, kills() - kills() * 2 / 3, LIFE_WITH_SERVICES).await;
}

fn kills() -> u64 {
    std::env::var("NEISSE_TEST_KILLS").map_or(KILLS, |kills| kills.parse().expect("NEISSE_TEST_KILLS: a number"))
}

async fn killed(footing: Footing, times: u64, life: u64) {
    let mut luck = Luck::printed(&format!("{times} kills, {footing:?}"));
    let (hospital, chemnitz, leipzig) =
        (Hospital::start().await, Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let folder = service_folder("killed-");
    let mut files = files(footing, ALWAYS_CHEMNITZ, hospital.port, chemnitz.port, leipzig.port).await;
    take_every_letter(&mut files);
    write(folder.path(), &files);
    let mut router = Process::start(folder.path()).await;
    let doors = |router: &Process| Doors { dicom: router.dicom, hl7: router.hl7 };
    let restless = Restless::start(doors(&router), &chemnitz, &mut luck);
    for _ in 0..times {
        tokio::time::sleep(luck.millis_below(life)).await;
        router.kill9();
        if luck.below(4) == 0 {
            // Again while it reads its journals back, or before it has begun to.
            let _ = tokio::time::timeout(luck.millis_below(400), router.again()).await;
            router.kill9();
        }
        router.again().await;
        restless.doors.send_replace(doors(&router));
    }
    let (instances, reports) = (restless.acknowledged(), restless.reported());
    println!("after {times} kills {instances} instances and {reports} reports had been acknowledged");
    let config = checked(folder.path(), &files);
    let store = Store::open(&config.database, &config.node.data_dir).await.expect("the store beside the router");
    restless.comes_to_rest(&store, &hospital, &chemnitz).await;
    store.close().await;
    assert!(router.is_running(), "and it still runs");
}
