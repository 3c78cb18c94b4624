//! Where a login may lead. Pure. One parser both checks an address and makes the text that is sent, so that no browser
//! can read it differently from us.

use crate::origin::{Origin, split_url};
use crate::site::{GateConfig, Service};
use crate::target::Target;

/// The address to send to the browser for `wanted`, if it leads to a site of the cluster. `here` is the origin of the
/// request in hand.
pub fn resolve(config: &GateConfig, here: &Origin, wanted: &str) -> Option<String> {
    address(config, here, parse(wanted)?)
}

/// As [`resolve`], for the page that a login was asked for: never one that would undo the login or ask for it again.
pub fn original(config: &GateConfig, here: &Origin, wanted: &str) -> Option<String> {
    let (origin, target) = parse(wanted)?;
    let undoes = |service| !matches!(service, Service::Resume | Service::Account);
    let is_own = config.services().iter().any(|(uri, service)| uri == target.path() && undoes(*service));
    if is_own { None } else { address(config, here, (origin, target)) }
}

fn address(config: &GateConfig, here: &Origin, (origin, target): (Option<Origin>, Target)) -> Option<String> {
    match origin {
        Some(origin) => config.is_ours(here, &origin).then(|| format!("{origin}{}", target.as_str())),
        None => Some(target.as_str().to_owned()),
    }
}

/// The login page that the policy server names, with what it needs to know. `None` where that is no address.
pub fn login_page(login_url: &str, parameters: &[(&str, &str)]) -> Option<String> {
    let (origin, target) = parse(login_url)?;
    let url = format!("{}{}", origin.map(|origin| origin.to_string()).unwrap_or_default(), target.as_str());
    Some(with_parameters(url, parameters))
}

/// The origin of an absolute address.
pub fn origin(url: &str) -> Option<Origin> {
    parse(url)?.0
}

/// Adds query parameters to an address made by this module.
pub fn with_parameters(url: String, parameters: &[(&str, &str)]) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{url}{separator}{query}")
}

/// A path on the same site, or an origin and a path.
fn parse(url: &str) -> Option<(Option<Origin>, Target)> {
    // To browsers `\` is a slash, and `//host` names another host, however many slashes follow.
    if url.contains('\\') || url.starts_with("//") {
        return None;
    }
    if url.starts_with('/') {
        return Some((None, Target::parse(url.as_bytes()).ok()?));
    }
    let (origin, rest) = split_url(url)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    Some((Some(origin), Target::parse(rest.as_bytes()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Scheme;
    use crate::testing;

    const DEFAULT: Option<&str> = None;

    fn check(wanted: &str, expected: Option<&str>) {
        let here = Origin { scheme: Scheme::Https, host: "app.test".to_owned(), port: 8443 };
        let resolved = resolve(&testing::gate_config(), &here, wanted);
        assert_eq!(resolved.as_deref(), expected, "{wanted:?}");
    }

    #[test]
    fn a_login_never_leads_to_a_login_or_a_logout() {
        let here = Origin { scheme: Scheme::Https, host: "app.test".to_owned(), port: 8443 };
        for wanted in [
            "/cams/login",
            "/cams/logout",
            "/cams/logout/forget",
            "//cams/logout",
            "/cams/%6cogout?x",
            "https://app.test:8443/cams/logout",
            "https://shop.test:9443/cams/login?cams_original_url=%2F",
        ] {
            assert_eq!(original(&testing::gate_config(), &here, wanted), None, "{wanted}");
        }
        for wanted in ["/private/?a=b", "/cams/account"] {
            assert_eq!(original(&testing::gate_config(), &here, wanted).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn sites_of_the_cluster() {
        for (wanted, expected) in [
            ("/", "/"),
            ("/private/x?a=b&c=%2F", "/private/x?a=b&c=%2F"),
            ("/a b", "/a%20b"),
            ("https://app.test:8443/x", "https://app.test:8443/x"),
            ("HTTPS://APP.TEST:8443", "https://app.test:8443/"),
            ("https://app.test:8443?x", "https://app.test:8443/?x"),
            ("https://shop.test:9443/x", "https://shop.test:9443/x"),
            ("https://portal.test/x", "https://portal.test/x"),
            ("https://portal.test:443/x", "https://portal.test/x"),
        ] {
            check(wanted, Some(expected));
        }
    }

    #[test]
    fn everything_else() {
        for wanted in [
            "",
            " ",
            "x",
            "?x",
            "#",
            ".",
            "https://evil.test/",
            "//evil.test",
            "///evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "/%09/evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            "https:evil.test",
            "https:/evil.test",
            "https:///evil.test",
            " //evil.test",
            "\u{20}https://app.test:8443/",
            "/x\\..\\y",
            "/%5cevil.test",
            "/%2fevil.test",
            "/x#y",
            "https://app.test:8443@evil.test",
            "https://app.test%40evil.test",
            "https://a@b@evil.test",
            "https://app.test:8443\\@evil.test",
            "https://app.test:8443/..;/..//evil",
            "https://app.test:8443/../x",
            "https://user@app.test:8443/",
            "https://app.test:8443#@evil.test",
            "https://app.test:8443%2eevil.test/",
            "javascript:alert(1)",
            "JaVaScRiPt://app.test/%0aalert(1)",
            "data:text/html,x",
            "http://[::1]",
            "http://[::1",
            "https://[app.test]:8443/",
            "https://app.test.evil.test:8443",
            "https://xapp.test:8443",
            "https://appxtest:8443",
            "http://localhost.evil",
            "https://app.test.:8443/",
            "https://\u{430}pp.test:8443/",
            "https://app.test:8444/",
            "https://app.test/",
            "https://app.test:08443/",
            "https://app.test:+8443/",
            "https://app.test:/",
            "http://app.test:8443/",
            "https://shop.test/",
            "https://shop.test:8443/",
            "http://portal.test/",
            "/x%0d%0aSet-Cookie:SID=x",
            "/x\r\nSet-Cookie: SID=x",
            "https://app.test:8443/%0d%0aSet-Cookie:SID=x",
            "https://app.test:8443\r\n/",
            "ftp://app.test:8443/",
            "https://",
            "://",
            "https://app.test\u{ff0f}evil:8443/",
        ] {
            check(wanted, DEFAULT);
        }
    }

    /// Browsers drop tabs and line breaks anywhere, and read backslashes as slashes.
    #[test]
    fn no_mutation_leaves_the_cluster() {
        const PIECES: [&str; 24] = [
            "/",
            "//",
            "\\",
            "https:",
            "http:",
            "https://",
            "app.test",
            ":8443",
            "evil.test",
            "@",
            "%40",
            "%2f",
            "%5c",
            "\t",
            "\n",
            " ",
            ".",
            "?",
            "#",
            ";",
            "%09",
            "%0d%0a",
            "[::1]",
            "portal.test",
        ];
        let mut random = testing::Random::new(3);
        let here = Origin { scheme: Scheme::Https, host: "app.test".to_owned(), port: 8443 };
        let config = testing::gate_config();
        let mut accepted = 0;
        for _ in 0..100_000 {
            let wanted: String = (0..random.below(7)).map(|_| random.pick(&PIECES)).collect();
            let Some(url) = resolve(&config, &here, &wanted) else { continue };
            accepted += 1;
            assert!(url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'), "{wanted:?} leads to {url:?}");
            let local = url.starts_with('/') && !url.starts_with("//");
            let ours = ["https://app.test:8443/", "https://portal.test/"].iter().any(|site| url.starts_with(site));
            assert!(local || ours, "{wanted:?} leads to {url:?}");
            assert_eq!(resolve(&config, &here, &url).as_ref(), Some(&url), "{wanted:?}");
        }
        assert!(accepted > 1_000, "{accepted}");
    }
}
