//! `cams.jami.*`: how requests of Jami devices are passed on.

use std::net::SocketAddr;

use super::{Listener, Reader, listener};
use crate::jami;
use crate::site::{GateConfig, JamiConfig};

/// As JAMS has it: contacts and conversations come as a whole.
const BODY_LIMIT: u64 = 100 * 1024 * 1024;

impl Reader<'_> {
    /// `entry` is the agent's own.
    pub(super) fn jami(&mut self, entry: &str) -> JamiConfig {
        let entry = self.name_or("cams.jami.loginconfig.entry", entry);
        let given = self.options.take("cams.jami.body.limit");
        let limit = given.and_then(|(text, line)| self.parsed(&text, line, "a number of bytes such as 100M", bytes));
        JamiConfig { entry, body_limit: limit.unwrap_or(BODY_LIMIT) }
    }

    /// The addresses at which nothing but revocation is served.
    pub(super) fn revocation_listeners(&mut self, gate: Option<&GateConfig>, others: &[Listener]) -> Vec<SocketAddr> {
        let given = self.options.take_numbered(CLEARTEXT, &mut self.problems);
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (text, line) in given {
            let parse = |text: &str| (!text.contains(['/', ' '])).then(|| listener(text)).flatten();
            let Some(Listener { address, .. }) = self.parsed(&text, line, "address:port", parse) else { continue };
            let is_taken = addresses.contains(&address) || others.iter().any(|other| other.address == address);
            if is_taken && address.port() != 0 {
                self.problems.add(self.file, line, format!("{address} is listened on twice"));
            }
            if gate.is_some_and(|gate| !gate.sites.iter().any(|site| site.jami)) {
                let message = format!("`{CLEARTEXT}<n>` is of no use without a site with `cams.site.<name>.jami=true`");
                self.problems.add(self.file, line, message);
            }
            addresses.push(address);
        }
        addresses
    }

    /// Where devices enrol they show passwords and certificates, which takes TLS: here, or at a proxy that hands them on.
    pub(super) fn check_encryption(&mut self, listeners: &[Listener], gate: &GateConfig) {
        let Some(site) = gate.sites.iter().find(|site| site.jami) else { return };
        if !gate.client_cert_from_proxies && !listeners.is_empty() && !listeners.iter().any(|listener| listener.tls) {
            let message = format!(
                "no device can log in at the site `{}`: no listener speaks https, and no proxy hands certificates on \
                 (`cams.trusted.proxies.client.cert`)",
                site.name
            );
            self.problems.add(self.file, 0, message);
        }
    }

    /// At a site where devices enrol, their API is not where the agent's own pages are.
    pub(super) fn check_own_paths(&mut self, gate: &GateConfig) {
        if !gate.sites.iter().any(|site| site.jami) {
            return;
        }
        for (path, _) in gate.services().iter().filter(|(path, _)| jami::call(path).is_some()) {
            let message = format!("`{path}` belongs to the API of Jami devices: write another path for `cams.*.uri`");
            self.problems.add(self.file, 0, message);
        }
    }
}

const CLEARTEXT: &str = "cams.jami.cleartext.listen.";

/// A number, with `K` or `M` for 1024 and 1024² of them; never none.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'K' | b'k' => (text.get(..text.len() - 1)?, 1024),
        b'M' | b'm' => (text.get(..text.len() - 1)?, 1024 * 1024),
        _ => (text, 1),
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = number.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)?;
    (bytes > 0).then_some(bytes)
}
