//! What must hold for any bytes whatever. Each target is a function that panics where it does not; libFuzzer calls it
//! from `fuzz/`, and a test of this crate calls it with the kept corpus and mutations of that.

mod agent;
mod config;
mod directory;
mod jami;
mod link;
mod passwords;

pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its file in `fuzz/fuzz_targets/` and of its folder in `fuzz/corpus/`.
pub const TARGETS: [Target; 16] = [
    ("target", agent::target),
    ("head", agent::head),
    ("cookies", agent::cookies),
    ("login_form", agent::login_form),
    ("posted_form", agent::posted_form),
    ("origin", agent::origin),
    ("redirect", agent::redirect),
    ("properties", config::properties),
    ("xml", config::xml),
    ("policy", config::policy),
    ("link", link::messages),
    ("client_cert", link::client_cert),
    ("ldap", directory::ldap),
    ("password", passwords::digests),
    ("csr", jami::csr),
    ("ocsp", jami::ocsp),
];

/// Runs the target of this name.
///
/// # Panics
/// There is none, or its property does not hold.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(data);
}

#[cfg(test)]
mod tests;
