//! Values that must not be shown: passwords, session tokens, keys.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Bytes that are wiped when dropped and never printed or serialised by accident.
///
/// It has no `Display` and no `Serialize`; `Debug` shows only that there is something. A message that has to carry a
/// secret over the (encrypted, mutually authenticated) link says so with [`on_the_wire`].
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The one way to the bytes; search for it to find every place a secret is used.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, or `None` where they are not UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// For `#[serde(with = "secret::on_the_wire")]`: the secret as a JSON string, only in messages of the link.
pub mod on_the_wire {
    use serde::{Deserialize, Deserializer, Serializer, ser};

    use super::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        let text = secret.expose_str().ok_or_else(|| ser::Error::custom("the secret is not UTF-8"))?;
        serializer.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::from)
    }
}

/// As [`on_the_wire`], for a secret that may be absent.
pub mod on_the_wire_option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, on_the_wire};

    pub fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => on_the_wire::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Secret::from))
    }
}

/// As [`on_the_wire`], for a map of named secrets (the callback values of a login).
pub mod on_the_wire_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer, ser, ser::SerializeMap};

    use super::Secret;

    pub fn serialize<S: Serializer>(map: &BTreeMap<String, Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(map.len()))?;
        for (name, secret) in map {
            let text = secret.expose_str().ok_or_else(|| ser::Error::custom("the secret is not UTF-8"))?;
            out.serialize_entry(name, text)?;
        }
        out.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(name, value)| (name, Secret::from(value))).collect())
    }
}

/// Where a configured secret comes from: `file:/path`, `env:NAME`, or the text itself.
#[derive(Debug, Clone)]
pub enum SecretRef {
    File(PathBuf),
    Env(String),
    Literal(Secret),
}

impl SecretRef {
    pub fn parse(text: &str) -> Self {
        if let Some(path) = text.strip_prefix("file:") {
            Self::File(PathBuf::from(path))
        } else if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else {
            Self::Literal(Secret::from(text))
        }
    }

    /// Fetches the secret with the caller's means; relative paths are left to `read`. One trailing newline of a file is
    /// dropped, as editors add it.
    ///
    /// # Errors
    /// What is missing, in words for the person who configured it; never any part of the secret.
    pub fn resolve(
        &self,
        read: impl Fn(&Path) -> std::io::Result<Vec<u8>>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Secret, String> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::Env(name) => {
                env(name).map(Secret::from).ok_or_else(|| format!("the environment variable {name} is not set"))
            }
            Self::File(path) => {
                let bytes = Zeroizing::new(
                    read(path).map_err(|error| format!("cannot read the secret file {}: {error}", path.display()))?,
                );
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                Ok(Secret::new(text.strip_suffix(b"\r").unwrap_or(text)))
            }
        }
    }
}

/// Why a file of this Unix mode must not hold a secret, if it must not.
pub fn mode_problem(mode: u32) -> Option<String> {
    (mode & 0o077 != 0)
        .then(|| format!("is accessible to other users (mode {:04o}): run `chmod 600` on it", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_bytes() {
        assert_eq!(format!("{:?}", SecretRef::parse("canary")), "Literal([secret])");
    }

    #[test]
    fn references_resolve() {
        let read = |_: &Path| Ok(b"from-file\n".to_vec());
        let env = |name: &str| (name == "SET").then(|| "from-env".to_owned());
        let text = |reference: &str| {
            SecretRef::parse(reference).resolve(read, env).map(|s| s.expose_str().unwrap().to_owned())
        };
        assert_eq!(text("file:/x").as_deref(), Ok("from-file"));
        assert_eq!(text("env:SET").as_deref(), Ok("from-env"));
        assert_eq!(text("plain").as_deref(), Ok("plain"));
        assert_eq!(text("env:UNSET"), Err("the environment variable UNSET is not set".to_owned()));
    }

    #[test]
    fn only_owner_modes_are_accepted() {
        assert_eq!(mode_problem(0o100600), None);
        assert_eq!(mode_problem(0o100400), None);
        assert!(mode_problem(0o100640).unwrap().contains("0640"));
    }
}
