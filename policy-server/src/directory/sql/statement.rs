//! SQL statements as an administrator writes them for JDBC: every `?` stands for a value that is bound, never pasted.
//! Pure.
//!
//! What is quoted or a comment is found as the database itself would find it, so that a `?` in there is left alone.

use std::sync::Arc;

use thiserror::Error;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    MySql,
    Sqlite,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    #[error("has no `?` for the user name")]
    NoPlaceholder,
    #[error("has a parameter that is not a plain `?`: write `?` wherever a value belongs")]
    OtherParameter,
    #[error("ends within {0}")]
    Unterminated(&'static str),
    #[error("has a comment that some servers execute (`/*!`): leave it out")]
    ExecutedComment,
}

/// A statement in the words of its database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub sql: Arc<str>,
    pub placeholders: usize,
    /// Its first word, in upper case.
    pub verb: String,
}

enum Token {
    Placeholder,
    /// `??`, pgjdbc's way to write the operator `?`.
    Operator,
    Word,
    Blank,
    Other,
}

impl Statement {
    /// PostgreSQL gets `$1`, `$2`… for the placeholders; the others take them as they are.
    ///
    /// # Errors
    /// Without a placeholder, with parameters of another kind, or where a quote or comment does not end.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, StatementError> {
        let (mut sql, mut placeholders, mut verb, mut rest) = (String::new(), 0, None, text);
        while !rest.is_empty() {
            let (token, length) = token(rest, dialect)?;
            let (text, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            match token {
                Token::Placeholder => {
                    placeholders += 1;
                    match dialect {
                        Dialect::Postgres => sql.push_str(&format!("${placeholders}")),
                        Dialect::MySql | Dialect::Sqlite => sql.push('?'),
                    }
                }
                Token::Operator => sql.push('?'),
                Token::Word | Token::Blank | Token::Other => sql.push_str(text),
            }
            if !matches!(token, Token::Blank) {
                verb.get_or_insert_with(|| text.to_ascii_uppercase());
            }
            rest = after;
        }
        match placeholders {
            0 => Err(StatementError::NoPlaceholder),
            _ => Ok(Self { sql: sql.into(), placeholders, verb: verb.unwrap_or_default() }),
        }
    }

    /// Whether its first word says that it gives rows.
    pub fn gives_rows(&self) -> bool {
        ["SELECT", "WITH", "CALL"].contains(&self.verb.as_str())
    }
}

/// What comes next, and how many bytes of it.
fn token(rest: &str, dialect: Dialect) -> Result<(Token, usize), StatementError> {
    use Dialect::{MySql, Postgres, Sqlite};
    let mut chars = rest.chars();
    let (Some(first), second) = (chars.next(), chars.next()) else { return Ok((Token::Other, rest.len())) };
    let other = |length| Ok((Token::Other, length));
    let blank = |length| Ok((Token::Blank, length));
    match (first, second) {
        ('\'' | '"', _) => other(quoted(rest, first, dialect == MySql)?),
        ('e' | 'E', Some('\'')) if dialect == Postgres => {
            other(1 + quoted(rest.get(1..).unwrap_or_default(), '\'', true)?)
        }
        ('`', _) if dialect != Postgres => other(quoted(rest, '`', false)?),
        ('[', _) if dialect == Sqlite => other(until(rest, "]", "a name in brackets")?),
        ('-', Some('-')) if dialect != MySql || dashes_comment(rest) => blank(line(rest)),
        ('#', _) if dialect == MySql => blank(line(rest)),
        ('/', Some('*')) => blank(block_comment(rest, dialect)?),
        ('$', Some(c)) if dialect == Postgres && c.is_ascii_digit() => Err(StatementError::OtherParameter),
        ('$', _) if dialect == Postgres => other(dollar_quoted(rest)?),
        ('?', Some('?')) if dialect == Postgres => Ok((Token::Operator, 2)),
        ('?', Some(c)) if dialect == Sqlite && c.is_ascii_digit() => Err(StatementError::OtherParameter),
        ('?', _) => Ok((Token::Placeholder, 1)),
        (':' | '@' | '$', Some(c)) if dialect == Sqlite && is_word(c) => Err(StatementError::OtherParameter),
        (c, _) if is_word(c) => Ok((Token::Word, span(rest, |c| is_word(c) || c == '$'))),
        (c, _) if c.is_whitespace() || c == '(' => blank(c.len_utf8()),
        (c, _) => other(c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || !c.is_ascii()
}

/// Bytes at the beginning whose characters are such.
fn span(text: &str, mut is_such: impl FnMut(char) -> bool) -> usize {
    text.find(|c| !is_such(c)).unwrap_or(text.len())
}

/// The length of a quoted text, its quotes included. A doubled quote stands for itself, and with `backslashes` so does
/// the character after one.
fn quoted(text: &str, quote: char, backslashes: bool) -> Result<usize, StatementError> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && backslashes {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + quote.len_utf8());
        }
    }
    Err(StatementError::Unterminated("a quoted text"))
}

fn until(text: &str, end: &str, what: &'static str) -> Result<usize, StatementError> {
    text.find(end).map(|at| at + end.len()).ok_or(StatementError::Unterminated(what))
}

/// Up to the end of the line; what ends it comes next.
fn line(text: &str) -> usize {
    span(text, |c| c != '\n')
}

/// To MySQL two dashes are a comment only before a blank: `5--1` is a sum.
fn dashes_comment(text: &str) -> bool {
    text.chars().nth(2).is_none_or(|c| c.is_whitespace() || c.is_control())
}

fn block_comment(text: &str, dialect: Dialect) -> Result<usize, StatementError> {
    if dialect == Dialect::MySql && (text.starts_with("/*!") || text.starts_with("/*M!")) {
        return Err(StatementError::ExecutedComment);
    }
    const COMMENT: &str = "a comment";
    if dialect != Dialect::Postgres {
        let body = text.get(2..).unwrap_or_default();
        return Ok(2 + until(body, "*/", COMMENT)?);
    }
    // PostgreSQL's comments may hold comments.
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Err(StatementError::Unterminated(COMMENT))
}

/// `$tag$ … $tag$`; the length of one character where it is none.
fn dollar_quoted(text: &str) -> Result<usize, StatementError> {
    let body = text.get(1..).unwrap_or_default();
    let tag = span(body, is_word);
    let Some(opening) = text.get(..tag + 2).filter(|opening| opening.ends_with('$')) else { return Ok(1) };
    let body = text.get(opening.len()..).unwrap_or_default();
    Ok(opening.len() + until(body, opening, "a text in dollar quotes")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    /// The statement, how many values it takes, and what PostgreSQL gets.
    fn check(text: &str, dialects: &[Dialect], placeholders: usize, for_postgres: &str) {
        for dialect in dialects {
            let parsed = Statement::parse(text, *dialect).unwrap_or_else(|error| panic!("{dialect:?} {text}: {error}"));
            let expected = if *dialect == Dialect::Postgres { for_postgres } else { text };
            assert_eq!((&*parsed.sql, parsed.placeholders), (expected, placeholders), "{dialect:?} {text}");
        }
    }

    #[test]
    fn placeholders_are_counted_where_the_database_sees_them() {
        use Dialect::{MySql, Postgres, Sqlite};
        check("SELECT P FROM U WHERE N = ? ", &ALL, 1, "SELECT P FROM U WHERE N = $1 ");
        check("SELECT ?,'it''s ?',\"a?\"\"?\",?", &ALL, 2, "SELECT $1,'it''s ?',\"a?\"\"?\",$2");
        check("SELECT ? -- why?\n, ?", &ALL, 2, "SELECT $1 -- why?\n, $2");
        check("SELECT ? /* why? */ , ?", &ALL, 2, "SELECT $1 /* why? */ , $2");
        check("SELECT /* a /* b? */ ? */ ?", &[Postgres], 1, "SELECT /* a /* b? */ ? */ $1");
        check("SELECT /* a /* b? */ ?", &[MySql, Sqlite], 1, "");
        check(r"SELECT E'\'?', e'\\', ?", &[Postgres], 1, r"SELECT E'\'?', e'\\', $1");
        check(r"SELECT '\', ?, ' '", &[Postgres, Sqlite], 1, r"SELECT '\', $1, ' '");
        check(r"SELECT '\'?', ?", &[MySql], 1, "");
        check("SELECT $$ ? $$, $a$ $$ ? $a$, n$1$, ?", &[Postgres], 1, "SELECT $$ ? $$, $a$ $$ ? $a$, n$1$, $1");
        check(
            "SELECT a ?? 'k' AND b ??| c AND n = ?::citext",
            &[Postgres],
            1,
            "SELECT a ? 'k' AND b ?| c AND n = $1::citext",
        );
        check("SELECT `a?``?`, ?", &[MySql, Sqlite], 1, "");
        check("SELECT [a?], ?", &[Sqlite], 1, "");
        check("SELECT a[1], ?", &[Postgres], 1, "SELECT a[1], $1");
        check("SELECT ? # why?\n, ?", &[MySql], 2, "");
        check("SELECT a #> '{x}', ?", &[Postgres], 1, "SELECT a #> '{x}', $1");
        check("SELECT 5--?\n", &[MySql], 1, "");
        check("SELECT 'é?', ö FROM \u{2014} WHERE n=?", &ALL, 1, "SELECT 'é?', ö FROM \u{2014} WHERE n=$1");
        check("SELECT :a::text, ?", &[Postgres], 1, "SELECT :a::text, $1");
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        use Dialect::{MySql, Postgres, Sqlite};
        use StatementError::{ExecutedComment, NoPlaceholder, OtherParameter, Unterminated};
        let cases: [(&str, &[Dialect], StatementError); 13] = [
            ("", &ALL, NoPlaceholder),
            ("SELECT P FROM U WHERE N = 'alice'", &ALL, NoPlaceholder),
            ("SELECT P FROM U WHERE N = '?' -- ?", &ALL, NoPlaceholder),
            ("SELECT a ?? b", &[Postgres], NoPlaceholder),
            ("SELECT P FROM U WHERE N = $1", &[Postgres], OtherParameter),
            ("SELECT P FROM U WHERE N = ?1", &[Sqlite], OtherParameter),
            ("SELECT P FROM U WHERE N = :name OR ?", &[Sqlite], OtherParameter),
            ("SELECT ?, 'open", &ALL, Unterminated("a quoted text")),
            ("SELECT ?, \"open''", &ALL, Unterminated("a quoted text")),
            ("SELECT ? /* open", &ALL, Unterminated("a comment")),
            ("SELECT ? /* /* */", &[Postgres], Unterminated("a comment")),
            ("SELECT ?, $a$ $$", &[Postgres], Unterminated("a text in dollar quotes")),
            ("SELECT /*!50000 ? */ 1", &[MySql], ExecutedComment),
        ];
        for (text, dialects, expected) in cases {
            for dialect in dialects {
                assert_eq!(Statement::parse(text, *dialect), Err(expected.clone()), "{dialect:?} {text}");
            }
        }
    }

    #[test]
    fn the_first_word_tells_what_it_is() {
        for (text, gives_rows) in [
            ("select ?", true),
            (" -- users\n/* x */ (SELECT ?)", true),
            ("WITH u AS (SELECT 1) SELECT ?", true),
            ("call find_user(?)", true),
            ("UPDATE U SET P = ?", false),
            ("?", false),
        ] {
            for dialect in ALL {
                assert_eq!(Statement::parse(text, dialect).unwrap().gives_rows(), gives_rows, "{text}");
            }
        }
    }

    /// Whatever it is made of, nothing panics, and what is not a placeholder is passed on as it is.
    #[test]
    fn any_text_is_taken_or_refused() {
        const PIECES: [&str; 16] =
            ["'", "\"", "\\", "?", "$", "$$", "a", "/*", "*/", "--", "\n", "#", "`", "[", "é", "E"];
        for number in 0..PIECES.len().pow(4) {
            let pieces = (0..4).map(|place| PIECES[number / PIECES.len().pow(place) % PIECES.len()]);
            let text: String = pieces.collect();
            for dialect in ALL {
                if let Ok(statement) = Statement::parse(&text, dialect) {
                    assert!(statement.placeholders > 0);
                    assert!(dialect == Dialect::Postgres || *statement.sql == *text, "{text}");
                }
            }
        }
    }
}
