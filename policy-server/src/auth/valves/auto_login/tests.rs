//! What is sealed, and for whom; and which parameters are taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::auth::modules::Shared;
use crate::auth::subject::Proof;

const PASSWORD: &str = "canary-\"pässword\"";
const DAY: i64 = 24 * 3600;

fn auto(keys: &[u8], cluster: &str, domain: &str) -> AutoLogin {
    let mut keys = keys.iter().map(|byte| Key::from_bytes([*byte; 32]));
    let keys = KeyRing::new(keys.next().unwrap(), keys.collect());
    AutoLogin { keys, cluster: cluster.to_owned(), domain: domain.to_owned(), lifetime: 30 * DAY, grace: 30 }
}

fn mine() -> AutoLogin {
    auto(&[1], "C", "system")
}

fn answers() -> BTreeMap<String, Secret> {
    [("username", "alice"), ("password", PASSWORD)].map(|(name, value)| (name.to_owned(), value.into())).into()
}

fn begin(auto: &AutoLogin, now: i64) -> (Family, Remember) {
    let class = "class".to_owned();
    let (user, roles, attributes) = ("alice".to_owned(), Default::default(), Default::default());
    let subject = Subject::from_proofs(vec![Proof {
        module: 0,
        class,
        user,
        source_id: None,
        credential: None,
        absent: false,
        roles,
        attributes,
        settings: String::new(),
    }]);
    let client = Client { address: [192, 0, 2, 1].into(), user_agent: "Browser/1".to_owned() };
    let login = Login { entry: "http", subject: &subject.unwrap(), answers: &answers(), client: &client };
    auto.begin(&AutoLogin::new_series().unwrap(), &login, now).unwrap()
}

/// What comes out of a cookie and a store together.
fn both(auto: &AutoLogin, cookie: &Secret, family: &Family, now: i64) -> Option<String> {
    let ticket = auto.open(cookie, now)?;
    let answers = auto.answers(&ticket, &family.rotation.current.sealed)?;
    answers["password"].expose_str().map(str::to_owned)
}

#[test]
fn the_password_takes_cookie_store_and_key() {
    let (family, remember) = begin(&mine(), 0);
    assert_eq!((family.user.as_str(), remember.max_age_seconds), ("alice", 30 * 24 * 3600));
    assert_eq!(both(&mine(), &remember.cookie, &family, 0).as_deref(), Some(PASSWORD));
    let ticket = mine().open(&remember.cookie, 0).unwrap();
    assert_eq!((&ticket.series, ticket.generation), (&family.series, 1));
    // Neither holds it alone, in any encoding that a canary survives.
    let sealed = URL_SAFE_NO_PAD.decode(remember.cookie.expose()).unwrap();
    for bytes in [&sealed, &family.rotation.current.sealed] {
        assert!(!String::from_utf8_lossy(bytes).contains("canary"));
    }
    // Another family of the same person and password: neither cookie opens the other's values.
    let (other, other_remember) = begin(&mine(), 0);
    assert_eq!(both(&mine(), &other_remember.cookie, &family, 0), None);
    assert_eq!(both(&mine(), &remember.cookie, &other, 0), None);
    // Values that were moved to another series.
    let moved = Ticket { series: other.series, ..ticket };
    assert!(mine().answers(&moved, &family.rotation.current.sealed).is_none());
}

#[test]
fn a_cookie_is_for_its_cluster_domain_and_key_alone() {
    let (family, remember) = begin(&mine(), 0);
    for (auto, opens) in [
        (mine(), true),
        // Under a new key the old one still opens, until it is taken away.
        (auto(&[2, 1], "C", "system"), true),
        (auto(&[2, 3, 1], "C", "system"), true),
        (auto(&[2], "C", "system"), false),
        (auto(&[1], "D", "system"), false),
        (auto(&[1], "C", "other"), false),
        (auto(&[1], "Csystem", ""), false),
    ] {
        assert_eq!(both(&auto, &remember.cookie, &family, 0).is_some(), opens);
    }
    // What the same key sealed for something else, or for a cookie of another name.
    let plain = [7; SERIES + KEY + 16];
    let [purpose, other] = ["CAMS_AUTO_LOGIN_C_SYSTEM", "CAMS_SID_C_SYSTEM"]
        .map(|name| mine().keys.seal(&mine().purpose("remember-me-cookie", name), &plain).unwrap())
        .map(|sealed| mine().open(&URL_SAFE_NO_PAD.encode(sealed).into(), 0).is_some());
    assert!(purpose && !other);
    let renewed = auto(&[2, 1], "C", "system");
    let fresh = renewed.fresh(&family.series, &answers()).unwrap();
    let next = renewed.next(&family, 2, &fresh, DAY).unwrap();
    assert!(auto(&[2], "C", "system").open(&next.cookie, DAY).is_some(), "the next one is sealed with the new key");
    assert_eq!(next.max_age_seconds, 29 * 24 * 3600, "nobody is remembered for longer by being used");
}

#[test]
fn what_is_no_cookie_of_ours_is_refused_alike() {
    let (_, remember) = begin(&mine(), 0);
    let sealed = URL_SAFE_NO_PAD.decode(remember.cookie.expose()).unwrap();
    let opens = |bytes: &[u8]| mine().open(&URL_SAFE_NO_PAD.encode(bytes).into(), 0).is_some();
    assert!(opens(&sealed));
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&changed), "bit {bit}");
    }
    for length in 0..sealed.len() {
        assert!(!opens(&sealed[..length]));
    }
    for text in ["", "x", "====", "../..", "\0", &"A".repeat(1 << 16)] {
        assert!(mine().open(&text.into(), 0).is_none());
    }
    // Sealed by us, and too short or too long.
    for length in [0, 1, SERIES + KEY, SERIES + KEY + 15, SERIES + KEY + 17] {
        let sealed = mine().keys.seal(&mine().cookie_purpose(), &vec![7; length]).unwrap();
        assert!(!opens(&sealed), "{length}");
    }
}

#[test]
fn cookies_and_families_get_too_old() {
    let (family, remember) = begin(&mine(), 1_000);
    let end = 1_000 + 30 * DAY;
    assert!(mine().open(&remember.cookie, end - 1).is_some());
    assert!(mine().open(&remember.cookie, end).is_none());
    let shortened = AutoLogin { lifetime: DAY, ..mine() };
    let lengthened = AutoLogin { lifetime: 90 * DAY, ..mine() };
    let ends = [mine(), shortened, lengthened].map(|auto| auto.ends(&family));
    assert_eq!(ends, [end, 1_000 + DAY, end]);
    for (now, good) in [(end - 1, true), (end, false)] {
        assert_eq!(matches!(family.present(1, now, end, 30), family::Presented::Good(_)), good);
    }
}

/// The valve of these parameters, which stand in a file of this mode beside `key.txt`; problems and warnings.
fn construct_with(params: &str, mode: u32) -> (Option<(i64, i64)>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("s.xml"), dir.path().join("key.txt"));
    for (path, mode) in [(&file, mode), (&secret, 0o600)] {
        fs::write(path, Key::from_bytes([9; 32]).to_base64().as_str()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut problems = Problems::default();
    let services = Services::new(Shared::offline(), "system", BTreeMap::new());
    let mut options = Options::new(&file, 0, "parameter");
    for (line, text) in (1..).zip(params.lines().filter(|text| !text.is_empty())) {
        let (name, value) = text.split_once('=').unwrap();
        options.insert(name.to_owned(), value.to_owned(), line, &mut problems);
    }
    let valve = crate::auth::valves::find(CLASS).unwrap().build(options, &services, &mut problems);
    let found = valve.auto_login().map(|auto| (auto.lifetime, auto.grace));
    let show = |problems: &Problems| {
        let shown = |problem: &shared_proto::problem::Problem| format!("{}: {}\n", problem.line, problem.message);
        problems.iter().map(shown).collect::<String>()
    };
    let warnings = services.warnings.borrow();
    (found, show(&problems), show(&warnings))
}

#[test]
fn parameters_are_taken_or_named() {
    let good = Key::from_bytes([8; 32]).to_base64().to_string();
    let good = format!("secretKey={good}\n");
    for (params, expected) in [
        (good.clone(), (30 * DAY, 30)),
        ("secretKey=file:key.txt\nalgorithm=AES-256-GCM".to_owned(), (30 * DAY, 30)),
        (format!("{good}cookieExpirationDays=1\ngrace=2m"), (DAY, 120)),
        (format!("{good}secretKeyPrevious=file:key.txt\nsecretKeyPrevious.1=file:key.txt"), (30 * DAY, 30)),
    ] {
        assert_eq!(construct_with(&params, 0o600), (Some(expected), String::new(), String::new()), "{params}");
    }
    for (params, expected) in [
        ("", "0: parameter `secretKey` is missing"),
        ("secretKey=AAAA", "1: parameter `secretKey`: the key is not 32 bytes in base64"),
        ("secretKey=file:gone", "1: parameter `secretKey`: cannot read the secret file"),
        ("secretKey=env:CAMS_TEST_NOTHING_HERE", "1: parameter `secretKey`: the environment variable"),
        ("algorithm=AES-128-CBC", "1: parameter `algorithm`: `AES-128-CBC` is not AES-256-GCM, the only one"),
        ("secretKeyPrevious=x", "1: parameter `secretKeyPrevious`: the key is not 32 bytes in base64"),
        ("secretKeyPrevious.2=x", "1: parameter `secretKeyPrevious`: the key is not 32 bytes in base64"),
        ("cookieExpirationDays=0", "1: parameter `cookieExpirationDays` must be between 1 and 365"),
        ("cookieExpirationDays=366", "1: parameter `cookieExpirationDays` must be between 1 and 365"),
        ("grace=0", "1: parameter `grace` must be between 1s and 600s"),
        ("grace=11m", "1: parameter `grace` must be between 1s and 600s"),
        ("secretkey=x", "1: unknown parameter `secretkey`, did you mean `secretKey`?"),
    ] {
        let with_key =
            if params.is_empty() || params.starts_with("secretKey=") { "" } else { "secretKey=file:key.txt" };
        let (found, problems, _) = construct_with(&format!("{params}\n{with_key}"), 0o600);
        assert!(found.is_none() || params.starts_with("secretkey"), "{params}");
        assert!(problems.starts_with(expected) && problems.lines().count() == 1, "{params}: {problems}");
        assert!(!problems.contains("AAAA"));
    }
    let (found, problems, warnings) = construct_with(&good, 0o644);
    assert!(found.is_some() && problems.is_empty());
    assert!(warnings.starts_with("1: parameter `secretKey`: this file holds a key and is accessible"), "{warnings}");
    assert_eq!(construct_with("secretKey=file:key.txt", 0o644).2, "");
}
