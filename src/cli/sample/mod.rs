//! `neisse sample`: synthetic studies as DICOM files, the same on every run, and bigger ones for `demo` and benches.
//!
//! In: a folder, or sizes and an invented patient. Out: instances in memory ([`head_ct`], [`brain_mr`], ...) or files.
//! Pixels come from formulas, SYNTHETIC is burned into them, and every patient is invented. No private elements, no
//! lossy compression, and no claim to teach anatomy.

mod data_set;
mod font;
mod head;
mod instance;
mod phantom;
mod plain;
mod rle;
mod slide;
mod studies;

pub use head::{brain_mr, head_ct};
pub use instance::{SampleCase, SampleInstance};
pub use plain::{chest_cr, chest_dx, heart_us};
pub use slide::{LargeSlide, slide, write_large_slide};
pub use studies::{SampleStudy, studies};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where to write.
#[derive(Clone, Debug, clap::Args)]
pub struct SampleArgs {
    /// The folder to write into; made if it is not there.
    #[arg(long, default_value = "sample-dicom")]
    pub to: PathBuf,
}

/// Writes every sample study into a folder of its own below `to`, and a README with a line for each.
///
/// # Errors
/// When a folder or file cannot be written.
pub fn write_all(to: &Path) -> anyhow::Result<Vec<SampleStudy>> {
    write_each(to, |_| ())
}

/// # Errors
/// As [`write_all`].
pub fn run(args: &SampleArgs) -> anyhow::Result<()> {
    let bar = ProgressBar::new(studies::NAMES.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let studies = write_each(&args.to, |study| {
        bar.set_message(study.folder.display().to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let files: usize = studies.iter().map(|study| study.files.len()).sum();
    let bytes: u64 = studies.iter().map(|study| study.bytes).sum();
    println!("{files} instances of {} studies, {:.1} MB, in {}", studies.len(), bytes as f64 / 1e6, args.to.display());
    Ok(())
}

fn write_each(to: &Path, mut written: impl FnMut(&SampleStudy)) -> anyhow::Result<Vec<SampleStudy>> {
    let mut all = Vec::new();
    for name in studies::NAMES {
        let (case, about, instances) = studies(name)?;
        let folder = to.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("folder {} cannot be made", folder.display()))?;
        let mut study = SampleStudy { folder, case, about, files: Vec::new(), bytes: 0 };
        for (number, instance) in instances.enumerate() {
            // Numbered, never named after a UID or a patient.
            let file = study.folder.join(format!("{:04}.dcm", number + 1));
            let bytes = instance.part10();
            fs::write(&file, &bytes).with_context(|| format!("{} cannot be written", file.display()))?;
            study.bytes += bytes.len() as u64;
            study.files.push(file);
        }
        written(&study);
        all.push(study);
    }
    let readme = to.join("README.md");
    fs::write(&readme, studies::readme(&all)).with_context(|| format!("{} cannot be written", readme.display()))?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dicom::scan::HeaderScanner,
        model::{IssuedId, Priority},
    };

    fn facts(instance: &SampleInstance) -> crate::model::StudyFacts {
        let mut scanner = HeaderScanner::whole(&instance.transfer_syntax);
        scanner.push(&instance.data_set).expect("scanned");
        let header = scanner.finish().expect("a whole data set");
        assert!(header.is_sound());
        assert_eq!(header.sop_instance().as_ref(), Some(&instance.sop_instance));
        assert_eq!(header.sop_class().as_ref(), Some(&instance.sop_class));
        header.facts(None, "HERE")
    }

    #[test]
    fn every_sample_is_read_by_our_own_scanner_with_its_name_whole() {
        for name in studies::NAMES {
            let (case, _, instances) = studies(name).expect("made");
            let instance = instances.last().expect("an instance");
            let facts = facts(&instance);
            assert_eq!(facts.patient_name, case.patient_name, "{name}");
            assert_eq!(facts.patient_id, IssuedId::new(case.patient_id, "HERE"));
            assert_eq!(facts.placer_order_number, case.placer_order);
        }
    }

    #[test]
    fn a_stat_head_ct_carries_its_order_and_is_the_same_every_time() {
        let mut case = SampleCase::numbered(7);
        case.priority = "STAT".to_owned();
        let [one, two] = [(); 2].map(|()| head_ct(3, 64, &case).collect::<Vec<_>>());
        assert_eq!(one.len(), 3);
        assert_eq!(one[1].part10(), two[1].part10());
        let found = facts(&one[1]);
        assert_eq!((found.priority, found.placer_order_number.as_str()), (Priority::Stat, "P00000007"));
        assert_ne!(one[0].sop_instance, one[1].sop_instance);
        assert_ne!(head_ct(1, 64, &SampleCase::numbered(8)).next().expect("one").sop_instance, one[0].sop_instance);
    }

    #[test]
    fn a_slide_of_any_size_streams_to_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("slide.dcm");
        let made = write_large_slide(&file, 3_000_000, "S26-1", &SampleCase::numbered(1)).expect("written");
        assert_eq!(fs::metadata(&file).expect("there").len(), made.bytes);
        assert!((2_500_000..4_500_000).contains(&made.bytes), "{}", made.bytes);
        let bytes = fs::read(&file).expect("read");
        let start = bytes.windows(4).position(|four| four == b"\x08\x00\x05\x00").expect("a data set");
        let mut scanner = HeaderScanner::whole(&made.transfer_syntax);
        scanner.push(&bytes[start..]).expect("scanned");
        assert_eq!(scanner.finish().expect("whole").facts(None, "").container_id, "S26-1");
    }

    #[test]
    fn two_numbered_patients_are_never_namesakes() {
        let names: std::collections::BTreeSet<_> = (0..500).map(|n| SampleCase::numbered(n).patient_name).collect();
        assert_eq!(names.len(), 500);
    }
}
