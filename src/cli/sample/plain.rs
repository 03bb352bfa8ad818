//! Projection and cine: a chest X-ray (DX by RLE Lossless, CR uncompressed) and an ultrasound clip (deflated).

use super::{SampleCase, SampleInstance, data_set::Coding, font, instance, instance::Series, phantom, rle};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use flate2::{Compression, write::DeflateEncoder};
use std::io::Write;

const DX: Series<'static> = Series {
    sop_class: "1.2.840.10008.5.1.4.1.1.1.1",
    modality: "DX",
    description: "Chest PA",
    body_part: "CHEST",
    manufacturer: "Neisse",
    number: 1,
};

const CR: Series<'static> = Series { sop_class: "1.2.840.10008.5.1.4.1.1.1", modality: "CR", ..DX };

const US: Series<'static> = Series {
    sop_class: "1.2.840.10008.5.1.4.1.1.3.1",
    modality: "US",
    description: "Echocardiography, apical four-chamber view",
    body_part: "HEART",
    manufacturer: "Neisse",
    number: 1,
};

/// Digital X-ray of a chest with an infiltrate in the right lower zone, RLE Lossless.
pub fn chest_dx(columns: u16, rows: u16, case: &SampleCase) -> SampleInstance {
    let (mut set, uid) = instance::common(case, &DX, 0);
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY"),
        (tags::PRESENTATION_INTENT_TYPE, "FOR PRESENTATION"),
        (tags::IMAGER_PIXEL_SPACING, "0.4\\0.4"),
        (tags::DETECTOR_TYPE, "SCINTILLATOR"),
        (tags::POSITIONER_TYPE, "NONE"),
        (tags::PATIENT_ORIENTATION, "L\\F"),
        (tags::IMAGE_LATERALITY, "U"),
        (tags::PIXEL_INTENSITY_RELATIONSHIP, "LOG"),
        (tags::RESCALE_INTERCEPT, "0"),
        (tags::RESCALE_SLOPE, "1"),
        (tags::RESCALE_TYPE, "US"),
        (tags::PRESENTATION_LUT_SHAPE, "IDENTITY"),
        (tags::VIEW_POSITION, "PA"),
        (tags::WINDOW_CENTER, "2048"),
        (tags::WINDOW_WIDTH, "4096"),
    ]);
    set.code(tags::ANATOMIC_REGION_SEQUENCE, "43799004", "SCT", "Chest");
    set.code(tags::VIEW_CODE_SEQUENCE, "399348003", "SCT", "postero-anterior");
    set.items(tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new());
    // Pixel Intensity Relationship Sign (0028,1041): more X-rays, lower values: -1.
    set.ss(tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN, -1);
    instance::grey(&mut set, columns, rows, 16, 12);
    let pixels = chest_pixels(columns, rows);
    set.frames(vec![rle::frame(&rle::planes_of_16_bit(&pixels), usize::from(columns))]);
    instance::made(&DX, uid, instance::RLE, set.encode(Coding::ExplicitLe))
}

/// The same by computed radiography, uncompressed.
pub fn chest_cr(columns: u16, rows: u16, case: &SampleCase) -> SampleInstance {
    let (mut set, uid) = instance::common(case, &CR, 0);
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY"),
        (tags::IMAGER_PIXEL_SPACING, "0.8\\0.8"),
        (tags::PATIENT_ORIENTATION, "L\\F"),
        (tags::LATERALITY, ""),
        (tags::VIEW_POSITION, "PA"),
        (tags::WINDOW_CENTER, "2048"),
        (tags::WINDOW_WIDTH, "4096"),
    ]);
    instance::grey(&mut set, columns, rows, 16, 12);
    set.pixels(VR::OW, chest_pixels(columns, rows).into_iter().flat_map(u16::to_le_bytes).collect());
    instance::made(&CR, uid, instance::EXPLICIT_LE, set.encode(Coding::ExplicitLe))
}

fn chest_pixels(columns: u16, rows: u16) -> Vec<u16> {
    let (xs, ys) = (instance::coordinates(columns), instance::coordinates(rows));
    let mut pixels = Vec::with_capacity(xs.len() * ys.len());
    for (row, y) in ys.iter().enumerate() {
        for (column, x) in xs.iter().enumerate() {
            let grain = phantom::noise(77, column as i32, row as i32) * 40.0;
            pixels.push((phantom::chest(*x, *y) * 4000.0 + grain).clamp(0.0, 4095.0) as u16);
        }
    }
    font::burn_into(&mut pixels, usize::from(columns), 3600);
    pixels
}

/// Ultrasound multi-frame: a beating heart, `frames` frames to a beat, Deflated Explicit VR Little Endian.
///
/// # Errors
/// None in practice: deflating into memory does not fail.
pub fn heart_us(frames: u16, columns: u16, rows: u16, case: &SampleCase) -> anyhow::Result<SampleInstance> {
    let (mut set, uid) = instance::common(case, &US, 0);
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY"),
        (tags::NUMBER_OF_FRAMES, &frames.to_string()),
        (tags::FRAME_TIME, "40"),
        (tags::CINE_RATE, "25"),
        (tags::PATIENT_ORIENTATION, ""),
    ]);
    set.at(tags::FRAME_INCREMENT_POINTER, tags::FRAME_TIME);
    instance::grey(&mut set, columns, rows, 8, 8);
    set.pixels(VR::OW, echo_frames(frames, columns, rows));
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&set.encode(Coding::ExplicitLe))?;
    let mut deflated = encoder.finish()?;
    if !deflated.len().is_multiple_of(2) {
        // PS3.5 A.5
        deflated.push(0);
    }
    Ok(instance::made(&US, uid, instance::DEFLATED, deflated))
}

fn echo_frames(frames: u16, columns: u16, rows: u16) -> Vec<u8> {
    let (xs, ys) = (instance::coordinates(columns), instance::coordinates(rows));
    let wide = f32::from(columns) / f32::from(rows.max(1));
    let mut all = Vec::new();
    for frame in 0..frames {
        let phase = f32::from(frame) / f32::from(frames);
        let mut pixels = Vec::with_capacity(xs.len() * ys.len());
        for y in &ys {
            for x in &xs {
                pixels.push((phantom::heart_echo(x * wide, *y, phase, u32::from(frame)) * 255.0) as u8);
            }
        }
        font::burn_into(&mut pixels, usize::from(columns), 200);
        all.append(&mut pixels);
    }
    all
}
