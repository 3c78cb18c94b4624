use super::*;

const XML: &str = "com.cafesoft.cams.auth.login.module.XmlLoginModule";
const SQL: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";
const LDAP: &str = "com.cafesoft.cams.auth.login.module.LdapLoginModule";
const LOCAL: &str = "com.cafesoft.cams.auth.login.module.LocalLoginModule";

fn identity(source: &str, id: &str) -> Identity {
    Identity { source: source.to_owned(), id: id.to_owned() }
}

fn proved(source: &str, id: &str, place: &str) -> Proved {
    let worldwide = [LDAP, LOCAL].contains(&source) && !id.is_empty();
    Proved { identity: identity(source, id), place: place.to_owned(), worldwide }
}

/// Who logs in as `alice`; to what the account of that name is bound; to what another account is.
#[test]
fn nobody_gets_the_account_of_somebody_else() {
    use Verdict::{InPlace, Named, New, Renamed, RenamedInPlace, Unclear};
    for (own, named, known, expected) in [
        ((LDAP, "1"), None, None, New),
        ((XML, ""), None, None, New),
        // The same person.
        ((LDAP, "1"), Some((LDAP, "1")), None, Named),
        ((SQL, "1"), Some((SQL, "1")), None, Named),
        ((XML, ""), Some((XML, "")), None, Named),
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
        ((XML, ""), Some(("", "")), None, Unclear),
        ((LDAP, "1"), Some((SQL, "1")), None, Unclear),
        ((LDAP, "1"), Some((LDAP, "")), None, Unclear),
        ((LDAP, ""), Some((LDAP, "1")), None, Unclear),
        ((LDAP, "1"), Some((XML, "")), Some((LDAP, "1")), Unclear),
    ] {
        let of = |it: Option<(&str, &str)>| it.map(|(s, i)| identity(s, i));
        let (proved, named, known) = (proved(own.0, own.1, "here"), of(named), of(known));
        for seen_gone in [false, true] {
            let bound = |identity| Bound { user: "alice", identity, place: "here", seen_gone };
            let verdict = decide(&proved, "alice", named.as_ref().map(bound), known.as_ref().map(bound));
            // Who was seen gone comes back by the word of an administrator alone.
            let expected = if seen_gone && named.is_some() { Unclear } else { expected };
            assert_eq!(verdict, expected, "{proved:?} {named:?} {known:?} {seen_gone}");
        }
    }
}

/// What a directory that was configured anew, or another spelling, makes of the same id and of another one.
#[test]
fn another_spelling_is_another_person_where_there_are_no_ids() {
    use Verdict::{InPlace, Moved, Named, Unclear};
    for (source, bound, own, user, place, expected) in [
        (LDAP, "1", "1", "Alice", "there", Named),
        (SQL, "1", "1", "Alice", "here", Named),
        (SQL, "1", "1", "alice", "there", Moved),
        (XML, "", "", "alice", "here", Named),
        (XML, "", "", "alice", "there", Moved),
        (XML, "", "", "Alice", "here", Unclear),
        (LDAP, "1", "2", "alice", "here", InPlace),
        (LDAP, "1", "2", "alice", "there", Unclear),
        (LDAP, "1", "2", "Alice", "here", Unclear),
        (SQL, "1", "2", "alice", "there", Unclear),
    ] {
        let identity = identity(source, bound);
        let named = Bound { user, identity: &identity, place, seen_gone: false };
        let verdict = decide(&proved(source, own, "here"), "alice", Some(named), None);
        assert_eq!(verdict, expected, "{source} {bound} {own} {user} {place}");
    }
    // The same number twice is no rename, where ids are not worldwide.
    let own = Proved { worldwide: false, ..proved(LDAP, "1", "here") };
    let known = Bound { user: "bob", identity: &own.identity, place: "here", seen_gone: false };
    assert_eq!(decide(&own, "alice", None, Some(known)), Verdict::New);
}

#[test]
fn names_are_compared_folded() {
    assert_eq!(key("Alice"), key("alice"));
    for bad in ["", " alice", "a\u{202e}b", &"x".repeat(2_000)] {
        assert_eq!(key(bad), None, "{bad:?}");
    }
}

#[test]
fn a_suggested_command_is_one_command() {
    for (user, expected) in [
        ("alice", "cams user jami --domain system --relink alice"),
        ("o'hara; rm -rf $HOME", r"cams user jami --domain system --relink 'o'\''hara; rm -rf $HOME'"),
        ("-h", "cams user jami --domain system --relink -- -h"),
        ("", "cams user jami --domain system --relink ''"),
    ] {
        assert_eq!(command("system", user, "--relink"), expected);
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
