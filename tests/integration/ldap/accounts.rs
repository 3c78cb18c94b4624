//! Whose name somebody gets, and what becomes of a session when the directory shows nobody.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use policy_server::auth::error::ErrorKind;
use policy_server::auth::pipeline::{Depth, LOGIN_LIMIT, RecheckRun};
use policy_server::auth::subject::Subject;
use policy_server::wire::Loaded;
use shared_proto::secret::Secret;

use super::*;

const STAFF: &str = "userBaseDn=ou=staff,dc=example,dc=test";

/// Whoever may write into the own entry cannot become somebody else.
#[tokio::test]
async fn a_name_is_of_one_entry() {
    let Some(cams) = Cams::new().await else { return };
    let foreign = "!LoginException|uid=mallory|does not find this entry alone";
    let by_mail = "userFilter=(mail={0})";
    let either = "userFilter=(|(uid={0})(mail={0}))";
    for (options, user, expected) in [
        ([by_mail].as_slice(), "mallory@example.test", foreign),
        (&[either, "userNameAttribute=mail"], "mallory", foreign),
        (&[either, "userNameAttribute=mail"], "mallory@example.test", foreign),
        (&[either], "mallory@example.test", "mallory:"),
        (&[by_mail], "ceo@example.test", "!FailedLoginException|more than one entry"),
        (&[either], "ceo", "ceo:"),
        (&[by_mail], "b1@example.test", "b1@example.test:"),
        (&[by_mail], "B2@example.test", "b1@example.test:"),
        (&[either, "userNameAttribute=mail"], "both", "b1@example.test:"),
    ] {
        cams.configure(&[&[PEOPLE], options].concat());
        cams.check(&options.join(" "), user, PASSWORD, expected);
    }
}

/// The entry as the policy server has it.
fn load(cams: &Cams, options: &[&str]) -> Loaded {
    cams.configure(options);
    policy_server::wire::check(&cams.files.conf()).unwrap_or_else(|problems| panic!("{problems}")).1
}

fn until() -> tokio::time::Instant {
    tokio::time::Instant::now() + LOGIN_LIMIT
}

async fn log_in(loaded: &Loaded, user: &str) -> Subject {
    let answers = [("username", user), ("password", PASSWORD)].map(|(name, value)| (name.to_owned(), value.into()));
    let answers: BTreeMap<String, Secret> = answers.into();
    let run = loaded.domains["system"].entry("http").unwrap().login(&answers, Timestamp::now(), None, until()).await;
    run.result.unwrap_or_else(|error| panic!("{user}: {error}"))
}

async fn look(loaded: &Loaded, subject: &Subject) -> RecheckRun {
    loaded.domains["system"].entry("http").unwrap().recheck(subject, Depth::Full, Timestamp::now()).await
}

/// What becomes of a session that goes on.
async fn goes_on(loaded: &Loaded, subject: &Subject) -> Subject {
    match look(loaded, subject).await {
        RecheckRun::Current(now) | RecheckRun::Unsure(now) => now,
        RecheckRun::Ended(error) => panic!("{}: {error}", subject.user),
    }
}

async fn ends(loaded: &Loaded, subject: &Subject) -> bool {
    matches!(look(loaded, subject).await, RecheckRun::Ended(_))
}

/// Whether the session ends because the account is not found: not at the first look.
async fn vanishes(loaded: &Loaded, subject: &Subject) -> bool {
    let now = goes_on(loaded, subject).await;
    assert!(now.proofs[0].absent && now.roles == subject.roles, "{now:?}");
    ends(loaded, &now).await
}

/// Another place stands for rights that hide some people and show others for a while.
#[tokio::test]
async fn who_is_hidden_at_one_look_stays() {
    let Some(cams) = Cams::new().await else { return };
    let staff = "userDnPattern=uid={0},ou=staff,dc=example,dc=test";
    for (shows_all, shows_some) in [(PEOPLE, STAFF), (PATTERN, staff)] {
        let [all, some] = [shows_all, shows_some].map(|people| load(&cams, &[people, ACCOUNT[0], ACCOUNT[1]]));
        let alice = log_in(&all, "alice").await;
        let hidden = goes_on(&some, &alice).await;
        assert!(hidden.proofs[0].absent, "{hidden:?}");
        assert_eq!(goes_on(&all, &hidden).await, alice, "she was seen again");
        assert!(ends(&some, &hidden).await && !ends(&some, &alice).await);
    }
}

#[tokio::test]
async fn nobody_is_gone_because_nobody_is_seen() {
    let Some(slapd) = Slapd::start().await else { return };
    let cams = Cams { files: Files::new("ldap", None), slapd: slapd.into() };
    let pattern = "userDnPattern=uid={0},ou=staff,dc=example,dc=test";
    let weak = "bindDn=cn=weak,dc=example,dc=test";
    let good = load(&cams, &[STAFF, ACCOUNT[0], ACCOUNT[1]]);
    let by_pattern = load(&cams, &[pattern, ACCOUNT[0], ACCOUNT[1]]);
    let (dora, alice) =
        (log_in(&good, "dora").await, log_in(&load(&cams, &[PEOPLE, ACCOUNT[0], ACCOUNT[1]]), "alice").await);
    let blind: [&[&str]; 6] = [
        &[STAFF, weak, ACCOUNT[1]],
        &[STAFF, weak, ACCOUNT[1], "userScope=sub", "userFilter=(&(objectClass=inetOrgPerson)(uid={0}))"],
        &[pattern, weak, ACCOUNT[1]],
        &["userBaseDn=ou=nowhere,dc=example,dc=test", ACCOUNT[0], ACCOUNT[1]],
        &["userBaseDn=ou=policies,dc=example,dc=test", ACCOUNT[0], ACCOUNT[1]],
        // There are referrals: perhaps she is where they point to.
        &[PEOPLE, ACCOUNT[0], ACCOUNT[1]],
    ];
    for options in blind {
        assert!(!ends(&load(&cams, options), &dora).await, "{options:?}");
    }
    for loaded in [&good, &by_pattern] {
        assert!(!ends(loaded, &dora).await);
        assert!(vanishes(loaded, &alice).await, "she is not there, and others are");
    }
    // Wrong passwords of others end no session.
    let lock = |time: &str| {
        let dn = "uid=dora,ou=staff,dc=example,dc=test";
        format!("dn: {dn}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: {time}\n")
    };
    let retrieve = load(&cams, &[STAFF, ACCOUNT[0], ACCOUNT[1], "authMethod=retrieve", "allowCleartext=true"]);
    cams.slapd.modify(&lock("20260101000000Z"));
    assert!(!ends(&good, &dora).await && !ends(&retrieve, &dora).await);
    cams.slapd.modify(&lock("000001010000Z"));
    assert!(ends(&good, &dora).await && ends(&retrieve, &dora).await);
    cams.slapd.modify("dn: uid=dora,ou=staff,dc=example,dc=test\nchangetype: delete\n");
    assert!(vanishes(&good, &dora).await && vanishes(&by_pattern, &dora).await);
}

/// slapd refuses a name that is not there at once, and others after a digest.
#[tokio::test]
async fn with_a_pattern_refusals_are_held_back() {
    let Some(cams) = Cams::new().await else { return };
    let loaded = load(&cams, &[PATTERN]);
    for user in ["nobody", "alice"] {
        let answers = [("username", user), ("password", "wrong")].map(|(name, value)| (name.to_owned(), value.into()));
        let started = Instant::now();
        let run = loaded.domains["system"]
            .entry("http")
            .unwrap()
            .login(&answers.into(), Timestamp::now(), None, until())
            .await;
        assert_eq!(run.result.unwrap_err().kind, ErrorKind::FailedLogin, "{user}");
        assert!(started.elapsed() >= Duration::from_millis(50), "{user}: {:?}", started.elapsed());
    }
}
