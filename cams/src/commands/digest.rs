//! `cams digest`: password digests made and verified. The password comes on standard input, byte for byte; a terminal does
//! not show it.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};
use policy_server::digest::{self, Policy};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::cli::{DigestArgs, DigestCommand};
use crate::{answers, output};

pub fn run(args: DigestArgs) -> anyhow::Result<ExitCode> {
    let password = read_password(args.command.is_none())?;
    match args.command {
        Some(DigestCommand::Verify { stored }) => {
            let matches = digest::verify(&stored, &password, Policy { allow_cleartext: false });
            Ok(if matches { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        None => {
            let scheme = args.scheme.unwrap_or_default();
            output::line(digest::create(scheme, &password, policy_server::token::random()?)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A new password as people pipe it: one newline at the end is `echo`'s, not the password's.
pub fn read_piped_password() -> anyhow::Result<Secret> {
    let bytes = read_password(true)?;
    Ok(Secret::new(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

/// The bytes of a pipe as they are; of a terminal, one line. A new one is typed twice: nobody sees what is typed.
fn read_password(new: bool) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let password = answers::ask(&stdin, "Password")?;
        if new && answers::ask(&stdin, "The same again")?.expose() != password.expose() {
            bail!("these were two passwords: try again");
        }
        return Ok(Zeroizing::new(password.expose().to_vec()));
    }
    // Longer input is cut off here and refused as too long by whoever uses it.
    let mut password = Zeroizing::new(Vec::with_capacity(8 << 10));
    stdin.lock().take(8 << 10).read_to_end(&mut password).context("cannot read the password from standard input")?;
    Ok(password)
}
