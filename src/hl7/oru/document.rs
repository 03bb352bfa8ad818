//! Documents inside OBX-5: ED (v2.5.1 2.A.24) with its data, RP (2.A.65) with an address.
//!
//! In: one repetition of the field. Out: media type and document, or why not. The field writes PDF in many ways
//! (`^AP^PDF^Base64^`, `^application^pdf^Base64^`, `^^PDF^^`): all are read, and the bytes have the last word.

use super::read::Reader;
use super::{Content, Encapsulated};
use crate::hl7::message::Value;
use std::borrow::Cow;

/// By which a document is known for what it is, and no more is looked at.
const FIRST_BYTES: usize = 8;

/// ED: source application, type of data, data subtype, encoding, data.
pub(super) fn encapsulated(value: Value<'_>, reader: &Reader<'_>) -> Result<Content, &'static str> {
    let [kind, subtype, encoding] = [2, 3, 4].map(|n| reader.text(value.component(n)).to_ascii_lowercase());
    let data = value.component(5).unescaped();
    let bytes = match encoding.as_str() {
        "base64" => base64(data, reader).ok_or("ED-5 is not Base64, as ED-4 says")?,
        "hex" => decode_hex(&data).ok_or("ED-5 is not hexadecimal, as ED-4 says")?.into(),
        "a" => reader.shared(data).into(),
        // Table 0299 knows no more. Where it is left out, data that can be Base64 is.
        "" => base64(data, reader).unwrap_or_else(|| reader.shared(value.component(5).unescaped()).into()),
        _ => return Err("ED-4 is none of A, Hex, Base64 (table 0299)"),
    };
    if bytes.is_empty() {
        return Err("ED-5 holds no data");
    }
    let mime = mime_of(&kind, &subtype, &bytes.first(FIRST_BYTES));
    Ok(Content::Document { mime, bytes })
}

/// Written as ED, whatever OBX-2 says: as text it would be pages of letters that mean nothing.
pub(super) fn is_encapsulated(value: Value<'_>) -> bool {
    let encoding = value.component(4).raw().trim_ascii();
    value.component(5).is_valued() && [b"Base64".as_slice(), b"Hex"].iter().any(|it| encoding.eq_ignore_ascii_case(it))
}

/// RP: pointer, application id, type of data, subtype.
pub(super) fn pointer(value: Value<'_>, reader: &Reader<'_>) -> Content {
    let [kind, subtype] = [3, 4].map(|n| reader.text(value.component(n)).to_ascii_lowercase());
    Content::Pointer { address: reader.text(value.component(1)), mime: mime_of(&kind, &subtype, &[]) }
}

/// Blanks and line breaks mean nothing in it.
fn base64(data: Cow<'_, [u8]>, reader: &Reader<'_>) -> Option<Encapsulated> {
    let is_blank = |b: &u8| b.is_ascii_whitespace();
    let dense = match data {
        // Escape sequences in it were one copy already: it is made dense where it is.
        Cow::Owned(mut bytes) => {
            bytes.retain(|b| !is_blank(b));
            Cow::Owned(bytes)
        }
        Cow::Borrowed(bytes) if bytes.iter().any(is_blank) => {
            let mut dense = Vec::with_capacity(bytes.len());
            dense.extend(bytes.iter().filter(|b| !is_blank(b)));
            Cow::Owned(dense)
        }
        dense => dense,
    };
    Encapsulated::from_base64(reader.shared(dense))
}

fn decode_hex(data: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if !data.len().is_multiple_of(2) {
        return None;
    }
    data.chunks_exact(2).map(pair).collect()
}

/// The media type: what the bytes are, else what ED-2 and ED-3 say.
fn mime_of(kind: &str, subtype: &str, bytes: &[u8]) -> String {
    // A PDF may have up to 1,024 bytes before its header, but none in the field does.
    let by_bytes = match bytes {
        [b'%', b'P', b'D', b'F', ..] => Some("application/pdf"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        _ => None,
    };
    let by_name = match subtype.rsplit('/').next().unwrap_or_default() {
        "pdf" | "x-pdf" => "application/pdf",
        "jpeg" | "jpg" => "image/jpeg",
        "png" => "image/png",
        "html" => "text/html",
        "rtf" => "application/rtf",
        "xml" | "x-hl7-cda-level-one" => "text/xml",
        "plain" | "txt" => "text/plain",
        _ if kind.ends_with("pdf") => "application/pdf",
        _ if kind == "tx" || kind.starts_with("text") => "text/plain",
        _ => "application/octet-stream",
    };
    by_bytes.unwrap_or(by_name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_last_word_on_what_a_document_is() {
        assert_eq!(mime_of("ap", "", b"%PDF-1.4"), "application/pdf");
        assert_eq!(mime_of("im", "jpeg", b""), "image/jpeg");
        assert_eq!(mime_of("application/pdf", "", b""), "application/pdf");
        assert_eq!(mime_of("ap", "octet-stream", b"x"), "application/octet-stream");
    }

    #[test]
    fn base64_is_read_with_line_breaks_and_without_padding() {
        let lossy = std::cell::Cell::new(false);
        let reader = Reader::new(crate::model::Charset::ASCII, &lossy);
        let read = |data: Cow<'static, [u8]>| base64(data, &reader);
        for data in ["JVBERi0=", "JVBERi0", "JVBE\r\nRi0=\n"] {
            for data in [Cow::Borrowed(data.as_bytes()), Cow::Owned(data.as_bytes().to_vec())] {
                assert_eq!(read(data).unwrap().bytes(), b"%PDF-".as_slice());
            }
        }
        assert_eq!(read(Cow::Borrowed(b"JV*ERi0=")), None);
        assert_eq!(decode_hex(b"255044").as_deref(), Some(b"%PD".as_slice()));
        assert_eq!((decode_hex(b"2"), decode_hex(b"2G")), (None, None));
    }
}
