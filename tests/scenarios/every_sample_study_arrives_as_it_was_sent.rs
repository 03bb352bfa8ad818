//! Every sample study, in its own transfer syntax, through real `storescu` -> router -> RabbitMQ -> real `storescp` and
//! Orthanc: the data sets are the same, element by element, and byte by byte what `storescu` sends `storescp` directly.

use crate::support::{
    data_set::Part10,
    dcmtk::{StoreScp, Target, files_in, storescu},
    free_port,
    network::{Footing, Network, wall},
    orthanc::Orthanc,
};
use dicom_dictionary_std::uids;
use neisse::model::{CaseState, Uid};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};

const EVERYTHING_TWICE: &str = r#"
[[route]]
name = "Everything to Chemnitz, a copy to Leipzig"
from = ["rabenstein"]
to = ["chemnitz"]
also_to = ["leipzig-ukl"]
"#;

/// Folder, how DCMTK is told to propose its transfer syntax, and what that is.
const SAMPLES: [(&str, &str, &str); 7] = [
    ("head-ct", "-xe", uids::EXPLICIT_VR_LITTLE_ENDIAN),
    ("chest-dx-rle", "-xr", uids::RLE_LOSSLESS),
    ("brain-mr-implicit", "-xi", uids::IMPLICIT_VR_LITTLE_ENDIAN),
    ("heart-us-deflated", "-xd", uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
    ("colon-slide", "-xe", uids::EXPLICIT_VR_LITTLE_ENDIAN),
    ("chest-cr-latin2", "-xe", uids::EXPLICIT_VR_LITTLE_ENDIAN),
    ("head-ct-czech", "-xe", uids::EXPLICIT_VR_LITTLE_ENDIAN),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_study_arrives_as_it_was_sent() {
    // +B: storescp writes what it reads, without decoding it. Without --fork it takes one association at a time, and
    // this center is configured for four.
    let chemnitz = StoreScp::start_with("KC_PACS", free_port(), &["+B", "--fork"]).await;
    let direct = StoreScp::start_with("DIRECT", free_port(), &["+B"]).await;
    let leipzig = Orthanc::start("UKL_PACS").await;
    let network = Network::example(Footing::Services, wall("2026-11-24T23:10"), |example| {
        example.takes_images_at("chemnitz", chemnitz.port);
        example.takes_images_at("leipzig-ukl", leipzig.dicom_port);
        example.rules(EVERYTHING_TWICE);
    })
    .await;
    let mut sent: BTreeMap<String, (&str, &str, Part10)> = BTreeMap::new();
    for (folder, option, syntax) in SAMPLES {
        let files = sample(folder);
        for (calling, called, port) in
            [("RAB_PACS", "NEISSE", network.dicom_port()), ("DIRECT_SCU", "DIRECT", direct.port)]
        {
            let target = Target { calling: calling.into(), called: called.into(), port };
            let output = storescu(&target, &[option, "-R"], &files).await;
            assert!(output.status.success(), "{folder} to {called}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let originals = files.iter().map(|file| Part10::open(file));
        sent.extend(originals.map(|original| (original.sop_instance(), (folder, syntax, original))));
    }
    network.clock.advance(Duration::from_secs(31));
    let studies: HashSet<Uid> = sent.values().map(|(.., original)| study_of(original)).collect();
    assert_eq!((sent.len(), studies.len()), (54, SAMPLES.len()), "the samples are not what this scenario knows");
    for study in &studies {
        network.case_in(study, CaseState::Delivered).await;
    }

    let direct = by_instance(direct.received().iter().map(|file| Part10::open(file)));
    let received = chemnitz.received();
    assert_eq!(received.len(), sent.len(), "each exactly once");
    let at_chemnitz = by_instance(received.iter().map(|file| Part10::open(file)));
    assert_eq!(leipzig.instance_count().await, sent.len() as u64);
    let at_leipzig = by_instance(leipzig.files().await.iter().map(|file| Part10::read(file)));
    for (instance, (folder, syntax, original)) in &sent {
        let (there, copy, directly) = (&at_chemnitz[instance], &at_leipzig[instance], &direct[instance]);
        assert_eq!(original.transfer_syntax(), *syntax, "{folder}: the sample itself");
        for arrived in [there, copy, directly] {
            assert_eq!(arrived.transfer_syntax(), *syntax, "{folder}: never transcoded");
        }
        assert!(there.data_set == directly.data_set, "{folder}: the bytes storescp gets are those storescu sends");
        same_elements(folder, "storescp", original, there);
        same_elements(folder, "Orthanc", original, copy);
    }
    network.at_rest().await;
}

fn sample(folder: &str) -> Vec<PathBuf> {
    files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-dicom").join(folder))
}

fn study_of(file: &Part10) -> Uid {
    let (_, study) = &file.elements()["StudyInstanceUID"];
    Uid::new(std::str::from_utf8(study).expect("ASCII").trim_end_matches('\0')).expect("a UID")
}

fn by_instance(files: impl Iterator<Item = Part10>) -> BTreeMap<String, Part10> {
    files.map(|file| (file.sop_instance(), file)).collect()
}

fn same_elements(folder: &str, receiver: &str, original: &Part10, arrived: &Part10) {
    let (wanted, found) = (original.elements(), arrived.elements());
    assert!(wanted.len() > 40, "{folder}: a whole data set has been read");
    let paths: HashSet<&String> = wanted.keys().chain(found.keys()).collect();
    let differ: Vec<_> = paths.into_iter().filter(|path| wanted.get(*path) != found.get(*path)).collect();
    assert!(differ.is_empty(), "{folder} at {receiver}: {differ:?} differ");
}
