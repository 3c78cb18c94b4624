use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sha1::{Digest, Sha1};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::*;
use crate::pki::CaKey;
use crate::store::NewAuthority;
use crate::store::tests::temporary;
use crate::token::Key;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/jami/authority.der");
const KEY: &[u8] = include_bytes!("../../../tests/data/jami/authority.p8");

fn revocation(store: Store, keys: KeyRing, crl_lifetime: Duration) -> Revocation {
    let lifetime = Duration::from_secs(3600);
    let conf = JamiConf {
        device_lifetime: lifetime,
        account_lifetime: lifetime,
        crl_lifetime,
        cors_origin: None,
        revocation_url: None,
        public_name_server: false,
        spare_keys: 0,
        devices_per_user: 1,
    };
    Revocation::new(store, keys.clone(), Arc::new(OpenedAccounts::new(keys)), &conf)
}

fn tlv(tag: u8, content: &[Vec<u8>]) -> Vec<u8> {
    let content = content.concat();
    [&[tag, u8::try_from(content.len()).unwrap()], &content[..]].concat()
}

/// About a certificate of whoever has this name and this key.
fn question(name: &[u8], key: &[u8]) -> Vec<u8> {
    let octets = |bytes: &[u8]| tlv(4, &[Sha1::digest(bytes).to_vec()]);
    let sha1 = tlv(0x30, &[vec![6, 5, 0x2b, 0x0e, 3, 2, 0x1a], vec![5, 0]]);
    let certificate = tlv(0x30, &[sha1, octets(name), octets(key), tlv(2, &[vec![1]])]);
    (0..4).fold(certificate, |inner, _| tlv(0x30, &[inner]))
}

#[tokio::test]
async fn a_key_is_opened_for_nothing_but_a_signature() {
    let (store, _dir) = temporary().await;
    let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
    let ca = OrganisationCa::new(CaKey::from_pkcs8(KEY).unwrap(), CERTIFICATE.to_vec()).unwrap();
    let new = NewAuthority { id: ca.id(), certificate: CERTIFICATE, sealed: b"nobody opens this" };
    assert!(store.add_authority(&new, 0, 1).await.unwrap());
    let (revocation, now) = (revocation(store, keys, Duration::from_secs(3600)), Timestamp::now());
    let own = question(ca.subject_der(), ca.key().der_bytes());
    for (question, expected) in [
        (question(b"another", ca.key().der_bytes()), Some(Refusal::Unauthorized)),
        (question(ca.subject_der(), b"another"), Some(Refusal::Unauthorized)),
        (own[..own.len() - 1].to_vec(), Some(Refusal::Malformed)),
        (own, None),
    ] {
        let answer = revocation.answer(ca.id(), &question, CLIENT, now).await;
        match expected {
            Some(refusal) => assert_eq!(answer.unwrap(), Some(refusal.to_der())),
            None => assert!(matches!(answer, Err(RevocationError::Pki(PkiError::WrongKey))), "{answer:?}"),
        }
    }
    assert!(matches!(revocation.list(ca.id(), now).await, Err(RevocationError::Pki(PkiError::WrongKey))));
}

#[tokio::test]
async fn a_list_lasts_as_long_as_the_setting_says_and_is_made_again_at_half_time() {
    let (store, _dir) = temporary().await;
    let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
    let (ca, now) =
        (OrganisationCa::new(CaKey::from_pkcs8(KEY).unwrap(), CERTIFICATE.to_vec()).unwrap(), Timestamp::now());
    assert!(ca.keep(&store, &keys, 0, now).await.unwrap());
    for (number, seconds) in [(1, 3600), (2, 86_400)] {
        let revocation = revocation(store.clone(), keys.clone(), Duration::from_secs(seconds));
        let seconds = i64::try_from(seconds).unwrap();
        let list = revocation.list(ca.id(), now).await.unwrap().unwrap();
        let (_, read) = CertificateRevocationList::from_der(&list.list).unwrap();
        assert_eq!(read.next_update().unwrap().timestamp(), now.as_second() + seconds);
        assert_eq!((list.number, list.next_update), (number, now.as_second() + seconds));
        // From the store, and from memory.
        for _ in 0..2 {
            assert_eq!(revocation.list(ca.id(), now).await.unwrap().as_ref(), Some(&list));
        }
        assert_eq!(revocation.lists.get(ca.id(), &list), Some(list.list));
        if number == 2 {
            let later = now + jiff::SignedDuration::from_secs(seconds / 2);
            assert_eq!(revocation.list(ca.id(), later).await.unwrap().unwrap().number, 3);
        }
    }
}

#[tokio::test]
async fn whom_nobody_knows_takes_no_turn() {
    let (store, _dir) = temporary().await;
    let revocation = revocation(store, KeyRing::new(Key::generate().unwrap(), vec![]), Duration::from_secs(3600));
    let mut turns = Vec::new();
    for turn in &revocation.turns {
        turns.push(turn.lock().await);
    }
    let nobody = "0".repeat(40);
    let asked = tokio::time::timeout(Duration::from_secs(30), revocation.list(&nobody, Timestamp::now()));
    assert_eq!(asked.await.unwrap().unwrap(), None);
}
