//! What every long-running command needs: logs, and a clean stop.

use std::io::Read;

#[cfg(feature = "policy-server")]
use anyhow::Context;
#[cfg(feature = "policy-server")]
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Set by `cams quickstart` for its children: they stop when their standard input closes, so that they never outlive
/// it, however it ends.
pub const STOP_WITH_PARENT: &str = "CAMS_STOP_WITH_PARENT";

/// Logs to standard error; `CAMS_LOG` filters (`info` by default), `CAMS_LOG_FORMAT=json` makes JSON lines.
pub fn init_logs() {
    let filter = EnvFilter::try_from_env("CAMS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var("CAMS_LOG_FORMAT").is_ok_and(|format| format == "json") {
        logs.json().init();
    } else {
        logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}

/// Turns the end of our standard input into SIGTERM to ourselves, where the parent asked for that.
pub fn stop_with_parent() {
    if std::env::var_os(STOP_WITH_PARENT).is_none() {
        return;
    }
    std::thread::spawn(|| {
        let mut sink = [0; 64];
        while std::io::stdin().read(&mut sink).is_ok_and(|n| n > 0) {}
        // It cannot fail for our own process.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
}

#[cfg(feature = "policy-server")]
/// Turns true at SIGTERM or Ctrl-C.
pub fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (send, receive) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = send.send(true);
        // A second signal means now.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(receive)
}

#[cfg(feature = "policy-server")]
pub fn tokio() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}
