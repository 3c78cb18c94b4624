//! Under which name failures of a typed user name are counted, and under which network those of an address. Pure.
//!
//! Every spelling that some directory could take for one and the same person must fall into one bucket, or each would
//! be a further set of guesses. Two people in one bucket are the smaller harm: they share a count in a shared network.

use std::net::IpAddr;

use ipnet::IpNet;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::directory::person::is_invisible;

/// The letters and digits of the name without case, accents, strokes and widths, without a domain before or behind it; of
/// a distinguished name, those of the value of its first part.
pub fn canonical(typed: &str) -> String {
    let folded = fold(typed);
    let name = first_value(&folded).map_or_else(|| folded.clone(), |value| fold(&value));
    let says_something = |part: &&str| part.chars().any(char::is_alphanumeric);
    let name = name.rsplit(['\\', '/']).find(says_something).unwrap_or_default();
    let name = name.split('@').find(says_something).unwrap_or_default();
    // Nothing is left of `\` or `@`, but something was typed.
    if name.is_empty() { folded } else { letters(name) }
}

/// The network whose failures are counted together. An IPv4 address in IPv6 clothes (RFC 4291, section 2.5.5.2) is one.
pub fn network(address: IpAddr, ipv4_prefix: u8, ipv6_prefix: u8) -> IpNet {
    let address = address.to_canonical();
    let prefix = if address.is_ipv4() { ipv4_prefix } else { ipv6_prefix };
    IpNet::new(address, prefix).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

/// Directories compare names without case, many without accents, and skip what cannot be seen (RFC 4518, section 2.2).
/// Lower, upper and lower case again: that brings `ß`, `ẞ` and `SS` together.
fn fold(text: &str) -> String {
    let is_seen = |c: &char| !(is_combining_mark(*c) || c.is_whitespace() || is_invisible(*c));
    let plain = |text: &str| -> String { text.nfkd().filter(is_seen).collect() };
    // Each character by itself: a `Σ` at the end of a word is like any other.
    let lower = |text: &str| -> String { text.chars().flat_map(char::to_lowercase).collect() };
    plain(&lower(&lower(&plain(text)).to_uppercase()))
}

/// Collations of databases skip still more, take letters with a stroke for those without, and all characters beyond the
/// basic plane for one.
fn letters(folded: &str) -> String {
    let mut letters = String::new();
    for c in folded.chars().filter(|c| c.is_alphanumeric()) {
        match c {
            'æ' => letters.push_str("ae"),
            'œ' => letters.push_str("oe"),
            'þ' => letters.push_str("th"),
            'ⱥ' => letters.push('a'),
            'ƀ' => letters.push('b'),
            'ȼ' => letters.push('c'),
            'đ' | 'ð' => letters.push('d'),
            'ɇ' => letters.push('e'),
            'ǥ' => letters.push('g'),
            'ħ' => letters.push('h'),
            'ı' | 'ɨ' => letters.push('i'),
            'ɉ' => letters.push('j'),
            'ł' | 'ƚ' => letters.push('l'),
            'ø' | 'ɵ' => letters.push('o'),
            'ɍ' => letters.push('r'),
            'ŧ' | 'ⱦ' => letters.push('t'),
            'ʉ' => letters.push('u'),
            'ɏ' => letters.push('y'),
            'ƶ' => letters.push('z'),
            '\u{10000}'.. => letters.push('\u{10000}'),
            other => letters.push(other),
        }
    }
    letters
}

/// `alice` of `uid=alice,ou=people,dc=example` (RFC 4514), already folded.
fn first_value(name: &str) -> Option<String> {
    let (attribute, rest) = name.split_once('=')?;
    let is_attribute =
        !attribute.is_empty() && attribute.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if !is_attribute {
        return None;
    }
    let mut value = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'+' | b';' => break,
            b'"' => {}
            b'\\' => {
                let first = bytes.next()?;
                match (hex_digit(first), bytes.clone().next().and_then(hex_digit)) {
                    (Some(high), Some(low)) => {
                        bytes.next();
                        value.push(high * 16 + low);
                    }
                    _ => value.push(first),
                }
            }
            plain => value.push(plain),
        }
    }
    let value = String::from_utf8_lossy(&value).into_owned();
    (!value.is_empty()).then_some(value)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_person_is_one_bucket() {
        for (name, spellings) in [
            (
                "alice",
                &[
                    "alice",
                    "ALICE",
                    "Alice",
                    " alice",
                    "alice ",
                    "\talice\u{a0}",
                    "al ice",
                    "alice@corp",
                    "alice@corp.example",
                    "ALICE@CORP@other",
                    "CORP\\alice",
                    "corp.example\\Alice ",
                    "corp/alice",
                    "CORP\\alice@corp",
                    "ａｌｉｃｅ",
                    "alice＠corp",
                    "CORP＼alice",
                    "al\u{200b}ice",
                    "al\u{ad}ice",
                    "\u{feff}alice",
                    "alice\u{301}",
                    "al\u{70f}ice",
                    "al\u{61c}ice",
                    "al\u{600}ice",
                    "al\u{0}ice",
                    "al\u{3164}ice",
                    "al\u{1d173}ice",
                    "al.ice",
                    "al-i_c'e",
                    "\u{600}@alice",
                    "alice\\\u{600}",
                    "alıce",
                    "uid=alice,ou=people,dc=example,dc=org",
                    "UID = Alice , ou=people",
                    "cn=alice",
                    "uid=alice+cn=x,dc=y",
                    "uid=\\61lice,dc=x",
                    "uid=al\\69ce",
                    "uid=\"alice\",dc=x",
                    "0.9.2342.19200300.100.1.1=alice,dc=x",
                    "alice\\",
                    "alice@",
                    "@alice",
                    "\\alice",
                ][..],
            ),
            ("zoe", &["zoë", "zoe\u{308}", "ZOË", "Zoe"]),
            ("strasse", &["straße", "STRASSE", "STRAẞE"]),
            ("soren", &["søren", "SØREN", "sören", "so\u{338}ren"]),
            ("lodz", &["łódź", "ŁÓDŹ", "lodz"]),
            ("dordehat", &["đorđehat", "ðorðeħaŧ", "Đorđehať"]),
            ("aesirthor", &["æsirþor", "ÆSIRÞOR", "ǽsirthor"]),
            ("oeuvre", &["œuvre", "ŒUVRE"]),
            ("\u{10000}x", &["𠀀x", "𠀁x", "𐐀x", "𐐨x"]),
            ("...", &["...", " . . . "]),
            ("οδοσ", &["οδος", "ΟΔΟΣ"]),
            ("kelvin", &["Kelvin", "\u{212a}elvin"]),
            ("\\", &["\\", " \\ "]),
            ("@@", &["@@", "＠@"]),
            ("", &["", " ", "\u{200b}"]),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(spelling), name, "{spelling:?}");
            }
        }
    }

    #[test]
    fn different_people_have_their_own() {
        let names = ["alice", "alice2", "bob", "alicebob", "uid", "ou=", ".", "-", "姓名", "姓", "مريم", "алиса"];
        for (n, one) in names.iter().enumerate() {
            for other in names.iter().skip(n + 1) {
                assert_ne!(canonical(one), canonical(other));
            }
        }
    }

    #[test]
    fn a_bucket_is_its_own_bucket() {
        for typed in
            ["Zoë@x", "uid=CORP\\\\Alice@x", "ﬁ", "ǆ", "İstanbul", "ŉ", "ΐ", "ǿ", "ǆ𐐀Ð", "!@a", "a=\\,b", "\u{1e9e}"]
        {
            let once = canonical(typed);
            assert_eq!(canonical(&once), once, "{typed}");
        }
    }

    #[test]
    fn addresses_are_counted_by_network() {
        for (address, v4, v6, network_of) in [
            ("192.0.2.7", 32, 64, "192.0.2.7/32"),
            ("192.0.2.7", 24, 64, "192.0.2.0/24"),
            ("::ffff:192.0.2.7", 32, 64, "192.0.2.7/32"),
            ("2001:db8:1:2:3:4:5:6", 32, 64, "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6/128"),
            ("::1", 32, 64, "::/64"),
        ] {
            assert_eq!(network(address.parse().unwrap(), v4, v6).to_string(), network_of);
        }
    }
}
