//! Search filters (RFC 4515) with places for values: `(&(objectClass=person)(uid={0}))`. Pure.
//!
//! A filter is parsed once, from what an admin wrote. A value goes into it as bytes, never as text that is parsed: no
//! user name can become syntax.

use std::fmt::Write;

use super::ber::{self, Ber};

/// Deeper nesting is a mistake.
const MAX_DEPTH: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// The tag says which comparison: equality, `>=`, `<=`, `~=`.
    Compare(u8, String, Value),
    Present(String),
    /// Pieces with their tags: initial, any, final.
    Substrings(String, Vec<(u8, Value)>),
    Extensible {
        attribute: String,
        dn: bool,
        rule: String,
        value: Value,
    },
}

const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUAL: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const GREATER: u8 = 0xa5;
const LESS: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const APPROX: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    /// `{n}`
    Argument(usize),
}

type Value = Vec<Piece>;

impl Filter {
    /// `arguments` is how many of `{0}`, `{1}`, … there are.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn parse(text: &str, arguments: usize) -> Result<Self, String> {
        let mut parser = Parser { rest: text.trim(), arguments };
        let node = parser.node(0)?;
        if parser.rest.is_empty() { Ok(Self(node)) } else { Err(format!("`{}` is left over", parser.rest)) }
    }

    /// That an entry has the attribute.
    pub fn present(attribute: &str) -> Self {
        Self(Node::Present(attribute.to_owned()))
    }

    /// What all those have in common whom the filter may find: instead of being equal to a value, an attribute is there.
    pub fn for_anybody(&self) -> Self {
        Self(anybody(&self.0))
    }

    /// Of all those, the ones in whom `{0}` is in the value of one of these attributes.
    pub fn containing(&self, attributes: &[&str]) -> Self {
        const ANY: u8 = 0x81;
        let contains = |name: &&str| Node::Substrings((*name).to_owned(), vec![(ANY, vec![Piece::Argument(0)])]);
        Self(Node::And(vec![anybody(&self.0), Node::Or(attributes.iter().map(contains).collect())]))
    }

    /// The filter of a search, with these values in the places.
    pub fn encode<V: AsRef<[u8]>>(&self, values: &[V]) -> Ber {
        let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
        encode(&self.0, &values)
    }

    /// As text, for logs: the values escaped as RFC 4515 wants it.
    pub fn show<V: AsRef<[u8]>>(&self, values: &[V]) -> String {
        let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
        let mut out = String::new();
        show(&self.0, &values, &mut out);
        out
    }

    /// The attributes that are to be equal to `{argument}` and nothing more, in order.
    pub fn compared_with(&self, argument: usize) -> Vec<&str> {
        let mut found = Vec::new();
        walk(&self.0, &mut |node| {
            if let Node::Compare(EQUAL, attribute, value) = node
                && value.as_slice() == [Piece::Argument(argument)]
            {
                found.push(attribute.as_str());
            }
        });
        found
    }

    /// Whether `{argument}` is used at all.
    pub fn uses(&self, argument: usize) -> bool {
        let mut used = false;
        walk(&self.0, &mut |node| {
            let has = |value: &Value| value.contains(&Piece::Argument(argument));
            used |= match node {
                Node::Compare(_, _, value) | Node::Extensible { value, .. } => has(value),
                Node::Substrings(_, pieces) => pieces.iter().any(|(_, value)| has(value)),
                _ => false,
            };
        });
        used
    }
}

fn anybody(node: &Node) -> Node {
    let varies = |value: &Value| value.iter().any(|piece| matches!(piece, Piece::Argument(_)));
    match node {
        Node::And(nodes) => Node::And(nodes.iter().map(anybody).collect()),
        Node::Or(nodes) => Node::Or(nodes.iter().map(anybody).collect()),
        Node::Not(node) => Node::Not(Box::new(anybody(node))),
        Node::Compare(_, attribute, value) if varies(value) => Node::Present(attribute.clone()),
        Node::Substrings(attribute, pieces) if pieces.iter().any(|(_, value)| varies(value)) => {
            Node::Present(attribute.clone())
        }
        Node::Extensible { attribute, value, .. } if varies(value) => {
            Node::Present(if attribute.is_empty() { "objectClass".to_owned() } else { attribute.clone() })
        }
        other => other.clone(),
    }
}

fn walk<'a>(node: &'a Node, see: &mut dyn FnMut(&'a Node)) {
    see(node);
    match node {
        Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| walk(node, see)),
        Node::Not(node) => walk(node, see),
        _ => {}
    }
}

fn bytes(value: &Value, values: &[&[u8]]) -> Vec<u8> {
    let piece = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.clone(),
        Piece::Argument(n) => values.get(*n).copied().unwrap_or_default().to_vec(),
    };
    value.iter().flat_map(piece).collect()
}

fn encode(node: &Node, values: &[&[u8]]) -> Ber {
    let set = |tag, nodes: &[Node]| {
        let parts: Vec<Ber> = nodes.iter().map(|node| encode(node, values)).collect();
        ber::element(tag, &parts.iter().map(|part| part.as_slice()).collect::<Vec<_>>())
    };
    match node {
        Node::And(nodes) => set(AND, nodes),
        Node::Or(nodes) => set(OR, nodes),
        Node::Not(node) => ber::element(NOT, &[&encode(node, values)]),
        Node::Compare(tag, attribute, value) => {
            ber::element(*tag, &[&ber::octets(attribute), &ber::octets(bytes(value, values))])
        }
        Node::Present(attribute) => ber::element(PRESENT, &[attribute.as_bytes()]),
        Node::Substrings(attribute, pieces) => {
            let pieces: Vec<Ber> =
                pieces.iter().map(|(tag, value)| ber::element(*tag, &[&bytes(value, values)])).collect();
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_slice()).collect();
            ber::element(SUBSTRINGS, &[&ber::octets(attribute), &ber::element(ber::SEQUENCE, &pieces)])
        }
        Node::Extensible { attribute, dn, rule, value } => {
            let optional = |tag, text: &str| match text {
                "" => Ber::default(),
                text => ber::element(tag, &[text.as_bytes()]),
            };
            let dn = if *dn { ber::element(0x84, &[&[0xff]]) } else { Ber::default() };
            let value = ber::element(0x83, &[&bytes(value, values)]);
            ber::element(EXTENSIBLE, &[&optional(0x81, rule), &optional(0x82, attribute), &value, &dn])
        }
    }
}

fn show(node: &Node, values: &[&[u8]], out: &mut String) {
    out.push('(');
    match node {
        Node::And(nodes) | Node::Or(nodes) => {
            out.push(if matches!(node, Node::And(_)) { '&' } else { '|' });
            nodes.iter().for_each(|node| show(node, values, out));
        }
        Node::Not(node) => {
            out.push('!');
            show(node, values, out);
        }
        Node::Compare(tag, attribute, value) => {
            let operator = match *tag {
                GREATER => ">=",
                LESS => "<=",
                APPROX => "~=",
                _ => "=",
            };
            out.extend([attribute, operator, &escape(&bytes(value, values))]);
        }
        Node::Present(attribute) => out.extend([attribute, "=*"]),
        Node::Substrings(attribute, pieces) => {
            out.extend([attribute, "="]);
            for (tag, value) in pieces {
                out.push_str(if *tag == 0x80 { "" } else { "*" });
                out.push_str(&escape(&bytes(value, values)));
            }
            out.push_str(if pieces.last().is_some_and(|(tag, _)| *tag == 0x82) { "" } else { "*" });
        }
        Node::Extensible { attribute, dn, rule, value } => {
            let (dn, colon) = (if *dn { ":dn" } else { "" }, if rule.is_empty() { "" } else { ":" });
            out.extend([attribute.as_str(), dn, colon, rule, ":=", &escape(&bytes(value, values))]);
        }
    }
    out.push(')');
}

/// A value as a filter spells it (RFC 4515, section 3); what is not printable ASCII is escaped too.
pub fn escape(value: &[u8]) -> String {
    let text = std::str::from_utf8(value);
    let plain = |c: &char| !matches!(c, '*' | '(' | ')' | '\\') && !c.is_control();
    match text {
        Ok(text) => text.chars().fold(String::new(), |mut out, c| {
            if plain(&c) {
                out.push(c)
            } else {
                hex(c.to_string().as_bytes(), &mut out)
            }
            out
        }),
        Err(_) => {
            let mut out = String::new();
            hex(value, &mut out);
            out
        }
    }
}

fn hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(out, "\\{byte:02x}");
    }
}

struct Parser<'a> {
    rest: &'a str,
    arguments: usize,
}

impl Parser<'_> {
    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn node(&mut self, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH}"));
        }
        if !self.take("(") {
            return Err(format!("`(` is missing before `{}`", self.rest));
        }
        let node = if self.take("&") {
            Node::And(self.nodes(depth)?)
        } else if self.take("|") {
            Node::Or(self.nodes(depth)?)
        } else if self.take("!") {
            Node::Not(Box::new(self.node(depth + 1)?))
        } else {
            self.item()?
        };
        if self.take(")") { Ok(node) } else { Err(format!("`)` is missing before `{}`", self.rest)) }
    }

    fn nodes(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        while self.rest.starts_with('(') {
            nodes.push(self.node(depth + 1)?);
        }
        if nodes.is_empty() { Err("`&` and `|` need a filter after them".to_owned()) } else { Ok(nodes) }
    }

    fn item(&mut self) -> Result<Node, String> {
        let end = self.rest.find(['(', ')']).unwrap_or(self.rest.len());
        let (item, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (left, value) = item.split_once('=').ok_or_else(|| format!("`{item}` has no `=`"))?;
        for (suffix, tag) in [('>', GREATER), ('<', LESS), ('~', APPROX)] {
            if let Some(attribute) = left.strip_suffix(suffix) {
                return Ok(Node::Compare(tag, description(attribute)?, self.whole(value)?));
            }
        }
        if let Some(left) = left.strip_suffix(':') {
            return self.extensible(left, value);
        }
        let attribute = description(left)?;
        if value == "*" {
            return Ok(Node::Present(attribute));
        }
        if !value.contains('*') {
            return Ok(Node::Compare(EQUAL, attribute, self.value(value)?));
        }
        let last = value.matches('*').count();
        let mut pieces = Vec::new();
        for (place, piece) in value.split('*').enumerate().filter(|(_, piece)| !piece.is_empty()) {
            let tag = if place == 0 {
                0x80
            } else if place == last {
                0x82
            } else {
                0x81
            };
            pieces.push((tag, self.value(piece)?));
        }
        if pieces.is_empty() { Err(format!("`{item}`: write `=*`")) } else { Ok(Node::Substrings(attribute, pieces)) }
    }

    /// `attribute:dn:rule:=value`, where all three may be absent but not the first and the last together.
    fn extensible(&self, left: &str, value: &str) -> Result<Node, String> {
        let mut parts = left.split(':');
        let attribute = parts.next().unwrap_or_default();
        let mut rest: Vec<&str> = parts.collect();
        let dn = rest.first().is_some_and(|part| part.eq_ignore_ascii_case("dn"));
        if dn {
            rest.remove(0);
        }
        let rule = match rest.as_slice() {
            [] => "",
            [rule] => rule,
            _ => return Err(format!("`{left}:` has too many parts")),
        };
        if attribute.is_empty() && rule.is_empty() {
            return Err(format!("`{left}:=` names neither an attribute nor a matching rule"));
        }
        for part in [attribute, rule].into_iter().filter(|part| !part.is_empty()) {
            description(part)?;
        }
        let (attribute, rule) = (attribute.to_owned(), rule.to_owned());
        Ok(Node::Extensible { attribute, dn, rule, value: self.whole(value)? })
    }

    fn whole(&self, text: &str) -> Result<Value, String> {
        if text.contains('*') { Err(format!("`{text}`: write \\2a for a star")) } else { self.value(text) }
    }

    /// `\2a` is a byte, `{0}` a place; a brace that is meant as such is `\7b`.
    fn value(&self, mut text: &str) -> Result<Value, String> {
        let mut value = Value::new();
        let mut literal = Vec::new();
        while let Some(next) = text.chars().next() {
            let mut taken = next.len_utf8();
            match next {
                '\\' => {
                    let digits = text.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                    let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    literal.push(byte.ok_or_else(|| format!("`{text}`: two hexadecimal digits follow a `\\`"))?);
                    taken = 3;
                }
                '{' => {
                    let (number, _) = text.get(1..).and_then(|text| text.split_once('}')).unwrap_or_default();
                    let n = number.parse().ok().filter(|n| *n < self.arguments);
                    let n = n.ok_or_else(|| format!("`{text}`: there is {}", places(self.arguments)))?;
                    if !literal.is_empty() {
                        value.push(Piece::Bytes(std::mem::take(&mut literal)));
                    }
                    value.push(Piece::Argument(n));
                    taken = number.len() + 2;
                }
                _ => literal.extend_from_slice(next.to_string().as_bytes()),
            }
            text = text.get(taken..).unwrap_or_default();
        }
        if !literal.is_empty() {
            value.push(Piece::Bytes(literal));
        }
        Ok(value)
    }
}

fn places(arguments: usize) -> String {
    match arguments {
        0 => "no place for a value here".to_owned(),
        n => (0..n).map(|n| format!("{{{n}}}")).collect::<Vec<_>>().join(" and "),
    }
}

/// An attribute description or an OID (RFC 4512, section 2.5).
fn description(text: &str) -> Result<String, String> {
    if is_description(text) { Ok(text.to_owned()) } else { Err(format!("`{text}` is not an attribute")) }
}

pub fn is_description(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_'))
}

#[cfg(test)]
mod tests;
