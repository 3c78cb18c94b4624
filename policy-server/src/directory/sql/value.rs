//! Values of a database's row, in the types that a login needs: text, truth, and the end of something. Pure.

use std::fmt;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::auth::account::parse_end;

/// Bytes of a value that are looked at.
pub const MAX_VALUE: usize = 64 << 10;
/// A number of seconds this large lies in the year 5138; so it counts milliseconds, as Java does.
const MILLISECONDS: i128 = 100_000_000_000;

#[derive(Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Real(f64),
    /// Bytes too, where they are UTF-8.
    Text(String),
    Moment(Timestamp),
    Day(Date),
    /// What it is instead of something that can be used.
    Unusable(String),
}

/// It may be a password digest.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Value {
    pub fn bytes(bytes: &[u8]) -> Self {
        if bytes.len() > MAX_VALUE {
            return Self::Unusable(format!("a value of {} bytes", bytes.len()));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Unusable("bytes that are no UTF-8".to_owned()),
        }
    }

    /// Text without the blanks that CHAR(n) is filled up with.
    pub fn unpadded(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(text.trim_end_matches(' ').to_owned()),
            other => other,
        }
    }

    /// What it is, without what is in it.
    pub fn kind(&self) -> &str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) | Self::Real(_) => "a number",
            Self::Text(_) => "a text",
            Self::Moment(_) => "a moment",
            Self::Day(_) => "a day",
            Self::Unusable(what) => what,
        }
    }

    /// As people would write it; `None` for NULL.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn text(&self) -> Result<Option<String>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Bool(truth) => Ok(Some(truth.to_string())),
            Self::Integer(number) => Ok(Some(number.to_string())),
            Self::Real(number) => Ok(Some(number.to_string())),
            Self::Text(text) => Ok(Some(text.clone())),
            Self::Moment(moment) => Ok(Some(moment.to_string())),
            Self::Day(day) => Ok(Some(day.to_string())),
            Self::Unusable(what) => Err(what.clone()),
        }
    }

    /// Whether it means yes. NULL means no.
    ///
    /// # Errors
    /// For a moment, which might be since when or until when, and for words that are none of the known ones.
    pub fn truth(&self) -> Result<bool, String> {
        let unknown = || format!("{}, not true or false", self.kind());
        match self {
            Self::Null => Ok(false),
            Self::Bool(truth) => Ok(*truth),
            Self::Integer(number) => Ok(*number != 0),
            Self::Real(number) => Ok(*number != 0.0),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "t" | "true" | "y" | "yes" | "on" | "\u{1}" => Ok(true),
                "0" | "f" | "false" | "n" | "no" | "off" | "\u{0}" => Ok(false),
                _ => Err(unknown()),
            },
            Self::Moment(_) | Self::Day(_) | Self::Unusable(_) => Err(unknown()),
        }
    }

    /// The first moment that is too late; `None` for NULL, which means never. A day is good until it ends in UTC, a
    /// number counts seconds (or milliseconds) since 1970, and text without a time zone is UTC.
    ///
    /// # Errors
    /// Says what it is instead.
    pub fn end(&self) -> Result<Option<Timestamp>, String> {
        let end = match self {
            Self::Null => return Ok(None),
            Self::Moment(moment) => Some(*moment),
            Self::Day(day) => parse_end(&day.to_string()),
            Self::Integer(number) => since_1970(*number),
            Self::Real(number) => since_1970(*number as i128),
            Self::Text(text) => text_end(text.trim()),
            Self::Bool(_) | Self::Unusable(_) => None,
        };
        end.map(Some).ok_or_else(|| format!("{}, not a date", self.kind()))
    }
}

fn since_1970(number: i128) -> Option<Timestamp> {
    let number = i64::try_from(number).ok()?;
    let is_milliseconds = i128::from(number).abs() >= MILLISECONDS;
    if is_milliseconds { Timestamp::from_millisecond(number).ok() } else { Timestamp::from_second(number).ok() }
}

fn text_end(text: &str) -> Option<Timestamp> {
    let zoneless = || text.parse::<DateTime>().ok().and_then(utc);
    // PostgreSQL's own way to write a zone: +02.
    let zoned = || Timestamp::strptime("%Y-%m-%d %H:%M:%S%.f%#z", text).ok();
    parse_end(text).or_else(zoned).or_else(zoneless)
}

fn utc(civil: DateTime) -> Option<Timestamp> {
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// A value of PostgreSQL's binary format, by the name of its type.
pub fn postgres(type_name: &str, bytes: &[u8]) -> Value {
    decode_postgres(type_name, bytes).unwrap_or_else(|| Value::Unusable(format!("a value of the type {type_name}")))
}

fn decode_postgres(type_name: &str, bytes: &[u8]) -> Option<Value> {
    Some(match type_name {
        "BOOL" => Value::Bool(bytes.first()? != &0),
        "INT2" => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        "INT4" => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        "INT8" => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?).into()),
        "OID" => Value::Integer(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        "FLOAT4" => Value::Real(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        "FLOAT8" => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        "NUMERIC" => numeric(bytes)?,
        "TIMESTAMP" | "TIMESTAMPTZ" => Value::Moment(match i64::from_be_bytes(bytes.try_into().ok()?) {
            i64::MAX => Timestamp::MAX,
            i64::MIN => Timestamp::MIN,
            microseconds => millennium(SignedDuration::from_micros(microseconds))?,
        }),
        "DATE" => match i32::from_be_bytes(bytes.try_into().ok()?) {
            i32::MAX => Value::Moment(Timestamp::MAX),
            i32::MIN => Value::Moment(Timestamp::MIN),
            days => {
                let moment = millennium(SignedDuration::from_hours(24 * i64::from(days)))?;
                Value::Day(moment.to_zoned(TimeZone::UTC).date())
            }
        },
        "UUID" => Value::Text(uuid(bytes)?),
        "CHAR" => Value::bytes(bytes).unpadded(),
        "TEXT" | "VARCHAR" | "NAME" | "\"CHAR\"" | "BYTEA" | "UNKNOWN" | "JSON" => Value::bytes(bytes),
        name if name.eq_ignore_ascii_case("citext") => Value::bytes(bytes),
        _ => return None,
    })
}

/// PostgreSQL counts from the beginning of 2000.
fn millennium(since: SignedDuration) -> Option<Timestamp> {
    Timestamp::from_second(946_684_800).ok()?.checked_add(since).ok()
}

/// Digits of base 10000 after how many there are, the power of the first, a sign and a scale.
fn numeric(bytes: &[u8]) -> Option<Value> {
    let mut words = bytes.chunks_exact(2).filter_map(|pair| Some(i16::from_be_bytes(pair.try_into().ok()?)));
    let (_, weight, sign, _) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let negative = match sign as u16 {
        0 => false,
        0x4000 => true,
        _ => return None,
    };
    let digits: Vec<i16> = words.collect();
    let integer = (0..=i32::from(weight)).try_fold(0_i128, |sum, place| {
        let digit = usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or_default();
        sum.checked_mul(10_000)?.checked_add(digit.into())
    })?;
    let signed = if negative { -integer } else { integer };
    let is_integer = digits.len() <= usize::try_from(i32::from(weight) + 1).unwrap_or_default();
    if is_integer {
        return Some(Value::Integer(signed));
    }
    let powers = (0..).map(|place| 10_000_f64.powi(i32::from(weight) - place));
    let real: f64 = digits.iter().zip(powers).map(|(digit, power)| f64::from(*digit) * power).sum();
    Some(Value::Real(if negative { -real } else { real }))
}

/// A number that MySQL writes out.
pub fn decimal(bytes: &[u8]) -> Value {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let real = || text.parse().map(Value::Real).unwrap_or_else(|_| Value::Unusable("no number".to_owned()));
    text.parse().map_or_else(|_| real(), Value::Integer)
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let hex = crate::token::hex(<&[u8; 16]>::try_from(bytes).ok()?);
    let part = |range| hex.get(range);
    Some([part(0..8)?, part(8..12)?, part(12..16)?, part(16..20)?, part(20..32)?].join("-"))
}

/// A DATE, DATETIME or TIMESTAMP of MySQL's binary protocol: its length, then as much of year, month, day, hour, minute,
/// second and microseconds as is not zero.
pub fn mysql_moment(is_day: bool, bytes: &[u8]) -> Value {
    decode_mysql_moment(is_day, bytes).unwrap_or_else(|| Value::Unusable("a date that no calendar has".to_owned()))
}

fn decode_mysql_moment(is_day: bool, bytes: &[u8]) -> Option<Value> {
    let (length, fields) = bytes.split_first()?;
    let fields = fields.get(..usize::from(*length))?;
    let small = |at: usize| fields.get(at).copied().unwrap_or_default() as i8;
    let year = i16::from_le_bytes(fields.get(..2)?.try_into().ok()?);
    let date = Date::new(year, small(2), small(3)).ok()?;
    if is_day {
        return Some(Value::Day(date));
    }
    let microseconds = fields.get(7..11).map_or(Some(0), |last| Some(i32::from_le_bytes(last.try_into().ok()?)))?;
    let time = jiff::civil::Time::new(small(4), small(5), small(6), microseconds.checked_mul(1000)?).ok()?;
    utc(date.to_datetime(time)).map(Value::Moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn truth_in_every_type() {
        let moment = Value::Moment(at("2026-01-01T00:00:00Z"));
        for (value, expected) in [
            (Value::Null, Some(false)),
            (Value::Bool(true), Some(true)),
            (Value::Integer(0), Some(false)),
            (Value::Integer(-7), Some(true)),
            (Value::Real(0.5), Some(true)),
            (text("Y"), Some(true)),
            (text(" TRUE "), Some(true)),
            (text("1"), Some(true)),
            (text("\u{1}"), Some(true)),
            (text("n"), Some(false)),
            (text("Off"), Some(false)),
            (text(""), None),
            (text("enabled"), None),
            (text("2"), None),
            (moment, None),
            (Value::Unusable("x".to_owned()), None),
        ] {
            assert_eq!(value.truth().ok(), expected, "{value:?} {:?}", value.text());
        }
    }

    #[test]
    fn ends_in_every_type() {
        let new_year = Some("2027-01-01T00:00:00Z");
        for (value, expected) in [
            (Value::Moment(at("2027-01-01T00:00:00Z")), new_year),
            (Value::Day("2026-12-31".parse().unwrap()), new_year),
            (Value::Integer(1_798_761_600), new_year),
            (Value::Integer(1_798_761_600_000), new_year),
            (Value::Real(1_798_761_600.0), new_year),
            (Value::Integer(0), Some("1970-01-01T00:00:00Z")),
            (text("2026-12-31"), new_year),
            (text("2027-01-01 00:00:00"), new_year),
            (text("2027-01-01T00:00:00Z"), new_year),
            (text("2027-01-01 02:00:00+02"), new_year),
            (text("2027-01-01 00:00:00.000000"), new_year),
            (text(""), None),
            (text("never"), None),
            (text("2027-13-01"), None),
            (Value::Bool(true), None),
            (Value::Integer(i128::MAX), None),
        ] {
            assert_eq!(value.end().ok().flatten(), expected.map(at), "{value:?} {:?}", value.text());
        }
        assert_eq!(Value::Null.end(), Ok(None));
    }

    #[test]
    fn values_of_postgresql() {
        let year_2000 = Value::Moment(at("2000-01-01T00:00:00Z"));
        let cases: [(&str, &[u8], Value); 22] = [
            ("BOOL", &[1], Value::Bool(true)),
            ("INT2", &[0xff, 0xfe], Value::Integer(-2)),
            ("INT4", &[0, 0, 1, 0], Value::Integer(256)),
            ("INT8", &[0, 0, 0, 0, 0, 0, 0, 7], Value::Integer(7)),
            ("FLOAT8", &1.5_f64.to_be_bytes(), Value::Real(1.5)),
            ("NUMERIC", &[0, 0, 0, 0, 0, 0, 0, 0], Value::Integer(0)),
            ("NUMERIC", &[0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1], Value::Integer(-1)),
            ("NUMERIC", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 3], Value::Integer(30_000)),
            ("NUMERIC", &[0, 2, 0, 0, 0, 0, 0, 1, 0, 2, 0x13, 0x88], Value::Real(2.5)),
            ("NUMERIC", &[0, 1, 0xff, 0xff, 0, 0, 0, 1, 0x13, 0x88], Value::Real(0.5)),
            ("TIMESTAMPTZ", &[0; 8], year_2000.clone()),
            ("TIMESTAMP", &[0; 8], year_2000),
            ("TIMESTAMP", &i64::MAX.to_be_bytes(), Value::Moment(Timestamp::MAX)),
            ("TIMESTAMP", &i64::MIN.to_be_bytes(), Value::Moment(Timestamp::MIN)),
            ("DATE", &[0, 0, 0, 31], Value::Day("2000-02-01".parse().unwrap())),
            ("DATE", &[0xff, 0xff, 0xff, 0xff], Value::Day("1999-12-31".parse().unwrap())),
            ("CHAR", b"alice   ", text("alice")),
            ("VARCHAR", b"alice ", text("alice ")),
            ("BYTEA", b"{SSHA}x", text("{SSHA}x")),
            ("BYTEA", b"\xff", Value::Unusable("bytes that are no UTF-8".to_owned())),
            ("UUID", &[0x12; 16], text("12121212-1212-1212-1212-121212121212")),
            ("POINT", &[0; 16], Value::Unusable("a value of the type POINT".to_owned())),
        ];
        for (name, bytes, expected) in cases {
            assert!(postgres(name, bytes) == expected, "{name} {bytes:?}: {:?}", postgres(name, bytes).text());
        }
        for name in ["BOOL", "INT2", "INT4", "INT8", "OID", "FLOAT4", "FLOAT8", "NUMERIC", "TIMESTAMP", "DATE", "UUID"]
        {
            for length in [0, 1, 3, 5, 7, 9] {
                let wrong = vec![0xff; length];
                assert!(
                    length == 1 || matches!(postgres(name, &wrong), Value::Unusable(_)) || name == "BOOL",
                    "{name}"
                );
            }
        }
        let long = vec![b'x'; MAX_VALUE + 1];
        assert!(matches!(postgres("TEXT", &long), Value::Unusable(_)));
    }

    #[test]
    fn numbers_and_dates_of_mysql() {
        for (text, expected) in [("-12", Value::Integer(-12)), ("0.0", Value::Real(0.0)), ("2.5", Value::Real(2.5))] {
            assert!(decimal(text.as_bytes()) == expected, "{text}");
        }
        let cases: [(bool, &[u8], Option<&str>); 8] = [
            (true, &[4, 0xea, 7, 12, 31], Some("2026-12-31")),
            (false, &[4, 0xea, 7, 12, 31], Some("2026-12-31T00:00:00Z")),
            (false, &[7, 0xea, 7, 12, 31, 23, 59, 58], Some("2026-12-31T23:59:58Z")),
            (false, &[11, 0xea, 7, 12, 31, 1, 2, 3, 0x40, 0x42, 0x0f, 0], None),
            (false, &[11, 0xea, 7, 12, 31, 1, 2, 3, 0x20, 0xa1, 0x07, 0], Some("2026-12-31T01:02:03.5Z")),
            (true, &[4, 0xea, 7, 0, 0], None),
            (true, &[9, 0xea, 7, 1, 1], None),
            (true, &[], None),
        ];
        for (is_day, bytes, expected) in cases {
            let found = mysql_moment(is_day, bytes).text().ok().flatten();
            assert_eq!(found.as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_value_does_not_show_itself() {
        assert_eq!(format!("{:?}", text("canary")), "a text");
        assert!(!text("canary").truth().unwrap_err().contains("canary"));
        assert!(!text("canary").end().unwrap_err().contains("canary"));
    }
}
