//! The only place that writes to standard output and standard error.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
#[cfg(feature = "policy-server")]
use serde::Serialize;
use shared_proto::problem::Problems;
pub use shared_proto::problem::plain;

/// The exit code of a command that was told what makes no sense.
pub const USAGE: u8 = 2;

/// What makes no sense only beside the configuration, and so is no business of the parser of arguments.
#[derive(Debug)]
#[cfg(feature = "policy-server")]
pub struct Usage(pub String);

#[cfg(feature = "policy-server")]
impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(feature = "policy-server")]
impl std::error::Error for Usage {}

/// One line on standard output. A reader that went away is no error of ours; a line that is lost otherwise is.
pub fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{}", text.as_ref()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}

/// A notice for the person at the terminal, on standard error.
pub fn notice(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// A question for the person at the terminal, who answers on the same line.
#[cfg(feature = "policy-server")]
pub fn prompt(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Shows the error and its causes; the exit code. Several problems are several lines, each `file:line: what is wrong`.
pub fn error(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        notice(problems.to_string());
    } else {
        notice(format!("cams: {}", plain_lines(&with_causes(error))));
    }
    #[cfg(feature = "policy-server")]
    if error.is::<Usage>() {
        return USAGE.into();
    }
    ExitCode::FAILURE
}

/// The error and what caused it, each said once: errors of libraries often say their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        earlier if earlier.ends_with(&cause) => said,
        earlier => format!("{earlier}: {cause}"),
    })
}

#[cfg(feature = "policy-server")]
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?)
}

#[cfg(feature = "policy-server")]
/// Rows under a heading, columns as wide as their widest cell.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> anyhow::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end())
    };
    print(&mut heading.iter().copied())?;
    rows.iter().try_for_each(|row| print(&mut row.iter().map(String::as_str)))
}

/// As [`plain`], for text of ours with several lines.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nobody() {
        assert_eq!(plain_lines("a\u{1b}[31m\nb\r"), "a\\u{1b}[31m\nb\\r");
    }

    #[test]
    fn every_cause_is_said_once() {
        for (causes, expected) in [
            (&["a"][..], "a"),
            (&["cannot write", "no space"], "cannot write: no space"),
            (
                &["the store failed: database: locked", "database: locked", "locked"],
                "the store failed: database: locked",
            ),
            (&["a", "b: c", "c", "d"], "a: b: c: d"),
        ] {
            let innermost = anyhow::anyhow!("{}", causes.last().unwrap());
            let error = causes.iter().rev().skip(1).fold(innermost, |error, cause| error.context((*cause).to_owned()));
            assert_eq!(with_causes(&error), expected);
        }
    }
}
