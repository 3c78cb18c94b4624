//! Problems of a configuration, collected rather than thrown: an admin wants all of them at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, where, in words that say what to do. Lines count from 1; 0 means the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub file: PathBuf,
    pub line: usize,
    pub message: String,
}

impl Problem {
    pub fn new(file: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, message) = (plain(&self.file.to_string_lossy()), plain(&self.message));
        match self.line {
            0 => write!(f, "{file}: {message}"),
            line => write!(f, "{file}:{line}: {message}"),
        }
    }
}

/// Text from outside, fit for a terminal and for one line of a log: control characters are shown, not obeyed.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Everything found wrong so far. Readers take it by `&mut` and go on reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub fn add(&mut self, file: &Path, line: usize, message: impl Into<String>) {
        self.push(Problem::new(file, line, message));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The value, if nothing was wrong; otherwise all problems, sorted by file and line.
    pub fn into_result<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.0.sort();
        self.0.dedup();
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate most like `word`, for "did you mean `host`?"; `None` where nothing is close.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Characters added, left out, replaced, or swapped with their neighbour (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut above_row = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (i, ca) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut distance = (at(&row, j) + usize::from(ca != *cb)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if let Some(last) = j.checked_sub(1)
                && before == Some(*cb)
                && b.get(last) == Some(&ca)
            {
                distance = distance.min(at(&above_row, last) + 1);
            }
            next.push(distance);
        }
        above_row = std::mem::replace(&mut row, next);
        before = Some(ca);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_and_obeys_nobody() {
        let problem = Problem::new(Path::new("a\nb"), 1, "unknown property `\0\u{1b}[31m\r\n`");
        assert_eq!(problem.to_string(), "a\\nb:1: unknown property `\\u{0}\\u{1b}[31m\\r\\n`");
    }

    #[test]
    fn distances() {
        let cases = [
            ("", "", 0),
            ("abc", "", 3),
            ("hst", "host", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("prot", "port", 1),
            ("abcd", "badc", 2),
            // Nothing is edited twice.
            ("ca", "abc", 3),
        ];
        for (a, b, distance) in cases {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
            assert_eq!(edit_distance(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn suggestions_are_close_or_absent() {
        assert_eq!(did_you_mean("hst", ["port", "host"]), Some("host"));
        assert_eq!(did_you_mean("prot", ["host", "port"]), Some("port"));
        assert_eq!(did_you_mean("serviceID", ["serviceId", "debug"]), Some("serviceId"));
        assert_eq!(did_you_mean("zebra", ["host", "port"]), None);
    }
}
