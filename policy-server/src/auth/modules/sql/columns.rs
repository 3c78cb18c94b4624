//! What the columns of a user's row mean. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use crate::auth::account::Account;
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::subject::Attributes;
use crate::directory::sql::Row;
use crate::directory::sql::value::Value;

/// Characters of a user name, an id or a role.
const MAX_NAME: usize = 256;
/// The namespace of an attribute that is given without one.
const NAMESPACE: &str = "person";

/// The labels of the columns that are read.
#[derive(Debug, Clone)]
pub struct Columns {
    password: String,
    user: Option<String>,
    id: Option<String>,
    enabled: Option<String>,
    locked: Option<String>,
    account_expires: Option<String>,
    credential_expires: Option<String>,
    attributes: Vec<AttributeColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AttributeColumn {
    namespace: String,
    name: String,
    column: String,
}

/// A user's row, read. What it says of the account is for those who know the password.
#[derive(Debug, Clone)]
pub struct Person {
    /// As the database spells the name, where it was asked for.
    pub user: Option<String>,
    pub id: Option<String>,
    pub attributes: Attributes,
    enabled: Option<Value>,
    locked: Option<Value>,
    account_expires: Option<Value>,
    credential_expires: Option<Value>,
}

impl Columns {
    pub fn take(options: &mut Options, problems: &mut Problems) -> Option<Self> {
        let password = options.require("passwordColumn", problems);
        let mut column = |name: &str| take_column(options, name, problems);
        let user = column("userNameColumn");
        let id = column("idColumn");
        let enabled = column("enabledColumn");
        let locked = column("lockedColumn");
        let account_expires = column("accountExpiresColumn");
        let credential_expires = column("credentialExpiresColumn");
        let attributes = take_attributes(options, problems);
        let password = password?.trim().to_owned();
        Some(Self { password, user, id, enabled, locked, account_expires, credential_expires, attributes })
    }

    /// Whether the database says how it spells a name.
    pub fn names_user(&self) -> bool {
        self.user.is_some()
    }

    /// # Errors
    /// `Login` where a column is missing or holds something else than it should.
    pub fn read(&self, row: &Row) -> Result<Person, LoginError> {
        let optional = |column: &Option<String>| column.as_deref().map(|column| get(row, column).cloned()).transpose();
        let user = self.user.as_deref().map(|column| name(row, column)).transpose()?;
        let id = self.id.as_deref().map(|column| name(row, column)).transpose()?;
        let mut attributes = Attributes::new();
        for AttributeColumn { namespace, name, column } in &self.attributes {
            if let Some(value) = text(row, column)? {
                attributes.entry(namespace.clone()).or_default().insert(name.clone(), value);
            }
        }
        Ok(Person {
            user,
            id,
            attributes,
            enabled: optional(&self.enabled)?,
            locked: optional(&self.locked)?,
            account_expires: optional(&self.account_expires)?,
            credential_expires: optional(&self.credential_expires)?,
        })
    }

    /// `None` for NULL and for what no password can match: anything else would say that the user exists.
    pub fn password(&self, row: &Row) -> Result<Option<Secret>, LoginError> {
        Ok(get(row, &self.password)?.text().ok().flatten().map(Secret::from))
    }
}

impl Person {
    /// # Errors
    /// What keeps the account from being used at this moment; `Login` where its state cannot be understood.
    pub fn check(&self, now: Timestamp) -> Result<(), LoginError> {
        let account = Account {
            enabled: state(&self.enabled, "enabledColumn", Value::truth)?.unwrap_or(true),
            expires: state(&self.account_expires, "accountExpiresColumn", Value::end)?.flatten(),
            credential_expires: state(&self.credential_expires, "credentialExpiresColumn", Value::end)?.flatten(),
        };
        let locked = state(&self.locked, "lockedColumn", Value::truth)?.unwrap_or(false);
        if account.enabled && locked {
            return Err(LoginError::new(ErrorKind::AccountLocked, "the account is locked"));
        }
        account.check(now)
    }
}

fn state<T>(
    value: &Option<Value>,
    option: &str,
    read: fn(&Value) -> Result<T, String>,
) -> Result<Option<T>, LoginError> {
    let read = value.as_ref().map(read).transpose();
    read.map_err(|what| LoginError::new(ErrorKind::Login, format!("the column of `{option}` holds {what}")))
}

/// The roles of these rows: one in each, without NULL and without what is no role's name.
pub fn roles(rows: &[Row], column: &str) -> Result<Vec<String>, LoginError> {
    let mut roles = Vec::new();
    for row in rows {
        let role = text(row, column)?.map(|role| role.trim().to_owned());
        roles.extend(role.filter(|role| is_name(role)));
    }
    Ok(roles)
}

fn get<'a>(row: &'a Row, column: &str) -> Result<&'a Value, LoginError> {
    row.get(column).map_err(|missing| LoginError::new(ErrorKind::Login, missing))
}

fn text(row: &Row, column: &str) -> Result<Option<String>, LoginError> {
    let text = get(row, column)?.text();
    text.map_err(|what| LoginError::new(ErrorKind::Login, format!("the column `{column}` holds {what}")))
}

/// A name that sessions, headers and logs can carry.
fn name(row: &Row, column: &str) -> Result<String, LoginError> {
    let name = text(row, column)?.filter(|name| is_name(name));
    name.ok_or_else(|| LoginError::new(ErrorKind::Login, format!("the column `{column}` holds no usable name")))
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control)
}

fn take_column(options: &mut Options, name: &str, problems: &mut Problems) -> Option<String> {
    let (column, line) = options.take(name)?;
    if column.trim().is_empty() {
        problems.add(options.file(), line, format!("option `{name}` is empty"));
    }
    Some(column.trim().to_owned())
}

/// `COLUMN`, `name=COLUMN` or `namespace.name=COLUMN`, separated by commas.
fn take_attributes(options: &mut Options, problems: &mut Problems) -> Vec<AttributeColumn> {
    let Some((list, line)) = options.take("attributeColumns") else { return Vec::new() };
    let mut found = BTreeMap::new();
    for part in list.split(',').map(str::trim) {
        let message = match attribute(part) {
            Some(attribute) => {
                let key = (attribute.namespace.clone(), attribute.name.clone());
                match found.insert(key, attribute) {
                    None => continue,
                    Some(_) => format!("option `attributeColumns`: `{part}` names an attribute a second time"),
                }
            }
            None => format!("option `attributeColumns`: `{part}` is not like COLUMN or person.mail=COLUMN"),
        };
        problems.add(options.file(), line, message);
    }
    found.into_values().collect()
}

fn attribute(part: &str) -> Option<AttributeColumn> {
    let lower = part.to_ascii_lowercase();
    let (name, column) = part.split_once('=').map_or((lower.as_str(), part), |(name, column)| (name, column));
    let (namespace, name) = name.trim().split_once('.').unwrap_or((NAMESPACE, name.trim()));
    let is_word = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    let column = column.trim();
    ([namespace, name].into_iter().all(is_word) && !column.is_empty()).then(|| AttributeColumn {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        column: column.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn columns(text: &str) -> (Option<Columns>, String) {
        let mut problems = Problems::default();
        let mut options = Options::from_properties(Path::new("t"), text, &mut problems);
        let columns = Columns::take(&mut options, &mut problems);
        options.finish(&mut problems);
        (columns, problems.to_string())
    }

    fn value(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    const ALL: &str = "passwordColumn=PASSWORD\nuserNameColumn=NAME\nidColumn=ID\nenabledColumn=E\nlockedColumn=L\n\
                       accountExpiresColumn=A\ncredentialExpiresColumn=C\nattributeColumns=MAIL, x.y=NICK";

    fn row(state: [Value; 4]) -> Row {
        let [enabled, locked, account, credential] = state;
        Row::of(&[
            ("password", value("{SSHA}x")),
            ("name", value("alice")),
            ("id", Value::Integer(7)),
            ("e", enabled),
            ("L", locked),
            ("a", account),
            ("C", credential),
            ("mail", value("a@example.org")),
            ("nick", Value::Null),
        ])
    }

    #[test]
    fn a_row_becomes_a_person() {
        let (columns, problems) = columns(ALL);
        assert_eq!(problems, "");
        let (columns, row) = (columns.unwrap(), row([Value::Bool(true), Value::Null, Value::Null, Value::Null]));
        assert_eq!(columns.password(&row).unwrap().unwrap().expose(), b"{SSHA}x");
        let person = columns.read(&row).unwrap();
        assert_eq!((person.user.as_deref(), person.id.as_deref()), (Some("alice"), Some("7")));
        assert_eq!(person.attributes["person"]["mail"], "a@example.org");
        assert!(!person.attributes.contains_key("x"), "NULL is no value");
    }

    #[test]
    fn the_state_is_checked_and_what_is_unclear_denies() {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let (past, future) = (value("2026-05-01"), value("2026-07-01"));
        let (yes, no, null) = (Value::Integer(1), Value::Integer(0), Value::Null);
        let moment = Value::Moment(now);
        for (state, expected) in [
            ([&yes, &no, &future, &future], None),
            ([&yes, &null, &null, &null], None),
            ([&null, &no, &null, &null], Some(ErrorKind::Account)),
            ([&no, &yes, &past, &past], Some(ErrorKind::Account)),
            ([&yes, &yes, &past, &past], Some(ErrorKind::AccountLocked)),
            ([&yes, &no, &past, &past], Some(ErrorKind::AccountExpired)),
            ([&yes, &no, &future, &past], Some(ErrorKind::CredentialExpired)),
            ([&past, &no, &null, &null], Some(ErrorKind::Login)),
            ([&yes, &moment, &null, &null], Some(ErrorKind::Login)),
            ([&yes, &no, &yes, &null], Some(ErrorKind::AccountExpired)),
            ([&yes, &no, &Value::Bool(true), &null], Some(ErrorKind::Login)),
        ] {
            let person = columns(ALL).0.unwrap().read(&row(state.map(Value::clone))).unwrap();
            assert_eq!(person.check(now).err().map(|error| error.kind), expected, "{state:?}");
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_the_configurations_fault() {
        let unusable = || Value::Unusable("a value of the type POINT".to_owned());
        let columns = |text| columns(text).0.unwrap();
        for (options, row, expected) in [
            ("passwordColumn=x\nidColumn=y", &[("x", value("p")), ("y", Value::Null)], "`y` holds no usable name"),
            ("passwordColumn=x\nuserNameColumn=y", &[("x", value("p")), ("y", value("a\n"))], "no usable name"),
            ("passwordColumn=x\nattributeColumns=y", &[("x", value("p")), ("y", unusable())], "the type POINT"),
            ("passwordColumn=x\nenabledColumn=z", &[("x", value("p")), ("y", Value::Null)], "no column `z`"),
        ] {
            let error = columns(options).read(&Row::of(row)).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Login, "{options}");
            assert!(error.detail.contains(expected), "{options}: {error}");
        }
        let missing = columns("passwordColumn=PW").password(&Row::of(&[("x", Value::Null), ("y", Value::Null)]));
        assert!(missing.unwrap_err().detail.contains("gives no column `PW`; it gives: x, y"));
        for nothing in [Value::Null, unusable()] {
            assert!(columns("passwordColumn=x").password(&Row::of(&[("x", nothing)])).unwrap().is_none());
        }
    }

    #[test]
    fn roles_are_one_a_row() {
        let rows = |values: &[Value]| values.iter().map(|v| Row::of(&[("role_name", v.clone())])).collect::<Vec<_>>();
        let found =
            roles(&rows(&[value("staff "), Value::Null, value(" "), value("a\nb"), Value::Integer(7)]), "ROLE_NAME");
        assert_eq!(found.unwrap(), ["staff", "7"]);
        assert_eq!(roles(&rows(&[value("x")]), "ROLE").unwrap_err().kind, ErrorKind::Login);
    }

    #[test]
    fn wrong_options_are_problems() {
        for (text, expected) in [
            ("", "t: property `passwordColumn` is missing"),
            ("passwordColumn= ", "t:1: property `passwordColumn` is empty"),
            ("passwordColumn=P\nidColumn=", "t:2: option `idColumn` is empty"),
            ("passwordColumn=P\nattributeColumns=A,", "t:2: option `attributeColumns`: `` is not like COLUMN"),
            ("passwordColumn=P\nattributeColumns=a b=C", "`a b=C` is not like"),
            ("passwordColumn=P\nattributeColumns=A,person.a=B", "`person.a=B` names an attribute a second time"),
            ("passwordColumn=P\nenabledCol=E", "did you mean `enabledColumn`?"),
        ] {
            let (_, problems) = columns(text);
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }
}
