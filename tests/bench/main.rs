//! The figures of `make bench` that need running servers: how soon an ended session is refused everywhere, and what a
//! request and a login cost. It measures the command that `CAMS_BINARY` names, and asserts nothing but that what is measured is what
//! it says.

mod enrolment;
mod load;
mod logins;
mod remembered;
mod revocation;
mod timing;

use std::time::Duration;

#[tokio::main]
async fn main() {
    // `cargo bench` says `--bench` itself; the rest are names of what to measure, all without one.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("revocation") {
        revocation::measure().await;
    }
    if is_wanted("load") {
        load::measure().await;
    }
    if is_wanted("logins") {
        logins::measure().await;
    }
    if is_wanted("enrolment") {
        enrolment::measure().await;
    }
    if is_wanted("remembered") {
        remembered::measure().await;
    }
    if is_wanted("timing") {
        timing::measure().await;
    }
}

/// One line, laid out as `scripts/bench.sh` does.
fn figure(name: &str, value: &str) {
    println!("{name:<34} {value}");
}

/// One line about many measurements.
fn spread(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let [p50, p99, max] = [50, 99, 100].map(|percent| {
        let rank = (times.len() * percent).div_ceil(100);
        times[rank.max(1) - 1].as_secs_f64() * 1000.0
    });
    figure(name, &format!("p50 {p50:6.1} ms   p99 {p99:6.1} ms   max {max:6.1} ms   of {}", times.len()));
}
