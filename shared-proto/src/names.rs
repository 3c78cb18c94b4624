//! Names that people, sites and scripts rely on. Where the original Cams had a name, it is kept.

/// The DNS name in every policy server's certificate. Agents check for it rather than for the address they dial, so that a
/// server may be reached under any name, and no other holder of a certificate of the agent CA can pose as one.
pub const POLICY_SERVER_NAME: &str = "cams-policy-server";

/// Prefix of the form fields that carry callback values: `cams_cb_username`.
pub const CALLBACK_PREFIX: &str = "cams_cb_";

/// Fields of the login form and query parameters of the login page.
pub mod field {
    pub const USERNAME: &str = "cams_cb_username";
    pub const PASSWORD: &str = "cams_cb_password";
    pub const AUTO_LOGIN: &str = "cams_cb_autologin_flag";
    pub const DOMAIN: &str = "cams_security_domain";
    pub const ENTRY: &str = "cams_login_config";
    pub const ORIGINAL_URL: &str = "cams_original_url";
    pub const ERROR: &str = "cams_error";
    pub const EXCEPTION: &str = "cams_exception";
    pub const MESSAGE: &str = "cams_message";
    /// Seconds until another login of that name from there counts.
    pub const RETRY_AFTER: &str = "cams_retry_after";
    /// Something to know before logging in, as a short code.
    pub const NOTICE: &str = "cams_notice";
    /// Of the account page: what is to end.
    pub const END: &str = "cams_end";
    /// Another site of the cluster waits for the session: SHA-256, in URL-safe base64, of what the browser keeps there.
    pub const HANDOVER: &str = "cams_handover";
    /// `true`: the session that the browser has does not do, somebody must type.
    pub const FRESH: &str = "cams_fresh";
}

/// What a person is told on the login page for another reason than a failed login; the agent has the texts.
pub mod notice {
    /// A posted form is kept until after the login.
    pub const FORM_KEPT: &str = "form-kept";
    /// A posted form is not.
    pub const FORM_LOST: &str = "form-lost";
    /// A copy of what the browser was remembered by was used somewhere.
    pub const STOLEN: &str = "remember-me-stolen";
}

/// Headers a site receives. Every name here is refused when a client sends it, in any spelling.
pub mod header {
    pub const PREFIX: &str = "CAMS-HTTP-";
    pub const USER: &str = "CAMS-HTTP-USER";
    pub const ROLES: &str = "CAMS-HTTP-ROLES";
    pub const ROLE: &str = "CAMS-HTTP-ROLE";
    pub const SECURITY_DOMAIN: &str = "CAMS-HTTP-SECURITY-DOMAIN";
    pub const SESSION_ID: &str = "CAMS-HTTP-SESSION-ID";
    pub const SESSION_CREATED: &str = "CAMS-HTTP-SESSION-CREATED";
    /// A signed token that says the same, for sites that do not want to trust the way a request came.
    pub const ASSERTION: &str = "CAMS-HTTP-ASSERTION";
    pub const CLIENT_CERT: &str = "X-Client-Cert";
    /// What an agent adds to a request of a Jami device on its way to the policy server, beside
    /// [`SECURITY_DOMAIN`]: the login entry, its own id of the request, and the client's address.
    pub const LOGIN_ENTRY: &str = "CAMS-HTTP-LOGIN-ENTRY";
    pub const REQUEST_ID: &str = "CAMS-HTTP-REQUEST-ID";
    pub const CLIENT_ADDRESS: &str = "CAMS-HTTP-CLIENT-ADDRESS";
    /// Scheme, host and port that the client used.
    pub const ORIGIN: &str = "CAMS-HTTP-ORIGIN";
}

/// Where every site shows the keys that assertions are verified with, as a JSON Web Key Set (RFC 7517).
pub const JWKS_PATH: &str = "/cams/jwks.json";

/// Error codes of the login service, as the original numbered them.
pub mod code {
    /// Authentication failed.
    pub const AUTHENTICATION_FAILED: u16 = 5000;
    /// No authentication service is available.
    pub const NO_SERVICE: u16 = 5001;
    /// The login URI was called with a method other than POST (or GET, which shows the page).
    pub const METHOD: u16 = 5002;
    /// `cams_security_domain` is missing or not served here.
    pub const BAD_DOMAIN: u16 = 5003;
    /// `cams_login_config` is missing or not served here.
    pub const BAD_ENTRY: u16 = 5004;
    /// The cookie belongs to a server outside this cluster.
    pub const FOREIGN_COOKIE: u16 = 5100;
}

/// Whether a cluster, server, domain or entry name is well formed: letters, digits and `_`, 1 to 64 of them.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The cookie names of a cluster and security domain: `CAMS_SID_MYCAMSCLUSTER_SYSTEM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieNames {
    pub session: String,
    pub auto_login: String,
    /// Of a browser whose posted forms are kept.
    pub form: String,
    /// What ties a browser that went to log in elsewhere to its way back.
    pub handover: String,
}

impl CookieNames {
    pub fn new(prefix: &str, cluster: &str, domain: &str) -> Self {
        let suffix = format!("{cluster}_{domain}").to_ascii_uppercase();
        Self {
            session: format!("{prefix}_SID_{suffix}"),
            auto_login: format!("{prefix}_AUTO_LOGIN_{suffix}"),
            form: format!("{prefix}_FORM_{suffix}"),
            handover: format!("{prefix}_HANDOVER_{suffix}"),
        }
    }
}

/// A header name as CGI, WSGI and PHP see it: upper case, every other character than a letter or digit an underscore.
/// Two names that fold alike are the same name to some site behind us.
pub fn fold_header_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Whether a site could take this header for one that only we may set.
pub fn is_identity_header(name: &str) -> bool {
    let folded = fold_header_name(name);
    folded.starts_with("CAMS_HTTP") || folded == "X_CLIENT_CERT"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_names_are_upper_case() {
        let names = CookieNames::new("CAMS", "MyCamsCluster", "system");
        assert_eq!(names.session, "CAMS_SID_MYCAMSCLUSTER_SYSTEM");
        assert_eq!(names.auto_login, "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM");
        assert_eq!(names.form, "CAMS_FORM_MYCAMSCLUSTER_SYSTEM");
        assert_eq!(names.handover, "CAMS_HANDOVER_MYCAMSCLUSTER_SYSTEM");
    }

    #[test]
    fn every_spelling_of_an_identity_header_is_one() {
        for separator in "-_.~!#$%&'*+^|`".chars() {
            for name in [header::USER, header::ROLES, header::SESSION_ID, header::CLIENT_CERT] {
                let alias = name.replace('-', &separator.to_string());
                assert!(is_identity_header(&alias), "{alias}");
                assert!(is_identity_header(&alias.to_ascii_lowercase()), "{alias}");
            }
        }
        assert!(!is_identity_header("X-Client-Certificate"));
        assert!(!is_identity_header("Accept"));
    }
}
