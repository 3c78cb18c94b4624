//! What standard input answers to a login: a password, and whatever else is asked. A terminal shows no answer.

use std::io::{self, BufRead, IsTerminal, Read, Stdin};

use anyhow::{Context, bail};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::output;

/// More than all answers of a login that are not too long. In bytes.
const MAX: u64 = 64 << 10;
/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// An answer to each question, in their order; fewer where the input ends before. A pipe's only answer is all of it but
/// one line end, for a password may have lines.
///
/// # Errors
/// The input cannot be read, goes on after the last answer, or was ended by Ctrl-C.
pub fn read(questions: &[String]) -> anyhow::Result<Vec<Secret>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return questions.iter().map(|question| ask(&stdin, question)).collect();
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX)?));
    stdin.lock().take(MAX).read_to_end(&mut bytes).context("cannot read standard input")?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if questions.len() < 2 {
        return Ok(vec![Secret::new(bytes)]);
    }
    let lines: Vec<Secret> = bytes.split(|byte| *byte == b'\n').map(Secret::new).collect();
    if lines.len() > questions.len() {
        bail!("standard input has {} lines, for {} answers: {}", lines.len(), questions.len(), questions.join(", "));
    }
    Ok(lines)
}

/// One line of this terminal, which does not show it.
///
/// # Errors
/// It cannot be read, or was ended by Ctrl-C.
pub fn ask(stdin: &Stdin, question: &str) -> anyhow::Result<Secret> {
    let hidden = Hidden::new(stdin).context("cannot keep the terminal from showing what is typed")?;
    output::prompt(&format!("{}: ", output::plain(question)));
    // Of a terminal in this mode, one reading is one line.
    let mut input = stdin.lock();
    let line = Zeroizing::new(input.fill_buf().context("cannot read from the terminal")?.to_vec());
    input.consume(line.len());
    drop(hidden);
    output::notice("");
    if line.contains(&INTERRUPT) {
        bail!("interrupted");
    }
    Ok(Secret::new(line.strip_suffix(b"\n").unwrap_or(&line)))
}

/// A terminal that shows nothing, until this is dropped.
struct Hidden<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(stdin: &'a Stdin) -> rustix::io::Result<Self> {
        let before = termios::tcgetattr(stdin)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        // Nobody is to be left with a terminal that shows nothing: Ctrl-C ends the line, not the process.
        modes.local_modes.remove(LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        termios::tcsetattr(stdin, OptionalActions::Flush, &modes)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // It was there a moment ago; where it went away there is nothing to be shown on.
        let _ = termios::tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}
