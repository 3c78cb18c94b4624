//! Each accepted spelling of a target must mean the same to us and to the most liberal upstream.

use super::*;
use crate::testing::Random;

fn canonical(raw: &str) -> Result<String, u16> {
    Target::parse(raw.as_bytes()).map(|target| target.as_str().to_owned()).map_err(|refusal| refusal.status)
}

#[test]
fn accepted_spellings() {
    for (raw, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//api//x/", "/api/x/"),
        ("/%61dmin/%7ex", "/admin/~x"),
        ("/a%3ab%40c%2B", "/a:b@c+"),
        ("/b o b", "/b%20o%20b"),
        ("/b%20o b", "/b%20o%20b"),
        ("/é", "/%C3%A9"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%3Fb%23c", "/a%3Fb%23c"),
        ("/100%25", "/100%25"),
        ("/100%25.txt", "/100%25.txt"),
        ("/a\"<>^`{|}b", "/a%22%3C%3E%5E%60%7B%7C%7Db"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a..b/...c", "/a..b/...c"),
        ("/?", "/?"),
        ("/admin/?/public/", "/admin/?/public/"),
        ("/s?queryString=bo b&x=é", "/s?queryString=bo%20b&x=%C3%A9"),
        ("/s?a=../..;x\\%2e%252e%E9&q=100%", "/s?a=../..;x\\%2e%252e%E9&q=100%"),
        ("/s?text=a%0D%0Ab%09c", "/s?text=a%0D%0Ab%09c"),
        ("http://app.test/x", "/x"),
        ("HTTPS://APP.test:8443?x", "/?x"),
        ("http://app.test", "/"),
    ] {
        assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn refused_spellings() {
    for raw in [
        "",
        "*",
        "admin",
        "?x",
        "app.test:443",
        "ftp://app.test/",
        "http:/x",
        "http://",
        "http:///x",
        "http://a@b/",
        "https://app.test@evil/",
        "http://app.test:99999/",
        "/./admin",
        "/public/../admin",
        "/public/..",
        "/.",
        "/public/%2e%2e/admin/",
        "/public/.%2E/admin/",
        "/public/..%2fadmin/",
        "/public/%2e%2e%2fadmin",
        "/%2561dmin/",
        "/public/%252e%252e/admin/",
        "/%25%36%31",
        "/%25u002e",
        "/%u002e",
        "/admin;x=1/",
        "/public/..;/admin/",
        "/admin%3bx",
        "/admin%00",
        "/admin%20",
        "/admin /x",
        "/ admin",
        "/admin.",
        "/admin%2E/",
        "/admin\\",
        "/public/..\\admin",
        "/public%5c..%5cadmin",
        "/admin/%c0%ae%c0%ae/",
        "/%e0%80%af",
        "/%ed%a0%80",
        "/%ff",
        "/admin%0a",
        "/admin%7f",
        "/admin%C2%85",
        "/a\u{ff0f}b",
        "/\u{ff0e}\u{ff0e}/x",
        "/a\u{3000}/",
        "/public/#/../admin/",
        "/admin#/public/x",
        "/a?b#c",
        "/%",
        "/%4",
        "/%zz",
        "/%+1",
        "/a\tb",
        "/s?x=%00",
        "/s?x=\u{1}",
        "/s?x=%1B",
        "/s?x=%7f",
    ] {
        assert_eq!(canonical(raw), Err(400), "{raw}");
    }
    assert_eq!(Target::parse(b"/\xff").map_err(|refusal| refusal.status), Err(400));
    assert_eq!(Target::parse(b"/?\xc3").map_err(|refusal| refusal.status), Err(400));
    assert_eq!(canonical(&format!("/{}", "a".repeat(MAX_LEN))), Err(414));
    assert_eq!(canonical(&format!("/{}", "é".repeat(MAX_LEN / 3))), Err(414));
}

/// All characters that Unicode's NFKC turns into something with a separator or a `%`, or into dots alone, and those that
/// Windows' code pages do.
#[test]
fn what_some_system_takes_for_a_separator_is_refused() {
    const SEPARATORS: &str = "\u{2100}\u{2101}\u{2105}\u{2106}\u{ff0f}\u{2044}\u{2215}\u{2216}\u{fe68}\u{ff3c}\u{37e}\u{fe14}\
                              \u{fe54}\u{ff1b}\u{fe6a}\u{ff05}\u{2024}\u{2025}\u{fe19}\u{fe30}\u{fe52}\u{ff0e}";
    for c in SEPARATORS.chars() {
        let encoded: String = c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
        for raw in [format!("/a{c}b"), format!("/public/{c}/x"), format!("/a{encoded}b"), format!("/a/{encoded}")] {
            assert_eq!(canonical(&raw), Err(400), "{raw}");
        }
    }
    assert_eq!(canonical("/wait\u{2026}what").as_deref(), Ok("/wait%E2%80%A6what"));
    for raw in ["/\u{2026}/x", "/.\u{2026}", "/admin%E2%80%A6/"] {
        assert_eq!(canonical(raw), Err(400), "{raw}");
    }
}

/// What the most liberal upstream makes of a path: decodes until nothing changes, takes backslashes and look-alikes for
/// separators, strips path parameters, drops dots and blanks at the end of segments, and resolves dot segments.
fn liberal(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded: Vec<u8> = percent_encoding::percent_decode(&bytes).collect();
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).replace(['\\', '\u{ff0f}', '\u{ff3c}'], "/").replace('\u{ff0e}', ".");
    let text = text.split('\0').next().unwrap_or_default().to_owned();
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        let segment = segment.split(';').next().unwrap_or_default().trim();
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment.trim_end_matches(['.', ' ']).to_owned()),
        }
    }
    let end = if text.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// Spells `target` in one of very many ways.
fn respell(random: &mut Random, target: &str) -> String {
    const SEPARATORS: [&str; 14] = [
        "//",
        "/./",
        "/x/../",
        "/%2e/",
        "/x/%2E%2e/",
        "\\",
        "%5c",
        "%2f",
        "%252f",
        ";a=b/",
        "/;/",
        "/x/..;/",
        "/.%20/",
        "\u{ff0f}",
    ];
    const ENDS: [&str; 12] = ["", ".", " ", "%20", "%2e", "%00", "\\", "%5C", ";x", "/", "%09", "?/public/"];
    let mut out = String::new();
    for c in target.chars() {
        let hex = format!("{:02x}", c as u32);
        match random.below(12) {
            0 if c == '/' => out.push_str(random.pick(&SEPARATORS)),
            0 => out.push_str(&format!("%{hex}")),
            1 if c != '/' => out.push_str(&format!("%{}", hex.to_uppercase())),
            2 if random.below(4) == 0 => out.push_str(&format!("%25{hex}")),
            3 if random.below(8) == 0 => out.push_str(&format!("%{hex}%00")),
            _ => out.push(c),
        }
    }
    if random.below(3) == 0 {
        out.push_str(random.pick(&ENDS));
    }
    out
}

#[test]
fn an_accepted_spelling_means_the_same_to_every_upstream() {
    const TARGETS: [&str; 7] =
        ["/admin/", "/admin/users", "/private/a b.html", "/public/%", "/a/b/c/d", "/caf\u{e9}/x+y", "/x:y@z/=,&"];
    let mut random = Random::new(1);
    let mut accepted = 0;
    for n in 0..60_000 {
        let raw = respell(&mut random, TARGETS[n % TARGETS.len()]);
        let Ok(target) = Target::parse(raw.as_bytes()) else { continue };
        accepted += 1;
        let once = percent_encoding::percent_decode_str(target.path()).decode_utf8().unwrap().into_owned();
        assert_eq!(liberal(target.path()), once, "{raw:?} became {target:?}");
        // One resource, one spelling: parsing again changes nothing, and so does the upstream's own reading of it.
        assert_eq!(Target::parse(target.as_str().as_bytes()).as_ref(), Ok(&target), "{raw:?}");
        let path = raw.split('?').next().unwrap();
        assert_eq!(liberal(path), once, "{raw:?} is decided on as {target:?}");
    }
    assert!((10_000..50_000).contains(&accepted), "{accepted} accepted: the generator proves too little");
}

#[test]
fn arbitrary_bytes_never_yield_a_target_that_changes_again() {
    const BYTES: &[u8] = b"/.%2eEfF5cC0;\\?#a \x00\x7f\xc3\xa9\xff*:@u";
    let mut random = Random::new(2);
    for _ in 0..60_000 {
        let raw: Vec<u8> = (0..random.below(12)).map(|_| random.pick(BYTES)).collect();
        let raw = [b"/".as_slice(), &raw].concat();
        let Ok(target) = Target::parse(&raw) else { continue };
        assert_eq!(Target::parse(target.as_str().as_bytes()).as_ref(), Ok(&target), "{raw:?}");
        assert!(target.as_str().bytes().all(|b| b.is_ascii_graphic()), "{raw:?}");
        let path = target.path();
        assert!(path.starts_with('/') && !path.contains("//"), "{raw:?}");
        assert!(path.split('/').all(|segment| !segment.ends_with('.')), "{raw:?}");
        assert_eq!(format!("{path}{}", target.query().map(|q| format!("?{q}")).unwrap_or_default()), target.as_str());
    }
}

/// Base64 in a path is data: every slash of it counts, and nothing else is let through that a path would not be.
#[test]
fn base64_at_the_end_of_a_path_is_one_segment() {
    let parse = |raw: &str| Target::parse_base64(raw.as_bytes(), "/api/ocsp/").map(|target| target.as_str().to_owned());
    for (raw, expected) in [
        ("/api/ocsp/0a/MEo=", "/api/ocsp/0a/MEo="),
        ("/api/ocsp/0a/M/E//o=", "/api/ocsp/0a/M%2FE%2F%2Fo="),
        ("/api/ocsp/0a/M%2fE%2F/o%3d%3D", "/api/ocsp/0a/M%2FE%2F%2Fo=="),
        ("//api///ocsp//0a//ME+o%2B", "/api/ocsp/0a/ME+o+"),
        ("http://a.test/api/ocsp/0a/MEo/", "/api/ocsp/0a/MEo%2F"),
    ] {
        assert_eq!(parse(raw).as_deref(), Some(expected), "{raw}");
        assert_eq!(parse(expected).as_deref(), Some(expected), "it is canonical: {raw}");
    }
    for raw in [
        "/api/ocsp/0a",
        "/api/ocsp/0a/",
        "/api/ocsp//",
        "/api/ocsp",
        "/api/crl/0a/MEo=",
        "/x/api/ocsp/0a/MEo",
        "/api/ocsp/0a/M.",
        "/api/ocsp/0a/../admin",
        "/api/ocsp/0a/%2e%2e/admin",
        "/api/ocsp/../M",
        "/api/ocsp/%2e%2e/M",
        "/api/ocsp/0a/M?x",
        "/api/ocsp/0a/M#x",
        "/api/ocsp/0a/M%252F",
        "/api/ocsp/0a/M%00",
        "/api/ocsp/0a/M%",
        "/api/ocsp/0a/M o",
        "/%61pi/ocsp/0a/M",
        "/api/ocsp/0a/M;x=1",
        "/api/ocsp/0a/M\\o",
        "/api/ocsp/0a/M\u{e9}",
        "api/ocsp/0a/M",
        "",
    ] {
        assert_eq!(parse(raw), None, "{raw}");
    }
    assert_eq!(parse(&format!("/api/ocsp/0a/{}", "/A".repeat(MAX_LEN / 3))), None, "too long once it is written out");
}
