//! Single cases as a table, and the laws by generated data.

use serde_json::json;

use super::*;

/// In milliseconds.
const NOW: i64 = 1_000_000_000;
const URI: &str = "29347542eb07159f316577e1ae16243d152f6b7b";

/// What becomes of a contact that is kept and one that is sent, whichever is which.
fn check(one: Value, other: Value, expected: Value) {
    let with_key = |mut contact: Value| {
        contact["uri"] = URI.into();
        contact
    };
    for (kept, sent) in [(&one, &other), (&other, &one)] {
        let mut records = Kind::Contacts.read(vec![with_key(kept.clone())], NOW).unwrap();
        let sent = Kind::Contacts.read(vec![with_key(sent.clone())], NOW).unwrap();
        let before = records.clone();
        let changed = Kind::Contacts.merge(&mut records, sent, NOW);
        assert_eq!(Value::Object(records[URI].clone()), with_key(expected.clone()), "{one} {other}");
        assert_eq!(changed.is_empty(), records == before, "{one} {other}");
    }
}

#[test]
fn the_later_side_of_a_contact_stays() {
    let added = json!({"added": 100, "conversationId": "c"});
    check(added.clone(), added.clone(), added.clone());
    let removed = json!({"added": 100, "removed": 200, "banned": true});
    check(added.clone(), removed.clone(), removed.clone());
    check(json!({"added": 300}), removed.clone(), json!({"added": 300}));
    // Confirmed by one device, known to another.
    check(
        added.clone(),
        json!({"added": 100, "confirmed": true}),
        json!({"added": 100, "confirmed": true, "conversationId": "c"}),
    );
    check(json!({"added": 100, "confirmed": true}), json!({"added": 101}), json!({"added": 101}));
    check(
        json!({"added": 100, "confirmed": false}),
        json!({"added": 100, "confirmed": true}),
        json!({"added": 100, "confirmed": true}),
    );
    // Milliseconds decide within a second.
    let again = json!({"added": 100, "addedMs": 100_900});
    check(again.clone(), json!({"added": 99, "removed": 100, "removedMs": 100_100}), again.clone());
    check(
        again.clone(),
        json!({"added": 100, "removed": 100, "removedMs": 100_950}),
        json!({"added": 100, "removed": 100, "removedMs": 100_950}),
    );
    // A client that does not know them repeats what it got; a later act of it counts all the same.
    check(again.clone(), json!({"added": 100}), again.clone());
    check(again, json!({"added": 100, "removed": 101}), json!({"added": 100, "removed": 101}));
    // Added and removed in one second: removed, as `added` is not the greater.
    check(json!({"added": 100}), json!({"added": 50, "removed": 100}), json!({"added": 100, "removed": 100}));
    // Unknown members stay with their side.
    let unknown = json!({"added": 100, "x": {"y": [1, null, "z"]}});
    check(unknown.clone(), json!({"added": 50, "z": 1}), unknown.clone());
    check(unknown, json!({"added": 100, "z": 1, "w": null}), json!({"added": 100, "x": {"y": [1, null, "z"]}, "z": 1}));
    // The greatest time there may be.
    let last = (NOW + AHEAD) / 1000;
    check(json!({"added": last}), json!({"added": 1}), json!({"added": last}));
}

#[test]
fn conversations_and_requests_go_by_their_own_times() {
    for (kind, key, first, last) in [
        (Kind::Conversations, "id", "created", "erased"),
        (Kind::Conversations, "id", "created", "removedMs"),
        (Kind::ConversationRequests, "conversationId", "received", "declined"),
        (Kind::ConversationRequests, "conversationId", "receivedMs", "declinedMs"),
    ] {
        let mut kept = kind.read(vec![json!({key: "c", first: 100, "mode": 0})], NOW).unwrap();
        let later = json!({key: "c", first: 100, last: 1_000_000, "members": [{"uri": URI}]});
        assert_eq!(kind.merge(&mut kept, kind.read(vec![later.clone()], NOW).unwrap(), NOW), ["c"]);
        assert_eq!(kind.merge(&mut kept, kind.read(vec![json!({key: "c", first: 200})], NOW).unwrap(), NOW), [""; 0]);
        assert_eq!(Value::Object(kept["c"].clone()), later);
    }
}

#[test]
fn what_no_client_sends_is_refused() {
    let nested = |depth: usize| (0..depth).fold(json!(1), |value, _| json!([value]));
    let long = "x".repeat(MAX_RECORD);
    let good = json!({"uri": URI, "added": 1, "confirmed": true, "removed": null, "x": nested(MAX_DEPTH)});
    assert_eq!(Kind::Contacts.read(vec![good], NOW).map(|records| records[URI].contains_key("removed")), Ok(false));
    for (contact, expected) in [
        (json!(1), Unfit::NoObject),
        (json!([]), Unfit::NoObject),
        (json!(null), Unfit::NoObject),
        (json!({}), Unfit::Key("uri")),
        (json!({"uri": 1}), Unfit::Key("uri")),
        (json!({"uri": ""}), Unfit::Key("uri")),
        (json!({"uri": URI.to_uppercase()}), Unfit::Key("uri")),
        (json!({"uri": &URI[1..]}), Unfit::Key("uri")),
        (json!({"uri": format!("{URI}0")}), Unfit::Key("uri")),
        (json!({"uri": URI, "added": "1"}), Unfit::Type("added", "a time as an integer")),
        (json!({"uri": URI, "added": 1.5}), Unfit::Type("added", "a time as an integer")),
        (json!({"uri": URI, "added": -1}), Unfit::Type("added", "a time as an integer")),
        (json!({"uri": URI, "added": u64::MAX}), Unfit::Type("added", "a time as an integer")),
        (json!({"uri": URI, "removedMs": true}), Unfit::Type("removedMs", "a time as an integer")),
        (json!({"uri": URI, "confirmed": 1}), Unfit::Type("confirmed", "true or false")),
        (json!({"uri": URI, "banned": "true"}), Unfit::Type("banned", "true or false")),
        (json!({"uri": URI, "conversationId": {}}), Unfit::Type("conversationId", "a text")),
        (json!({"uri": URI, "x": nested(MAX_DEPTH + 1)}), Unfit::TooLarge),
        (json!({"uri": URI, "x": long}), Unfit::TooLarge),
    ] {
        let shown = contact.to_string();
        assert_eq!(Kind::Contacts.read(vec![contact], NOW), Err(expected), "{}", &shown[..shown.len().min(99)]);
    }
    for key in ["", "a\0b", &"c".repeat(MAX_KEY + 1)] {
        assert_eq!(Kind::Conversations.read(vec![json!({"id": key})], NOW), Err(Unfit::Key("id")));
        let request = json!({"conversationId": key});
        assert_eq!(Kind::ConversationRequests.read(vec![request], NOW), Err(Unfit::Key("conversationId")));
    }
}

/// A small generator of pseudo-random numbers (xorshift), so that a failure is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => json!(self.below(2) == 0),
            1 => json!(self.below(4)),
            2 => json!(0.5 * f64::from(u8::try_from(self.below(3)).unwrap())),
            3 => json!(-1),
            4 => json!(u64::MAX),
            5 => json!("ab"[..self.below(3)]),
            6 => json!({"m": self.value(depth - 1), "n": self.value(depth - 1)}),
            _ => json!([self.value(depth - 1)]),
        }
    }

    /// Few times, so that many are the same.
    fn record(&mut self, kind: Kind) -> Record {
        let mut record = Record::new();
        for (seconds, millis) in kind.times() {
            let second = self.below(3);
            for (name, time) in [(*seconds, second), (*millis, second * 1000 + 400 * self.below(3))] {
                if self.below(3) > 0 {
                    record.insert(name.to_owned(), time.into());
                }
            }
        }
        for name in kind.flags() {
            if self.below(2) == 0 {
                record.insert((*name).to_owned(), (self.below(2) == 0).into());
            }
        }
        for name in ["x", "y"] {
            if self.below(3) > 0 {
                record.insert(name.to_owned(), self.value(2));
            }
        }
        record
    }
}

/// What the order of arrival does not decide at equal times: all but texts and flags.
fn settled(record: &Record) -> Record {
    let value = |value: &Value| value.as_object().map_or_else(|| value.clone(), |object| settled(object).into());
    let left = record.iter().filter(|(_, value)| !(value.is_string() || value.is_boolean()));
    left.map(|(name, member)| (name.clone(), value(member))).collect()
}

/// Where a client changes what has no time of its own, its last word counts.
#[test]
fn at_equal_times_texts_and_flags_are_the_senders() {
    for (kept, sent, expected) in [
        (json!({"lastDisplayed": "zz"}), json!({"lastDisplayed": "a"}), json!({"lastDisplayed": "a"})),
        (json!({"conversationId": "b"}), json!({"conversationId": ""}), json!({"conversationId": ""})),
        (json!({"banned": true}), json!({"banned": false}), json!({"banned": false})),
        (json!({"banned": true}), json!({}), json!({"banned": true})),
        (json!({"confirmed": true}), json!({"confirmed": false}), json!({"confirmed": true})),
        (json!({"x": {"y": "long"}}), json!({"x": {"y": "s"}}), json!({"x": {"y": "s"}})),
    ] {
        let record = |mut members: Value| {
            members["uri"] = URI.into();
            members["added"] = 100.into();
            Kind::Contacts.read(vec![members], NOW).unwrap()
        };
        let mut records = record(kept);
        Kind::Contacts.merge(&mut records, record(sent), NOW);
        assert_eq!(records, record(expected));
    }
}

#[test]
fn times_far_ahead_are_refused_and_never_win() {
    for (kind, key, id) in [
        (Kind::Contacts, "uri", URI),
        (Kind::Conversations, "id", "c"),
        (Kind::ConversationRequests, "conversationId", "c"),
    ] {
        for (name, scale) in kind.scaled_times() {
            let at = |time: i64| vec![json!({key: id, name: time})];
            let last = (NOW + AHEAD) / scale;
            assert!(kind.read(at(last), NOW).is_ok(), "{name}");
            for time in [last + 1, i64::MAX] {
                assert_eq!(kind.read(at(time), NOW), Err(Unfit::Future(name)));
                // It was taken when the clock here was wrong.
                let mut kept = kind.read(at(time), i64::MAX).unwrap();
                let sent = kind.read(at(1), NOW).unwrap();
                kind.merge(&mut kept, sent.clone(), NOW);
                assert_eq!(kept, sent, "{name}");
            }
        }
    }
}

#[test]
fn the_order_and_the_number_of_merges_do_not_matter() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        for kind in Kind::ALL {
            let [a, b, c] = [0; 3].map(|_| random.record(kind));
            let join = |one: &Record, other: &Record| kind.join(one.clone(), other.clone(), NOW);
            assert_eq!(join(&a, &a), a);
            assert_eq!(settled(&join(&a, &b)), settled(&join(&b, &a)), "{a:?} {b:?}");
            let confirmed = |record: &Record| record.get(CONFIRMED) == Some(&json!(true));
            assert_eq!(confirmed(&join(&a, &b)), confirmed(&join(&b, &a)), "{a:?} {b:?}");
            assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)), "{a:?} {b:?} {c:?}");
            assert_eq!(kind.moment(&join(&a, &b), NOW), kind.moment(&a, NOW).max(kind.moment(&b, NOW)));
        }
    }
}

/// Devices change their contacts and sync whenever they like; after one more sync of each, all have the same.
#[test]
fn devices_converge() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..200 {
        let (mut server, mut devices) = (Records::new(), vec![Records::new(); 4]);
        let sync = |server: &mut Records, device: &mut Records| {
            Kind::Contacts.merge(server, device.clone(), NOW);
            Kind::Contacts.merge(device, server.clone(), NOW);
        };
        for now in 0..60_u32 {
            let device = random.below(devices.len());
            let device = &mut devices[device];
            let uri = format!("{:040}", random.below(5));
            let (second, milli) = (now / 4, now * 250);
            let contact = device.entry(uri.clone()).or_insert_with(|| json!({"uri": uri}).as_object().unwrap().clone());
            let (name, millis) = [("added", "addedMs"), ("removed", "removedMs")][random.below(2)];
            contact.insert(name.to_owned(), second.into());
            // Some clients do not know milliseconds and lose them.
            match random.below(2) {
                0 => contact.insert(millis.to_owned(), milli.into()),
                _ => contact.remove(millis),
            };
            if random.below(3) == 0 {
                let device = random.below(devices.len());
                sync(&mut server, &mut devices[device]);
            }
        }
        for _ in 0..2 {
            devices.iter_mut().for_each(|device| sync(&mut server, device));
        }
        assert!(devices.iter().all(|device| *device == server));
    }
}
