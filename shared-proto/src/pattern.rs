//! Which requests a permission is about, and which of two matching patterns is the more specific one.
//!
//! Paths are compared segment by segment on their decoded bytes, in time linear in the path; there are no regular
//! expressions, so no pattern can be slow and none matches more than it shows.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a pattern is compared with: a request as the agent will forward it.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    pub scheme: &'a str,
    /// Lower case, without the port.
    pub host: &'a str,
    pub port: u16,
    pub method: &'a str,
    /// As it will be forwarded, byte for byte, without the query.
    pub path: &'a str,
}

/// The requests a permission covers: all given conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePattern {
    pub scheme: Option<String>,
    pub host: HostPattern,
    pub port: Option<u16>,
    pub path: PathPattern,
    /// Empty: every method.
    pub methods: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPattern {
    Any,
    /// `*.example.org` kept as `.example.org`: every host below it, not itself.
    Below(String),
    Exact(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPattern {
    text: String,
    segments: Vec<Segment>,
    /// Ends in `/*`: covers what the segments name and everything below it.
    subtree: bool,
    /// For sites that serve `/ADMIN/` as `/admin/`. ASCII letters only.
    ignore_case: bool,
    rank: PathRank,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Segment {
    Literal(Vec<u8>),
    /// What stands before and after the one `*`.
    Wild(Vec<u8>, Vec<u8>),
}

/// Greater is more specific: exact, then the longer part before the first `*`, then more literal characters overall,
/// then fewer `*`, then a single level rather than a subtree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PathRank {
    exact: bool,
    prefix: usize,
    literal: usize,
    stars: Reverse<usize>,
    one_level: bool,
}

/// How specific a pattern is; greater is more specific. A pattern that covers a proper part of what another covers
/// ranks above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    path: PathRank,
    host: usize,
    scheme: bool,
    port: bool,
    methods: Reverse<usize>,
}

impl ResourcePattern {
    pub fn matches(&self, resource: &Resource<'_>) -> bool {
        self.scheme.as_deref().is_none_or(|scheme| scheme == resource.scheme)
            && self.port.is_none_or(|port| port == resource.port)
            && (self.methods.is_empty() || self.methods.contains(resource.method))
            && self.host.matches(resource.host)
            && self.path.matches(resource.path)
    }

    pub fn specificity(&self) -> Specificity {
        Specificity {
            path: self.path.rank,
            host: match &self.host {
                HostPattern::Any => 0,
                HostPattern::Below(suffix) => suffix.len(),
                HostPattern::Exact(_) => usize::MAX,
            },
            scheme: self.scheme.is_some(),
            port: self.port.is_some(),
            methods: Reverse(if self.methods.is_empty() { usize::MAX } else { self.methods.len() }),
        }
    }
}

/// As an admin would say it: `/admin/*`, `GET,POST https://app.example.org:8443/admin/*`.
impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.methods.is_empty() {
            let methods: Vec<&str> = self.methods.iter().map(String::as_str).collect();
            write!(f, "{} ", methods.join(","))?;
        }
        if self.scheme.is_some() || self.port.is_some() || self.host != HostPattern::Any {
            write!(f, "{}://{}", self.scheme.as_deref().unwrap_or("*"), self.host)?;
            if let Some(port) = self.port {
                write!(f, ":{port}")?;
            }
        }
        f.write_str(&self.path.text)
    }
}

impl HostPattern {
    /// `*`, `*.example.org`, or a host name (case does not matter).
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let name = text.strip_prefix("*.").unwrap_or(text).to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let valid = match address {
            Some(address) => name == text.to_ascii_lowercase() && address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => name.split('.').all(is_label),
        };
        match valid {
            false => {
                Err(format!("`{text}` is no host: use a name, `*.` and a name, or `*`; the port has its own `port`"))
            }
            true if text.starts_with('*') => Ok(Self::Below(format!(".{name}"))),
            true => Ok(Self::Exact(name)),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Exact(name) => host == name,
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

impl PathPattern {
    /// An exact path; `/admin/*` for `/admin` and all below it; one `*` elsewhere in a segment for any characters of
    /// that segment. What no forwarded path can look like is refused, because such a pattern would protect nothing.
    pub fn parse(text: &str, ignore_case: bool) -> Result<Self, String> {
        if let Some(flaw) = path_flaw(text).or_else(|| spelling_flaw(text)) {
            return Err(format!("`{text}` can never match: {flaw}"));
        }
        let (body, subtree) = match text.strip_suffix("/*") {
            Some(body) => (body, true),
            None => (text, false),
        };
        let segments: Vec<Segment> = body.split('/').skip(1).map(Segment::parse).collect::<Result<_, _>>()?;
        let prefix = body.split('*').next().unwrap_or_default().len();
        let literal = body.bytes().filter(|b| *b != b'*').count();
        let stars = text.bytes().filter(|b| *b == b'*').count();
        let rank = PathRank { exact: stars == 0, prefix, literal, stars: Reverse(stars), one_level: !subtree };
        Ok(Self { text: text.to_owned(), segments, subtree, ignore_case, rank })
    }

    fn matches(&self, path: &str) -> bool {
        let mut rest = path.split('/').skip(1);
        let same: fn(&[u8], &[u8]) -> bool =
            if self.ignore_case { <[u8]>::eq_ignore_ascii_case } else { |a, b| a == b };
        self.segments.iter().all(|segment| rest.next().is_some_and(|text| segment.matches(&decode(text), same)))
            && (self.subtree || rest.next().is_none())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            None => Ok(Self::Literal(decode(text).into_owned())),
            Some((_, after)) if after.contains('*') => {
                Err(format!("`{text}`: a segment may hold one `*` only, and `/*` at the end covers all levels below"))
            }
            Some((before, after)) => Ok(Self::Wild(decode(before).into_owned(), decode(after).into_owned())),
        }
    }

    fn matches(&self, text: &[u8], same: fn(&[u8], &[u8]) -> bool) -> bool {
        match self {
            Self::Literal(literal) => same(text, literal),
            Self::Wild(before, after) => text
                .split_at_checked(before.len())
                .and_then(|(start, rest)| Some((start, rest.split_at_checked(rest.len().checked_sub(after.len())?)?.1)))
                .is_some_and(|(start, end)| same(start, before) && same(end, after)),
        }
    }
}

/// Why two servers might read this path differently, if they might. The agent forwards no such path; one that arrives
/// all the same is denied rather than interpreted.
pub fn path_flaw(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("a path begins with `/`");
    }
    if path.contains(['?', '#']) {
        return Some("a path ends before `?` or `#`");
    }
    if path.bytes().any(|b| !b.is_ascii_graphic() || b == b'\\') {
        return Some("spaces, backslashes, control characters and what is not ASCII must be percent-encoded");
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(text) = segments.next() {
        let last = segments.peek().is_none();
        if let Some(flaw) = segment_flaw(text, last) {
            return Some(flaw);
        }
    }
    None
}

fn segment_flaw(text: &str, last: bool) -> Option<&'static str> {
    if text.is_empty() && !last {
        return Some("it has an empty segment (`//`)");
    }
    // RFC 3986, section 2.1: a percent sign is followed by two hexadecimal digits.
    if text.split('%').skip(1).any(|rest| octet(rest).is_none()) {
        return Some("a `%` is not followed by two hexadecimal digits");
    }
    let decoded = decode(text);
    if decoded.iter().any(|b| matches!(b, b'/' | b'\\') || b.is_ascii_control()) {
        return Some("it encodes a slash, a backslash or a control character");
    }
    // Some servers cut `;parameters` off a segment first and resolve dots afterwards.
    let name = decoded.split(|b| *b == b';').next().unwrap_or_default();
    if name.is_empty() && !decoded.is_empty() {
        return Some("it has a segment without a name");
    }
    // Windows drops both; this covers `.` and `..` as well.
    if name.ends_with(b".") || name.ends_with(b" ") || name.starts_with(b" ") {
        return Some("it has a segment that ends with a dot, or begins or ends with a space");
    }
    None
}

/// The path as servers read it that cut `;parameters` off every segment, if that differs.
pub fn without_parameters(path: &str) -> Option<String> {
    let begin = |text: &str| [";", "%3B", "%3b"].iter().filter_map(|mark| text.find(mark)).min();
    begin(path)?;
    let names = path.split('/').map(|text| begin(text).and_then(|end| text.get(..end)).unwrap_or(text));
    Some(names.collect::<Vec<_>>().join("/"))
}

/// What the agent never forwards, or forwards in another spelling: the normal form of RFC 3986, section 6.2.2.
fn spelling_flaw(text: &str) -> Option<&'static str> {
    let normal = |rest: &str| {
        let upper = rest.bytes().take(2).all(|b| !b.is_ascii_lowercase());
        upper && octet(rest).is_some_and(|b| !(b.is_ascii_alphanumeric() || b"-._~".contains(&b)))
    };
    if !text.split('%').skip(1).all(normal) {
        return Some("write letters, digits and `-._~` as they are and the rest as `%` and upper-case hexadecimal");
    }
    if text.contains(';') || text.contains("%3B") {
        return Some("parameters (`;`) are no part of a pattern");
    }
    None
}

/// The octet that the first two characters spell.
fn octet(hex: &str) -> Option<u8> {
    let digit = |at: usize| hex.as_bytes().get(at).and_then(|b| char::from(*b).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// Percent-decoded once; what is no valid encoding stays as it is.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        match octet(after) {
            Some(b) => {
                bytes.push(b);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(b'%');
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(bytes)
}
