//! Under which name failures of a typed user name are counted, and under which network those of an address. Pure.
//!
//! Every spelling that some directory could take for one and the same person must fall into one bucket, or each would
//! be a further set of guesses. Two people in one bucket are the smaller harm: they share a count in a shared network.

use std::net::IpAddr;

use ipnet::IpNet;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The name without case, accents, widths, blanks and invisible characters, without a domain before or behind it; of a
/// distinguished name, the value of its first part.
pub fn canonical(typed: &str) -> String {
    let folded = fold(typed);
    let name = first_value(&folded).map_or_else(|| folded.clone(), |value| fold(&value));
    let name = name.rsplit(['\\', '/']).find(|part| !part.is_empty()).unwrap_or_default();
    let name = name.split('@').find(|part| !part.is_empty()).unwrap_or_default();
    // Nothing is left of `\` or `@`, but something was typed.
    if name.is_empty() { folded } else { name.to_owned() }
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
    let plain = |text: &str| -> String { text.nfkd().filter(|c| !is_combining_mark(*c) && !is_unseen(*c)).collect() };
    // Each character by itself: a `Σ` at the end of a word is like any other.
    let lower = |text: &str| -> String { text.chars().flat_map(char::to_lowercase).collect() };
    plain(&lower(&lower(&plain(text)).to_uppercase()))
}

fn is_unseen(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
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
        let names = ["alice", "alice2", "al.ice", "al-ice", "al_ice", "bob", "alicebob", "uid", "ou=", "=alice"];
        for (n, one) in names.iter().enumerate() {
            for other in names.iter().skip(n + 1) {
                assert_ne!(canonical(one), canonical(other));
            }
        }
    }

    #[test]
    fn a_bucket_is_its_own_bucket() {
        for typed in ["Zoë@x", "uid=CORP\\\\Alice@x", "ﬁ", "ǆ", "İstanbul", "ŉ", "ΐ", "a=\\,b", "\u{1e9e}"] {
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
