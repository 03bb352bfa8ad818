//! Whole-slide images: a small one in memory, and one of any size streamed to a file in constant memory.

use super::{
    SampleCase, SampleInstance, data_set, data_set::Coding, data_set::DataSet, font, instance, instance::Series,
    phantom, rle,
};
use crate::model::Uid;
use anyhow::Context;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

const TILE: u16 = 256;
const MICRONS_A_PIXEL: f32 = 0.5;
/// Different tiles of a streamed slide; the rest repeats them.
const DISTINCT_TILES: u32 = 16;

const SM: Series<'static> = Series {
    sop_class: "1.2.840.10008.5.1.4.1.1.77.1.6",
    modality: "SM",
    description: "Colon biopsy, HE",
    body_part: "COLON",
    manufacturer: "Neisse",
    number: 1,
};

/// A whole-slide image of `across` x `down` tiles of 256 pixels, uncompressed. `container` is what the glass is
/// labelled with (0040,0512).
pub fn slide(across: u16, down: u16, container: &str, case: &SampleCase) -> SampleInstance {
    let (mut set, uid) = header(case, container, u32::from(across), u32::from(down));
    let mut pixels = Vec::new();
    for row in 0..u32::from(down) {
        for column in 0..u32::from(across) {
            pixels.append(&mut tile(column, row, u32::from(across), u32::from(down)));
        }
    }
    set.pixels(VR::OB, pixels);
    instance::made(&SM, uid, instance::EXPLICIT_LE, set.encode(Coding::ExplicitLe))
}

/// A streamed slide that has been written.
#[derive(Clone, Debug)]
pub struct LargeSlide {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub tiles: u32,
    /// Length of the file.
    pub bytes: u64,
}

/// Writes a whole-slide image of about `bytes` bytes, RLE Lossless, one fragment a tile, as a DICOM file. Memory stays
/// at a few tiles, whatever the size.
///
/// # Errors
/// When the file cannot be written.
pub fn write_large_slide(to: &Path, bytes: u64, container: &str, case: &SampleCase) -> anyhow::Result<LargeSlide> {
    let fragments: Vec<Vec<u8>> = (0..DISTINCT_TILES)
        .map(|n| rle::frame(&rle::planes_of_rgb(&tile(2 + n % 4, 2 + n / 4, 8, 8)), usize::from(TILE)))
        .collect();
    let mean = fragments.iter().map(|fragment| fragment.len() as u64 + 8).sum::<u64>() / u64::from(DISTINCT_TILES);
    let across = ((bytes / mean).max(1) as f64).sqrt().ceil() as u32;
    let down = u32::try_from((bytes / mean).max(1).div_ceil(u64::from(across)))?;
    let (set, uid) = header(case, container, across, down);
    let made = instance::made(&SM, uid, instance::RLE, set.encode(Coding::ExplicitLe));

    let file = File::create(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let mut out = BufWriter::with_capacity(1024 * 1024, file);
    out.write_all(&made.part10())?;
    let mut piece = Vec::new();
    data_set::encapsulated_start(&mut piece);
    let tiles = across.saturating_mul(down);
    for fragment in fragments.iter().cycle().take(tiles as usize) {
        data_set::item_start(&mut piece, fragment.len() as u32);
        out.write_all(&piece)?;
        out.write_all(fragment)?;
        piece.clear();
    }
    data_set::encapsulated_end(&mut piece);
    out.write_all(&piece)?;
    out.flush()?;
    let bytes = out.get_ref().metadata()?.len();
    let SampleInstance { sop_class, sop_instance, transfer_syntax, .. } = made;
    Ok(LargeSlide { sop_class, sop_instance, transfer_syntax, tiles, bytes })
}

fn tile(column: u32, row: u32, across: u32, down: u32) -> Vec<u8> {
    let side = u32::from(TILE);
    let mut pixels: Vec<[u8; 3]> = Vec::with_capacity(usize::from(TILE) * usize::from(TILE));
    for y in 0..side {
        for x in 0..side {
            pixels.push(phantom::stained_section(column * side + x, row * side + y, across * side, down * side));
        }
    }
    if column == 0 && row == 0 || across == 8 {
        font::burn_into(&mut pixels, usize::from(TILE), [20, 20, 60]);
    }
    pixels.into_iter().flatten().collect()
}

/// Everything but the pixels (PS3.3 A.32.8).
fn header(case: &SampleCase, container: &str, across: u32, down: u32) -> (DataSet, Uid) {
    let (mut set, uid) = instance::common(case, &SM, 0);
    let (width, height) = (across * u32::from(TILE), down * u32::from(TILE));
    set.texts(&[
        (tags::IMAGE_TYPE, "ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
        (tags::ACQUISITION_DATE_TIME, &format!("{}{}", case.study_date, case.study_time)),
        (tags::VOLUMETRIC_PROPERTIES, "VOLUME"),
        (tags::POSITION_REFERENCE_INDICATOR, "SLIDE_CORNER"),
        (tags::FRAME_OF_REFERENCE_UID, instance::sample_uid(&[&case.key, "frame of reference"]).as_str()),
        (tags::PHOTOMETRIC_INTERPRETATION, "RGB"),
        (tags::NUMBER_OF_FRAMES, &across.saturating_mul(down).to_string()),
        (tags::SPECIMEN_LABEL_IN_IMAGE, "NO"),
        (tags::FOCUS_METHOD, "AUTO"),
        (tags::EXTENDED_DEPTH_OF_FIELD, "NO"),
        (tags::DIMENSION_ORGANIZATION_TYPE, "TILED_FULL"),
    ]);
    set.numbers(&[
        (tags::SAMPLES_PER_PIXEL, 3),
        (tags::PLANAR_CONFIGURATION, 0),
        (tags::ROWS, TILE),
        (tags::COLUMNS, TILE),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ]);
    set.ul(tags::TOTAL_PIXEL_MATRIX_COLUMNS, width).ul(tags::TOTAL_PIXEL_MATRIX_ROWS, height);
    set.ul(tags::TOTAL_PIXEL_MATRIX_FOCAL_PLANES, 1).ul(tags::NUMBER_OF_OPTICAL_PATHS, 1);
    let millimetres = MICRONS_A_PIXEL / 1000.0;
    set.fl(tags::IMAGED_VOLUME_WIDTH, width as f32 * millimetres);
    set.fl(tags::IMAGED_VOLUME_HEIGHT, height as f32 * millimetres);
    set.fl(tags::IMAGED_VOLUME_DEPTH, 1.0);
    geometry(&mut set, case);
    specimen(&mut set, container, case);
    (set, uid)
}

fn geometry(set: &mut DataSet, case: &SampleCase) {
    set.text(tags::IMAGE_ORIENTATION_SLIDE, "0\\-1\\0\\-1\\0\\0");
    let mut origin = DataSet::item();
    origin
        .texts(&[(tags::X_OFFSET_IN_SLIDE_COORDINATE_SYSTEM, "20"), (tags::Y_OFFSET_IN_SLIDE_COORDINATE_SYSTEM, "40")]);
    set.items(tags::TOTAL_PIXEL_MATRIX_ORIGIN_SEQUENCE, vec![origin]);

    let mut organization = DataSet::item();
    organization.text(tags::DIMENSION_ORGANIZATION_UID, instance::sample_uid(&[&case.key, "dimensions"]).as_str());
    set.items(tags::DIMENSION_ORGANIZATION_SEQUENCE, vec![organization]);

    let mut path = DataSet::item();
    path.text(tags::OPTICAL_PATH_IDENTIFIER, "1");
    path.code(tags::ILLUMINATION_TYPE_CODE_SEQUENCE, "111744", "DCM", "Brightfield illumination");
    path.code(tags::ILLUMINATION_COLOR_CODE_SEQUENCE, "371251000", "SCT", "White");
    set.items(tags::OPTICAL_PATH_SEQUENCE, vec![path]);

    let mut measures = DataSet::item();
    let spacing = format!("{0}\\{0}", MICRONS_A_PIXEL / 1000.0);
    measures.texts(&[(tags::SLICE_THICKNESS, "0.001"), (tags::PIXEL_SPACING, &spacing)]);
    let mut frame_type = DataSet::item();
    frame_type.text(tags::FRAME_TYPE, "ORIGINAL\\PRIMARY\\VOLUME\\NONE");
    let mut identification = DataSet::item();
    identification.text(tags::OPTICAL_PATH_IDENTIFIER, "1");
    let mut shared = DataSet::item();
    shared.items(tags::PIXEL_MEASURES_SEQUENCE, vec![measures]);
    shared.items(tags::WHOLE_SLIDE_MICROSCOPY_IMAGE_FRAME_TYPE_SEQUENCE, vec![frame_type]);
    shared.items(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE, vec![identification]);
    set.items(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, vec![shared]);
}

/// Specimen module (PS3.3 C.7.6.22): the glass, and the block on it.
fn specimen(set: &mut DataSet, container: &str, case: &SampleCase) {
    let mut description = DataSet::new(&case.charset);
    description.texts(&[
        (tags::SPECIMEN_IDENTIFIER, container),
        (tags::SPECIMEN_UID, instance::sample_uid(&[&case.key, "specimen"]).as_str()),
        (tags::SPECIMEN_SHORT_DESCRIPTION, "Colon biopsy, block A, HE"),
    ]);
    description.items(tags::ISSUER_OF_THE_SPECIMEN_IDENTIFIER_SEQUENCE, Vec::new());
    description.items(tags::SPECIMEN_PREPARATION_SEQUENCE, Vec::new());
    description.code(tags::SPECIMEN_TYPE_CODE_SEQUENCE, "430856003", "SCT", "Tissue section");
    description.code(tags::PRIMARY_ANATOMIC_STRUCTURE_SEQUENCE, "71854001", "SCT", "Colon");
    set.text(tags::CONTAINER_IDENTIFIER, container);
    set.items(tags::ISSUER_OF_THE_CONTAINER_IDENTIFIER_SEQUENCE, Vec::new());
    set.code(tags::CONTAINER_TYPE_CODE_SEQUENCE, "258661006", "SCT", "Slide");
    set.items(tags::SPECIMEN_DESCRIPTION_SEQUENCE, vec![description]);
}
