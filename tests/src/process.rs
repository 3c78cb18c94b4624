//! A child process: its output is kept for the failure message, and it ends with its owner.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::wait::within;

/// How long a process may take to end after SIGTERM before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of memory that a process has now.
pub fn memory(pid: u32) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the resident pages") * 4096
}

#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the command without standard input, and collects both its outputs.
    pub fn spawn(command: &mut Command) -> Self {
        Self::start(command.stdin(Stdio::null()))
    }

    /// As [`Process::spawn`], with a standard input to write to.
    pub fn spawn_with_input(command: &mut Command) -> (Self, ChildStdin) {
        let mut process = Self::start(command.stdin(Stdio::piped()));
        let input = process.child.stdin.take().expect("a pipe");
        (process, input)
    }

    fn start(command: &mut Command) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::default();
        collect(child.stdout.take(), &output);
        collect(child.stderr.take(), &output);
        Self { child, output }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed up to now.
    pub fn output(&self) -> String {
        self.output.lock().expect("readers do not panic").clone()
    }

    /// Waits for a printed line that `wanted` makes something of. Panics with the output when the process ends
    /// without one or `limit` is over.
    pub async fn line<T>(&mut self, limit: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        let end = Instant::now() + limit;
        while found.is_none() {
            let ended = self.has_ended();
            found = self.output().lines().find_map(&wanted);
            assert!(found.is_some() || !ended, "ended before it was ready:\n{}", self.output());
            assert!(found.is_some() || Instant::now() < end, "not ready within {limit:?}:\n{}", self.output());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        found.expect("the loop ends with it")
    }

    /// Whether the process has ended; its exit code is then in [`Process::exit_code`].
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Asks the process to end with SIGTERM and waits. Panics when it takes longer than `limit`.
    pub async fn terminate(&mut self, limit: Duration) {
        signal(self.pid(), "TERM");
        within(limit, "the process ends after SIGTERM", || self.has_ended()).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        signal(self.pid(), "TERM");
        let end = Instant::now() + PATIENCE;
        while !self.has_ended() {
            if Instant::now() > end {
                // It may have ended in this moment: then there is nothing left to kill.
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Sends a signal, by its name without `SIG`, to one process. A process that is gone already is no failure.
pub fn signal(pid: u32, name: &str) {
    // The shell's own `kill`: the standard library has none, and the command is not on every machine.
    let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1" 2>/dev/null"#, name, &pid.to_string()]).status();
    sent.expect("there is a shell");
}

/// Whether a process of this number lives (a zombie does not).
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The processes below this one, children before grandchildren.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        // One file per thread, each with the children that this thread started.
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> = lists.flat_map(|list| numbers(&list)).collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn collect(from: Option<impl Read + Send + 'static>, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    let mut from = BufReader::new(from.expect("both outputs are pipes"));
    thread::spawn(move || {
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            into.lock().expect("readers do not panic").push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}
