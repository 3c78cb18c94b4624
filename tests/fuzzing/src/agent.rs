//! What the web agent reads from strangers.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use web_agent::config::AgentConfig;
use web_agent::cookies::{self, is_value, without_ours};
use web_agent::gate::posted_fields;
use web_agent::head::{Head, Scheme, Version};
use web_agent::login_form::{LoginForm, MAX_BODY};
use web_agent::origin::{Authority, Origin, split_url};
use web_agent::redirect;
use web_agent::site::{GateConfig, Service};
use web_agent::target::Target;

const CONF: &str = "cams.cluster.name=C\ncams.security.domain=system\n\
    cams.policy.server.1=127.0.0.1:9393\ncams.policy.server.ca=ca.pem\n\
    cams.agent.certificate=a.pem\ncams.agent.key=a.key\n\
    cams.listen.1=https://127.0.0.1:8443\ncams.tls.app.test.certificate=t.pem\ncams.tls.app.test.key=t.key\n\
    cams.site.app.host=app.test\ncams.site.app.upstream=http://127.0.0.1:8000\n\
    cams.cluster.sites=https://portal.test\n";

/// One site, `app.test`, and another one of the cluster, `portal.test`.
static GATE: LazyLock<Arc<GateConfig>> = LazyLock::new(|| {
    let config = AgentConfig::parse(Path::new("agent.conf"), CONF);
    config.unwrap_or_else(|problems| panic!("{problems}")).gate
});

/// An accepted target is its own canonical form, and has nothing that an upstream could read differently.
pub fn target(data: &[u8]) {
    if let Some(ocsp) = Target::parse_base64(data, web_agent::jami::OCSP) {
        let text = ocsp.as_str();
        assert_eq!(
            Target::parse_base64(text.as_bytes(), web_agent::jami::OCSP).as_ref().map(Target::as_str),
            Some(text)
        );
        assert!(text.starts_with(web_agent::jami::OCSP) && text.len() <= web_agent::target::MAX_LEN);
        assert_eq!((text.split('/').count(), ocsp.query(), text.contains("..")), (5, None, false));
    }
    let Ok(target) = Target::parse(data) else { return };
    let text = target.as_str();
    let again = Target::parse(text.as_bytes()).expect("a canonical target is a target");
    assert_eq!((again.as_str(), again.path(), again.query()), (text, target.path(), target.query()));
    assert!(text.starts_with('/') && text.len() <= web_agent::target::MAX_LEN);
    assert!(!target.path().contains("//") && !target.path().contains(['\\', ';', '?', '#']));
    assert!(target.path().split('/').all(|segment| !matches!(segment, "." | "..")));
    assert!(target.path().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!text.bytes().any(|byte| byte.is_ascii_control() || byte == b' '));
    assert!(!target.query().unwrap_or_default().contains('#'));
}

/// An accepted head means the same when it is written out again; of every other there is something to say.
pub fn head(data: &[u8]) {
    assert!((400..500).contains(&Head::refusal(data).status) && Head::glimpse(data).method.len() <= 32);
    let Ok(head) = Head::parse_h1(data) else { return };
    let version: &[u8] = if head.version == Version::H10 { b"HTTP/1.0" } else { b"HTTP/1.1" };
    let mut text = [head.method.as_bytes(), b" ", &head.target, b" ", version, b"\r\n"].concat();
    for (name, value) in &head.headers {
        text.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    assert!(Head::parse_h1(&text).as_ref() == Ok(&head), "{head:?} is another one when it is written out");
    let framing = head.values("Content-Length").count() + head.values("Transfer-Encoding").count();
    assert!(framing <= 1, "{head:?} ends in two places");
    let folded: BTreeSet<_> =
        head.headers.iter().map(|(name, _)| shared_proto::names::fold_header_name(name)).collect();
    assert!(!folded.iter().any(|name| name.starts_with("CAMS_HTTP_") || name == "X_CLIENT_CERT"), "{head:?}");
}

/// The name and all of a cookie, as a site would cut it out.
fn items(header: &[u8]) -> Vec<&[u8]> {
    header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()).collect()
}

fn is_ours(item: &[u8]) -> bool {
    cookies::sets_ours(&GATE, item)
}

/// Our cookies go, others stay byte for byte and in order; only a well-formed value can be a session.
pub fn cookies(data: &[u8]) {
    let kept = without_ours(&GATE, data);
    let others: Vec<_> = items(data).into_iter().filter(|item| !is_ours(item)).collect();
    match &kept {
        Some(kept) => {
            assert_eq!(items(kept), others);
            assert_eq!(without_ours(&GATE, kept).as_ref(), Some(kept), "nothing of ours is left");
        }
        None => assert_eq!(others, Vec::<&[u8]>::new()),
    }
    let headers = vec![("Cookie".to_owned(), data.to_owned())];
    let head =
        Head { version: Version::H11, method: "GET".to_owned(), target: b"/".to_vec(), authority: None, headers };
    if let Some(session) = cookies::session(&GATE, &head) {
        assert!(is_value(session.expose()));
        assert!(kept.is_none_or(|kept| kept != data), "a session's cookie is not shown to sites");
        let text = session.expose_str().expect("ASCII");
        let mut changes = cookies::Changes::default();
        assert!(changes.start_session(&session));
        let cookie = changes.headers(&GATE, Scheme::Https).concat();
        let pair = format!("{}={text}; ", GATE.cookies.session);
        assert!(cookie.starts_with(&pair), "{cookie} does not start with {pair}");
    }
}

/// An accepted form means the same when a browser writes it again, and shows no password.
pub fn login_form(data: &[u8]) {
    if data.len() > MAX_BODY {
        return;
    }
    let Ok(form) = LoginForm::parse(data) else { return };
    let callbacks = form.callbacks.iter().map(|(name, value)| (format!("cams_cb_{name}"), value.expose()));
    let own = [
        ("cams_security_domain", &form.domain),
        ("cams_login_config", &form.entry),
        ("cams_original_url", &form.original_url),
    ];
    let own = own.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.as_ref()?.as_bytes())));
    let pairs = callbacks.chain(own).map(|(name, value)| format!("{}={}", encoded(name.as_bytes()), encoded(value)));
    let again = LoginForm::parse(pairs.collect::<Vec<_>>().join("&").as_bytes()).expect("the same form");
    assert_eq!((&again.domain, &again.entry, &again.original_url), (&form.domain, &form.entry, &form.original_url));
    assert!(
        again
            .callbacks
            .iter()
            .map(|(name, value)| (name, value.expose()))
            .eq(form.callbacks.iter().map(|(name, value)| (name, value.expose())))
    );
    for value in form.callbacks.values().filter_map(|value| value.expose_str()) {
        assert!(!value.contains('\0'));
    }
}

/// What is kept of a posted form means the same, and is the same bytes, when a page sends it again.
pub fn posted_form(data: &[u8]) {
    let Some(fields) = posted_fields(data) else { return };
    let fields = fields.iter().map(|(name, value)| (name.as_str(), value.expose_str().expect("text")));
    let fields: Vec<_> = fields.collect();
    let text: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect();
    assert_eq!(text.join("&").as_bytes(), data);
    assert!(fields.iter().all(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0')));
}

/// As the URL Standard encodes it.
fn form(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'*' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// An accepted origin or authority is spelt in one way, and is nothing but host and port.
pub fn origin(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(authority) = Authority::parse(text) {
        let written = authority.to_string();
        assert_eq!(Authority::parse(&written).as_ref(), Some(&authority));
        assert_eq!(written, text.to_ascii_lowercase());
        assert!(!written.contains(['@', '/', '\\', '?', '#', '%', ' ']));
    }
    if let Some(origin) = Origin::parse(text) {
        let written = origin.to_string();
        assert_eq!(Origin::parse(&written).as_ref(), Some(&origin));
    }
    if let Some((origin, rest)) = split_url(text) {
        assert!(rest.is_empty() || rest.starts_with(['/', '?']));
        assert_eq!(split_url(&format!("{origin}{rest}")), Some((origin, rest)));
    }
}

/// A login leads to a path or to a registered origin, and browsers read the address as we do.
pub fn redirect(data: &[u8]) {
    let Ok(wanted) = std::str::from_utf8(data) else { return };
    let here = Origin { scheme: Scheme::Https, host: "app.test".to_owned(), port: 8443 };
    let Some(url) = redirect::resolve(&GATE, &here, wanted) else { return };
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#')), "{url}");
    let registered = ["https://app.test:8443/", "https://portal.test/"].iter().any(|site| url.starts_with(site));
    assert!(registered || (url.starts_with('/') && !url.starts_with("//")), "{url}");
    assert_eq!(redirect::resolve(&GATE, &here, &url).as_ref(), Some(&url));
    if let Some(original) = redirect::original(&GATE, &here, wanted) {
        assert_eq!(original, url);
        let path = original.split('?').next().unwrap_or_default();
        let path = split_url(path).map_or(path, |(_, rest)| rest);
        let undone = GATE.services().into_iter().find(|(uri, _)| uri == path).map(|(_, service)| service);
        assert!(matches!(undone, None | Some(Service::Resume)), "{original} undoes the login");
    }
}
