//! The identifiers of Active Directory: SIDs of accounts and groups, GUIDs of objects. Pure.

use std::fmt::Write;

/// A security identifier as it is stored (MS-DTYP, section 2.4.2.2): revision, number of parts, authority, parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sid(Vec<u8>);

const HEADER: usize = 8;
const REVISION: u8 = 1;
const MAX_PARTS: usize = 15;

impl Sid {
    /// `None` for bytes that are none.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let [REVISION, parts, ..] = bytes else { return None };
        let parts = usize::from(*parts);
        let whole = parts <= MAX_PARTS && bytes.len() == HEADER + 4 * parts;
        whole.then(|| Self(bytes.to_vec()))
    }

    /// As a search wants it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The one with this relative identifier in the same domain. `None` where this one is of no domain.
    pub fn sibling(&self, relative: u32) -> Option<Self> {
        let domain = self.0.len().checked_sub(4).filter(|length| *length >= HEADER)?;
        let mut bytes = self.0.get(..domain)?.to_vec();
        bytes.extend_from_slice(&relative.to_le_bytes());
        Some(Self(bytes))
    }
}

/// `S-1-5-21-…` (MS-DTYP, section 2.4.2.1).
impl std::fmt::Display for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = self.0.iter().take(HEADER).skip(2).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        write!(f, "S-{REVISION}-{authority}")?;
        let (parts, _) = self.0.get(HEADER..).unwrap_or_default().as_chunks();
        parts.iter().try_for_each(|part| write!(f, "-{}", u32::from_le_bytes(*part)))
    }
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`: the first three groups are stored with their lowest byte first (MS-DTYP, section
/// 2.3.4.2).
pub fn guid(bytes: &[u8]) -> Option<String> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = <[u8; 16]>::try_from(bytes).ok()?;
    let mut text = String::new();
    for (place, byte) in [d, c, b, a, f, e, h, g].into_iter().chain(rest).enumerate() {
        let hyphen = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(text, "{hyphen}{byte:02x}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: [u8; 28] = [
        1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0xf5, 0x9a, 0xfe, 0x37, 0xd5, 0x1f, 0xb7, 0xe6, 0x2f, 0x0a, 0x0f, 0xaa,
        0x4e, 4, 0, 0,
    ];

    #[test]
    fn sids_are_written_as_everywhere() {
        for (bytes, text) in [
            (ALICE.as_slice(), "S-1-5-21-939432693-3870760917-2853112367-1102"),
            (&[1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0], "S-1-5-32-544"),
            (&[1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], "S-1-1-0"),
            (&[1, 0, 0, 0, 0, 0, 0, 5], "S-1-5"),
        ] {
            assert_eq!(Sid::new(bytes).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_bytes_are_no_sid() {
        let mut longer = ALICE.to_vec();
        longer.push(0);
        let mut revision = ALICE.to_vec();
        revision[0] = 2;
        let mut parts = vec![1, 16, 0, 0, 0, 0, 0, 5];
        parts.extend([0; 64]);
        for bytes in [[].as_slice(), &[1], &ALICE[..27], &longer, &revision, &parts] {
            assert_eq!(Sid::new(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_primary_group_is_a_sibling() {
        let alice = Sid::new(&ALICE).unwrap();
        let users = alice.sibling(513).unwrap();
        assert_eq!(users.to_string(), "S-1-5-21-939432693-3870760917-2853112367-513");
        assert_eq!(Sid::new(users.as_bytes()), Some(users));
        assert_eq!(Sid::new(&[1, 0, 0, 0, 0, 0, 0, 5]).unwrap().sibling(513), None);
    }

    #[test]
    fn guids_are_written_as_everywhere() {
        // From MS-DTYP: the bytes 0 to 15 in order.
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(guid(&bytes).unwrap(), "03020100-0504-0706-0809-0a0b0c0d0e0f");
        assert_eq!((guid(&bytes[1..]), guid(&[])), (None, None));
    }
}
