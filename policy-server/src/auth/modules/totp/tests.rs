//! The module on a store of its own, at moments of the test's choice.

use std::collections::BTreeMap;
use std::path::Path;

use shared_proto::login::{FormField, InputMode};
use tempfile::TempDir;

use super::super::{Shared, find};
use super::*;
use crate::auth::callback::{CallbackHandler, Callbacks};
use crate::digest::DigestPool;
use crate::store::Store;
use crate::store::tests::temporary;
use crate::token::{Key, KeyRing};

const NOW: i64 = 1_800_000_000;

struct Setting {
    vault: Vault,
    _dir: TempDir,
}

impl Setting {
    async fn new() -> Self {
        let (store, dir) = temporary().await;
        Self { vault: vault(store, 1), _dir: dir }
    }

    fn module(&self, options: &str) -> Box<dyn LoginModule> {
        module("system", options, Some(self.vault.clone()))
    }

    /// Enrols alice; her codes at moments.
    async fn enrol(&self, module: &dyn LoginModule) -> impl Fn(i64) -> String + use<> {
        let codes = &module.second_factor().unwrap().codes;
        let invitation = enrol(&self.vault, codes, "system", "alice", "Cams", NOW).await.unwrap();
        let app = totp_rs::Totp::from_url(&*invitation.uri).unwrap();
        move |at| app.generate(u64::try_from(at).unwrap()).to_string()
    }
}

fn vault(store: Store, key: u8) -> Vault {
    Vault { store, keys: KeyRing::new(Key::from_bytes([key; 32]), Vec::new()), cluster: "Test".to_owned() }
}

fn module(domain: &str, options: &str, vault: Option<Vault>) -> Box<dyn LoginModule> {
    let mut problems = Problems::default();
    let services = Services::new(Shared::new(DigestPool::new(1, 1), vault), domain, BTreeMap::new());
    let options = Options::from_properties(Path::new("t"), options, &mut problems);
    let module = find(CLASS).unwrap().build(options, &services, &mut problems);
    assert!(problems.is_empty(), "{problems}");
    module.unwrap()
}

/// What somebody typed who calls themselves alice.
fn typed(code: &str) -> Callbacks {
    let mut handler = CallbackHandler::CONFIGURABLE;
    let (name, label) = ("totp".to_owned(), "Code".to_owned());
    let field =
        FormField { name, label, required: false, secret: false, max_length: 20, input_mode: InputMode::Numeric };
    handler.add(field).unwrap();
    let given = [("username", "alice"), ("password", "pw"), ("totp", code)];
    handler.answers(&given.map(|(name, value)| (name.to_owned(), Secret::from(value))).into()).unwrap()
}

async fn login(module: &dyn LoginModule, proved: Option<&str>, code: &str, now: i64) -> Result<String, String> {
    login_remembered(module, proved, code, now, None).await
}

async fn login_remembered(
    module: &dyn LoginModule,
    proved: Option<&str>,
    code: &str,
    now: i64,
    remembered: Option<&Remembered>,
) -> Result<String, String> {
    let (callbacks, now) = (typed(code), Timestamp::from_second(now).unwrap());
    match module.login(&LoginContext { callbacks: &callbacks, now, proved, remembered }).await {
        Outcome::Succeed(identity) => Ok(identity.user),
        Outcome::Ignore => Err("ignore".to_owned()),
        Outcome::Fail(error) => Err(error.to_string()),
    }
}

const WRONG: &str = "wrong code; do the clocks of phone and server agree?";

fn refusal(user: &str, detail: &str) -> Result<String, String> {
    Err(format!("FailedLoginException: code of `{user}`: {detail}"))
}

/// What is tried in turn: who was proved, of which moment the code is, when it is tried, and what is said.
#[tokio::test]
async fn a_code_counts_once_and_for_the_proved_person_alone() {
    let setting = Setting::new().await;
    let module = setting.module("");
    let code = setting.enrol(&*module).await;
    let nobody = "no module before this one proved who it is; nothing was checked";
    let used = refusal("alice", "the code, or a later one, was used before; wait for the next");
    let wrong = refusal("alice", WRONG);
    let alice = || Ok("alice".to_owned());
    for (proved, of, at, expected) in [
        (None, 0, 0, refusal("alice", nobody)),
        (Some("bob"), 0, 0, refusal("bob", "not enrolled; `cams user totp enrol` does it")),
        (Some("alice"), -60, 0, wrong.clone()),
        (Some("alice"), 60, 0, wrong.clone()),
        (Some("alice"), 0, 0, alice()),
        (Some("alice"), 0, 0, used.clone()),
        (Some("alice"), 0, 30, used.clone()),
        (Some("alice"), -30, 0, used.clone()),
        (Some("alice"), 30, 0, alice()),
        (Some("alice"), 30, 30, used.clone()),
        (Some("alice"), 0, 30, used),
        (Some("alice"), 90, 120, alice()),
        (Some("alice"), 120, 120, alice()),
        (Some("alice"), 0, 120, wrong),
    ] {
        let said = login(&*module, proved, &code(NOW + of), NOW + at).await;
        assert_eq!(said, expected, "{proved:?} {of} {at}");
    }
}

#[tokio::test]
async fn of_many_at_once_one_is_let_in() {
    let setting = Setting::new().await;
    let module = setting.module("");
    let code = setting.enrol(&*module).await(NOW);
    let tries = (0..20).map(|_| login(&*module, Some("alice"), &code, NOW));
    let said = futures_util::future::join_all(tries).await;
    assert_eq!(said.iter().filter(|said| said.is_ok()).count(), 1, "{said:?}");
}

/// Only where it is configured, for the person whom it remembers, behind a password, and not from before the enrolment.
#[tokio::test]
async fn a_remembered_browser_stands_in_where_it_may() {
    let setting = Setting::new().await;
    let [refusing, accepting] = ["", "rememberedBrowser=accept"].map(|options| setting.module(options));
    let code = setting.enrol(&*refusing).await(NOW);
    let alice = || Some(("alice", NOW));
    for (module, proved, remembered, expected) in [
        (&accepting, Some("alice"), alice(), true),
        (&accepting, Some("alice"), Some(("alice", NOW + 1)), true),
        (&accepting, Some("alice"), Some(("alice", NOW - 1)), false),
        (&accepting, Some("alice"), Some(("bob", NOW)), false),
        (&accepting, Some("alice"), None, false),
        (&accepting, Some("bob"), Some(("bob", NOW)), false),
        (&accepting, None, alice(), false),
        (&refusing, Some("alice"), alice(), false),
    ] {
        let remembered =
            remembered.map(|(user, since)| Remembered { user: user.to_owned(), methods: Default::default(), since });
        let said = login_remembered(&**module, proved, "", NOW, remembered.as_ref()).await;
        assert_eq!(said.is_ok(), expected, "{proved:?} {remembered:?}: {said:?}");
    }
    assert_eq!(login(&*accepting, Some("alice"), &code, NOW).await, Ok("alice".to_owned()), "no code was used up");
}

#[tokio::test]
async fn people_without_a_secret_fail_or_are_ignored() {
    let setting = Setting::new().await;
    let module = setting.module("notEnrolled=ignore\ndefaultRoles=strong");
    assert_eq!(login(&*module, Some("alice"), "", NOW).await, Err("ignore".to_owned()));
    assert!(login(&*module, None, "", NOW).await.is_err_and(|said| said.contains("no module before")));
    // Who has one is asked for it, whatever the option says.
    let code = setting.enrol(&*module).await;
    assert_eq!(login(&*module, Some("alice"), "", NOW).await, refusal("alice", WRONG));
    assert_eq!(login(&*module, Some("alice"), &code(NOW), NOW).await, Ok("alice".to_owned()));
}

/// A secret opens for its person, domain and cluster, and with the key it was sealed with.
#[tokio::test]
async fn a_secret_that_does_not_open_is_no_verdict() {
    let setting = Setting::new().await;
    let module_of = |domain: &str, vault: Vault| module(domain, "", Some(vault));
    let code = setting.enrol(&*setting.module("")).await(NOW);
    let store = setting.vault.store.clone();
    let (sealed, _) = store.totp_secret("system", "alice").await.unwrap().unwrap();
    store.add_totp_secret("system", "bob", &sealed, NOW).await.unwrap();
    store.add_totp_secret("other", "alice", &sealed, NOW).await.unwrap();
    let elsewhere = Vault { cluster: "Other".to_owned(), ..setting.vault.clone() };
    for (module, user) in [
        (module_of("system", setting.vault.clone()), "bob"),
        (module_of("other", setting.vault.clone()), "alice"),
        (module_of("system", elsewhere), "alice"),
        (module_of("system", vault(store.clone(), 2)), "alice"),
        (module("system", "", None), "alice"),
    ] {
        let said = login(&*module, Some(user), &code, NOW).await.unwrap_err();
        assert!(said.starts_with("LoginException: "), "{user}: {said}");
    }
    assert_eq!(login(&*setting.module(""), Some("alice"), &code, NOW).await, Ok("alice".to_owned()));
}

#[tokio::test]
async fn who_is_not_enrolled_any_more_loses_the_session() {
    let setting = Setting::new().await;
    let module = setting.module("");
    let standing = async || module.recheck().unwrap().recheck("alice", Timestamp::UNIX_EPOCH).await;
    assert!(matches!(standing().await, Standing::Gone(_)));
    let _ = setting.enrol(&*module).await;
    assert!(matches!(standing().await, Standing::Current(identity) if identity.user == "alice"));
    let before = setting.vault.store.position().await.unwrap().seq;
    assert!(setting.vault.store.remove_totp_secret("system", "alice").await.unwrap());
    assert!(!setting.vault.store.remove_totp_secret("system", "alice").await.unwrap());
    assert_eq!(setting.vault.store.position().await.unwrap().seq, before + 1, "agents are told once");
    assert!(matches!(standing().await, Standing::Gone(_)));
}

#[tokio::test]
async fn nobody_is_enrolled_twice_or_under_an_impossible_name() {
    let setting = Setting::new().await;
    let module = setting.module("");
    let codes = &module.second_factor().unwrap().codes;
    let long = "x".repeat(257);
    for (user, issuer, expected) in [
        ("alice", "Cams", None),
        ("alice", "Cams", Some("`alice` is enrolled already")),
        ("", "Cams", Some("`` cannot be the name of somebody")),
        ("a:b", "Cams", Some("`a:b` cannot be the name of somebody")),
        ("a\nb", "Cams", Some("`a\nb` cannot be the name of somebody")),
        (&long, "Cams", Some("`xxxxxxx")),
        ("bob", "", Some("`` cannot be shown by an authenticator app")),
        ("bob", "a:b", Some("`a:b` cannot be shown by an authenticator app")),
        ("bob", "a\tb", Some("`a\tb` cannot be shown by an authenticator app")),
    ] {
        let error =
            enrol(&setting.vault, codes, "system", user, issuer, NOW).await.err().map(|error| error.to_string());
        assert_eq!(error.is_some(), expected.is_some(), "{user} {issuer}");
        assert!(error.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{user} {issuer}");
    }
    let users: Vec<_> = setting.vault.store.totp_users().await.unwrap().into_iter().map(|user| user.user).collect();
    assert_eq!(users, ["alice"]);
}
