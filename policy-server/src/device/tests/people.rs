//! Whose an account is, and what becomes of it with its person.

use super::*;

#[tokio::test]
async fn a_device_is_worth_what_its_person_is() {
    let place = Place::new(&["alice"]).await;
    let phone = place.enrol("alice", PHONE).await;
    let token = place.show(&phone).await.unwrap();

    // Disabled, and back.
    place.users(|site| site.edit("cams-users.xml", "name='alice'", "name='alice' enabled='false'"));
    assert!(!place.is_live(&phone).await && !place.counts(&token).await);
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Refused(_))), "its keys are not to be deleted");
    assert!(matches!(place.try_enrol("alice", PASSWORD, PHONE).await, Err(DeviceError::Credentials)));
    assert_eq!(place.account("alice").await.standing, Standing::Suspended);
    place.users(|site| site.edit("cams-users.xml", " enabled='false'", ""));
    assert!(!place.is_live(&phone).await, "not before somebody looked");
    assert_eq!(place.recheck("alice").await, Look::Stands);
    assert!(place.is_live(&phone).await && !place.counts(&token).await, "tokens do not come back");
    assert!(place.show(&phone).await.is_ok());

    // Gone, and somebody of that name there again.
    place.users(|site| site.write_users(&["bob"]));
    assert_eq!(place.recheck("alice").await, Look::Ended);
    assert_eq!(place.account("alice").await.standing, Standing::SeenGone);
    place.users(|site| site.write_users(&["alice"]));
    assert_eq!(place.recheck("alice").await, Look::Ended);
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Refused(_))));
    assert!(matches!(place.log_in("alice").await, Err(DeviceError::Refused(_))));
    assert!(place.refused("alice", LAPTOP).await.contains("another user source"));

    // It is the same person.
    let admin = Admin::open(&place.site.conf()).await.unwrap();
    let alice = "Alice".parse().unwrap();
    assert_eq!(admin.relink_jami_account("system", &alice).await.unwrap().1.id, phone.account);
    assert!(place.show(&phone).await.is_ok());
    assert_eq!(place.enrol("alice", LAPTOP).await.account, phone.account);

    // It is another one.
    let (_, devices) = admin.release_jami_account("system", &alice).await.unwrap();
    assert_eq!(devices.len(), 2);
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Revoked)));
    assert!(matches!(admin.jami_account("system", &alice).await, Err(AdminError::NoJamiAccount(_))));
    assert!(place.refused("alice", LAPTOP).await.contains("another account"), "keys of the former one");
    let fresh = place.enrol("alice", TABLET).await;
    assert_ne!(fresh.account, phone.account);
    for (kind, count) in [
        ("jami-account-suspended", 2),
        ("jami-account-resumed", 1),
        ("jami-account-relinked", 1),
        ("jami-account-detached", 1),
        ("device-revoked", 2),
    ] {
        assert_eq!(place.site.events(kind).len(), count, "{kind}");
    }
}

/// One whose device and password were good: its directory was configured anew, and has no ids.
#[tokio::test]
async fn a_directory_that_was_configured_anew_locks_nobody_out_for_ever() {
    let place = Place::new(&["alice"]).await;
    let phone = place.enrol("alice", PHONE).await;
    let elsewhere = "REPLACE(subject, '\"settings\":\"', '\"settings\":\"elsewhere')";
    place.server.store.set_jami_account(&phone.account, "subject", elsewhere).await;
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Unavailable(_))));
    assert!(matches!(place.try_enrol("alice", PASSWORD, LAPTOP).await, Err(DeviceError::Unavailable(_))));
    assert!(matches!(place.log_in("alice").await, Err(DeviceError::Unavailable(_))));
    assert!(!place.is_live(&phone).await, "what nobody knows opens nothing");
    assert_eq!(place.account("alice").await.standing, Standing::Stands);
    let admin = Admin::open(&place.site.conf()).await.unwrap();
    admin.relink_jami_account("system", &"alice".parse().unwrap()).await.unwrap();
    assert!(place.show(&phone).await.is_ok() && place.is_live(&phone).await);
}

#[tokio::test]
async fn what_was_decided_by_an_account_counts_for_that_one_alone() {
    let place = Place::new(&["alice"]).await;
    place.enrol("alice", PHONE).await;
    let (store, now) = (&place.server.store, place.account("alice").await);
    let other = Identity { source: "another".to_owned(), id: "1".to_owned() };
    let subject = Subject { roles: ["staff".to_owned()].into(), ..now.subject.clone() };
    for was in [
        Account { identity: other, ..now.clone() },
        Account { subject: subject.clone(), ..now.clone() },
        Account { standing: Standing::Suspended, ..now.clone() },
        Account { user: "Alice".to_owned(), ..now.clone() },
    ] {
        assert!(!store.renew_jami_subject(&was, &subject).await.unwrap(), "{was:?}");
        assert!(!store.set_jami_standing(&was, Standing::SeenGone, &[]).await.unwrap(), "{was:?}");
        assert!(!store.bind_jami_account(&was, &was).await.unwrap(), "{was:?}");
    }
    assert!(store.renew_jami_subject(&now, &subject).await.unwrap());
    let now = place.account("alice").await;
    assert!(store.bind_jami_account(&now, &now).await.unwrap());
    assert!(store.set_jami_standing(&now, Standing::Suspended, &[]).await.unwrap());
}

#[tokio::test]
async fn nobody_is_bound_by_half_a_stack() {
    const LDAP: &str = "<login-module-entry className='com.cafesoft.cams.auth.login.module.LdapLoginModule' \
                        flag='SUFFICIENT'><options><option name='host' value='127.0.0.1'/><option name='port' value='1'/>\
                        <option name='userDnPattern' value='uid={0},dc=test'/></options></login-module-entry>";
    let place = Place::new(&["alice", "bob"]).await;
    let phone = place.enrol("alice", PHONE).await;
    let place = {
        let text = std::fs::read_to_string(place.site.file("login-config.xml")).unwrap();
        let at = text.find("name=\"http\"").unwrap();
        let at = at + text[at..].find("<login-module-entry").unwrap();
        std::fs::write(place.site.file("login-config.xml"), format!("{}{LDAP}{}", &text[..at], &text[at..])).unwrap();
        Place { server: place.site.server().await, site: place.site }
    };
    assert_eq!(place.enrol("alice", LAPTOP).await.account, phone.account, "who is known is known");
    assert!(matches!(place.try_enrol("bob", PASSWORD, TABLET).await, Err(DeviceError::Unavailable(_))));
    assert!(place.server.store.jami_account_by_name("system", "bob").await.unwrap().is_none());
}

#[tokio::test]
async fn an_administrator_ends_an_account_or_brings_one_back() {
    let place = Place::new(&["alice"]).await;
    let admin = Admin::open(&place.site.conf()).await.unwrap();
    let alice = "alice".parse().unwrap();
    let phone = place.enrol("alice", PHONE).await;

    // Nobody is there to bind it to.
    place.users(|site| site.write_users(&["bob"]));
    assert!(matches!(admin.relink_jami_account("system", &alice).await, Err(AdminError::NoPerson(_))));
    place.users(|site| site.write_users(&["alice"]));

    // Released by mistake: the account comes back, its devices and certificates do not.
    admin.release_jami_account("system", &alice).await.unwrap();
    let (_, back) = admin.relink_jami_account("system", &alice).await.unwrap();
    assert_eq!((back.id, back.standing), (phone.account.clone(), Standing::Stands));
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Revoked)));
    let laptop = place.enrol("alice", LAPTOP).await;
    assert_eq!(laptop.account, phone.account);
    let held = place.server.store.jami_holding(&phone.account).await.unwrap().unwrap();
    assert!(held.not_after > Timestamp::now().as_second(), "with a certificate that is not revoked");
    let relinked = place.site.events("jami-account-relinked");
    assert!(relinked[0]["reason"].as_str().unwrap().contains("; it was bound to"), "{relinked:?}");

    // Revoked: for ever, and the person begins anew.
    let token = place.show(&laptop).await.unwrap();
    let (_, devices) = admin.revoke_jami_account("system", &alice, "stolen").await.unwrap();
    assert_eq!((devices.len(), &*devices[0].reason), (1, "stolen"));
    assert!(!place.counts(&token).await && !place.is_live(&laptop).await);
    assert!(matches!(place.show(&laptop).await, Err(DeviceError::Revoked)));
    assert!(matches!(admin.relink_jami_account("system", &alice).await, Err(AdminError::NoJamiAccount(_))));
    assert_ne!(place.enrol("alice", TABLET).await.account, phone.account);
}

#[tokio::test]
async fn first_enrolments_of_a_name_take_turns() {
    let place = Place::without_authority(&["alice"], "").await;
    let issuing = &place.server.issuing;
    let held = issuing.turn("system", "alice").await;
    let wait = std::time::Duration::from_millis(20);
    for (domain, user, waits) in [("system", "alice", true), ("system", "bob", false), ("other", "alice", false)] {
        assert_eq!(tokio::time::timeout(wait, issuing.turn(domain, user)).await.is_err(), waits, "{domain} {user}");
    }
    drop(held);
    assert!(tokio::time::timeout(wait, issuing.turn("system", "alice")).await.is_ok());
}
