//! `cams ca`: the organisation's certificate authority. Its key is never shown.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use policy_server::admin::{Admin, CaFacts, pem};
use policy_server::files::{self, MAX_SECRET, Readers};
use policy_server::pki::import::{Found, Import, ImportError};
use policy_server::store::Holders;
use serde::Serialize;
use shared_proto::secret::Secret;
use zeroize::Zeroizing;

use crate::cli::{CaCommand, CaCreateArgs, CaCrlArgs, CaImportArgs};
use crate::{answers, output, runtime};

pub fn run(command: CaCommand) -> anyhow::Result<ExitCode> {
    runtime::tokio()?.block_on(async {
        match command {
            CaCommand::Create(args) => create(args).await?,
            CaCommand::Import(args) => import(args).await?,
            CaCommand::Show { conf, pem, json } => {
                let (ca, holders) = Admin::open(&conf.conf).await?.ca().await?;
                if pem { output::line(ca.pem.trim_end())? } else { show(&ca, holders, json.json)? }
            }
            CaCommand::Crl(args) => crl(args).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn create(args: CaCreateArgs) -> anyhow::Result<()> {
    let admin = Admin::open(&args.conf.conf).await?;
    let ca = admin.create_ca(args.name.as_deref(), args.organisation.as_deref(), args.years, args.replace).await?;
    made(&ca, "made", args.json.json)
}

async fn import(args: CaImportArgs) -> anyhow::Result<()> {
    let import = read_import(&args)?;
    let ca = Admin::open(&args.conf.conf).await?.import_ca(&import, args.replace).await?;
    import.doubts.iter().for_each(|doubt| output::notice(format!("note: {doubt}")));
    made(&ca, "imported", args.json.json)
}

fn made(ca: &CaFacts, how: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(ca);
    }
    output::line(format!("the CA is {how}: {}", output::plain(&ca.subject)))?;
    output::line(format!("id {}, valid until {}", ca.id, ca.not_after))
}

/// The files that hold a CA.
enum Source {
    Pem { certificate: String, key: Zeroizing<Vec<u8>> },
    Pkcs12(Zeroizing<Vec<u8>>),
}

impl Source {
    fn read(args: &CaImportArgs) -> anyhow::Result<Self> {
        Ok(match (&args.certificate, &args.key) {
            (Some(certificate), Some(key)) => Self::Pem { certificate: public(certificate)?, key: private(key)? },
            _ => Self::Pkcs12(private(args.pkcs12.as_deref().context("give --certificate and --key, or --pkcs12")?)?),
        })
    }

    fn find(&self, passphrase: Option<&Secret>) -> Result<Found, ImportError> {
        match self {
            Self::Pem { certificate, key } => Found::in_pem(certificate.as_bytes(), key, passphrase),
            Self::Pkcs12(file) => Found::in_pkcs12(file, passphrase),
        }
    }
}

/// Asks for a pass phrase only where the key turns out to need one.
fn read_import(args: &CaImportArgs) -> anyhow::Result<Import> {
    let passphrase = args.passphrase_file.as_deref().map(passphrase_of).transpose()?;
    let source = Source::read(args)?;
    let found = match source.find(passphrase.as_ref()) {
        Err(ImportError::NoPassphrase) => source.find(Some(&ask()?))?,
        found => found?,
    };
    Ok(found.into_ca(Timestamp::now().as_second())?)
}

fn ask() -> anyhow::Result<Secret> {
    let passphrase = answers::read(&["Pass phrase of the key".to_owned()])?.into_iter().next();
    let is_there = |passphrase: &Secret| io::stdin().is_terminal() || !passphrase.expose().is_empty();
    Ok(passphrase.filter(is_there).ok_or(ImportError::NoPassphrase)?)
}

fn public(file: &Path) -> anyhow::Result<String> {
    files::read(file, MAX_SECRET).with_context(|| format!("cannot read {}", file.display()))
}

fn private(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    files::read_secret(file, Readers::Owner).with_context(|| format!("cannot read {}", file.display()))
}

/// One newline at the end is the editor's, not the pass phrase's.
fn passphrase_of(file: &Path) -> anyhow::Result<Secret> {
    let bytes = private(file)?;
    Ok(Secret::new(bytes.strip_suffix(b"\n").unwrap_or(&bytes)))
}

/// What `ca show --json` tells.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    ca: &'a CaFacts,
    #[serde(flatten)]
    holders: Holders,
}

fn show(ca: &CaFacts, holders: Holders, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&Shown { ca, holders });
    }
    let fields = [
        ("subject", ca.subject.clone()),
        ("id", ca.id.clone()),
        ("fingerprint (SHA-256)", ca.fingerprint.clone()),
        ("serial", ca.serial.clone()),
        ("valid from", ca.not_before.clone()),
        ("valid until", ca.not_after.clone()),
        ("key", ca.key.clone()),
        ("accounts", holders.accounts.to_string()),
        ("devices", holders.devices.to_string()),
        ("revocation list", ca.crl.clone().unwrap_or_else(|| "cams.jami.revocation.url is not set".to_owned())),
    ];
    output::table(&["FIELD", "VALUE"], &fields.map(|(name, value)| vec![name.to_owned(), output::plain(&value)]))
}

/// What `ca crl --json` tells.
#[derive(Serialize)]
struct ListFacts<'a> {
    issuer: &'a str,
    number: i64,
    next_update: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<&'a str>,
}

async fn crl(args: CaCrlArgs) -> anyhow::Result<()> {
    let (issuer, kept) = Admin::open(&args.conf.conf).await?.revocation_list(args.issuer.as_deref()).await?;
    let text = pem("X509 CRL", &kept.list)?;
    let next_update = Timestamp::from_second(kept.next_update).map(|time| time.to_string()).unwrap_or_default();
    if let Some(file) = &args.out {
        let is_der = file.extension().is_some_and(|end| ["crl", "der"].iter().any(|der| end.eq_ignore_ascii_case(der)));
        crate::files::replace(file, if is_der { kept.list.as_slice() } else { text.as_bytes() })?;
    }
    if args.json.json {
        let pem = args.out.is_none().then_some(&*text);
        return output::json(&ListFacts { issuer: &issuer, number: kept.number, next_update, pem });
    }
    let facts = format!("CRL number {} of {issuer}, next update {next_update}", kept.number);
    match args.out {
        Some(_) => output::line(facts),
        None => {
            output::notice(facts);
            output::line(text.trim_end())
        }
    }
}
