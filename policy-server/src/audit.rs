//! The audit log: one JSON object a line, appended and never rewritten. Who did what, from where, and what came of it.
//!
//! No password, token or key is ever an argument here. Text from outside is cut off and, as JSON, cannot start a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Serialize, Serializer};

use crate::agents::Rights;
use crate::auth::valves::auto_login::family::Family;
use crate::device::Account;
use crate::session::Session;

/// Longer text from outside is cut off.
const TEXT: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Login,
    LoginFailed,
    /// Too many failures: a user name is locked for a network.
    LoginLocked,
    /// By an administrator.
    LoginUnlocked,
    Logout,
    /// A remembered browser has to log in again: a logout, an administrator, another password.
    RememberMeEnded,
    /// A cookie was shown whose successor is in use: two hold a copy.
    RememberMeTheft,
    SessionEnded,
    /// A session was shown in a network where it does not count.
    SessionElsewhere,
    /// A posted form waits for its sender's login.
    FormKept,
    /// It was given back to its sender.
    FormReturned,
    /// A session that was opened at one host counts at another from now on.
    SessionHandedOver,
    /// A code that should have brought a session along was of no use.
    HandoverRefused,
    AccessDenied,
    LoginRequired,
    AgentRefused,
    AgentAdded,
    AgentRemoved,
    UserAdded,
    /// What is known of a user, or when the account ends.
    UserChanged,
    UserEnabled,
    UserDisabled,
    UserRemoved,
    PasswordSet,
    GroupAdded,
    GroupRemoved,
    GroupJoined,
    GroupLeft,
    TotpEnrolled,
    TotpRemoved,
    /// The organisation's CA for accounts and their devices.
    CaCreated,
    CaImported,
    /// A device got a certificate, or its certificate once more.
    DeviceEnrolled,
    DeviceRefused,
    DeviceRevoked,
    /// A device, or somebody with a password, got a token.
    JamiLogin,
    JamiLoginFailed,
    /// Its person is disabled or gone.
    JamiAccountSuspended,
    JamiAccountResumed,
    /// Its name is another person's, or an administrator revoked it.
    JamiAccountDetached,
    /// By an administrator: the account is bound to whoever has its name now.
    JamiAccountRelinked,
    ConfigurationLoaded,
    ConfigurationRefused,
    UsersReloaded,
    UsersRefused,
    /// A file was changed that is read at the start only.
    RestartNeeded,
    /// By an agent alone: nobody was asked about the request.
    RequestRefused,
    AgentConfigurationLoaded,
    AgentConfigurationRefused,
    /// Some of what an agent reported is not in this log.
    AgentEventsLost,
}

/// What an event tells. What does not apply is left out of the line.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Detail<'a> {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub entry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub session: Option<&'a str>,
    /// A Jami ID.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub device: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub client: Option<String>,
    /// Addresses whose failed logins are counted together.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub network: Option<String>,
    /// Failed logins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// When it happened by the clock of who reports it, in seconds since 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub old_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub new_hash: Option<&'a str>,
    /// The id of a certificate authority.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub authority: Option<&'a str>,
    /// What an agent may do from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<&'a Rights>,
    /// Who ran the command that did this.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cleaned")]
    pub actor: Option<String>,
}

impl<'a> Detail<'a> {
    /// Whose session, and through which door it was opened.
    pub fn of(session: &'a Session) -> Self {
        Self {
            domain: Some(&session.domain),
            entry: Some(&session.entry),
            user: Some(&session.subject.user),
            session: Some(&session.id),
            ..Self::default()
        }
    }

    /// Whose remembered browser.
    pub fn of_family(family: &'a Family) -> Self {
        Self { domain: Some(&family.domain), entry: Some(&family.entry), user: Some(&family.user), ..Self::default() }
    }

    /// Whose Jami account.
    pub fn of_account(account: &'a Account) -> Self {
        Self {
            domain: Some(&account.domain),
            entry: Some(&account.entry),
            user: Some(&account.user),
            account: Some(&account.id),
            ..Self::default()
        }
    }

    /// At whose request it happened, and why.
    pub fn by(self, by: &Detail<'a>) -> Self {
        Self { request_id: by.request_id, agent: by.agent, client: by.client.clone(), reason: by.reason, ..self }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: Kind,
    #[serde(flatten)]
    detail: &'a Detail<'a>,
}

pub struct Audit {
    path: PathBuf,
    log: Mutex<Log>,
}

struct Log {
    file: File,
    /// The last line may lack its end: the disk was full, or a process died while writing it.
    torn: bool,
}

impl Audit {
    /// Opens the log for appending, readable by its owner only.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(Self { path: path.to_owned(), log: Mutex::new(Log::open(path)?) })
    }

    /// Goes on in a new file where the old one was moved away: logs are rotated by renaming them.
    pub fn follow_rotation(&self) -> std::io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = match std::fs::metadata(&self.path) {
            Ok(now) => now.ino() != log.file.metadata()?.ino(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if moved {
            *log = Log::open(&self.path)?;
        }
        Ok(())
    }

    /// Writes the event. A log that cannot be written is reported on the process's own log: it must not stop people
    /// from working, nor pass unseen.
    ///
    /// It writes before it returns, also on threads that serve requests. A line is some hundred bytes for the system's
    /// cache, and whoever is answered has been recorded: a queue would lose its lines when the process dies, and would
    /// have to drop or wait when it is full.
    pub fn record(&self, event: Kind, detail: Detail<'_>) {
        let line = line(event, &detail, Timestamp::now());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = log.append(&line) {
            tracing::error!(%error, event = %line.trim_end(), "the audit log cannot be written");
        }
    }
}

impl Log {
    fn open(path: &Path) -> std::io::Result<Self> {
        // Not to wait for the reader of a FIFO; of no effect on files.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file =
            OpenOptions::new().create(true).read(true).append(true).mode(0o600).custom_flags(flags).open(path)?;
        Ok(Self { file, torn: true })
    }

    /// Appends a line, on a line of its own whatever became of the one before.
    fn append(&mut self, line: &str) -> std::io::Result<()> {
        let result = match self.torn && self.lacks_end()? {
            true => self.file.write_all(format!("\n{line}").as_bytes()),
            false => self.file.write_all(line.as_bytes()),
        };
        self.torn = result.is_err();
        result
    }

    fn lacks_end(&self) -> std::io::Result<bool> {
        let Some(last) = self.file.metadata()?.len().checked_sub(1) else { return Ok(false) };
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, last)?;
        Ok(byte != *b"\n")
    }
}

fn line(event: Kind, detail: &Detail<'_>, now: Timestamp) -> String {
    // Milliseconds, always: lines sort as text.
    let time = format!("{now:.3}");
    let mut line = serde_json::to_string(&Line { time, event, detail }).unwrap_or_default();
    line.push('\n');
    line
}

/// Every text, because no field is safe from what an agent or a browser sends.
fn cleaned<S: Serializer>(text: &Option<impl AsRef<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_ref().map(|text| clean(text.as_ref())).serialize(serializer)
}

/// Cuts a text off and escapes what JSON lets through and a terminal or an editor would obey: control characters, and
/// those that break lines or turn the direction of the text.
fn clean(text: &str) -> String {
    let obeyed = |c: char| {
        matches!(c, '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut out = String::new();
    for c in text.chars().take(TEXT) {
        if obeyed(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let nasty = "x\n{\"event\":\"login\"}\r\u{1b}[31m${jndi:ldap://x}\u{2028}".to_owned() + &"y".repeat(1 << 20);
        let long = Some(nasty.as_str());
        let detail = Detail {
            request_id: long,
            agent: long,
            domain: long,
            entry: long,
            user: long,
            group: long,
            session: long,
            account: long,
            device: long,
            authority: long,
            client: Some(nasty.clone()),
            network: Some(nasty.clone()),
            failures: None,
            method: long,
            url: long,
            host: long,
            path: long,
            status: None,
            at: None,
            reason: long,
            old_hash: long,
            new_hash: long,
            rights: None,
            actor: Some(nasty.clone()),
        };
        let text = line(Kind::LoginFailed, &detail, Timestamp::UNIX_EPOCH);
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains(['\u{1b}', '\u{2028}']));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["event"], "login-failed");
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        let texts = value.as_object().unwrap().iter().filter(|(name, _)| !["event", "time"].contains(&name.as_str()));
        let cut: Vec<usize> = texts.map(|(_, text)| text.as_str().unwrap().chars().count()).collect();
        // One character of each is written as eight.
        assert_eq!(cut, [TEXT + 7; 20]);
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let detail = Detail { user: Some("Zoë"), ..Detail::default() };
        assert_eq!(
            line(Kind::Login, &detail, Timestamp::UNIX_EPOCH),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"event\":\"login\",\"user\":\"Zoë\"}\n"
        );
    }

    #[test]
    fn after_half_a_line_the_next_event_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let tear = || std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":").unwrap();
        let events = || {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
            text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count()
        };
        // A process died while writing.
        Audit::open(&path).unwrap().record(Kind::Login, Detail::default());
        tear();
        let audit = Audit::open(&path).unwrap();
        audit.record(Kind::Login, Detail::default());
        assert_eq!(events(), 2);
        audit.record(Kind::Login, Detail::default());
        assert_eq!(events(), 3);
        // A write fails in the middle, as on a full disk: here, because the file is not open for writing.
        let writable = std::mem::replace(&mut audit.log.lock().unwrap().file, File::open(&path).unwrap());
        audit.record(Kind::Login, Detail::default());
        tear();
        audit.log.lock().unwrap().file = writable;
        audit.record(Kind::Login, Detail::default());
        assert_eq!(events(), 4);
    }

    #[test]
    fn a_rotated_log_goes_on_in_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        audit.record(Kind::Login, Detail::default());
        std::fs::rename(&path, dir.path().join("audit.jsonl.1")).unwrap();
        audit.follow_rotation().unwrap();
        audit.record(Kind::Logout, Detail::default());
        audit.follow_rotation().unwrap();
        audit.record(Kind::Logout, Detail::default());
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn the_file_is_private_and_only_grows() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/audit.jsonl");
        for _ in 0..2 {
            Audit::open(&path).unwrap().record(Kind::Logout, Detail::default());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    }
}
