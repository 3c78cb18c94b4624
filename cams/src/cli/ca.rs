//! The arguments of `cams ca`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{ConfArgs, JsonArgs};

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a CA that signs itself, with an RSA key of 4096 bits
    Create(CaCreateArgs),
    /// Take over a CA that was made elsewhere: its certificate and its key
    ///
    /// The pass phrase of an encrypted key is read from --passphrase-file, from a pipe, or asked for at the terminal.
    Import(CaImportArgs),
    /// Show the CA
    Show {
        #[command(flatten)]
        conf: ConfArgs,
        /// Print the certificate
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Print the revocation list as it is now
    Crl(CaCrlArgs),
}

#[derive(Debug, Args)]
pub struct CaCreateArgs {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// What the CA is called; the default is the cluster's name and `CA`
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// The organisation it belongs to
    #[arg(long, value_name = "ORGANISATION", value_parser = name)]
    pub organisation: Option<String>,
    /// How long it is valid: no account or device outlives it
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub years: u8,
    /// In the place of the CA there is, whose accounts and devices stay good
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["certificate", "pkcs12"])))]
pub struct CaImportArgs {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// The certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM; only its owner may be able to read the file
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// Both in one PKCS#12 file (.p12, .pfx)
    #[arg(long, value_name = "FILE")]
    pub pkcs12: Option<PathBuf>,
    /// The file with the pass phrase that opens the key
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// In the place of the CA there is, whose accounts and devices stay good
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct CaCrlArgs {
    #[command(flatten)]
    pub conf: ConfArgs,
    /// The id of a former CA, or a Jami ID: the list of that account's devices
    #[arg(long, value_name = "ID")]
    pub issuer: Option<String>,
    /// Write the list there, in DER where the name ends with .crl or .der, else in PEM
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// RFC 5280, appendix A.1: 64 characters for a common name or an organisation.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 64 || text.chars().any(char::is_control) {
        return Err("write 1 to 64 characters, none of them a control character".to_owned());
    }
    Ok(text.to_owned())
}
