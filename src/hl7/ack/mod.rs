//! Acknowledgements: the answer to a message received, and the reading of an answer to a message sent (HL7 v2.5.1 2.9).
//!
//! In: a message and a verdict; out: the bytes of its ACK, in the sender's separators, character set, version and
//! processing id. In: the bytes of an ACK; out: an [`Acknowledgement`]. Own texts are ASCII, so they fit every set.
//!
//! Does not decide what is acceptable, and does not send: whoever calls this has committed already.

mod answer;
mod codes;
mod response;

pub use answer::{AckError, Acknowledgement};
pub use codes::{AckCode, ErrorCode, Rejected, Verdict};
pub use response::{OrderAnswer, Response};

use super::message::{Message, Segment, Value, new_control_id};
use crate::model::Moment;
use response::Asked;

/// A field of the sender's header is given back up to this length; MSH-10 has at most 199 characters (v2.7).
const MAX_ECHO_BYTES: usize = 512;

/// Our texts are cut here.
const MAX_TEXT_BYTES: usize = 500;

/// The acknowledgement of `received`. Empty when its sender asked for none (MSH-15 and MSH-16): then nothing is sent.
///
/// Original mode (MSH-15 and MSH-16 empty) answers AA, AE, AR; with an accept acknowledgement asked for in MSH-15, CA,
/// CE, CR, and nothing after it; where MSH-15 asks for none in this case and MSH-16 does, the application acknowledgement
/// AA, AE, AR.
pub fn acknowledge(received: &Message<'_>, verdict: Verdict, problem: Option<&Rejected>, at: Moment) -> Vec<u8> {
    match code_for(&received.header(), verdict) {
        Some(code) => Writer::new(received).write(code, problem, at),
        None => Vec::new(),
    }
}

/// When the sender of an order message hears what was done with each order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// By the answer itself.
    Now,
    /// The answer says that the message was taken; the application response is a message of its own (2.9.3).
    Later,
    /// It has not asked for it.
    Never,
}

/// When the sender hears what was done, by MSH-15, MSH-16 and how it ended.
pub fn answering(received: &Message<'_>, response: &Response<'_>) -> Answering {
    let header = received.header();
    let (accept, application) = (header.field(15), header.field(16));
    let is_accepted_first = accept.is_valued() && is_wanted(accept, Verdict::Accept);
    let is_original = !accept.is_valued() && !application.is_valued();
    let wants = is_original || (application.is_valued() && is_wanted(application, response.verdict()));
    match (wants, is_accepted_first) {
        (true, true) => Answering::Later,
        (true, false) => Answering::Now,
        (false, _) => Answering::Never,
    }
}

/// Whether the sender may have to hear later what was done, however it ends.
pub fn may_answer_later(received: &Message<'_>) -> bool {
    let header = received.header();
    let (accept, application) = (header.field(15), header.field(16));
    let is_asked = |value: Value<'_>| value.is_valued() && value.raw().trim_ascii() != b"NE";
    is_asked(accept) && is_asked(application)
}

/// The application response to an order message: the acknowledgement, and for each order what was done with it
/// (HL7 v2.5.1 4.4.2). Where the sender asked for an accept acknowledgement, that, without the orders.
pub fn respond(received: &Message<'_>, response: &Response<'_>, at: Moment) -> Vec<u8> {
    match (answering(received, response), code_for(&received.header(), Verdict::Accept)) {
        (Answering::Now, _) => {
            Writer { response: Some(response), ..Writer::new(received) }.write(AckCode::AA, None, at)
        }
        (_, Some(AckCode::CA)) => Writer::new(received).write(AckCode::CA, None, at),
        _ => Vec::new(),
    }
}

/// The same as a message of its own, under this control id. It asks for an accept acknowledgement, and for nothing after it.
pub fn respond_later(received: &Message<'_>, response: &Response<'_>, control_id: &str, at: Moment) -> Vec<u8> {
    let own = Some(control_id);
    Writer { response: Some(response), own, ..Writer::new(received) }.write(AckCode::AA, None, at)
}

/// The answer to bytes that may not be a whole message: its header is used if there is one. Always says no.
pub fn refuse_bytes(bytes: &[u8], problem: &Rejected, at: Moment) -> Vec<u8> {
    // 64 KiB hold any header; a longer first line is none.
    match Message::parse(&bytes[..bytes.len().min(64 * 1024)]) {
        Ok(received) => acknowledge(&received, problem.verdict(), Some(problem), at),
        Err(_) => match Message::parse(b"MSH|^~\\&|||||||||P|2.5.1") {
            Ok(nothing) => acknowledge(&nothing, problem.verdict(), Some(problem), at),
            Err(_) => Vec::new(),
        },
    }
}

/// Table 0155: AL always, NE never, ER on errors, SU on success.
fn is_wanted(condition: Value<'_>, verdict: Verdict) -> bool {
    match condition.raw().trim_ascii() {
        b"NE" => false,
        b"ER" => verdict != Verdict::Accept,
        b"SU" => verdict == Verdict::Accept,
        _ => true,
    }
}

fn code_for(header: &Segment<'_>, verdict: Verdict) -> Option<AckCode> {
    let (accept, application) = (header.field(15), header.field(16));
    if accept.is_valued() && is_wanted(accept, verdict) {
        return Some(match verdict {
            Verdict::Accept => AckCode::CA,
            Verdict::Error => AckCode::CE,
            Verdict::Reject => AckCode::CR,
        });
    }
    // What MSH-15 does not ask for, MSH-16 may; in the original mode both are empty.
    let is_original = !accept.is_valued() && !application.is_valued();
    let wanted = is_original || (application.is_valued() && is_wanted(application, verdict));
    wanted.then_some(match verdict {
        Verdict::Accept => AckCode::AA,
        Verdict::Error => AckCode::AE,
        Verdict::Reject => AckCode::AR,
    })
}

/// Writes an ACK in the bytes of the message received.
struct Writer<'a> {
    header: Segment<'a>,
    field: u8,
    component: u8,
    subcomponent: Option<u8>,
    /// What a response gives back of the message received.
    asked: Asked<'a>,
    response: Option<&'a Response<'a>>,
    /// MSH-10 of a message of its own.
    own: Option<&'a str>,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(received: &Message<'a>) -> Self {
        let separators = received.separators();
        Self {
            header: received.header(),
            field: separators.field,
            component: separators.component.unwrap_or(b'^'),
            subcomponent: separators.subcomponent,
            asked: Asked::of(received),
            response: None,
            own: None,
            out: Vec::with_capacity(512),
        }
    }

    fn write(mut self, code: AckCode, problem: Option<&Rejected>, at: Moment) -> Vec<u8> {
        self.msh(at);
        self.out.extend_from_slice(b"MSA");
        self.text(code.as_str());
        self.echo(10);
        if let Some(problem) = problem {
            self.text(&problem.text);
        }
        self.out.push(b'\r');
        if let Some(problem) = problem {
            self.err(problem);
        }
        self.response();
        self.out
    }

    fn msh(&mut self, at: Moment) {
        self.out.extend_from_slice(b"MSH");
        // Five punctuation characters at most, or the message would not have been parsed; a line break may follow them.
        self.out.push(self.field);
        self.out.extend(self.header.field(2).raw().iter().take_while(|byte| byte.is_ascii_punctuation()));
        for from in [5, 6, 3, 4] {
            self.echo(from);
        }
        self.text(&at.utc().format("%Y%m%d%H%M%S+0000").to_string());
        self.text("");
        self.message_type();
        let (control_id, asks) = match self.own {
            Some(own) => (own.to_owned(), ["", "", "AL", "NE", ""]),
            None => (new_control_id(), [""; 5]),
        };
        self.text(&control_id);
        self.echo(11);
        self.echo(12);
        for text in asks {
            self.text(text);
        }
        self.echo(18);
        self.out.push(b'\r');
    }

    /// `ACK^R01^ACK`; before v2.3.1 there is no message structure, and `ACK` alone is understood by all.
    fn message_type(&mut self) {
        if let Some(response) = self.response {
            return self.response_type(response);
        }
        let event = kept(self.header.field(9).component(2).raw());
        self.text("ACK");
        if !event.is_empty() && version(&self.header) >= (2, 4) {
            self.out.push(self.component);
            self.out.extend_from_slice(&event);
            self.out.push(self.component);
            self.out.extend_from_slice(b"ACK");
        }
    }

    /// ERR as of v2.5 (ERR-2, -3, -4, -8); ERR-1 beside it for senders of older versions, who know no other field.
    fn err(&mut self, problem: &Rejected) {
        let (code, name) = (problem.code.number(), problem.code.name());
        let field = if problem.field == 0 { String::new() } else { problem.field.to_string() };
        let sequence = problem.sequence.to_string();
        self.out.extend_from_slice(b"ERR");
        self.text("");
        if version(&self.header) < (2, 5) {
            self.joined(&[problem.segment, &sequence, &field]);
            if let Some(subcomponent) = self.subcomponent {
                self.out.push(self.component);
                self.out
                    .extend_from_slice([code, name, "HL70357"].join(&*char::from(subcomponent).to_string()).as_bytes());
            }
        }
        self.text("");
        let place = [problem.segment, &sequence, &field];
        self.joined(&place[..if field.is_empty() { 2 } else { 3 }]);
        self.text("");
        self.joined(&[code, name, "HL70357"]);
        self.text("E");
        for _ in 5..8 {
            self.text("");
        }
        self.text(&problem.text);
        self.out.push(b'\r');
    }

    fn joined(&mut self, components: &[&str]) {
        self.out.extend_from_slice(components.join(&*char::from(self.component).to_string()).as_bytes());
    }

    /// A field of the sender's header, byte for byte.
    fn echo(&mut self, n: usize) {
        self.out.push(self.field);
        self.out.extend_from_slice(&kept(self.header.field(n).raw()));
    }

    /// A field of our own: printable ASCII; a character that is a separator here becomes a space.
    fn text(&mut self, text: &str) {
        self.out.push(self.field);
        let is_plain = |b: u8| {
            b == b' ' || b == b'+' || b == b'-' || b == b'.' || b == b',' || b == b':' || b.is_ascii_alphanumeric()
        };
        let plain = text.bytes().take(MAX_TEXT_BYTES).map(|b| match b {
            b if is_plain(b) && b != self.field && b != self.component => b,
            b'(' | b')' | b'/' | b'\'' if b != self.field && b != self.component => b,
            _ => b' ',
        });
        self.out.extend(plain);
    }
}

/// What is given back of a header field. Control characters are left out: 0x1C before the CR would end the MLLP frame.
fn kept(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().filter(|b| *b >= 0x20).take(MAX_ECHO_BYTES).collect()
}

/// MSH-12, major and minor. Unknown counts as the version we write.
fn version(header: &Segment<'_>) -> (u32, u32) {
    let text = String::from_utf8_lossy(header.field(12).component(1).raw()).into_owned();
    let mut numbers = text.trim().split('.').map(|number| number.parse().unwrap_or(0));
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) if major > 0 => (major, minor.unwrap_or(0)),
        _ => (2, 5),
    }
}

#[cfg(test)]
mod tests;
