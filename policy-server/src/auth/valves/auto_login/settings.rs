//! The parameters of the valve. docs/modules/auto-login.md explains each.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::{SecretRef, mode_problem};

use crate::auth::modules::Services;
use crate::files;
use crate::token::{Key, KeyRing};

const ALGORITHM: &str = "AES-256-GCM";
const DAY: i64 = 24 * 3600;
const DAYS: i64 = 30;
const MOST_DAYS: i64 = 365;
const GRACE: Duration = Duration::from_secs(30);
const LONGEST_GRACE: Duration = Duration::from_secs(600);

pub struct Settings {
    pub keys: KeyRing,
    /// Both in seconds.
    pub lifetime: i64,
    pub grace: i64,
}

/// `None` with the reasons in `problems`.
pub fn take(params: &mut Options, services: &Services, problems: &mut Problems) -> Option<Settings> {
    let before = problems.len();
    if let Some((algorithm, line)) = params.take("algorithm")
        && algorithm != ALGORITHM
    {
        let message = format!("parameter `algorithm`: `{algorithm}` is not {ALGORITHM}, the only one there is");
        problems.add(params.file(), line, message);
    }
    let line = params.line_of("secretKey");
    let current = params.require("secretKey", problems);
    let current = current.and_then(|text| key(params.file(), line, "secretKey", &text, services, problems));
    let previous: Vec<_> = params.take("secretKeyPrevious").into_iter().collect();
    let previous = previous.into_iter().chain(params.take_numbered("secretKeyPrevious.", problems));
    let previous = previous
        .filter_map(|(text, line)| key(params.file(), line, "secretKeyPrevious", &text, services, problems))
        .collect();
    let line = params.line_of("cookieExpirationDays");
    let days = params.take_parsed("cookieExpirationDays", DAYS, "a number", problems);
    if !(1..=MOST_DAYS).contains(&days) {
        let message = format!("parameter `cookieExpirationDays` must be between 1 and {MOST_DAYS}");
        problems.add(params.file(), line, message);
    }
    let line = params.line_of("grace");
    let grace = params.take_duration("grace", GRACE, problems);
    if grace < Duration::from_secs(1) || grace > LONGEST_GRACE {
        let most = LONGEST_GRACE.as_secs();
        problems.add(params.file(), line, format!("parameter `grace` must be between 1s and {most}s"));
    }
    let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    let keys = KeyRing::new(current?, previous);
    (problems.len() == before).then_some(Settings { keys, lifetime: days.saturating_mul(DAY), grace })
}

fn key(file: &Path, line: usize, name: &str, text: &str, services: &Services, problems: &mut Problems) -> Option<Key> {
    let reference = SecretRef::parse(text);
    if let SecretRef::Literal(_) = reference
        && let Some(why) = fs::metadata(file).ok().and_then(|metadata| mode_problem(metadata.mode()))
    {
        services.warn(file, line, format!("parameter `{name}`: this file holds a key and {why}, or write file:PATH"));
    }
    let base = file.parent().unwrap_or(Path::new(""));
    let secret = files::resolve_secret(&reference, base);
    let key = secret.and_then(|secret| Key::from_base64(secret.expose()).map_err(|error| error.to_string()));
    key.map_err(|why| problems.add(file, line, format!("parameter `{name}`: {why}"))).ok()
}
