//! Head CT (Explicit VR Little Endian) and head MR (Implicit VR Little Endian), slice by slice.

use super::{
    SampleCase, SampleInstance, data_set::Coding, data_set::DataSet, font, instance, instance::Series, phantom,
    phantom::Head, phantom::Tissue,
};
use dicom_core::VR;
use dicom_dictionary_std::tags;

const FIELD_OF_VIEW_MM: f32 = 230.0;
const HEAD_HEIGHT_MM: f32 = 144.0;

const CT: Series<'static> = Series {
    sop_class: "1.2.840.10008.5.1.4.1.1.2",
    modality: "CT",
    description: "CT head without contrast",
    body_part: "HEAD",
    manufacturer: "Neisse",
    number: 2,
};

const MR: Series<'static> = Series {
    sop_class: "1.2.840.10008.5.1.4.1.1.4",
    modality: "MR",
    description: "MR brain T2 axial",
    body_part: "BRAIN",
    manufacturer: "Neisse",
    number: 3,
};

/// An axial head CT of `slices` slices of `size` x `size` pixels, 16 bits each, with a fresh bleed. 512 x 512 makes
/// instances of 526 KB.
pub fn head_ct(slices: usize, size: u16, case: &SampleCase) -> impl Iterator<Item = SampleInstance> + use<> {
    let case = case.clone();
    (0..slices).map(move |slice| ct_slice(&case, slices, slice, size))
}

/// An axial MR of the brain. 132 x 132 pixels make instances of 36 KB.
pub fn brain_mr(slices: usize, size: u16, case: &SampleCase) -> impl Iterator<Item = SampleInstance> + use<> {
    let case = case.clone();
    (0..slices).map(move |slice| mr_slice(&case, slices, slice, size))
}

fn ct_slice(case: &SampleCase, slices: usize, slice: usize, size: u16) -> SampleInstance {
    let (mut set, uid) = instance::common(case, &CT, slice);
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::KVP, "120"),
        (tags::X_RAY_TUBE_CURRENT, "250"),
        (tags::CONVOLUTION_KERNEL, "SYNTHETIC"),
        (tags::ACQUISITION_NUMBER, "1"),
        (tags::RESCALE_INTERCEPT, "-1024"),
        (tags::RESCALE_SLOPE, "1"),
        (tags::RESCALE_TYPE, "HU"),
        (tags::WINDOW_CENTER, "40"),
        (tags::WINDOW_WIDTH, "80"),
    ]);
    place_slice(&mut set, case, slices, slice, size);
    instance::grey(&mut set, size, size, 16, 12);
    let pixels = pixels(slices, slice, size, 40, |tissue, noise| {
        let (mean, spread) = hounsfield(tissue);
        (1024.0 + mean + (noise - 0.5) * spread).clamp(0.0, 4095.0) as u16
    });
    set.pixels(VR::OW, pixels);
    instance::made(&CT, uid, instance::EXPLICIT_LE, set.encode(Coding::ExplicitLe))
}

fn mr_slice(case: &SampleCase, slices: usize, slice: usize, size: u16) -> SampleInstance {
    let (mut set, uid) = instance::common(case, &MR, slice);
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\M\\SE"),
        (tags::SCANNING_SEQUENCE, "SE"),
        (tags::SEQUENCE_VARIANT, "SK"),
        (tags::SCAN_OPTIONS, ""),
        (tags::MR_ACQUISITION_TYPE, "2D"),
        (tags::REPETITION_TIME, "4800"),
        (tags::ECHO_TIME, "96"),
        (tags::ECHO_TRAIN_LENGTH, "12"),
        (tags::MAGNETIC_FIELD_STRENGTH, "1.5"),
        (tags::WINDOW_CENTER, "600"),
        (tags::WINDOW_WIDTH, "1200"),
    ]);
    place_slice(&mut set, case, slices, slice, size);
    instance::grey(&mut set, size, size, 16, 12);
    let pixels = pixels(slices, slice, size, 900, |tissue, noise| {
        let (mean, spread) = t2_signal(tissue);
        (mean + (noise - 0.5) * spread).max(0.0) as u16
    });
    set.pixels(VR::OW, pixels);
    instance::made(&MR, uid, instance::IMPLICIT_LE, set.encode(Coding::ImplicitLe))
}

/// Frame of Reference, Image Plane (PS3.3 C.7.4.1, C.7.6.2): slices from the skull base up.
fn place_slice(set: &mut DataSet, case: &SampleCase, slices: usize, slice: usize, size: u16) {
    let spacing = FIELD_OF_VIEW_MM / f32::from(size);
    let thickness = HEAD_HEIGHT_MM / slices.max(1) as f32;
    let at = slice as f32 * thickness;
    let corner = -FIELD_OF_VIEW_MM / 2.0 + spacing / 2.0;
    set.texts(&[
        (tags::PATIENT_POSITION, "HFS"),
        (tags::FRAME_OF_REFERENCE_UID, instance::sample_uid(&[&case.key, "frame of reference"]).as_str()),
        (tags::POSITION_REFERENCE_INDICATOR, ""),
        (tags::IMAGE_ORIENTATION_PATIENT, "1\\0\\0\\0\\1\\0"),
        (tags::IMAGE_POSITION_PATIENT, &format!("{corner:.4}\\{corner:.4}\\{at:.4}")),
        (tags::SLICE_LOCATION, &format!("{at:.4}")),
        (tags::SLICE_THICKNESS, &format!("{thickness:.4}")),
        (tags::SPACING_BETWEEN_SLICES, &format!("{thickness:.4}")),
        (tags::PIXEL_SPACING, &format!("{spacing:.6}\\{spacing:.6}")),
    ]);
}

fn pixels(slices: usize, slice: usize, size: u16, grain: u32, value: impl Fn(Tissue, f32) -> u16) -> Vec<u8> {
    let head = Head::slice((slice as f32 + 0.5) / slices.max(1) as f32);
    let coordinates = instance::coordinates(size);
    let seed = grain + slice as u32;
    let mut pixels = Vec::with_capacity(coordinates.len() * coordinates.len());
    for (row, y) in coordinates.iter().enumerate() {
        for (column, x) in coordinates.iter().enumerate() {
            pixels.push(value(head.tissue(*x, *y), phantom::noise(seed, column as i32, row as i32)));
        }
    }
    font::burn_into(&mut pixels, usize::from(size), 2400);
    pixels.into_iter().flat_map(u16::to_le_bytes).collect()
}

/// Hounsfield units: mean, and the width of the noise.
fn hounsfield(tissue: Tissue) -> (f32, f32) {
    match tissue {
        Tissue::Air => (-1000.0, 30.0),
        Tissue::Table => (-650.0, 60.0),
        Tissue::Skin => (48.0, 14.0),
        Tissue::Bone => (1250.0, 120.0),
        Tissue::Diploe => (620.0, 160.0),
        Tissue::Csf => (7.0, 9.0),
        Tissue::Grey => (38.0, 10.0),
        Tissue::White => (28.0, 10.0),
        Tissue::Blood => (66.0, 10.0),
        Tissue::Oedema => (19.0, 9.0),
        Tissue::Eye => (12.0, 9.0),
    }
}

/// T2-weighted signal: mean, and the width of the noise.
fn t2_signal(tissue: Tissue) -> (f32, f32) {
    match tissue {
        Tissue::Air | Tissue::Table => (14.0, 24.0),
        Tissue::Skin => (420.0, 60.0),
        Tissue::Bone => (40.0, 40.0),
        Tissue::Diploe => (330.0, 80.0),
        Tissue::Csf => (1120.0, 60.0),
        Tissue::Grey => (610.0, 60.0),
        Tissue::White => (430.0, 50.0),
        Tissue::Blood => (260.0, 60.0),
        Tissue::Oedema => (880.0, 60.0),
        Tissue::Eye => (1080.0, 60.0),
    }
}
