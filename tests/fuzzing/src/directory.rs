//! What an LDAP directory answers, and names and filters of one.

use policy_server::directory::ldap::message::{Budget, Message, next_page};
use policy_server::directory::ldap::{Filter, dn, ppolicy};

/// Any bytes are a message or are not; what an answer says is no longer than the answer.
pub fn ldap(data: &[u8]) {
    let size = |parts: usize| assert!(parts <= data.len(), "more than was there");
    let mut budget = Budget(1 << 20);
    if let Ok(entry) = Message::read(data, &mut budget).and_then(|message| message.entry(&mut budget)) {
        let values = entry.attributes.iter().flat_map(|(_, values)| values);
        size(entry.dn.len() + values.map(Vec::len).sum::<usize>());
        assert!(!dn::is_within("", "dc=test"));
        dn::first(&entry.dn);
    }
    let message = Message::read(data, &mut Budget(1 << 20)).ok();
    if let Some(outcome) = message.and_then(|message| message.outcome().ok()) {
        size(outcome.text.chars().count());
        assert!(!outcome.text.chars().any(char::is_control));
        size(next_page(&outcome).unwrap_or_default().len());
        _ = ppolicy::of(&outcome);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        names(text);
    }
}

/// A value stays one value, whatever it is.
fn names(text: &str) {
    let name = format!("uid={},dc=test", dn::escape(text));
    assert_eq!(dn::first(&name), Some(("uid".to_owned(), text.to_owned())), "{name}");
    assert!(dn::is_within(&name, "dc=test"));
    if let Ok(filter) = Filter::parse(text, 1) {
        let shown = filter.show(&["*)(uid=*"]);
        let again = Filter::parse(&shown.replace('{', "\\7b"), 0).expect("what a filter shows is one");
        assert_eq!(again.encode::<&str>(&[]), filter.encode(&["*)(uid=*"]), "{shown}");
    }
}
