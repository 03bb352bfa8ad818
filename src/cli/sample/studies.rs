//! The sample studies by name: who, what, how many slices.

use super::{SampleCase, SampleInstance, brain_mr, chest_cr, chest_dx, head_ct, heart_us, slide};
use anyhow::bail;
use std::{fmt::Write, iter, path::PathBuf};

/// The folders below `sample-dicom/`.
pub(super) const NAMES: [&str; 7] = [
    "head-ct",
    "chest-dx-rle",
    "brain-mr-implicit",
    "heart-us-deflated",
    "colon-slide",
    "chest-cr-latin2",
    "head-ct-czech",
];

type Instances = Box<dyn Iterator<Item = SampleInstance>>;

/// A sample study that has been written.
#[derive(Clone, Debug)]
pub struct SampleStudy {
    pub folder: PathBuf,
    pub case: SampleCase,
    /// One line about it.
    pub about: &'static str,
    pub files: Vec<PathBuf>,
    pub bytes: u64,
}

/// The patient, a line about it, and the instances of the sample study of this name.
///
/// # Errors
/// When there is no sample of this name.
pub fn studies(name: &str) -> anyhow::Result<(SampleCase, &'static str, Instances)> {
    let case = case(name);
    Ok(match name {
        "head-ct" => {
            let instances = Box::new(head_ct(24, 256, &case));
            (
                case,
                "CT head, 24 slices, fresh bleed, STAT order; Explicit VR Little Endian, ISO_IR 100",
                instances as Instances,
            )
        }
        "chest-dx-rle" => {
            let instance = chest_dx(768, 896, &case);
            (case, "DX chest PA, right lower infiltrate; RLE Lossless, ISO_IR 100", Box::new(iter::once(instance)))
        }
        "brain-mr-implicit" => {
            let instances = Box::new(brain_mr(20, 128, &case));
            (case, "MR brain, 20 slices; Implicit VR Little Endian, no character set named", instances)
        }
        "heart-us-deflated" => {
            let instance = heart_us(16, 320, 240, &case)?;
            (
                case,
                "US heart, one multi-frame of 16 frames; Deflated Explicit VR Little Endian",
                Box::new(iter::once(instance)),
            )
        }
        "colon-slide" => {
            let instance = slide(4, 4, "S26-000123-A1", &case);
            (
                case,
                "SM whole slide, 16 tiles, container S26-000123-A1; Explicit VR Little Endian",
                Box::new(iter::once(instance)),
            )
        }
        "chest-cr-latin2" => {
            let instance = chest_cr(448, 512, &case);
            (
                case,
                "CR chest PA with a Polish name; Explicit VR Little Endian, ISO_IR 101",
                Box::new(iter::once(instance)),
            )
        }
        "head-ct-czech" => {
            let instances = Box::new(head_ct(6, 128, &case));
            (case, "CT head, 6 slices, with Czech names; Explicit VR Little Endian, ISO_IR 192", instances)
        }
        other => bail!("there is no sample study \"{other}\": expected one of {}", NAMES.join(", ")),
    })
}

fn case(name: &str) -> SampleCase {
    let number = NAMES.iter().position(|known| *known == name).unwrap_or_default() as u64 + 1;
    let base = SampleCase { key: format!("sample {name}"), ..SampleCase::numbered(number) };
    let latin1 = "ISO_IR 100".to_owned();
    match name {
        "head-ct" => SampleCase {
            patient_name: "Müsterfrau^Erika^^^".to_owned(),
            sex: "F".to_owned(),
            charset: latin1,
            priority: "STAT".to_owned(),
            description: "CT Schädel nativ".to_owned(),
            referring: "Größner^Ada^^Dr.".to_owned(),
            ..base
        },
        "chest-dx-rle" => SampleCase {
            patient_name: "Beispielmann^Jörg".to_owned(),
            sex: "M".to_owned(),
            charset: latin1,
            description: "Röntgen Thorax p.a.".to_owned(),
            ..without_order(base)
        },
        "brain-mr-implicit" => SampleCase {
            patient_name: "Probstein^Anna".to_owned(),
            sex: "F".to_owned(),
            charset: String::new(),
            ..without_order(base)
        },
        "colon-slide" => SampleCase { patient_name: "Vorlage^Hanna".to_owned(), sex: "F".to_owned(), ..base },
        "chest-cr-latin2" => SampleCase {
            patient_name: "Świątek^Łucja".to_owned(),
            sex: "F".to_owned(),
            charset: "ISO_IR 101".to_owned(),
            description: "RTG klatki piersiowej PA".to_owned(),
            referring: "Wzorcowa^Żaneta^^dr".to_owned(),
            ..base
        },
        "head-ct-czech" => SampleCase {
            patient_name: "Vzorový^Jiří".to_owned(),
            sex: "M".to_owned(),
            description: "CT hlavy bez kontrastu, večer".to_owned(),
            referring: "Příkladná^Růžena^^MUDr.".to_owned(),
            ..base
        },
        _ => without_order(base),
    }
}

fn without_order(case: SampleCase) -> SampleCase {
    SampleCase { placer_order: String::new(), filler_order: String::new(), ..case }
}

pub(super) fn readme(studies: &[SampleStudy]) -> String {
    let mut text =
        "# Sample studies\n\nMade by `neisse sample`, the same on every run. Synthetic: every patient is invented, \
                    every pixel comes\nfrom a formula, and SYNTHETIC is burned in.\n\n"
            .to_owned();
    for study in studies {
        let folder = study.folder.file_name().unwrap_or_default().to_string_lossy();
        // Writing to a String has no way to fail.
        let _written = writeln!(text, "- `{folder}/`: {}.", study.about);
    }
    text
}
