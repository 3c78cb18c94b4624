use super::*;
use crate::auth::modules;
use crate::auth::subject::Proof;

const XML: &str = "com.cafesoft.cams.auth.login.module.XmlLoginModule";
const SQL: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";
const LDAP: &str = "com.cafesoft.cams.auth.login.module.LdapLoginModule";
const LOCAL: &str = "com.cafesoft.cams.auth.login.module.LocalLoginModule";

fn identity(source: &str, id: &str) -> Identity {
    Identity { source: source.to_owned(), id: id.to_owned() }
}

#[test]
fn the_worldwide_sources_are_modules() {
    WORLDWIDE.iter().for_each(|class| assert!(modules::find(class).is_some(), "{class}"));
}

/// Who logs in as `alice`; to what the account of that name is bound; to what another account is.
#[test]
fn nobody_gets_the_account_of_somebody_else() {
    use Verdict::{InPlace, Named, New, Renamed, RenamedInPlace, Unclear};
    for (proved, named, known, expected) in [
        ((LDAP, "1"), None, None, New),
        ((XML, ""), None, None, New),
        // The same person.
        ((LDAP, "1"), Some((LDAP, "1")), None, Named),
        ((SQL, "1"), Some((SQL, "1")), None, Named),
        ((XML, ""), Some((XML, "")), None, Named),
        // An administrator said that it is.
        ((SQL, "7"), Some(("", "")), None, Named),
        ((XML, ""), Some(("", "")), None, Named),
        // Another person for certain.
        ((LDAP, "2"), Some((LDAP, "1")), None, InPlace),
        ((SQL, "2"), Some((SQL, "1")), None, InPlace),
        // Known under another name, where ids are of one world.
        ((LDAP, "1"), None, Some((LDAP, "1")), Renamed),
        ((LOCAL, "1"), None, Some((LOCAL, "1")), Renamed),
        ((LDAP, "1"), Some((LDAP, "2")), Some((LDAP, "1")), RenamedInPlace),
        ((SQL, "1"), None, Some((SQL, "1")), New),
        ((SQL, "1"), Some((SQL, "2")), Some((SQL, "1")), InPlace),
        ((XML, ""), None, Some((XML, "")), New),
        ((LDAP, "1"), None, Some((LDAP, "2")), New),
        ((LDAP, "1"), None, Some((LOCAL, "1")), New),
        // Nobody can tell.
        ((LDAP, "1"), Some((XML, "")), None, Unclear),
        ((XML, ""), Some((LDAP, "1")), None, Unclear),
        ((LDAP, "1"), Some((SQL, "1")), None, Unclear),
        ((LDAP, "1"), Some((LDAP, "")), None, Unclear),
        ((LDAP, ""), Some((LDAP, "1")), None, Unclear),
        ((LDAP, "1"), Some((XML, "")), Some((LDAP, "1")), Unclear),
    ] {
        let (proved, of) = (identity(proved.0, proved.1), |it: Option<(&str, &str)>| it.map(|(s, i)| identity(s, i)));
        let (named, known) = (of(named), of(known));
        for seen_gone in [false, true] {
            let bound = |identity| Bound { user: "alice", identity, seen_gone };
            let verdict = decide(&proved, "alice", named.as_ref().map(bound), known.as_ref().map(bound));
            // Who was seen gone comes back by the word of an administrator alone.
            let was_bound = named.as_ref().is_some_and(|named| !named.source.is_empty());
            let expected = if seen_gone && was_bound { Unclear } else { expected };
            assert_eq!(verdict, expected, "{proved:?} {named:?} {known:?} {seen_gone}");
        }
    }
}

#[test]
fn another_spelling_is_another_person_where_there_are_no_ids() {
    for (source, id, expected) in [(XML, "", Verdict::Unclear), (LDAP, "1", Verdict::Named), (SQL, "1", Verdict::Named)]
    {
        let own = identity(source, id);
        let named = Bound { user: "Alice", identity: &own, seen_gone: false };
        assert_eq!(decide(&own, "alice", Some(named), None), expected, "{source}");
        assert_eq!(key("Alice"), key("alice"));
    }
    for bad in ["", " alice", "a\u{202e}b", &"x".repeat(2_000)] {
        assert_eq!(key(bad), None, "{bad:?}");
    }
}

#[test]
fn the_first_module_that_knows_an_id_says_who_it_is() {
    let proof = |class: &str, id: Option<&str>| Proof {
        module: 0,
        class: class.to_owned(),
        user: "alice".to_owned(),
        source_id: id.map(str::to_owned),
        credential: Some("x".to_owned()),
        roles: Default::default(),
        attributes: Default::default(),
        settings: String::new(),
        absent: false,
    };
    for (proofs, expected) in [
        (vec![proof(XML, None)], identity(XML, "")),
        (vec![proof(XML, None), proof(LDAP, Some("1")), proof(SQL, Some("2"))], identity(LDAP, "1")),
    ] {
        let subject = Subject::from_proofs(proofs).unwrap();
        assert_eq!(Identity::of(&subject), expected);
        assert!(to_keep(subject).proofs.iter().all(|proof| proof.credential.is_none()));
    }
}

#[test]
fn who_is_gone_is_told_from_who_is_disabled() {
    for (id, kind, expected) in [
        ("", ErrorKind::FailedLogin, true),
        ("", ErrorKind::Account, false),
        ("", ErrorKind::AccountExpired, false),
        ("", ErrorKind::Login, false),
        ("1", ErrorKind::FailedLogin, false),
    ] {
        let error = LoginError::new(kind, "");
        assert_eq!(is_seen_gone(&identity(XML, id), &error), expected, "{id:?} {error}");
    }
}
