//! Finds the domain controllers in the DNS; in which order to try them, and which not at all, is decided in `srv`.

use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::srv::{self, Server};
use crate::auth::error::{ErrorKind, LoginError};
use crate::directory::ldap::Directory;

/// For how long an answer counts, and a failure.
const FRESH: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(2);
/// Less than a login waits for the directory, so that a failure is remembered.
const TIMEOUT: Duration = Duration::from_secs(3);
/// More servers are not tried.
const MAX_SERVERS: usize = 16;

/// The global catalogue's ports, which not every domain controller has.
const CATALOGUE: [u16; 2] = [3268, 3269];

#[derive(Debug)]
pub struct Locator {
    domain: String,
    record: String,
    /// Held while asking: who comes meanwhile waits for the answer.
    last: Mutex<Option<Asked>>,
}

#[derive(Debug)]
struct Asked {
    at: Instant,
    failure: Option<String>,
}

impl Locator {
    /// `port` is the one that will be connected to.
    pub fn new(domain: &str, port: u16) -> Self {
        let kind = if CATALOGUE.contains(&port) { "gc" } else { "dc" };
        let record = format!("_ldap._tcp.{kind}._msdcs.{domain}.");
        Self { domain: domain.to_owned(), record, last: Mutex::new(None) }
    }

    /// Tells the directory its hosts, if it is time. Those known before stay where the DNS does not answer.
    ///
    /// # Errors
    /// `Unavailable` when none were ever found.
    pub async fn locate(&self, directory: &Directory) -> Result<(), LoginError> {
        let mut last = self.last.lock().await;
        let is_due = |asked: &Asked| asked.at.elapsed() >= if asked.failure.is_none() { FRESH } else { RETRY };
        if last.as_ref().is_none_or(is_due) {
            let failure = self.look_up(directory).await.err();
            if let Some(why) = &failure {
                tracing::warn!(record = self.record, why, "domain controllers not found");
            }
            *last = Some(Asked { at: Instant::now(), failure });
        }
        match last.as_ref().and_then(|asked| asked.failure.as_ref()) {
            Some(why) if directory.endpoints().is_empty() => {
                let detail = format!("the DNS names no domain controller ({}): {why}", self.record);
                Err(LoginError::new(ErrorKind::Unavailable, detail))
            }
            _ => Ok(()),
        }
    }

    async fn look_up(&self, directory: &Directory) -> Result<(), String> {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let hosts = self.ask(&resolver.map_err(|error| error.to_string())?).await?;
        let endpoints: Result<Vec<_>, String> = hosts.iter().map(|host| directory.endpoint(host)).collect();
        directory.move_to(endpoints?);
        Ok(())
    }

    /// The hosts in the order in which to try them; at least one.
    async fn ask(&self, resolver: &TokioResolver) -> Result<Vec<String>, String> {
        let lookup = timeout(TIMEOUT, resolver.srv_lookup(self.record.as_str())).await;
        let lookup = lookup.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
        let servers = lookup.answers().iter().filter_map(|record| match &record.data {
            // A root for a target says that there is no such service.
            RData::SRV(srv) if !srv.target.is_root() => {
                let host = srv.target.to_utf8().trim_end_matches('.').to_owned();
                Some(Server { priority: srv.priority, weight: srv.weight, host })
            }
            _ => None,
        });
        let mut hosts = srv::order(servers.filter(|server| server.is_of(&self.domain)).collect(), random);
        hosts.truncate(MAX_SERVERS);
        if hosts.is_empty() { Err(format!("it names no host in {}", self.domain)) } else { Ok(hosts) }
    }
}

/// From 0 to `most`. Only load depends on it: where the system has no randomness, the first server takes all.
fn random(most: u32) -> u32 {
    let drawn = getrandom::u32().unwrap_or_default();
    drawn.checked_rem(most.saturating_add(1)).unwrap_or(drawn)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    const RECORD: &str = "_ldap._tcp.dc._msdcs.corp.test.";

    /// What the locator makes of these records: priority, weight, target. All other names do not exist.
    async fn ask(domain: &str, port: u16, records: &[(u16, u16, &str)]) -> Result<Vec<String>, String> {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = server.local_addr().unwrap().port();
        let name_server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![name_server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();
        let target = |name: &str| Name::from_ascii(name).unwrap();
        let records: Vec<RData> = records
            .iter()
            .map(|(priority, weight, name)| RData::SRV(SRV::new(*priority, *weight, 389, target(name))))
            .collect();
        let serve = async {
            loop {
                let mut packet = [0; 512];
                let (length, client) = server.recv_from(&mut packet).await.unwrap();
                let question = Message::from_vec(&packet[..length]).unwrap();
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                let name = question.queries[0].name().clone();
                answer.queries = question.queries;
                if name.to_ascii().eq_ignore_ascii_case(RECORD) {
                    answer
                        .add_answers(records.iter().map(|record| Record::from_rdata(name.clone(), 60, record.clone())));
                } else {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                server.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        };
        let locator = Locator::new(domain, port);
        tokio::select! {
            () = serve => unreachable!(),
            hosts = locator.ask(&resolver) => hosts,
        }
    }

    #[tokio::test]
    async fn the_dns_names_the_servers_of_the_domain_alone() {
        let records = [
            (10, 0, "b.corp.test."),
            (0, 5, "a.CORP.test."),
            (0, 5, "evil.test."),
            (20, 0, "xcorp.test."),
            (30, 0, "."),
        ];
        let hosts = ask("corp.test", 636, &records).await.unwrap();
        assert_eq!(hosts.join(" ").to_lowercase(), "a.corp.test b.corp.test");
        for records in [&[][..], &[(0, 0, ".")], &[(0, 0, "dc.evil.test.")]] {
            assert!(ask("corp.test", 636, records).await.is_err(), "{records:?}");
        }
    }

    #[tokio::test]
    async fn a_catalogue_has_a_record_of_its_own() {
        let records = [(0, 0, "a.corp.test.")];
        for (domain, port, found) in [
            ("corp.test", 636, true),
            ("corp.test", 3269, false),
            ("corp.test", 3268, false),
            ("other.test", 636, false),
        ] {
            assert_eq!(ask(domain, port, &records).await.is_ok(), found, "{domain} {port}");
        }
    }
}
