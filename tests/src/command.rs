//! The `cams` command as people type it.

use std::env;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::services::{profile_dir, target_dir};

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output, of a command that succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Standard output as JSON, whatever the exit code.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The built command. Cargo builds it first, once per run: a test of an old one would prove nothing. What is measured is
/// the one that `CAMS_BINARY` names.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| env::var_os("CAMS_BINARY").map_or_else(build, PathBuf::from)).clone()
}

fn build() -> PathBuf {
    let profile_dir = profile_dir();
    let folder = profile_dir.file_name().and_then(|name| name.to_str()).expect("target/PROFILE");
    let profile = if folder == "debug" { "dev" } else { folder };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // The whole workspace decides on the features, as for the tests: else the dependencies would be built again.
    let mut build = Command::new(cargo);
    build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--workspace", "--bin", "cams", "--profile", profile]);
    // What cargo tells a test about its own crate would look like a change to build scripts that read the same names.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(name);
        }
    }
    let output = build.arg("--target-dir").arg(target_dir()).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join("cams")
}

/// Runs `cams` with these arguments to its end.
pub fn cams<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    cams_with_input(arguments, b"")
}

/// As [`cams`], with these bytes on standard input.
pub fn cams_with_input<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A command that does not read its input has ended by now, which its exit code will tell.
    drop(child.stdin.take().expect("a pipe").write_all(input));
    let output = child.wait_with_output().expect("our own child");
    Output {
        code: output.status.code().unwrap_or_else(|| panic!("{command:?}: {}", output.status)),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What a terminal shows, which `script` makes, of a command of the shell whose questions are answered; then its exit code
/// as `exit=0`, and the modes of the terminal after it.
pub fn at_terminal(command: &str, answers: &[(&str, String)]) -> String {
    let command = format!("{command}; echo exit=$?; stty -a");
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--echo", "always", "--command", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script.spawn().expect("script starts");
    let (mut input, mut output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
    let mut said = Vec::new();
    for (question, answer) in answers {
        // Nobody types before being asked: until then the terminal shows it.
        while !String::from_utf8_lossy(&said).contains(question) {
            let mut byte = [0];
            let read = output.read(&mut byte).expect("a terminal");
            assert_eq!(read, 1, "not asked {question}: {}", String::from_utf8_lossy(&said));
            said.extend(byte);
        }
        input.write_all(answer.as_bytes()).expect("a terminal");
    }
    output.read_to_end(&mut said).expect("a terminal");
    child.wait().expect("our own child");
    String::from_utf8_lossy(&said).into_owned()
}
