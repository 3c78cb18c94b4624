//! The login form, read strictly: a field that is there twice, or bytes that are no text, must not be guessed at. Pure.

use std::collections::BTreeMap;

use shared_proto::names::{CALLBACK_PREFIX, field};
use shared_proto::secret::Secret;

use crate::head::{Head, Refusal};

/// Bytes of the longest form.
pub const MAX_BODY: usize = 64 * 1024;

/// Fields of the longest form.
const MAX_FIELDS: usize = 100;

/// What a person sent to log in.
#[derive(Debug, Default)]
pub struct LoginForm {
    pub domain: Option<String>,
    pub entry: Option<String>,
    pub original_url: Option<String>,
    /// A code of what the page has to say.
    pub notice: Option<String>,
    /// What ties the browser to another site that waits for its session.
    pub handover: Option<String>,
    /// Whether the session that the browser has does not do.
    pub fresh: bool,
    /// By name, without the `cams_cb_` prefix.
    pub callbacks: BTreeMap<String, Secret>,
}

impl LoginForm {
    /// Reads a form body or a query.
    ///
    /// # Errors
    /// 400 for a malformed, repeated or surplus field.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut form = Self::default();
        for (name, value) in fields(text)? {
            let slot = match name.as_str() {
                field::DOMAIN => &mut form.domain,
                field::ENTRY => &mut form.entry,
                field::ORIGINAL_URL => &mut form.original_url,
                field::NOTICE => &mut form.notice,
                field::HANDOVER => &mut form.handover,
                field::FRESH => {
                    form.fresh = value.expose() == b"true";
                    continue;
                }
                name => {
                    if let Some(name) = name.strip_prefix(CALLBACK_PREFIX) {
                        form.callbacks.insert(name.to_owned(), value);
                    }
                    continue;
                }
            };
            *slot = value.expose_str().map(str::to_owned);
        }
        Ok(form)
    }

    /// What was typed as the user name.
    pub fn username(&self) -> &str {
        self.callbacks.get(callback_name(field::USERNAME)).and_then(Secret::expose_str).unwrap_or_default()
    }
}

/// The name of the callback value that a form field carries.
pub fn callback_name(field: &str) -> &str {
    field.strip_prefix(CALLBACK_PREFIX).unwrap_or(field)
}

/// Whether the body is said to be a plain form in UTF-8.
///
/// # Errors
/// 415 for any other type or coding, so that no body is ever unpacked; 400 where a header is there twice.
pub fn check_type(head: &Head) -> Result<(), Refusal> {
    let coding = head.single("Content-Encoding")?;
    let full = head.single("Content-Type")?.unwrap_or_default();
    let (kind, parameters) = full.split_once(';').unwrap_or((full, ""));
    let charset = parameters.trim().to_ascii_lowercase();
    let is_form = kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && matches!(charset.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
        && coding.is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    if is_form { Ok(()) } else { Err(Refusal::new(415, "the body is not a plain form")) }
}

/// `name=value` pairs; the values are wiped when dropped, as any of them may be a password.
///
/// # Errors
/// 400 for a malformed, repeated or surplus field.
pub fn fields(text: &[u8]) -> Result<BTreeMap<String, Secret>, Refusal> {
    let mut fields = BTreeMap::new();
    let pairs = text.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    for (n, pair) in pairs.enumerate() {
        if n >= MAX_FIELDS {
            return Err(Refusal::bad("the form has too many fields"));
        }
        let (name, value) = pair.split_at(pair.iter().position(|b| *b == b'=').unwrap_or(pair.len()));
        let value = decode(value.strip_prefix(b"=").unwrap_or_default())?;
        let name = decode(name)?.expose_str().unwrap_or_default().to_owned();
        if fields.insert(name, value).is_some() {
            return Err(Refusal::bad("a field of the form is there twice"));
        }
    }
    Ok(fields)
}

/// Decodes `+` and `%XX`, strictly; the result is UTF-8 without NUL.
fn decode(text: &[u8]) -> Result<Secret, Refusal> {
    const MALFORMED: Refusal = Refusal::bad("the form is malformed");
    // Never grows, so that no copy of a password stays behind.
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        out.push(match first {
            b'+' => b' ',
            b'%' => {
                let (byte, tail) = crate::target::hex_pair(rest).ok_or(MALFORMED)?;
                rest = tail;
                byte
            }
            plain => *plain,
        });
    }
    let secret = Secret::new(out);
    let is_text = secret.expose_str().is_some_and(|text| !text.contains('\0'));
    if is_text { Ok(secret) } else { Err(MALFORMED) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Version;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let body = b"cams_cb_username=al+ice%40x&cams_cb_password=p%26%3D%C3%A9%2B&cams_cb_otp=1&submit=Go&cams_security_domain=\
            system&cams_login_config=http&cams_original_url=https%3A%2F%2Fapp.test%2Fx%3Fa%3Db&&empty";
        let form = LoginForm::parse(body).unwrap();
        assert_eq!(form.username(), "al ice@x");
        assert_eq!(form.callbacks["password"].expose_str(), Some("p&=é+"));
        assert_eq!(form.callbacks.keys().collect::<Vec<_>>(), ["otp", "password", "username"]);
        assert_eq!(form.domain.as_deref(), Some("system"));
        assert_eq!(form.entry.as_deref(), Some("http"));
        assert_eq!(form.original_url.as_deref(), Some("https://app.test/x?a=b"));
        assert!(!format!("{form:?}").contains("p&="), "a password must not be shown");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let many = |count: usize| (0..count).map(|n| format!("f{n}=")).collect::<Vec<_>>().join("&");
        for (body, is_accepted) in [
            ("", true),
            ("a", true),
            ("=x", true),
            (many(MAX_FIELDS).as_str(), true),
            (many(MAX_FIELDS + 1).as_str(), false),
            ("cams_cb_username=a&cams_cb_username=b", false),
            ("cams_cb_username=a&cams%5Fcb_username=a", false),
            ("a=1&a=1", false),
            ("a=%", false),
            ("a=%4", false),
            ("a=%zz", false),
            ("a=%ff", false),
            ("a=%c0%ae", false),
            ("a=x%00y", false),
            ("%00=x", false),
        ] {
            assert_eq!(LoginForm::parse(body.as_bytes()).is_ok(), is_accepted, "{body}");
        }
    }

    #[test]
    fn only_plain_forms() {
        for (headers, expected) in [
            (&[("content-type", "application/x-www-form-urlencoded")][..], Ok(())),
            (&[("Content-Type", "Application/X-WWW-Form-URLencoded ; charset=UTF-8")], Ok(())),
            (&[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", "identity")], Ok(())),
            (&[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", "gzip")], Err(415)),
            (&[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Encoding", "identity, br")], Err(415)),
            (&[("Content-Type", "application/x-www-form-urlencoded; charset=utf-16")], Err(415)),
            (&[("Content-Type", "application/x-www-form-urlencodedx")], Err(415)),
            (&[("Content-Type", "application/x-www-form-urlencoded, text/plain")], Err(415)),
            (&[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Type", "text/plain")], Err(400)),
            (&[("Content-Type", "multipart/form-data; boundary=x")], Err(415)),
            (&[("Content-Type", "text/plain")], Err(415)),
            (&[("Content-Type", "application/json")], Err(415)),
            (&[], Err(415)),
        ] {
            let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
            let method = "POST".to_owned();
            let head = Head { version: Version::H11, method, target: b"/".to_vec(), authority: None, headers };
            assert_eq!(check_type(&head).map_err(|refusal| refusal.status), expected, "{:?}", head.headers);
        }
    }
}
