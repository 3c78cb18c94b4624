//! The syntax of Java `.properties` files: `key=value`, `key: value` or `key value`, comments with `#` or `!`, a
//! backslash at the end of a line continues it, `\t \n \r \f \uXXXX` are escapes. Read as UTF-8; a byte
//! order mark before it all, as some editors write it, is no part of the text.
//! Source: java.util.Properties#load.

use std::path::Path;

use crate::problem::{Problem, Problems};

/// One logical line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub key: String,
    pub value: String,
    /// Where it starts, from 1.
    pub line: usize,
}

/// All properties in the order of the file. Broken escapes and repeated keys are problems (Java would let the last one
/// win silently).
pub fn parse(file: &Path, text: &str, problems: &mut Problems) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, logical) in logical_lines(text) {
        let (raw_key, raw_value) = split(&logical);
        match (unescape(raw_key), unescape(raw_value)) {
            (Ok(key), Ok(value)) => match found.iter().find(|earlier| earlier.key == key) {
                Some(earlier) => problems.push(Problem::new(
                    file,
                    line,
                    format!("`{key}` is set twice (first on line {}): keep one", earlier.line),
                )),
                None => found.push(Property { key, value, line }),
            },
            (Err(message), _) | (_, Err(message)) => problems.add(file, line, message),
        }
    }
    found
}

/// Joins continued lines and drops comments and blank ones.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start_matches([' ', '\t', '\u{c}']);
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        let continues = backslashes % 2 == 1;
        let content = if continues { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, logical)) if continued => logical.push_str(content),
            _ if line.is_empty() || line.starts_with(['#', '!']) => continue,
            _ => lines.push((n + 1, content.to_owned())),
        }
        continued = continues;
    }
    lines
}

/// Splits at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (&str, &str) {
    const BLANK: [char; 3] = [' ', '\t', '\u{c}'];
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let stop = !escaped && (matches!(c, '=' | ':') || BLANK.contains(c));
            escaped = *c == '\\' && !escaped;
            stop
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(BLANK);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(BLANK))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => out.push(unicode_escape(&mut chars)?),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

/// The four digits after `\u`, and those of a following low surrogate.
fn unicode_escape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let mut unit = || -> Result<u16, String> {
        let digits: String = chars.by_ref().take(4).collect();
        if digits.len() != 4 {
            return Err(format!("`\\u{digits}` is not an escape: write four hexadecimal digits"));
        }
        u16::from_str_radix(&digits, 16)
            .map_err(|_| format!("`\\u{digits}` is not an escape: write four hexadecimal digits"))
    };
    let high = unit()?;
    let mut units = vec![high];
    if (0xd800..0xdc00).contains(&high) {
        let rest = chars.as_str();
        let Some(after) = rest.strip_prefix("\\u") else {
            return Err(format!("`\\u{high:04x}` is half a character: its second half must follow"));
        };
        *chars = after.chars();
        units.push(u16::from_str_radix(&chars.by_ref().take(4).collect::<String>(), 16).unwrap_or(0));
    }
    char::decode_utf16(units).next().and_then(Result::ok).ok_or_else(|| format!("`\\u{high:04x}` is not a character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let mut problems = Problems::default();
        let found = parse(Path::new("t"), text, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        let found: Vec<_> = found.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn separators_comments_and_continuations() {
        check("# c\n! c\n\n a = 1\nb:2\nc 3\nd\n", &[("a", "1", 4), ("b", "2", 5), ("c", "3", 6), ("d", "", 7)]);
        check(
            "a.message=\\\n   \"Failed\"\nb=x\\\n# not a comment\n",
            &[("a.message", "\"Failed\"", 1), ("b", "x# not a comment", 3)],
        );
        check("a\\ b\\:c=d\\\\\ne=f", &[("a b:c", "d\\", 1), ("e", "f", 2)]);
    }

    #[test]
    fn escapes() {
        check("k=\\u00e9\\t\\q", &[("k", "é\tq", 1)]);
        check("k=\\ud83d\\ude00!", &[("k", "😀!", 1)]);
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        check("\u{feff}# c\na=1\n", &[("a", "1", 2)]);
        check("\u{feff}a=\u{feff}1", &[("a", "\u{feff}1", 1)]);
    }

    #[test]
    fn problems_name_the_line() {
        let mut problems = Problems::default();
        parse(Path::new("f.conf"), "a=1\na=2\nb=\\u12\nc=\\ud83dx", &mut problems);
        let lines: Vec<usize> = problems.iter().map(|p| p.line).collect();
        assert_eq!(lines, [2, 3, 4]);
        assert!(problems.to_string().starts_with("f.conf:2: `a` is set twice (first on line 1)"));
    }
}
