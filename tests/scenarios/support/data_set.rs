//! DICOM files read for comparison: where the data set begins, and every element of it, nested ones too.

use dicom_core::{
    DataDictionary, Tag,
    header::Header,
    value::{PrimitiveValue, Value},
};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::{FileMetaTable, InMemDicomObject, OpenFileOptions};
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::{collections::BTreeMap, io::Read, path::Path};

/// A DICOM file (PS3.10), taken apart.
pub struct Part10 {
    pub meta: FileMetaTable,
    /// Without preamble and file meta information, in its transfer syntax.
    pub data_set: Vec<u8>,
}

impl Part10 {
    pub fn open(file: &Path) -> Self {
        Self::read(&std::fs::read(file).expect("a file"))
    }

    pub fn read(bytes: &[u8]) -> Self {
        let meta = FileMetaTable::from_reader(&bytes[128..]).expect("file meta information");
        // PS3.10 7.1: DICM, then File Meta Information Group Length (0002,0000), 12 bytes.
        let length = u32::from_le_bytes(bytes[140..144].try_into().expect("four bytes"));
        Self { meta, data_set: bytes[144 + length as usize..].to_vec() }
    }

    pub fn transfer_syntax(&self) -> &str {
        self.meta.transfer_syntax()
    }

    pub fn sop_instance(&self) -> String {
        self.meta.media_storage_sop_instance_uid.trim_end_matches('\0').to_owned()
    }

    pub fn object(&self) -> InMemDicomObject {
        let (syntax, bytes) = if self.transfer_syntax() == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            let mut plain = Vec::new();
            flate2::read::DeflateDecoder::new(&self.data_set[..]).read_to_end(&mut plain).expect("deflated");
            (uids::EXPLICIT_VR_LITTLE_ENDIAN, plain)
        } else {
            (self.transfer_syntax(), self.data_set.clone())
        };
        let syntax = TransferSyntaxRegistry.get(syntax).expect("a transfer syntax we know");
        InMemDicomObject::read_dataset_with_ts(&bytes[..], syntax).expect("a readable data set")
    }

    /// Every element by its path, as in `RequestAttributesSequence[0].AccessionNumber`, with its VR and its value.
    pub fn elements(&self) -> BTreeMap<String, (String, Vec<u8>)> {
        let mut found = BTreeMap::new();
        walk(&self.object(), "", &mut found);
        found
    }
}

/// One text value of a file's data set; empty where it has none.
pub fn text(file: &Path, tag: Tag) -> String {
    let object = OpenFileOptions::new().open_file(file).expect("a DICOM file");
    let element = object.element_opt(tag).expect("a readable data set");
    element.map_or_else(String::new, |element| element.to_str().expect("text").trim().to_owned())
}

/// The PDF of an Encapsulated PDF file, without its padding.
pub fn encapsulated(file: &Path) -> Vec<u8> {
    let object = OpenFileOptions::new().open_file(file).expect("a DICOM file");
    let mut bytes =
        object.element(tags::ENCAPSULATED_DOCUMENT).expect("a document").to_bytes().expect("bytes").to_vec();
    let length =
        object.element(tags::ENCAPSULATED_DOCUMENT_LENGTH).expect("its length").to_int::<usize>().expect("a number");
    bytes.truncate(length);
    bytes
}

fn walk(object: &InMemDicomObject, path: &str, found: &mut BTreeMap<String, (String, Vec<u8>)>) {
    for element in object {
        let tag = element.tag();
        let name = StandardDataDictionary.by_tag(tag).map_or_else(|| tag.to_string(), |entry| entry.alias.to_owned());
        let path = format!("{path}{name}");
        let mut put = |path: &str, value: Vec<u8>| {
            found.insert(path.to_owned(), (element.vr().to_string().to_owned(), value));
        };
        match element.value() {
            Value::Primitive(PrimitiveValue::Empty) => put(&path, Vec::new()),
            Value::Primitive(value) => put(&path, value.to_bytes().into_owned()),
            Value::Sequence(sequence) => {
                put(&path, sequence.items().len().to_be_bytes().to_vec());
                for (number, item) in sequence.items().iter().enumerate() {
                    walk(item, &format!("{path}[{number}]."), found);
                }
            }
            Value::PixelSequence(fragments) => {
                let offsets = fragments.offset_table().iter().flat_map(|offset| offset.to_be_bytes()).collect();
                put(&format!("{path}.offsets"), offsets);
                for (number, fragment) in fragments.fragments().iter().enumerate() {
                    put(&format!("{path}.fragment[{number}]"), fragment.clone());
                }
            }
        }
    }
}
