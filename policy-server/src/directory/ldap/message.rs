//! The messages of LDAP (RFC 4511) that a login needs: bind, search, compare, StartTLS. Pure.
//!
//! Answers are read without trust: what is not as the RFC says is [`Malformed`], never a panic.

use super::ber::{self, BOOLEAN, Ber, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET};

/// What a control, an attribute or a value costs in memory beside its bytes, which may be two in the message.
const OVERHEAD: usize = 48;

pub const SUCCESS: i64 = 0;
pub const SIZE_LIMIT_EXCEEDED: i64 = 4;
pub const COMPARE_FALSE: i64 = 5;
pub const COMPARE_TRUE: i64 = 6;
pub const NO_SUCH_ATTRIBUTE: i64 = 16;
pub const CONSTRAINT_VIOLATION: i64 = 19;
pub const NO_SUCH_OBJECT: i64 = 32;
pub const INVALID_DN_SYNTAX: i64 = 34;
pub const INAPPROPRIATE_AUTHENTICATION: i64 = 48;
pub const INVALID_CREDENTIALS: i64 = 49;
pub const UNWILLING_TO_PERFORM: i64 = 53;

/// Tags of answers.
pub mod answer {
    pub const BIND: u8 = 0x61;
    pub const ENTRY: u8 = 0x64;
    pub const SEARCH_DONE: u8 = 0x65;
    pub const COMPARE: u8 = 0x6f;
    pub const REFERENCE: u8 = 0x73;
    pub const EXTENDED: u8 = 0x78;
}

/// RFC 2696
pub const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Base = 0,
    One = 1,
    Sub = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerefAliases {
    Never = 0,
    Searching = 1,
    Finding = 2,
    Always = 3,
}

/// What to search for.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    pub base: &'a str,
    pub scope: Scope,
    /// As [`Filter::encode`](super::Filter::encode) makes it.
    pub filter: Ber,
    pub attributes: &'a [&'a str],
    /// More entries than this are not wanted.
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    pub oid: String,
    pub value: Option<Vec<u8>>,
}

impl Control {
    /// Not critical: a server that does not know it goes on without.
    pub fn new(oid: &str, value: Option<&[u8]>) -> Self {
        Self { oid: oid.to_owned(), value: value.map(<[u8]>::to_vec) }
    }
}

/// One entry a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub dn: String,
    /// Names as the server spells them, with options (`memberOf;range=0-1499`); values are bytes.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    /// The values of an attribute, whatever the case of its name.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        let found = self.attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, values)| values.as_slice()).unwrap_or_default()
    }

    /// Those that are text.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The first that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts(name).next()
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result code.
    pub code: i64,
    /// The server's own words, made fit for a log: one line, not long.
    pub text: String,
    pub controls: Vec<Control>,
}

impl Outcome {
    pub fn control(&self, oid: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.oid == oid)
    }
}

/// Why an answer is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("malformed message")]
    Malformed,
    #[error("the answer is too large")]
    TooLarge,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// How many more bytes of memory answers may take.
#[derive(Debug)]
pub struct Budget(pub usize);

impl Budget {
    fn spend(&mut self, cost: usize) -> Result<(), Unreadable> {
        self.0 = self.0.checked_sub(cost).ok_or(Unreadable::TooLarge)?;
        Ok(())
    }
}

/// An answer, its operation still to be read.
#[derive(Debug)]
pub struct Message<'a> {
    /// 0 where the server speaks unasked.
    pub id: i64,
    pub tag: u8,
    pub body: Reader<'a>,
    pub controls: Vec<Control>,
}

impl<'a> Message<'a> {
    /// Reads one whole message.
    pub fn read(bytes: &'a [u8], budget: &mut Budget) -> Result<Self, Unreadable> {
        budget.spend(bytes.len())?;
        let mut message = Reader::new(bytes).inside(SEQUENCE)?;
        let id = message.integer(INTEGER)?;
        let (tag, body) = message.any()?;
        let mut controls = Vec::new();
        if let Some(list) = message.optional(0xa0)? {
            let mut list = Reader::new(list);
            while !list.is_empty() {
                budget.spend(OVERHEAD)?;
                controls.push(control(list.inside(SEQUENCE)?)?);
            }
        }
        Ok(Self { id, tag, body: Reader::new(body), controls })
    }

    /// The LDAPResult that all operations end with.
    pub fn outcome(self) -> Result<Outcome, Malformed> {
        let mut body = self.body;
        let code = body.integer(ENUMERATED)?;
        body.expect(OCTETS)?;
        let text = printable(body.expect(OCTETS)?);
        Ok(Outcome { code, text, controls: self.controls })
    }

    pub fn entry(mut self, budget: &mut Budget) -> Result<Entry, Unreadable> {
        let dn = self.body.text(OCTETS)?.to_owned();
        let mut list = self.body.inside(SEQUENCE)?;
        let mut attributes = Vec::new();
        while !list.is_empty() {
            budget.spend(OVERHEAD)?;
            let mut attribute = list.inside(SEQUENCE)?;
            let name = attribute.text(OCTETS)?.to_owned();
            let (mut set, mut values) = (attribute.inside(SET)?, Vec::new());
            while !set.is_empty() {
                budget.spend(OVERHEAD)?;
                values.push(set.expect(OCTETS)?.to_vec());
            }
            attributes.push((name, values));
        }
        Ok(Entry { dn, attributes })
    }
}

fn control(mut reader: Reader<'_>) -> Result<Control, Malformed> {
    let oid = reader.text(OCTETS)?.to_owned();
    reader.optional(BOOLEAN)?;
    Ok(Control { oid, value: reader.optional(OCTETS)?.map(<[u8]>::to_vec) })
}

fn printable(text: &[u8]) -> String {
    const MAX: usize = 300;
    let text = String::from_utf8_lossy(text);
    text.trim_end_matches('\0').chars().take(MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A request, ready to be sent.
pub fn request(id: i64, operation: &[u8], controls: &[Control]) -> Ber {
    let controls: Vec<Ber> = controls
        .iter()
        .map(|control| {
            let value = control.value.as_ref().map(ber::octets).unwrap_or_default();
            ber::element(SEQUENCE, &[&ber::octets(&control.oid), &value])
        })
        .collect();
    let controls: Vec<&[u8]> = controls.iter().map(|control| control.as_slice()).collect();
    let controls = if controls.is_empty() { Ber::default() } else { ber::element(0xa0, &controls) };
    ber::element(SEQUENCE, &[&ber::integer(INTEGER, id), operation, &controls])
}

pub fn bind(dn: &str, password: &[u8]) -> Ber {
    ber::element(0x60, &[&ber::integer(INTEGER, 3), &ber::octets(dn), &ber::element(0x80, &[password])])
}

pub fn unbind() -> Ber {
    ber::element(0x42, &[])
}

pub fn start_tls() -> Ber {
    ber::element(0x77, &[&ber::element(0x80, &[START_TLS.as_bytes()])])
}

pub fn compare(dn: &str, attribute: &str, value: &[u8]) -> Ber {
    let assertion = ber::element(SEQUENCE, &[&ber::octets(attribute), &ber::octets(value)]);
    ber::element(0x6e, &[&ber::octets(dn), &assertion])
}

/// `seconds`: how long the server may take; 0 is for ever.
pub fn search(search: &Search<'_>, deref: DerefAliases, size_limit: usize, seconds: u64) -> Ber {
    let number = |value: u64| ber::integer(INTEGER, value.min(i32::MAX as u64) as i64);
    let attributes: Vec<Ber> = search.attributes.iter().map(ber::octets).collect();
    let attributes: Vec<&[u8]> = attributes.iter().map(|attribute| attribute.as_slice()).collect();
    ber::element(
        0x63,
        &[
            &ber::octets(search.base),
            &ber::integer(ENUMERATED, search.scope as i64),
            &ber::integer(ENUMERATED, deref as i64),
            &number(size_limit as u64),
            &number(seconds),
            &ber::boolean(false),
            &search.filter,
            &ber::element(SEQUENCE, &attributes),
        ],
    )
}

/// The control that asks for one page; `cookie` is from the page before.
pub fn page(size: usize, cookie: &[u8]) -> Control {
    let size = ber::integer(INTEGER, size.min(i32::MAX as usize) as i64);
    Control::new(PAGED_RESULTS, Some(&ber::element(SEQUENCE, &[&size, &ber::octets(cookie)])))
}

/// The cookie for the next page, empty after the last.
pub fn next_page(outcome: &Outcome) -> Result<Vec<u8>, Malformed> {
    let Some(value) = outcome.control(PAGED_RESULTS).and_then(|control| control.value.as_deref()) else {
        return Ok(Vec::new());
    };
    let mut value = Reader::new(value).inside(SEQUENCE)?;
    value.integer(INTEGER)?;
    Ok(value.expect(OCTETS)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tag: u8, body: &[&[u8]], controls: &[Control]) -> Ber {
        request(7, &ber::element(tag, body), controls)
    }

    fn result(code: i64, text: &[u8]) -> [Ber; 3] {
        [ber::integer(ENUMERATED, code), ber::octets(""), ber::octets(text)]
    }

    fn read(bytes: &[u8]) -> Result<Message<'_>, Unreadable> {
        Message::read(bytes, &mut Budget(1 << 20))
    }

    fn read_entry(bytes: &[u8]) -> Result<Entry, Unreadable> {
        let mut budget = Budget(1 << 20);
        Message::read(bytes, &mut budget)?.entry(&mut budget)
    }

    /// Two bytes in a message are a value, or a control of four: many of them are refused before memory is taken for them.
    #[test]
    fn what_is_tiny_costs_too() {
        let many = 20_000;
        let values = ber::element(SET, &vec![ber::octets(""); many].iter().map(|v| v.as_slice()).collect::<Vec<_>>());
        let attributes = |count: usize, set: &[u8]| {
            let one = ber::element(SEQUENCE, &[&ber::octets("a"), set]);
            ber::element(SEQUENCE, &vec![one.as_slice(); count])
        };
        let [code, dn, text] = result(0, b"");
        for (bytes, fits) in [
            (answer(answer::ENTRY, &[&dn, &attributes(1, &ber::element(SET, &[]))], &[]), true),
            (answer(answer::ENTRY, &[&dn, &attributes(1, &values)], &[]), false),
            (answer(answer::ENTRY, &[&dn, &attributes(many, &ber::element(SET, &[]))], &[]), false),
            (answer(answer::ENTRY, &[&dn, &attributes(0, &[])], &vec![Control::new("", None); many]), false),
            (answer(answer::SEARCH_DONE, &[&code, &dn, &text], &vec![Control::new("", None); many]), false),
        ] {
            assert!(bytes.len() < 1 << 18, "the bytes alone are no reason");
            let mut budget = Budget(1 << 19);
            let found = Message::read(&bytes, &mut budget).and_then(|message| message.entry(&mut budget));
            assert_eq!(found.err(), (!fits).then_some(Unreadable::TooLarge));
        }
    }

    #[test]
    fn answers_are_read() {
        let [code, dn, text] = result(49, b"no\nway\0");
        let bytes = answer(answer::BIND, &[&code, &dn, &text], &[page(2, b"next")]);
        let message = read(&bytes).unwrap();
        assert_eq!((message.id, message.tag), (7, answer::BIND));
        let outcome = message.outcome().unwrap();
        assert_eq!((outcome.code, outcome.text.as_str()), (49, "no?way"));
        assert_eq!(next_page(&outcome).unwrap(), b"next");

        let values = ber::element(SET, &[&ber::octets("a"), &ber::octets(b"\xff")]);
        let attributes = ber::element(SEQUENCE, &[&ber::element(SEQUENCE, &[&ber::octets("Mail"), &values])]);
        let bytes = answer(answer::ENTRY, &[&ber::octets("uid=a"), &attributes], &[]);
        let entry = read_entry(&bytes).unwrap();
        assert_eq!((entry.dn.as_str(), entry.text("mail"), entry.values("MAIL").len()), ("uid=a", Some("a"), 2));
        assert_eq!(entry.values("cn").len(), 0);
    }

    /// Every answer cut short, and with each byte changed, is read as something or refused; nothing panics.
    #[test]
    fn broken_answers_are_refused_or_read() {
        let [code, dn, text] = result(0, b"fine");
        let values = ber::element(SET, &[&ber::octets("a")]);
        let attributes = ber::element(SEQUENCE, &[&ber::element(SEQUENCE, &[&ber::octets("mail"), &values])]);
        for bytes in [
            answer(answer::SEARCH_DONE, &[&code, &dn, &text], &[page(2, b"next")]),
            answer(answer::ENTRY, &[&ber::octets("uid=a"), &attributes], &[]),
        ] {
            let is_read = |bytes: &[u8]| {
                let outcome = read(bytes).ok().and_then(|message| message.outcome().ok());
                read_entry(bytes).is_ok() || outcome.is_some_and(|outcome| next_page(&outcome).is_ok())
            };
            assert!(is_read(&bytes));
            for end in 0..bytes.len() {
                assert!(!is_read(&bytes[..end]), "{end}");
            }
            for place in 0..bytes.len() {
                for change in [0x00, 0x1f, 0x7f, 0x80, 0x84, 0xff] {
                    let mut changed = bytes.to_vec();
                    changed[place] = change;
                    is_read(&changed);
                }
            }
        }
    }
}
