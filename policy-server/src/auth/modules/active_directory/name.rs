//! The names people type: `user@example.org`, `EXAMPLE\user`, `user`. Pure.
//!
//! A directory reads more into the name of a bind than these (a distinguished name, a GUID, a display name), so nothing
//! else is handed on. What must be equal to be one person is decided by the directory, which knows the account's own name.

use std::str::FromStr;

/// Longer ones are in no directory: userPrincipalName ends at 1,024 characters.
const MAX_NAME: usize = 1024;

/// A typed name, fit to be searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// userPrincipalName
    Principal(String),
    /// sAMAccountName
    Account(String),
}

/// Option `loginAttribute`: which forms are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginAttribute {
    /// With `@` a principal, else an account.
    Auto,
    UserPrincipalName,
    SamAccountName,
}

impl FromStr for LoginAttribute {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "userPrincipalName" => Ok(Self::UserPrincipalName),
            "sAMAccountName" => Ok(Self::SamAccountName),
            _ => Err(()),
        }
    }
}

/// What names are read by. Domain and short name are compared without regard to case.
#[derive(Debug, Clone)]
pub struct Naming {
    /// `example.org`
    pub domain: Option<String>,
    /// `EXAMPLE`
    pub netbios: Option<String>,
    pub attribute: LoginAttribute,
}

impl Naming {
    /// # Errors
    /// Why nobody can be called that here.
    pub fn read(&self, typed: &str) -> Result<Name, String> {
        if typed.len() > MAX_NAME {
            return Err("the name is too long".to_owned());
        }
        let is_account = |name: &str| is_part(name) && !name.contains(['@', '+']);
        let name = match typed.split_once('\\') {
            Some((prefix, account)) => {
                self.expect_own(prefix)?;
                Name::Account(account.to_owned())
            }
            None if typed.contains('@') => Name::Principal(typed.to_owned()),
            None if self.attribute == LoginAttribute::UserPrincipalName => {
                let domain = self.domain.as_ref().ok_or("the name has no `@`, and option `domain` is not set")?;
                Name::Principal(format!("{typed}@{domain}"))
            }
            None => Name::Account(typed.to_owned()),
        };
        match (&name, self.attribute) {
            (Name::Account(_), LoginAttribute::UserPrincipalName)
            | (Name::Principal(_), LoginAttribute::SamAccountName) => {
                Err("option `loginAttribute` does not permit this form of name".to_owned())
            }
            (Name::Account(account), _) if !is_account(account) => Err("no account can have this name".to_owned()),
            (Name::Principal(principal), _) if !is_principal(principal) => {
                Err("no userPrincipalName can be this".to_owned())
            }
            _ => Ok(name),
        }
    }

    fn expect_own(&self, prefix: &str) -> Result<(), String> {
        let own = [&self.netbios, &self.domain];
        if own.into_iter().flatten().any(|name| name.eq_ignore_ascii_case(prefix)) {
            return Ok(());
        }
        Err(match &self.netbios {
            Some(netbios) => format!("the name is of the domain `{prefix}`, and this module asks `{netbios}`"),
            None => format!("the name is of the domain `{prefix}`, and option `netbiosDomain` is not set"),
        })
    }

    /// The name to bind with. The short domain is preferred: `user@domain` may be somebody else's userPrincipalName.
    pub fn bind_name(&self, name: &Name) -> Option<String> {
        match (name, &self.netbios, &self.domain) {
            (Name::Principal(principal), ..) => Some(principal.clone()),
            (Name::Account(account), Some(netbios), _) => Some(format!("{netbios}\\{account}")),
            (Name::Account(account), None, Some(domain)) => Some(format!("{account}@{domain}")),
            (Name::Account(_), None, None) => None,
        }
    }

    /// The account that a principal is by rule where no account has it by attribute: `user` of `user@domain`.
    pub fn implicit_account<'a>(&self, principal: &'a str) -> Option<&'a str> {
        let (account, suffix) = principal.split_once('@')?;
        let domain = self.domain.as_ref()?;
        domain.eq_ignore_ascii_case(suffix).then_some(account)
    }
}

/// What neither kind of name may hold: the characters of domain prefixes, distinguished names, canonical names, service
/// names, SIDs in lists and patterns.
fn is_part(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || "\"/\\[]:;|=,*?<>".contains(c))
}

fn is_principal(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, suffix)| is_part(local) && is_domain(suffix))
}

/// A name of the DNS, or what forests take for one.
pub fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || "-_".contains(c));
    text.split('.').all(is_label)
}

/// `user` of `EXAMPLE\\user` and `user@example.org`.
pub fn account_of(name: &str) -> &str {
    let (_, account) = name.split_once('\\').unwrap_or(("", name));
    account.split_once('@').map_or(account, |(account, _)| account)
}

/// `DC=example,DC=org`
pub fn base_dn(domain: &str) -> String {
    domain.split('.').map(|label| format!("DC={label}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(domain: Option<&str>, netbios: Option<&str>, attribute: LoginAttribute) -> Naming {
        Naming { domain: domain.map(str::to_owned), netbios: netbios.map(str::to_owned), attribute }
    }

    fn both() -> Naming {
        naming(Some("corp.test"), Some("CORP"), LoginAttribute::Auto)
    }

    fn account(name: &str) -> Option<Name> {
        Some(Name::Account(name.to_owned()))
    }

    fn principal(name: &str) -> Option<Name> {
        Some(Name::Principal(name.to_owned()))
    }

    #[test]
    fn the_search_account_is_known_by_its_account() {
        for name in ["svc", "CORP\\svc", "svc@corp.test"] {
            assert_eq!(account_of(name), "svc");
        }
    }

    #[test]
    fn three_forms_are_understood() {
        for (typed, name, bind) in [
            ("alice", account("alice"), "CORP\\alice"),
            ("Doe (Jo) ä", account("Doe (Jo) ä"), "CORP\\Doe (Jo) ä"),
            ("CORP\\alice", account("alice"), "CORP\\alice"),
            ("corp\\alice", account("alice"), "CORP\\alice"),
            ("Corp.Test\\alice", account("alice"), "CORP\\alice"),
            ("alice@corp.test", principal("alice@corp.test"), "alice@corp.test"),
            ("a.b+c@mail.example", principal("a.b+c@mail.example"), "a.b+c@mail.example"),
        ] {
            assert_eq!(both().read(typed).ok(), name, "{typed}");
            assert_eq!(both().bind_name(&name.unwrap()).as_deref(), Some(bind));
        }
    }

    #[test]
    fn everything_else_is_nobody() {
        let mut names: Vec<String> = "\"/[]:;|=,*?<>\\@\n\0".chars().map(|c| format!("al{c}ice")).collect();
        names.extend("\"/\\[]:;|=,*?<>@".chars().map(|c| format!("al{c}ice@corp.test")));
        names.extend("\"/\\[]:;|=,*?<>@ ()+\0".chars().map(|c| format!("alice@corp{c}.test")));
        let others = [
            "",
            "@",
            "alice@",
            "@corp.test",
            "CORP\\",
            "\\alice",
            "CORP\\CORP\\alice",
            "OTHER\\alice",
            "other.test\\alice",
            "CORP\\alice@corp.test",
            "alice@evil@corp.test",
            "alice@corp..test",
            "CN=alice,DC=corp,DC=test",
            "CN=alice,OU=x@y",
            "S-1-5-21/1",
            "{00000000-0000-0000-0000-00000000000:}",
        ];
        names.extend(others.map(str::to_owned));
        names.push("x".repeat(MAX_NAME + 1));
        for name in names {
            // `@` alone is what makes the other form.
            if name == "al@ice" {
                continue;
            }
            assert!(both().read(&name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn another_domain_is_told_apart_from_a_wrong_name() {
        let other = both().read("OTHER\\alice").unwrap_err();
        assert!(other.contains("`OTHER`") && other.contains("`CORP`"), "{other}");
        let unset = naming(Some("corp.test"), None, LoginAttribute::Auto).read("CORP\\alice").unwrap_err();
        assert!(unset.contains("netbiosDomain"), "{unset}");
    }

    #[test]
    fn forms_can_be_left_out() {
        use LoginAttribute::{SamAccountName, UserPrincipalName};
        for (attribute, typed, name) in [
            (UserPrincipalName, "alice", principal("alice@corp.test")),
            (UserPrincipalName, "alice@mail.test", principal("alice@mail.test")),
            (UserPrincipalName, "CORP\\alice", None),
            (SamAccountName, "alice", account("alice")),
            (SamAccountName, "CORP\\alice", account("alice")),
            (SamAccountName, "alice@corp.test", None),
        ] {
            assert_eq!(naming(Some("corp.test"), Some("CORP"), attribute).read(typed).ok(), name, "{typed}");
        }
        assert!(naming(None, Some("CORP"), UserPrincipalName).read("alice").is_err());
    }

    #[test]
    fn a_bind_needs_a_domain() {
        let name = Name::Account("alice".to_owned());
        let bind = |domain, netbios| naming(domain, netbios, LoginAttribute::Auto).bind_name(&name);
        assert_eq!(bind(Some("corp.test"), None).as_deref(), Some("alice@corp.test"));
        assert_eq!(bind(None, Some("CORP")).as_deref(), Some("CORP\\alice"));
        assert_eq!(bind(None, None), None);
    }

    #[test]
    fn a_domain_is_a_place_in_the_directory() {
        assert_eq!(base_dn("corp.example.test"), "DC=corp,DC=example,DC=test");
        assert_eq!(both().implicit_account("alice@CORP.test"), Some("alice"));
        assert_eq!(both().implicit_account("alice@mail.test"), None);
        for (domain, is) in [("corp.test", true), ("corp", true), ("", false), (".test", false), ("a,DC=b", false)] {
            assert_eq!(is_domain(domain), is, "{domain}");
        }
    }
}
