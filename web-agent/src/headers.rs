//! Headers towards the site and back: who the client is, what the site is told about the person, what of a response
//! may pass. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use shared_proto::check::Identity;
use shared_proto::client_cert::ClientCert;
use shared_proto::names::{fold_header_name, header, is_identity_header};

use crate::cookies;
use crate::head::{Connection, Head, RESERVED, Refusal, Scheme};
use crate::site::GateConfig;

/// Escaped in values of identity headers: what ends a line, and what separates roles.
const VALUE: AsciiSet = CONTROLS.add(b'%').add(b',');

/// As above, for the ends of a value, where recipients strip white space.
const VALUE_END: AsciiSet = VALUE.add(b' ');

/// Names, folded, that tell of another client, address or method than was decided on, and those that proxies must not
/// pass on. Families of them are in [`FORWARDING_FAMILIES`].
const FORWARDING: [&str; 15] = [
    "FORWARDED",
    "X_REAL_IP",
    "X_CLIENT_IP",
    "X_CLUSTER_CLIENT_IP",
    "TRUE_CLIENT_IP",
    "CLIENT_IP",
    "X_HOST",
    "X_HTTP_HOST_OVERRIDE",
    "X_HTTP_METHOD",
    "X_HTTP_METHOD_OVERRIDE",
    "X_METHOD_OVERRIDE",
    "X_URL_SCHEME",
    "PROXY",
    "TE",
    "TRAILER",
];

const FORWARDING_FAMILIES: [&str; 4] = ["X_FORWARDED", "X_ORIGINAL_", "X_REWRITE_", "X_PROXYUSER_"];

/// Who sent the request, as far as we know and believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origination {
    pub address: IpAddr,
    pub scheme: Scheme,
}

/// Believes `X-Forwarded-For` and `X-Forwarded-Proto` of trusted proxies only; the client is the last address that is
/// not a trusted proxy itself.
///
/// # Errors
/// 400 where a trusted proxy sent something unreadable: to guess an address would be to guess a decision.
pub fn origination(config: &GateConfig, connection: &Connection, head: &Head) -> Result<Origination, Refusal> {
    let mut found = Origination { address: connection.peer.to_canonical(), scheme: connection.scheme };
    if !config.trusts(connection.peer) {
        return Ok(found);
    }
    let hops: Vec<&[u8]> = head.values("X-Forwarded-For").flat_map(|value| value.split(|b| *b == b',')).collect();
    for hop in hops.into_iter().rev() {
        let address = std::str::from_utf8(hop).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
        found.address = address.ok_or(Refusal::bad("X-Forwarded-For of a trusted proxy is not a list of addresses"))?;
        found.address = found.address.to_canonical();
        if !config.trusts(found.address) {
            break;
        }
    }
    if let Some(scheme) = head.single("X-Forwarded-Proto")? {
        let last = scheme.rsplit(',').next().unwrap_or_default().trim();
        found.scheme =
            Scheme::parse(last).ok_or(Refusal::bad("X-Forwarded-Proto of a trusted proxy is not a scheme"))?;
    }
    Ok(found)
}

/// The certificate of the client that a trusted proxy hands on. It alone may, and only where the configuration says so:
/// anybody else who sends it wants to pass for somebody.
///
/// # Errors
/// 400 for anybody else, and for anything but one certificate.
pub fn client_cert(config: &GateConfig, connection: &Connection, head: &Head) -> Result<Option<ClientCert>, Refusal> {
    let mut values = head.values(header::CLIENT_CERT);
    let (Some(value), another) = (values.next(), values.next()) else { return Ok(None) };
    if !config.client_cert_from_proxies || !config.trusts(connection.peer) {
        return Err(RESERVED);
    }
    match ClientCert::parse(value) {
        Ok(certificate) if another.is_none() => Ok(Some(certificate)),
        _ => Err(Refusal::bad("X-Client-Cert of a trusted proxy is not one certificate as nginx writes it")),
    }
}

/// Whether a request header is dropped on the way to the site, whoever sent it; what is true of it we say ourselves.
pub fn is_dropped(name: &str) -> bool {
    let folded = fold_header_name(name);
    folded == "HOST"
        || is_identity_header(name)
        || FORWARDING.contains(&folded.as_str())
        || FORWARDING_FAMILIES.iter().any(|family| folded.starts_with(family))
}

/// What the site is told about the person. Values are percent-encoded where they contain `%`, `,`, control characters,
/// anything but ASCII, or white space at an end: so a list stays unambiguous, and nothing in a value is a header.
pub fn identity(identity: &Identity) -> Vec<(String, String)> {
    let roles: Vec<String> = identity.roles.iter().map(|role| escape(role)).collect();
    let mut headers = vec![
        (header::USER.to_owned(), escape(&identity.user)),
        (header::ROLES.to_owned(), roles.join(",")),
        (header::SECURITY_DOMAIN.to_owned(), escape(&identity.domain)),
        (header::SESSION_ID.to_owned(), escape(&identity.session_id)),
        (header::SESSION_CREATED.to_owned(), identity.session_created.to_string()),
    ];
    headers.extend(roles.into_iter().map(|role| (header::ROLE.to_owned(), role)));
    headers.extend(attributes(&identity.attributes));
    headers
}

/// `CAMS-HTTP-<NAMESPACE>-<NAME>`. An attribute whose header would be one of the fixed names, or that of an attribute
/// before it, is left out: a site must not take one for the other.
fn attributes(attributes: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<(String, String)> {
    const FIXED: [&str; 7] = [
        header::USER,
        header::ROLES,
        header::ROLE,
        header::SECURITY_DOMAIN,
        header::SESSION_ID,
        header::SESSION_CREATED,
        header::ASSERTION,
    ];
    let mut taken: BTreeSet<String> = FIXED.into_iter().map(str::to_owned).collect();
    let all = attributes.iter().flat_map(|(namespace, values)| {
        values.iter().map(move |(name, value)| (format!("{}{namespace}-{name}", header::PREFIX), value))
    });
    all.filter_map(|(name, value)| {
        let name = fold_header_name(&name).replace('_', "-");
        taken.insert(name.clone()).then(|| (name, escape(value)))
    })
    .collect()
}

fn escape(value: &str) -> String {
    let last = value.char_indices().next_back().map_or(0, |(at, _)| at);
    let (body, end) = value.split_at(last);
    let first = body.chars().next().map_or(0, char::len_utf8);
    let (start, middle) = body.split_at(first);
    let mut out = utf8_percent_encode(start, &VALUE_END).to_string();
    out.extend(utf8_percent_encode(middle, &VALUE));
    out.extend(utf8_percent_encode(end, &VALUE_END));
    out
}

/// The headers of a site's response as the client may see them: without our cookies and identity names, and for a
/// person's eyes (`is_personal`) so that no shared cache keeps it and the back button shows nothing after a logout.
pub fn response<'a>(
    config: &GateConfig,
    is_personal: bool,
    received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<(String, Vec<u8>)> = received
        .into_iter()
        .filter(|(name, value)| !is_identity_header(name) && !touches_our_cookies(config, name, value))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if is_personal {
        make_private(&mut headers);
    }
    headers
}

fn touches_our_cookies(config: &GateConfig, name: &str, value: &[u8]) -> bool {
    if name.eq_ignore_ascii_case("Set-Cookie") {
        return cookies::sets_ours(config, value);
    }
    let clears = |what: &[u8]| value.windows(what.len()).any(|part| part.eq_ignore_ascii_case(what));
    name.eq_ignore_ascii_case("Clear-Site-Data") && (clears(b"cookies") || clears(b"*"))
}

/// For a response with cookies of ours, which are for one browser and for once.
pub fn make_unstored(headers: &mut Vec<(String, Vec<u8>)>) {
    set_caching(headers, UNSTORED.to_owned());
}

const UNSTORED: &str = "no-store, private";

/// Documents are not stored at all; the rest (styles, images) may stay in the browser's own cache.
fn make_private(headers: &mut Vec<(String, Vec<u8>)>) {
    let value = |wanted: &str| {
        let of_name = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let values: Vec<_> = of_name.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase()).collect();
        values.join(",")
    };
    let kind = value("Content-Type");
    let is_document = ["text/html", "application/xhtml+xml"].iter().any(|html| kind.starts_with(html));
    let cache_control = if is_document || kind.is_empty() {
        UNSTORED.to_owned()
    } else {
        const SHARED: [&str; 4] = ["public", "s-maxage", "proxy-revalidate", "private"];
        let given = value("Cache-Control");
        let is_kept = |item: &&str| !item.is_empty() && !SHARED.contains(&item.split('=').next().unwrap_or_default());
        std::iter::once("private").chain(given.split(',').map(str::trim).filter(is_kept)).collect::<Vec<_>>().join(", ")
    };
    set_caching(headers, cache_control);
}

fn set_caching(headers: &mut Vec<(String, Vec<u8>)>, cache_control: String) {
    const CACHING: [&str; 4] = ["Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Pragma"];
    headers.retain(|(name, _)| !CACHING.iter().any(|caching| name.eq_ignore_ascii_case(caching)));
    headers.push(("Cache-Control".to_owned(), cache_control.into_bytes()));
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
