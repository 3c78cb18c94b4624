//! What every page must hold, whoever wrote its template and whatever its values are.

use shared_proto::account::{Account, Place};

use super::*;

type Files = BTreeMap<String, String>;

const ORIGINS: [&str; 2] = ["https://www.example.com", "https://shop.example.com:8443"];

/// Values that end a context of HTML, a template or a style, or try to be a link with a script.
const HOSTILE: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "\" autofocus onfocus=\"alert(1)",
    "` onmouseover=alert(1) `",
    "--><svg onload=alert(1)>",
    "</title></style></main><script>alert(1)</script>",
    "<!--",
    "&lt;script&gt;&#34;&quot;",
    "{{ 7 * 7 }}{% raw %}{# #}",
    "javascript:alert(1)",
    " JaVaScRiPt:alert(1)//https://",
    "data:text/html,<script>alert(1)</script>",
    "\u{202e}\u{2028}\r\n\u{1}<b>",
];

fn files(list: &[(&str, &str)]) -> Files {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn pages(overrides: &Files) -> Result<Pages, PageError> {
    Pages::new(overrides, &ORIGINS.map(str::to_owned))
}

/// The files an administrator starts from, as the agent reads them.
fn sample_files() -> Files {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/pages");
    let mut found = Files::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".md") {
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    assert!(found.contains_key("login.html"));
    found
}

/// Every page with this text in every place that takes one.
fn filled_with(text: &str) -> Vec<Page> {
    let text = || text.to_owned();
    let field = |name: String, secret, required| LoginField {
        name,
        label: text(),
        secret,
        required,
        max_length: Some(7),
        input_mode: InputMode::Tel,
    };
    let login = LoginPage {
        action: text(),
        domain: text(),
        entry: text(),
        original_url: text(),
        handover: Some(text()),
        site: text(),
        username: text(),
        error: Some(text()),
        notice: Some(text()),
        fields: vec![
            field(names::field::USERNAME.into(), false, true),
            field(names::field::PASSWORD.into(), true, true),
            field("cams_cb_totp".into(), true, true),
            field(text(), false, false),
            field(text(), true, false),
        ],
        remember_me: true,
    };
    let place = Place {
        id: text(),
        current: true,
        remembered: true,
        created: 0,
        last_used: 0,
        ends: 0,
        address: text(),
        user_agent: text(),
    };
    let other = Place { current: false, remembered: false, ..place.clone() };
    let places = || vec![place.clone(), other.clone()];
    let account = Account { user: text(), sessions: places(), more_sessions: 1, browsers: places(), more_browsers: 1 };
    let mut pages = vec![
        Page::Login(login.into()),
        Page::Account(AccountPage { action: text(), account }),
        Page::LoginError { code: 5003, message: text() },
        Page::Denied { user: text(), logout_url: text() },
        Page::ConfirmLogout { action: text(), domain: text() },
        Page::LoggedOut { login_url: text(), forget_url: text() },
        Page::Unavailable { login_url: None },
        Page::Unavailable { login_url: Some("/cams/login".into()) },
        Page::HandoverRefused { start_url: text() },
        Page::CrossSite,
    ];
    pages.push(Page::Resend { action: text(), fields: vec![(text(), text().into()), (text(), text().into())] });
    pages.push(Page::FormGone { start_url: text() });
    pages.extend([400, 404, 405, 408, 413, 414, 429, 431].map(|status| Page::Refused { status, reason: text() }));
    pages
}

/// A tag: its name, and its attributes with their values as written.
type Tag = (String, Vec<(String, String)>);

/// The tags of a page, read as a browser does: quotes count only inside a tag, a style is text up to its end.
fn tags(html: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let mut inside = &rest[start + 1..];
        let name_end = inside.find(|c: char| c.is_whitespace() || c == '>').expect("a tag ends");
        let name = inside[..name_end].to_ascii_lowercase();
        inside = inside[name_end..].trim_start();
        let mut attributes = Vec::new();
        while !inside.starts_with('>') {
            let end = inside.find(|c: char| c.is_whitespace() || "=>".contains(c)).expect("an attribute ends");
            let attribute = inside[..end].to_owned();
            inside = &inside[end..];
            let mut value = String::new();
            if let Some(quoted) = inside.strip_prefix("=\"") {
                let close = quoted.find('"').expect("a value ends");
                value = quoted[..close].to_owned();
                inside = &quoted[close + 1..];
            }
            assert!(!inside.starts_with('='), "{name} {attribute}: values are quoted");
            attributes.push((attribute, value));
            inside = inside.trim_start();
        }
        rest = &inside[1..];
        if name == "style" || name == "script" {
            rest = &rest[rest.find(&format!("</{name}>")).expect("a style or script ends")..];
        }
        found.push((name, attributes));
    }
    found
}

/// Tags and attribute names without the values: what a value must never be able to change.
fn skeleton(html: &str) -> Vec<(String, Vec<String>)> {
    tags(html)
        .into_iter()
        .map(|(name, attributes)| (name, attributes.into_iter().map(|(attribute, _)| attribute).collect()))
        .collect()
}

fn values<'a>(tags: &'a [Tag], attribute: &str) -> Vec<&'a str> {
    tags.iter().flat_map(|tag| &tag.1).filter(|(name, _)| name == attribute).map(|(_, value)| value.as_str()).collect()
}

fn check_page(html: &str) {
    assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"), "{html}");
    let tags = tags(html);
    let count = |name: &str| tags.iter().filter(|tag| tag.0 == name).count();
    for name in ["title", "main", "h1", "style"] {
        assert_eq!(count(name), 1, "{name}: {html}");
    }
    assert_eq!(tags.iter().filter(|tag| tag.1.iter().any(|(_, value)| value == "button")).count(), 1, "{html}");
    for name in ["iframe", "object", "base"] {
        assert_eq!(count(name), 0, "{name}: {html}");
    }
    assert!(count("script") == 0 || html.contains(&format!("<script>{SCRIPT}</script>\n</main>")), "{html}");
    for (_, attributes) in tags.iter().filter(|(name, _)| name == "img") {
        assert!(attributes.contains(&("alt".to_owned(), String::new())), "an image says nothing: {html}");
    }
    for (_, attributes) in &tags {
        assert!(attributes.iter().all(|(name, _)| name != "style" && !name.starts_with("on")), "{html}");
    }
    let ids = values(&tags, "id");
    for target in values(&tags, "for").iter().chain(&values(&tags, "aria-describedby")) {
        assert_eq!(ids.iter().filter(|id| id == &target).count(), 1, "{target}: {html}");
    }
    for link in ["href", "action", "src"].iter().flat_map(|name| values(&tags, name)) {
        // The empty one is "Try again": the address that was asked for.
        let known = ["&#x2f;", "/", "https:", "data:image/svg+xml,"].iter().any(|start| link.starts_with(start));
        assert!(known || link.is_empty() && html.contains(">Try again<"), "{link}: {html}");
    }
}

#[test]
fn every_page_renders_and_no_value_changes_its_structure() {
    for overrides in [Files::new(), sample_files()] {
        let pages = pages(&overrides).unwrap();
        for hostile in HOSTILE.into_iter().chain(["plain", &"long".repeat(5_000)]) {
            for (page, harmless) in filled_with(hostile).iter().zip(filled_with("x")) {
                let rendered = pages.render(page);
                assert!(rendered.problem.is_none(), "{:?}", rendered.problem);
                check_page(&rendered.html);
                assert_eq!(skeleton(&rendered.html), skeleton(&pages.render(&harmless).html), "{page:?}");
            }
        }
    }
}

/// Escaping must not lose or evaluate anything either.
#[test]
fn what_is_said_is_what_is_read() {
    let pages = pages(&Files::new()).unwrap();
    for said in HOSTILE {
        for page in filled_with(said) {
            if matches!(
                page,
                Page::Unavailable { .. }
                    | Page::CrossSite
                    | Page::LoggedOut { .. }
                    | Page::FormGone { .. }
                    | Page::HandoverRefused { .. }
            ) {
                continue;
            }
            let mut html = pages.render(&page).html;
            let entities =
                [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/"), ("&amp;", "&")];
            for (entity, plain) in entities {
                html = html.replace(entity, plain);
            }
            assert!(html.contains(said), "{said:?} {page:?}: {html}");
        }
    }
}

#[test]
fn the_sample_pages_are_the_built_in_ones_explained() {
    let (builtin, sample) = (pages(&Files::new()).unwrap(), pages(&sample_files()).unwrap());
    for page in samples() {
        assert_eq!(sample.render(&page).html, builtin.render(&page).html);
    }
}

#[test]
fn the_names_are_those_of_the_files() {
    let mut expected: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).chain([STYLE_FILE]).collect();
    expected.sort_unstable();
    assert_eq!(Pages::names(), expected);
    let named: Vec<_> = samples().iter().map(|page| page.view().0).collect();
    for name in Pages::names().iter().filter(|name| !["layout.html", STYLE_FILE].contains(name)) {
        assert!(named.contains(name), "{name} is tried when the agent starts");
    }
}

fn login(username: &str, error: Option<&str>, asked: &[&str]) -> Vec<Tag> {
    let field = |name: &&str| LoginField {
        name: (*name).into(),
        label: "Label".into(),
        secret: true,
        required: true,
        max_length: name.ends_with("pin").then_some(12),
        input_mode: if name.ends_with("pin") { InputMode::Numeric } else { InputMode::Text },
    };
    let page = LoginPage {
        action: "/cams/login".into(),
        username: username.into(),
        error: error.map(str::to_owned),
        fields: asked.iter().map(field).collect(),
        ..LoginPage::default()
    };
    tags(&pages(&Files::new()).unwrap().render(&Page::Login(page.into())).html)
}

#[test]
fn the_form_sends_the_fields_that_the_agent_reads() {
    let (pages, text) = (pages(&Files::new()).unwrap(), "x");
    let inputs = |page: &Page| -> Vec<(String, String)> {
        let tags = tags(&pages.render(page).html);
        let of = |tag: &Tag, name| values(std::slice::from_ref(tag), name).concat();
        tags.iter().filter(|tag| tag.0 == "input").map(|tag| (of(tag, "name"), of(tag, "value"))).collect()
    };
    for page in filled_with(text) {
        let expected: &[(&str, &str)] = match page {
            Page::Login(_) => &[
                (names::field::DOMAIN, text),
                (names::field::ENTRY, text),
                (names::field::ORIGINAL_URL, text),
                (names::field::HANDOVER, text),
                (names::field::USERNAME, text),
                (names::field::PASSWORD, ""),
                ("cams_cb_totp", ""),
                (text, ""),
                (text, ""),
                (names::field::AUTO_LOGIN, "true"),
            ],
            Page::ConfirmLogout { .. } => &[(names::field::DOMAIN, text)],
            Page::Resend { .. } => &[(text, text), (text, text)],
            _ => &[],
        };
        let sent = inputs(&page);
        assert_eq!(sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn typing_starts_in_the_first_empty_field() {
    let cases: [(&str, &[&str], Option<&str>); 5] = [
        ("", &["cams_cb_username", "cams_cb_password"], Some("cams_cb_username")),
        ("alice", &["cams_cb_username", "cams_cb_password"], Some("cams_cb_password")),
        ("alice", &["cams_cb_partner", "cams_cb_username"], Some("cams_cb_partner")),
        ("alice", &["cams_cb_username"], None),
        ("", &[], None),
    ];
    for (username, asked, expected) in cases {
        let tags = login(username, None, asked);
        let focused: Vec<_> = tags.iter().filter(|tag| tag.1.iter().any(|(name, _)| name == "autofocus")).collect();
        let names: Vec<_> = focused.iter().flat_map(|tag| values(std::slice::from_ref(*tag), "name")).collect();
        assert_eq!(names, Vec::from_iter(expected), "{username} {asked:?}");
    }
}

#[test]
fn an_error_is_announced_only_when_there_is_one() {
    for (error, shown) in [(None, false), (Some(""), false), (Some(" \n"), false), (Some("Wrong"), true)] {
        let tags = login("alice", error, &["cams_cb_username", "cams_cb_password"]);
        assert_eq!(values(&tags, "role").contains(&"alert"), shown, "{error:?}");
        assert_eq!(values(&tags, "aria-describedby").len(), if shown { 2 } else { 0 }, "{error:?}");
    }
}

#[test]
fn browsers_and_password_managers_know_the_fields() {
    let cases = [
        ("cams_cb_username", "text", "username", "text", None),
        ("cams_cb_password", "password", "current-password", "text", None),
        ("cams_cb_totp", "text", "one-time-code", "text", None),
        ("cams_cb_pin", "password", "off", "numeric", Some("12")),
    ];
    for (name, kind, autocomplete, inputmode, maxlength) in cases {
        let tags = login("", None, &[name]);
        let input = tags.iter().find(|tag| values(std::slice::from_ref(*tag), "name") == [name]).unwrap();
        for (attribute, expected) in [("type", kind), ("autocomplete", autocomplete), ("inputmode", inputmode)] {
            assert_eq!(values(std::slice::from_ref(input), attribute), [expected], "{name}");
        }
        assert_eq!(values(std::slice::from_ref(input), "maxlength"), Vec::from_iter(maxlength), "{name}");
    }
}

#[test]
fn a_mistake_in_an_override_is_named_with_its_line() {
    let cases = [
        ("login.html", "one\n{% if error %}\n", "login.html:"),
        ("login.html", "one\ntwo {{ error | nosuchfilter }}", "login.html:2: "),
        ("login.html", "one\n\n{% if error %}{{ eror }}{% endif %}", "login.html:3: "),
        ("denied.html", "{% extends \"nosuch.html\" %}", "denied.html:1: "),
        ("layout.html", "<!doctype html>\n{{ stile }}", "layout.html:2: "),
        ("refused.html", "{{ status", "refused.html:1: "),
        ("logn.html", "", "logn.html: no page is called so; the names are account.html, "),
        ("README.md", "", "README.md: no page"),
        ("style.css", "a {}\n</STYLE ><b>", "style.css:2: "),
    ];
    for (name, text, expected) in cases {
        let message = pages(&files(&[(name, text)])).err().expect(text).to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_page_that_fails_later_is_replaced_and_reported() {
    let denied = "Hello {{ user }}\n{% if user == 'bob' %}{{ nothing }}{% endif %}";
    let (custom, builtin) = (pages(&files(&[("denied.html", denied)])).unwrap(), pages(&Files::new()).unwrap());
    let page = |user: &str| Page::Denied { user: user.into(), logout_url: "/cams/logout".into() };

    let good = custom.render(&page("<alice>"));
    assert_eq!(good.html.trim(), "Hello &lt;alice&gt;");
    assert!(good.problem.is_none());

    let bad = custom.render(&page("bob"));
    assert_eq!(bad.html, builtin.render(&page("bob")).html);
    assert!(bad.problem.unwrap().to_string().starts_with("denied.html:2: "));
}

#[test]
fn the_policy_allows_exactly_the_style_of_the_page() {
    for style in [STYLE, "", "p { color: red }\r\na > b {}\r", "/* <!-- \u{e9} & \" */"] {
        let pages = pages(&files(&[(STYLE_FILE, style)])).unwrap();
        for page in samples() {
            let rendered = pages.render(&page);
            let (_, rest) = rendered.html.split_once("<style>").unwrap();
            let (written, _) = rest.split_once("</style>").unwrap();
            assert!(!written.contains('\r'));
            let hash = STANDARD.encode(Sha256::digest(written));
            let script = STANDARD.encode(Sha256::digest(SCRIPT));
            let more = match page {
                Page::Resend { .. } => format!("script-src 'sha256-{script}'"),
                _ if page.has_form() => format!("form-action 'self' {}", ORIGINS.join(" ")),
                _ => "form-action 'none'".to_owned(),
            };
            assert_eq!(rendered.html.contains("<script"), matches!(page, Page::Resend { .. }));
            let expected = format!(
                "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self' data:; {more}; base-uri 'none'; \
                 frame-ancestors 'none'"
            );
            assert_eq!(rendered.content_security_policy, expected);
            let has_form = page.has_form() || matches!(page, Page::Resend { .. });
            assert_eq!(has_form, rendered.html.contains("<form"));
        }
    }
}

#[test]
fn only_an_origin_gets_into_the_policy() {
    for good in ["https://a", "http://localhost:8080", "https://127.0.0.1:1", "https://[::1]:8443", "https://a-b.c"] {
        assert!(Pages::new(&Files::new(), &[good.to_owned()]).is_ok(), "{good}");
    }
    let bad =
        ["", "*", "https:", "https://", "https://*", "https://a/b", "https://a; script-src *", "https://a\r\nX: y"];
    for bad in bad.into_iter().chain(["https://a b", "'self'", "ftp://a", "//a", "a.example.com", "https://é.example"])
    {
        let error = Pages::new(&Files::new(), &[ORIGINS[0].to_owned(), bad.to_owned()]).err().expect(bad);
        assert!(matches!(&error, PageError::Origin(named) if named == bad), "{error}");
    }
}
