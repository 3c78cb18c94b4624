//! The options of the module.

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::locator::Locator;
use super::name::{LoginAttribute, Naming, base_dn, is_domain};
use super::roles::Roles;
use super::{ActiveDirectoryLoginModule, BindMode, People};
use crate::auth::modules::Services;
use crate::auth::modules::common::Common;
use crate::auth::modules::pace::Pace;
use crate::directory::ldap::{Directory, Filter, Scope, Security, dn};

const BY_ACCOUNT: &str = "(&(objectCategory=person)(objectClass=user)(sAMAccountName={0}))";
const BY_PRINCIPAL: &str = "(&(objectCategory=person)(objectClass=user)(userPrincipalName={0}))";

impl std::str::FromStr for BindMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "upn" => Ok(Self::Principal),
            "search" => Ok(Self::Search),
            _ => Err(()),
        }
    }
}

impl ActiveDirectoryLoginModule {
    /// `None` with the reasons in `problems`.
    pub(super) fn take(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Self> {
        let before = problems.len();
        let common = Common::take(options, problems);
        refuse_stored_passwords(options, problems);
        let naming = naming(options, problems);
        let host = options.line_of("host");
        let directory = Directory::take(options, true, problems);
        let locator = locator(options, directory.as_ref(), &naming, problems);
        if let Some(directory) = &directory {
            services.warn_of_clear_text(options, host, directory);
        }
        let bind_mode = bind_mode(options, &naming, directory.as_ref(), problems);
        let people = people(options, &naming, problems);
        let roles = Roles::take(options, &naming, directory.as_ref(), problems);
        let (directory, people, roles) = (directory?, people?, roles?);
        let module = Self { common, directory, locator, naming, bind_mode, people, roles, pace: Pace::default() };
        (problems.len() == before).then_some(module)
    }
}

/// The way to hosts that are not configured, where there are none.
fn locator(
    options: &Options,
    directory: Option<&Directory>,
    naming: &Naming,
    problems: &mut Problems,
) -> Option<Locator> {
    let directory = directory.filter(|directory| directory.endpoints().is_empty())?;
    let domain = naming.domain.as_ref().and_then(|domain| Some((domain, directory.endpoint(domain).ok()?)));
    let missing = match domain {
        Some((domain, endpoint)) if endpoint.security != Security::None => {
            return Some(Locator::new(domain, endpoint.port));
        }
        Some(_) => "without TLS nothing proves what the DNS says: set `ssl` or `startTls`, or name the hosts in `host`",
        None => "option `host` or `domain` is missing: one of them is needed",
    };
    problems.add(options.file(), options.line(), missing);
    None
}

/// What the plain LDAP module can do and this one cannot.
fn refuse_stored_passwords(options: &mut Options, problems: &mut Problems) {
    if let Some((value, line)) = options.take("authMethod")
        && value.trim() != "bind"
    {
        let message = format!(
            "option `authMethod`: `{value}` is not possible: Active Directory gives out no passwords, only `bind` \
             proves one"
        );
        problems.add(options.file(), line, message);
    }
    if let Some((_, line)) = options.take("passwordAttribute") {
        let message = "option `passwordAttribute`: Active Directory gives out no passwords: leave it out";
        problems.add(options.file(), line, message);
    }
}

fn naming(options: &mut Options, problems: &mut Problems) -> Naming {
    let mut name = |option: &str| {
        let (text, line) = options.take(option)?;
        let name = text.trim();
        if !is_domain(name) {
            problems.add(options.file(), line, format!("option `{option}`: `{text}` is not the name of a domain"));
            return None;
        }
        Some(name.to_owned())
    };
    let (domain, netbios) = (name("domain"), name("netbiosDomain"));
    let forms = "auto, userPrincipalName or sAMAccountName";
    let attribute = options.take_parsed("loginAttribute", LoginAttribute::Auto, forms, problems);
    Naming { domain, netbios, attribute }
}

fn bind_mode(
    options: &mut Options,
    naming: &Naming,
    directory: Option<&Directory>,
    problems: &mut Problems,
) -> BindMode {
    let line = options.line_of("bindMode");
    let mode = options.take_parsed("bindMode", BindMode::Principal, "upn or search", problems);
    let missing = match mode {
        BindMode::Principal if naming.domain.is_none() && naming.netbios.is_none() => {
            Some("option `bindMode`: to bind as user@domain, `domain` or `netbiosDomain` is needed")
        }
        BindMode::Search if directory.is_some_and(|directory| !directory.has_search_account()) => {
            Some("option `bindMode`: `search` needs the account that searches: `bindDn` and `bindPassword`")
        }
        _ => None,
    };
    if let Some(message) = missing {
        problems.add(options.file(), line, message);
    }
    mode
}

fn people(options: &mut Options, naming: &Naming, problems: &mut Problems) -> Option<People> {
    let default = naming.domain.as_ref().map(|domain| format!("CN=Users,{}", base_dn(domain)));
    let base = take_base(options, "userBaseDn", default, problems);
    let scope = options.take_parsed("userScope", Scope::Sub, "base, one or sub", problems);
    let by_account = options.take("userFilter");
    let by_account = read_filter(options, "userFilter", by_account, (BY_ACCOUNT, 1), problems);
    let by_principal = Filter::parse(BY_PRINCIPAL, 1).ok();
    Some(People { base: base?, scope, by_account: by_account?, by_principal: by_principal? })
}

/// A place in the directory, which must be given where there is no domain to derive it from.
pub(super) fn take_base(
    options: &mut Options,
    name: &str,
    default: Option<String>,
    problems: &mut Problems,
) -> Option<String> {
    let line = options.line_of(name);
    let Some(base) = options.take_string(name).or(default) else {
        problems.add(
            options.file(),
            line,
            format!("option `{name}` is missing, and `domain`, which would stand in for it"),
        );
        return None;
    };
    if dn::key(&base).is_none() {
        problems.add(options.file(), line, format!("option `{name}`: `{base}` is not a distinguished name"));
    }
    Some(base)
}

/// A filter in which `{0}` is used: as given, with its line, or the default one.
pub(super) fn read_filter(
    options: &Options,
    name: &str,
    given: Option<(String, usize)>,
    (default, arguments): (&str, usize),
    problems: &mut Problems,
) -> Option<Filter> {
    let (text, line) = given.unwrap_or_else(|| (default.to_owned(), options.line()));
    let filter = Filter::parse(&text, arguments).and_then(|filter| match filter.uses(0) {
        true => Ok(filter),
        false => Err("it would find the same for everybody: `{0}` is missing".to_owned()),
    });
    filter.map_err(|why| problems.add(options.file(), line, format!("option `{name}`: {why}"))).ok()
}
