//! The agent's own cookies: reading them, hiding them from the sites, and setting them. Pure; the values are opaque.

use std::borrow::Cow;

use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use shared_proto::login::Remember;
use shared_proto::names::fold_header_name;
use shared_proto::secret::Secret;

use crate::head::{Head, Scheme};
use crate::site::GateConfig;

/// What browsers know cookies by that are of one host.
const HOST_PREFIX: &str = "__Host-";

/// Bytes of the longest value taken for one of ours.
const MAX_VALUE: usize = 4 * 1024;

/// Bytes of 256 bits in base64.
const HANDOVER_VALUE: usize = 43;
/// How long a browser has to log in elsewhere.
const HANDOVER_LIFE: Duration = Duration::minutes(10);

/// What a request carries under the name of one of our cookies.
#[derive(Debug, Clone, Default)]
pub enum Carried {
    #[default]
    Nothing,
    /// With two cookies of one name, a neighbouring host may have planted one; or the value cannot be ours.
    Unusable,
    Value(Secret),
}

impl Carried {
    pub fn value(&self) -> Option<Secret> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Nothing | Self::Unusable => None,
        }
    }
}

/// The session cookie's value. Anything but exactly one that could be ours is nobody.
pub fn session(config: &GateConfig, head: &Head) -> Option<Secret> {
    carried(head, &config.cookies.session).value()
}

/// Whether the request has a session cookie that is nobody's, because there are two, or it cannot be ours.
pub fn is_unusable(config: &GateConfig, head: &Head) -> bool {
    matches!(carried(head, &config.cookies.session), Carried::Unusable)
}

/// The cookie of a browser that asked to be remembered.
pub fn remembered(config: &GateConfig, head: &Head) -> Carried {
    carried(head, &config.cookies.auto_login)
}

/// The cookie of a browser whose posted forms are kept.
pub fn form(config: &GateConfig, scheme: Scheme, head: &Head) -> Carried {
    carried(head, &form_name(config, scheme))
}

/// What the browser keeps for its way back from logging in elsewhere. Anything but what this agent gives is nothing.
pub fn handover(config: &GateConfig, scheme: Scheme, head: &Head) -> Option<Secret> {
    let is_ours = |value: &Secret| {
        let bytes = value.expose();
        bytes.len() == HANDOVER_VALUE && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    match carried(head, &of_host(scheme, &config.cookies.handover)) {
        Carried::Value(value) => Some(value).filter(is_ours),
        Carried::Nothing | Carried::Unusable => None,
    }
}

/// The name of a cookie that is for one host alone: browsers take one of that prefix from nobody but the host itself, so
/// that no neighbouring host can plant it (draft-ietf-httpbis-rfc6265bis). They want it to be `Secure`.
fn of_host(scheme: Scheme, name: &str) -> Cow<'_, str> {
    match scheme {
        Scheme::Https => format!("{HOST_PREFIX}{name}").into(),
        Scheme::Http => name.into(),
    }
}

fn form_name(config: &GateConfig, scheme: Scheme) -> Cow<'_, str> {
    let name = config.cookies.form.as_str();
    if config.cookie_domain.is_none() { of_host(scheme, name) } else { name.into() }
}

fn carried(head: &Head, wanted: &str) -> Carried {
    let mut found = head.values("Cookie").flat_map(pairs).filter(|(name, _)| *name == wanted.as_bytes());
    match (found.next(), found.next()) {
        (None, _) => Carried::Nothing,
        (Some((_, value)), None) if is_value(value) => Carried::Value(Secret::new(value)),
        _ => Carried::Unusable,
    }
}

/// A `Cookie` header without our cookies; the others stay byte for byte. `None` where nothing is left.
pub fn without_ours(config: &GateConfig, header: &[u8]) -> Option<Vec<u8>> {
    let items = || header.split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty());
    if !items().any(|item| is_item_of_ours(config, item)) {
        return Some(header.to_owned());
    }
    let kept: Vec<&[u8]> = items().filter(|item| !is_item_of_ours(config, item)).collect();
    (!kept.is_empty()).then(|| kept.join(b"; ".as_slice()))
}

/// Whether a `Set-Cookie` header would set or delete a cookie of ours.
pub fn sets_ours(config: &GateConfig, header: &[u8]) -> bool {
    is_item_of_ours(config, header.split(|b| *b == b';').next().unwrap_or_default())
}

/// Whether somebody could take this name and value for a cookie of ours. Browsers send a cookie without a name back as its
/// bare value, so that `=CAMS_SID_X=v` comes as `CAMS_SID_X=v`.
fn is_item_of_ours(config: &GateConfig, item: &[u8]) -> bool {
    let start = item.iter().position(|b| !b.is_ascii_whitespace() && *b != b'=').unwrap_or(item.len());
    is_ours(config, pair(item.get(start..).unwrap_or_default()).0)
}

/// Whether the bytes can stand in a cookie unquoted (RFC 6265 section 4.1.1).
pub fn is_value(value: &[u8]) -> bool {
    let is_octet = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\');
    (1..=MAX_VALUE).contains(&value.len()) && value.iter().all(is_octet)
}

/// What a browser is to do about our cookies: one thing about each at most, the last one said.
#[derive(Debug, Default)]
pub struct Changes {
    session: Option<Change>,
    remembered: Option<Change>,
    form: Option<Change>,
    /// Always for this host alone.
    handover: Option<Secret>,
}

#[derive(Debug)]
enum Change {
    Delete,
    /// Without a life it ends with the browser.
    Set {
        value: Secret,
        life_seconds: Option<u64>,
        scope: Scope,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The hosts of the cookie domain, if there is one.
    Shared,
    /// This host alone.
    Host,
}

impl Changes {
    /// The browser has this session from now on. `false`, and nothing changes, where the value cannot be in a cookie.
    #[must_use]
    pub fn start_session(&mut self, value: &Secret) -> bool {
        self.set_session(value, Scope::Shared)
    }

    /// The same for a session that was handed over: its token is of use at this host alone.
    #[must_use]
    pub fn start_session_here(&mut self, value: &Secret) -> bool {
        self.set_session(value, Scope::Host)
    }

    fn set_session(&mut self, value: &Secret, scope: Scope) -> bool {
        let is_value = is_value(value.expose());
        if is_value {
            self.session = Some(Change::Set { value: value.clone(), life_seconds: None, scope });
        }
        is_value
    }

    pub fn end_session(&mut self) {
        self.session = Some(Change::Delete);
    }

    /// A value that cannot be in a cookie is left out: the person only has to log in again some day.
    pub fn remember(&mut self, remember: Remember) {
        let Remember { cookie: value, max_age_seconds } = remember;
        if is_value(value.expose()) {
            self.remembered = Some(Change::Set { value, life_seconds: Some(max_age_seconds), scope: Scope::Shared });
        }
    }

    pub fn forget_remembered(&mut self) {
        self.remembered = Some(Change::Delete);
    }

    /// A form is kept for this browser. `false`, and nothing changes, where the value cannot be in a cookie.
    #[must_use]
    pub fn keep_form(&mut self, value: Secret, life_seconds: u64) -> bool {
        let is_value = is_value(value.expose());
        if is_value {
            self.form = Some(Change::Set { value, life_seconds: Some(life_seconds), scope: Scope::Shared });
        }
        is_value
    }

    /// The browser is to show this when it comes back from logging in elsewhere.
    pub fn expect_back(&mut self, nonce: Secret) {
        self.handover = Some(nonce);
    }

    /// Deletes everything that logs somebody in.
    pub fn forget_all(&mut self) {
        self.end_session();
        self.forget_remembered();
    }

    /// The values of `Set-Cookie` that say it.
    pub fn headers(&self, config: &GateConfig, scheme: Scheme) -> Vec<String> {
        let names = &config.cookies;
        let form = form_name(config, scheme);
        let changes = [
            (names.session.as_str(), &self.session),
            (names.auto_login.as_str(), &self.remembered),
            (form.as_ref(), &self.form),
        ];
        let said = changes.into_iter().filter_map(|(name, change)| Some((name, change.as_ref()?)));
        let said = said.flat_map(|(name, change)| change.headers(config, scheme, name));
        let handover = self.handover.iter().map(|nonce| {
            let name = of_host(scheme, &names.handover);
            let mut cookie = host_only(scheme, &name, nonce.expose_str().unwrap_or_default());
            cookie.set_max_age(HANDOVER_LIFE);
            cookie.to_string()
        });
        said.chain(handover).collect()
    }
}

impl Change {
    /// With a cookie domain, a cookie of that name that is of the other scope goes: beside it both would be unusable.
    fn headers(&self, config: &GateConfig, scheme: Scheme, name: &str) -> Vec<String> {
        let (value, life, scope) = match self {
            Self::Delete => ("", Some(Duration::ZERO), Scope::Shared),
            Self::Set { value, life_seconds, scope } => {
                let seconds = life_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
                (value.expose_str().unwrap_or_default(), seconds.map(Duration::seconds), *scope)
            }
        };
        let mut cookie = host_only(scheme, name, value);
        cookie.set_max_age(life);
        let Some(domain) = &config.cookie_domain else { return vec![cookie.to_string()] };
        let mut other = host_only(scheme, name, "");
        other.set_max_age(Duration::ZERO);
        let shared = if scope == Scope::Shared { &mut cookie } else { &mut other };
        shared.set_domain(domain.as_str());
        vec![other.to_string(), cookie.to_string()]
    }
}

/// Not `Secure` over cleartext, which only a site on localhost or in a laboratory should use: browsers would drop it.
fn host_only<'a>(scheme: Scheme, name: &'a str, value: &'a str) -> Cookie<'a> {
    let mut cookie = Cookie::new(name, value);
    cookie.set_path("/");
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(scheme == Scheme::Https);
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
    let folded = folded.strip_prefix(&fold_header_name(HOST_PREFIX)).unwrap_or(&folded);
    let prefix = fold_header_name(&config.cookie_prefix);
    let kinds = ["_SID_", "_AUTO_LOGIN_", "_FORM_", "_HANDOVER_"];
    folded.strip_prefix(&prefix).is_some_and(|rest| kinds.iter().any(|kind| rest.starts_with(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Version;
    use crate::testing;

    const SID: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
    const AUTO_LOGIN: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";

    const FORM: &str = "CAMS_FORM_MYCAMSCLUSTER_SYSTEM";
    const HANDOVER: &str = "CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM";

    fn head(cookies: &[&str]) -> Head {
        let headers = cookies.iter().map(|value| ("cookie".to_owned(), value.as_bytes().to_vec())).collect();
        Head { version: Version::H11, method: "GET".to_owned(), target: b"/".to_vec(), authority: None, headers }
    }

    #[test]
    fn one_well_formed_value_or_nobody() {
        let long = format!("{SID}={}", "a".repeat(MAX_VALUE + 1));
        let check = |cookies: &[&str], expected: Option<&str>| {
            let config = testing::gate_config();
            let found = session(&config, &head(cookies));
            assert_eq!(found.as_ref().and_then(Secret::expose_str), expected, "{cookies:?}");
            let renamed: Vec<_> = cookies.iter().map(|text| text.replace(SID, AUTO_LOGIN)).collect();
            let found = remembered(&config, &head(&renamed.iter().map(String::as_str).collect::<Vec<_>>()));
            let is_named = renamed.iter().any(|text| text.contains(AUTO_LOGIN) && !text.contains("SYSTEMX"));
            match found {
                Carried::Value(value) => assert_eq!(value.expose_str(), expected, "{renamed:?}"),
                Carried::Unusable => assert!(expected.is_none() && is_named, "{renamed:?}"),
                Carried::Nothing => assert!(!is_named, "{renamed:?}"),
            }
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
            (
                "CAMS_SID_OTHER_DOMAIN=x; CAMS_AUTO_LOGIN_OTHER_DOMAIN=y; CAMS_FORM_OTHER_DOMAIN=z; CAMS_HANDOVER_X=z",
                None,
            ),
            ("__Host-CAMS_FORM_X=1; __host.cams_handover_Y=2; __Host-OWN=3", Some("__Host-OWN=3")),
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
            ("CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM=planted", true),
            ("=__Host-CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM=planted", true),
            ("__HOST-CAMS_FORM_MYCAMSCLUSTER_SYSTEM=planted; Secure; Path=/", true),
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
        let check = |domain: Option<&str>, scheme, more: &str, [of_form, of_handover]: [&str; 2]| {
            let mut config = testing::gate_config();
            config.cookie_domain = domain.map(str::to_owned);
            let mut changes = Changes::default();
            assert_eq!(changes.headers(&config, scheme), [""; 0]);
            changes.forget_all();
            let here = more.replace("; Domain=example.org", "");
            // With a domain, the cookie of the other scope goes.
            let changed = |other: String, header: String| domain.map(|_| other).into_iter().chain([header]);
            let gone = |name: &str, scope: &str| format!("{name}=; {scope}; Max-Age=0");
            let both = |header: String, name: &str| changed(gone(name, &here), header);
            let deleted: Vec<_> = [SID, AUTO_LOGIN].iter().flat_map(|name| both(gone(name, more), name)).collect();
            assert_eq!(changes.headers(&config, scheme), deleted);
            assert!(changes.start_session(&Secret::from("v")));
            changes.remember(Remember { cookie: Secret::from("r"), max_age_seconds: 600 });
            assert!(changes.keep_form(Secret::from("f"), 900));
            let form = format!("{of_form}{FORM}");
            let set: Vec<_> = both(format!("{SID}=v; {more}"), SID)
                .chain(both(format!("{AUTO_LOGIN}=r; {more}; Max-Age=600"), AUTO_LOGIN))
                .chain(both(format!("{form}=f; {more}; Max-Age=900"), &form))
                .collect();
            assert_eq!(changes.headers(&config, scheme), set);
            assert!(!changes.start_session(&Secret::from("a b")) && !changes.keep_form(Secret::from("a b"), 1));
            changes.remember(Remember { cookie: Secret::from("a;b"), max_age_seconds: 1 });
            assert_eq!(changes.headers(&config, scheme), set, "what cannot be in a cookie changes nothing");
            changes.expect_back(Secret::from("n"));
            let back = format!("{of_handover}{HANDOVER}=n; {here}; Max-Age=600");
            assert_eq!(changes.headers(&config, scheme), [set.as_slice(), &[back]].concat(), "for one host always");
            let mut changes = Changes::default();
            assert!(
                changes.start_session_here(&Secret::from("v")) && !changes.start_session_here(&Secret::from("a b"))
            );
            let set: Vec<_> = changed(gone(SID, more), format!("{SID}=v; {here}")).collect();
            assert_eq!(changes.headers(&config, scheme), set, "a hand-over is for one host");
        };
        let (https, http) = ("HttpOnly; SameSite=Lax; Secure; Path=/", "HttpOnly; SameSite=Lax; Path=/");
        check(None, Scheme::Https, https, ["__Host-", "__Host-"]);
        check(None, Scheme::Http, http, ["", ""]);
        check(Some("example.org"), Scheme::Https, &format!("{https}; Domain=example.org"), ["", "__Host-"]);
        check(Some("example.org"), Scheme::Http, &format!("{http}; Domain=example.org"), ["", ""]);
    }

    /// Over TLS a neighbouring host can plant what lacks the prefix, which counts for nothing.
    #[test]
    fn a_cookie_of_one_host_is_known_by_its_prefix() {
        let value = "v".repeat(HANDOVER_VALUE);
        for (domain, scheme, form_prefix, handover_prefix) in [
            (None, Scheme::Https, "__Host-", "__Host-"),
            (None, Scheme::Http, "", ""),
            (Some("example.org"), Scheme::Https, "", "__Host-"),
        ] {
            let mut config = testing::gate_config();
            config.cookie_domain = domain.map(str::to_owned);
            for prefix in ["", "__Host-"] {
                let case = format!("{domain:?} {scheme:?} {prefix}");
                let head = head(&[&format!("{prefix}{FORM}={value}; {prefix}{HANDOVER}={value}")]);
                let is_form = matches!(form(&config, scheme, &head), Carried::Value(_));
                assert_eq!(is_form, prefix == form_prefix, "{case}");
                assert_eq!(handover(&config, scheme, &head).is_some(), prefix == handover_prefix, "{case}");
            }
            let planted = format!("{HANDOVER}=planted; __Host-{HANDOVER}={value}");
            assert_eq!(handover(&config, scheme, &head(&[&planted])).is_some(), scheme == Scheme::Https, "{scheme:?}");
        }
    }
}
