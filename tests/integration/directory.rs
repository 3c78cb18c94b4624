//! The built-in directory behaves alike on SQLite and on PostgreSQL, and what somebody loses is told with the loss.

use std::collections::BTreeSet;

use jiff::Timestamp;
use policy_server::auth::subject::{Proof, Subject};
use policy_server::directory::local::{LocalUser, NewUser};
use policy_server::directory::person::{Name, Profile};
use policy_server::session::{Session, SessionStore, TokenHash};
use policy_server::store::{Added, Membership, Store};
use shared_proto::event::Change;
use shared_proto::secret::Secret;

use crate::store::{Fixture, stores};

const DOMAIN: &str = "system";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn user(text: &str, groups: &[&str]) -> NewUser {
    let (given, family) = text.split_once('.').unwrap_or((text, ""));
    let profile = Profile {
        given_name: given.to_owned(),
        family_name: family.to_owned(),
        mail: format!("{text}@example.org"),
        ..Profile::default()
    };
    NewUser { name: name(text), profile, expires: None, groups: groups.iter().map(|group| name(group)).collect() }
}

async fn add(store: &Store, text: &str, groups: &[&str]) -> Added {
    store.add_local_user(DOMAIN, &user(text, groups), &Secret::from("digest 0"), 7).await.unwrap()
}

async fn found(store: &Store, text: &str) -> LocalUser {
    store.local_user(DOMAIN, &name(text)).await.unwrap().unwrap()
}

/// A session under the token that is its id, opened by a user whom a directory knows by `source`.
async fn open(store: &Store, id: &str, domain: &str, user: &str, source: Option<String>) {
    let proof = Proof {
        absent: false,
        module: 0,
        class: "module".to_owned(),
        user: user.to_owned(),
        source_id: source,
        credential: None,
        roles: BTreeSet::new(),
        attributes: Default::default(),
        settings: String::new(),
    };
    let session = Session {
        id: id.to_owned(),
        domain: domain.to_owned(),
        entry: "http".to_owned(),
        subject: Subject::from_proofs(vec![proof]).unwrap(),
        created: 1,
        last_used: 1,
        rechecked: 1,
        ends: 9,
        address: String::new(),
        user_agent: String::new(),
        series: None,
        remembered: false,
    };
    store.insert(&TokenHash::of(&id.into()), &session).await.unwrap();
}

async fn is_open(store: &Store, id: &str) -> bool {
    store.find(&TokenHash::of(&id.into()), "").await.unwrap().is_some()
}

/// What the log tells since it was asked last.
struct News<'a>(&'a Store, i64);

impl News<'_> {
    async fn next(&mut self) -> Vec<Change> {
        let events = self.0.events_after(self.1, 100).await.unwrap();
        self.1 = events.last().map_or(self.1, |event| event.seq);
        events.into_iter().map(|event| event.change).collect()
    }
}

fn domain_changed() -> Change {
    Change::DomainChanged { domain: DOMAIN.to_owned() }
}

#[tokio::test]
async fn users_and_groups_are_kept() {
    for Fixture { store, .. } in &stores().await {
        assert!(store.add_local_group(DOMAIN, &name("Staff"), &["a".into(), "b,c".into()].into(), 1).await.unwrap());
        assert!(!store.add_local_group(DOMAIN, &name("STAFF"), &BTreeSet::new(), 1).await.unwrap());
        assert!(store.add_local_group("other", &name("staff"), &BTreeSet::new(), 1).await.unwrap());
        let Added::Done(id) = add(store, "Zoë", &["staff"]).await else { panic!() };
        for again in ["Zoë", "ZOË", "zoe\u{308}"] {
            assert_eq!(add(store, again, &[]).await, Added::Exists, "{again}");
        }
        assert_eq!(add(store, "yann", &["nobodies"]).await, Added::NoGroup("nobodies".to_owned()));
        assert!(store.local_user(DOMAIN, &name("yann")).await.unwrap().is_none(), "all or nothing");
        assert!(store.local_user("other", &name("Zoë")).await.unwrap().is_none());

        let zoe = found(store, "zoë").await;
        assert_eq!((zoe.person.id.as_str(), zoe.person.name.as_str(), zoe.person.enabled), (id.as_str(), "Zoë", true));
        assert_eq!((zoe.groups, zoe.roles), (["Staff".into()].into(), ["a".into(), "b,c".into()].into()));
        assert_eq!((zoe.expires, zoe.credential_expires, zoe.must_change), (None, None, false));
        assert_eq!((zoe.password.expose(), zoe.password_changed, zoe.created), (&b"digest 0"[..], 7, 7));

        let edit = |user: &mut LocalUser| {
            user.expires = Some(Timestamp::MAX);
            user.credential_expires = Some(Timestamp::UNIX_EPOCH);
            user.must_change = true;
            user.person.profile.phone = "+1".to_owned();
        };
        store.edit_local_user(DOMAIN, &name("ZOË"), 8, edit).await.unwrap().unwrap();
        let zoe = found(store, "zoë").await;
        assert_eq!(zoe.expires.unwrap().as_second(), Timestamp::MAX.as_second());
        assert_eq!((zoe.credential_expires, zoe.must_change), (Some(Timestamp::UNIX_EPOCH), true));
        assert_eq!((zoe.person.profile.phone.as_str(), zoe.created, zoe.changed), ("+1", 7, 8));

        let [group] = &store.local_groups(DOMAIN).await.unwrap()[..] else { panic!() };
        assert_eq!((group.name.as_str(), &group.members), ("Staff", &["Zoë".to_owned()].into()));
        store.remove_local_user(DOMAIN, &name("zoë"), 9).await.unwrap().unwrap();
        assert!(store.remove_local_user(DOMAIN, &name("zoë"), 9).await.unwrap().is_none());
        assert!(store.local_groups(DOMAIN).await.unwrap()[0].members.is_empty());
        let Added::Done(other) = add(store, "Zoë", &[]).await else { panic!() };
        assert_ne!(other, id, "another person");
        assert!(found(store, "zoë").await.roles.is_empty());
    }
}

#[tokio::test]
async fn a_search_finds_names_addresses_and_full_names() {
    for Fixture { store, .. } in &stores().await {
        for user in ["anna.Smith", "Zoë.Über", "per%cent", "under_score", "bang!"] {
            add(store, user, &[]).await;
        }
        store.add_local_user("other", &user("anna.else", &[]), &Secret::from("x"), 7).await.unwrap();
        let disable = |user: &mut LocalUser| user.person.enabled = false;
        store.edit_local_user(DOMAIN, &name("anna.smith"), 8, disable).await.unwrap().unwrap();
        for (text, expected) in [
            ("", &["anna.Smith", "bang!", "per%cent", "under_score", "Zoë.Über"][..]),
            ("ANNA", &["anna.Smith"]),
            ("anna smith", &["anna.Smith"]),
            ("ZOE\u{308}.ÜBER@EXAMPLE", &["Zoë.Über"]),
            ("%", &["per%cent"]),
            ("_", &["under_score"]),
            ("!", &["bang!"]),
            ("r_s", &["under_score"]),
            ("anna%", &[]),
            ("\\", &[]),
            ("' OR '1'='1", &[]),
        ] {
            let found = store.search_local_users(DOMAIN, text, 0, 100).await.unwrap();
            let names: BTreeSet<_> = found.people.iter().map(|person| person.name.as_str()).collect();
            assert_eq!(names, expected.iter().copied().collect(), "{text:?}");
            assert_eq!(found.total, expected.len() as u64, "{text:?}");
        }
        let mut paged = Vec::new();
        for offset in 0..6 {
            let found = store.search_local_users(DOMAIN, "", offset, 1).await.unwrap();
            assert_eq!(found.total, 5);
            paged.extend(found.people);
        }
        assert_eq!(paged, store.search_local_users(DOMAIN, "", 0, 100).await.unwrap().people);
        assert!(!store.search_local_users(DOMAIN, "anna", 0, 1).await.unwrap().people[0].enabled);
    }
}

#[tokio::test]
async fn what_somebody_loses_is_told_with_the_loss() {
    for Fixture { store, .. } in &stores().await {
        store.add_local_group(DOMAIN, &name("staff"), &["user".into()].into(), 1).await.unwrap();
        let mut news = News(store, 0);
        let Added::Done(id) = add(store, "alice", &[]).await else { panic!() };
        assert_eq!(news.next().await, [], "nobody can have remembered anything");

        // Sessions that rest on her, and some that do not: of her name in another directory or domain.
        let open_all = async || {
            open(store, "hers", DOMAIN, "alice", Some(id.clone())).await;
            open(store, "also-hers", DOMAIN, "alice", Some(id.clone())).await;
        };
        open(store, "xml", DOMAIN, "alice", None).await;
        open(store, "ldap", DOMAIN, "alice", Some("entry-uuid".to_owned())).await;
        open(store, "elsewhere", "other", "alice", Some(id.clone())).await;
        let alice = name("ALICE");
        for operation in ["edit", "password", "disable", "remove"] {
            open_all().await;
            let edited = match operation {
                "edit" => store.edit_local_user(DOMAIN, &alice, 2, |user| user.person.profile.mail.clear()).await,
                "password" => store.set_local_password(DOMAIN, &alice, Secret::from("digest 1"), 0, 2).await,
                "disable" => store.edit_local_user(DOMAIN, &alice, 2, |user| user.person.enabled = false).await,
                _ => store.remove_local_user(DOMAIN, &alice, 2).await,
            };
            let edited = edited.unwrap().unwrap();
            assert_eq!(edited.name, "alice");
            let mut told = news.next().await;
            assert_eq!(told.pop(), Some(domain_changed()), "{operation}");
            let told: BTreeSet<_> = told
                .into_iter()
                .map(|change| match change {
                    Change::SessionEnded { session } => session,
                    other => panic!("{other:?}"),
                })
                .collect();
            let ended: BTreeSet<_> = edited.ended.into_iter().map(|session| session.id).collect();
            let expected = match operation {
                "edit" => BTreeSet::new(),
                _ => ["hers".to_owned(), "also-hers".to_owned()].into(),
            };
            assert_eq!((&told, &ended), (&expected, &expected), "{operation}");
            assert_eq!(is_open(store, "hers").await, operation == "edit", "{operation}");
            for id in ["hers", "also-hers"] {
                store.delete(id).await.unwrap();
            }
            news.next().await;
        }
        for other in ["xml", "ldap", "elsewhere"] {
            assert!(is_open(store, other).await, "{other}");
        }
        assert!(store.edit_local_user(DOMAIN, &alice, 2, |_| ()).await.unwrap().is_none());
        assert_eq!(news.next().await, []);

        add(store, "bob", &[]).await;
        let (staff, bob) = (name("staff"), name("bob"));
        for (is_member, expected) in [
            (true, Membership::Changed),
            (true, Membership::Unchanged),
            (false, Membership::Changed),
            (false, Membership::Unchanged),
            (true, Membership::Changed),
        ] {
            let done = store.set_local_membership(DOMAIN, &staff, &bob, is_member).await.unwrap();
            assert_eq!(done, expected);
            let told = if expected == Membership::Changed { vec![domain_changed()] } else { Vec::new() };
            assert_eq!(news.next().await, told);
            assert_eq!(found(store, "bob").await.roles.contains("user"), is_member);
        }
        for (group, user, expected) in [("none", "bob", Membership::NoGroup), ("staff", "none", Membership::NoUser)] {
            let done = store.set_local_membership(DOMAIN, &name(group), &name(user), true).await.unwrap();
            assert_eq!(done, expected);
        }
        assert!(store.remove_local_group(DOMAIN, &staff).await.unwrap());
        assert!(!store.remove_local_group(DOMAIN, &staff).await.unwrap());
        assert_eq!(news.next().await, [domain_changed()]);
        assert!(found(store, "bob").await.roles.is_empty());
    }
}

#[tokio::test]
async fn as_many_former_passwords_are_kept_as_are_wanted() {
    for Fixture { store, .. } in &stores().await {
        add(store, "alice", &[]).await;
        let digests = async |count| {
            let alice = found(store, "alice").await;
            let all = store.local_passwords(&alice, count).await.unwrap();
            all.iter().map(|digest| digest.expose_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(digests(9).await, ["digest 0"]);
        for (number, history, expected) in [
            (1, 3, &["digest 1", "digest 0"][..]),
            (2, 3, &["digest 2", "digest 1", "digest 0"]),
            (3, 3, &["digest 3", "digest 2", "digest 1"]),
            (4, 2, &["digest 4", "digest 3"]),
            (5, 1, &["digest 5"]),
            (6, 3, &["digest 6", "digest 5"]),
            (7, 0, &["digest 7"]),
        ] {
            let digest = Secret::from(format!("digest {number}"));
            store.set_local_password(DOMAIN, &name("alice"), digest, history, number).await.unwrap().unwrap();
            assert_eq!(digests(9).await, expected, "{number}");
        }
        assert_eq!(digests(0).await, [""; 0]);
    }
}

#[tokio::test]
async fn of_two_who_do_the_same_one_does_it() {
    for fixture in &stores().await {
        let (store, other) = (&fixture.store, fixture.again().await);
        store.add_local_group(DOMAIN, &name("staff"), &BTreeSet::new(), 1).await.unwrap();
        for round in 0..20 {
            let text = format!("user{round}");
            let (one, two) = tokio::join!(add(store, &text, &["staff"]), add(&other, &text, &["staff"]));
            assert_eq!([one, two].iter().filter(|added| matches!(added, Added::Done(_))).count(), 1);
            // Different fields at once: both stay.
            let user = name(&text);
            let mail = store.edit_local_user(DOMAIN, &user, 2, |user| user.person.profile.mail = "m".to_owned());
            let phone = other.edit_local_user(DOMAIN, &user, 2, |user| user.person.profile.phone = "p".to_owned());
            let (mail, phone) = tokio::join!(mail, phone);
            assert!(mail.unwrap().is_some() && phone.unwrap().is_some());
            let profile = found(store, &text).await.person.profile;
            assert_eq!((profile.mail.as_str(), profile.phone.as_str()), ("m", "p"));
            let (one, two) =
                tokio::join!(store.remove_local_user(DOMAIN, &user, 3), other.remove_local_user(DOMAIN, &user, 3));
            assert_eq!([one.unwrap(), two.unwrap()].iter().flatten().count(), 1);
        }
    }
}
