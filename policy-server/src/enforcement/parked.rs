//! Posted forms whose session had ended: kept for a quarter of an hour, sealed, and given back once, to the same person
//! in the same browser at the same site. That the ended session is still shown says whose a form is; it opens nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shared_proto::check::{Client, Decision};
use shared_proto::parked::{ParkRequest, ParkResponse, TakeRequest, TakeResponse};
use shared_proto::secret::{self, Secret};
use zeroize::Zeroizing;

use super::{EnforcementError, Reach, authorise, live_session, login_required};
use crate::agents::Registered;
use crate::audit::{Detail, Kind};
use crate::auth::modules::Vault;
use crate::session::TokenHash;
use crate::store::Owner;
use crate::token::{Purpose, SealError, hex, random};
use crate::wire::Server;

/// Seconds.
const KEPT: u32 = 900;

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Form {
    target: String,
    #[serde(with = "secret::on_the_wire")]
    body: Secret,
}

pub async fn park(
    server: &Server,
    agent: &Registered,
    request: &ParkRequest,
) -> Result<ParkResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    let now = server.now().as_second();
    let session = TokenHash::of(&request.session);
    let Some(user) = server.store.ended_user(&session, &domain.name, now).await? else {
        return Ok(ParkResponse::Unknown);
    };
    let browser = match &request.browser {
        Some(browser) => browser.clone(),
        None => Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?)),
    };
    let id = hex(&random::<16>()?);
    let owner = Owner {
        domain: domain.name.clone(),
        user,
        host: request.host.clone(),
        origin: request.origin.clone(),
        browser: TokenHash::of(&browser),
    };
    let form = Form { target: request.target.clone(), body: request.body.clone() };
    let sealed = seal(vault(server)?, &id, &owner, &form)?;
    server.store.park(&id, &owner, &sealed, now.saturating_add(KEPT.into())).await?;
    record(server, agent, Kind::FormKept, (&request.request_id, &request.client), &owner);
    Ok(ParkResponse::Kept { id, browser, max_age_seconds: KEPT.into() })
}

pub async fn take_parked(
    server: &Server,
    agent: &Registered,
    request: &TakeRequest,
) -> Result<TakeResponse, EnforcementError> {
    let loaded = server.loaded();
    let reach =
        Reach { request_id: &request.request_id, domain: &request.domain, entry: &request.entry, host: &request.host };
    let domain = authorise(server, &loaded, agent, &reach)?;
    let session = match &request.session {
        Some(token) => live_session(server, domain, token, &request.host, &request.client).await?.1,
        None => None,
    };
    let Some(session) = session else {
        return Ok(match login_required(domain, agent, &request.entry) {
            Decision::LoginRequired { domain, entry, login_url } => {
                TakeResponse::LoginRequired { domain, entry, login_url }
            }
            Decision::Granted | Decision::Denied | Decision::Unknown => TakeResponse::Gone,
        });
    };
    let Some(browser) = &request.browser else { return Ok(TakeResponse::Gone) };
    let owner = Owner {
        domain: domain.name.clone(),
        user: session.subject.user,
        host: request.host.clone(),
        origin: request.origin.clone(),
        browser: TokenHash::of(browser),
    };
    let Some(sealed) = server.store.take_parked(&request.id, &owner, server.now().as_second()).await? else {
        return Ok(TakeResponse::Gone);
    };
    let Form { target, body } = open(vault(server)?, &request.id, &owner, &sealed)?;
    record(server, agent, Kind::FormReturned, (&request.request_id, &request.client), &owner);
    Ok(TakeResponse::Form { target, body })
}

fn vault(server: &Server) -> Result<&Vault, SealError> {
    server.shared.vault.as_ref().ok_or(SealError::Unusable)
}

fn seal(vault: &Vault, id: &str, owner: &Owner, form: &Form) -> Result<Vec<u8>, SealError> {
    let plain = Zeroizing::new(serde_json::to_vec(form).map_err(|_| SealError::Unusable)?);
    vault.keys.seal(&purpose(vault, id, owner), &plain)
}

fn open(vault: &Vault, id: &str, owner: &Owner, sealed: &[u8]) -> Result<Form, SealError> {
    let plain = vault.keys.open(&purpose(vault, id, owner), sealed)?;
    serde_json::from_slice(&plain).map_err(|_| SealError::Unusable)
}

fn purpose(vault: &Vault, id: &str, owner: &Owner) -> Purpose {
    let Owner { domain, user, host, origin, browser } = owner;
    Purpose::new(&["parked form", &vault.cluster, id, domain, user, host, origin, browser.as_str()])
}

/// Who and where, and nothing of the form.
fn record(server: &Server, agent: &Registered, kind: Kind, (request_id, client): (&str, &Client), owner: &Owner) {
    let detail = Detail {
        request_id: Some(request_id),
        agent: Some(&agent.name),
        domain: Some(&owner.domain),
        user: Some(&owner.user),
        client: Some(client.address.to_string()),
        host: Some(&owner.host),
        ..Detail::default()
    };
    server.audit.record(kind, detail);
}
