//! The parameters of the valve. Pure. docs/modules/throttle.md explains each.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::rules::Limits;

/// An agent waits 15 s for the answer to a login.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq, Eq)]
pub struct Settings {
    pub limits: Limits,
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
    pub user_delay_after: i64,
    pub user_delay_max: Duration,
    pub network_delay_after: i64,
    pub network_delay_max: Duration,
    pub max_tracked: i64,
}

impl Settings {
    pub fn take(params: &mut Options, problems: &mut Problems) -> Self {
        let count = |params: &mut Options, problems: &mut Problems, name, default| {
            take_between(params, problems, name, default, (1, i64::from(u32::MAX)))
        };
        let limits = Limits {
            failures: count(params, problems, "maxFailures", 5),
            window: take_seconds(params, problems, "failureWindow", 15 * 60),
            lock: take_seconds(params, problems, "lockDuration", 15 * 60),
            lock_max: take_seconds(params, problems, "lockDurationMax", 4 * 3600),
        };
        if limits.lock > limits.lock_max {
            problems.add(params.file(), params.line(), "lockDuration must be at most lockDurationMax");
        }
        Self {
            limits,
            ipv4_prefix: take_between(params, problems, "ipv4Prefix", 32, (8, 32)),
            ipv6_prefix: take_between(params, problems, "ipv6Prefix", 64, (16, 128)),
            user_delay_after: count(params, problems, "userDelayAfter", 20),
            user_delay_max: take_delay(params, problems, "userDelayMax", Duration::from_secs(2)),
            network_delay_after: count(params, problems, "networkDelayAfter", 50),
            network_delay_max: take_delay(params, problems, "networkDelayMax", LONGEST_DELAY),
            max_tracked: take_between(params, problems, "maxTracked", 100_000, (1_000, 10_000_000)),
        }
    }
}

fn take_between<T>(params: &mut Options, problems: &mut Problems, name: &str, default: T, (least, most): (T, T)) -> T
where
    T: FromStr + PartialOrd + Copy + Display,
{
    let line = params.line_of(name);
    let value = params.take_parsed(name, default, "a number", problems);
    if value < least || value > most {
        problems.add(params.file(), line, format!("parameter `{name}` must be between {least} and {most}"));
    }
    value
}

fn take_seconds(params: &mut Options, problems: &mut Problems, name: &str, default: u64) -> i64 {
    let line = params.line_of(name);
    let value = params.take_duration(name, Duration::from_secs(default), problems).as_secs();
    if value == 0 {
        problems.add(params.file(), line, format!("parameter `{name}` must be at least 1s"));
    }
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn take_delay(params: &mut Options, problems: &mut Problems, name: &str, default: Duration) -> Duration {
    let line = params.line_of(name);
    let value = params.take_duration(name, default, problems);
    if value > LONGEST_DELAY {
        let most = LONGEST_DELAY.as_secs();
        problems.add(
            params.file(),
            line,
            format!("parameter `{name}` must be at most {most}s: an agent does not wait longer"),
        );
    }
    value
}
