//! `neisse partners disclosed` tells what left for whom: images, the order, the task, the report, and what a center fetched by C-GET,
//! C-MOVE and DICOMweb; when, of which case, whose, by which rule; without a word of the patient. What left on another day, or for
//! somebody else, is not there.

use crate::support::{
    center::{About, Center, oru},
    dcmtk::{Target, getscu, movescu},
    engine::Engine,
    eventually,
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON},
    orders::{answered, orm},
    readers::Reader,
    service_folder,
};
use chrono::Utc;
use chrono_tz::Europe::Berlin;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, Moment},
    store::CaseRow,
};
use std::time::Duration;

/// Today and tomorrow, and two days before: the command that sends again knows no other clock than the machine's.
struct Span([String; 2]);

impl Span {
    fn of(days: [i64; 2]) -> Self {
        let today = Utc::now().with_timezone(&Berlin).date_naive();
        Self(days.map(|days| (today + chrono::Duration::days(days)).to_string()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_for_a_partner_is_listed_by_day() {
    for footing in BOTH {
        let ris = Engine::start().await;
        let network = network(footing, &ris).await;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(answered(network.node().hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        send_study(network.node().dicom, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        eventually("the order is there", SOON, async || ris.came().len() == 1).await;
        fetch(&network, &patient).await;
        report(&network, &patient, &case).await;

        let (now, before) = (Span::of([0, 1]), Span::of([-2, -1]));
        let screen = listed(&network, "chemnitz", &now).await;
        let id = case.id.to_string();
        for what in ["message ORM^O01", "task offered", "fetched by C-GET", "fetched by C-MOVE", "fetched by DICOMweb"]
        {
            let lines: Vec<&str> = screen.lines().filter(|line| line.contains(what)).collect();
            let [line] = lines[..] else { panic!("{what}: {screen}") };
            assert!(now.0.iter().any(|day| line.starts_with(day)) && line.contains(&id), "{line}");
            assert!(line.contains("rabenstein") && line.ends_with("Always"), "{line}");
            assert!(!line.contains("not confirmed"), "{line}");
        }
        assert_eq!(images(&screen), 3, "{screen}");
        let others = screen.lines().skip(2).filter(|line| images(line) == 0).count();
        assert_eq!(others, 5, "and nothing else: {screen}");
        let home = listed(&network, "rabenstein", &now).await;
        assert!(home.contains("report (HL7 ORU) version 1") && home.lines().count() == 3, "{home}");
        for secret in [&patient.patient_id, &patient.patient_name, &patient.accession, patient.study().as_str()] {
            assert!(!screen.contains(secret) && !home.contains(secret), "{secret}: {screen}{home}");
        }
        assert!(listed(&network, "leipzig-ukl", &now).await.contains("Nothing."));
        assert!(listed(&network, "chemnitz", &before).await.contains("Nothing."));
        let shown = network.story(&case).await;
        assert!(shown.contains("chemnitz asked for 3 images by C-GET\n"), "{shown}");
        assert!(shown.contains("chemnitz asked for 3 images by DICOMweb with 2 requests"), "each counts once: {shown}");

        // What a person has sent again left twice.
        network.cases_screen(&["resend", &id, "--all"]).await;
        eventually("it has left again", SOON, async || images(&listed(&network, "chemnitz", &now).await) == 6).await;
        let unknown =
            network.command("partners", &["disclosed", "chemnits", "--from", &now.0[0], "--to", &now.0[1]]).await;
        let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
        assert!(!unknown.status.success() && said.contains("expected one of"), "{said}");
        network.at_rest().await;
    }
}

async fn network(footing: Footing, ris: &Engine) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, Moment::from_utc(Utc::now()), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let chemnitz = files.get_mut("partners/chemnitz.toml").expect("the center");
        chemnitz.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n\
             [orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

/// By each of the three services, twice by the last.
async fn fetch(network: &Network, patient: &SampleCase) {
    let target = Target { calling: "CHEMNITZ".into(), called: "NEISSE".into(), port: network.dicom_port() };
    let study = format!("StudyInstanceUID={}", patient.study());
    let keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", &study];
    let folder = service_folder("fetched-");
    let got = getscu(&target, folder.path(), &keys).await;
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    let moved = movescu(&target, "CHEMNITZ", &keys).await;
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
    let reader = Reader::of(network, "chemnitz", "WS1").await;
    let path = format!("/dicom-web/studies/{}", patient.study());
    for _ in 0..2 {
        let (status, _) = reader.get(&path, "multipart/related; type=\"application/dicom\"; transfer-syntax=*").await;
        assert_eq!(status, 200, "{path}");
    }
    // How often they looked is added every few seconds.
    tokio::time::sleep(Duration::from_secs(7)).await;
}

async fn report(network: &Network, patient: &SampleCase, case: &CaseRow) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await.code.as_str(), "AA");
    eventually("the report is home", SOON, async || {
        network.ledger(case).await.iter().all(|delivery| delivery.finished.is_some())
            && network.hospital.reports().len() == 1
    })
    .await;
}

async fn listed(network: &Network, partner: &str, span: &Span) -> String {
    network.screen("partners", &["disclosed", partner, "--from", &span.0[0], "--to", &span.0[1]]).await
}

/// How many images were sent, all lines together: batches between which something else left are lines of their own.
fn images(screen: &str) -> usize {
    let what = screen.lines().filter_map(|line| line.split("  ").nth(1)?.split_once(' '));
    let sent = what.filter(|(_, rest)| ["image", "images"].contains(&rest.trim()));
    sent.map(|(count, _)| count.parse::<usize>().expect("a number")).sum()
}
