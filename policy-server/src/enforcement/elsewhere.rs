//! Sessions that are shown in another network than that of their login, where a security domain binds them to it.

use shared_proto::check::Client;

use crate::audit::{Detail, Kind};
use crate::session::Session;
use crate::wire::{Domain, Server};

/// Whether the session counts for this client, whose token was given out to `home`. It is not ended where it does not: a
/// thief could end everybody's.
pub(super) fn counts_for(server: &Server, domain: &Domain, session: &Session, home: &str, client: &Client) -> bool {
    let binding = domain.limits.network;
    let counts = binding.admits(home, client.address);
    if !counts && server.sessions.sightings.is_news(&session.id, binding.of(client.address)) {
        let reason = format!("it was opened from {home}");
        let detail = Detail { client: Some(client.address.to_string()), reason: Some(&reason), ..Detail::of(session) };
        server.audit.record(Kind::SessionElsewhere, detail);
    }
    counts
}
