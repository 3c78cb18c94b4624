//! How the lists that the devices of an account share are merged. Pure.
//!
//! A list is a set of records, each a JSON object with a key. Of two records of one key the later one stays as it is,
//! unknown members too: later by the latest of its times, of which those in milliseconds are preferred. What happened at the
//! same moment is joined member by member: of texts and flags, which a client changes without a new time, the sender's
//! counts. So in whatever order, and however often, lists arrive, the times and what goes by them end up the same; the order
//! decides only about texts and flags of one moment. Nothing is ever taken out: what was removed stays, with its time, or
//! another device would bring it back.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

/// Bytes of a record as it is kept.
pub const MAX_RECORD: usize = 256 << 10;
/// Bytes of the key of a conversation.
const MAX_KEY: usize = 256;
/// A time may be ahead of ours by so much, in milliseconds: one that is far ahead would win for ever.
const AHEAD: i64 = 86_400_000;
/// Objects and lists within a record, one in the other.
const MAX_DEPTH: usize = 16;

/// The flag of a contact that stays once one device has set it, as clients have it too.
const CONFIRMED: &str = "confirmed";

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
    #[error("`{0}` is more than a day ahead: the clock of the device is wrong")]
    Future(&'static str),
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

    /// All of them, each with how many milliseconds one of it is.
    fn scaled_times(self) -> impl Iterator<Item = (&'static str, i64)> {
        self.times().iter().flat_map(|(seconds, millis)| [(*seconds, 1000), (*millis, 1)])
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Contacts => &[CONFIRMED, "banned"],
            Self::Conversations | Self::ConversationRequests => &[],
        }
    }

    /// The elements of a list as a device sent it. `now` is in milliseconds since 1970, here as elsewhere.
    ///
    /// # Errors
    /// At the first that is not as clients write them: a time that is no number would win against every other for ever, and
    /// end the merge of each client that reads it. Members that nobody here knows may be anything, and `null` is as none.
    pub fn read(self, elements: Vec<Value>, now: i64) -> Result<Records, Unfit> {
        let mut records = Records::new();
        for element in elements {
            let Value::Object(mut record) = element else { return Err(Unfit::NoObject) };
            record.retain(|_, value| !value.is_null());
            let key = self.check(&record, now)?;
            self.add(&mut records, key, record, now);
        }
        Ok(records)
    }

    /// The key of a record that is fit to be kept.
    fn check(self, record: &Record, now: i64) -> Result<String, Unfit> {
        for (name, _) in self.scaled_times() {
            if record.get(name).is_some_and(|time| time.as_i64().is_none_or(|time| time < 0)) {
                return Err(Unfit::Type(name, "a time as an integer"));
            }
        }
        let is_ahead = |(name, scale)| time(record, name, scale) > now.saturating_add(AHEAD);
        if let Some((name, _)) = self.scaled_times().find(|time| is_ahead(*time)) {
            return Err(Unfit::Future(name));
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
    pub fn merge(self, kept: &mut Records, sent: Records, now: i64) -> Vec<String> {
        let mut add = |key: &String, record| self.add(kept, key.clone(), record, now);
        sent.into_iter().filter_map(|(key, record)| add(&key, record).then_some(key)).collect()
    }

    /// Whether it changed anything.
    fn add(self, records: &mut Records, key: String, record: Record, now: i64) -> bool {
        match records.entry(key) {
            Entry::Vacant(place) => {
                place.insert(record);
                true
            }
            Entry::Occupied(mut place) => {
                let joined = self.join(place.get().clone(), record, now);
                let changed = joined != *place.get();
                place.insert(joined);
                changed
            }
        }
    }

    /// The later one; at the same moment, both.
    fn join(self, kept: Record, sent: Record, now: i64) -> Record {
        match self.moment(&kept, now).cmp(&self.moment(&sent, now)) {
            std::cmp::Ordering::Less => sent,
            std::cmp::Ordering::Equal => {
                let is_so = |record: &Record| record.get(CONFIRMED) == Some(&Value::Bool(true));
                let confirmed = is_so(&kept) || is_so(&sent);
                let mut joined = join_members(kept, sent);
                if self.flags().contains(&CONFIRMED) && confirmed {
                    joined.insert(CONFIRMED.to_owned(), true.into());
                }
                joined
            }
            std::cmp::Ordering::Greater => kept,
        }
    }

    /// The latest time in a record, in milliseconds; one that is too far ahead to be true is none. Joining two records never
    /// makes it another.
    fn moment(self, record: &Record, now: i64) -> i64 {
        let times = self.scaled_times().map(|(name, scale)| time(record, name, scale));
        times.filter(|time| *time <= now.saturating_add(AHEAD)).max().unwrap_or(0)
    }
}

/// In milliseconds; 0 where there is none.
fn time(record: &Record, name: &str, scale: i64) -> i64 {
    record.get(name).and_then(Value::as_i64).unwrap_or(0).saturating_mul(scale)
}

fn join_members(mut kept: Record, sent: Record) -> Record {
    for (name, value) in sent {
        let joined = match kept.remove(&name) {
            Some(own) => join_values(own, value),
            None => value,
        };
        kept.insert(name, joined);
    }
    kept
}

/// Of two texts or flags (the last message shown, the conversation with a contact) the sender's; otherwise the same
/// whichever comes first: of two numbers the greater (what was added and removed at once is removed), of two other values the
/// one that says more.
fn join_values(kept: Value, sent: Value) -> Value {
    match (kept, sent) {
        (Value::Bool(_), sent @ Value::Bool(_)) | (Value::String(_), sent @ Value::String(_)) => sent,
        (Value::Object(kept), Value::Object(sent)) => Value::Object(join_members(kept, sent)),
        (kept, sent) => {
            if rank(&kept) >= rank(&sent) {
                kept
            } else {
                sent
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
