//! What outlives sessions and changes of the configuration: people who are known by an id, and people who are looked up
//! without a password.

use jiff::Timestamp;

use super::{LoginEntry, Standing, guarded};
use crate::auth::subject::{Proof, Subject};

impl LoginEntry {
    /// The subject of somebody whom a directory knows by an id for ever, as if the modules as they are configured now had
    /// proved it: the id tells the person, whatever else changed. For what outlives a change of the configuration.
    pub fn adopt(&self, subject: &Subject) -> Subject {
        let mut subject = subject.clone();
        if subject.proofs.iter().any(|proof| proof.source_id.is_some()) {
            for proof in &mut subject.proofs {
                let is_there = self.modules.get(proof.module).is_some_and(|module| module.class == proof.class);
                let other = self.modules.iter().position(|module| module.class == proof.class);
                proof.module = if is_there { proof.module } else { other.unwrap_or(proof.module) };
                proof.settings = self.settings_of(proof.module);
            }
        }
        subject
    }

    /// Whom the modules name without a password: for an administrator's word on who somebody is. `None` where none can.
    pub async fn look_up(&self, user: &str, now: Timestamp) -> Option<Subject> {
        let mut proofs = Vec::new();
        for (place, entry) in self.modules.iter().enumerate() {
            let Some(recheck) = entry.module.recheck() else { continue };
            let user = proofs.first().map_or(user, |proof: &Proof| &proof.user).to_owned();
            if let Some(Standing::Current(identity)) = guarded(recheck.recheck(&user, now)).await {
                proofs.push(Proof { settings: entry.settings.clone(), ..Proof::new(place, identity) });
            }
        }
        let only_adds = |proof: &Proof| self.modules.get(proof.module).is_none_or(|entry| entry.module.only_adds());
        let is_vouched = !proofs.iter().all(only_adds);
        Subject::from_proofs(proofs).filter(|_| is_vouched)
    }
}
