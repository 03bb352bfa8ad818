//! What a caller accepts: media types with their parameters and weights (RFC 9110 12.5.1, PS3.18 8.7.5).
//!
//! In: the Accept header, or the query parameter `accept`, which goes before it (PS3.18 8.3.3.1). Out: wishes in their
//! order. Quoted or not: OHIF writes `type=application/octet-stream` without the quotes that the slash demands.

use super::super::Problem;
use axum::http::{HeaderMap, Uri, header};

const LONGEST: usize = 8 << 10;
const MOST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Lower case; of a multipart, that of its parts.
    pub media: String,
    pub multipart: bool,
    pub transfer_syntax: Option<String>,
    /// Thousandths.
    weight: u16,
}

impl Wish {
    pub fn takes(&self, media: &str) -> bool {
        let range = self.media.strip_suffix('*');
        self.media == media || self.media == "*/*" || range.is_some_and(|range| media.starts_with(range))
    }

    pub fn is_anything(&self) -> bool {
        self.media == "*/*"
    }

    /// None named: as it is kept.
    pub fn takes_syntax(&self, uid: &str) -> bool {
        self.transfer_syntax.as_deref().is_none_or(|wanted| wanted == "*" || wanted == uid)
    }
}

/// The best first. Nothing said: anything.
///
/// # Errors
/// 400 where it is longer than any real one.
pub fn wishes(headers: &HeaderMap, uri: &Uri) -> Result<Vec<Wish>, Problem> {
    let asked = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("accept="));
    let text = match asked {
        Some(asked) => percent_decoded(asked).ok_or(Problem::bad_request("accept cannot be read"))?,
        None => {
            let given: Result<Vec<_>, _> = headers.get_all(header::ACCEPT).iter().map(|value| value.to_str()).collect();
            given.map_err(|_| Problem::bad_request("Accept cannot be read"))?.join(",")
        }
    };
    if text.len() > LONGEST {
        return Err(Problem::bad_request("Accept is too long"));
    }
    let mut wishes: Vec<Wish> = split(&text, ',').take(MOST).filter_map(wish).filter(|wish| wish.weight > 0).collect();
    // Stable: among equals, the caller's own order.
    wishes.sort_by_key(|wish| std::cmp::Reverse(wish.weight));
    if text.trim().is_empty() {
        wishes.push(Wish { media: "*/*".to_owned(), multipart: false, transfer_syntax: None, weight: 1000 });
    }
    Ok(wishes)
}

fn wish(text: &str) -> Option<Wish> {
    let mut parts = split(text, ';');
    let mut media = parts.next()?.trim().to_ascii_lowercase();
    if media.is_empty() {
        return None;
    }
    let multipart = media == "multipart/related";
    if multipart {
        media = "*/*".to_owned();
    }
    let mut wish = Wish { media, multipart, transfer_syntax: None, weight: 1000 };
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim().to_ascii_lowercase().as_str() {
            "type" if multipart => wish.media = value.to_ascii_lowercase(),
            "transfer-syntax" => wish.transfer_syntax = Some(value.to_owned()),
            "q" => wish.weight = weight(value),
            _ => {}
        }
    }
    Some(wish)
}

fn weight(text: &str) -> u16 {
    let weight = text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    weight.map_or(1000, |weight| (weight * 1000.0).round() as u16)
}

/// Splits outside of quotation marks.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |letter| {
        if letter == '"' {
            quoted = !quoted;
        }
        letter == at && !quoted
    })
}

/// `%2F` and `+`. `None`: no UTF-8, or a `%` without two digits.
pub fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                at += 2;
            }
            b'+' => decoded.push(b' '),
            other => decoded.push(*other),
        }
        at += 1;
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn of(text: &str) -> Vec<Wish> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(text).unwrap());
        wishes(&headers, &Uri::from_static("/x")).unwrap()
    }

    #[test]
    fn types_parameters_and_weights_are_read_with_and_without_quotes() {
        let found = of("multipart/related; type=application/octet-stream; transfer-syntax=*");
        assert_eq!((found[0].media.as_str(), found[0].multipart), (super::super::OCTETS, true));
        assert!(found[0].takes_syntax("1.2.840.10008.1.2.4.90"));
        let found = of("image/png;q=0.2, multipart/related; type=\"image/jls\"; transfer-syntax=1.2.3, */*;q=0.1");
        let media: Vec<_> = found.iter().map(|wish| wish.media.as_str()).collect();
        assert_eq!(media, ["image/jls", "image/png", "*/*"]);
        assert!(found[0].takes_syntax("1.2.3") && !found[0].takes_syntax("1.2"));
        assert!(of("image/*")[0].takes("image/png") && !of("image/*")[0].takes("text/plain"));
        assert!(of("image/png;q=0").is_empty());
        assert!(of("")[0].is_anything());
    }

    #[test]
    fn what_is_too_long_or_no_header_is_refused_in_bounds() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(&"a/b,".repeat(5_000)).unwrap());
        assert!(wishes(&headers, &Uri::from_static("/x")).is_err());
        assert_eq!(of(&"a/b,".repeat(1_000)).len(), MOST);
        let _ = (of("\";;,=\""), of(";;;q=,,,"), of("multipart/related;type=\""));
        let asked = wishes(&HeaderMap::new(), &Uri::from_static("/x?accept=image%2Fpng")).unwrap();
        assert_eq!(asked[0].media, "image/png");
        assert!(wishes(&HeaderMap::new(), &Uri::from_static("/x?accept=%2")).is_err());
    }
}
