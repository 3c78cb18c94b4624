//! How the lists that the devices of an account share are merged. Pure.
//!
//! A list is a set of records, each a JSON object with a key. Of two records of one key the later one stays as it is,
//! unknown members too: later by the latest of its times, of which those in milliseconds are preferred. What happened at the
//! same moment is joined member by member. So in whatever order, and however often, lists arrive, all devices end up with
//! the same one. Nothing is ever taken out: what was removed stays, with its time, or another device would bring it back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

/// Bytes of a record as it is kept.
pub const MAX_RECORD: usize = 256 << 10;
/// Bytes of the key of a conversation.
const MAX_KEY: usize = 256;
/// Objects and lists within a record, one in the other.
const MAX_DEPTH: usize = 16;

/// A JSON object.
pub type Record = Map<String, Value>;
/// By key.
pub type Records = BTreeMap<String, Record>;

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Contacts,
    Conversations,
    ConversationRequests,
}

/// Why a list is not taken. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("every element is to be an object")]
    NoObject,
    #[error("`{0}` is missing, or is no such key")]
    Key(&'static str),
    #[error("`{0}` is not {1}")]
    Type(&'static str, &'static str),
    #[error("an element is larger than {MAX_RECORD} bytes, or nests too deeply")]
    TooLarge,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Contacts, Self::Conversations, Self::ConversationRequests];

    /// As the store calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Conversations => "conversations",
            Self::ConversationRequests => "conversation requests",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Contacts => "uri",
            Self::Conversations => "id",
            Self::ConversationRequests => "conversationId",
        }
    }

    fn is_key(self, key: &str) -> bool {
        match self {
            Self::Contacts => key.len() == 40 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            Self::Conversations | Self::ConversationRequests => {
                (1..=MAX_KEY).contains(&key.len()) && !key.chars().any(char::is_control)
            }
        }
    }

    /// Members that are seconds since 1970, each with the one that has the same moment in milliseconds.
    fn times(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Contacts => &[("added", "addedMs"), ("removed", "removedMs")],
            Self::Conversations => &[("created", "createdMs"), ("removed", "removedMs"), ("erased", "erasedMs")],
            Self::ConversationRequests => &[("received", "receivedMs"), ("declined", "declinedMs")],
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Contacts => &["confirmed", "banned"],
            Self::Conversations | Self::ConversationRequests => &[],
        }
    }

    /// The elements of a list as a device sent it.
    ///
    /// # Errors
    /// At the first that is not as clients write them: a time that is no number would win against every other for ever, and
    /// end the merge of each client that reads it. Members that nobody here knows may be anything, and `null` is as none.
    pub fn read(self, elements: Vec<Value>) -> Result<Records, Unfit> {
        let mut records = Records::new();
        for element in elements {
            let Value::Object(mut record) = element else { return Err(Unfit::NoObject) };
            record.retain(|_, value| !value.is_null());
            let key = self.check(&record)?;
            self.add(&mut records, key, record);
        }
        Ok(records)
    }

    /// The key of a record that is fit to be kept.
    fn check(self, record: &Record) -> Result<String, Unfit> {
        for name in self.times().iter().flat_map(|(seconds, millis)| [*seconds, *millis]) {
            if record.get(name).is_some_and(|time| time.as_i64().is_none_or(|time| time < 0)) {
                return Err(Unfit::Type(name, "a time as an integer"));
            }
        }
        if let Some(name) = self.flags().iter().find(|name| record.get(**name).is_some_and(|flag| !flag.is_boolean())) {
            return Err(Unfit::Type(name, "true or false"));
        }
        if record.get("conversationId").is_some_and(|id| !id.is_string()) {
            return Err(Unfit::Type("conversationId", "a text"));
        }
        if !record.values().all(|value| is_shallow(value, MAX_DEPTH)) || size(record) > MAX_RECORD {
            return Err(Unfit::TooLarge);
        }
        let key = record.get(self.key()).and_then(Value::as_str).filter(|key| self.is_key(key));
        key.map(str::to_owned).ok_or(Unfit::Key(self.key()))
    }

    /// Merges what a device has into what is kept; the keys of what changed by that.
    pub fn merge(self, kept: &mut Records, sent: Records) -> Vec<String> {
        let changed = sent.into_iter().filter_map(|(key, record)| self.add(kept, key.clone(), record).then_some(key));
        changed.collect()
    }

    /// Whether it changed anything.
    fn add(self, records: &mut Records, key: String, record: Record) -> bool {
        match records.entry(key) {
            Entry::Vacant(place) => {
                place.insert(record);
                true
            }
            Entry::Occupied(mut place) => {
                let joined = self.join(place.get().clone(), record);
                let changed = joined != *place.get();
                place.insert(joined);
                changed
            }
        }
    }

    /// The later one; at the same moment, both.
    fn join(self, one: Record, other: Record) -> Record {
        match self.moment(&one).cmp(&self.moment(&other)) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => join_members(one, other),
            std::cmp::Ordering::Greater => one,
        }
    }

    /// The latest time in a record, in milliseconds. Joining two records never makes it another.
    fn moment(self, record: &Record) -> i64 {
        let time = |name: &str| record.get(name).and_then(Value::as_i64).unwrap_or(0);
        let times = self.times().iter();
        times.map(|(seconds, millis)| time(seconds).saturating_mul(1000).max(time(millis))).max().unwrap_or(0)
    }
}

fn join_members(mut one: Record, other: Record) -> Record {
    for (name, value) in other {
        let joined = match one.remove(&name) {
            Some(own) => join_values(own, value),
            None => value,
        };
        one.insert(name, joined);
    }
    one
}

/// The same whichever comes first: what either says is so (a contact is confirmed) is so, of two numbers the greater
/// counts (what was added and removed at once is removed), and of two other values the one that says more.
fn join_values(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Value::Bool(one || other),
        (Value::Object(one), Value::Object(other)) => Value::Object(join_members(one, other)),
        (one, other) => {
            if rank(&one) >= rank(&other) {
                one
            } else {
                other
            }
        }
    }
}

/// Orders values, those of one kind next to each other.
fn rank(value: &Value) -> (u8, i128, String) {
    let length = |text: &str| i128::try_from(text.len()).unwrap_or(i128::MAX);
    let text = |kind, text: String| (kind, length(&text), text);
    match value {
        Value::Null => (0, 0, String::new()),
        Value::Bool(flag) => (1, i128::from(*flag), String::new()),
        Value::Number(number) => {
            let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            integer.map_or_else(|| text(2, number.to_string()), |integer| (3, integer, String::new()))
        }
        Value::String(string) => text(4, string.clone()),
        Value::Array(_) => text(5, value.to_string()),
        Value::Object(_) => text(6, value.to_string()),
    }
}

/// Whether it nests no deeper.
fn is_shallow(value: &Value, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else { return !(value.is_array() || value.is_object()) };
    match value {
        Value::Array(values) => values.iter().all(|value| is_shallow(value, below)),
        Value::Object(members) => members.values().all(|value| is_shallow(value, below)),
        _ => true,
    }
}

/// Bytes of a record as text.
pub fn size(record: &Record) -> usize {
    // Counted without being kept; what is JSON already can be written as JSON.
    let mut counted = Counter(0);
    serde_json::to_writer(&mut counted, record).map_or(usize::MAX, |()| counted.0)
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
