//! Request targets, in one canonical form. Pure.
//!
//! Many spellings mean one resource to some upstream, and a rule sees only one of them. So every accepted target has
//! exactly one spelling, and whatever a decoder, a path normaliser or a file system behind us could still read
//! differently is refused rather than repaired. `docs/targets.md` is the administrator's view of these rules:
//!
//! - Path: each segment is percent-decoded once and encoded again, so that `%61` becomes `a` and a space `%20`. Empty
//!   segments are dropped (some clients write `//api`).
//! - Refused in a path: dot segments; `/`, `\` and their look-alikes inside a segment; `;` (path parameters are
//!   stripped by servlet containers); control characters; what is not UTF-8, overlong forms included; a second layer of
//!   percent-encoding; white space or a dot at the end of a segment (Windows drops them).
//! - Query: left as it is but for characters that may not stand there raw, which are encoded; only control characters
//!   are refused, save the line breaks and tabs of text fields.
//! - A raw `#`, `*` and anything else that is no path, and more than [`MAX_LEN`] bytes.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::head::Refusal;
use crate::origin::Authority;

/// Bytes of the longest target, before and after it is made canonical.
pub const MAX_LEN: usize = 8 * 1024;

/// All that is not `pchar` (RFC 3986 section 3.3), and `;`.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// What may not stand raw in a query; `%` may, as it already encodes something.
const QUERY: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// What compatibility normalisation (NFKC), or a code page of Windows, turns into something with `.`, `/`, `\`, `;` or
/// `%`. Not the ellipsis, which titles contain: like a dot it may not end a segment.
const LOOK_ALIKES: [char; 22] = [
    '\u{2024}', '\u{2025}', '\u{fe19}', '\u{fe30}', '\u{fe52}', '\u{ff0e}', // .
    '\u{2044}', '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}', '\u{2215}', '\u{ff0f}', // /
    '\u{2216}', '\u{fe68}', '\u{ff3c}', // \
    '\u{037e}', '\u{fe14}', '\u{fe54}', '\u{ff1b}', // ;
    '\u{fe6a}', '\u{ff05}', // %
];

/// Three dots to NFKC.
const ELLIPSIS: char = '\u{2026}';

/// A request target in canonical form: what is decided on and, byte for byte, what is forwarded (I9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    path_len: usize,
    authority: Option<Authority>,
}

impl Target {
    /// Reads an origin-form or absolute-form target (RFC 9112 section 3.2).
    ///
    /// # Errors
    /// 400 or 414 for every spelling that an upstream could read differently from us.
    pub fn parse(raw: &[u8]) -> Result<Self, Refusal> {
        const TOO_LONG: Refusal = Refusal::new(414, "the address is too long");
        if raw.len() > MAX_LEN {
            return Err(TOO_LONG);
        }
        if raw.contains(&b'#') {
            return Err(Refusal::bad("the address has a fragment"));
        }
        let (authority, rest) = split_authority(raw)?;
        let (path, query) = match rest.iter().position(|b| *b == b'?') {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
            None => (rest, None),
        };
        let mut text = String::with_capacity(raw.len());
        push_path(&mut text, path)?;
        let path_len = text.len();
        if let Some(query) = query {
            text.push('?');
            push_query(&mut text, query)?;
        }
        if text.len() > MAX_LEN {
            return Err(TOO_LONG);
        }
        Ok(Self { text, path_len, authority })
    }

    /// Reads a target whose path is `prefix`, a name, and then base64: that is no path but data, in which every slash counts,
    /// raw or encoded. In canonical form it is one segment. `None` for every other target.
    pub fn parse_base64(raw: &[u8], prefix: &str) -> Option<Self> {
        let (authority, mut rest) = split_authority(raw).ok()?;
        let wanted: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
        let mut text = String::with_capacity(raw.len() * 2);
        for number in 0..=wanted.len() {
            let segment;
            (segment, rest) = split_segment(rest)?;
            let is_name = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            let segment = std::str::from_utf8(segment).ok().filter(is_name)?;
            if wanted.get(number).is_some_and(|wanted| *wanted != segment) {
                return None;
            }
            text.extend(["/", segment]);
        }
        let data = decode(skip_slashes(rest)).ok()?;
        let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
        let data =
            std::str::from_utf8(&data).ok().filter(|data| !data.is_empty() && data.bytes().all(|b| is_base64(&b)))?;
        text.push('/');
        text.extend(utf8_percent_encode(data, &PATH));
        (text.len() <= MAX_LEN).then_some(Self { path_len: text.len(), text, authority })
    }

    /// Starts with `/`.
    pub fn path(&self) -> &str {
        self.text.get(..self.path_len).unwrap_or_default()
    }

    /// Without the `?`; `Some("")` where there was a `?` and nothing behind it.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_len + 1..)
    }

    /// Path and query, as they are decided on and forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The authority of an absolute-form target, which must equal the `Host`.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }
}

/// Splits off `http://authority`; what is left is empty or starts with `/` or `?`.
fn split_authority(raw: &[u8]) -> Result<(Option<Authority>, &[u8]), Refusal> {
    if raw.starts_with(b"/") {
        return Ok((None, raw));
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| raw.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes())))
        .ok_or(Refusal::bad("the address does not start with a slash"))?;
    let raw = raw.get(scheme.len()..).unwrap_or_default();
    let (authority, rest) = raw.split_at(raw.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(raw.len()));
    let authority = std::str::from_utf8(authority).ok().and_then(Authority::parse);
    Ok((Some(authority.ok_or(Refusal::bad("the address names no valid host"))?), rest))
}

fn skip_slashes(path: &[u8]) -> &[u8] {
    path.get(path.iter().take_while(|b| **b == b'/').count()..).unwrap_or_default()
}

/// The first segment that is not empty, and what follows, which begins with a slash.
fn split_segment(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let path = skip_slashes(path);
    path.split_at_checked(path.iter().position(|b| *b == b'/')?)
}

fn push_path(out: &mut String, path: &[u8]) -> Result<(), Refusal> {
    for segment in path.split(|b| *b == b'/').filter(|segment| !segment.is_empty()) {
        let segment = decode(segment)?;
        let segment = std::str::from_utf8(&segment).map_err(|_| Refusal::bad("the path is not UTF-8"))?;
        check_segment(segment)?;
        out.push('/');
        out.extend(utf8_percent_encode(segment, &PATH));
    }
    if out.is_empty() || path.ends_with(b"/") {
        out.push('/');
    }
    Ok(())
}

/// Decodes once, strictly.
fn decode(segment: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let Some((byte, tail)) = hex_pair(rest) else {
            return Err(Refusal::bad("the path has a percent sign that encodes nothing"));
        };
        out.push(byte);
        rest = tail;
    }
    Ok(out)
}

/// The byte that two hexadecimal digits stand for, and what follows them.
pub(crate) fn hex_pair(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = bytes.split_first_chunk::<2>()?;
    let [high, low] = pair.map(|digit| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()));
    Some((high? << 4 | low?, rest))
}

fn check_segment(segment: &str) -> Result<(), Refusal> {
    let refuse = |reason| Err(Refusal::bad(reason));
    if segment.chars().any(char::is_control) {
        return refuse("the path has a control character");
    }
    if segment.contains(['/', '\\', ';']) || segment.contains(LOOK_ALIKES) {
        return refuse("the path has a separator inside a segment");
    }
    if matches!(segment, "." | "..") {
        return refuse("the path has a dot segment");
    }
    if segment.ends_with(['.', ELLIPSIS]) || segment.trim() != segment {
        return refuse("a segment of the path ends with a dot, or starts or ends with white space");
    }
    // `%uXXXX` is how IIS encodes a character.
    let is_encoding = |after: &str| after.starts_with(['u', 'U']) || hex_pair(after.as_bytes()).is_some();
    if segment.match_indices('%').any(|(at, _)| segment.get(at + 1..).is_some_and(is_encoding)) {
        return refuse("the path is percent-encoded twice");
    }
    Ok(())
}

fn push_query(out: &mut String, query: &[u8]) -> Result<(), Refusal> {
    let text = std::str::from_utf8(query).map_err(|_| Refusal::bad("the query is not UTF-8"))?;
    let is_refused = |byte: u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r');
    let encoded = query.iter().enumerate().filter(|(_, b)| **b == b'%');
    let mut encoded = encoded.filter_map(|(at, _)| Some(hex_pair(query.get(at + 1..)?)?.0));
    if text.chars().any(char::is_control) || encoded.any(is_refused) {
        return Err(Refusal::bad("the query has a control character"));
    }
    out.extend(utf8_percent_encode(text, &QUERY));
    Ok(())
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
