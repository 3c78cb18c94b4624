//! The little of BER that LDAP uses (RFC 4511, section 5.1): tags of one byte, definite lengths. Pure.
//!
//! Reading never recurses and never believes a length before as many bytes are there. What is written is wiped when
//! dropped, for it may hold a password.

use zeroize::Zeroizing;

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const ENUMERATED: u8 = 0x0a;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// One element, header and all.
pub type Ber = Zeroizing<Vec<u8>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed BER")]
pub struct Malformed;

/// Header and content lengths of the element that `bytes` begin with, or `None` while its header is not complete.
///
/// # Errors
/// An indefinite length (RFC 4511 forbids it), or one that takes more than four bytes to write.
pub fn lengths(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some(first) = bytes.get(1).copied() else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some((2, usize::from(first))));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(Malformed);
    }
    let length =
        bytes.get(2..2 + count).map(|octets| octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)));
    Ok(length.map(|length| (2 + count, length)))
}

/// Walks over the elements beside each other in some bytes.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element: tag and content.
    pub fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let tag = *self.0.first().ok_or(Malformed)?;
        // More bytes of the tag would follow.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (header, length) = lengths(self.0)?.ok_or(Malformed)?;
        let (_, rest) = self.0.split_at_checked(header).ok_or(Malformed)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    /// The content of the next element if it has this tag; otherwise it is not taken.
    pub fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        self.any().map(|(_, content)| Some(content))
    }

    pub fn inside(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.expect(tag).map(Self)
    }

    pub fn integer(&mut self, tag: u8) -> Result<i64, Malformed> {
        integer_of(self.expect(tag)?)
    }

    pub fn text(&mut self, tag: u8) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.expect(tag)?).map_err(|_| Malformed)
    }
}

/// The number in the content of an INTEGER or ENUMERATED.
pub fn integer_of(content: &[u8]) -> Result<i64, Malformed> {
    let first = *content.first().ok_or(Malformed)?;
    if content.len() > 8 {
        return Err(Malformed);
    }
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(content.iter().fold(sign, |sum, octet| sum << 8 | i64::from(*octet)))
}

/// An element whose content are these parts, one after the other.
pub fn element(tag: u8, parts: &[&[u8]]) -> Ber {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    // Never reallocated: that would leave copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(length + 10));
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let octets = length.to_be_bytes();
        let octets: Vec<u8> = octets.into_iter().skip_while(|octet| *octet == 0).collect();
        out.push(0x80 | octets.len() as u8);
        out.extend_from_slice(&octets);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub fn octets(content: impl AsRef<[u8]>) -> Ber {
    element(OCTETS, &[content.as_ref()])
}

/// In as few bytes as it takes.
pub fn integer(tag: u8, value: i64) -> Ber {
    let octets = value.to_be_bytes();
    let mut content = octets.as_slice();
    while let [first, second, ..] = content
        && (*first == 0 && second & 0x80 == 0 || *first == 0xff && second & 0x80 != 0)
    {
        content = content.get(1..).unwrap_or_default();
    }
    element(tag, &[content])
}

pub fn boolean(value: bool) -> Ber {
    element(BOOLEAN, &[&[if value { 0xff } else { 0 }]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 20] {
            let content = vec![7; length];
            let written = octets(&content);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.expect(OCTETS).unwrap(), content, "{length}");
            assert!(reader.is_empty());
        }
        for value in [0, 1, -1, 127, 128, -128, -129, 255, 256, 1 << 31, i64::MAX, i64::MIN] {
            assert_eq!(Reader::new(&integer(INTEGER, value)).integer(INTEGER), Ok(value), "{value}");
        }
        assert_eq!(integer(INTEGER, 128).as_slice(), [2, 2, 0, 128]);
        assert_eq!(integer(ENUMERATED, -1).as_slice(), [10, 1, 255]);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for bytes in [
            [].as_slice(),
            &[0x30],
            &[0x30, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 0],
            &[0x30, 0xff],
            &[0x1f, 0x81, 0x00, 0x00],
        ] {
            assert_eq!(Reader::new(bytes).any(), Err(Malformed), "{bytes:?}");
        }
        for content in [[].as_slice(), &[0; 9]] {
            assert_eq!(integer_of(content), Err(Malformed));
        }
        assert_eq!(lengths(&[0x30, 0x82, 0x01]), Ok(None), "more may come");
        assert_eq!(lengths(&[0x30, 0x82, 0x01, 0x00]), Ok(Some((4, 256))));
    }
}
