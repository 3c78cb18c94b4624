//! Runs policy server and web agent as child processes, started exactly as an admin would start them, and starts one
//! again when it ends. Killing one never takes the other down.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Summary;
use super::probe::Probes;
use crate::provision::Layout;
use crate::{files, output, runtime};

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL; quickstart itself must be gone within 5 s.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// A child that ended sooner than this is not started again at once.
const STEADY: Duration = Duration::from_secs(2);

struct Service {
    command: &'static str,
    conf: PathBuf,
    log: PathBuf,
    /// The log's length before this start.
    log_start: u64,
    child: Child,
    /// Held open: its end tells the child to stop. (Waiting for a child would close it otherwise.)
    lifeline: Option<ChildStdin>,
    /// Ends when all that the child said is in the log.
    relay: JoinHandle<()>,
    started: Instant,
}

impl Service {
    fn start(layout: &Layout, command: &'static str, conf: &Path) -> anyhow::Result<Self> {
        let log = layout.path(&format!("log/{command}.log"));
        files::write_new(&log, "")?;
        let log_start = std::fs::metadata(&log)?.len();
        let (child, lifeline, relay) = spawn(command, conf, &log)?;
        Ok(Self { command, conf: conf.to_owned(), log, log_start, child, lifeline, relay, started: Instant::now() })
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
        (self.child, self.lifeline, self.relay) = spawn(self.command, &self.conf, &self.log)?;
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

    /// The last lines of the log, for a start that failed; those of earlier starts are not of it.
    fn last_words(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.log_start))?;
            log.read_to_end(&mut text)
        });
        if let Err(error) = read {
            return format!("\n  {}: {error}", self.log.display());
        }
        let text = output::plain_lines(&String::from_utf8_lossy(&text));
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(5)).map(|line| format!("\n  {line}")).collect()
    }
}

fn spawn(command: &str, conf: &Path, log: &Path) -> anyhow::Result<(Child, Option<ChildStdin>, JoinHandle<()>)> {
    let log = File::options().append(true).open(log).with_context(|| format!("cannot open {}", log.display()))?;
    let log = tokio::fs::File::from_std(log);
    let mut child = Command::new(std::env::current_exe().context("cannot find this program")?)
        .arg(command)
        .arg("--conf")
        .arg(conf)
        .env(runtime::STOP_WITH_PARENT, "1")
        // Ctrl-C at the terminal is for us alone: we tell the children once.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start cams {command}"))?;
    let lifeline = child.stdin.take();
    let words = child.stderr.take().context("a child without standard error")?;
    Ok((child, lifeline, tokio::spawn(relay(words, log))))
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

/// Starts both, says `ready` when everything answers, and keeps both alive until told to stop. The agent is started when
/// there is a server to be asked.
pub async fn run(
    layout: &Layout,
    summary: &mut Summary,
    probes: Probes,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<ExitCode> {
    let mut services = vec![Service::start(layout, "policy-server", &summary.conf)?];
    let outcome = tokio::select! {
        outcome = keep_running(layout, summary, &probes, &mut services) => outcome,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    futures_util::future::join_all(services.iter_mut().map(Service::stop)).await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn keep_running(
    layout: &Layout,
    summary: &mut Summary,
    probes: &Probes,
    services: &mut Vec<Service>,
) -> anyhow::Result<()> {
    wait_until_ready(services, async || probes.server().await).await?;
    services.push(Service::start(layout, "web-agent", &summary.agent_conf)?);
    write_summary(layout, summary, services)?;
    wait_until_ready(services, async || probes.site().await).await?;
    greet(layout, summary)?;
    loop {
        futures_util::future::select_all(services.iter_mut().map(|service| Box::pin(service.restart_at_end())))
            .await
            .0?;
        write_summary(layout, summary, services)?;
    }
}

fn write_summary(layout: &Layout, summary: &mut Summary, services: &[Service]) -> anyhow::Result<()> {
    let pid = |n: usize| services.get(n).map(Service::pid).unwrap_or_default();
    (summary.policy_server_pid, summary.web_agent_pid) = (pid(0), pid(1));
    summary.write(layout)
}

/// A child that ends before everything answers will not do better the next time: say what it said.
async fn wait_until_ready(services: &mut [Service], probe: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let Err(error) = probe().await else { return Ok(()) };
        for service in services.iter_mut() {
            if let Some(status) = service.child.try_wait()? {
                let _ = timeout(STEADY, &mut service.relay).await;
                anyhow::bail!("cams {} ended ({status}):{}", service.command, service.last_words());
            }
        }
        if Instant::now() > deadline {
            let words: String = services.iter().map(Service::last_words).collect();
            return Err(error.context(format!("nothing answers after {} s:{words}", READY_WITHIN.as_secs())));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn greet(layout: &Layout, summary: &Summary) -> anyhow::Result<()> {
    output::line("")?;
    output::line(format!("  A protected site runs at  {}/private/", summary.url))?;
    output::line("")?;
    for user in &summary.users {
        output::line(format!("  log in as  {:<6} {}   ({})", user.name, user.password, user.roles.join(", ")))?;
    }
    output::line("")?;
    output::line(format!("  Your browser will warn once: the certificate is from {}", summary.ca.display()))?;
    output::line(format!("  Configuration: {}", summary.conf.display()))?;
    output::line(format!("  Users:         {}", layout.path("conf/domains/system/cams-users.xml").display()))?;
    output::line(format!("  Logs:          {}", layout.path("log").display()))?;
    output::line("  Ctrl-C stops everything.")?;
    output::line("")?;
    output::line(format!("ready {}", summary.url))
}
