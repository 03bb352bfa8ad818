//! Turns the content tree of a structured report into text.
//!
//! In: content items (PS3.3 C.17.3). Out: lines: a container's concept name is a heading, other items are
//! `name: value`, properties are indented under what they describe. What has no text (an image, coordinates) leaves a
//! mark, so that nobody takes the text for the whole.

use super::{MAX_TEXT_BYTES, ReadError};
use crate::dicom::charset::{self, Kind, SenderCharset};
use crate::dicom::tree::DataSet;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// Text of a data set under its character set, keeping note of what had to be replaced.
pub struct Decoder {
    pub lossy: bool,
    pub sender: SenderCharset,
}

impl Decoder {
    /// Without padding at the end, where NULs of some senders count too.
    pub fn text(&mut self, set: &DataSet<'_>, tag: Tag, charset: &str) -> String {
        let bytes = set.bytes(tag);
        let end = bytes.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
        let (text, lossy) = charset::decode_as(kind_of(tag), &bytes[..end], charset);
        self.lossy |= lossy;
        text
    }

    /// What is meant by the set that `set` names; where it names none, `outer` is in force.
    pub fn charset_of(&self, set: &DataSet<'_>, outer: &str) -> String {
        let named = String::from_utf8_lossy(set.bytes(tags::SPECIFIC_CHARACTER_SET));
        let named = named.trim_matches([' ', '\0']);
        if named.is_empty() && !outer.is_empty() { outer.to_owned() } else { self.sender.meant(named).to_owned() }
    }
}

/// By the VR of what is read here.
fn kind_of(tag: Tag) -> Kind {
    match tag {
        tags::PATIENT_NAME | tags::PERSON_NAME | tags::VERIFYING_OBSERVER_NAME => Kind::Name,
        tags::TEXT_VALUE | tags::DOCUMENT_TITLE | tags::LOCAL_NAMESPACE_ENTITY_ID | tags::UNIVERSAL_ENTITY_ID => {
            Kind::Text
        }
        _ => Kind::Values,
    }
}

/// The root's own concept is the title and is not repeated.
pub fn render(root: &DataSet<'_>, charset: &str, decoder: &mut Decoder) -> Result<String, ReadError> {
    let mut renderer = Renderer { decoder, lines: String::new() };
    renderer.children(root, charset, 0)?;
    Ok(renderer.lines.trim().to_owned())
}

struct Renderer<'d> {
    decoder: &'d mut Decoder,
    lines: String,
}

impl Renderer<'_> {
    /// The depth is bounded by the reader of the tree.
    fn children(&mut self, set: &DataSet<'_>, charset: &str, indent: usize) -> Result<(), ReadError> {
        for item in set.items(tags::CONTENT_SEQUENCE) {
            let charset = self.decoder.charset_of(item, charset);
            let concept = item.items(tags::CONCEPT_NAME_CODE_SEQUENCE).first();
            let code = concept.map(|concept| self.code_value(concept)).unwrap_or_default();
            if concept.is_some_and(|concept| concept.bytes(tags::CODING_SCHEME_DESIGNATOR).starts_with(b"DCM"))
                && is_context(&code)
            {
                continue;
            }
            let name = concept.map(|concept| self.meaning(concept, &charset)).unwrap_or_default();
            let value_type = String::from_utf8_lossy(item.bytes(tags::VALUE_TYPE)).trim().to_owned();
            if value_type == "CONTAINER" {
                if !name.is_empty() {
                    self.blank_line();
                    self.line(0, &format!("{name}:"))?;
                }
                self.children(item, &charset, indent)?;
                continue;
            }
            let value = self.value(item, &value_type, &charset);
            let labelled = if name.is_empty() || speaks_for_itself(&code) { value } else { format!("{name}: {value}") };
            for line in labelled.lines() {
                self.line(indent, line)?;
            }
            self.children(item, &charset, indent + 1)?;
        }
        Ok(())
    }

    fn line(&mut self, indent: usize, line: &str) -> Result<(), ReadError> {
        if self.lines.len() + line.len() + 2 * indent + 1 > MAX_TEXT_BYTES {
            return Err(ReadError::TooMuchText);
        }
        self.lines.extend(std::iter::repeat_n("  ", indent));
        self.lines.push_str(line.trim_end());
        self.lines.push('\n');
        Ok(())
    }

    fn blank_line(&mut self) {
        if !self.lines.is_empty() && !self.lines.ends_with("\n\n") && !self.lines.ends_with(":\n") {
            self.lines.push('\n');
        }
    }

    fn value(&mut self, item: &DataSet<'_>, value_type: &str, charset: &str) -> String {
        match value_type {
            "TEXT" => self.decoder.text(item, tags::TEXT_VALUE, charset).replace("\r\n", "\n").replace('\r', "\n"),
            "CODE" => {
                let codes = item.items(tags::CONCEPT_CODE_SEQUENCE);
                let meanings: Vec<String> = codes.iter().map(|code| self.meaning(code, charset)).collect();
                meanings.join(", ")
            }
            "NUM" => self.measurement(item, charset),
            "PNAME" => self.decoder.text(item, tags::PERSON_NAME, charset),
            "DATETIME" => self.decoder.text(item, tags::DATE_TIME, charset),
            "DATE" => self.decoder.text(item, tags::DATE, charset),
            "TIME" => self.decoder.text(item, tags::TIME, charset),
            "UIDREF" => self.decoder.text(item, tags::UID, charset),
            "IMAGE" => "[image]".to_owned(),
            "WAVEFORM" => "[waveform]".to_owned(),
            "COMPOSITE" => "[object]".to_owned(),
            "SCOORD" | "SCOORD3D" | "TCOORD" => "[coordinates]".to_owned(),
            // By-reference relationship, PS3.3 C.17.3.2.5: the item it points to is in the text already.
            "" if item.has(tags::REFERENCED_CONTENT_ITEM_IDENTIFIER) => "[see above]".to_owned(),
            _ => "[content that cannot be shown as text]".to_owned(),
        }
    }

    /// Numeric value with its unit; where there is none, why (PS3.3 C.18.1).
    fn measurement(&mut self, item: &DataSet<'_>, charset: &str) -> String {
        let Some(measured) = item.items(tags::MEASURED_VALUE_SEQUENCE).first() else {
            let why = item.items(tags::NUMERIC_VALUE_QUALIFIER_CODE_SEQUENCE).first();
            return why.map_or_else(|| "[no value]".to_owned(), |why| self.meaning(why, charset));
        };
        let number = self.decoder.text(measured, tags::NUMERIC_VALUE, charset).trim().to_owned();
        let unit = measured.items(tags::MEASUREMENT_UNITS_CODE_SEQUENCE).first();
        match unit.map(|unit| (self.code_value(unit), self.meaning(unit, charset))) {
            // UCUM's "1" is no unit.
            None => number,
            Some((code, _)) if code == "1" || code.is_empty() => number,
            Some((code, meaning)) if code.starts_with('{') => format!("{number} {meaning}"),
            Some((code, _)) => format!("{number} {code}"),
        }
    }

    fn code_value(&self, code: &DataSet<'_>) -> String {
        let values = [tags::CODE_VALUE, tags::LONG_CODE_VALUE, tags::URN_CODE_VALUE];
        let bytes = values.into_iter().map(|tag| code.bytes(tag)).find(|bytes| !bytes.is_empty()).unwrap_or_default();
        String::from_utf8_lossy(bytes).trim_matches([' ', '\0']).to_owned()
    }

    fn meaning(&mut self, code: &DataSet<'_>, charset: &str) -> String {
        let charset = self.decoder.charset_of(code, charset);
        let meaning = self.decoder.text(code, tags::CODE_MEANING, &charset).trim().to_owned();
        if meaning.is_empty() { self.code_value(code) } else { meaning }
    }
}

/// Who observed, which procedure, which patient (PS3.16 TID 1001 to 1008, DCM 121003 to 121036) and the language
/// (121045 to 121049): read from the header, not part of the text.
fn is_context(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| (121_003..=121_036).contains(&code) || (121_045..=121_049).contains(&code))
}

/// Names that only repeat the heading above: Finding, Impression, Recommendation, Conclusion and their like.
fn speaks_for_itself(code: &str) -> bool {
    matches!(code, "121071" | "121073" | "121075" | "121077" | "121065" | "121067" | "121069" | "121111" | "121110")
}
