//! Named options (properties of a file, `<option>`s of a login module, `<param>`s of a service) that a reader takes one
//! by one. What is left over at the end was not understood, and that is an error: a misspelt option must not be ignored.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::problem::{Problems, did_you_mean};
use crate::properties::{self, Property};

/// A take-what-you-use map. `finish` reports what nobody took, so call it last.
#[derive(Debug)]
pub struct Options {
    file: PathBuf,
    /// Where the owner of these options stands; problems about absent options point there.
    line: usize,
    /// How one of them is called in messages: "option", "parameter", "property".
    noun: &'static str,
    entries: BTreeMap<String, (String, usize)>,
    known: BTreeSet<String>,
}

impl Options {
    pub fn new(file: &Path, line: usize, noun: &'static str) -> Self {
        Self { file: file.to_owned(), line, noun, entries: BTreeMap::new(), known: BTreeSet::new() }
    }

    /// The options of a whole `.properties` file.
    pub fn from_properties(file: &Path, text: &str, problems: &mut Problems) -> Self {
        let mut options = Self::new(file, 0, "property");
        for Property { key, value, line } in properties::parse(file, text, problems) {
            options.insert(key, value, line, problems);
        }
        options
    }

    pub fn insert(&mut self, name: String, value: String, line: usize, problems: &mut Problems) {
        match self.entries.entry(name) {
            Entry::Vacant(vacant) => {
                vacant.insert((value, line));
            }
            Entry::Occupied(known) => {
                problems.add(&self.file, line, format!("{} `{}` is given twice: keep one", self.noun, known.key()));
            }
        }
    }

    /// Another value for an option; `None` takes it away. One that is new stands where the last one does.
    pub fn replace(&mut self, name: &str, value: Option<String>) {
        let last = self.entries.values().map(|(_, line)| *line).max().unwrap_or(self.line);
        match value {
            None => drop(self.entries.remove(name)),
            Some(value) => self.entries.entry(name.to_owned()).or_insert((String::new(), last)).0 = value,
        }
    }

    /// Name and value of those that nobody took yet, in the order of the lines.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, (_, line))| *line);
        entries.into_iter().map(|(name, (value, _))| (name.as_str(), value.as_str()))
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn line(&self) -> usize {
        self.line
    }

    /// The line of an option that is there, else that of the owner.
    pub fn line_of(&self, name: &str) -> usize {
        self.entries.get(name).map_or(self.line, |(_, line)| *line)
    }

    /// Whether the option is there. It is still to be taken.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The value and its line, if the option is there.
    pub fn take(&mut self, name: &str) -> Option<(String, usize)> {
        self.known.insert(name.to_owned());
        self.entries.remove(name)
    }

    pub fn take_string(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|(value, _)| value)
    }

    /// The value of an option that must be there and not be empty.
    pub fn require(&mut self, name: &str, problems: &mut Problems) -> Option<String> {
        match self.take(name) {
            Some((value, _)) if !value.trim().is_empty() => Some(value),
            Some((_, line)) => {
                problems.add(&self.file, line, format!("{} `{name}` is empty", self.noun));
                None
            }
            None => {
                problems.add(&self.file, self.line, format!("{} `{name}` is missing", self.noun));
                None
            }
        }
    }

    /// The parsed value, or `default` where the option is absent (or wrong, which is reported).
    pub fn take_parsed<T: FromStr>(&mut self, name: &str, default: T, what: &str, problems: &mut Problems) -> T {
        let Some((value, line)) = self.take(name) else { return default };
        value.trim().parse().unwrap_or_else(|_| {
            problems.add(&self.file, line, format!("{} `{name}`: `{value}` is not {what}", self.noun));
            default
        })
    }

    pub fn take_bool(&mut self, name: &str, default: bool, problems: &mut Problems) -> bool {
        let Some((value, line)) = self.take(name) else { return default };
        match value.trim() {
            "true" => true,
            "false" => false,
            other => {
                problems.add(&self.file, line, format!("{} `{name}`: `{other}` is not true or false", self.noun));
                default
            }
        }
    }

    /// A span of time: a number with `ms`, `s`, `m`, `h` or `d`; a bare number counts seconds.
    pub fn take_duration(&mut self, name: &str, default: Duration, problems: &mut Problems) -> Duration {
        let Some((value, line)) = self.take(name) else { return default };
        parse_duration(value.trim()).unwrap_or_else(|| {
            let message = format!("{} `{name}`: `{value}` is not a time such as 500ms, 30s, 15m, 8h or 30d", self.noun);
            problems.add(&self.file, line, message);
            default
        })
    }

    /// Takes `PREFIX1`, `PREFIX2`, … sorted by number, as in `cams.listen.1`.
    pub fn take_numbered(&mut self, prefix: &str, problems: &mut Problems) -> Vec<(String, usize)> {
        self.known.insert(format!("{prefix}1"));
        let mut found: Vec<(u32, String, usize)> = Vec::new();
        for (name, value, line) in self.take_prefixed(prefix) {
            match name.parse::<u32>() {
                Ok(n) => found.push((n, value, line)),
                Err(_) => problems.add(&self.file, line, format!("`{prefix}{name}`: write a number after `{prefix}`")),
            }
        }
        found.sort();
        found.into_iter().map(|(_, value, line)| (value, line)).collect()
    }

    /// Takes everything that starts with `prefix`: (rest of the name, value, line), in the order of the lines.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, String, usize)> {
        let names: Vec<String> = self.entries.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let mut found: Vec<_> = names
            .into_iter()
            .filter_map(|name| {
                let (value, line) = self.entries.remove(&name)?;
                Some((name.get(prefix.len()..)?.to_owned(), value, line))
            })
            .collect();
        found.sort_by_key(|(_, _, line)| *line);
        found
    }

    /// Reports every option that was not taken, with the nearest known name.
    pub fn finish(self, problems: &mut Problems) {
        for (name, (_, line)) in &self.entries {
            let hint = did_you_mean(name, self.known.iter().map(String::as_str))
                .map(|known| format!(", did you mean `{known}`?"))
                .unwrap_or_default();
            problems.add(&self.file, *line, format!("unknown {} `{name}`{hint}", self.noun));
        }
    }
}

/// `None` for anything that is not a number with a known unit, or too large to count.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    // A century is enough, and keeps arithmetic on time stamps from overflowing.
    number.checked_mul(seconds).filter(|s| *s <= 36_500 * 86_400).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> (Options, Problems) {
        let mut problems = Problems::default();
        (Options::from_properties(Path::new("a.conf"), text, &mut problems), problems)
    }

    #[test]
    fn left_over_options_are_reported_with_a_suggestion() {
        let (mut options, mut problems) = options("hst=x\nport=1");
        assert_eq!(options.take_string("host"), None);
        assert_eq!(options.take_parsed("port", 0_u16, "a port", &mut problems), 1);
        options.finish(&mut problems);
        assert_eq!(problems.to_string(), "a.conf:1: unknown property `hst`, did you mean `host`?");
    }

    #[test]
    fn wrong_values_are_reported_where_they_stand() {
        let (mut options, mut problems) = options("a=maybe\nb=5 parsecs\nc=\nn.x=1");
        assert!(options.take_bool("a", true, &mut problems));
        assert_eq!(options.take_duration("b", Duration::from_secs(1), &mut problems), Duration::from_secs(1));
        assert_eq!(options.require("c", &mut problems), None);
        assert_eq!(options.require("d", &mut problems), None);
        assert!(options.take_numbered("n.", &mut problems).is_empty());
        let lines: Vec<usize> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [1, 2, 3, 0, 4], "{problems}");
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("30", Some(30_000)),
            ("500ms", Some(500)),
            ("15m", Some(900_000)),
            ("8h", Some(28_800_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 fortnight", None),
            ("99999999999999999999", None),
            ("9999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn numbered_properties_come_in_numeric_order() {
        let (mut options, mut problems) = options("l.10=c\nl.2=b\nl.1=a");
        let values: Vec<String> = options.take_numbered("l.", &mut problems).into_iter().map(|(v, _)| v).collect();
        assert_eq!(values, ["a", "b", "c"]);
        options.finish(&mut problems);
        assert!(problems.is_empty(), "{problems}");
    }
}
