//! The sample studies taken apart: what is said of them in JSON, where their frames lie, what they look like.

use super::*;
use crate::{
    cli::sample::{SampleInstance, studies},
    dicom::charset::SenderCharset,
    model::Uid,
};
use proptest::prelude::*;

struct Whole(Vec<u8>);

impl ReadAt for Whole {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = from.checked_add(into.len()).and_then(|to| self.0.get(from..to));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The first instance of each sample study.
fn samples() -> Vec<(String, SampleInstance)> {
    ["head-ct", "chest-dx-rle", "brain-mr-implicit", "heart-us-deflated", "colon-slide", "chest-cr-latin2"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), studies(name).ok()?.2.next()?)))
        .collect()
}

#[test]
fn every_sample_is_told_in_json_and_its_frames_are_found_and_shown() {
    let samples = samples();
    assert!(samples.len() == 6, "{}", samples.len());
    for (name, sample) in samples {
        let source = Whole(sample.data_set.clone());
        let head = Head::read(&source, &sample.transfer_syntax).unwrap_or_else(|error| panic!("{name}: {error}"));
        let json = metadata(&head, &SenderCharset::default(), "/bulk").unwrap();
        assert_eq!(json["00080018"]["Value"][0], sample.sop_instance.as_str(), "{name}");
        assert_eq!(json["00080005"]["Value"][0], "ISO_IR 192");
        assert!(json["00100010"]["Value"][0]["Alphabetic"].is_string(), "{name}");
        assert_eq!(json["7FE00010"]["BulkDataURI"], "/bulk/7FE00010", "{name}");
        assert_eq!(path_of(&head, "7FE00010").unwrap(), Some(Bulk::Pixels));
        if head.is_deflated {
            continue;
        }
        let index = FrameIndex::read(&source, &head).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(index.count(), u64::from(Pixels::of(&head).unwrap().frames), "{name}");
        assert_eq!(index.frame(&source, 0, 100).unwrap(), None);
        assert_eq!(index.frame(&source, index.count() + 1, 100).unwrap(), None);
        for number in [1, index.count()] {
            let pieces = index.frame(&source, number, 100_000).unwrap().unwrap();
            let mut frame = Vec::new();
            for (from, length) in pieces {
                let mut piece = vec![0; length as usize];
                source.read_exact_at(&mut piece, from).unwrap();
                frame.extend(piece);
            }
            let picture = Picture::of(&head, frame, number).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(picture.bytes.len(), picture.width * picture.height * picture.channels, "{name}");
            assert!(picture.bytes.iter().any(|byte| *byte != picture.bytes[0]), "{name} is all of one shade");
            let small = picture.fitting(32, 32);
            assert!(
                small.width <= 32
                    && small.height <= 32
                    && small.bytes.len() == small.width * small.height * small.channels
            );
        }
    }
}

#[test]
fn a_file_head_is_read_as_it_was_written_in_pieces_of_any_size() {
    let uid = |text: &str| Uid::new(text).unwrap();
    let (class, instance, syntax) = (uid("1.2.840.10008.5.1.4.1.1.2"), uid("1.2.3.4"), uid("1.2.840.10008.1.2.1"));
    let mut file = file_head(&class, &instance, &syntax);
    let length = file.len();
    file.extend([0x08, 0x00, 0x05, 0x00, b'C', b'S', 0, 0]);
    for cut in 0..length {
        assert_eq!(FileHead::parse(&file[..cut]).unwrap(), None, "{cut}");
    }
    let found = FileHead::parse(&file).unwrap().unwrap();
    let expected = FileHead { sop_class: class, sop_instance: instance, transfer_syntax: syntax, length };
    assert_eq!(found, expected);
    assert!(FileHead::parse(&[0; 200]).is_err());
    let mut endless = file[..PREAMBLE_BYTES].to_vec();
    endless.extend([0x02, 0x00, 0x00, 0x01, b'O', b'B', 0, 0, 0xF0, 0xFF, 0xFF, 0xFF]);
    assert!(FileHead::parse(&endless).is_err());
}

/// PS3.5 A.4 by hand: four frames of two bytes, with or without a table.
fn encapsulated(table: bool, fragments: &[&[u8]]) -> Vec<u8> {
    let mut set = Vec::new();
    let mut us = |element: u8, value: u16| {
        set.extend([0x28, 0, element, 0, b'U', b'S', 2, 0]);
        set.extend(value.to_le_bytes());
    };
    us(0x02, 1);
    set.extend([0x28, 0, 0x08, 0, b'I', b'S', 2, 0, b'2', b' ']);
    let mut us = |element: [u8; 2], value: u16| {
        set.extend([0x28, 0, element[0], element[1], b'U', b'S', 2, 0]);
        set.extend(value.to_le_bytes());
    };
    us([0x10, 0], 1);
    us([0x11, 0], 2);
    us([0x00, 1], 8);
    set.extend([0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    set.extend([0xFE, 0xFF, 0x00, 0xE0]);
    if table {
        let second: usize = fragments[..fragments.len() / 2].iter().map(|fragment| fragment.len() + 8).sum();
        set.extend([8, 0, 0, 0, 0, 0, 0, 0]);
        set.extend(u32::try_from(second).unwrap().to_le_bytes());
    } else {
        set.extend([0; 4]);
    }
    for fragment in fragments {
        set.extend([0xFE, 0xFF, 0x00, 0xE0]);
        set.extend(u32::try_from(fragment.len()).unwrap().to_le_bytes());
        set.extend(*fragment);
    }
    set.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    set
}

fn frames_of(set: &[u8]) -> Result<Vec<Vec<u8>>, InstanceError> {
    let source = Whole(set.to_vec());
    let head = Head::read(&source, &Uid::new("1.2.840.10008.1.2.4.80").unwrap())?;
    let index = FrameIndex::read(&source, &head)?;
    let frame = |number| {
        let pieces = index.frame(&source, number, 100_000)?.unwrap_or_default();
        let bytes = pieces.iter().map(|(from, length)| set[*from as usize..(from + length) as usize].to_vec());
        Ok(bytes.collect::<Vec<_>>().concat())
    };
    (1..=index.count()).map(frame).collect()
}

#[test]
fn frames_are_told_apart_by_table_by_count_and_by_their_ends() {
    let (one, two) = (vec![0xFF, 0xD8, 1, 2, 0xFF, 0xD9], vec![0xFF, 0xD8, 3, 4, 5, 0xFF, 0xD9, 0]);
    let halves: [&[u8]; 4] = [&one[..2], &one[2..], &two[..4], &two[4..]];
    assert_eq!(frames_of(&encapsulated(true, &halves)).unwrap(), [one.clone(), two.clone()]);
    assert_eq!(frames_of(&encapsulated(false, &[&one, &two])).unwrap(), [one.clone(), two.clone()]);
    assert_eq!(frames_of(&encapsulated(false, &halves)).unwrap(), [one.clone(), two.clone()]);
    assert!(frames_of(&encapsulated(false, &[b"ab", b"cd", b"ef"])).is_err(), "nobody can tell these apart");
    assert!(frames_of(&encapsulated(false, &[])).is_err());
}

#[test]
fn a_long_value_is_a_link_that_is_found_again_and_a_path_is_nothing_else() {
    let mut set = Vec::new();
    // (0009,1010) OB of 2 KiB inside of an item of (0008,1140).
    set.extend([
        0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF,
    ]);
    set.extend([0x09, 0, 0x10, 0x10, b'O', b'B', 0, 0, 0, 8, 0, 0]);
    set.extend([7; 2048]);
    set.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    let source = Whole(set);
    let head = Head::read(&source, &Uid::new("1.2.840.10008.1.2.1").unwrap()).unwrap();
    let json = metadata(&head, &SenderCharset::default(), "/b").unwrap();
    let link = &json["00081140"]["Value"][0]["00091010"]["BulkDataURI"];
    assert_eq!(link, "/b/00081140/0/00091010");
    let Some(Bulk::Value(range)) = path_of(&head, "00081140/0/00091010").unwrap() else { panic!("not found") };
    assert_eq!(head.bytes()[range], [7; 2048]);
    let long = "00081140/0/".repeat(100);
    for bad in
        ["", "..", "00081140", "00081140/0", "00081140/1/00091010", "../../etc/passwd", "0008114/0/00091010", &long]
    {
        assert_eq!(path_of(&head, bad).unwrap(), None, "{bad}");
    }
}

#[test]
fn hostile_headers_cost_no_more_than_they_bring() {
    let syntax = Uid::new("1.2.840.10008.1.2.1").unwrap();
    let nested =
        [0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(Head::read(&Whole(nested.repeat(5_000)), &syntax).is_err());
    let claim = [0x09, 0, 0x10, 0x10, b'O', b'B', 0, 0, 0xF0, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
    assert!(Head::read(&Whole(claim.to_vec()), &syntax).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), syntax in 0_usize..5, damage in 0_usize..200, to: u8) {
        let syntaxes = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"];
        let syntax = Uid::new(syntaxes[syntax]).unwrap();
        let mut damaged = encapsulated(true, &[b"abcd", b"efgh"]);
        let at = damage % damaged.len();
        damaged[at] = to;
        for set in [bytes, damaged] {
            let _ = FileHead::parse(&set);
            let source = Whole(set);
            let Ok(head) = Head::read(&source, &syntax) else { continue };
            let _ = metadata(&head, &SenderCharset::default(), "");
            let _ = path_of(&head, "00081140/0/00091010");
            if let Ok(index) = FrameIndex::read(&source, &head) {
                let _ = index.frame(&source, 1, 100_000);
            }
            let _ = Picture::of(&head, vec![0; 64], 1);
        }
    }
}
