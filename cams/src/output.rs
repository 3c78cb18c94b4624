//! The only place that writes to standard output and standard error.

use std::io::Write;

#[cfg(feature = "policy-server")]
use serde::Serialize;

/// One line on standard output. A reader that went away is no error of ours.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// A notice for the person at the terminal, on standard error.
pub fn notice(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// The error and its causes. Several problems are several lines, each `file:line: what is wrong`.
pub fn error(error: &anyhow::Error) {
    let text = format!("{error:#}");
    if error.downcast_ref::<shared_proto::problem::Problems>().is_some() {
        notice(text);
    } else {
        notice(format!("cams: {text}"));
    }
}

#[cfg(feature = "policy-server")]
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(feature = "policy-server")]
/// Rows under a heading, columns as wide as their widest cell.
pub fn table(heading: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    print(&mut heading.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

#[cfg(feature = "policy-server")]
/// Text from outside, fit for a terminal: control characters are shown, not obeyed.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(feature = "policy-server")]
/// As [`plain`], for text of ours with several lines.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[cfg(all(test, feature = "policy-server"))]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nobody() {
        assert_eq!(plain("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
    }
}
