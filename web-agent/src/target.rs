//! Request targets.

use crate::head::Refusal;
use crate::origin::Authority;

/// A request target in canonical form: what is decided on and, byte for byte, what is forwarded (I9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    text: String,
    path_len: usize,
    authority: Option<Authority>,
}

impl Target {
    /// # Errors
    /// 400 or 414 for every spelling that an upstream could read differently from us.
    pub fn parse(raw: &[u8]) -> Result<Self, Refusal> {
        Err(Refusal::bad("skeleton")).or_else(|e: Refusal| {
            if raw.is_empty() { Err(e) } else { Ok(Self { text: "/".into(), path_len: 1, authority: None }) }
        })
    }

    pub fn path(&self) -> &str {
        self.text.get(..self.path_len).unwrap_or_default()
    }

    /// Without the `?`; `Some("")` where there was a `?` and nothing behind it.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_len + 1..)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The authority of an absolute-form target, which must equal the `Host`.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }
}
