//! Certificates as they come out, and those that do not.

use der::Encode;
use jiff::Timestamp;
use rcgen::PublicKeyData;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::csr::tests::request;
use super::{AccountAuthority, CaKey, Issued, OrganisationCa, PkiError, RsaKey, Urls, csr, seal_account_key};
use crate::store::tests::temporary;
use crate::token::{Key, KeyRing};

const NOW: i64 = 1_800_000_000;
const YEAR: i64 = 365 * 86_400;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn urls() -> Urls {
    Urls { base: Some("http://pki.example.org:8080".to_owned()) }
}

/// An authority, an account and what is issued to a device, all with small keys.
struct Chain {
    ca: OrganisationCa,
    account: AccountAuthority,
    device: Issued,
}

fn chain(user: &str, urls: &Urls) -> Chain {
    let ca = small_ca(NOW - YEAR, NOW + 10 * YEAR);
    let key = RsaKey::small();
    let account = ca.issue_account(user, &key, NOW + 5 * YEAR, now(), urls).unwrap();
    let account = AccountAuthority::new(key, account.der).unwrap();
    let device = csr::read(&request(&RsaKey::small())).unwrap();
    let device = account.issue_device(&device, NOW + 9 * YEAR, now(), urls).unwrap();
    Chain { ca, account, device }
}

fn small_ca(not_before: i64, not_after: i64) -> OrganisationCa {
    use super::issue::{Profile, params, set_validity, subject};
    let key = RsaKey::small();
    let mut params = params(subject("Example CA"), &key, Profile::Authority(1));
    set_validity(&mut params, not_before, not_after);
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    OrganisationCa::new(CaKey::Rsa(key), certificate).unwrap()
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

/// The addresses of responders and lists.
fn addresses(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut found = vec![];
    let mut add = |name: &GeneralName<'_>| found.push(name.to_string());
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => {
                access.accessdescs.iter().for_each(|description| add(&description.access_location));
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                use x509_parser::extensions::DistributionPointName::FullName;
                for point in points.iter() {
                    let Some(FullName(names)) = &point.distribution_point else { panic!("{point:?}") };
                    names.iter().for_each(&mut add);
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn each_names_its_holder_and_leads_to_its_issuer() {
    let Chain { ca, account, device } = chain("alice", &urls());
    let (ca_certificate, account_certificate) = (parse(ca.certificate_der()), parse(account.certificate_der()));
    let device_certificate = parse(&device.der);
    assert_eq!(account_certificate.subject().to_string(), format!("CN=alice, uid={}", account.key().id()));
    assert_eq!(account.id(), account.key().id());
    let short_id = super::key_id(device_certificate.public_key().raw);
    assert_eq!(device_certificate.subject().to_string(), format!("CN=Jami device, uid={short_id}"));
    for (certificate, issuer, id) in
        [(&account_certificate, &ca_certificate, ca.id()), (&device_certificate, &account_certificate, account.id())]
    {
        assert_eq!(certificate.issuer().as_raw(), issuer.subject().as_raw());
        certificate.verify_signature(Some(issuer.public_key())).unwrap();
        assert_eq!(certificate.signature_algorithm.algorithm.to_string(), "1.2.840.113549.1.1.13");
        let mut expected = vec![
            format!("URI(http://pki.example.org:8080/api/crl/{id}.crl)"),
            format!("URI(http://pki.example.org:8080/api/ocsp/{id})"),
        ];
        let mut found = addresses(certificate);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }
    assert_eq!(addresses(&parse(&chain("alice", &Urls::default()).device.der)), Vec::<String>::new());
}

#[test]
fn validity_lies_within_that_of_the_issuer() {
    let ca = small_ca(NOW - 10, NOW + 2 * YEAR);
    let key = RsaKey::small();
    let account = ca.issue_account("alice", &key, NOW + 5 * YEAR, now(), &Urls::default()).unwrap();
    let validity = parse(&account.der).validity().clone();
    assert_eq!((validity.not_before.timestamp(), validity.not_after.timestamp()), (NOW - 10, NOW + 2 * YEAR));
    assert_eq!(account.not_after, NOW + 2 * YEAR);
    let account = ca.issue_account("alice", &key, NOW + YEAR, now(), &Urls::default()).unwrap();
    assert_eq!(account.not_after, NOW + YEAR);

    let refused = |ca: &OrganisationCa, not_after: i64| {
        let issued = ca.issue_account("alice", &key, not_after, now(), &Urls::default());
        assert!(matches!(issued, Err(PkiError::NotValidNow)));
    };
    refused(&ca, NOW);
    refused(&small_ca(NOW - 10, NOW), NOW + YEAR);
    refused(&small_ca(NOW + 1, NOW + YEAR), NOW + YEAR);
    let clock = ca.issue_account("alice", &key, i64::MAX, now(), &Urls::default()).unwrap();
    assert_eq!(clock.not_after, NOW + 2 * YEAR);
}

/// So many that numbers of 32 random bits, or of few that are random, would show.
#[test]
fn serial_numbers_are_random_positive_and_of_one_length() {
    const ISSUED: usize = 10_000;
    let Chain { account, .. } = chain("alice", &Urls::default());
    let device = csr::read(&request(&RsaKey::small())).unwrap();
    let issue = |number: usize| {
        let issued = account.issue_device(&device, NOW + YEAR, now(), &Urls::default()).unwrap();
        if number.is_multiple_of(100) {
            assert_eq!(crate::token::hex(parse(&issued.der).raw_serial()), issued.serial);
            assert_eq!(super::fingerprint(&issued.der), issued.fingerprint);
        }
        u128::from_str_radix(&issued.serial, 16).unwrap()
    };
    let half = |from: usize| (from..ISSUED).step_by(2).map(issue).collect::<Vec<_>>();
    let serials = std::thread::scope(|scope| {
        let (even, odd) = (scope.spawn(|| half(0)), scope.spawn(|| half(1)));
        [even.join().unwrap(), odd.join().unwrap()].concat()
    });
    assert!(serials.iter().all(|serial| serial >> 126 == 1), "16 octets, of which the first bits are 01");
    assert_eq!(serials.iter().collect::<std::collections::BTreeSet<_>>().len(), ISSUED);
    for bit in 0..126 {
        // Six standard deviations of a fair coin.
        let set = serials.iter().filter(|serial| *serial >> bit & 1 == 1).count();
        assert!(set.abs_diff(ISSUED / 2) < 300, "bit {bit} is set in {set}");
    }
}

#[test]
fn nothing_of_a_request_but_its_key_is_in_the_certificate() {
    let Chain { account, .. } = chain("alice", &Urls::default());
    let asks = csr::read(include_str!("../../../tests/data/jami/requests/asks-for-more.pem")).unwrap();
    let plain = csr::read(&request(&RsaKey::small())).unwrap();
    let [asks, plain] =
        [asks, plain].map(|device| account.issue_device(&device, NOW + YEAR, now(), &Urls::default()).unwrap().der);
    let form = |der: &[u8]| -> Vec<_> {
        parse(der).extensions().iter().map(|extension| (extension.oid.to_string(), extension.critical)).collect()
    };
    assert_eq!(form(&asks), form(&plain));
    let certificate = parse(&asks);
    assert!(!certificate.is_ca());
    assert!(certificate.subject().to_string().starts_with("CN=Jami device, uid="));
}

#[test]
fn no_issuer_certifies_its_own_key() {
    let Chain { ca, account, .. } = chain("alice", &Urls::default());
    let own = csr::read(&request(account.key())).unwrap();
    let refused = account.issue_device(&own, NOW + YEAR, now(), &Urls::default());
    assert!(matches!(refused, Err(PkiError::OwnKey)));
    let CaKey::Rsa(key) = ca.key() else { panic!("it is an RSA key") };
    let refused = ca.issue_account("alice", key, NOW + YEAR, now(), &Urls::default());
    assert!(matches!(refused, Err(PkiError::OwnKey)));
}

#[test]
fn a_key_goes_with_its_own_certificate_only() {
    let Chain { account, device, .. } = chain("alice", &Urls::default());
    let certificate = account.certificate_der().to_vec();
    for certificate in [certificate, device.der, b"nothing".to_vec(), vec![]] {
        let refused = AccountAuthority::new(RsaKey::small(), certificate);
        assert!(matches!(refused, Err(PkiError::BrokenCertificate)));
    }
}

/// A name that occurs twice is written once by the encoder: better no certificate than one that leads nowhere.
#[test]
fn an_authority_whose_name_cannot_be_repeated_issues_nothing() {
    let ca = include_bytes!("../../../tests/data/jami/repeated-name.p8");
    let certificate = include_bytes!("../../../tests/data/jami/repeated-name.der");
    let ca = OrganisationCa::new(CaKey::from_pkcs8(ca).unwrap(), certificate.to_vec()).unwrap();
    let refused = ca.issue_account("alice", &RsaKey::small(), i64::MAX, now(), &Urls::default());
    assert!(matches!(refused, Err(PkiError::Name)));
}

#[test]
fn the_key_of_an_authority_is_rsa_or_one_of_two_curves() {
    // What answers about certificates say of their signatures.
    let identifier = |key: &CaKey| super::ocsp::algorithm(key.algorithm()).unwrap().to_der().unwrap();
    for (algorithm, length) in [(&rcgen::PKCS_ECDSA_P256_SHA256, 12), (&rcgen::PKCS_ECDSA_P384_SHA384, 12)] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let key = CaKey::from_pkcs8(&pair.serialize_der()).unwrap();
        assert_eq!(identifier(&key).len(), length);
        let mut params = super::issue::params(super::issue::subject("CA"), &key, super::issue::Profile::Authority(1));
        super::issue::set_validity(&mut params, NOW - 1, NOW + YEAR);
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
        parsed.verify_signature(None).unwrap();
        let mut algorithm = identifier(&key);
        algorithm.push(0x03);
        assert!(certificate.windows(algorithm.len()).any(|window| window == algorithm), "as in the certificate");
        let again = CaKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert!(OrganisationCa::new(again, certificate).is_ok());
    }
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    for der in [ed25519.serialize_der(), vec![], b"nothing".to_vec()] {
        assert!(matches!(CaKey::from_pkcs8(&der), Err(PkiError::BadKey(_))));
    }
    let rsa = CaKey::from_pkcs8(&RsaKey::small().to_pkcs8().unwrap()).unwrap();
    assert_eq!(identifier(&rsa).len(), 15);
}

#[tokio::test]
async fn authorities_are_kept_sealed_and_the_newest_issues() {
    let (store, _dir) = temporary().await;
    let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
    assert!(OrganisationCa::current(&store, &keys).await.unwrap().is_none());
    let first = OrganisationCa::create("Example CA", Some("Example"), 20, now()).unwrap();
    assert!(first.keep(&store, &keys, 0, now()).await.unwrap());
    assert!(!first.keep(&store, &keys, 1, now()).await.unwrap(), "it is there");
    let second = small_ca(NOW - 1, NOW + YEAR);
    assert!(second.keep(&store, &keys, 1, now()).await.unwrap());
    let current = OrganisationCa::current(&store, &keys).await.unwrap().unwrap();
    assert_eq!((current.id(), current.certificate_der()), (second.id(), second.certificate_der()));
    let loaded = OrganisationCa::load(&store, &keys, first.id()).await.unwrap().unwrap();
    assert_eq!((loaded.certificate_der(), loaded.not_after()), (first.certificate_der(), first.not_after()));
    let certificate = parse(first.certificate_der());
    let expected = format!("CN=Example CA, O=Example, uid={}", first.id());
    assert_eq!(certificate.subject().to_string(), expected);
    certificate.verify_signature(None).unwrap();

    let CaKey::Rsa(key) = second.key() else { panic!("it is an RSA key") };
    let plain = key.to_pkcs8().unwrap();
    for authority in store.authorities().await.unwrap() {
        assert!(!authority.sealed.windows(32).any(|window| plain.windows(32).nth(200) == Some(window)));
    }
    let others = KeyRing::new(Key::generate().unwrap(), vec![]);
    assert!(matches!(OrganisationCa::current(&store, &others).await, Err(PkiError::WrongKey)));
}

#[test]
fn an_account_key_opens_for_its_own_account_only() {
    let keys = KeyRing::new(Key::generate().unwrap(), vec![]);
    let Chain { account, .. } = chain("alice", &Urls::default());
    let sealed = seal_account_key(account.key(), &keys).unwrap();
    let open = |id: &str| AccountAuthority::open(id, &sealed, account.certificate_der().to_vec(), &keys);
    assert_eq!(open(account.id()).unwrap().id(), account.id());
    assert!(matches!(open("0123456789012345678901234567890123456789"), Err(PkiError::WrongKey)));
}
