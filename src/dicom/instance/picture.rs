//! One frame as a picture for a screen: decoded, windowed, eight bits a colour (PS3.18 8.7.4). For lists and thumbnails;
//! nobody diagnoses from it.
//!
//! In: a header and the bytes of one frame. Out: grey or RGB. Bounded before anything is decoded: a JPEG whose own size is
//! not that of the header is refused, because its decoder would believe it.

use super::{
    InstanceError,
    head::Head,
    malformed,
    tree::{Element, Items, find},
};
use dicom_core::{DataElement, PrimitiveValue, VR, value::PixelFragmentSequence};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::{PhotometricInterpretation, PixelDecoder as _};

/// Decoded bytes of a frame. A mammogram takes 30 MB.
const MAX_FRAME_BYTES: u64 = 128 << 20;
const JPEG: &str = "1.2.840.10008.1.2.4.";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 1: grey; 3: RGB.
    pub channels: usize,
    pub bytes: Vec<u8>,
}

/// What the header says of how pixels are shown.
struct Shown {
    rows: u64,
    columns: u64,
    samples: u64,
    bits_allocated: u64,
    bits_stored: u32,
    is_signed: bool,
    planar: u64,
    photometric: String,
    rescale: (f64, f64),
    window: Option<(f64, f64)>,
    function: String,
    palette: Option<[Palette; 3]>,
}

struct Palette {
    first: i32,
    /// The upper eight bits of each entry.
    entries: Vec<u8>,
}

impl Picture {
    /// Makes it of `frame`, the bytes of frame `number` (from 1). Slow: a thread of its own.
    ///
    /// # Errors
    /// When the frame is not what the header says, or is in a form that is not decoded here.
    pub fn of(head: &Head, frame: Vec<u8>, number: u64) -> Result<Self, InstanceError> {
        let shown = Shown::of(head, number)?;
        let size = shown.rows * shown.columns * shown.samples * shown.bits_allocated.div_ceil(8);
        if size == 0 || size > MAX_FRAME_BYTES || !matches!(shown.bits_allocated, 8 | 16) {
            return malformed(0, "a frame of a size that is not shown");
        }
        let is_native = head.pixels.is_some_and(|pixels| pixels.length.is_some());
        let (bytes, photometric, planar) =
            if is_native { (frame, shown.photometric.clone(), shown.planar) } else { decoded(head, &shown, frame)? };
        if (bytes.len() as u64) < size {
            return malformed(0, "a frame shorter than its size");
        }
        let big_endian = is_native && head.is_big_endian();
        match (shown.samples, photometric.as_str()) {
            (1, "PALETTE COLOR") => shown.by_palette(&bytes, big_endian),
            (1, _) => Ok(shown.grey(&bytes, big_endian, &photometric)),
            (3, "RGB" | "YBR_FULL" | "YBR_RCT" | "YBR_ICT") if shown.bits_allocated == 8 => {
                Ok(shown.coloured(&bytes, planar, photometric == "YBR_FULL"))
            }
            _ => malformed(0, "colours that are not shown"),
        }
    }

    /// Made smaller to fit, by the mean of what falls together; never larger.
    pub fn fitting(self, width: usize, height: usize) -> Self {
        let (to_width, to_height) = {
            let (width, height) = (width.max(1), height.max(1));
            let by_width = (width, (self.height * width / self.width).max(1));
            if by_width.1 <= height { by_width } else { ((self.width * height / self.height).max(1), height) }
        };
        if to_width >= self.width || to_height >= self.height {
            return self;
        }
        let mut bytes = Vec::with_capacity(to_width * to_height * self.channels);
        for y in 0..to_height {
            let rows =
                y * self.height / to_height..((y + 1) * self.height / to_height).max(y * self.height / to_height + 1);
            for x in 0..to_width {
                let from = x * self.width / to_width;
                let columns = from..((x + 1) * self.width / to_width).max(from + 1);
                for channel in 0..self.channels {
                    bytes.push(self.mean(rows.clone(), columns.clone(), channel));
                }
            }
        }
        Self { width: to_width, height: to_height, channels: self.channels, bytes }
    }

    fn mean(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>, channel: usize) -> u8 {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for row in rows {
            for column in columns.clone() {
                let at = (row * self.width + column) * self.channels + channel;
                sum += u64::from(self.bytes.get(at).copied().unwrap_or(0));
                count += 1;
            }
        }
        u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)
    }
}

impl Shown {
    fn of(head: &Head, number: u64) -> Result<Self, InstanceError> {
        let elements = head.elements()?;
        let bytes = head.bytes();
        let us = |tag, otherwise: u64| unsigned(&elements, bytes, tag).unwrap_or(otherwise);
        let groups = groups(&elements, number);
        let real = |sequence: u32, tag: u32| {
            let in_group = groups.iter().find_map(|group| find(group, sequence)?.items().first());
            in_group.and_then(|item| decimal(item, bytes, tag)).or_else(|| decimal(&elements, bytes, tag))
        };
        let window = real(0x0028_9132, 0x0028_1050).zip(real(0x0028_9132, 0x0028_1051));
        let palette = [0_u32, 1, 2].map(|colour| palette(&elements, bytes, colour));
        let palette = match palette {
            [Some(red), Some(green), Some(blue)] => Some([red, green, blue]),
            _ => None,
        };
        Ok(Self {
            rows: us(0x0028_0010, 0),
            columns: us(0x0028_0011, 0),
            samples: us(0x0028_0002, 1),
            bits_allocated: us(0x0028_0100, 8),
            bits_stored: u32::try_from(us(0x0028_0101, 8)).unwrap_or(8).clamp(1, 16),
            is_signed: us(0x0028_0103, 0) == 1,
            planar: us(0x0028_0006, 0),
            photometric: text(&elements, bytes, 0x0028_0004),
            rescale: (real(0x0028_9145, 0x0028_1053).unwrap_or(1.0), real(0x0028_9145, 0x0028_1052).unwrap_or(0.0)),
            window: window.filter(|(_, width)| *width >= 1.0),
            function: text(&elements, bytes, 0x0028_1056),
            palette,
        })
    }

    fn stored_values<'a>(&self, bytes: &'a [u8], big_endian: bool) -> impl Iterator<Item = i32> + use<'a> {
        let wide = self.bits_allocated == 16;
        let (shift, is_signed) = (32 - self.bits_stored, self.is_signed);
        let count = usize::try_from(self.rows * self.columns).unwrap_or(0);
        bytes.chunks_exact(if wide { 2 } else { 1 }).take(count).map(move |sample| {
            let value = match sample {
                [a, b] if big_endian => u32::from(u16::from_be_bytes([*a, *b])),
                [a, b] => u32::from(u16::from_le_bytes([*a, *b])),
                other => u32::from(other.first().copied().unwrap_or(0)),
            };
            // What stands above the stored bits is not the image's.
            if is_signed {
                ((value << shift).cast_signed()) >> shift
            } else {
                ((value << shift) >> shift).cast_signed()
            }
        })
    }

    /// Through a table of all values that there can be: a frame has many more pixels.
    fn grey(&self, bytes: &[u8], big_endian: bool, photometric: &str) -> Picture {
        let values = || self.stored_values(bytes, big_endian);
        let (slope, intercept) = self.rescale;
        let rescaled = |value: i32| f64::from(value) * slope + intercept;
        let (center, width) = self.window.unwrap_or_else(|| {
            let (least, most) = values().fold((i32::MAX, i32::MIN), |(a, b), v| (a.min(v), b.max(v)));
            // The slope may be negative.
            let (one, other) = (rescaled(least), rescaled(most));
            ((one + other + 1.0) / 2.0, ((one - other).abs() + 1.0).max(1.0))
        });
        let inverse = photometric == "MONOCHROME1";
        let shade = |value: i32| {
            let share = self.share(rescaled(value), center, width).clamp(0.0, 1.0);
            let share = if inverse { 1.0 - share } else { share };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
            let shade = (share * 255.0).round() as u8;
            shade
        };
        let all = 1 << self.bits_stored;
        let first = if self.is_signed { -all / 2 } else { 0 };
        let shades: Vec<u8> = (first..first + all).map(shade).collect();
        let shown =
            |value: i32| usize::try_from(value - first).ok().and_then(|at| shades.get(at)).copied().unwrap_or(0);
        let bytes = values().map(shown).collect();
        Picture { width: self.width(), height: self.height(), channels: 1, bytes }
    }

    /// PS3.3 C.11.2.1.2 and C.11.2.1.3.
    fn share(&self, value: f64, center: f64, width: f64) -> f64 {
        match self.function.as_str() {
            "SIGMOID" => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
            "LINEAR_EXACT" => (value - center) / width + 0.5,
            _ if width <= 1.0 => f64::from(u8::from(value > center - 0.5)),
            _ => (value - (center - 0.5)) / (width - 1.0) + 0.5,
        }
    }

    fn coloured(&self, bytes: &[u8], planar: u64, ybr: bool) -> Picture {
        let count = self.width() * self.height();
        let at = |pixel: usize, colour: usize| {
            let index = if planar == 1 { colour * count + pixel } else { pixel * 3 + colour };
            bytes.get(index).copied().unwrap_or(0)
        };
        let pixels = (0..count).flat_map(|pixel| {
            let samples = [at(pixel, 0), at(pixel, 1), at(pixel, 2)];
            if ybr { rgb_of(samples) } else { samples }
        });
        Picture { width: self.width(), height: self.height(), channels: 3, bytes: pixels.collect() }
    }

    fn by_palette(&self, bytes: &[u8], big_endian: bool) -> Result<Picture, InstanceError> {
        let Some(palette) = &self.palette else { return malformed(0, "no palette that can be read") };
        let colour = |value: i32, palette: &Palette| {
            let last = palette.entries.len().saturating_sub(1);
            let index = usize::try_from(value.saturating_sub(palette.first)).unwrap_or(0).min(last);
            palette.entries.get(index).copied().unwrap_or(0)
        };
        let values = self.stored_values(bytes, big_endian);
        let bytes = values.flat_map(|value| palette.each_ref().map(|palette| colour(value, palette))).collect();
        Ok(Picture { width: self.width(), height: self.height(), channels: 3, bytes })
    }

    fn width(&self) -> usize {
        usize::try_from(self.columns).unwrap_or(0)
    }

    fn height(&self) -> usize {
        usize::try_from(self.rows).unwrap_or(0)
    }
}

/// PS3.3 C.7.6.3.1.2.
fn rgb_of([y, blue, red]: [u8; 3]) -> [u8; 3] {
    let (y, blue, red) = (f64::from(y), f64::from(blue) - 128.0, f64::from(red) - 128.0);
    let all = [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    all.map(|value| value.round().clamp(0.0, 255.0) as u8)
}

/// The functional groups of a frame, its own before those of all (PS3.3 C.7.6.16).
fn groups(elements: &[Element], number: u64) -> Vec<&Items> {
    let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let own = find(elements, 0x5200_9230).and_then(|sequence| sequence.items().get(index));
    let shared = find(elements, 0x5200_9229).and_then(|sequence| sequence.items().first());
    own.into_iter().chain(shared).collect()
}

fn text(elements: &[Element], head: &[u8], tag: u32) -> String {
    let bytes = find(elements, tag).map_or(&[][..], |element| element.bytes(head));
    String::from_utf8_lossy(bytes).trim_matches([' ', '\0']).to_owned()
}

/// The first of several.
fn decimal(elements: &[Element], head: &[u8], tag: u32) -> Option<f64> {
    let text = text(elements, head, tag);
    text.split('\\').next()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

fn unsigned(elements: &[Element], head: &[u8], tag: u32) -> Option<u64> {
    shorts(elements, head, tag).first().map(|value| u64::from(*value))
}

fn shorts(elements: &[Element], head: &[u8], tag: u32) -> Vec<u16> {
    let Some(element) = find(elements, tag) else { return Vec::new() };
    let read = |bytes: &[u8]| match (bytes, element.big_endian) {
        ([a, b], true) => u16::from_be_bytes([*a, *b]),
        ([a, b], false) => u16::from_le_bytes([*a, *b]),
        _ => 0,
    };
    element.bytes(head).chunks_exact(2).map(read).collect()
}

/// Palette Color Lookup Table Descriptor and Data (PS3.3 C.7.6.3.1.5 and .6).
fn palette(elements: &[Element], head: &[u8], colour: u32) -> Option<Palette> {
    let descriptor = shorts(elements, head, 0x0028_1101 + colour);
    let [count, first, bits] = descriptor[..] else { return None };
    let data = find(elements, 0x0028_1201 + colour)?;
    let count = if count == 0 { 65_536 } else { usize::from(count) };
    let raw = data.bytes(head);
    let entries: Vec<u8> = if bits == 8 && raw.len() < 2 * count {
        raw.iter().take(count).copied().collect()
    } else {
        let upper = |value: u16| u8::try_from(if bits == 8 { value & 0xFF } else { value >> 8 }).unwrap_or(u8::MAX);
        shorts(elements, head, 0x0028_1201 + colour).into_iter().take(count).map(upper).collect()
    };
    (!entries.is_empty()).then(|| Palette { first: i32::from(first.cast_signed()), entries })
}

/// By the library's codecs, from an object of the few elements that they look at.
fn decoded(head: &Head, shown: &Shown, frame: Vec<u8>) -> Result<(Vec<u8>, String, u64), InstanceError> {
    let syntax = head.transfer_syntax.as_str();
    if syntax.starts_with(JPEG) && !jpeg_is_of_size(&frame, shown) {
        return malformed(0, "a JPEG of another size than the header says, or none");
    }
    let mut object = InMemDicomObject::new_empty();
    let mut put = |tag, value: u64| {
        let value = PrimitiveValue::from(u16::try_from(value).unwrap_or(u16::MAX));
        object.put(DataElement::new(tag, VR::US, value));
    };
    put(tags::ROWS, shown.rows);
    put(tags::COLUMNS, shown.columns);
    put(tags::SAMPLES_PER_PIXEL, shown.samples);
    put(tags::BITS_ALLOCATED, shown.bits_allocated);
    put(tags::BITS_STORED, u64::from(shown.bits_stored));
    put(tags::HIGH_BIT, u64::from(shown.bits_stored - 1));
    put(tags::PIXEL_REPRESENTATION, u64::from(shown.is_signed));
    put(tags::PLANAR_CONFIGURATION, shown.planar);
    let photometric = PrimitiveValue::from(shown.photometric.as_str());
    object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric));
    let fragments: PixelFragmentSequence<Vec<u8>> = PixelFragmentSequence::new(Vec::<u32>::new(), vec![frame]);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, fragments));
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("1.2");
    let refused = || InstanceError::Malformed { at: 0, what: "a compression that is not decoded here" };
    let object = object.with_meta(meta).map_err(|_| refused())?;
    let decoded = object.decode_pixel_data_frame(0).map_err(|_| refused())?;
    let photometric = match decoded.photometric_interpretation() {
        PhotometricInterpretation::YbrFull | PhotometricInterpretation::YbrFull422 => "YBR_FULL".to_owned(),
        other => other.to_string(),
    };
    let planar = u64::from(decoded.planar_configuration() == dicom_pixeldata::PlanarConfiguration::PixelFirst);
    Ok((decoded.into_data(), photometric, planar))
}

/// Whether the first frame header (SOFn, ISO/IEC 10918-1 B.2.2) has the size that the data set says.
fn jpeg_is_of_size(jpeg: &[u8], shown: &Shown) -> bool {
    let mut at = 2;
    if !jpeg.starts_with(&[0xFF, 0xD8]) {
        return false;
    }
    while let Some([0xFF, marker, high, low]) = jpeg.get(at..at + 4) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if is_frame {
            let Some([height, height2, width, width2, components]) = jpeg.get(at + 5..at + 10) else { return false };
            let (height, width) = (u16::from_be_bytes([*height, *height2]), u16::from_be_bytes([*width, *width2]));
            return u64::from(height) == shown.rows
                && u64::from(width) == shown.columns
                && u64::from(*components) == shown.samples;
        }
        if *marker == 0xFF {
            at += 1;
        } else {
            at += 2 + length;
        }
    }
    false
}
