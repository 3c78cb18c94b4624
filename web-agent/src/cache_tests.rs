//! What is kept, found again and forgotten.

use std::collections::BTreeSet;

use serde_json::json;
use shared_proto::event::Change;

use super::*;
use crate::testing::{alice, question};

const LEASE: Duration = Duration::from_millis(600);

/// A memory that is followed up to `seq` of epoch `e`, with a lease from `now` on.
fn followed(seq: i64, now: Instant) -> Memory {
    let memory = Memory::new("system", LEASE);
    memory.begin(0);
    memory.apply(Line::Reset { epoch: "e".into(), seq }).unwrap();
    memory.ask_lease("n".into(), now);
    memory.answer_lease(LeaseResponse { nonce: "n".into(), epoch: "e".into(), seq }, now);
    memory
}

fn granted(seq: i64, session: Option<&str>) -> CheckResponse {
    let standing = if session.is_some() { "live" } else { "none" };
    let answer = json!({
        "decision": {"is": "granted"}, "session": standing, "policy_hash": "h",
        "identity": session.map(|session| Identity { session_id: session.into(), ..alice() }),
        "epoch": "e", "seq": seq, "remember_ms": 1_000_000
    });
    serde_json::from_value(answer).unwrap()
}

fn keep(memory: &Memory, question: &CheckRequest, answer: &CheckResponse, now: Instant) {
    memory.keep(memory.ticket().unwrap(), 0, question, answer, now);
}

/// Case 38: a grant answers its own question and no other.
#[test]
fn every_input_of_the_question_counts() {
    let now = Instant::now();
    for session in [None, Some("token")] {
        let memory = followed(1, now);
        let asked = question("/path", session);
        keep(&memory, &asked, &granted(1, session.map(|_| "s")), now);
        assert!(memory.recall(&asked, now).is_some());
        let others: [fn(&mut CheckRequest); 11] = [
            |q| q.scheme = "http".into(),
            |q| q.host = "shop.test".into(),
            |q| q.port = 443,
            |q| q.method = "POST".into(),
            |q| q.path = "/path/".into(),
            |q| q.path = "/".into(),
            |q| q.domain = "other".into(),
            |q| q.entry = "strong".into(),
            |q| q.session = Some("another".into()),
            // The same bytes, cut elsewhere.
            |q| (q.method, q.path) = ("GE".into(), "T/path".into()),
            |q| (q.domain, q.entry) = ("systemh".into(), "ttp".into()),
        ];
        let mut elsewhere = asked.clone();
        elsewhere.client.address = [203, 0, 113, 9].into();
        assert_eq!(
            memory.recall(&elsewhere, now).is_none(),
            session.is_some(),
            "a session may be bound to its network"
        );
        for (number, change) in others.iter().enumerate() {
            let mut other = asked.clone();
            change(&mut other);
            assert!(memory.recall(&other, now).is_none(), "{number}");
        }
    }
}

#[test]
fn only_a_coherent_grant_of_this_server_and_domain_is_kept() {
    let now = Instant::now();
    let base = || (question("/", Some("token")), granted(5, Some("s")));
    type Change = fn(&mut CheckRequest, &mut CheckResponse);
    let cases: [(&str, Change, bool); 12] = [
        ("as it is", |_, _| {}, true),
        ("a later one", |_, a| a.seq = 6, true),
        ("an earlier one", |_, a| a.seq = 4, false),
        ("another epoch", |_, a| a.epoch = "f".into(), false),
        ("not to be kept", |_, a| a.remember_ms = 0, false),
        ("for ever", |_, a| a.remember_ms = u64::MAX, true),
        ("denied", |_, a| a.decision = Decision::Denied, false),
        ("unknown", |_, a| a.decision = Decision::Unknown, false),
        ("ended", |_, a| a.session = SessionStanding::Ended, false),
        ("nobody", |_, a| a.identity = None, false),
        ("no cookie", |q, _| q.session = None, false),
        ("another domain", |_, a| a.identity.as_mut().unwrap().domain = "other".into(), false),
    ];
    for (what, change, expected) in cases {
        let memory = followed(5, now);
        let (mut question, mut answer) = base();
        change(&mut question, &mut answer);
        keep(&memory, &question, &answer, now);
        assert_eq!(memory.recall(&question, now).is_some(), expected, "{what}");
    }
    let (memory, (question, answer)) = (followed(5, now), base());
    memory.keep(memory.ticket().unwrap(), 1, &question, &answer, now);
    assert!(memory.recall(&question, now).is_none(), "of another server");
    let before = memory.ticket().unwrap();
    memory.forget(&"somebody".into());
    memory.keep(before, 0, &question, &answer, now);
    assert!(memory.recall(&question, now).is_none(), "asked before a logout");
}

#[test]
fn each_change_forgets_what_it_is_about() {
    let now = Instant::now();
    let event = |seq, change| Line::Event { seq, change };
    let ended = |session: &str| Change::SessionEnded { session: session.into() };
    let changed = |session: &str| Change::SessionChanged { session: session.into() };
    let domain = |domain: &str| Change::DomainChanged { domain: domain.into() };
    // (line, what remains of: session s, session t, anonymous)
    let cases = [
        (event(2, ended("s")), [false, true, true]),
        (event(2, ended("nobody's")), [true, true, true]),
        (event(2, changed("t")), [true, false, true]),
        (event(2, domain("system")), [false, false, false]),
        (event(2, domain("other")), [true, true, true]),
        (event(2, Change::AgentsChanged), [false, false, false]),
        (event(2, Change::Unknown), [false, false, false]),
        (event(3, ended("nobody's")), [false, false, false]),
        (event(1, ended("nobody's")), [false, false, false]),
        (Line::Heartbeat, [true, true, true]),
        (Line::Unknown, [false, false, false]),
        (Line::Reset { epoch: "e".into(), seq: 1 }, [false, false, false]),
        (Line::Reset { epoch: "f".into(), seq: 1 }, [false, false, false]),
    ];
    for (line, remains) in cases {
        let memory = followed(1, now);
        let questions = [question("/", Some("token-s")), question("/", Some("token-t")), question("/", None)];
        for (question, session) in questions.iter().zip([Some("s"), Some("t"), None]) {
            keep(&memory, question, &granted(1, session), now);
        }
        let what = format!("{line:?}");
        drop(memory.apply(line));
        assert_eq!(questions.each_ref().map(|question| memory.recall(question, now).is_some()), remains, "{what}");
    }
}

#[test]
fn a_session_keeps_a_bounded_number_of_grants() {
    let now = Instant::now();
    let memory = followed(1, now);
    for number in 0..5 * MAX_PER_SESSION {
        keep(&memory, &question(&format!("/{number}"), Some("token")), &granted(1, Some("s")), now);
    }
    let found = (0..5 * MAX_PER_SESSION)
        .filter(|number| memory.recall(&question(&format!("/{number}"), Some("token")), now).is_some());
    let found = found.count();
    assert!((1..=MAX_PER_SESSION).contains(&found), "{found}");
}

/// Everything is public in a domain.
fn public_map(domain: &str) -> PublicMap {
    let pattern = shared_proto::pattern::ResourcePattern {
        scheme: None,
        host: shared_proto::pattern::HostPattern::Any,
        port: None,
        path: shared_proto::pattern::PathPattern::parse("/*", false).unwrap(),
        methods: BTreeSet::new(),
    };
    let patterns = vec![shared_proto::event::PublicPattern { pattern, public: true }];
    PublicMap { domain: domain.into(), policy_hash: "h".into(), patterns, forms: Default::default() }
}

/// Case by case: what happens after a stream has shown the map, and whether that is still as good as an answer.
#[test]
fn the_map_stands_in_for_an_answer_under_the_lease_of_its_stream_alone() {
    let (now, asked) = (Instant::now(), question("/", None));
    let reset = || Line::Reset { epoch: "e".into(), seq: 1 };
    let lease = |memory: &Memory| {
        memory.ask_lease("m".into(), now);
        memory.answer_lease(LeaseResponse { nonce: "m".into(), epoch: "e".into(), seq: 1 }, now);
    };
    let again = |memory: &Memory| {
        memory.end();
        memory.begin(0);
        memory.apply(reset()).unwrap();
        lease(memory);
    };
    let show = |memory: &Memory| drop(memory.apply(Line::Public { map: public_map("system") }).unwrap());
    type Case<'a> = (&'a str, &'a dyn Fn(&Memory), bool);
    let cases: [Case<'_>; 7] = [
        ("nothing", &|_| {}, true),
        ("another agent", &|memory| drop(memory.apply(Line::Event { seq: 2, change: Change::AgentsChanged })), true),
        ("a gap", &|memory| drop(memory.apply(Line::Event { seq: 9, change: Change::AgentsChanged })), false),
        ("a reset", &|memory| (drop(memory.apply(reset()).unwrap()), lease(memory)).1, false),
        ("the end", &Memory::end, false),
        ("another stream", &again, false),
        ("another stream that shows it", &|memory| (again(memory), show(memory)).1, true),
    ];
    for (what, happens, expected) in cases {
        let memory = followed(1, now);
        assert!(!memory.is_surely_public(&asked, now), "before it was shown");
        show(&memory);
        happens(&memory);
        assert_eq!(memory.is_surely_public(&asked, now), expected, "{what}");
        assert!(!memory.is_surely_public(&asked, now + LEASE), "{what}, and the lease is over");
        assert!(memory.is_public(&asked), "{what}: for want of a server it goes on");
    }
}

#[test]
fn an_unknown_agent_has_no_public_pages() {
    let memory = followed(1, Instant::now());
    memory.apply(Line::Public { map: public_map("other") }).unwrap();
    assert!(!memory.is_public(&question("/", None)));
    memory.apply(Line::Public { map: public_map("system") }).unwrap();
    memory.end();
    assert!(memory.is_public(&question("/", None)));
    memory.disown();
    assert!(!memory.is_public(&question("/", None)));
}

#[test]
fn forms_are_those_the_server_told_of() {
    let memory = followed(1, Instant::now());
    let first = EntryForm { fields: Vec::new(), remember_me: true };
    let told = |domain: &str, entries: &[&str]| {
        let form = EntryForm { fields: Vec::new(), remember_me: false };
        let forms = entries.iter().map(|entry| ((*entry).to_owned(), form.clone())).collect();
        let map = PublicMap { domain: domain.into(), policy_hash: "h".into(), patterns: Vec::new(), forms };
        memory.apply(Line::Public { map }).unwrap();
        ["http", "strong"].map(|entry| memory.form(entry))
    };
    assert_eq!([memory.form("http"), memory.form("strong")], [first.clone(), first.clone()]);
    assert_eq!(told("other", &["strong"]), [first.clone(), first.clone()], "of another domain");
    assert_eq!(told("system", &[]), [first.clone(), first.clone()], "of an older server");
    let known = EntryForm { fields: Vec::new(), remember_me: false };
    assert_eq!(told("system", &["http"]), [known.clone(), first.clone()]);
    memory.end();
    assert_eq!(memory.form("http"), known, "while no server answers");
    memory.disown();
    assert_eq!(memory.form("http"), first);
}
