//! What ends a remembered browser or its sessions, and what does not.

use shared_proto::handover::{HandoverRequest, HandoverResponse, RedeemRequest, RedeemResponse};

use super::*;
use crate::enforcement::{hand_over, redeem};

/// A tab of another site logs out with the token of a session that ended, while the browser logged in by itself.
#[tokio::test]
async fn a_logout_with_a_dead_token_ends_what_came_after() {
    let site = site();
    let server = site.server().await;
    let (token, remember) = log_in(&server, "alice", "true", None).await;
    server.sessions.end(&sessions(&server).await[0].id).await.unwrap();
    let remember = show(&server, &remember.unwrap()).await.unwrap().unwrap();
    let mut elsewhere = agent();
    elsewhere.rights.domains = vec!["other".into()];
    let request = LogoutRequest {
        request_id: "r".into(),
        host: String::new(),
        session: Some(token.clone()),
        remember: None,
        client: client(),
    };
    logout(&server, &elsewhere, &request).await.unwrap();
    log_out(&server, &"none".into()).await;
    assert_eq!((families(&server).await.len(), sessions(&server).await.len()), (1, 1));
    log_out(&server, &token).await;
    assert_eq!((families(&server).await.len(), sessions(&server).await.len()), (0, 0));
    assert_eq!(show(&server, &remember).await.unwrap_err(), "refused");
}

/// The sessions of its own browser make room for an automatic login, and nobody else's.
#[tokio::test]
async fn a_remembered_browser_takes_no_room_of_others() {
    for way in ["refuse", "endOldest"] {
        let site = site();
        site.edit("security-domain.xml", "maximumSessions\" value=\"0", "maximumSessions\" value=\"1");
        site.edit("security-domain.xml", "whenTooMany\" value=\"endOldest", &format!("whenTooMany\" value=\"{way}"));
        let server = site.server().await;
        let cookie = remembered(&server).await;
        let cookie = show(&server, &cookie).await.unwrap().unwrap();
        let [own] = &sessions(&server).await[..] else { panic!("{way}") };
        assert!(own.remembered, "{way}");
        server.sessions.end(&own.id).await.unwrap();
        let (other, _) = log_in(&server, "alice", "", None).await;
        assert_eq!(show(&server, &cookie).await.unwrap_err(), "kept", "{way}");
        assert!(server.sessions.of_token(&other, "").await.unwrap().is_some(), "{way}");
        assert_eq!((sessions(&server).await.len(), families(&server).await.len()), (1, 1), "{way}");
    }
}

/// A session is handed over to a browser that is remembered for somebody.
#[tokio::test]
async fn whose_session_is_handed_over_ends_what_others_are_remembered_by() {
    let site = site();
    site.write_users(&["alice", "bob"]);
    let server = site.server().await;
    for (remembered, forgets) in [("bob", true), ("alice", false)] {
        let (session, _) = log_in(&server, "alice", "", None).await;
        let (_, cookie) = log_in(&server, remembered, "true", None).await;
        let leaving = HandoverRequest {
            request_id: "r".into(),
            host: "app.test".into(),
            domain: "system".into(),
            entry: "http".into(),
            session,
            audience: "https://app.test".into(),
            target: "/".into(),
            binding: "bound".into(),
            client: client(),
        };
        let made = hand_over(&server, &agent(), &leaving).await.unwrap();
        let HandoverResponse::Ready { code } = made else { panic!("{made:?}") };
        let coming = RedeemRequest {
            request_id: "r".into(),
            host: "app.test".into(),
            domain: "system".into(),
            entry: "http".into(),
            audience: leaving.audience,
            code,
            binding: leaving.binding,
            previous_session: None,
            remember: cookie,
            client: client(),
        };
        let taken = redeem(&server, &agent(), &coming).await.unwrap();
        let RedeemResponse::Success { forget, .. } = taken else { panic!("{taken:?}") };
        let stays = !server.store.families_of(None, remembered).await.unwrap().is_empty();
        assert_eq!((forget, stays), (forgets, !forgets), "{remembered}");
    }
}

/// Everything ends between a login and what its browser is to be remembered by.
#[tokio::test]
async fn nobody_is_remembered_whose_session_ended_meanwhile() {
    let site = site();
    let server = site.server().await;
    let loaded = server.loaded();
    let domain = &loaded.domains["system"];
    for lives in [true, false] {
        let (token, _) = log_in(&server, "alice", "", None).await;
        let session = server.sessions.of_token(&token, "").await.unwrap().unwrap();
        let (auto, entry) = (domain.logins.auto_login().unwrap(), domain.entry("http").unwrap());
        let wish = Wish { auto, entry, answers: BTreeMap::new(), series: AutoLogin::new_series().unwrap() };
        let series = wish.series().to_owned();
        if !lives {
            server.sessions.end(&session.id).await.unwrap();
        }
        let remember = wish.fulfil(&server, &session, &client(), server.now().as_second()).await;
        let found = server.store.family(&series).await.unwrap();
        assert_eq!((remember.is_some(), found.is_some()), (lives, lives));
    }
}
