//! `cams digest`: password digests made and verified. The password comes on standard input, byte for byte.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::Context;
use policy_server::digest::{self, Policy};
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::cli::{DigestArgs, DigestCommand};
use crate::output;

pub fn run(args: DigestArgs) -> anyhow::Result<ExitCode> {
    let password = read_password()?;
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

/// A password as people pipe it: one newline at the end is `echo`'s, not the password's.
pub fn read_piped_password() -> anyhow::Result<Secret> {
    let bytes = read_password()?;
    Ok(Secret::new(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

/// The bytes as they are; a newline typed at a terminal is no part of a password.
pub fn read_password() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut stdin = std::io::stdin();
    let typed = stdin.is_terminal();
    if typed {
        output::notice("Password (visible as you type; end with Ctrl-D, or use a pipe):");
    }
    // Longer input is cut off here and refused as too long by whoever uses it.
    let mut password = Zeroizing::new(Vec::with_capacity(8 << 10));
    stdin.by_ref().take(8 << 10).read_to_end(&mut password).context("cannot read the password from standard input")?;
    if typed && password.last() == Some(&b'\n') {
        password.pop();
    }
    Ok(password)
}
