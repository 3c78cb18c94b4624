//! Runs policy server and web agent as child processes, started exactly as an admin would start them, and starts one
//! again when it ends. Killing one never takes the other down.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::Summary;
use super::probe::Probe;
use crate::provision::{self, Layout};
use crate::{output, runtime};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL; quickstart itself must be gone within 5 s.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// A child that ended sooner than this is not started again at once.
const STEADY: Duration = Duration::from_secs(2);

struct Service {
    command: &'static str,
    conf: PathBuf,
    log: PathBuf,
    child: Child,
    /// Held open: its end tells the child to stop. (Waiting for a child would close it otherwise.)
    lifeline: Option<ChildStdin>,
    started: Instant,
}

impl Service {
    fn start(layout: &Layout, command: &'static str, conf: &Path) -> anyhow::Result<Self> {
        let log = layout.path(&format!("log/{command}.log"));
        provision::write_new(&log, "")?;
        let (child, lifeline) = spawn(command, conf, &log)?;
        Ok(Self { command, conf: conf.to_owned(), log, child, lifeline, started: Instant::now() })
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits for the child's end, then starts another one.
    async fn restart_at_end(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait().await?;
        output::notice(format!(
            "cams {} ended ({status}); starting it again, see {}",
            self.command,
            self.log.display()
        ));
        if self.started.elapsed() < STEADY {
            sleep(STEADY).await;
        }
        (self.child, self.lifeline) = spawn(self.command, &self.conf, &self.log)?;
        self.started = Instant::now();
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// The last lines of the log, for a start that failed.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(5)).map(|line| format!("\n  {line}")).collect()
    }
}

fn spawn(command: &str, conf: &Path, log: &Path) -> anyhow::Result<(Child, Option<ChildStdin>)> {
    let log = File::options().append(true).open(log).with_context(|| format!("cannot open {}", log.display()))?;
    let log = tokio::fs::File::from_std(log);
    let mut child = Command::new(std::env::current_exe().context("cannot find this program")?)
        .arg(command)
        .arg("--conf")
        .arg(conf)
        .env(runtime::STOP_WITH_PARENT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start cams {command}"))?;
    let lifeline = child.stdin.take();
    if let Some(words) = child.stderr.take() {
        tokio::spawn(relay(words, log));
    }
    Ok((child, lifeline))
}

/// Keeps what a child says in its log, and shows warnings and errors here: whoever breaks a file learns it at once.
async fn relay(words: ChildStderr, mut log: tokio::fs::File) {
    let mut lines = BufReader::new(words).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains(" WARN ") || line.contains(" ERROR ") {
            output::notice(output::plain(&line));
        }
        if let Err(error) = log.write_all(format!("{line}\n").as_bytes()).await {
            output::notice(format!("a log cannot be written: {error}"));
        }
    }
    let _ = log.flush().await;
}

/// Starts both, says `ready` when everything answers, and keeps both alive until told to stop.
pub async fn run(
    layout: &Layout,
    summary: &mut Summary,
    listen: SocketAddr,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<ExitCode> {
    let mut server = Service::start(layout, "policy-server", &summary.conf)?;
    let mut agent = Service::start(layout, "web-agent", &summary.agent_conf)?;
    let probe = Probe::new(&summary.ca, listen)?;
    let outcome = tokio::select! {
        outcome = keep_running(layout, summary, &probe, &mut server, &mut agent) => outcome,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    tokio::join!(server.stop(), agent.stop());
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn keep_running(
    layout: &Layout,
    summary: &mut Summary,
    probe: &Probe,
    server: &mut Service,
    agent: &mut Service,
) -> anyhow::Result<()> {
    write_summary(layout, summary, server, agent)?;
    wait_until_ready(probe, server, agent).await?;
    greet(layout, summary);
    loop {
        tokio::select! {
            result = server.restart_at_end() => result?,
            result = agent.restart_at_end() => result?,
        }
        write_summary(layout, summary, server, agent)?;
    }
}

fn write_summary(layout: &Layout, summary: &mut Summary, server: &Service, agent: &Service) -> anyhow::Result<()> {
    summary.policy_server_pid = server.pid();
    summary.web_agent_pid = agent.pid();
    provision::replace(&layout.path("quickstart.json"), &(serde_json::to_string_pretty(summary)? + "\n"))
}

/// A child that ends before everything answers will not do better the next time: say what it said.
async fn wait_until_ready(probe: &Probe, server: &mut Service, agent: &mut Service) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let Err(error) = probe.answers().await else { return Ok(()) };
        for service in [&mut *server, &mut *agent] {
            if let Some(status) = service.child.try_wait()? {
                anyhow::bail!("cams {} ended ({status}):{}", service.command, service.last_words());
            }
        }
        if Instant::now() > deadline {
            let words = format!("{}{}", server.last_words(), agent.last_words());
            return Err(error.context(format!("nothing answers after {} s:{words}", READY_WITHIN.as_secs())));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn greet(layout: &Layout, summary: &Summary) {
    output::line("");
    output::line(format!("  A protected site runs at  {}/private/", summary.url));
    output::line("");
    for user in &summary.users {
        output::line(format!("  log in as  {:<6} {}   ({})", user.name, user.password, user.roles.join(", ")));
    }
    output::line("");
    output::line(format!("  Your browser will warn once: the certificate is from {}", summary.ca.display()));
    output::line(format!("  Configuration: {}", summary.conf.display()));
    output::line(format!("  Users:         {}", layout.path("conf/domains/system/cams-users.xml").display()));
    output::line(format!("  Logs:          {}", layout.path("log").display()));
    output::line("  Ctrl-C stops everything.");
    output::line("");
    output::line(format!("ready {}", summary.url));
}
