//! Enrolment and what follows from it, on a store and users files; what travels over HTTP is in the integration tests.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use shared_proto::check::CertificateStanding;
use shared_proto::client_cert::ClientCert;
use x509_parser::pem::Pem;

mod people;

use super::enrol::{Answer, Request, enrol};
use super::login::{by_certificate, by_password};
use super::token::{Scope, owner};
use super::*;
use crate::admin::{Admin, AdminError};
use crate::agents::Capability;
use crate::auth::pipeline::Depth;
use crate::auth::subject::Subject;
use crate::device::account::{Look, look};
use crate::enforcement;
use crate::session::TokenHash;
use crate::store::Reason;
use crate::testkit::{PASSWORD, Site, agent};
use crate::wire::Server;

const PHONE: &str = include_str!("../../../tests/data/jami/requests/sound.pem");
const LAPTOP: &str = include_str!("../../../tests/data/jami/requests/sha384.pem");
const TABLET: &str = include_str!("../../../tests/data/jami/requests/sha512.pem");

struct Place {
    site: Site,
    server: Arc<Server>,
}

impl Place {
    /// Users of these names, an organisation CA, and two devices for everybody.
    async fn new(users: &[&str]) -> Self {
        Self::with(users, "").await
    }

    /// With these settings.
    async fn with(users: &[&str], settings: &str) -> Self {
        let place = Self::without_authority(users, settings).await;
        let (server, now) = (&place.server, Timestamp::now());
        let authority = OrganisationCa::create("Test", None, 20, now).unwrap();
        assert!(authority.keep(&server.store, &server.issuing.keys, 0, now).await.unwrap());
        place
    }

    async fn without_authority(users: &[&str], settings: &str) -> Self {
        let site = Site::new();
        site.write_users(users);
        let conf = std::fs::read_to_string(site.conf()).unwrap() + "\ncams.jami.devices.per.user=2\n" + settings;
        std::fs::write(site.conf(), conf).unwrap();
        let server = site.server().await;
        Self { site, server }
    }

    fn asker(&self) -> Asker {
        Asker {
            loaded: self.server.loaded(),
            domain: "system".to_owned(),
            entry: "http".to_owned(),
            agent: "web1".to_owned(),
            client: Ipv4Addr::LOCALHOST.into(),
            request_id: "r".to_owned(),
        }
    }

    async fn try_enrol(&self, user: &str, password: &str, csr: &str) -> Result<Answer, DeviceError> {
        let credentials = Credentials { user: user.to_owned(), password: password.into() };
        let request = Request { csr: csr.to_owned(), device_name: format!("the\u{7} device of {user}") };
        enrol(Arc::clone(&self.server), self.asker(), credentials, request).await
    }

    async fn enrol(&self, user: &str, csr: &str) -> Leaf {
        let answer = self.try_enrol(user, PASSWORD, csr).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        Leaf::of(&answer)
    }

    async fn refused(&self, user: &str, csr: &str) -> String {
        let error = self.try_enrol(user, PASSWORD, csr).await.err();
        error.unwrap_or_else(|| panic!("{user} has enrolled")).to_string()
    }

    async fn log_in(&self, user: &str) -> Result<Secret, DeviceError> {
        let credentials = Credentials { user: user.to_owned(), password: PASSWORD.into() };
        let ticket = by_password(Arc::clone(&self.server), self.asker(), credentials).await?;
        assert_eq!(ticket.scope, Scope::User);
        Ok(ticket.token)
    }

    async fn show(&self, leaf: &Leaf) -> Result<Secret, DeviceError> {
        let ticket = by_certificate(&self.server, &self.asker(), &leaf.certificate).await?;
        assert_eq!(ticket.scope, Scope::Device);
        Ok(ticket.token)
    }

    async fn counts(&self, token: &Secret) -> bool {
        match owner(&self.server, &self.asker(), token).await {
            Ok(_) => true,
            Err(DeviceError::Credentials) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether agents may show the certificate to sites.
    async fn is_live(&self, leaf: &Leaf) -> bool {
        let (loaded, fingerprint) = (self.server.loaded(), crate::pki::fingerprint(leaf.certificate.der()));
        self.server.certificate_holds(&loaded.domains["system"], &fingerprint).await.unwrap().is_some()
    }

    /// Changes the users file, and has it read.
    fn users(&self, change: impl FnOnce(&Site)) {
        change(&self.site);
        self.server.loaded().domains["system"].users.iter().for_each(|users| {
            users.refresh();
        });
    }

    /// What the background does.
    async fn recheck(&self, user: &str) -> Look {
        let loaded = self.server.loaded();
        let mut account = self.account(user).await;
        look(&self.server, &loaded.domains["system"], &mut account, Depth::Full).await.unwrap()
    }

    async fn account(&self, user: &str) -> Account {
        self.server.store.jami_account_by_name("system", user).await.unwrap().unwrap()
    }

    async fn devices(&self, user: &str) -> Vec<Device> {
        self.server.store.jami_devices(&self.account(user).await.id).await.unwrap()
    }
}

/// The first of a chain of three, as an agent passes it on.
struct Leaf {
    certificate: ClientCert,
    account: String,
}

impl Leaf {
    fn of(answer: &Answer) -> Self {
        let chain: Vec<Pem> = Pem::iter_from_buffer(answer.chain.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(chain.len(), 3, "device, account, organisation");
        for pair in chain.windows(2) {
            let [leaf, issuer] = [&pair[0], &pair[1]].map(|pem| pem.parse_x509().unwrap());
            leaf.verify_signature(Some(issuer.public_key())).unwrap();
        }
        let end = answer.chain.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
        let escaped = percent_encoding::percent_encode(&answer.chain.as_bytes()[..end], &UNRESERVED).to_string();
        let receipt: serde_json::Value = serde_json::from_str(&answer.receipt.text).unwrap();
        let account = receipt["id"].as_str().unwrap().to_owned();
        Self { certificate: ClientCert::parse(escaped.as_bytes()).unwrap(), account }
    }
}

/// What nginx leaves as it is.
const UNRESERVED: percent_encoding::AsciiSet =
    percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[tokio::test]
async fn a_device_enrols_logs_in_and_is_revoked() {
    let place = Place::new(&["alice", "bob"]).await;
    for (user, password) in [("alice", "wrong"), ("nobody", PASSWORD)] {
        let result = place.try_enrol(user, password, PHONE).await;
        assert!(matches!(result, Err(DeviceError::Credentials)), "{user}");
    }
    let bad = PHONE.replace("BEGIN CERTIFICATE", "BEGIN PRIVATE");
    assert!(matches!(place.try_enrol("alice", PASSWORD, &bad).await, Err(DeviceError::Bad(_))));
    assert_eq!(place.site.events("device-refused").len(), 1, "whoever has no password is a failed login");

    // The same key twice at once, and later again, is one device with one certificate.
    let (phone, again) = tokio::join!(place.enrol("alice", PHONE), place.enrol("alice", PHONE));
    assert_eq!((&phone.certificate, &phone.account), (&again.certificate, &again.account));
    let id = place.account("alice").await.id;
    assert_eq!((place.devices("alice").await.len(), &id), (1, &phone.account));
    assert_eq!(place.devices("alice").await[0].name, "the device of alice");
    assert_eq!(place.enrol("alice", PHONE).await.certificate, phone.certificate);
    let laptop = place.enrol("alice", LAPTOP).await;
    assert_eq!(laptop.account, phone.account);

    // Two are enough, and a key is one person's.
    assert!(place.refused("alice", TABLET).await.contains("2 devices"));
    assert!(place.refused("bob", PHONE).await.contains("another account"));
    assert!(place.server.store.jami_account_by_name("system", "bob").await.unwrap().is_none(), "nothing is half there");

    let (own, password) = (place.show(&phone).await.unwrap(), place.log_in("alice").await.unwrap());
    assert!(place.counts(&own).await && place.counts(&password).await && place.is_live(&phone).await);
    is_believed_from_whom_it_may(&place, &phone).await;
    assert!(!place.counts(&"nothing".into()).await);
    assert!(matches!(place.log_in("bob").await, Err(DeviceError::Refused(_))), "no account");
    let unknown = Leaf { certificate: elsewhere(&phone), account: String::new() };
    assert!(matches!(place.show(&unknown).await, Err(DeviceError::Refused(_))));

    // Revoked: the certificate, its tokens, the key. The rest stays.
    let device = &place.devices("alice").await[0].id;
    let by = Detail::default;
    let (store, audit, account) = (&place.server.store, &place.server.audit, place.account("alice").await);
    let reason = Reason::out_of_use("key-compromise");
    let asker = Some(&TokenHash::of(&password));
    let another = place.log_in("alice").await.unwrap();
    let other = Account { id: "another".to_owned(), ..account.clone() };
    assert!(!revoke::revoke(store, audit, &other, device, &reason, asker, by()).await.unwrap());
    assert!(place.counts(&own).await, "not the device of that account");
    assert!(revoke::revoke(store, audit, &account, device, &reason, asker, by()).await.unwrap());
    assert!(!revoke::revoke(store, audit, &account, device, &reason, asker, by()).await.unwrap(), "once");
    assert!(!place.counts(&own).await && place.counts(&password).await);
    assert!(!place.counts(&another).await, "whoever else knew the password");
    let revoked = store.revoked(&account.id, 0).await.unwrap();
    assert_eq!(revoked.iter().map(|revoked| revoked.reason).collect::<Vec<_>>(), [1], "key-compromise");
    assert!(!place.is_live(&phone).await && place.is_live(&laptop).await);
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Revoked)));
    assert!(place.refused("alice", PHONE).await.contains("revoked"));
    assert!(place.show(&laptop).await.is_ok());
    place.enrol("alice", TABLET).await;
    assert_eq!(place.site.events("device-revoked").len(), 1);
}

/// What agents are told of certificates.
async fn is_believed_from_whom_it_may(place: &Place, leaf: &Leaf) {
    let known = crate::pki::fingerprint(leaf.certificate.der());
    for (capability, fingerprint, expected) in [
        (Some(Capability::Jami), Some(known.as_str()), CertificateStanding::Live),
        (Some(Capability::Jami), Some("00"), CertificateStanding::None),
        (Some(Capability::Jami), None, CertificateStanding::None),
        (None, Some(known.as_str()), CertificateStanding::None),
    ] {
        let mut agent = agent();
        agent.rights.capabilities.extend(capability);
        let request = serde_json::from_value(serde_json::json!({
            "request_id": "r", "scheme": "https", "host": "app.test", "port": 443, "method": "GET", "path": "/",
            "domain": "system", "entry": "http", "client_cert": fingerprint, "client": {"address": "192.0.2.1"},
        }));
        let position = place.server.store.position().await.unwrap();
        let answer = enforcement::check(&place.server, position, &agent, &request.unwrap()).await.unwrap();
        assert_eq!(answer.client_cert, expected, "{capability:?} {fingerprint:?}");
    }
}

/// Another certificate than any that was issued.
fn elsewhere(leaf: &Leaf) -> ClientCert {
    let escaped = leaf.certificate.escaped();
    let at = escaped.find("%0A").unwrap() + 30;
    let other = if &escaped[at..=at] == "A" { "B" } else { "A" };
    let changed = format!("{}{other}{}", &escaped[..at], &escaped[at + 1..]);
    ClientCert::parse(changed.as_bytes()).unwrap()
}

/// Revoked ones take no place, but who enrols and revokes in turn fills the store.
#[tokio::test]
async fn no_more_devices_enrol_in_a_day_than_five_times_the_quota() {
    let place = Place::new(&["alice"]).await;
    let phone = place.enrol("alice", PHONE).await;
    let (store, now) = (&place.server.store, Timestamp::now().as_second());
    for (number, age) in (0..30).map(|number| (number, if number < 8 { 100 } else { 100_000 })) {
        store.put_revoked_device(&number.to_string(), &phone.account, now - age).await;
    }
    place.enrol("alice", LAPTOP).await;
    for device in place.devices("alice").await.iter().filter(|device| device.revoked.is_none()) {
        let (account, reason) = (place.account("alice").await, Reason::out_of_use("lost"));
        store.revoke_jami_device(&account, &device.id, &reason, None, now).await.unwrap().unwrap();
    }
    assert!(place.refused("alice", TABLET).await.contains("devices already"));
}

/// Lifetimes are those of the settings; what is over is refused, and enrolls again with the same key.
#[tokio::test]
async fn certificates_last_as_long_as_the_settings_say_and_are_renewed() {
    let lifetimes = "\ncams.jami.device.lifetime=1m\ncams.jami.user.account.lifetime=10m\n";
    let place = Place::with(&["alice"], lifetimes).await;
    let before = Timestamp::now().as_second();
    let answer = place.try_enrol("alice", PASSWORD, PHONE).await.unwrap();
    let ends: Vec<i64> = Pem::iter_from_buffer(answer.chain.as_bytes())
        .map(|pem| pem.unwrap().parse_x509().unwrap().validity().not_after.timestamp() - before)
        .collect();
    assert!((60..120).contains(&ends[0]) && (600..660).contains(&ends[1]) && ends[2] > 86_400, "{ends:?}");
    let phone = Leaf::of(&answer);
    place.show(&phone).await.unwrap();
    let device = &place.devices("alice").await[0].id;
    place.server.store.end_jami_certificates(device, before - 1).await;
    assert!(matches!(place.show(&phone).await, Err(DeviceError::Refused(why)) if why.contains("over")));
    assert!(!place.is_live(&phone).await);
    let again = place.enrol("alice", PHONE).await;
    assert_eq!(again.account, phone.account);
    assert_ne!(again.certificate.der(), phone.certificate.der());
    place.show(&again).await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_authority_nothing_is_issued() {
    let place = Place::without_authority(&["alice"], "").await;
    let result = place.try_enrol("alice", PASSWORD, PHONE).await;
    assert!(matches!(&result, Err(DeviceError::Unavailable(why)) if why.contains("cams ca create")));
    assert!(place.server.store.jami_account_by_name("system", "alice").await.unwrap().is_none());
}
