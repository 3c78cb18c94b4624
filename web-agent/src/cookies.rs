//! The agent's own cookies: reading them, hiding them from the sites, and setting them. Pure; the values are opaque.

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use shared_proto::names::fold_header_name;
use shared_proto::secret::Secret;

use crate::head::{Head, Scheme};
use crate::site::GateConfig;

/// Bytes of the longest value taken for a session.
const MAX_VALUE: usize = 4 * 1024;

/// The session cookie's value, where there is exactly one with a value that could be ours. Anything else is nobody:
/// with two cookies of one name, a neighbouring host may have planted one.
pub fn session(config: &GateConfig, head: &Head) -> Option<Secret> {
    let mut found =
        head.values("Cookie").flat_map(pairs).filter(|(name, _)| *name == config.cookies.session.as_bytes());
    match (found.next(), found.next()) {
        (Some((_, value)), None) if is_value(value) => Some(Secret::new(value)),
        _ => None,
    }
}

/// A `Cookie` header without our cookies; the others stay byte for byte. `None` where nothing is left.
pub fn without_ours(config: &GateConfig, header: &[u8]) -> Option<Vec<u8>> {
    if !pairs(header).any(|(name, _)| is_ours(config, name)) {
        return Some(header.to_owned());
    }
    let kept: Vec<&[u8]> = header
        .split(|b| *b == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty() && !is_ours(config, pair(item).0))
        .collect();
    (!kept.is_empty()).then(|| kept.join(b"; ".as_slice()))
}

/// Whether a `Set-Cookie` header would set or delete a cookie of ours. Browsers send a cookie without a name back as its
/// bare value, so that `=CAMS_SID_X=v` comes as `CAMS_SID_X=v`.
pub fn sets_ours(config: &GateConfig, header: &[u8]) -> bool {
    let item = header.split(|b| *b == b';').next().unwrap_or_default();
    let start = item.iter().position(|b| !b.is_ascii_whitespace() && *b != b'=').unwrap_or(item.len());
    is_ours(config, pair(item.get(start..).unwrap_or_default()).0)
}

/// Whether the bytes can stand in a cookie unquoted (RFC 6265 section 4.1.1).
pub fn is_value(value: &[u8]) -> bool {
    let is_octet = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    (1..=MAX_VALUE).contains(&value.len()) && value.iter().all(is_octet)
}

/// The `Set-Cookie` value that starts a session; it ends with the browser.
pub fn start_session(config: &GateConfig, scheme: Scheme, value: &str) -> String {
    ours(config, scheme, &config.cookies.session, value).to_string()
}

/// The `Set-Cookie` value that deletes the session cookie.
pub fn end_session(config: &GateConfig, scheme: Scheme) -> String {
    deleted(config, scheme, &config.cookies.session)
}

/// The `Set-Cookie` values that delete everything of ours.
pub fn forget(config: &GateConfig, scheme: Scheme) -> [String; 2] {
    [end_session(config, scheme), deleted(config, scheme, &config.cookies.auto_login)]
}

fn deleted(config: &GateConfig, scheme: Scheme, name: &str) -> String {
    let mut cookie = ours(config, scheme, name, "");
    cookie.set_max_age(Duration::ZERO);
    cookie.to_string()
}

/// Not `Secure` over cleartext, which only a site on localhost or in a laboratory should use: browsers would drop it.
fn ours<'a>(config: &'a GateConfig, scheme: Scheme, name: &'a str, value: &'a str) -> Cookie<'a> {
    let mut cookie = Cookie::new(name, value);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(scheme == Scheme::Https);
    if let Some(domain) = &config.cookie_domain {
        cookie.set_domain(domain.as_str());
    }
    cookie
}

fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|b| *b == b';').map(pair)
}

fn pair(item: &[u8]) -> (&[u8], &[u8]) {
    let item = item.trim_ascii();
    let at = item.iter().position(|b| *b == b'=').unwrap_or(item.len());
    let (name, value) = item.split_at(at);
    (name.trim_ascii_end(), value.strip_prefix(b"=").unwrap_or_default().trim_ascii_start())
}

/// Folded as PHP folds cookie names, and any case, so that no site sees a cookie it could take for ours; those of other
/// clusters and domains with our prefix too.
fn is_ours(config: &GateConfig, name: &[u8]) -> bool {
    let folded = fold_header_name(&String::from_utf8_lossy(name));
    let prefix = fold_header_name(&config.cookie_prefix);
    folded.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with("_SID_") || rest.starts_with("_AUTO_LOGIN_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Version;
    use crate::testing;

    const SID: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";

    fn head(cookies: &[&str]) -> Head {
        let headers = cookies.iter().map(|value| ("cookie".to_owned(), value.as_bytes().to_vec())).collect();
        Head { version: Version::H11, method: "GET".to_owned(), target: b"/".to_vec(), authority: None, headers }
    }

    #[test]
    fn one_well_formed_session_or_nobody() {
        let long = format!("{SID}={}", "a".repeat(MAX_VALUE + 1));
        let check = |cookies: &[&str], expected: Option<&str>| {
            let found = session(&testing::gate_config(), &head(cookies));
            assert_eq!(found.as_ref().and_then(Secret::expose_str), expected, "{cookies:?}");
        };
        let sid = |rest: &str| format!("{SID}{rest}");
        check(&[&sid("=abc")], Some("abc"));
        check(&["a=b", &sid("=abc; c=d")], Some("abc"));
        check(&[&format!("a=b;{SID}=x=y==;c")], Some("x=y=="));
        for cookies in [
            vec![],
            vec![sid("=")],
            vec![sid("")],
            vec![sid("=a b")],
            vec![sid("=\"abc\"")],
            vec![sid("=a\0b")],
            vec![sid("=é")],
            vec![sid(&format!("=valid; {SID}=other"))],
            vec![sid("=valid"), sid("=valid")],
            vec![sid("=valid"), sid("=")],
            vec![sid("X=abc")],
            vec![sid("=abc").to_lowercase()],
            vec![long],
        ] {
            check(&cookies.iter().map(String::as_str).collect::<Vec<_>>(), None);
        }
    }

    #[test]
    fn sites_never_see_our_cookies_and_keep_theirs() {
        let config = testing::gate_config();
        for (header, expected) in [
            ("a=b;c=\"d ;e", Some("a=b;c=\"d ;e")),
            ("a=b; CAMS_SID_MYCAMSCLUSTER_SYSTEM=x; c= d\u{e9}", Some("a=b; c= d\u{e9}")),
            ("CAMS_SID_MYCAMSCLUSTER_SYSTEM=x", None),
            ("CAMS_SID_OTHER_DOMAIN=x; CAMS_AUTO_LOGIN_OTHER_DOMAIN=y;", None),
            ("cams.sid_x=1; CAMS AUTO.LOGIN-Y=2; CAMSEL=3", Some("CAMSEL=3")),
            ("CAMS_SID_X", None),
            ("XCAMS_SID_X=1", Some("XCAMS_SID_X=1")),
        ] {
            let kept = without_ours(&config, header.as_bytes()).map(|kept| String::from_utf8(kept).unwrap());
            assert_eq!(kept.as_deref(), expected, "{header}");
        }
        for (header, expected) in [
            ("CAMS_SID_MYCAMSCLUSTER_SYSTEM=evil; Path=/", true),
            (" cams_auto_login_X =; Max-Age=0", true),
            ("=CAMS_SID_MYCAMSCLUSTER_SYSTEM=evil", true),
            (" =\t= CAMS_SID_X=evil; Path=/", true),
            ("CAMS_SID_X", true),
            ("=", false),
            ("=own=CAMS_SID_X=1", false),
            ("other=CAMS_SID_X=1", false),
            ("x=1; CAMS_SID_X=1", false),
        ] {
            assert_eq!(sets_ours(&config, header.as_bytes()), expected, "{header}");
        }
    }

    #[test]
    fn attributes() {
        let mut config = testing::gate_config();
        let lax = "HttpOnly; SameSite=Lax; Secure; Path=/";
        assert_eq!(start_session(&config, Scheme::Https, "v"), format!("{SID}=v; {lax}"));
        assert_eq!(start_session(&config, Scheme::Http, "v"), format!("{SID}=v; HttpOnly; SameSite=Lax; Path=/"));
        config.cookie_domain = Some("example.org".to_owned());
        assert_eq!(start_session(&config, Scheme::Https, "v"), format!("{SID}=v; {lax}; Domain=example.org"));
        assert_eq!(end_session(&config, Scheme::Https), format!("{SID}=; {lax}; Domain=example.org; Max-Age=0"));
        assert!(forget(&config, Scheme::Https)[1].starts_with("CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM=; "));
    }
}
