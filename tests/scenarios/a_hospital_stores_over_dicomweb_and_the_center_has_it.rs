//! A hospital's program brings its token and stores by STOW-RS (`dicomweb-client`); the reading center has every image
//! byte by byte, the story says by which token they came, and a token that is revoked stores nothing more.

use crate::support::{
    eventually,
    hospital::{head_ct, write_files},
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    network_side::NetworkSide,
};
use neisse::model::CaseState;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_stores_over_dicomweb_and_the_center_has_it() {
    // It has been installed before where another scenario was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sides = NetworkSide::start().await;
    for (number, footing) in (4_700..).zip(BOTH) {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let made = network.screen("token", &["create", "--partner", "rabenstein", "--name", "RAB_WEB"]).await;
        let token = made.trim().to_owned();
        let (case, instances) = head_ct(number, 12);
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<String> = write_files(folder.path(), &instances)
            .into_iter()
            .map(|file| file.to_string_lossy().into_owned())
            .collect();
        let port = network.node().http.port();
        let stow = |files: &[String], token: &str| json!({ "do": "dicomweb", "port": port, "token": token, "call": "store_instances", "arguments": {}, "files": files });
        let answer = sides.ask(stow(&files, &token)).await;
        let stored = answer["00081199"]["Value"].as_array().map_or(0, Vec::len);
        assert_eq!((stored, &answer["00081198"]), (instances.len(), &Value::Null), "{answer}");

        network.clock.advance(Duration::from_secs(31));
        let row = network.case_in(&case.study(), CaseState::Delivered).await;
        let archive = network.chemnitz.archive();
        for instance in &instances {
            let there = archive.get(&instance.sop_instance).expect("it has arrived");
            assert_eq!(there, &instance.data_set, "{footing:?}");
        }
        assert_eq!(row.calling_ae, "RAB_WEB");

        let id = token.split('_').nth(1).expect("an id").to_owned();
        let listed = network.screen("token", &["list"]).await;
        assert!(listed.contains(&id) && !listed.contains(&token), "{listed}");
        network.screen("token", &["revoke", &id]).await;
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        eventually("the token lets nobody in", SOON, async || {
            let url = format!("http://127.0.0.1:{port}/dicom-web/studies");
            let asked = http.post(url).bearer_auth(&token).send().await.expect("an answer");
            asked.status() == 401
        })
        .await;
        network.at_rest().await;
    }
}
