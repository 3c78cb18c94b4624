//! Attributes of very many values, which a directory gives out in parts (MS-ADTS, section 3.1.1.3.1.3.3). Pure.

/// How many values to ask for: what a domain controller gives at most by default. It may give fewer.
const PART: usize = 1500;
/// Of so many groups nobody can be; a directory that says so does not end.
const MAX_VALUES: usize = 50_000;

/// An attribute on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranged {
    attribute: &'static str,
    values: Vec<Vec<u8>>,
    /// Whether the last part was there.
    whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("the parts of `{0}` do not follow each other")]
    Disorder(&'static str),
    #[error("`{0}` has more than {MAX_VALUES} values")]
    TooMany(&'static str),
}

impl Ranged {
    pub fn new(attribute: &'static str) -> Self {
        Self { attribute, values: Vec::new(), whole: false }
    }

    /// The attribute to ask for next; `None` when all values are there.
    pub fn next(&self) -> Option<String> {
        let start = self.values.len();
        (!self.whole).then(|| format!("{};range={start}-{}", self.attribute, start + PART - 1))
    }

    /// Takes what came for the last question: the attributes of the entry with their values.
    ///
    /// # Errors
    /// When the parts have gaps or do not end.
    pub fn add(&mut self, attributes: Vec<(String, Vec<Vec<u8>>)>) -> Result<(), RangeError> {
        let mut parts = attributes.into_iter().filter(|(_, values)| !values.is_empty());
        let part = parts.find_map(|(name, values)| Some((self.span(&name)?, values)));
        let Some(((start, end), values)) = part else {
            // No value at all, or none beyond what is there.
            self.whole = true;
            return Ok(());
        };
        if start != self.values.len() || end.is_some_and(|end| end.checked_add(1) != Some(start + values.len())) {
            return Err(RangeError::Disorder(self.attribute));
        }
        self.values.extend(values);
        self.whole = end.is_none();
        if self.values.len() > MAX_VALUES { Err(RangeError::TooMany(self.attribute)) } else { Ok(()) }
    }

    pub fn into_values(self) -> Vec<Vec<u8>> {
        self.values
    }

    /// First and last place of the values under this name; the last part has no last place.
    fn span(&self, name: &str) -> Option<(usize, Option<usize>)> {
        let (attribute, options) = name.split_once(';').unwrap_or((name, ""));
        if !attribute.eq_ignore_ascii_case(self.attribute) {
            return None;
        }
        if options.is_empty() {
            return Some((0, None));
        }
        let (start, end) =
            options.split_once('=').filter(|(option, _)| option.eq_ignore_ascii_case("range"))?.1.split_once('-')?;
        let end = if end == "*" { None } else { Some(end.parse().ok()?) };
        Some((start.parse().ok()?, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: usize) -> Vec<u8> {
        number.to_string().into_bytes()
    }

    fn answer(name: &str, values: usize) -> Vec<(String, Vec<Vec<u8>>)> {
        vec![(name.to_owned(), (0..values).map(number).collect())]
    }

    /// A directory with this many groups that gives out `part` of them at once.
    fn collect(groups: usize, part: usize) -> (Result<Vec<Vec<u8>>, RangeError>, usize) {
        let mut ranged = Ranged::new("memberOf");
        let mut asked = 0;
        while let Some(question) = ranged.next() {
            asked += 1;
            let (start, end) = question.strip_prefix("memberOf;range=").unwrap().split_once('-').unwrap();
            let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
            let stop = groups.min(end + 1).min(start + part);
            let last = if stop == groups { "*".to_owned() } else { (stop - 1).to_string() };
            let values = (start..stop).map(number).collect();
            let answer = [("CN".to_owned(), vec![number(0)]), (format!("MemberOf;Range={start}-{last}"), values)];
            if let Err(error) = ranged.add(answer.into()) {
                return (Err(error), asked);
            }
        }
        (Ok(ranged.into_values()), asked)
    }

    #[test]
    fn all_parts_are_fetched_whatever_their_size() {
        for (groups, part, questions) in [
            (0, 1500, 1),
            (1, 1500, 1),
            (1499, 1500, 1),
            (1500, 1500, 1),
            (1501, 1500, 2),
            (5000, 1500, 4),
            (5000, 1000, 5),
            (3, 1, 3),
        ] {
            let (values, asked) = collect(groups, part);
            assert_eq!(values, Ok((0..groups).map(number).collect()));
            assert_eq!(asked, questions, "{groups} by {part}");
        }
    }

    #[test]
    fn a_directory_that_knows_no_parts_gives_all_at_once() {
        let mut ranged = Ranged::new("memberOf");
        ranged.add(answer("memberof", 2)).unwrap();
        assert_eq!((ranged.next(), ranged.into_values().len()), (None, 2));
    }

    #[test]
    fn parts_in_disorder_and_without_end_are_errors() {
        for name in ["memberOf;range=1-*", "memberOf;range=0-5", "memberOf;range=0-0", "memberOf;range=1-2"] {
            let mut ranged = Ranged::new("memberOf");
            assert_eq!(ranged.add(answer(name, 2)), Err(RangeError::Disorder("memberOf")), "{name}");
        }
        assert_eq!(collect(MAX_VALUES + 1, PART).0, Err(RangeError::TooMany("memberOf")));
        for name in ["memberOf;lang=de", "memberOf;range=x-*", "member", "memberOf;range=0"] {
            let mut ranged = Ranged::new("memberOf");
            ranged.add(answer(name, 1)).unwrap();
            assert!(ranged.into_values().is_empty(), "{name}");
        }
    }
}
