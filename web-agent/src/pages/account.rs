//! The account page: sessions and remembered browsers in words that people know them by.

use jiff::Timestamp;
use minijinja::{Value, context};
use shared_proto::account::{Account, Place};

use super::page::link;

/// Characters of a program's own name for itself that are shown.
const MAX_NAME: usize = 80;

/// What browsers call themselves, and how people do. Most claim to be others too, so the order counts.
const BROWSERS: [(&str, &str); 13] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
];

const SYSTEMS: [(&str, &str); 8] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
];

/// What somebody has, and where the buttons post to.
#[derive(Debug, Clone)]
pub struct AccountPage {
    pub action: String,
    pub account: Account,
}

impl AccountPage {
    pub(super) fn variables(&self) -> Value {
        let Account { user, sessions, more_sessions, browsers, more_browsers } = &self.account;
        let places = |places: &[Place]| places.iter().map(place).collect::<Vec<_>>();
        context! {
            action => link(&self.action),
            user,
            sessions => places(sessions),
            more_sessions,
            browsers => places(browsers),
            more_browsers,
        }
    }

    /// One with nothing in it, and one with everything.
    pub(super) fn samples() -> [Self; 2] {
        let place = Place {
            id: "5a3c".into(),
            current: false,
            remembered: true,
            created: 1_700_000_000,
            last_used: 1_700_000_000,
            ends: 1_800_000_000,
            address: "192.0.2.1".into(),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0".into(),
        };
        let here = Place { current: true, remembered: false, user_agent: String::new(), ..place.clone() };
        let places = vec![here, place];
        let user = "alice".to_owned();
        let (none, more) = (Vec::new(), 3);
        let empty =
            Account { user: user.clone(), sessions: none.clone(), more_sessions: 0, browsers: none, more_browsers: 0 };
        let full =
            Account { user, sessions: places.clone(), more_sessions: more, browsers: places, more_browsers: more };
        [empty, full].map(|account| Self { action: "/cams/account".into(), account })
    }
}

fn place(place: &Place) -> Value {
    context! {
        id => &place.id,
        name => browser(&place.user_agent),
        address => &place.address,
        current => place.current,
        remembered => place.remembered,
        created => time(place.created),
        last_used => time(place.last_used),
        ends => time(place.ends),
    }
}

/// `2026-11-22 07:39`, in UTC.
fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

/// `Firefox 128 on Windows`; what does not claim to be a browser, as it calls itself.
fn browser(user_agent: &str) -> String {
    if !user_agent.starts_with("Mozilla/") {
        return shortened(user_agent);
    }
    let name = BROWSERS.iter().find_map(|(token, name)| {
        let (_, rest) = user_agent.split_once(token)?;
        let version: String = rest.chars().take_while(char::is_ascii_digit).take(4).collect();
        Some(if version.is_empty() { (*name).to_owned() } else { format!("{name} {version}") })
    });
    let system = SYSTEMS.iter().find(|(token, _)| user_agent.contains(token)).map(|(_, system)| system);
    match (name, system) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name,
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => shortened(user_agent),
    }
}

fn shortened(user_agent: &str) -> String {
    let mut name: String = user_agent.trim().chars().take(MAX_NAME).collect();
    if name.is_empty() {
        return "An unknown program".to_owned();
    }
    if user_agent.trim().chars().count() > MAX_NAME {
        name.push('…');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_have_the_names_that_people_know() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        let long = format!("Robot/{}", "9".repeat(100));
        for (user_agent, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox 128 on Linux"),
            (
                &format!("Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/131.0.0.0 Safari/537.36"),
                "Chrome 131 on Windows",
            ),
            (
                &format!(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) {webkit} Chrome/131.0.0.0 Safari/537.36 Edg/130.0.0.0"
                ),
                "Edge 130 on Windows",
            ),
            (
                &format!("Mozilla/5.0 (Linux; Android 10; K) {webkit} Chrome/131.0.0.0 Mobile Safari/537.36"),
                "Chrome 131 on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.6 Mobile/15E148 Safari/604.1",
                "Safari 17 on iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.1 Safari/605.1.15",
                "Safari 18 on Mac",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 FxiOS/131.0 Mobile/15E148 Safari/605.1.15",
                "Firefox 131 on iPad",
            ),
            ("Mozilla/5.0 (compatible; Linux)", "A browser on Linux"),
            ("Mozilla/5.0 (Plan9) Firefox/", "Firefox"),
            ("Mozilla/5.0", "Mozilla/5.0"),
            ("curl/8.9.1", "curl/8.9.1"),
            ("", "An unknown program"),
            ("  ", "An unknown program"),
            (&long, &format!("Robot/{}…", "9".repeat(MAX_NAME - 6))),
            (&"é".repeat(MAX_NAME), &"é".repeat(MAX_NAME)),
        ] {
            assert_eq!(browser(user_agent), expected, "{user_agent}");
        }
    }

    #[test]
    fn times_are_told_in_utc() {
        for (seconds, expected) in
            [(0, "1970-01-01 00:00"), (1_700_000_000, "2023-11-14 22:13"), (i64::MAX, ""), (i64::MIN, "")]
        {
            assert_eq!(time(seconds), expected);
        }
    }
}
