//! Web agents: what one is registered for. An agent is not everyone.

use serde::{Deserialize, Serialize};

/// What an agent may do at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Ask for decisions, log people in and out.
    Enforce,
    /// Enrol Jami devices and be believed about client certificates.
    Jami,
    /// Pass on the administrators' console.
    Console,
}

impl std::fmt::Display for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Jami => "jami",
            Self::Console => "console",
        })
    }
}

impl std::str::FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "jami" => Ok(Self::Jami),
            "console" => Ok(Self::Console),
            other => Err(format!("`{other}` is not a capability: write enforce, jami or console")),
        }
    }
}

/// The domains, hosts, login entries and capabilities an agent may use. What is not listed is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    pub domains: Vec<String>,
    /// Host names without a port, lower case.
    pub hosts: Vec<String>,
    pub entries: Vec<String>,
    pub capabilities: Vec<Capability>,
}

impl Rights {
    /// Why an agent may not act for this domain, login entry and host, if it may not.
    pub fn refusal(&self, capability: Capability, domain: &str, entry: &str, host: &str) -> Option<String> {
        let lacks = |what: &str, name: &str| Some(format!("it is not registered for the {what} `{name}`"));
        if !self.capabilities.contains(&capability) {
            return Some(format!("it lacks the capability `{capability}`"));
        }
        if !self.domains.iter().any(|known| known == domain) {
            return lacks("security domain", domain);
        }
        if !self.entries.iter().any(|known| known == entry) {
            return lacks("login entry", entry);
        }
        if !self.hosts.iter().any(|known| known == host) {
            return lacks("host", host);
        }
        None
    }
}

/// A row of the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registered {
    pub name: String,
    /// SHA-256 of the client certificate's DER, in hexadecimal.
    pub fingerprint: String,
    #[serde(flatten)]
    pub rights: Rights,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_refused() {
        let rights = Rights {
            domains: vec!["system".into()],
            hosts: vec!["a.example.org".into()],
            entries: vec!["http".into()],
            capabilities: vec![Capability::Enforce],
        };
        let refused = |capability, domain, entry, host| rights.refusal(capability, domain, entry, host).is_some();
        assert!(!refused(Capability::Enforce, "system", "http", "a.example.org"));
        assert!(refused(Capability::Jami, "system", "http", "a.example.org"));
        assert!(refused(Capability::Enforce, "other", "http", "a.example.org"));
        assert!(refused(Capability::Enforce, "system", "strong", "a.example.org"));
        assert!(refused(Capability::Enforce, "system", "http", "b.example.org"));
    }
}
